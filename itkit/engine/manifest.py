"""The manifest of a destination: one JSON line for each finished or failed case; lines are appended, never changed.

The last line of a case counts. In a file, lines are in order. Shards write files of their own; between these, the
number of the run decides: each run takes one more than the highest number that it finds in any file, as a logical
clock of Lamport [1]_ does. So a run that has seen another run's lines comes after it, whatever the clocks of the
machines say. Runs at the same time may have the same number; they work on different cases.

References
----------
.. [1] Lamport L., "Time, clocks, and the ordering of events in a distributed system", Communications of the ACM 21(7),
   1978
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
import weakref
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from itkit.core.bounded import MOST_BYTES, open_regular, parse_json
from itkit.core.errors import LayoutError
from itkit.core.files import STATE_FOLDER
from itkit.core.operation import FAILED, Record
from itkit.engine.dense import MOST_FORMS, Forms, dense, full, is_dense
from itkit.engine.wide import narrowed, widened
from itkit.io.disk import hidden_beside
from itkit.io.json_files import compact_line, json_line
from itkit.io.locks import is_in_place, try_lock, wait_for_shared

LOOSE_BYTES = 1 << 20
"""Bytes of lines that are not dense from which on a manifest file is rewritten."""
BROKEN = (KeyError, TypeError, ValueError, AttributeError, StopIteration)
"""What a line raises that holds no record."""
_LOOSE = b'{"run": '
"""The beginning of lines that are not dense: these have blanks."""
_NUMBER = re.compile(rb'\{"run": ?(\d{1,15}),')
_HEAD = re.compile(
    rb'\{"run": ?(\d{1,15}), ?"operation": ?"([^"\\]*)", ?("time": ?[0-9.eE+-]+, ?)?'
    rb'"case": ?"([^"\\]*)", ?"status": ?"([a-z]+)",'
)
"""The beginning of the lines that we write, for names without escaped letters."""
_MOST_NEW_FORMS = 256
"""Forms that a run adds to a file; packing it gives all that are left new numbers."""
_FILE_BITS, _PLACE_BITS = 24, 64
_RUN_SHIFT = _FILE_BITS + _PLACE_BITS + 1
_MOST_OPEN = 256


@dataclass(frozen=True)
class Manifest:
    """The manifest files of one destination; each shard appends to its own file, and reads all files."""

    dest: Path
    shard: str | None = None

    @property
    def path(self) -> Path:
        """The file to which this run appends."""
        name = "manifest.jsonl" if self.shard is None else f"manifest-{self.shard.replace('/', 'of')}.jsonl"
        return self.dest / STATE_FOLDER / name

    def latest_done(self, operation: str) -> Records:
        """Return the newest finished record of each case of one operation; torn and foreign lines are ignored.

        Raises
        ------
        LayoutError
            When a manifest can't be read.
        """
        found = Records(self._files(), operation)
        self.__dict__.setdefault("number", found.highest + 1)  # what the cached property would read again
        self.__dict__["_loose"] = found.loose.get(self.path, 0)
        self.__dict__["_room"] = max(0, MOST_FORMS - found.forms.get(self.path, 0))
        return found

    def newest(self) -> dict[str, dict[str, Record]]:
        """Return the newest record of each case, finished or not, by operation and case; broken lines are left out.

        Raises
        ------
        LayoutError
            When a manifest can't be read.
        """
        found: dict[str, dict[str, tuple[int, Record]]] = {}
        for path in self._files():
            forms = Forms()
            with _opened(path) as file:
                for _, line in _with_places(file):
                    try:
                        value = value_of(line)
                        forms.learn(value)
                        record = record_of(full(value, forms) if is_dense(value) else value)
                        cases = found.setdefault(str(value["operation"]), {})
                    except BROKEN:
                        continue
                    number = _number_of(line)
                    if record.case_id not in cases or number >= cases[record.case_id][0]:
                        cases[record.case_id] = number, record
        return {operation: {case: record for case, (_, record) in cases.items()} for operation, cases in found.items()}

    def latest_failed(self, operation: str) -> Records:
        """Return the newest record of each case of one operation that failed when it was last tried.

        Raises
        ------
        LayoutError
            When a manifest can't be read.
        """
        return Records(self._files(), operation, FAILED, over=("done", "skipped"))

    def sizes(self) -> dict[Path, int]:
        """Return the size of each manifest file."""
        return {path: path.stat().st_size for path in self._files() if path.exists()}

    def _files(self) -> list[Path]:
        return sorted((self.dest / STATE_FOLDER).glob("manifest*.jsonl"))

    @cached_property
    def number(self) -> int:
        """Number of this run: one more than the highest number in all manifest files."""
        return 1 + Records(self._files(), "").highest

    def append(self, operation: str, *records: Record) -> None:
        """Append the records of cases, in one write.

        Raises
        ------
        LayoutError
            When the manifest can't be written.
        """
        now = time.time()
        loose = self.__dict__.get("_loose", 0)
        shared = self._shared if loose >= LOOSE_BYTES // 2 else None
        lines = [{"run": self.number, "operation": operation, "time": now, **line_of(record)} for record in records]
        try:
            self.__dict__["_loose"] = loose + append_lines(self.path, lines, shared)
        except LayoutError:
            self.__dict__.pop("_shared", None)  # nobody can read what the lost lines define
            raise

    @cached_property
    def _shared(self) -> SharedForms:
        return SharedForms(min(_MOST_NEW_FORMS, self.__dict__.get("_room", _MOST_NEW_FORMS)))

    def tidy(self) -> None:
        """Make the lines of this run's file dense if many are not, unless the disk refuses or there are no locks."""
        if self.__dict__.get("_loose", 0) >= LOOSE_BYTES or self.__dict__.get("_room") == 0:
            with contextlib.suppress(OSError, ValueError):
                pack(self.path)
            self.__dict__["_loose"] = 0


class SharedForms:
    """Makes dense lines that are appended to a file while other runs may append to it or rewrite it.

    The numbers of the forms are unlike those of other runs. The bytes of the latest line that defines one tell whether
    the file is still that to which they belong.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._anchor = 0, b""
        self._begin()

    def _begin(self) -> None:
        first = int.from_bytes(os.urandom(4), "big") * MOST_FORMS
        self._forms, self._check = Forms(first, self._most), Forms()

    def lines(self, values: Iterable[Mapping[str, Any]], file: BinaryIO, end: int) -> Iterator[bytes]:
        """Yield lines to be appended at the end of a file; a value that has no dense form gets a full one."""
        place, definition = self._anchor
        file.seek(place)
        if file.read(len(definition)) != definition:
            self._begin()
        for value in values:
            line = self._line(value)
            if b'"forms"' in line:
                self._anchor = end, line
            end += len(line)
            yield line

    def _line(self, value: Mapping[str, Any]) -> bytes:
        short = dense(value, self._forms, json_line) if value["status"] == "done" else None
        if short is not None and "forms" in short:
            self._check.learn(short)
            if record_of(full(short, self._check)) != record_of(value):
                short = None
        return f"{json_line(value) if short is None else compact_line(short)}\n".encode()


class _Files:
    """Open manifest files; those beyond a number of them are opened for each reading."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self._stack = contextlib.ExitStack()
        self._open = [self._stack.enter_context(_opened(path)) for path in paths[:_MOST_OPEN]]
        weakref.finalize(self, self._stack.close)

    @contextlib.contextmanager
    def at(self, index: int, place: int) -> Iterator[BinaryIO]:
        """Give a file, to be read from a place on."""
        with contextlib.ExitStack() as stack:
            is_open = index < len(self._open)
            file = self._open[index] if is_open else stack.enter_context(_opened(self.paths[index]))
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
        self._scan(is_careful=False)

    def _scan(self, *, is_careful: bool) -> None:
        """Note where the lines are that count; careful: every line is read whole."""
        places: dict[str, int] = {}
        wanted = self._operation.encode(errors="surrogateescape")
        for index, path in enumerate(self._files.paths):
            number = loose = 0
            for place, line in self._lines(index):
                number = max(number, _number_of(line))
                match = _HEAD.match(line)
                loose += len(line) if match is None or match[3] else 0
                head = self._head(line, None if is_careful else match, wanted, index)
                if head is not None:
                    case, is_wanted = head
                    spot = ((number << _FILE_BITS | index) << _PLACE_BITS | place) << 1 | is_wanted
                    if spot >> _RUN_SHIFT >= places.get(case, 0) >> _RUN_SHIFT:
                        places[case] = spot
            self.highest = max(self.highest, number)
            self.loose[path], self.forms[path] = loose, len(self._forms[index].by_number)
        self._places = {case: spot for case, spot in places.items() if spot & 1}

    def _lines(self, index: int) -> Iterator[tuple[int, bytes]]:
        try:
            with self._files.at(index, 0) as file:
                yield from _with_places(file)
        except OSError as error:
            raise _unreadable(self._files.paths[index], error.strerror or error) from error

    def _head(self, line: bytes, match: re.Match[bytes] | None, wanted: bytes, index: int) -> tuple[str, bool] | None:
        """Return the case of a line that counts, and whether it is wanted or ends one; ``None`` for other lines."""
        has_forms = b'"forms"' in line
        if match is None or has_forms or not line.endswith(b"}") or line.count(b"{") != line.count(b"}"):
            return self._parsed_head(line, index)
        status = match[5].decode()
        if match[2] != wanted or status not in (*self._statuses, *self._over):
            return None
        try:
            return match[4].decode(), status in self._statuses
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
        except BROKEN:
            return None
        return (case, True) if isinstance(case, str) else None

    def _record(self, value: Mapping[str, Any], index: int) -> Record:
        return record_of(full(value, self._forms[index]) if is_dense(value) else value)

    def __getitem__(self, case: str) -> Record:
        record = self._read(case, self._places[case])
        if record is None:
            self._scan(is_careful=True)
            record = self._read(case, self._places[case])
        if record is None:
            raise KeyError(case)
        return record

    def _read(self, case: str, spot: int) -> Record | None:
        """Return the record at a place; ``None`` if the line is damaged."""
        index = spot >> (_PLACE_BITS + 1) & ((1 << _FILE_BITS) - 1)
        try:
            with self._files.at(index, spot >> 1 & ((1 << _PLACE_BITS) - 1)) as file:
                record = self._record(value_of(file.readline(MOST_BYTES + 1)), index)
        except (OSError, LayoutError, *BROKEN):
            return None
        return record if record.case_id == case and record.status in self._statuses else None

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


def _opened(path: Path) -> BinaryIO:
    try:
        return open_regular(path)
    except OSError as error:
        raise _unreadable(path, error.strerror or error) from error
    except ValueError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, reason: object) -> LayoutError:
    return LayoutError(f"{path}: can't be read ({reason}); move it away")


def _with_places(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file, each with where it begins; lines beyond the limit are left out."""
    place = file.tell()
    while line := file.readline(MOST_BYTES + 1):
        if line.endswith(b"\n") or len(line) <= MOST_BYTES:
            yield place, line.rstrip(b"\n")
        else:
            while line and not line.endswith(b"\n"):
                line = file.readline(1 << 20)
        place = file.tell() if len(line) > MOST_BYTES or not line else place + len(line)


def _number_of(line: bytes) -> int:
    """Return the number of the run that wrote a line; 0 for a line that states none."""
    match = _NUMBER.match(line)
    return int(match[1]) if match else 0


def line_of(record: Record) -> Mapping[str, Any]:
    """Return a record as the JSON values of a manifest line."""
    values = dict(vars(record))  # dataclasses.asdict would copy every patch of every list
    case, seconds = values.pop("case_id"), values.pop("took_s")
    return narrowed({"case": case, **values, "seconds": seconds})


def record_of(line: Mapping[str, Any]) -> Record:
    """Return the record in a manifest line.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        When the line does not hold a record.
    """
    line = widened(line)
    record = Record(
        case_id=line["case"],
        status=line["status"],
        message=line.get("message", ""),
        key=line.get("key", ""),
        inputs=line.get("inputs", {}),
        outputs=tuple(map(_output_of, line.get("outputs", ()))),
        facts=line.get("facts", {}),
        warnings=tuple(line.get("warnings", ())),
        took_s=line.get("seconds", line.get("took_s", 0.0)),
    )
    _require_types(record)
    return record


def _output_of(value: Mapping[str, Any]) -> dict[str, Any]:
    output = {**value, "path": str(value["path"])}
    if "bytes" not in output or "mtime_ns" not in output:
        raise KeyError("bytes")
    if type(output.get("name", "")) is not str or type(output.get("case", "")) is not str:
        raise TypeError("a name was expected")
    return output


def _require_types(record: Record) -> None:
    """Refuse a record whose values have other types than those that a run writes.

    Raises
    ------
    TypeError
        When one has.
    """
    for text in (record.case_id, record.status, record.message, record.key, *record.warnings):
        if type(text) is not str:
            raise TypeError("a text was expected")
    for table in (record.inputs, record.facts, record.inputs.get("more_files", {})):
        if type(table) is not dict:
            raise TypeError("a table was expected")
    if not isinstance(record.took_s, (int, float)):
        raise TypeError("a number was expected")
    for item in record.inputs.values():
        parts = item.get("parts", []) if type(item) is dict else []
        if type(parts) is not list or any(type(part) is not dict for part in parts):
            raise TypeError("a list of files was expected")


def value_of(line: bytes) -> Any:
    """Return what a line, or a journal, says; the numbers that JSON does not have are refused.

    Raises
    ------
    ValueError
        When it is no JSON.
    """
    if b"NaN" in line or b"Infinity" in line:  # they may stand in a name
        return parse_json(line, parse_constant=_no_number)
    return parse_json(line)


def _no_number(name: str) -> float:
    raise ValueError(name)


def append_lines(path: Path, values: Sequence[Mapping[str, Any]], shared: SharedForms | None = None) -> int:
    """Append JSON lines in one write; if the last line of the file is torn, start a new line first.

    Returns the number of bytes in lines that are not dense; without ``shared``, none is.

    Raises
    ------
    LayoutError
        When the file can't be written; a line that was written in part is removed.
    """
    full_lines = [f"{json_line(value)}\n".encode() for value in values] if shared is None else []
    try:
        while True:
            with open(path, "ab+", buffering=0) as file:  # noqa: PTH123 - for every case
                wait_for_shared(file)
                if not is_in_place(file):
                    continue  # a dense file has just replaced it
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - 1))
                torn = b"\n" if end and file.read(1) != b"\n" else b""
                lines = full_lines if shared is None else [*shared.lines(values, file, end + len(torn))]
                data = torn + b"".join(lines)
                if file.write(data) == len(data):
                    return sum(len(line) for line in lines if line.startswith(_LOOSE))
                file.truncate(end)
                break
    except OSError as error:
        raise LayoutError(f"{path}: can't be written ({error.strerror or error})") from error
    raise LayoutError(f"{path}: can't be written (No space left on device)")


def pack(path: Path) -> bool:
    """Rewrite a manifest file in dense lines, without those that no longer count; return whether it was done.

    Readers that have it open go on with the old file; who appends waits.

    Raises
    ------
    OSError
        When the disk refuses; the file is as it was.
    """
    with path.open("r+b") as file:
        if try_lock(file) != "ours" or not is_in_place(file):
            return False
        kept = _that_count(file)
        hidden = hidden_beside(path.parent / "tmp" / path.name)
        try:
            hidden.parent.mkdir(exist_ok=True)
            with hidden.open("xb") as new:
                new.writelines(_densely(file, kept))
                new.flush()
                os.fsync(new.fileno())
            hidden.replace(path)
        finally:
            hidden.unlink(missing_ok=True)
    return True


def _that_count(file: BinaryIO) -> list[int]:
    """Return where the lines of a file are that count, and the last line of every case."""
    last: dict[tuple[str, str], tuple[int, int]] = {}
    for place, line in _with_places(file):
        try:
            value = value_of(line)
            head = sys.intern(value["operation"]), str(value["case"])
            status = value["status"]
        except BROKEN:
            continue
        counts = last.get(head, (-1, -1))[0]
        last[head] = (place if status in ("done", "skipped") else counts), place
    return sorted({place for places in last.values() for place in places if place >= 0})


def _densely(file: BinaryIO, places: Sequence[int]) -> Iterator[bytes]:
    """Yield the dense lines for the lines at some places of a file.

    Raises
    ------
    ValueError
        When one would not read back as the same.
    """
    old, new, check = Forms(), Forms(), Forms()
    wanted = iter(places)
    following = next(wanted, -1)
    number = 0
    file.seek(0)
    for place, line in _with_places(file):
        number = max(number, _number_of(line))
        if b'"forms"' in line:
            with contextlib.suppress(ValueError):
                old.learn(value_of(line))
        if place != following:
            continue
        following = next(wanted, -1)
        value = value_of(line)
        try:
            whole = {"run": number, **(full(value, old) if is_dense(value) else value)}
            whole["run"] = number
            record = record_of(whole)
        except BROKEN:
            continue  # it counts for nothing
        short = dense(whole, new, json_line) if record.status == "done" else None
        if short is not None:
            check.learn(short)
            if record_of(full(short, check)) != record:
                raise ValueError(f"the line of {record.case_id} does not read back")
        whole.pop("time", None)
        yield f"{compact_line(whole if short is None else short)}\n".encode()
