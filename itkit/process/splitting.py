"""Divide cases into parts: balanced by groups and strata, or by hashes that no other case changes."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

_MOST_VALUES = 10
"""Number of different numbers in a column above which they are put into quarters."""
_QUARTERS = 4


@dataclass(frozen=True)
class Unit:
    """Cases that stay together, e.g. those of one patient.

    Parameters
    ----------
    name
        Name of the group; its place in the random order depends on it.
    cases
        The cases.
    strata
        Number of its cases in each stratum, e.g. that have a class; a case may be in several strata.
    """

    name: str
    cases: tuple[str, ...]
    strata: Mapping[str, int] = field(default_factory=dict)


def fraction_of(*words: object) -> float:
    """Return a number in [0, 1) that depends on the words alone: the first 53 bits of their SHA-256.

    Examples
    --------
    >>> fraction_of(0, "test", "patient 7") == fraction_of(0, "test", "patient 7")
    True
    >>> 0 <= fraction_of(1, "test", "patient 7") < 1
    True
    """
    return (_digest(words) >> 203) / 2**53


def _digest(words: Sequence[object]) -> int:
    text = "\0".join(map(str, words))
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogateescape")).digest(), "big")


def rounded(share: float, count: int) -> int:
    """Return a share of a number of cases, rounded half up."""
    return math.floor(share * count + 0.5)


def balanced_parts(
    units: Collection[Unit], sizes: Mapping[str, int], *, seed: int = 0, given: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Divide units into parts of given sizes, so that each part has its share of every stratum.

    The rarest stratum goes first: each of its units goes to the part that still lacks most cases of this stratum, then
    to the one that lacks most cases at all; ties are broken by a hash of the seed, the unit and the part. Larger units
    come before smaller ones, units of one size in the order of a hash. The result therefore depends on seed and units
    alone, not on their order.

    Parameters
    ----------
    units
        The units, with different names.
    sizes
        Number of cases of each part; together, all cases.
    seed
        Seed of the random order.
    given
        Part of each unit that is not free.

    Returns
    -------
    dict
        Part of each unit, by its name.

    Notes
    -----
    This is iterative stratification by Sechidis et al. [1]_, with units of several cases, and parts that are full when
    they have reached their size.

    References
    ----------
    .. [1] Sechidis K. et al., "On the stratification of multi-label data", ECML PKDD 2011

    Examples
    --------
    >>> units = [Unit(name, (name,), {"rare": name < "c"}) for name in "abcdef"]
    >>> parts = balanced_parts(units, {"0": 3, "1": 3}, seed=4)
    >>> sorted(parts[name] for name in "ab"), sorted(parts.values())
    (['0', '1'], ['0', '0', '0', '1', '1', '1'])
    """
    given = given or {}
    total = sum(sizes.values())
    room = dict(sizes)
    used = [part for part, size in sizes.items() if size] or list(sizes)
    strata: Counter[str] = Counter()
    for unit in units:
        strata.update({name: count for name, count in unit.strata.items() if count})
    lacks = {part: {name: strata[name] * size / max(1, total) for name in strata} for part, size in sizes.items()}
    parts: dict[str, str] = {}

    def put(unit: Unit, part: str) -> None:
        parts[unit.name] = part
        room[part] -= len(unit.cases)
        for name, count in unit.strata.items():
            if count:
                lacks[part][name] -= count

    for unit in sorted(units, key=lambda unit: unit.name):
        if unit.name in given:
            put(unit, given[unit.name])
    waiting = sorted(
        (unit for unit in units if unit.name not in given),
        key=lambda unit: (-len(unit.cases), _digest((seed, "order", unit.name))),
    )
    while waiting:
        left: Counter[str] = Counter()
        for unit in waiting:
            left.update({name: count for name, count in unit.strata.items() if count})
        rarest = min(left, key=lambda name: (left[name], name), default=None)
        batch = [unit for unit in waiting if rarest is None or unit.strata.get(rarest)]
        for unit in batch:
            fitting = [part for part in sizes if room[part] >= len(unit.cases)] or used
            best = max(
                fitting,
                key=lambda part: (
                    lacks[part][rarest] if rarest is not None else 0.0,
                    room[part],
                    _digest((seed, "part", unit.name, part)),
                ),
            )
            put(unit, best)
        waiting = [unit for unit in waiting if unit.name not in parts]
    return parts


def in_bins(values: Mapping[str, str]) -> dict[str, str]:
    """Return the stratum of each case: its text, or the quarter of its number if there are many different numbers.

    Examples
    --------
    >>> in_bins({"a": "north", "b": "south"})
    {'a': 'north', 'b': 'south'}
    >>> sorted(Counter(in_bins({str(i): str(i / 2) for i in range(40)}).values()).items())
    [('quarter 1', 10), ('quarter 2', 10), ('quarter 3', 10), ('quarter 4', 10)]
    """
    try:
        numbers = {case: float(text) for case, text in values.items() if text}
    except ValueError:
        return dict(values)
    if len(set(numbers.values())) <= _MOST_VALUES or not all(map(math.isfinite, numbers.values())):
        return dict(values)
    ordered = sorted(numbers.values())
    limits = [ordered[len(ordered) * place // _QUARTERS] for place in range(1, _QUARTERS)]
    found = {case: f"quarter {1 + sum(number >= limit for limit in limits)}" for case, number in numbers.items()}
    return {case: found.get(case, "") for case in values}
