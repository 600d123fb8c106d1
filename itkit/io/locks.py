"""Locks between processes; a lock is released when the process that holds it ends, also if it crashes.

Some systems and file systems do not support locks. Callers then continue without: runs one after another are still
correct, and runs at the same time are no worse off than without this module.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable, Iterator
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


def lock_new(make: Callable[[], Path], name: str, content: bytes = b"") -> tuple[Path, IO[bytes]]:
    """Make a folder that holds a locked file; where the folder can't hold it, none is left.

    Until the lock holds, others take the folder for one that a dead process has left, and may remove it; then another
    is made.

    Parameters
    ----------
    make
        Makes an empty folder, each time another one, and returns it.
    name, content
        The file's name and what it holds.

    Returns
    -------
    folder, lock
        The folder, and the file, open; its lock is released when it is closed.

    Raises
    ------
    OSError
        When the disk refuses.
    """
    while True:
        folder = make()
        try:
            with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as opened:
                lock = opened.enter_context((folder / name).open("wb", buffering=0))  # who looks at it makes it, too
                lock.write(content)
                if try_lock(lock) != "taken" and is_in_place(lock):
                    opened.pop_all()
                    return folder, lock
        except OSError:
            with contextlib.suppress(OSError):
                (folder / name).unlink(missing_ok=True)
                folder.rmdir()
            raise


def close_in_children(file: IO[bytes]) -> None:
    """Close a locked file in processes that are forked from now on: children that live longer do not keep its lock."""
    if not hasattr(os, "register_at_fork"):
        return  # nothing forks here
    known = weakref.ref(file)

    def close() -> None:
        if (there := known()) is not None:
            there.close()

    os.register_at_fork(after_in_child=close)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file while the block runs: create the file, and wait until no other process has the lock."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # an unwritable folder: the write that follows reports it
            _lock(stack.enter_context(path.open("ab")), wait=True)
        yield


def wait_for_shared(file: IO[bytes]) -> LockState:
    """Wait until no process holds the lock of an open file alone, and keep it from doing so until it is closed."""
    return _lock(file, wait=True, is_shared=True)


def is_in_place(file: IO[bytes]) -> bool:
    """Whether an open file is still the file that its path leads to."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))  # noqa: PTH116 - of an open file
    except FileNotFoundError:
        return False


def _lock(file: IO[bytes], *, wait: bool, is_shared: bool = False) -> LockState:
    try:
        import fcntl
    except ImportError:
        return "no locks"
    how = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, how if wait else how | fcntl.LOCK_NB)
    except BlockingIOError:
        return "taken"
    except OSError:
        return "no locks"
    return "ours"
