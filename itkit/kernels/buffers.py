"""Reuse of the memory of large arrays: otherwise the system spends up to a fifth of a run clearing fresh pages."""

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
"""A buffer may be this many times larger than the array it serves, so that an image's buffer also serves its label."""
_MALLOC_OPTIONS = {-3: 16 << 20, -1: 64 << 20}  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD: see mallopt(3)
_lock = threading.Lock()
_buffers: list[NDArray[np.uint8]] | None = None
_users = 0


def reuse_buffers() -> None:
    """Let `empty` reuse memory from now on, in every thread; meant for a process that does nothing but process cases.

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
    """Let the C library keep up to 64 MiB of freed memory, for arrays smaller than those that `empty` manages."""
    if sys.platform != "linux":
        return
    import ctypes

    set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has it
    if set_option is not None:
        for option, value in _MALLOC_OPTIONS.items():
            set_option(option, value)


@contextmanager
def reused_buffers() -> Iterator[None]:
    """Let `empty` reuse memory while the block runs; the memory is released when the last such block ends."""
    global _buffers, _users
    reuse_buffers()
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            _buffers = _buffers if _users else None


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array of arbitrary content, as `numpy.empty` does.

    Within `reused_buffers`, a large array takes a buffer of at least its size that no array uses any more. If there
    is none, the unused smaller buffers are released before new memory is allocated.

    Raises
    ------
    MemoryError
        When there is not enough memory.
    """
    import numpy as np  # imported only here: commands that read only headers start without numpy

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
"""Reference count of an unused buffer; how many references the list and the loop hold depends on Python's version."""


def _take(buffers: list[NDArray[np.uint8]], nbytes: int) -> NDArray[np.uint8] | None:
    """Return the smallest free buffer that fits; if there is none, drop the free buffers that are too small."""
    free = [place for place, count in enumerate(_references(buffers)) if count <= _UNUSED]
    fitting = [place for place in free if nbytes <= buffers[place].nbytes <= _SLACK * nbytes]
    if fitting:
        return buffers[min(fitting, key=lambda place: buffers[place].nbytes)]
    buffers[:] = [buffer for place, buffer in enumerate(buffers) if place not in free or buffer.nbytes >= nbytes]
    return None
