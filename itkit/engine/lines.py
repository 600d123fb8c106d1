"""The lines of a manifest file: where each begins, and the record that it holds."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from itkit.core.bounded import MOST_BYTES, parse_json
from itkit.core.operation import Record
from itkit.engine.dense import Forms, is_defining
from itkit.engine.wide import narrowed, widened

BROKEN = (KeyError, TypeError, ValueError, AttributeError, StopIteration)
"""What a line raises that holds no record."""
_NUMBER = re.compile(rb'\{"run": ?(\d{1,15}),')


def with_places(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file, each with where it begins; lines beyond the limit are left out."""
    place = file.tell()
    while line := file.readline(MOST_BYTES + 1):
        if line.endswith(b"\n") or len(line) <= MOST_BYTES:
            yield place, line.rstrip(b"\n")
            place += len(line)
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(1 << 20)
        place = file.tell()


def forms_of(file: BinaryIO) -> Forms:
    """Return what the lines of a file share; who has moved lines may have put one before that which says it."""
    forms = Forms()
    file.seek(0)
    for _, line in with_places(file):
        if is_defining(line):
            with contextlib.suppress(*BROKEN):
                forms.learn(value_of(line))
    file.seek(0)
    return forms


def number_of(line: bytes) -> int:
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
