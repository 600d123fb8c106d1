"""Locks between processes, which go when the process that holds them ends, however it ends.

Some systems and file systems have none. Whoever asks is told so, and goes on: two runs one after another are right
without locks, and two at once are no worse than they would be without this module.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal

LockState = Literal["ours", "taken", "no locks"]


def try_lock(file: IO[bytes]) -> LockState:
    """Lock an open file for this process until it is closed; do not wait.

    Returns
    -------
    str
        ``ours``; ``taken`` where another process holds the lock; ``no locks`` where the system or the file system has
        no locks.
    """
    return _lock(file, wait=False)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file while the block runs; the file is made, and this waits until nobody else has the lock."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a folder that can't be written: what is to be written there will say so
            _lock(stack.enter_context(path.open("ab")), wait=True)
        yield


def _lock(file: IO[bytes], *, wait: bool) -> LockState:
    try:
        import fcntl
    except ImportError:
        return "no locks"
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "taken"
    except OSError:
        return "no locks"
    return "ours"
