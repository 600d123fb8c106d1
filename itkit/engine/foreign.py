"""Find files that a run must not replace, because ITKIT did not write them or somebody has edited them since."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from itkit.core.errors import ItkitError
from itkit.core.files import split_extension
from itkit.engine.fingerprint import Fingerprint, is_unchanged
from itkit.io.formats.headers import headers_of
from itkit.io.formats.inspect import read_any_header


def foreign_files(present: Iterable[Path], ours: Mapping[Path, Any], how: Fingerprint) -> list[Path]:
    """Return the files that are not as ITKIT wrote them; ``ours`` holds the manifest's entry for each path."""
    return [path for path in present if path not in ours or not is_unchanged(path, ours[path], how)]


def not_to_replace(foreign: Iterable[Path], ours: Mapping[Path, Any]) -> list[Path]:
    """Return the files that are somebody's work: all that we did not write, and ours that were edited to whole ones."""
    return [path for path in foreign if path not in ours or reads_whole(path)]


def reads_whole(path: Path) -> bool:
    """Whether a file of ours was edited: it reads whole, or can't be judged; truncated and damaged ones were not."""
    from itkit.io.formats.store import opens_whole, store_kind
    from itkit.io.sitk_toolkit import read_volume  # imports numpy, which a run without such files does not need

    if store_kind(path) is not None:
        return opens_whole(path)
    if split_extension(path.name) is None:  # a data file: judge it with its header
        return any(reads_whole(header) for header in headers_of(path))
    if not os.access(path, os.R_OK):
        return True
    try:
        header = read_any_header(path)
        if header.ndim == 3:
            read_volume(path, channels=True)
    except ItkitError:
        return False
    return True
