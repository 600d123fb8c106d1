"""Entries of volumes: the index ``series_meta.json`` beside them. An entry is used only while its file is unchanged."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from itkit.core.bounded import open_regular, parse_json
from itkit.core.errors import ReadError
from itkit.core.files import SERIES_META, split_extension
from itkit.core.volume import Volume
from itkit.io.disk import write_pieces
from itkit.io.formats.headers import Header
from itkit.io.formats.inspect import SETTLED_NS, is_plain, read_any_header
from itkit.io.json_files import json_line, read_json


def file_stamp(path: str | Path) -> dict[str, int]:
    """Return the size and the modification time of a file; they show whether it has changed since."""
    return _stamp(os.stat(path))  # noqa: PTH116 - called for thousands of files


def _stamp(status: os.stat_result) -> dict[str, int]:
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _header_line(relative: str, path: str, header: Header, status: os.stat_result) -> str:
    """Return the line of a volume of which only the header was read."""
    stamp = _stamp(status)
    if is_plain(header, path) and is_settled(status, time.time_ns()):
        return plain_line(relative, header, stamp)
    grid = header.geometry
    entry = {
        "size": list(grid.size_zyx),
        "spacing": list(grid.spacing_zyx),
        "origin_xyz": list(grid.origin_xyz),
        "direction_xyz": list(grid.direction_xyz),
        "dtype": header.dtype,
        "classes": None,
        "file": stamp,
    }
    return f"  {json_line(relative)}: {json_line(entry)}"


def plain_line(relative: str, header: Header, stamp: Mapping[str, int], classes: Sequence[int] | None = None) -> str:
    """Return the line of a volume whose header leaves no doubt (`is_plain`): its entry begins with ``file``.

    JSON gives the order of an entry's parts no meaning. For `itkit.io.seen`, this order says that the grid stands for
    all that a check of headers would find.
    """
    grid, said = header.geometry, "null" if classes is None else list(classes)
    return (
        f"{plain_beginning(relative, stamp)}{list(grid.size_zyx)}, "
        f'"spacing": {list(grid.spacing_zyx)}, "origin_xyz": {list(grid.origin_xyz)}, '
        f'"direction_xyz": {list(grid.direction_xyz)}, "dtype": "{header.dtype}", "classes": {said}}}'
    )


def _unmarked(line: str, relative: str) -> str:
    """Return a line without the mark of `plain_line`, which somebody else may have made."""
    begin = f'  {json_line(relative)}: {{"file": '
    if not line.startswith(begin):
        return line
    entry = parse_json(f"{{{line}}}")[relative]
    entry["file"] = entry.pop("file")  # to its end
    return f"  {json_line(relative)}: {json_line(entry)}"


def is_settled(status: os.stat_result, at_ns: int) -> bool:
    """Whether a file has not changed since some time before a moment: neither its bytes nor its place on the disk."""
    return max(status.st_mtime_ns, status.st_ctime_ns) <= at_ns - SETTLED_NS


def plain_beginning(relative: str, stamp: Mapping[str, int]) -> str:
    """Return how the line of a plain volume begins, up to its size."""
    size, changed_ns = stamp["bytes"], stamp["mtime_ns"]
    return f'  {json_line(relative)}: {{"file": {{"bytes": {size}, "mtime_ns": {changed_ns}}}, "size": '


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


KnownLines = Callable[[str, Mapping[str, int]], "str | None"]
"""Returns the index line of a volume, by its relative path and its stamp, as far as somebody knows it."""


def refresh_index(folder: Path, known: KnownLines | None = None, seen: KnownLines | None = None) -> int:
    """Write the ``series_meta.json`` of a folder, with one entry for each volume that it contains now.

    It is read and written line by line. Files whose header can't be read get no entry; an index that would not change
    is not written.

    Parameters
    ----------
    folder
        A dataset root (``image/``, ``label/``) or a folder of volumes; sub-folders are included.
    known
        Returns the lines of the volumes that runs have made; the headers of these files need not be read again.
    seen
        Returns the lines of the volumes whose headers this run has read.

    Returns
    -------
    int
        Number of volumes below the folder, with those that get no entry.

    Raises
    ------
    WriteError
        When it can't be written.
    """
    path = folder / SERIES_META
    old = IndexLines(path)
    base = str(folder / "_")[:-1]
    same = 0
    changed: list[str] = []
    volumes = sorted(list_volumes(folder))

    def lines() -> Iterator[str]:
        for relative in volumes:
            line = _index_line(base, relative, old, known, seen)
            if line is not None:
                yield line

    found = lines()
    try:
        for line in found:
            if not old.is_next(line):
                changed.append(line)
                break
            same += 1
        else:
            if old.is_end():
                return len(volumes)
        write_pieces(path, _index_pieces(old.beginning(same), chain(changed, found)))
    finally:
        old.close()
    return len(volumes)


def _index_line(
    base: str, relative: str, old: IndexLines, known: KnownLines | None, seen: KnownLines | None = None
) -> str | None:
    """Return the line of a volume; ``None`` if its header can't be read."""
    path = base + relative
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path for each file takes longer than reading the index
        stamp = _stamp(status)
        line = seen(relative, stamp) if seen is not None else None
        if line is not None:
            return line
        line = old.line(relative, stamp)
        if line is not None:
            return line if is_settled(status, old.written_ns) else _unmarked(line, relative)
        line = known(relative, stamp) if known is not None else None
        return line or _header_line(relative, path, read_any_header(path, status), status)
    except (ReadError, OSError):
        return None


def _entry_line(relative: str, entry: Any, stamp: Mapping[str, int]) -> str | None:
    """Return the line of a volume; ``None`` if what is known of it is no entry for the file as it is now."""
    if not isinstance(entry, Mapping) or entry.get("file") != stamp:
        return None
    try:
        line = f"  {json_line({relative: entry})[1:-1]}"
    except ValueError:  # a number that JSON does not have
        return None
    return line if _INDEX_LINE.fullmatch(line) or is_entry(entry) else None


def grid_text(output: Mapping[str, Any]) -> str | None:
    """Return what an index says of a written volume beside its name and stamp; ``None`` if it can't say it."""
    names, stamp = (*_INDEX_NUMBERS, "dtype", "classes"), {"bytes": 0, "mtime_ns": 0}
    entry = {name: output[name] for name in names if name in output}
    if len(entry) < len(names) or _entry_line("", {**entry, "file": stamp}, stamp) is None:
        return None
    return json_line(entry)[1:-1]


def line_with_grid(relative: str, grid: str, stamp: Mapping[str, int]) -> str:
    """Return the line of a written volume; ``grid`` is what `grid_text` returns."""
    size, changed_ns = stamp["bytes"], stamp["mtime_ns"]
    return f'  {json_line(relative)}: {{{grid}, "file": {{"bytes": {size}, "mtime_ns": {changed_ns}}}}}'


def _index_pieces(begun: Iterable[str], lines: Iterable[str]) -> Iterator[str]:
    first = True
    for line in chain(begun, lines):
        yield f"{'{' if first else ','}\n{line}"
        first = False
    yield "{}\n" if first else "\n}\n"


_NUMBER = r"-?(?:0|[1-9]\d{0,39})(?:\.\d{1,40})?(?:e[-+]?\d{1,2})?"
_WHOLE = r"-?(?:0|[1-9]\d{0,39})"
_GRID = (
    r'"size": \[W, W, W\], "spacing": \[N, N, N\], "origin_xyz": \[N, N, N\], '
    r'"direction_xyz": \[N, N, N, N, N, N, N, N, N\], "dtype": "\w+", "classes": (?:null|\[(?:W(?:, W)*)?\])'
)
_FILE = r'"file": \{"bytes": (W), "mtime_ns": (W)\}'
_INDEX_LINE = re.compile(
    rf'  "([^"\\\x00-\x1f]*)": \{{(?:{_GRID}, {_FILE}|{_FILE}, {_GRID})\}}'.replace("N", _NUMBER).replace("W", _WHOLE),
    re.ASCII,
)
"""The lines that we write; a line of another form is parsed."""


class IndexLines:
    """The entries of an index, read in order as they are asked for; an index of another form is read as a whole.

    Parameters
    ----------
    path
        The index. One that is missing or broken has no entries.
    """

    def __init__(self, path: Path) -> None:
        self._next: tuple[str | None, str] | None = None
        self._goes_on = True
        self._is_ours = False
        self._whole: Mapping[str, Any] = {}
        self._path = path
        self.written_ns = 0
        """When the index was written."""
        self._seen: io.TextIOWrapper | None = None
        self._file: io.TextIOWrapper | None = None
        with contextlib.suppress(OSError, ValueError), contextlib.ExitStack() as opened:
            files = [opened.enter_context(open_regular(path)) for _ in range(2)]
            self.written_ns = os.fstat(files[0].fileno()).st_mtime_ns
            self._is_ours = _is_ours(files[0])
            if self._is_ours:
                self._file, self._seen = (io.TextIOWrapper(file, "utf-8", newline="\n") for file in files)
                opened.pop_all()
                self._file.readline()
                self._seen.readline()
        if not self._is_ours:
            self.close()
            value = read_json(path)
            self._whole = value if isinstance(value, dict) else {}

    def close(self) -> None:
        """Close the file."""
        for file in (self._file, self._seen):
            if file is not None:
                file.close()
        self._file = self._seen = None

    def line(self, relative: str, stamp: Mapping[str, int]) -> str | None:
        """Return the line of a volume; ``None`` if it has no valid entry for the file as it is now."""
        if not self._is_ours:
            entry = self._whole.get(relative)
            return _entry_line(relative, entry, stamp)
        line = self._find(relative)
        if line is None:
            return None
        match = _INDEX_LINE.fullmatch(line)
        if match is not None:
            size, changed_ns = match[2] or match[4], match[3] or match[5]
            return line if (int(size), int(changed_ns)) == (stamp["bytes"], stamp["mtime_ns"]) else None
        try:
            entry = parse_json(f"{{{line}}}")[relative]
        except (ValueError, KeyError, TypeError):
            return None
        return _entry_line(relative, entry, stamp)

    def _find(self, relative: str) -> str | None:
        with contextlib.suppress(ValueError):  # it is no text any more from here on
            while self._file is not None:
                if self._next is None:
                    line = self._file.readline(_LONGEST_LINE)
                    if not line:
                        break
                    self._next = _name_in(line), line.rstrip("\n").removesuffix(",")
                name, line = self._next
                if name is not None and name > relative:
                    break
                self._next = None
                if name == relative:
                    return line
        return None

    def is_next(self, line: str) -> bool:
        """Whether the index goes on with a line."""
        if self._seen is None or not self._goes_on:
            return False
        with contextlib.suppress(ValueError):
            found = self._seen.readline(_LONGEST_LINE).rstrip("\n")
            self._goes_on = found.endswith(",")
            return found.removesuffix(",") == line
        return False

    def is_end(self) -> bool:
        """Whether the index ends here."""
        with contextlib.suppress(ValueError):
            return self._seen is not None and not self._goes_on and self._seen.read(4) == "}\n"
        return False

    def beginning(self, number: int) -> Iterator[str]:
        """Yield the first lines."""
        if not number:
            return
        with self._path.open(encoding="utf-8", newline="\n") as file:
            file.readline()
            for _ in range(number):
                yield file.readline().rstrip("\n").removesuffix(",")


def classes_of_line(line: str, relative: str, stamp: Mapping[str, int]) -> list[int] | None:
    """Return the classes that a line of an index names, as far as it tells of a file as it is now."""
    try:
        entry = parse_json(f"{{{line}}}")[relative]
    except (ValueError, KeyError, TypeError):
        return None
    classes = entry.get("classes") if is_entry(entry) and entry["file"] == stamp else None
    is_list = isinstance(classes, list) and all(type(value) is int for value in classes)
    return classes if is_list else None


_LONGEST_LINE = 1 << 20


def _is_ours(file: BinaryIO) -> bool:
    """Whether an index has the form in which we write it, as its first lines and its end tell."""
    first, second = file.readline(4), file.readline(_LONGEST_LINE)
    file.seek(max(0, file.seek(0, os.SEEK_END) - 3))
    end = file.read()
    file.seek(0)
    return first == b"{\n" and second.startswith(b'  "') and end == b"\n}\n"


def _name_in(line: str) -> str | None:
    """Return the name in a line of an index."""
    if not line.startswith('  "'):
        return None
    end = line.find('": {', 3)
    name = line[3:end] if end > 0 else ""
    if end > 0 and '"' not in name and "\\" not in name:
        return name
    try:
        found = json.JSONDecoder().raw_decode(line, 2)[0]
    except ValueError:
        return None
    return found if isinstance(found, str) else None


def current_classes(folder: Path, part: str) -> dict[str, list[int] | None]:
    """Return the classes of a dataset's label files from its index; ``None`` if the index does not list them.

    An entry counts only while its file is unchanged.
    """
    found: dict[str, list[int] | None] = {}
    with contextlib.closing(IndexLines(folder / SERIES_META)) as index:
        for relative in sorted(list_volumes(folder / part)) if (folder / part).is_dir() else ():
            name = f"{part}/{relative}"
            with contextlib.suppress(OSError):
                stamp = file_stamp(folder / name)
                line = index.line(name, stamp)
                found[name] = None if line is None else classes_of_line(line, name, stamp)
    return found


def list_volumes(folder: Path) -> Iterable[str]:
    """Return the relative POSIX paths of all volume files below a folder, without hidden files and ``.itkit``."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        prefix = "" if (place := Path(root).relative_to(folder).as_posix()) == "." else f"{place}/"
        for name in files:
            if split_extension(name) is not None:
                yield prefix + name
