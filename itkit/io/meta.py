"""JSON files beside volumes: the index ``series_meta.json`` and sidecars.

They are written atomically. An entry of the index is used only while its file is unchanged.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from itkit.core.bounded import parse_json, read_bounded
from itkit.core.errors import ReadError, WriteError
from itkit.core.files import SERIES_META, STATE_FOLDER, split_extension
from itkit.core.volume import Volume
from itkit.io.disk import hidden_beside
from itkit.io.formats.headers import Header
from itkit.io.formats.inspect import read_any_header
from itkit.io.layouts import IMAGE, LABEL


def read_json(path: Path) -> Any:
    """Read a JSON file; ``None`` when it is missing, broken, or beyond the limits of `itkit.core.bounded`."""
    try:
        return parse_json(read_bounded(path))
    except (OSError, ValueError):
        return None


def write_json(path: Path, value: Any, *, compact_depth: int = 2) -> None:
    """Write a JSON file completely or not at all, in UTF-8, with one line for each entry of the upper levels.

    Raises
    ------
    WriteError
        When it can't be written.
    """
    write_text(path, json_text(value, compact_depth=compact_depth))


def json_text(value: Any, *, compact_depth: int = 2) -> str:
    """Return the text of a JSON file with one line for each entry of the upper levels."""
    return dumps(value, compact_depth) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 completely or not at all.

    Raises
    ------
    WriteError
        When it can't be written.
    """
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file completely or not at all.

    Raises
    ------
    WriteError
        When it can't be written.
    """
    state = path.parent if path.parent.name == STATE_FOLDER else path.parent / STATE_FOLDER
    stage = state / "tmp"  # the next run removes what a killed run leaves here
    folder = stage if state.is_dir() and not (state.is_symlink() or stage.is_symlink()) else path.parent
    hidden = hidden_beside(folder / path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        with hidden.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        hidden.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            hidden.unlink()
        raise WriteError(f"{path}: can't be written ({error.strerror or error})") from error


def dumps(value: Any, compact_depth: int) -> str:
    """Return JSON whose upper levels are indented; each entry below them takes one line."""

    def render(item: Any, depth: int) -> str:
        if depth < compact_depth and item and isinstance(item, Mapping):
            inner = ",\n".join(
                f"{'  ' * (depth + 1)}{json_line(str(key))}: {render(entry, depth + 1)}" for key, entry in item.items()
            )
            return f"{{\n{inner}\n{'  ' * depth}}}"
        return json_line(item)

    return render(value, 0)


_NO_BLANKS = (",", ":")
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_encode_compactly = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=_NO_BLANKS).encode


def json_line(value: Any) -> str:
    r"""Return JSON on one line that UTF-8 can encode: undecodable bytes of file names are escaped, so they read back.

    Examples
    --------
    >>> json_line("Köln"), json_line("p\udcfc"), json.loads(json_line("p\udcfc")) == "p\udcfc"
    ('"Köln"', '"p\\udcfc"', True)
    """
    text = _encode(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)
    return text


def compact_line(value: Any) -> str:
    """Return JSON on one line like `json_line`, without blanks."""
    text = _encode_compactly(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, separators=_NO_BLANKS)
    return text


def file_stamp(path: Path) -> dict[str, int]:
    """Return the size and the modification time of a file; they show whether it has changed since."""
    return _stamp(path.stat())


def _stamp(status: os.stat_result) -> dict[str, int]:
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _index_entry(header: Header, stamp: Mapping[str, int]) -> dict[str, Any]:
    """Return the index entry of a volume of which only the header was read."""
    grid = header.geometry
    return {
        "size": list(grid.size_zyx),
        "spacing": list(grid.spacing_zyx),
        "origin_xyz": list(grid.origin_xyz),
        "direction_xyz": list(grid.direction_xyz),
        "dtype": header.dtype,
        "classes": None,
        "file": stamp,
    }


def volume_entry(name: str, case_id: str, volume: Volume, classes: Sequence[int] | None = None) -> dict[str, Any]:
    """Return the manifest entry of a written volume; the classes of a label map are counted unless given."""
    if classes is None:
        classes = volume.classes
    if volume.kind == "label" and classes is None:
        from itkit.kernels.labels import label_counts

        classes = list(label_counts(volume.array_zyx))
    grid = volume.geometry
    return {
        "name": name,
        "case": case_id,
        "size": list(grid.size_zyx),
        "spacing": list(grid.spacing_zyx),
        "origin_xyz": list(grid.origin_xyz),
        "direction_xyz": list(grid.direction_xyz),
        "dtype": volume.dtype.name,
        "classes": None if classes is None else list(classes),
    }


def is_entry(value: Any) -> bool:
    """Return whether a value has the form of an index entry."""
    return (
        isinstance(value, Mapping)
        and {"dtype", "file"} <= value.keys()
        and isinstance(value["file"], Mapping)
        and all(_are_numbers(value.get(name), count) for name, count in _INDEX_NUMBERS.items())
    )


_INDEX_NUMBERS = {"size": 3, "spacing": 3, "origin_xyz": 3, "direction_xyz": 9}


def _are_numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
    )


def refresh_index(folder: Path, known: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """Write the ``series_meta.json`` of a folder, with one entry for each volume that it contains now.

    Parameters
    ----------
    folder
        A dataset root (``image/``, ``label/``) or a folder of volumes; sub-folders are included.
    known
        Entries that a run has just made, by relative path; the headers of these files need not be read again.

    Returns
    -------
    dict
        The index as written. Files whose header can't be read have no entry.
    """
    old = read_json(folder / SERIES_META)
    candidates = {**(old if isinstance(old, dict) else {}), **(known or {})}
    index: dict[str, Any] = {}
    base = str(folder / "_")[:-1]
    for relative in sorted(list_volumes(folder)):
        path = base + relative
        entry = candidates.get(relative)
        try:
            status = os.stat(path)  # noqa: PTH116 - a Path for each file takes longer than reading the index
            stamp = _stamp(status)
            if entry is None or not is_entry(entry) or entry["file"] != stamp:
                entry = _index_entry(read_any_header(path, status), stamp)
        except (ReadError, OSError):
            continue
        index[relative] = entry
    write_json(folder / SERIES_META, index, compact_depth=1)
    return index


def current_classes(folder: Path, part: str) -> dict[str, list[int] | None]:
    """Return the classes of a dataset's label files from its index; ``None`` if the index does not list them.

    An entry counts only while its file is unchanged.
    """
    index = read_json(folder / SERIES_META)
    entries = index if isinstance(index, dict) else {}
    found: dict[str, list[int] | None] = {}
    for relative in list_volumes(folder / part) if (folder / part).is_dir() else ():
        name = f"{part}/{relative}"
        entry = entries.get(name)
        known: Mapping[str, Any] = entry if isinstance(entry, Mapping) and is_entry(entry) else {}
        with contextlib.suppress(OSError):
            is_true = bool(known) and known["file"] == file_stamp(folder / name)
            classes = known.get("classes") if is_true else None
            found[name] = [value for value in classes if isinstance(value, int)] if isinstance(classes, list) else None
    return found


def list_volumes(folder: Path) -> Iterable[str]:
    """Return the relative POSIX paths of all volume files below a folder, without hidden files and ``.itkit``."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        prefix = Path(root).relative_to(folder).as_posix()
        for name in files:
            if split_extension(name) is not None:
                yield name if prefix == "." else f"{prefix}/{name}"


__all__ = [
    "IMAGE",
    "LABEL",
    "dumps",
    "file_stamp",
    "json_text",
    "list_volumes",
    "read_json",
    "refresh_index",
    "write_json",
    "write_text",
]
