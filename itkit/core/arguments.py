"""Checks of the arguments of public Python functions; the error names the argument and what was expected.

``where`` names the function and its parameter, e.g. ``"resample: grid"``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from itkit.core.errors import ArgumentError
from itkit.core.text import did_you_mean


def expect(value: Any, kinds: type | tuple[type, ...], where: str, what: str) -> None:
    """Raise an error unless a value has one of the given types.

    Raises
    ------
    ArgumentError
        When it has another type; the message says what was expected (``what``) and what was given.

    Examples
    --------
    >>> expect("3", int, "resample: threads", "a whole number")
    Traceback (most recent call last):
    itkit.core.errors.ArgumentError: resample: threads: expected a whole number; got str '3'
    """
    if not isinstance(value, kinds):
        raise ArgumentError(f"{where}: expected {what}; got {described(value)}")


def expect_number(value: Any, where: str) -> None:
    """Raise an error unless a value is a number or ``None``.

    Raises
    ------
    ArgumentError
        When it is something else; the message says what was given.
    """
    from numbers import Real

    expect(value, (Real, type(None)), where, "a number or None")


def expect_choice(value: Any, choices: Sequence[str], where: str) -> None:
    """Raise an error unless a value is one of the choices.

    Raises
    ------
    ArgumentError
        When it is not; the message lists the choices and suggests the closest one.

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
    """Return the values as a tuple of three whole numbers of at least 1, in the order Z Y X.

    Raises
    ------
    ArgumentError
        When the values are anything else.

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
    """Return a value's type and, if its text is short, the value itself.

    Examples
    --------
    >>> described([1, 2]), described("x" * 100), described(None)
    ('list [1, 2]', 'str', 'None')
    """
    if value is None:
        return "None"
    text = repr(value) if isinstance(value, (str, bytes, int, float, list, tuple, dict)) else ""
    return f"{type(value).__name__} {text}" if text and len(text) <= 60 else type(value).__name__
