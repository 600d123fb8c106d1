"""List the files of a folder tree without opening any."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from itkit.core.errors import LayoutError

UNLISTED = "*.mha"
"""Name of the volumes in a folder that can't be listed; no such file can be opened."""


def walk(folder: Path, *, recursive: bool) -> Iterator[tuple[str, str]]:
    """Yield (relative folder with a trailing slash, file name); follow links to folders, but not loops.

    A sub-folder that can't be listed yields `UNLISTED`, so that reading it fails by name while the others are read.

    Raises
    ------
    LayoutError
        When the folder itself can't be listed.
    """
    pending = [("", folder, frozenset({os.path.realpath(folder)}))]
    while pending:
        prefix, current, above = pending.pop()
        try:
            entries = list(os.scandir(current))
        except OSError as error:
            if prefix:
                yield prefix, UNLISTED
                continue
            raise LayoutError(f"{current}: can't be listed ({error.strerror})") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if is_folder(entry):
                real = os.path.realpath(entry.path)
                if recursive and real not in above:
                    pending.append((f"{prefix}{entry.name}/", Path(entry.path), above | {real}))
            else:
                yield prefix, entry.name


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is a folder, or a link to one; a link that leads to itself is neither."""
    try:
        return entry.is_dir()
    except OSError:
        return False
