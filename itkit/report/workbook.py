"""Spreadsheets: a minimal writer of Office Open XML workbooks (``.xlsx``).

References
----------
.. [1] ECMA-376, "Office Open XML File Formats", part 1: SpreadsheetML
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from itkit.core.text import shown

_MOST_LETTERS = 31
_MOST_ROWS = 1 << 20
_NOT_IN_NAMES = re.compile(r"[\[\]:*?/\\]")
_BEFORE_ALL = (1980, 1, 1, 0, 0, 0)  # the same content gives the same bytes at any time
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_STYLES = (
    f'<styleSheet xmlns="{_MAIN}"><fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>'
    '<font><b/><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill>'
    '</fills><borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
    '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
    '<cellXfs count="2"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>'
    '<xf numFmtId="0" fontId="1" fillId="0" borderId="0" xfId="0" applyFont="1"/></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
)

Value = str | float | int | None


@dataclass(frozen=True)
class Sheet:
    """One table of a workbook.

    Parameters
    ----------
    name
        Name on the tab; letters that Excel forbids are replaced.
    head
        Names of the columns.
    rows
        Cells: texts, numbers, or nothing. Numbers that are not finite stand as text.
    """

    name: str
    head: Sequence[str]
    rows: Sequence[Sequence[Value]]


def workbook(sheets: Sequence[Sheet]) -> bytes:
    """Return sheets as the bytes of an ``.xlsx`` file; the first row of each is bold, stays in view, and filters.

    Raises
    ------
    ValueError
        When there is no sheet, two have the same name, or one has more rows than a spreadsheet holds.

    Examples
    --------
    >>> data = workbook([Sheet("cases", ["case", "dice"], [["a", 0.5]])])
    >>> sorted(zipfile.ZipFile(io.BytesIO(data)).namelist())[-2:]
    ['xl/workbook.xml', 'xl/worksheets/sheet1.xml']
    """
    names = [_NOT_IN_NAMES.sub("-", sheet.name)[:_MOST_LETTERS] for sheet in sheets]
    if not sheets or len({name.lower() for name in names}) < len(names):
        raise ValueError(f"expected sheets with different names; got {names}")
    numbers = range(1, len(sheets) + 1)
    sheet_lines = "".join(
        f'<sheet name={quoteattr(name)} sheetId="{n}" r:id="rId{n}"/>' for n, name in zip(numbers, names, strict=True)
    )
    related = "".join(_relation(n, "worksheet", f"worksheets/sheet{n}.xml") for n in numbers)
    kinds = "".join(_override(f"/xl/worksheets/sheet{n}.xml", "worksheet") for n in numbers)
    files = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f"{_override('/xl/workbook.xml', 'sheet.main')}{_override('/xl/styles.xml', 'styles')}{kinds}</Types>",
        "_rels/.rels": _relations(_relation(1, "officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_DOCUMENT}"><sheets>{sheet_lines}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": _relations(related + _relation(len(sheets) + 1, "styles", "styles.xml")),
        "xl/styles.xml": _STYLES,
        **{f"xl/worksheets/sheet{n}.xml": _sheet(sheet) for n, sheet in zip(numbers, sheets, strict=True)},
    }
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, _BEFORE_ALL)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 0  # the same on every platform
            archive.writestr(entry, f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n{text}')
    return result.getvalue()


def _override(part: str, kind: str) -> str:
    return f'<Override PartName="{part}" ContentType="{_KIND}.{kind}+xml"/>'


def _relation(number: int, kind: str, target: str) -> str:
    return f'<Relationship Id="rId{number}" Type="{_DOCUMENT}/{kind}" Target="{target}"/>'


def _relations(inner: str) -> str:
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{inner}</Relationships>'


def _sheet(sheet: Sheet) -> str:
    if len(sheet.rows) >= _MOST_ROWS:
        raise ValueError(f"sheet {sheet.name!r}: a spreadsheet holds {_MOST_ROWS} rows; got {len(sheet.rows) + 1}")
    lines = [list(sheet.head), *sheet.rows]
    letters = [_letters(column) for column in range(len(sheet.head))]
    widths = [min(60, 3 + max(len(_said(line[column])) for line in lines[:200])) for column in range(len(sheet.head))]
    columns = "".join(
        f'<col min="{n}" max="{n}" width="{width}" customWidth="1"/>' for n, width in enumerate(widths, 1)
    )
    body = "".join(_row(number, letters, line) for number, line in enumerate(lines, 1))
    whole = f"A1:{letters[-1]}{len(lines)}"
    return (
        f'<worksheet xmlns="{_MAIN}"><dimension ref="{whole}"/><sheetViews><sheetView workbookViewId="0">'
        '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews>'
        f'<cols>{columns}</cols><sheetData>{body}</sheetData><autoFilter ref="{whole}"/></worksheet>'
    )


def _row(number: int, letters: Sequence[str], values: Sequence[Value]) -> str:
    places = (f"{letter}{number}" for letter in letters)
    cells = (_cell(place, value, is_head=number == 1) for place, value in zip(places, values, strict=True))
    return f'<row r="{number}">{"".join(cells)}</row>'


def _letters(column: int) -> str:
    """Return the letters of a column.

    Examples
    --------
    >>> _letters(0), _letters(27)
    ('A', 'AB')
    """
    text = ""
    column += 1
    while column:
        column, place = divmod(column - 1, 26)
        text = chr(65 + place) + text
    return text


def _said(value: Value) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _cell(place: str, value: Value, *, is_head: bool) -> str:
    style = ' s="1"' if is_head else ""
    if value is None or value == "":
        return ""
    if isinstance(value, (int, float)) and math.isfinite(value):
        return f'<c r="{place}"{style}><v>{value!r}</v></c>'
    text = escape(shown(str(value), lines=True))
    return f'<c r="{place}"{style} t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
