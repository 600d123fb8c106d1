"""Compare two label maps class by class."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from itkit.core.arguments import expect_choice
from itkit.core.errors import ArgumentError, GeometryMismatchError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.kernels.arrays import plain
from itkit.kernels.joint import Box, JointCounts, joint_counts
from itkit.metrics.definitions import COLUMNS, DISTANCES, IN_MM, METRICS, VARIANTS, metric_names
from itkit.metrics.instances import instance_metrics
from itkit.metrics.surfaces import surface_metrics

Label = int | str
"""A class, by its value, or a region, by its name."""
LabelMap = NDArray[Any] | Volume
Tolerances = float | Sequence[float] | Mapping[Label, float]
Flag = Literal["", "both_empty", "missed", "invented"]
_SURFACE = (*DISTANCES, *VARIANTS)
_MOST_COMPARED = 4
"""Number of values of a region up to which comparing with each is the quickest."""


@dataclass(frozen=True, eq=False)
class Compared:
    """Two label maps, compared.

    Attributes
    ----------
    classes
        Metrics of each class and region, by the names of `DEFINITIONS`.
    joint
        Joint histogram of the values.
    """

    classes: Mapping[Label, dict[str, Any]]
    joint: JointCounts = field(repr=False)


def evaluate(
    gt: LabelMap,
    pred: LabelMap,
    *,
    spacing_zyx: Sequence[float] | None = None,
    labels: Iterable[int] | int | None = None,
    tolerance_mm: Tolerances = 2.0,
    regions: Mapping[str, Iterable[int]] | None = None,
    metrics: Iterable[str] | None = None,
    instances: bool = False,
    penalty: Literal["none", "diagonal"] = "none",
) -> dict[Label, dict[str, Any]]:
    """Compare a prediction with a reference, class by class.

    Parameters
    ----------
    gt, pred
        Reference and prediction: label maps ``(Z, Y, X)`` on one grid, as arrays or volumes.
    spacing_zyx
        Distance between voxel centres, mm; needed for arrays, a volume has its own.
    labels
        Values (or one) to compare, in this order; by default all values of both but 0.
    tolerance_mm
        Distance within which a surface counts as met (NSD), mm: one for all, one for each class in the order of the
        result, or by class.
    regions
        Unions of classes to compare as well, by name.
    metrics
        Names of the metrics to compute; by default all of `METRICS`.
    instances
        Compare connected components, too.
    penalty
        ``diagonal`` puts the length of the volume's diagonal (size times spacing) for infinite distances.

    Returns
    -------
    dict
        For each class (its value) and region (its name): the metrics by name, the numbers of voxels ``tp``, ``fp`` and
        ``fn``, and ``flag``. `DEFINITIONS` says what each of them is.

    Raises
    ------
    ArgumentError
        When shapes differ, the spacing is missing or wrong, or a name is unknown.
    GeometryMismatchError
        When two volumes lie on different grids.
    LabelError
        When a map has thousands of classes, as an image has.

    Notes
    -----
    A class that neither map holds has overlap 1, distances 0, NSD 1 and the flag ``both_empty``. If the prediction
    lacks it (``missed``), Dice, IoU, recall and NSD are 0, precision is ``nan`` and distances are ``inf``; if the
    reference lacks it (``invented``), Dice, IoU, precision and NSD are 0, recall is ``nan`` and distances are ``inf``.

    Examples
    --------
    >>> truth, found = np.zeros((2, 4, 8, 8), np.uint8)
    >>> truth[:, 2:6, 2:6] = 1; found[:, 2:6, 2:5] = 1; found[0, 0, 0] = 7
    >>> result = evaluate(truth, found, spacing_zyx=(2.0, 1.0, 1.0))
    >>> {label: (round(row["dice"], 3), row["hd95_mm"], row["flag"]) for label, row in result.items()}
    {1: (0.857, 1.0, ''), 7: (0.0, inf, 'invented')}
    """
    wanted = METRICS if metrics is None else metric_names(metrics)
    expect_choice(penalty, ("none", "diagonal"), "evaluate: penalty")
    found = compare(
        gt,
        pred,
        spacing_zyx=spacing_zyx,
        labels=labels,
        tolerance_mm=tolerance_mm,
        regions=regions,
        metrics=wanted,
        instances=instances,
        penalty=penalty,
    )
    return dict(found.classes)


def compare(
    gt: LabelMap,
    pred: LabelMap,
    *,
    spacing_zyx: Sequence[float] | None = None,
    labels: Iterable[int] | int | None = None,
    known: Iterable[int] = (),
    tolerance_mm: Tolerances | Callable[[Label], float] = 2.0,
    regions: Mapping[str, Iterable[int]] | None = None,
    metrics: Collection[str] = METRICS,
    instances: bool = False,
    penalty: str = "none",
) -> Compared:
    """Compare a prediction with a reference; like `evaluate`, but return the joint histogram, too.

    ``known`` are values to compare beside those of both maps if ``labels`` names none. The tolerance may be a function
    of the class.
    """
    a, b = (plain(item.array_zyx if isinstance(item, Volume) else np.asarray(item)) for item in (gt, pred))
    grid = _grid(gt, pred, a.shape, spacing_zyx)
    joint = joint_counts(a, b)
    if labels is None:
        values: Sequence[int] = sorted(({*joint.first, *joint.second} - {0}).union(known))
    else:
        values = [int(value) for value in ([labels] if isinstance(labels, int) else labels)]
    targets: dict[Label, tuple[int, ...]] = {value: (value,) for value in values}
    targets |= {name: tuple(int(value) for value in parts) for name, parts in (regions or {}).items()}
    limits = _tolerances(tolerance_mm, list(targets))
    at_infinity = math.hypot(*grid.extent_zyx) if penalty == "diagonal" else math.inf
    classes: dict[Label, dict[str, Any]] = {}
    for label, parts in targets.items():
        row = _overlap(joint.of(parts), grid.voxel_ml)
        box = joint.box(parts)
        if row["flag"] == "":
            assert box is not None
            masks = [_mask(array, parts, box) for array in (a, b)]
            row |= surface_metrics(masks[0], masks[1], grid.spacing_zyx, limits[label], metrics)
        else:
            row |= _without_surface(row["flag"], at_infinity)
        chosen = _chosen(dict.fromkeys(_SURFACE) | row, metrics)
        if instances:
            whole = box or (slice(0, 1),) * 3
            chosen |= instance_metrics(_mask(a, parts, whole), _mask(b, parts, whole), grid.voxel_ml)
        classes[label] = chosen
    return Compared(classes, joint)


def _overlap(counts: tuple[int, int, int], voxel_ml: float) -> dict[str, Any]:
    tp, fn, fp = counts
    g, p = tp + fn, tp + fp
    flag: Flag = "both_empty" if g + p == 0 else "missed" if p == 0 else "invented" if g == 0 else ""
    empty = flag == "both_empty"
    return {
        "dice": 1.0 if empty else 2 * tp / (g + p),
        "iou": 1.0 if empty else tp / (tp + fp + fn),
        "precision": 1.0 if empty else tp / p if p else math.nan,
        "recall": 1.0 if empty else tp / g if g else math.nan,
        "volume_similarity": 0.0 if empty else 2 * (p - g) / (p + g),
        "volume_gt_ml": g * voxel_ml,
        "volume_pred_ml": p * voxel_ml,
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "flag": flag,
    }


def _without_surface(flag: Flag, at_infinity: float) -> dict[str, float]:
    empty = flag == "both_empty"
    return {name: (0.0 if empty else at_infinity) if name in IN_MM else float(empty) for name in _SURFACE}


def empty_row(metrics: Collection[str] = METRICS, *, instances: bool = False) -> dict[str, Any]:
    """Return the row of a class that neither map holds."""
    row = _overlap((0, 0, 0), 0.0) | _without_surface("both_empty", 0.0)
    chosen = _chosen(row, metrics)
    if instances:
        nothing = np.zeros((1, 1, 1), bool)
        chosen |= instance_metrics(nothing, nothing, 0.0)
    return chosen


def _chosen(row: Mapping[str, Any], metrics: Collection[str]) -> dict[str, Any]:
    return {name: row[name] for name in COLUMNS if name in metrics or name not in METRICS}


def _mask(array: NDArray[Any], values: Sequence[int], box: Box) -> NDArray[np.bool_]:
    part = array[box]
    if len(values) > _MOST_COMPARED:
        return np.isin(part, np.array(values))
    mask: NDArray[np.bool_] = _equals(part, values[0]) if values else np.zeros(part.shape, bool)
    for value in values[1:]:
        mask |= _equals(part, value)
    return mask


def _equals(part: NDArray[Any], value: int) -> NDArray[np.bool_]:
    if part.dtype.kind in "iu" and not np.iinfo(part.dtype).min <= value <= np.iinfo(part.dtype).max:
        return np.zeros(part.shape, bool)
    return np.asarray(part == value)


def _grid(gt: LabelMap, pred: LabelMap, shape: tuple[int, ...], spacing_zyx: Sequence[float] | None) -> Geometry:
    """Return the grid of both label maps; only size and spacing matter."""
    grids = [item.geometry for item in (gt, pred) if isinstance(item, Volume)]
    if len(grids) == 2 and not grids[0].same_grid(grids[1]):
        raise GeometryMismatchError(
            f"reference and prediction lie on different grids: {grids[0]!r} and {grids[1]!r}; "
            "resample the prediction first"
        )
    if spacing_zyx is None:
        if not grids:
            raise ArgumentError("evaluate: spacing_zyx: arrays have no spacing; give it, mm (Z Y X)")
        return grids[0]
    return Geometry((shape[0], shape[1], shape[2]), tuple(spacing_zyx))  # type: ignore[arg-type]  # it checks them


def _tolerances(given: Tolerances | Callable[[Label], float], labels: Sequence[Label]) -> dict[Label, float]:
    if callable(given):
        limits = {label: given(label) for label in labels}
    elif isinstance(given, Mapping):
        lacking = [label for label in labels if label not in given]
        if lacking:
            raise ArgumentError(f"evaluate: tolerance_mm: no tolerance for {', '.join(map(str, lacking))}")
        limits = {label: float(given[label]) for label in labels}
    elif isinstance(given, (int, float, np.number)):
        limits = dict.fromkeys(labels, float(given))
    else:
        if len(given) != len(labels):
            expected = f"one number, or one for each of {len(labels)} classes"
            raise ArgumentError(f"evaluate: tolerance_mm: expected {expected}; got {len(given)}")
        limits = {label: float(limit) for label, limit in zip(labels, given, strict=True)}
    wrong = [limit for limit in limits.values() if not (limit >= 0 and math.isfinite(limit))]
    if wrong:
        raise ArgumentError(f"evaluate: tolerance_mm: expected a distance >= 0, mm; got {wrong[0]}")
    return limits
