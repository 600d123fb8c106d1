"""What a folder's index says of its volumes, so that they are checked without being opened.

An entry of ``series_meta.json`` stands for the header of its file while size and modification time are the same, if it
says that the header left no doubt (`itkit.io.meta.plain_line`), and if nothing has happened to the file since the
index was written. So a file is read again that was changed (file systems have coarse clocks: it must be a little older
than the index), and one that came here after its index, which somebody else may have packed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache, partial
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from itkit.core.bounded import open_regular
from itkit.core.errors import ReadError
from itkit.core.files import SERIES_META
from itkit.core.geometry import LONGEST_AXIS, Geometry
from itkit.core.packed import Sorter
from itkit.io.formats.backend import codecs_backend
from itkit.io.formats.inspect import is_plain, read_any_header, require_possible_grid
from itkit.io.meta import classes_of_line, is_settled, list_volumes, plain_beginning, plain_line

_LONGEST_LINE = 1 << 20
_MOST_PASSED = 4096
"""Lines that are kept although nobody has asked for them yet: cases and files are not always in the same order."""
_CHUNK = 1 << 20
_END = "\U0010ffff"
_TAIL = re.compile(r'\], "dtype": "\w+", "classes": (?:null|\[(?:-?\d{1,40}(?:, -?\d{1,40})*)?\])\}', re.ASCII)


class Seen:
    """The grids of a folder's volumes, from its index or from their headers; each file is looked at once.

    Parameters
    ----------
    folder
        The folder of the index; nothing is read outside it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._base = os.fspath(folder / "_")[:-1]
        self._index = folder / SERIES_META
        self._stack = contextlib.ExitStack()
        self._parts: dict[str, _Part] = {}
        self._written_ns = 0
        self._begun_ns = time.time_ns()
        self._held = self._asked = 0
        self._is_ours = codecs_backend() != "itk"  # ITK may take a header for another one
        with contextlib.suppress(OSError):
            self._written_ns = self._index.stat().st_mtime_ns

    def close(self) -> None:
        """Close the index."""
        self._stack.close()
        for part in self._parts.values():
            part.old = _Lines(())

    def grid(self, path: str) -> Geometry | None:
        """Return the grid of a volume; ``None`` if there is more to be said of it than its grid."""
        if not (self._is_ours and path.startswith(self._base)):
            return None
        relative = path[len(self._base) :]
        folder = relative.rpartition("/")[0]
        part = self._part(folder.partition("/")[0])
        self._asked += 1
        try:
            status = os.stat(path)  # noqa: PTH116 - for every file
            stamp = {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
            line = part.old.find(relative)
            if line is not None and is_settled(status, self._written_ns):
                grid = _grid_in(line, relative, stamp)
                if grid is not None:
                    self._held += 1
                    return grid
            header = read_any_header(path, is_kept=False)
        except (OSError, ReadError):
            return None
        if not is_plain(header, path):
            return None
        if not is_settled(status, self._begun_ns):
            return header.geometry
        classes = None if line is None else classes_of_line(line, relative, stamp)
        part.new.add((relative, plain_line(relative, header, stamp, classes)))
        return header.geometry

    def line(self, relative: str, stamp: Mapping[str, int]) -> str | None:
        """Return the new line of a volume whose header was read, if the file is still the same."""
        part = self._parts.get(relative.rpartition("/")[0].partition("/")[0])
        line = None if part is None else part.read.find(relative)
        return line if line is not None and line.startswith(plain_beginning(relative, stamp)) else None

    def renew(self, volumes: int) -> None:
        """Date the index to the beginning of this run, if all volumes below the folder were looked at since then.

        ``volumes`` is their number when the index was written.
        """
        with contextlib.suppress(OSError):
            if self._asked > self._held and self._asked == volumes:
                os.utime(self._index, ns=(self._begun_ns, self._begun_ns))

    def holds(self) -> bool:
        """Whether the index has told the grids of all volumes below the folder, and tells of nothing else."""
        with contextlib.suppress(OSError, ValueError):
            return self._held > 0 and self._held == _entries(self._index) == _count(list_volumes(self.folder))
        return False

    def _part(self, name: str) -> _Part:
        part = self._parts.get(name)
        if part is None:
            part = self._parts[name] = _Part(self._lines(f"{name}/" if name else ""))
        return part

    def _lines(self, prefix: str) -> _Lines:
        """Return the lines of the index from the first name with a beginning on."""
        try:
            file = self._stack.enter_context(open_regular(self._index))
        except (OSError, ValueError):
            return _Lines(())
        file.seek(_start_of(file, prefix))
        return _Lines(_named_lines(file))


class _Part:
    """The lines of one folder: those of the index, and those that are made from headers."""

    def __init__(self, old: _Lines) -> None:
        self.old = old
        self.new: Sorter[tuple[str, str]] = Sorter(itemgetter(0))
        self._read: _Lines | None = None

    @property
    def read(self) -> _Lines:
        """The new lines, to be read when all of them are there."""
        if self._read is None:
            self._read = _Lines(self.new.in_order())
        return self._read


class _Lines:
    """Finds lines by their names, which come nearly in order, as they are asked for."""

    def __init__(self, lines: Iterable[tuple[str, str]]) -> None:
        self._lines = iter(lines)
        self._at, self._line = "", ""
        self._passed: dict[str, str] = {}

    def find(self, name: str) -> str | None:
        """Return the line of a name; ``None`` if there is none. Nobody asks for a name twice."""
        if self._passed and name in self._passed:
            return self._passed.pop(name)
        while self._at < name:
            if self._line:
                self._passed[self._at] = self._line
                if len(self._passed) > _MOST_PASSED:
                    del self._passed[next(iter(self._passed))]
            self._at, self._line = next(self._lines, (_END, ""))
        if self._at != name:
            return None
        line, self._line = self._line, ""
        return line or None


def _named_lines(file: BinaryIO) -> Iterator[tuple[str, str]]:
    """Yield the lines of an index in our form, each with its name and without the comma, up to one that is none."""
    for raw in iter(partial(file.readline, _LONGEST_LINE), b""):
        end = raw.find(b'": {', 3)
        if end < 0 or raw[:3] != b'  "':
            return
        try:
            text = raw.decode()
            name = json.loads(raw[2 : end + 1]) if b"\\" in raw[:end] else raw[3:end].decode()
        except ValueError:
            return
        yield name, text.rstrip("\n").removesuffix(",")


def _start_of(file: BinaryIO, prefix: str) -> int:
    """Return where the first line of an index lies whose name is not before the given one, by halving."""
    wanted = f'  "{prefix}'.encode()
    low, high = len(b"{\n"), file.seek(0, os.SEEK_END)
    while prefix and high - low > _LONGEST_LINE // 16:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline(_LONGEST_LINE)
        place = file.tell()
        if place < high and file.readline(len(wanted) + 1)[: len(wanted)] < wanted:
            low = place
        else:
            high = middle
    return low


def _grid_in(line: str, relative: str, stamp: Mapping[str, int]) -> Geometry | None:
    """Return the grid in a plain volume's line; ``None`` if the line is no such line, or tells of another file."""
    begin = plain_beginning(relative, stamp)
    end = line.find('], "dtype": "')
    if end < 0 or not line.startswith(begin) or not _is_tail(line[end:]):
        return None
    return _grid_of(line[len(begin) : end])


@lru_cache(64)
def _is_tail(text: str) -> bool:
    return _TAIL.fullmatch(text) is not None


@lru_cache(8)
def _grid_of(text: str) -> Geometry | None:
    """Return the grid that the text between the stamp and the type of a line says; ``None`` for what can't be."""
    try:
        found = json.loads(f'{{"size": {text}]}}', parse_constant=_no_number)
        size, spacing, origin, direction = (tuple(found[name]) for name in _NUMBERS)
        if len(size) != 3 or not all(type(n) is int and 1 <= n <= LONGEST_AXIS for n in size):
            return None
        if not all(type(value) is float for value in (*spacing, *origin, *direction)) or len(origin) != 3:
            return None
        grid = Geometry.as_stated(size, spacing, origin, direction)
        require_possible_grid(grid, "", "")
    except (ValueError, KeyError, TypeError, ReadError):
        return None
    return grid


_NUMBERS = ("size", "spacing", "origin_xyz", "direction_xyz")


def _no_number(name: str) -> float:
    raise ValueError(name)


def _entries(index: Path) -> int:
    """Return the number of entries of an index in our form.

    Raises
    ------
    ValueError
        When it has another form.
    """
    lines = commas = 0
    end = b""
    with open_regular(index) as file:
        while chunk := file.read(_CHUNK):
            lines += chunk.count(b"\n")
            commas += (end[-2:] + chunk).count(b"},\n")
            end = (end + chunk)[-4:]
    if end[-4:] != b"}\n}\n":
        raise ValueError("not in our form")
    if lines != commas + 3:  # the first, the last, and that of the last entry
        raise ValueError("a comma is missing, or a line is too many")
    return commas + 1


def _count(names: Iterable[str]) -> int:
    return sum(1 for _ in names)


__all__ = ["Seen"]
