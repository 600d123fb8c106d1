"""SimpleITK in a child process: it alone parses volumes that somebody else has written. See `itkit.io.child`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from itkit.io import child

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_TASKS = "itkit.io.formats.itk_tasks"
_THREAD_BYTES = 80 << 20
"""Address space that a thread reserves."""


def read_information(path: Path, image_io: str = "") -> Mapping[str, Any]:
    """Return what SimpleITK says of a file: size, spacing, origin, direction, components, type and, if known, dtype.

    Raises
    ------
    ReadError
        When it can't read the file, or dies of it.
    """
    return child.ask(path, f"{_TASKS}:say_header", {"io": image_io})[0]


def read_array(path: Path, size_bytes: int, image_io: str = "", *, threads: int = 1) -> NDArray[Any]:
    """Return the voxels of a file as SimpleITK reads them, the last axis of the file first.

    Parameters
    ----------
    path
        The file.
    size_bytes
        Bytes that they have, at most.
    image_io
        SimpleITK's reader; left out, it tries all of its own.
    threads
        Threads that it may use.

    Raises
    ------
    ReadError
        When it can't read the file, or dies of it.
    """
    request = {"io": image_io, "threads": threads, "most": size_bytes}
    room = child.ROOM_BYTES + 4 * size_bytes + threads * _THREAD_BYTES
    (array,) = child.ask(path, f"{_TASKS}:hand_over_voxels", request, most=size_bytes, room=room)[1]
    return array
