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

import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from itkit.core.bounded import parse_json, read_lines
from itkit.core.errors import LayoutError
from itkit.core.files import STATE_FOLDER
from itkit.core.operation import Record
from itkit.io.meta import json_line

_NUMBER = re.compile(rb'\{"run": (\d{1,15}),')


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

    def latest_done(self, operation: str) -> dict[str, Record]:
        """Return the newest finished record of each case of one operation; torn and foreign lines are ignored.

        Raises
        ------
        LayoutError
            When a manifest can't be read.
        """
        newest: dict[str, Record] = {}
        for line in self._lines(operation):
            if line.get("status") == "skipped":
                newest.pop(str(line.get("case")), None)  # the outputs of the earlier record were removed
            if line.get("status") == "done":
                try:
                    newest[line["case"]] = record_of(line)
                except (KeyError, TypeError):
                    continue
        return newest

    def _lines(self, operation: str) -> Iterator[Mapping[str, Any]]:
        """Yield the lines of one operation, the newest last."""
        parsed: list[tuple[int, Mapping[str, Any]]] = []
        for path in self._files():
            number = 0
            for line in _lines_of(path):
                number = max(number, _number_of(line))
                try:
                    value = parse_json(line)
                except ValueError:
                    continue
                if isinstance(value, dict) and value.get("operation") == operation:
                    parsed.append((number, value))
        return (value for _, value in sorted(parsed, key=lambda item: item[0]))

    def _files(self) -> list[Path]:
        return sorted((self.dest / STATE_FOLDER).glob("manifest*.jsonl"))

    @cached_property
    def number(self) -> int:
        """Number of this run: one more than the highest number in all manifest files."""
        return 1 + max((_number_of(line) for path in self._files() for line in _lines_of(path)), default=0)

    def append(self, operation: str, record: Record) -> None:
        """Append the record of a case.

        Raises
        ------
        LayoutError
            When the manifest can't be written.
        """
        line = {"run": self.number, "operation": operation, "time": time.time(), **line_of(record)}
        append_line(self.path, line)


def _lines_of(path: Path) -> Iterator[bytes]:
    try:
        yield from read_lines(path)
    except OSError as error:
        raise LayoutError(f"{path}: can't be read ({error.strerror or error}); move it away") from error
    except ValueError as error:
        raise LayoutError(f"{path}: can't be read ({error}); move it away") from error


def _number_of(line: bytes) -> int:
    """Return the number of the run that wrote a line; 0 for a line that states none."""
    match = _NUMBER.match(line)
    return int(match[1]) if match else 0


def line_of(record: Record) -> dict[str, Any]:
    """Return a record as the JSON values of a manifest line."""
    values = dict(vars(record))  # dataclasses.asdict would copy every patch of every list
    case, seconds = values.pop("case_id"), values.pop("took_s")
    return {"case": case, **values, "seconds": seconds}


def record_of(line: Mapping[str, Any]) -> Record:
    """Return the record in a manifest line.

    Raises
    ------
    KeyError, TypeError
        When the line does not hold a record.
    """
    return Record(
        case_id=line["case"],
        status=line["status"],
        message=line.get("message", ""),
        key=line.get("key", ""),
        inputs=line.get("inputs", {}),
        outputs=tuple(
            {**output, "path": str(output["path"]), "bytes": output["bytes"], "mtime_ns": output["mtime_ns"]}
            for output in line.get("outputs", ())
        ),
        facts=line.get("facts", {}),
        warnings=tuple(line.get("warnings", ())),
        took_s=line.get("seconds", line.get("took_s", 0.0)),
    )


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Append one JSON line in one write; if the last line is torn, start a new line first.

    Raises
    ------
    LayoutError
        When the file can't be written; a line that was written in part is removed.
    """
    data = (json_line(value) + "\n").encode()
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            end = os.lseek(descriptor, 0, os.SEEK_END)
            if end:
                os.lseek(descriptor, end - 1, os.SEEK_SET)
                data = data if os.read(descriptor, 1) == b"\n" else b"\n" + data
            if os.write(descriptor, data) != len(data):
                os.ftruncate(descriptor, end)
                raise OSError(28, "No space left on device")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise LayoutError(f"{path}: can't be written ({error.strerror or error})") from error
