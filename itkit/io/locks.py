"""Locks between processes; a lock is released when the process that holds it ends, also if it crashes.

Some systems and file systems do not support locks. Callers then continue without: runs one after another are still
correct, and runs at the same time are no worse off than without this module.
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
        ``ours``; ``taken`` if another process holds the lock; ``no locks`` if the system or the file system does not
        support locks.
    """
    return _lock(file, wait=False)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file while the block runs: create the file, and wait until no other process has the lock."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # an unwritable folder: the write that follows reports it
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
