"""Memory of large arrays, used again: to clear fresh pages takes the system up to a fifth of a run's time."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import DTypeLike, NDArray

LEAST_BYTES = 1 << 20
_SLACK = 4
"""A buffer may be so many times as large as what is asked for: an image's serves its label, too."""
_MALLOC_OPTIONS = {-3: 16 << 20, -1: 64 << 20}  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD: see mallopt(3)
_lock = threading.Lock()
_buffers: list[NDArray[np.uint8]] | None = None
_users = 0


def reuse_buffers() -> None:
    """Let arrays made by `empty` use memory again, in every thread, from now on: for a process that only does cases.

    Examples
    --------
    >>> with reused_buffers():
    ...     first = empty((1 << 20,), "uint8").ctypes.data
    ...     first == empty((512, 1024), "int16").ctypes.data
    True
    """
    global _buffers, _users
    with _lock:
        _users += 1
        _buffers = [] if _buffers is None else _buffers


def keep_freed_memory() -> None:
    """Let the C library keep up to 64 MiB of what is freed, for arrays smaller than those that `empty` looks after."""
    if sys.platform != "linux":
        return
    import ctypes

    set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it
    if set_option is not None:
        for option, value in _MALLOC_OPTIONS.items():
            set_option(option, value)


@contextmanager
def reused_buffers() -> Iterator[None]:
    """Do as `reuse_buffers` while the block runs; the memory goes back when the last such block ends."""
    global _buffers, _users
    reuse_buffers()
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            _buffers = _buffers if _users else None


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Make an array of any content, as `numpy.empty` does.

    Within `reused_buffers`, a large one lies where an array of its size, or a larger one, lay that nothing refers to;
    where there is none, the memory of smaller ones is given back first.

    Raises
    ------
    MemoryError
        When there is no room.
    """
    import numpy as np  # when an array is wanted: commands that read headers alone start without

    wanted = np.dtype(dtype)
    nbytes = wanted.itemsize
    for size in shape:
        nbytes *= size
    buffers = _buffers
    if buffers is None or nbytes < LEAST_BYTES:
        return np.empty(shape, wanted)
    with _lock:
        buffer = _take(buffers, nbytes)
        if buffer is None:
            buffer = np.empty(nbytes, np.uint8)
            buffers.append(buffer)
        return buffer[:nbytes].view(wanted).reshape(shape)


def _references(buffers: list[Any]) -> list[int]:
    return [sys.getrefcount(buffer) for buffer in buffers]


_UNUSED = _references([object()])[0]
"""References to a buffer that nobody uses: how many a list and a loop hold depends on the version of Python."""


def _take(buffers: list[NDArray[np.uint8]], nbytes: int) -> NDArray[np.uint8] | None:
    """Find the smallest buffer that is free and fits; without one, drop the free ones that are too small."""
    free = [place for place, count in enumerate(_references(buffers)) if count <= _UNUSED]
    fitting = [place for place in free if nbytes <= buffers[place].nbytes <= _SLACK * nbytes]
    if fitting:
        return buffers[min(fitting, key=lambda place: buffers[place].nbytes)]
    buffers[:] = [buffer for place, buffer in enumerate(buffers) if place not in free or buffer.nbytes >= nbytes]
    return None
