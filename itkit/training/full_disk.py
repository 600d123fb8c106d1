"""What a full disk means to a training: where it is, and that nothing but time is lost."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from itkit.core.errors import DiskFullError, WriteError
from itkit.core.text import format_bytes

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}  # a quota is told alike; Windows has none


def is_full(error: BaseException | None) -> bool:
    """Whether the disk is full, or the user's part of it, according to an error or its cause.

    Examples
    --------
    >>> is_full(OSError(28, "No space left on device")), is_full(OSError(13, "Permission denied"))
    (True, False)
    """
    if isinstance(error, WriteError):
        error = error.__cause__
    return isinstance(error, OSError) and error.errno in _FULL


def require_room(folder: Path, error: BaseException, needed: int | None = None) -> None:
    """Raise an error that names the folder, if the disk is full.

    Parameters
    ----------
    folder
        The folder that was written to.
    error
        What has gone wrong.
    needed
        Bytes that were to be written.

    Raises
    ------
    DiskFullError
        When the disk is full.
    """
    if is_full(error) and not isinstance(error, DiskFullError):
        room = "room" if needed is None else f"room for {format_bytes(needed)} and what follows"
        raise DiskFullError(f"{folder}: the disk is full; make {room}, then the same command goes on") from error


@contextmanager
def told_by_folder(folder: Path, needed: int | None = None) -> Iterator[None]:
    """Turn what the system says while files are written into an error that names their folder.

    Parameters
    ----------
    folder
        The folder.
    needed
        Bytes that are written, as far as they are known.

    Raises
    ------
    WriteError
        When they can't be written.
    """
    try:
        yield
    except OSError as error:
        require_room(folder, error, needed)
        reason = error.strerror or str(error)
        raise WriteError(
            f"{folder}: can't be written ({reason}); make it writable, or choose another folder"
        ) from error
