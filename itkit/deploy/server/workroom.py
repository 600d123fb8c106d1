"""Where uploads and results lie while they are needed: one folder of a server, which vanishes with it.

A server that is killed can remove nothing. Its folder holds a file that it had locked; the next server removes the
folders whose lock is free. Until its own lock holds, a server that starts takes a folder that it has made for one that
the others may remove, and then makes another.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from pathlib import Path

from itkit.core.errors import LayoutError
from itkit.io.locks import lock_new, try_lock

_PREFIX = "itkit-serve-"
_LOCK = "lock"


class Workroom:
    """The folder of a running server.

    Parameters
    ----------
    parent
        Folder that holds it; by default the system's temporary folder.

    Raises
    ------
    LayoutError
        When it can't be made.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = Path(tempfile.gettempdir()) if parent is None else parent
        remove_abandoned(parent)
        try:
            self.folder, self._lock = lock_new(lambda: Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent)), _LOCK)
        except OSError as error:
            raise LayoutError(f"--scratch {parent}: can't be written ({error.strerror or error})") from error

    def new_folder(self) -> Path:
        """Make an empty folder with a random name."""
        folder = self.folder / secrets.token_urlsafe(12)
        folder.mkdir(mode=0o700)
        return folder

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()


def remove_abandoned(parent: Path) -> list[Path]:
    """Remove the folders of servers that have ended without removing them, and return them."""
    with contextlib.suppress(OSError):
        return [folder for folder in sorted(parent.glob(f"{_PREFIX}*")) if _is_ours(folder) and _was_removed(folder)]
    return []


def _is_ours(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and (not hasattr(os, "getuid") or found.st_uid == os.getuid())


def _was_removed(folder: Path) -> bool:
    """Remove a folder whose lock is free; hold the lock meanwhile, so that its server can't begin to use it."""
    try:
        with (folder / _LOCK).open("rb") as lock:
            if try_lock(lock) != "ours":
                return False
            shutil.rmtree(folder, ignore_errors=True)
    except FileNotFoundError:  # its server has ended, or is about to lock it and will then make another
        with contextlib.suppress(OSError):  # not empty any more
            folder.rmdir()
    except OSError:
        return False
    return not folder.exists()
