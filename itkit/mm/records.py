"""What ``mmrun`` writes into the folders of a model, and reads there to know what is done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from itkit.io.json_files import read_json, write_json

RECORD = "mmrun.json"
LAST = "last_checkpoint"
"""File of MMEngine that holds the path of the last checkpoint."""
_MOST_DEPTH = 20


def read_record(folder: Path, part: str) -> Mapping[str, Any]:
    """Return a part of a folder's record, ``training`` or ``test``; empty if there is none."""
    values = read_json(folder / RECORD)
    found = values.get(part) if isinstance(values, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def write_record(folder: Path, part: str, values: Mapping[str, Any] | None) -> None:
    """Write a part of a folder's record, or remove it (``None``); the other parts stay.

    Raises
    ------
    WriteError
        When it can't be written.
    """
    before = read_json(folder / RECORD)
    kept = {key: value for key, value in before.items() if key != part} if isinstance(before, Mapping) else {}
    if values is not None:
        kept[part] = plain(values)
    if kept or (folder / RECORD).is_file():
        write_json(folder / RECORD, kept)


def state_of(path: Path) -> dict[str, Any]:
    """Return what tells a file from a later one of the same name: name, size and time of the last change.

    Raises
    ------
    OSError
        When it is not there.
    """
    stat = path.stat()
    return {"name": path.name, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def plain(value: Any, depth: int = 0) -> Any:
    """Return a value as strict JSON can hold it: arrays and tensors as lists, what is not finite as ``None``.

    Examples
    --------
    >>> import numpy as np
    >>> plain({"dice": np.float32(0.5), "per_class": np.array([1.0, np.nan]), 3: None, "path": Path("a/b")})
    {'dice': 0.5, 'per_class': [1.0, None], '3': None, 'path': 'a/b'}
    """
    if value is None or isinstance(value, bool | int | str) or depth > _MOST_DEPTH:
        return value if depth <= _MOST_DEPTH else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item, depth + 1) for item in value]
    if callable(getattr(value, "detach", None)):  # a tensor, of any device and type
        value = value.detach().cpu()
        value = value.double() if value.is_floating_point() else value
    if callable(getattr(value, "tolist", None)):  # a tensor, an array, or a number of numpy
        return plain(value.tolist(), depth + 1)
    return str(value)
