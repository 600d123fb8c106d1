"""Classes that a user names, by name or by value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated

from itkit.core.errors import ArgumentError
from itkit.core.fields import FreeText
from itkit.core.text import did_you_mean, key_of, some

ClassWords = tuple[Annotated[str, FreeText("liver")], ...]
"""Type of a parameter that chooses classes: names that ``dataset.json`` lists, or values."""

_VALUE = re.compile(r"[+-]?[0-9]{1,20}")


def chosen_classes(words: Iterable[str | int], names: Mapping[int, str], *, option: str = "--labels") -> dict[int, str]:
    """Return the classes that a user names, in the given order, each once.

    Parameters
    ----------
    words
        Names of classes, or values. In a name, letter case, blanks, ``_`` and ``-`` don't matter. A name that consists
        of digits is taken as a name before it is taken as a value.
    names
        Name of each label value, as ``dataset.json`` lists them (`FoundMeta.labels`).
    option
        The option, for messages.

    Returns
    -------
    dict of int to str
        Value and name; a value that has no name is called by its number.

    Raises
    ------
    ArgumentError
        When a name is unknown, or several classes have it.

    Examples
    --------
    >>> chosen_classes(["Right Kidney", "7"], {1: "liver", 2: "right_kidney"})
    {2: 'right_kidney', 7: '7'}
    >>> chosen_classes(["livr"], {1: "liver", 2: "right_kidney"})
    Traceback (most recent call last):
    itkit.core.errors.ArgumentError: --labels: no class 'livr'; did you mean 'liver'? (classes: 1 liver, 2 right_kidney)
    """
    chosen: dict[int, str] = {}
    for word in words:
        value = _value_of(str(word), names, option)
        chosen[value] = names.get(value, str(value))
    return chosen


def _value_of(word: str, names: Mapping[int, str], option: str) -> int:
    exact = [value for value, name in names.items() if name == word]
    alike = exact or [value for value, name in names.items() if key_of(name) == key_of(word)]
    if len(alike) > 1:
        raise ArgumentError(f"{option}: {word!r} names several classes ({some(map(str, alike))}); give a value")
    if alike:
        return alike[0]
    if _VALUE.fullmatch(word.strip()):
        return int(word)
    if not names:
        raise ArgumentError(f"{option}: no dataset.json names a class {word!r}; give its value, e.g. 1")
    listed = some((f"{value} {name}" for value, name in sorted(names.items())), 30)
    raise ArgumentError(f"{option}: no class {word!r}{did_you_mean(word, names.values())} (classes: {listed})")
