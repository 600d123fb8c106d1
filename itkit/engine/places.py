"""Paths of the manifest: which file an entry means."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path


def place(path: Path) -> Path:
    """Return a path in the form in which paths are compared: absolute, without ``..``, links not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps "..", Path.resolve follows links


def real_path(path: Path) -> Path:
    """Return a path with all links followed; a link that leads to itself is returned as it is."""
    return Path(os.path.realpath(path))  # Path.resolve raises for a link that leads to itself


def leads_inside(path: Path, folders: Iterable[Path]) -> bool:
    """Whether a file lies in one of the folders or below, both by its path and after following links."""
    above, real = place(path).parents, os.path.realpath(path.parent)
    for folder in map(place, folders):
        root = os.path.realpath(folder)
        if folder in above and (real == root or real.startswith(root.rstrip(os.sep) + os.sep)):
            return True
    return False


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
