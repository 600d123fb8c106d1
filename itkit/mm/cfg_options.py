"""Values of ``--cfg-options``: ``key=value`` with nested keys, numbers, texts and lists."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from itkit.core.errors import ParamsError

_WORDS = {"true": True, "false": False, "none": None, "null": None}
_PAIRS = {"(": ")", "[": "]", "{": "}"}


def parse_options(texts: Iterable[str]) -> dict[str, Any]:
    """Return the options by key.

    Parameters
    ----------
    texts
        Each ``key=value``. A key may be nested and number the items of a list: ``model.criterion.0.type``.

    Raises
    ------
    ParamsError
        When a text has no ``=`` or no key, or a key is given twice.

    Examples
    --------
    >>> parse_options(["train_cfg.max_iters=20", "model.sizes=[1,2]", "names=[a, b]", "data.0.path=ct/x", "amp=true"])
    {'train_cfg.max_iters': 20, 'model.sizes': [1, 2], 'names': ['a', 'b'], 'data.0.path': 'ct/x', 'amp': True}
    """
    options: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not all(key.strip().split(".")):
            raise ParamsError(f"--cfg-options: expected key=value, as in train_cfg.max_iters=100; got {text!r}")
        if key.strip() in options:
            raise ParamsError(f"--cfg-options: {key.strip()} is given twice")
        options[key.strip()] = parse_value(value)
    return options


def parse_value(text: str) -> Any:
    """Return what a value means, as MMEngine reads it: a literal of Python, a list without brackets, or a text.

    Examples
    --------
    >>> parse_value("1e-3"), parse_value("1,2,3"), parse_value("(a,b)"), parse_value("none"), parse_value("3x")
    (0.001, [1, 2, 3], ('a', 'b'), None, '3x')
    """
    text = text.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    parts = _parts(text)
    if len(parts) > 1:
        return [parse_value(part) for part in parts if part]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    if len(text) > 1 and text[0] in "([" and text[-1] == _PAIRS[text[0]]:
        items = [parse_value(part) for part in _parts(text[1:-1]) if part]
        return tuple(items) if text[0] == "(" else items
    return text


def _parts(text: str) -> list[str]:
    """Split at commas that stand outside brackets and quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in _PAIRS:
            depth += 1
        elif letter in _PAIRS.values():
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(text[start:place].strip())
            start = place + 1
    return [*parts, text[start:].strip()]
