"""Manifest lines of cases with very many files: what lists of entries share is said once, so that a line can be read.

A case may be cut into hundreds of thousands of patches, and a text of so many entries is beyond the limits of
`itkit.core.bounded`. Such a line says its long lists (the ``outputs``, and those among the ``facts``) as ``tables``: a
column for each name, or one value if all entries have the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

from itkit.core import bounded
from itkit.engine.dense import STAMP, stamp_of, stamp_text

LONG = 4096
"""Number of entries from which on a list is said as a table."""
_MOST_CELLS = 10_000_000
"""Most cells of a table: a few of the smallest columns stand for many entries."""
_MOST_KINDS = 10
_PLACE_BYTES, _HEAD_BYTES = 32, 1024
"""What the place of a file, and the beginning of the line, take at most."""
_OUTPUTS = "outputs"


def narrowed(line: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a manifest line whose long lists are tables; a line without such lists as it is."""
    found = {_OUTPUTS: line[_OUTPUTS], **line["facts"]}
    tables = {name: table for name, value in found.items() if (table := _table(value)) is not None}
    if not tables:
        return line
    facts = {name: None if name in tables else value for name, value in line["facts"].items()}
    outputs = None if _OUTPUTS in tables else line[_OUTPUTS]
    return {**line, _OUTPUTS: outputs, "facts": facts, "tables": tables}


def widened(line: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a line says in full; a line without tables as it is.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        When it is damaged.
    """
    if "tables" not in line:
        return line
    found = {name: _rows(table) for name, table in line["tables"].items()}
    outputs = found.pop(_OUTPUTS, line[_OUTPUTS])
    return {**line, _OUTPUTS: outputs, "facts": {**line["facts"], **found}}


def _table(value: Any) -> dict[str, Any] | None:
    """Return the table of a long list of entries; ``None`` for any other value."""
    if not isinstance(value, (list, tuple)) or len(value) < LONG or not all(isinstance(row, dict) for row in value):
        return None
    kinds: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    numbers: dict[tuple[str, ...], int] = {}
    order = [numbers.setdefault(tuple(row), len(numbers)) for row in value]
    if len(numbers) > _MOST_KINDS:
        return None
    for row in value:
        kinds.setdefault(tuple(row), []).append(row)
    return {"order": "".join(map(str, order)), "kinds": [_columns(names, rows) for names, rows in kinds.items()]}


def _columns(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    is_stamped = {*STAMP} <= {*names}
    same, each = {}, {}
    for name in names:
        if is_stamped and name in STAMP:
            continue
        first, text = rows[0][name], repr(rows[0][name])  # 1 equals 1.0, which is another text in JSON
        if all(row[name] is first or repr(row[name]) == text for row in rows):
            same[name] = first
        else:
            each[name] = [row[name] for row in rows]
    stamps = {"stamps": [stamp_text(row) for row in rows]} if is_stamped else {}
    return {"names": list(names), "same": same, "each": each, **stamps}


def _rows(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    order, kinds = table["order"], table["kinds"]
    counts = [order.count(str(number)) for number in range(len(kinds))]
    cells = sum(count * (1 + len(kind["names"])) for count, kind in zip(counts, kinds, strict=True))
    if cells > _MOST_CELLS or sum(counts) != len(order):
        raise ValueError("too many cells")
    rows = [_entries(kind, count) for kind, count in zip(kinds, counts, strict=True)]
    try:
        return [next(rows[int(number)]) for number in order]
    except StopIteration:
        raise ValueError("columns are missing") from None


def _entries(kind: Mapping[str, Any], count: int) -> Iterator[dict[str, Any]]:
    stamps = [stamp_of(text) for text in kind.get("stamps", ())]
    columns: list[Iterable[Any]] = []
    for name in kind["names"]:
        if name in kind["same"]:
            columns.append(repeat(kind["same"][name], count))
        elif name in kind["each"]:
            columns.append(kind["each"][name])
        else:
            columns.append([stamp[name] for stamp in stamps])
    return (dict(zip(kind["names"], row, strict=True)) for row in zip(*columns, strict=True))


def is_readable(text: str, files: int) -> bool:
    """Whether the line of a case that makes some files stays within the limits of what is read.

    ``text`` is the line before the files' places on the disk are known.
    """
    try:
        bounded.require_few_values(text)
    except ValueError:
        return False
    return len(text.encode()) + files * _PLACE_BYTES + _HEAD_BYTES <= bounded.MOST_BYTES
