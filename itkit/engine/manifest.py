"""The manifest of a destination: one JSON line for each finished or failed case; lines are appended, never changed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itkit.core.errors import LayoutError
from itkit.core.files import STATE_FOLDER
from itkit.core.operation import Record
from itkit.io.meta import json_line


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
        for line in self._lines():
            if line.get("operation") == operation and line.get("status") == "skipped":
                newest.pop(str(line.get("case")), None)  # the outputs of the earlier record were removed
            if line.get("operation") == operation and line.get("status") == "done":
                try:
                    newest[line["case"]] = record_of(line)
                except (KeyError, TypeError):
                    continue
        return newest

    def _lines(self) -> Iterator[Mapping[str, Any]]:
        parsed: list[tuple[float, int, Mapping[str, Any]]] = []
        for path in sorted((self.dest / STATE_FOLDER).glob("manifest*.jsonl")):
            for line in _text(path).splitlines():
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(value, dict):
                    when = value.get("time")
                    parsed.append((when if isinstance(when, (int, float)) else 0.0, len(parsed), value))
        return (value for _, _, value in sorted(parsed, key=lambda item: item[:2]))

    def append(self, operation: str, record: Record) -> None:
        """Append the record of a case.

        Raises
        ------
        LayoutError
            When the manifest can't be written.
        """
        append_line(self.path, {"operation": operation, "time": time.time(), **line_of(record)})


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise LayoutError(f"{path}: can't be read ({error.strerror or error}); move it away") from error


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
