"""The newest records of the cases of one operation, read from manifest files; of each, only its place is kept."""

from __future__ import annotations

import contextlib
import re
import weakref
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from copy import copy
from pathlib import Path
from typing import Any, BinaryIO

from itkit.core.bounded import MOST_BYTES, open_regular
from itkit.core.errors import LayoutError
from itkit.core.operation import Record
from itkit.core.text import counted
from itkit.engine.dense import Forms, full, is_defining, is_dense, lacks_form
from itkit.engine.lines import BROKEN, number_of, record_of, value_of, with_places

_HEAD = re.compile(
    rb'\{"run": ?(\d{1,15}), ?"operation": ?"([^"\\]*)", ?(?:"time": ?[0-9.eE+-]+, ?)?'
    rb'"case": ?"([^"\\]*)", ?"status": ?"([a-z]+)",'
)
"""The beginning of the lines that we write, for names without escaped letters."""
_FILE_BITS, _PLACE_BITS = 24, 64
_MOST_OPEN = 256


class _LacksFormError(Exception):
    """No line that has been read so far says what a line shares."""


class _Files:
    """Open manifest files; those beyond a number of them are opened for each reading."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self._stack = contextlib.ExitStack()
        self._open = [self._stack.enter_context(opened(path)) for path in paths[:_MOST_OPEN]]
        weakref.finalize(self, self._stack.close)

    @contextlib.contextmanager
    def at(self, index: int, place: int) -> Iterator[BinaryIO]:
        """Give a file, to be read from a place on."""
        with contextlib.ExitStack() as stack:
            is_open = index < len(self._open)
            file = self._open[index] if is_open else stack.enter_context(opened(self.paths[index]))
            file.seek(place)
            yield file


class Records(Mapping[str, Record]):
    """The newest finished (or failed) record of each case; of each, only its place in a file is kept.

    The files stay open, so that another run may replace them meanwhile.

    Parameters
    ----------
    paths
        The manifest files.
    operation
        The operation whose records are wanted.
    statuses, over
        What their status is; and the status of a later record that puts an end to them.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        operation: str,
        statuses: Sequence[str] = ("done",),
        over: Sequence[str] = ("skipped",),
    ) -> None:
        self._operation = operation
        self._statuses, self._over = tuple(statuses), tuple(over)
        self._files = _Files(paths)
        self._forms = [Forms() for _ in paths]
        self._places: dict[str, int] = {}
        self.highest = 0
        """Highest number of a run in all files."""
        self.loose: dict[Path, int] = dict.fromkeys(paths, 0)
        """Bytes of each file in lines that are not dense."""
        self.forms: dict[Path, int] = dict.fromkeys(paths, 0)
        """How many forms the lines of each file define."""
        self.lacking: dict[Path, int] = {}
        """How many lines of each file say nothing, because that is missing which they share with others."""
        self._is_careful = False
        self._scan(is_careful=False)

    def _scan(self, *, is_careful: bool) -> None:
        """Note where the lines are that count; careful: every line is read whole."""
        places: dict[str, int] = {}

        def note(head: tuple[str, bool] | None, number: int, index: int, place: int) -> None:
            if head is not None:
                spot = ((number << _FILE_BITS | index) << _PLACE_BITS | place) << 1 | head[1]
                places[head[0]] = max(spot, places.get(head[0], 0))

        wanted = self._operation.encode(errors="surrogateescape")
        for index, path in enumerate(self._files.paths):
            number = loose = 0
            early: list[tuple[int, int, bytes]] = []
            for place, line in self._lines(index):
                number = max(number, number_of(line))
                match = _HEAD.match(line)
                loose += len(line) if is_loose(line) else 0
                try:
                    note(self._head(line, None if is_careful else match, wanted, index), number, index, place)
                except _LacksFormError:
                    early.append((number, place, line))
            lacking = 0
            for then, place, line in early:  # somebody has moved lines: what this one shares is said below it
                try:
                    note(self._parsed_head(line, index), then, index, place)
                except _LacksFormError:
                    lacking += 1
            self.highest = max(self.highest, number)
            self.lacking[path] = lacking
            self.loose[path], self.forms[path] = loose, len(self._forms[index].by_number)
        self._places = {case: spot for case, spot in places.items() if spot & 1}

    def _lines(self, index: int) -> Iterator[tuple[int, bytes]]:
        try:
            with self._files.at(index, 0) as file:
                yield from with_places(file)
        except OSError as error:
            raise _unreadable(self._files.paths[index], error.strerror or error) from error

    def _head(self, line: bytes, match: re.Match[bytes] | None, wanted: bytes, index: int) -> tuple[str, bool] | None:
        """Return the case of a line that counts, and whether it is wanted or ends one; ``None`` for other lines."""
        if match is None or is_defining(line) or not line.endswith(b"}") or line.count(b"{") != line.count(b"}"):
            return self._parsed_head(line, index)
        status = match[4].decode()
        if match[2] != wanted or status not in (*self._statuses, *self._over):
            return None
        try:
            return match[3].decode(), status in self._statuses
        except UnicodeDecodeError:
            return None

    def _parsed_head(self, line: bytes, index: int) -> tuple[str, bool] | None:
        try:
            value = value_of(line)
        except ValueError:
            return None
        if not isinstance(value, dict):
            return None
        self._forms[index].learn(value)
        if value.get("operation") != self._operation:
            return None
        if value.get("status") in self._over:  # skipped: the outputs of the earlier record were removed
            return str(value.get("case")), False
        try:
            case = self._record(value, index).case_id if value.get("status") in self._statuses else None
        except BROKEN as error:
            if lacks_form(value, self._forms[index]):
                raise _LacksFormError from error
            return None
        return (case, True) if isinstance(case, str) else None

    def _record(self, value: Mapping[str, Any], index: int) -> Record:
        return record_of(full(value, self._forms[index]) if is_dense(value) else value)

    def __getitem__(self, case: str) -> Record:
        record = self._read(case, self._places[case])
        if record is None and not self._is_careful:
            mine, self._is_careful = self._places, True
            self._scan(is_careful=True)
            self._places = {name: self._places[name] for name in mine if name in self._places}
            record = self._read(case, self._places[case]) if case in self._places else None
        if record is None:
            raise KeyError(case)
        return record

    def _read(self, case: str, spot: int) -> Record | None:
        """Return the record at a place; ``None`` if the line is damaged."""
        try:
            value, index = self._value(spot)
            record = self._record(value, index)
        except (OSError, LayoutError, *BROKEN):
            return None
        return record if record.case_id == case and record.status in self._statuses else None

    def _value(self, spot: int) -> tuple[Any, int]:
        index = spot >> (_PLACE_BITS + 1) & ((1 << _FILE_BITS) - 1)
        with self._files.at(index, spot >> 1 & ((1 << _PLACE_BITS) - 1)) as file:
            return value_of(file.readline(MOST_BYTES + 1)), index

    def dense_line(self, case: str) -> tuple[Mapping[str, Any], Forms] | None:
        """Return the line of a case and what its numbers stand for; ``None`` if it is no dense one, or damaged."""
        try:
            value, index = self._value(self._places[case])
            is_its_own = is_dense(value) and value["case"] == case and value["status"] in self._statuses
        except (OSError, LayoutError, *BROKEN):
            return None
        return (value, self._forms[index]) if is_its_own else None

    def __contains__(self, case: object) -> bool:
        return case in self._places

    def __iter__(self) -> Iterator[str]:
        return iter([*self._places])

    def __len__(self) -> int:
        return len(self._places)

    def items(self) -> ItemsView[str, Record]:
        """Return the cases with their records, without those whose lines turn out to be damaged."""
        return _Items(self)

    def values(self) -> ValuesView[Record]:
        """Return the records, without those whose lines turn out to be damaged."""
        return _Values(self)

    def damage(self) -> tuple[str, ...]:
        """Return warnings about lines that say nothing any more, as far as they have been asked for."""
        return tuple(
            f"warning: {path}: {counted(count, 'line')} can't be read: the line is missing or damaged that says what "
            'they share ("forms"); put it back, or --existing redo makes their cases again'
            for path, count in self.lacking.items()
            if count
        )

    def only(self, cases: Iterable[str]) -> Records:
        """Return the records of some of the cases, in their order."""
        found = copy(self)
        found._places = {case: self._places[case] for case in cases if case in self._places}
        return found


class _Items(ItemsView[str, Record]):
    def __init__(self, records: Mapping[str, Record]) -> None:
        super().__init__(records)
        self._records = records

    def __iter__(self) -> Iterator[tuple[str, Record]]:
        for case in self._records:
            record = self._records.get(case)
            if record is not None:
                yield case, record


class _Values(ValuesView[Record]):
    def __init__(self, records: Mapping[str, Record]) -> None:
        super().__init__(records)
        self._records = records

    def __iter__(self) -> Iterator[Record]:
        return (record for _, record in _Items(self._records))


def is_loose(line: bytes) -> bool:
    """Whether a line may become shorter when the file is packed: what was packed has no blanks at its beginning."""
    return line[:8] == b'{"run": ' or line[:7] != b'{"run":'


def opened(path: Path) -> BinaryIO:
    """Open a manifest file.

    Raises
    ------
    LayoutError
        When it can't be read.
    """
    try:
        return open_regular(path)
    except OSError as error:
        raise _unreadable(path, error.strerror or error) from error
    except ValueError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, reason: object) -> LayoutError:
    return LayoutError(f"{path}: can't be read ({reason}); move it away")
