"""List the files of a folder tree without opening any."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from itkit.core.errors import LayoutError

UNLISTED = "*.mha"
"""Name of the volumes in a folder that can't be listed; no such file can be opened."""


def walk(
    folder: Path, *, recursive: bool, but: Collection[str] = (), passing: tuple[str, ...] = ()
) -> Iterator[tuple[str, str]]:
    """Yield (relative folder with a trailing slash, file name); follow links to folders, but not loops.

    Folders of the first level with the names ``but`` are left out, and so are files whose names end as one of
    ``passing``, in any letter case. A sub-folder that can't be listed yields `UNLISTED`, so that reading it fails by
    name while the others are read.

    Raises
    ------
    LayoutError
        When the folder itself can't be listed.
    """
    pending = [("", folder, frozenset({os.path.realpath(folder)}))]
    while pending:
        prefix, current, above = pending.pop()
        try:
            entries = os.scandir(current)
        except OSError as error:
            if prefix:
                yield prefix, UNLISTED
                continue
            raise LayoutError(f"{current}: can't be listed ({error.strerror})") from error
        with entries:
            for entry in _each(entries, current, is_inner=bool(prefix)):
                if entry is None:
                    yield prefix, UNLISTED
                    break
                if entry.name.startswith("."):
                    continue
                is_passed = bool(passing) and entry.name.lower().endswith(passing)
                if is_passed and not recursive:
                    continue  # folders are left out anyway
                if is_folder(entry):
                    real = os.path.realpath(entry.path)
                    if recursive and real not in above and (prefix or entry.name not in but):
                        pending.append((f"{prefix}{entry.name}/", Path(entry.path), above | {real}))
                elif not is_passed:
                    yield prefix, entry.name


def _each(entries: Iterator[os.DirEntry[str]], folder: Path, *, is_inner: bool) -> Iterator[os.DirEntry[str] | None]:
    """Yield the entries of a folder; ``None`` where an inner one can't be listed any further."""
    try:
        yield from entries
    except OSError as error:
        if not is_inner:
            raise LayoutError(f"{folder}: can't be listed ({error.strerror})") from error
        yield None


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is a folder, or a link to one; a link that leads to itself is neither."""
    try:
        return entry.is_dir()
    except OSError:
        return False
