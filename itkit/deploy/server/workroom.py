"""Where uploads and results lie while they are needed: one folder of a server, which vanishes with it.

A server that is killed can remove nothing. Its folder holds a file that it had locked; the next server removes the
folders whose lock is free.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import IO

from itkit.core.errors import LayoutError
from itkit.io.locks import try_lock

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
            self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))  # for this user alone
            self._lock: IO[bytes] = (self.folder / _LOCK).open("xb")
        except OSError as error:
            raise LayoutError(f"--scratch {parent}: can't be written ({error.strerror or error})") from error
        try_lock(self._lock)

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
    removed = []
    with contextlib.suppress(OSError):
        for folder in sorted(parent.glob(f"{_PREFIX}*")):
            if _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder)
    return removed


def _is_abandoned(folder: Path) -> bool:
    if folder.is_symlink() or not folder.is_dir():
        return False
    try:
        if hasattr(os, "getuid") and folder.lstat().st_uid != os.getuid():
            return False
        with (folder / _LOCK).open("rb") as lock:
            return try_lock(lock) == "ours"
    except OSError:
        return False
