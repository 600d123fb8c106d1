"""Tables of samples as files: CSV, JSON, or a page that needs nothing else."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence

from itkit.core.operation import Record
from itkit.io.meta import json_text

_COLUMNS = ("sample", "status", "size ZYX (voxels)", "spacing ZYX (mm)", "orientation", "reasons")
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1c2330 }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #dde2ea; vertical-align: top }}
.bad td {{ background: #fdf1ef }}
</style>
<h1>{title}</h1><p>{intro}</p><table>{rows}</table></html>
"""


def _row(record: Record) -> tuple[str, ...]:
    facts = record.facts
    size = " ".join(str(value) for value in facts.get("size", ()))
    spacing = " ".join(f"{value:.4g}" for value in facts.get("spacing", ()))
    status = "conforming" if record.status == "done" else record.status
    return (record.case_id, status, size, spacing, facts.get("orientation", ""), record.message)


def check_report(records: Sequence[Record], suffix: str) -> str:
    """Return a table of all checked samples as the text of a ``.html``, ``.csv`` or ``.json`` file."""
    rows = [_row(record) for record in records]
    kind = suffix.lower()
    if kind == ".json":
        samples = {
            record.case_id: {"status": row[1], "message": record.message, **record.facts}
            for record, row in zip(records, rows, strict=True)
        }
        return json_text(samples, compact_depth=1)
    if kind == ".csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *rows])
        return text.getvalue()
    bad = sum(record.status != "done" for record in records)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in _COLUMNS)
    body = "".join(
        f"<tr{'' if record.status == 'done' else ' class=bad'}>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        + "</tr>"
        for record, row in zip(records, rows, strict=True)
    )
    intro = f"{len(records)} samples, {bad} of them nonconforming."
    return _PAGE.format(title="itk_check", intro=intro, rows=f"<tr>{head}</tr>{body}")
