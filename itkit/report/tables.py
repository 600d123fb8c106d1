"""Tables of samples as CSV, JSON or a self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from itkit.core.operation import Record
from itkit.core.text import csv_text, shown
from itkit.io.json_files import json_text
from itkit.report.pages import Ranked, class_name, page, table

_COLUMNS = ("sample", "status", "size ZYX (voxels)", "spacing ZYX (mm)", "orientation", "reasons")


def _row(record: Record) -> tuple[str, ...]:
    facts = record.facts
    size = " ".join(str(value) for value in facts.get("size", ()))
    spacing = " ".join(f"{value:.4g}" for value in facts.get("spacing", ()))
    status = "conforming" if record.status == "done" else record.status
    return (record.case_id, status, size, spacing, facts.get("orientation", ""), record.message)


def check_report(
    records: Sequence[Record], suffix: str, classes: Mapping[int, tuple[int, int]] = MappingProxyType({})
) -> str:
    """Return a table of all checked samples as the text of a ``.html``, ``.csv`` or ``.json`` file.

    Parameters
    ----------
    records
        The record of each checked sample.
    suffix
        Suffix of the file.
    classes
        Number of cases and voxels of each class; shown on a page. The other files hold the counts of each sample.
    """
    rows = [_row(record) for record in records]
    kind = suffix.lower()
    if kind == ".json":
        samples = {
            record.case_id: {"status": row[1], "message": record.message, **record.facts}
            for record, row in zip(records, rows, strict=True)
        }
        return json_text(samples, compact_depth=1)
    if kind == ".csv":
        return csv_text([_COLUMNS, *rows])
    bad = sum(record.status != "done" for record in records)
    intro = f"{len(records)} samples, {bad} of them nonconforming."
    cells = [tuple(shown(cell, lines=True) for cell in row) for row in rows]
    parts = [table(_COLUMNS, cells, marked=[record.status != "done" for record in records])]
    if classes:
        counts = [
            (Ranked(class_name(value) if value else str(value), float(value)), str(cases), str(voxels))
            for value, (cases, voxels) in classes.items()
        ]
        parts.append(table(("class", "cases", "voxels"), counts))
    return page("itk_check", intro, parts)
