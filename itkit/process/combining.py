"""Make one label map of several on one grid: by rules that claim voxels, or by what several raters agree on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from itkit.core.arguments import expect, expect_choice
from itkit.core.errors import ArgumentError, GeometryMismatchError
from itkit.core.grids import grid_difference
from itkit.core.volume import Volume
from itkit.kernels.arrays import smallest_integer
from itkit.kernels.labels import label_counts, look_up
from itkit.kernels.patterns import Patterns, painted, patterns_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from itkit.core.geometry import Geometry

Fusion = Literal["majority", "staple", "union", "intersection"]
STAPLE_THRESHOLD = 0.5
"""Probability above which a voxel belongs to a class."""


@dataclass(frozen=True)
class Rule:
    """A claim to voxels: those in which a source has one of some classes become one class.

    Examples
    --------
    >>> str(Rule("organs", (1, 2), 3))
    'organs:1,2->3'
    """

    source: str
    classes: tuple[int, ...]
    target: int

    def __str__(self) -> str:
        """Return the rule as it is written on the command line."""
        return f"{self.source}:{','.join(map(str, self.classes))}->{self.target}"


@dataclass(frozen=True)
class Combined:
    """What rules made of the label maps of a case.

    Parameters
    ----------
    volume
        The new label map.
    won
        Number of voxels that each rule got.
    claimed
        Number of voxels that each rule claimed, those of other rules among them.
    overlaps
        Number of voxels that both rules of a pair claimed, if there are any; the pair has the order of the rules.
    unclaimed
        Number of voxels of each class, other than 0, that no rule names, by source.
    """

    volume: Volume
    won: Mapping[Rule, int]
    claimed: Mapping[Rule, int]
    overlaps: Mapping[tuple[Rule, Rule], int]
    unclaimed: Mapping[str, Mapping[int, int]]


def combine_labels(sources: Mapping[str, Volume], rules: Sequence[Rule]) -> Combined:
    """Merge label maps of one grid: each voxel goes to the first rule that claims it, and is 0 if none does.

    Parameters
    ----------
    sources
        Label maps by name. Each is taken once, so that a mapping which reads on demand keeps one in memory.
    rules
        Rules, the strongest first; none may be given twice.

    Returns
    -------
    Combined
        The label map, in the smallest integer type that holds all targets, and what each rule claimed and won.

    Raises
    ------
    ArgumentError
        When a rule names a source that is not there, or there is no rule.
    GeometryMismatchError
        When the grids differ by more than 1e-3 mm.

    Examples
    --------
    >>> from itkit.core.geometry import Geometry
    >>> grid = Geometry((1, 1, 4), (1.0, 1.0, 1.0))
    >>> organs, tumours = (Volume(np.array([[row]], np.uint8), grid, "label") for row in ([0, 1, 1, 2], [0, 0, 1, 1]))
    >>> rules = [Rule("tumours", (1,), 9), Rule("organs", (1, 2), 1)]
    >>> combined = combine_labels({"organs": organs, "tumours": tumours}, rules)
    >>> combined.volume.array_zyx.tolist(), list(combined.won.values())
    ([[[0, 1, 9, 9]]], [2, 1])
    """
    if not rules:
        raise ArgumentError("combine_labels: expected at least one rule")
    if len(set(rules)) < len(rules):
        raise ArgumentError("combine_labels: a rule is given twice")
    for rule in rules:
        if rule.source not in sources:
            raise ArgumentError(f"combine_labels: {rule}: no source {rule.source!r}; there are {', '.join(sources)}")
    claims: list[list[tuple[int, ...]]] = []
    named: list[Mapping[int, object]] = []
    likeness = _Likeness(next(iter(sources)))

    def label_maps() -> Iterator[tuple[NDArray[Any], Mapping[int, int]]]:
        for name in sources:
            array = likeness.checked(sources[name], name)
            of_value: dict[int, list[int]] = {}
            for place, rule in enumerate(rules):
                for value in dict.fromkeys(rule.classes) if rule.source == name else ():
                    of_value.setdefault(value, []).append(place)
            claims.append([(), *dict.fromkeys(map(tuple, of_value.values()))])
            named.append(of_value)
            yield array, {value: claims[-1].index(tuple(found)) for value, found in of_value.items()}

    patterns = patterns_of(label_maps())
    unclaimed = {
        name: {value: n for value, n in found.items() if value != 0 and value not in known}
        for name, known, found in zip(sources, named, patterns.voxels, strict=True)
    }
    won, claimed = dict.fromkeys(rules, 0), dict.fromkeys(rules, 0)
    overlaps: dict[tuple[Rule, Rule], int] = {}
    values = []
    for row, count in zip(patterns.classes.tolist(), patterns.counts.tolist(), strict=True):
        places = sorted({place for number, known in zip(row, claims, strict=True) for place in known[number]})
        values.append(rules[places[0]].target if places else 0)
        for place in places[:1]:
            won[rules[place]] += count
        for place in places:
            claimed[rules[place]] += count
        for one, other in combinations(places, 2):
            pair = (rules[one], rules[other])
            overlaps[pair] = overlaps.get(pair, 0) + count
    volume = likeness.volume(painted(patterns, values))
    return Combined(
        volume, won, claimed, dict(sorted(overlaps.items(), key=lambda item: _order(item[0], rules))), unclaimed
    )


def _order(pair: tuple[Rule, Rule], rules: Sequence[Rule]) -> tuple[int, int]:
    return rules.index(pair[0]), rules.index(pair[1])


class _Likeness:
    """What the new label map has in common with the first one, whose voxels are not kept: its grid and metadata."""

    def __init__(self, first: str) -> None:
        self._first = first
        self._found: tuple[Geometry, Mapping[str, str]] | None = None

    def checked(self, volume: Volume, name: str) -> NDArray[Any]:
        """Return the voxels of a label map that lies on the grid of the first one.

        Raises
        ------
        GeometryMismatchError
            When its grid differs.
        """
        expect(volume, Volume, f"label map {name!r}", "an itkit.Volume")
        if volume.kind != "label":
            raise ArgumentError(f"{name}: expected a label map; got an image: read it with kind='label'")
        self._found = self._found or (volume.geometry, volume.metadata)
        reason = grid_difference(self._found[0], volume.geometry, self._first, name)
        if reason:
            raise GeometryMismatchError(f"{reason}; --on-grid {self._first} puts all on one grid")
        return volume.array_zyx

    def volume(self, array_zyx: NDArray[Any]) -> Volume:
        """Return a label map on the grid of the first one."""
        assert self._found is not None
        return Volume(array_zyx, self._found[0], "label", self._found[1])


@dataclass(frozen=True)
class Fused:
    """What became of the label maps of several raters.

    Parameters
    ----------
    volume
        The new label map.
    voxels
        Number of voxels of each class.
    undecided
        Number of voxels without a single winner: for ``majority`` they are background; for ``union`` they have the
        class of the first rater among those tied.
    lost
        Classes of raters that no voxel has any more, and the number of voxels that had one.
    facts
        More numbers, as JSON values: for ``staple`` the threshold and each rater's sensitivity and specificity.
    """

    volume: Volume
    voxels: Mapping[int, int]
    undecided: int
    lost: Mapping[int, int]
    facts: Mapping[str, Any]


def fuse_labels(raters: Mapping[str, Volume], how: Fusion, *, threads: int = 1) -> Fused:
    """Make one label map of those of several raters, who use the same classes on one grid.

    Parameters
    ----------
    raters
        Label maps by name. Each is taken once, so that a mapping which reads on demand keeps one in memory.
    how
        ``majority``: the class with the most votes, background among them; ties go to background. ``union``: the
        class with the most votes other than background. ``intersection``: the class on which all agree. ``staple``:
        for each class the probability that STAPLE [1]_ estimates, computed by SimpleITK; the class with the greatest
        probability above 0.5, the lowest of several.
    threads
        Threads for SimpleITK; the result does not depend on it.

    Raises
    ------
    ArgumentError
        When there is no rater, or the method is unknown.
    GeometryMismatchError
        When the grids differ by more than 1e-3 mm.

    References
    ----------
    .. [1] Warfield S. K. et al., "Simultaneous truth and performance level estimation (STAPLE)", IEEE TMI 23 (2004)

    Examples
    --------
    >>> from itkit.core.geometry import Geometry
    >>> grid = Geometry((1, 1, 4), (1.0, 1.0, 1.0))
    >>> rows = ([0, 1, 1, 2], [0, 1, 2, 1], [0, 1, 1, 0])
    >>> raters = {str(i): Volume(np.array([[row]], np.uint8), grid, "label") for i, row in enumerate(rows)}
    >>> fused = fuse_labels(raters, "majority")
    >>> fused.volume.array_zyx.tolist(), fused.undecided
    ([[[0, 1, 1, 0]]], 1)
    """
    expect_choice(how, get_args(Fusion), "fuse_labels: how")
    if not raters:
        raise ArgumentError("fuse_labels: expected at least one label map")
    likeness = _Likeness(next(iter(raters)))

    def label_maps() -> Iterator[tuple[NDArray[Any], Mapping[int, int]]]:
        for name in raters:
            array = likeness.checked(raters[name], name)
            yield array, {value: value for value in label_counts(array)}

    patterns = patterns_of(label_maps())
    undecided, facts = 0, dict[str, Any]()
    if how == "staple":
        array, facts = _staple(patterns, list(raters), likeness, threads)
    elif how == "intersection":
        same = (patterns.classes == patterns.classes[:, :1]).all(axis=1)
        array = painted(patterns, np.where(same, patterns.classes[:, 0], 0).tolist())
    else:
        winners, is_tied = _votes(patterns.classes, background=how == "majority")
        if how == "majority":
            winners[is_tied] = 0
        undecided = int(patterns.counts[is_tied].sum())
        array = painted(patterns, winners.tolist())
    voxels = label_counts(array)
    lost = {
        value: int(patterns.counts[(patterns.classes == value).any(axis=1)].sum())
        for value in np.unique(patterns.classes).tolist()
        if value not in (0, *voxels)
    }
    return Fused(likeness.volume(array), voxels, undecided, lost, facts)


def _votes(classes: NDArray[np.int64], *, background: bool) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the class with the most votes in each row, of the first rater if several have, and where several have."""
    votes = np.zeros(classes.shape, np.int64)
    for rater in range(classes.shape[1]):
        votes[:, rater] = (classes == classes[:, rater : rater + 1]).sum(axis=1)
    if not background:
        votes[classes == 0] = 0
    best = votes.max(axis=1, keepdims=True)
    winners = classes[np.arange(len(classes)), votes.argmax(axis=1)]
    rivals = (votes == best) & (classes != winners[:, None]) & (best > 0)
    return winners, rivals.any(axis=1)


def _staple(
    patterns: Patterns, names: Sequence[str], likeness: _Likeness, threads: int
) -> tuple[NDArray[Any], dict[str, Any]]:
    """Estimate each class by STAPLE; a voxel gets the class with the greatest probability above the threshold."""
    from itkit.io.sitk_toolkit import itk_threads, to_sitk

    best = np.full(patterns.groups.shape, STAPLE_THRESHOLD, np.float64)
    found = np.zeros(patterns.groups.shape, np.int64)
    classes = {}
    for value in [value for value in np.unique(patterns.classes).tolist() if value != 0]:
        marks = (patterns.classes == value).astype(np.uint8)
        with itk_threads(threads) as sitk:
            estimate = sitk.STAPLEImageFilter()
            estimate.SetForegroundValue(1.0)
            masks = [
                to_sitk(likeness.volume(look_up(patterns.groups, np.ascontiguousarray(column)))) for column in marks.T
            ]
            probability = np.asarray(sitk.GetArrayViewFromImage(image := estimate.Execute(masks)))
            if np.isnan(probability).any():  # the class fills the volume: there is nothing to tell raters apart by
                probability = look_up(patterns.groups, marks.all(axis=1).astype(np.float64))
            wins = probability > best
            best[wins] = probability[wins]
            found[wins] = value
            del probability, image
        classes[str(value)] = {
            "iterations": int(estimate.GetElapsedIterations()),
            "sensitivity": dict(zip(names, map(_number, estimate.GetSensitivity()), strict=True)),
            "specificity": dict(zip(names, map(_number, estimate.GetSpecificity()), strict=True)),
        }
    dtype = smallest_integer(int(found.min()), int(found.max()))
    return found.astype(dtype), {"threshold": STAPLE_THRESHOLD, "classes": classes}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
