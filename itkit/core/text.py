"""Text for messages and names: shortened lists, counts, comparable names, suggestions for unknown words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sized

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def some(names: Iterable[str], most: int = 10, separator: str = ", ") -> str:
    """Join the first few names and add how many more there are.

    Examples
    --------
    >>> some(["a", "b"]), some("abcde", most=2)
    ('a, b', 'a, b and 3 more')
    """
    listed = list(names)
    return separator.join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def counted(items: int | Sized, noun: str) -> str:
    """Return a count with its noun, in the singular or the plural.

    Examples
    --------
    >>> counted(["a"], "case"), counted(2, "file")
    ('1 case', '2 files')
    """
    count = items if isinstance(items, int) else len(items)
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def format_bytes(count: float) -> str:
    """Return a number of bytes with a binary unit.

    Examples
    --------
    >>> format_bytes(3 * 2**30)
    '3.0 GiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def format_seconds(seconds: float) -> str:
    """Return a time in a unit that suits it.

    Examples
    --------
    >>> format_seconds(0.0312), format_seconds(4.26), format_seconds(600), format_seconds(9000)
    ('31 ms', '4.3 s', '10 min', '2.5 h')
    """
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def shown(text: str, *, lines: bool = False) -> str:
    r"""Return a text as a terminal may show it: control characters, and those that turn the direction, escaped.

    Parameters
    ----------
    text
        The text; names of files may be a part of it.
    lines
        Keep its line ends, for a text of several lines.

    Examples
    --------
    >>> print(shown("\x1b[31mred"), shown("a\nb"), shown("\u202egnp.exe"))
    \x1b[31mred a\nb \u202egnp.exe
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or _is_blank(letter) or (lines and letter in "\n\t") else _escaped(letter)
        for letter in text
    )


def _is_blank(letter: str) -> bool:
    """Whether a character is a blank of another script: those that end a line, and controls, are not."""
    return letter.isspace() and letter > "\x9f" and letter not in "\u2028\u2029"


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    r"""Return rows as the text of a CSV file; a cell that a spreadsheet would run gets a quotation mark before it.

    Examples
    --------
    >>> csv_text([["=1+1", -2, "-3.5", "-x"]])
    "'=1+1,-2,-3.5,'-x\n"
    """
    import csv
    import io

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[_cell(value) for value in row] for row in rows])
    return text.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str) or value[:1] not in {*"=+-@\t\r"} or _NUMBER.fullmatch(value):
        return shown(value, lines=True) if isinstance(value, str) else value
    return shown(f"'{value}", lines=True)


def last_line(error: BaseException) -> str:
    """Return the last useful line of a foreign error message, without ITK's class and address.

    Examples
    --------
    >>> last_line(RuntimeError("ITK ERROR: Metric(0x55bf): no sample is inside"))
    'no sample is inside'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    is_itks = any(mark in text for mark in ("itk::ERROR", "ITK ERROR"))
    return text.split("): ", 1)[-1] if is_itks else text


def key_of(name: str) -> str:
    """Return the form of a class name for comparisons: letter case, blanks, ``_`` and ``-`` don't matter.

    Examples
    --------
    >>> key_of("Right kidney") == key_of("right_kidney")
    True
    """
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def file_part(name: str) -> str:
    """Return the name of a channel or class in a form that fits into a file name.

    Examples
    --------
    >>> file_part("T1 w/ contrast")
    'T1-w-contrast'
    """
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", name).strip("-")


def close_words(word: str, known: Iterable[str], *, most: int = 1, likeness: float = 0.6) -> list[str]:
    """Return the known words that are most similar to a word; ``likeness`` is the least similarity (1: identical).

    Examples
    --------
    >>> close_words("spacin", ["size", "spacing"])
    ['spacing']
    """
    import difflib

    return difflib.get_close_matches(word, list(known), n=most, cutoff=likeness)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a suggestion for an unknown word, to append to a message; empty if no known word is similar.

    Examples
    --------
    >>> did_you_mean("spacin", ["size", "spacing"]), did_you_mean("zzz", ["size"])
    ("; did you mean 'spacing'?", '')
    """
    close = close_words(word, known)
    return f"; did you mean {close[0]!r}?" if close else ""


def is_web_page(head: bytes) -> bool:
    r"""Tell whether a file that begins so is a page for browsers.

    Examples
    --------
    >>> is_web_page(b"\n<!DOCTYPE html><html>"), is_web_page(b"PK")
    (True, False)
    """
    return re.match(rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype html|html|head)\b", head) is not None
