"""Self-contained HTML pages: one shell with the look of all reports, and the elements that stand in it."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from itkit.core.thumbnail import class_colour, png_uri
from itkit.report.style import SORTING, STYLE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Html:
    """Text that is already HTML; all other text is escaped when it enters a page."""

    text: str


@dataclass(frozen=True)
class Ranked:
    """A table's cell that sorts by something else than what it shows."""

    shown: str | Html
    key: float | str


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading; a page with several of them begins with links to them."""

    title: str
    parts: Sequence[Cell]


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawn slice: 8-bit RGB ``(rows, columns, 3)``, and the letters at its left, right, top and bottom."""

    rgb: NDArray[np.uint8]
    letters: str


Cell = str | Html
TableCell = Cell | Ranked
Rgb = tuple[int, int, int]
MISSING = "\u2013"
"""What a table shows where there is no value; it sorts last."""
_LONGEST_NAME = 48
_SMALL = 200
"""Width of a picture, pixels, up to which two of them stand side by side on a phone."""
_LONG = 1e15
"""Least number that is written as a power of ten."""
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?|-?inf")

_SHELL = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style></head>
<body>
<header><h1>{title}</h1>
<p class="muted">{intro}</p>{nav}</header>
<main>
{body}
</main>
{script}</body></html>
"""


def markup(text: Cell) -> str:
    """Return a text as HTML, escaped unless it is HTML already.

    Examples
    --------
    >>> markup("a < b"), markup(Html("<b>a</b>"))
    ('a &lt; b', '<b>a</b>')
    """
    return text.text if isinstance(text, Html) else html.escape(text)


def page(title: str, intro: Cell, parts: Iterable[Cell | Section]) -> str:
    """Return a page with a title, a line below the title, and the parts; it needs no other file and no network."""
    listed = list(parts)
    sections = [part for part in listed if isinstance(part, Section)]
    links = [f'<a href="#part-{n}">{markup(section.title)}</a>' for n, section in enumerate(sections, 1)]
    nav = f'\n<nav aria-label="Parts of this page">{"".join(links)}</nav>' if len(links) > 2 else ""
    body = "\n".join(
        _section(part, sections.index(part) + 1) if isinstance(part, Section) else markup(part) for part in listed
    )
    return _SHELL.format(
        title=markup(title), intro=markup(intro), nav=nav, body=body, style=STYLE, script=_script(body)
    )


def _script(body: str) -> str:
    return f"<script>{SORTING}</script>\n" if '<table class="sorts">' in body else ""


def _section(section: Section, number: int) -> str:
    body = "\n".join(map(markup, section.parts))
    return f'<section id="part-{number}"><h2>{markup(section.title)}</h2>\n{body}</section>'


def element(name: str, *parts: Cell, kind: str = "") -> Html:
    """Return an element around texts and other elements; ``kind`` is its class.

    Examples
    --------
    >>> element("code", "a < b").text, element("p", "a", kind="note").text
    ('<code>a &lt; b</code>', '<p class="note">a</p>')
    """
    start = f'{name} class="{kind}"' if kind else name
    return Html(f"<{start}>{''.join(map(markup, parts))}</{name}>")


def link(path: str, text: Cell) -> Html:
    """Return a link to a file beside the page, by its relative path, or by a ``file:`` address.

    Examples
    --------
    >>> link("out/a b.html", "a b.html")
    Html(text='<a href="out/a%20b.html">a b.html</a>')
    """
    return Html(f'<a href="{markup(quote(path, safe="/:%"))}">{markup(text)}</a>')


def cards(parts: Iterable[Cell]) -> Html:
    """Return figures or plots beside each other, as many as fit the width."""
    return element("div", *parts, kind="cards")


def tiles(values: Mapping[str, Cell], *, bad: Iterable[str] = ()) -> Html:
    """Return the few numbers that matter most, by their names; the bad ones are coloured.

    Examples
    --------
    >>> tiles({"cases": "12"}).text
    '<ul class="tiles"><li><b>12</b>cases</li></ul>'
    """
    marked = set(bad)
    items = [
        element("li", element("b", value), name, kind="bad" if name in marked else "") for name, value in values.items()
    ]
    return element("ul", *items, kind="tiles")


def number(value: float | None, digits: int = 1) -> str:
    """Return a number as tables show it; a dash if there is none.

    Examples
    --------
    >>> number(1234.56), number(0.5, 3), number(None), number(float("inf"))
    ('1234.6', '0.500', '\u2013', 'inf')
    >>> number(1e300)
    '1e+300'
    """
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    text = f"{value:.{digits}f}" if abs(value) < _LONG else f"{value:.6g}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[TableCell]],
    *,
    marked: Sequence[bool] = (),
    caption: str = "",
    sorts: bool = True,
) -> Html:
    """Return a table in a box that scrolls by itself.

    Parameters
    ----------
    head
        Names of the columns.
    rows
        Cells of each row; numbers are aligned right, except in the first column.
    marked
        Whether each row is coloured as bad.
    caption
        Line above the table.
    sorts
        Whether a click on a column's name sorts the rows.

    Examples
    --------
    >>> print(table(["case", "s"], [["001", "1.5"]], sorts=False).text)
    <div class="scroll" role="region" tabindex="0" aria-label="case, s"><table><thead><tr><th scope="col">case</th>\
<th scope="col" class="n">s</th></tr></thead><tbody><tr><td>001</td><td class="n">1.5</td></tr></tbody></table></div>
    """
    is_number = [bool(rows) and all(_is_number(row[column]) for row in rows) for column in range(1, len(head))]
    top = "".join(
        f'<th scope="col"{kind}>{markup(cell)}</th>'
        for cell, kind in zip(head, ["", *(' class="n"' if number else "" for number in is_number)], strict=True)
    )
    lines = [
        f"<tr{' class=bad' if is_marked else ''}>{''.join(map(_cell, row, range(len(row))))}</tr>"
        for row, is_marked in zip(rows, marked or [False] * len(rows), strict=True)
    ]
    name = markup(caption or ", ".join(filter(None, head)))
    said = f"<caption>{markup(caption)}</caption>" if caption else ""
    start = '<table class="sorts">' if sorts and len(rows) > 1 else "<table>"
    return Html(
        f'<div class="scroll" role="region" tabindex="0" aria-label="{name}">{start}{said}'
        f"<thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _is_number(cell: TableCell) -> bool:
    if isinstance(cell, Ranked):
        return not isinstance(cell.key, str)
    return isinstance(cell, str) and (cell == MISSING or _NUMBER.fullmatch(cell) is not None)


def _cell(cell: TableCell, column: int) -> str:
    kind = ' class="n"' if column > 0 and _is_number(cell) else ""
    if isinstance(cell, Ranked):
        return f'<td{kind} data-key="{markup(str(cell.key))}">{markup(cell.shown)}</td>'
    return f"<td{kind}>{markup(cell)}</td>"


def figure(caption: Cell, picture: NDArray[np.uint8] | Picture) -> Html:
    """Return a picture with its caption: an array ``(rows, columns, 3)``, or a slice with its directions."""
    said = markup(caption)
    rgb = picture.rgb if isinstance(picture, Picture) else picture
    kind = "slice small" if rgb.shape[1] <= _SMALL else "slice"
    start = f'<figure class="{kind}" style="width:{rgb.shape[1]}px">'
    if not isinstance(picture, Picture):
        return Html(f"{start}{_image(said, rgb)}<figcaption>{said}</figcaption></figure>")
    letters = "".join(
        f'<span class="{side}" aria-hidden="true">{markup(letter)}</span>'
        for side, letter in zip("lrtb", picture.letters, strict=True)
    )
    view = f'<div class="view">{_image(said, rgb)}{letters}</div>'
    return Html(f"{start}{view}<figcaption>{said}</figcaption></figure>")


def _image(said: str, rgb: NDArray[np.uint8]) -> str:
    height, width = rgb.shape[:2]
    return f'<img alt="{said}" width="{width}" height="{height}" src="{png_uri(rgb)}">'


def swatch(rgb: Rgb) -> Html:
    """Return a small square of a colour (0 to 255)."""
    red, green, blue = rgb
    return Html(f'<span class="swatch" style="background:rgb({red},{green},{blue})"></span>')


def short_name(name: str) -> str:
    """Return a name as headings and tables show it: of a very long one, e.g. that of a union of classes, the beginning.

    Examples
    --------
    >>> short_name("liver"), len(short_name("vertebra+" * 20))
    ('liver', 48)
    """
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}\u2026"


def class_name(value: int, name: str = "") -> Html:
    """Return a class as tables and keys show it: its colour, its value, its name.

    Examples
    --------
    >>> class_name(3, "liver").text.rpartition("</span>")[2]
    '3 liver'
    """
    short = short_name(name)
    said = markup(f"{value} {short}".rstrip())
    return Html(
        swatch(class_colour(value)).text + (said if short == name else f'<span title="{markup(name)}">{said}</span>')
    )


def colour_key(entries: Iterable[Html]) -> Html:
    """Return the key of a picture or plot: entries such as those of `class_name`, beside each other."""
    return element("ul", *(element("li", entry) for entry in entries), kind="key")
