"""Paths of the manifest: which file an entry means."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path


def place(path: Path) -> Path:
    """Return a path in the form in which paths are compared: absolute, without ``..``, links not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps "..", Path.resolve follows links


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path lies below a folder, by name: links are not followed."""
    return place(folder) in place(path).parents


def relative_path(path: Path, dest: Path) -> str:
    """Return a file's path relative to the destination, with ``..`` if it lies outside."""
    folder = relative_folder(path.parent, dest)
    return path.name if folder == "." else f"{folder}/{path.name}"


def relative_folder(folder: Path, dest: Path) -> str:
    """Return a folder's path relative to the destination, ``.`` for the destination itself."""
    return _relative(str(folder.absolute()), str(dest.absolute()))


@lru_cache
def _relative(folder: str, dest: str) -> str:
    return Path(os.path.relpath(folder, dest)).as_posix()
