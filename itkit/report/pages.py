"""Self-contained HTML pages: one shell with the style, and the elements that stand in it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from itkit.core.thumbnail import png_uri

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Html:
    """Text that is already HTML; all other text is escaped when it enters a page."""

    text: str


Cell = str | Html

_SHELL = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.55 system-ui, sans-serif; margin: 0 auto; max-width: 78rem; padding: 1.5rem; color: #1c2330 }}
h1 {{ margin: 0 }} h2 {{ margin: 2.2rem 0 .4rem; border-bottom: 1px solid #dde2ea; padding-bottom: .2rem }}
table {{ border-collapse: collapse; margin: .5rem 0 }}
th, td {{ text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #eceff4; vertical-align: top }}
td.n {{ text-align: right; font-variant-numeric: tabular-nums }}
.bad td {{ background: #fdf1ef }}
code {{ background: #f3f5f9; padding: .1rem .3rem; border-radius: 3px; font-size: .92em; overflow-wrap: anywhere }}
figure {{ display: inline-block; margin: .3rem .6rem .6rem 0; vertical-align: top }}
figcaption {{ font-size: .85em; color: #5b6577 }}
img {{ display: block; max-width: 100%; background: #000 }}
.key span {{ display: inline-block; width: .8em; height: .8em; margin: 0 .35em 0 1em; border-radius: 2px }}
.muted {{ color: #5b6577 }}
</style>
<h1>{title}</h1>
<p class="muted">{intro}</p>
{body}
</html>
"""


def markup(text: Cell) -> str:
    """Return a text as HTML, escaped unless it is HTML already.

    Examples
    --------
    >>> markup("a < b"), markup(Html("<b>a</b>"))
    ('a &lt; b', '<b>a</b>')
    """
    return text.text if isinstance(text, Html) else html.escape(text)


def page(title: str, intro: str, parts: Iterable[Cell]) -> str:
    """Return a page with a title, a line below the title, and the parts."""
    return _SHELL.format(title=markup(title), intro=markup(intro), body="\n".join(map(markup, parts)))


def element(name: str, *parts: Cell) -> Html:
    """Return an element around texts and other elements.

    Examples
    --------
    >>> element("code", "a < b").text
    '<code>a &lt; b</code>'
    """
    return Html(f"<{name}>{''.join(map(markup, parts))}</{name}>")


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]], *, marked: Sequence[bool] = ()) -> Html:
    """Return a table; numbers are aligned right, except in the first column; marked rows are coloured.

    Examples
    --------
    >>> table(["case", "s"], [["001", "1.5"]]).text
    '<table><tr><th>case</th><th>s</th></tr><tr><td>001</td><td class="n">1.5</td></tr></table>'
    """
    top = "".join(element("th", cell).text for cell in head)
    lines = [
        f"<tr{' class=bad' if is_marked else ''}>{''.join(map(_cell, row, range(len(row))))}</tr>"
        for row, is_marked in zip(rows, marked or [False] * len(rows), strict=True)
    ]
    return Html(f"<table><tr>{top}</tr>{''.join(lines)}</table>")


def _cell(cell: Cell, column: int) -> str:
    is_number = column > 0 and isinstance(cell, str) and cell.replace(".", "").replace("-", "").isdigit()
    start = '<td class="n">' if is_number else "<td>"
    return f"{start}{markup(cell)}</td>"


def figure(caption: str, rgb: NDArray[np.uint8]) -> Html:
    """Return a picture ``(rows, columns, 3)`` with its caption."""
    said = markup(caption)
    return Html(f'<figure><img alt="{said}" src="{png_uri(rgb)}"><figcaption>{said}</figcaption></figure>')


def colour_key(rgb: tuple[int, int, int]) -> Html:
    """Return a small square of a colour (0 to 255)."""
    red, green, blue = rgb
    return Html(f'<span class="key"><span style="background:rgb({red},{green},{blue})"></span></span>')
