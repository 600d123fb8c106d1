"""Arguments of the public Python functions, checked where they enter: a wrong one is named, with what was expected.

``where`` is the function and its parameter, e.g. ``"resample: grid"``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from itkit.core.errors import ArgumentError
from itkit.core.text import did_you_mean


def expect(value: Any, kinds: type | tuple[type, ...], where: str, what: str) -> None:
    """Refuse a value of another type.

    Raises
    ------
    ArgumentError
        With what was expected, in words, and what was given.

    Examples
    --------
    >>> expect("3", int, "resample: threads", "a whole number")
    Traceback (most recent call last):
    itkit.core.errors.ArgumentError: resample: threads: expected a whole number; got str '3'
    """
    if not isinstance(value, kinds):
        raise ArgumentError(f"{where}: expected {what}; got {described(value)}")


def expect_number(value: Any, where: str) -> None:
    """Refuse what is neither a number nor ``None``.

    Raises
    ------
    ArgumentError
        With what was given.
    """
    from numbers import Real

    expect(value, (Real, type(None)), where, "a number or None")


def expect_choice(value: Any, choices: Sequence[str], where: str) -> None:
    """Refuse a value that is none of the choices.

    Raises
    ------
    ArgumentError
        With the choices, and the one that is meant where it is likely.

    Examples
    --------
    >>> expect_choice("labels", ("image", "label"), "read: kind")
    Traceback (most recent call last):
    itkit.core.errors.ArgumentError: read: kind: expected 'image' or 'label'; got 'labels'; did you mean 'label'?
    """
    if isinstance(value, str) and value in choices:
        return
    listed = " or ".join(map(repr, choices)) if len(choices) < 3 else ", ".join(map(repr, choices))
    hint = did_you_mean(value, choices) if isinstance(value, str) else ""
    got = repr(value) if isinstance(value, str) else described(value)
    raise ArgumentError(f"{where}: expected {listed}; got {got}{hint}")


def expect_sizes(values: Any, where: str) -> tuple[int, int, int]:
    """Return three whole numbers of at least 1, in the order Z Y X.

    Raises
    ------
    ArgumentError
        For anything else.

    Examples
    --------
    >>> expect_sizes([4, 5, 6], "crop_patches: patch_zyx")
    (4, 5, 6)
    """
    try:
        z, y, x = (int(value) for value in values)
        if min(z, y, x) >= 1 and (z, y, x) == tuple(values) and not isinstance(values, str):
            return (z, y, x)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ArgumentError(f"{where}: expected three whole numbers of at least 1 (Z Y X); got {described(values)}")


def described(value: Any) -> str:
    """Return a value's type and, where it is short, the value.

    Examples
    --------
    >>> described([1, 2]), described("x" * 100), described(None)
    ('list [1, 2]', 'str', 'None')
    """
    if value is None:
        return "None"
    text = repr(value) if isinstance(value, (str, bytes, int, float, list, tuple, dict)) else ""
    return f"{type(value).__name__} {text}" if text and len(text) <= 60 else type(value).__name__
