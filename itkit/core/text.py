"""Text for messages and names: shortened lists, counts, comparable names, suggestions for unknown words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sized


def some(names: Iterable[str], most: int = 10) -> str:
    """Join the first few names and add how many more there are.

    Examples
    --------
    >>> some(["a", "b"]), some("abcde", most=2)
    ('a, b', 'a, b and 3 more')
    """
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def counted(items: int | Sized, noun: str) -> str:
    """Return a count with its noun, in the singular or the plural.

    Examples
    --------
    >>> counted(["a"], "case"), counted(2, "file")
    ('1 case', '2 files')
    """
    count = items if isinstance(items, int) else len(items)
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


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
