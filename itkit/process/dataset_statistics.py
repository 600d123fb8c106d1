"""Statistics of cases and of a whole dataset, and its outliers: the mathematics of ``itk_stats``."""

from __future__ import annotations

import math
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from itkit.core.volume import Volume
from itkit.kernels.components import components
from itkit.kernels.distribution import Distribution, mixture, weighted_percentiles

Numbers = Mapping[str, Any]
REGIONS = ("whole", "foreground")
ROBUST_Z = 3.5
"""Least robust z of an outlier, after Iglewicz and Hoaglin, "How to Detect and Handle Outliers", ASQC 1993."""
_TO_SIGMA = 0.6745  # the MAD of a normal distribution, in standard deviations
SAME = 1e-6
"""Relative difference up to which two numbers count as equal: what rounding leaves."""
SAME_SPACING = 1e-4
"""The same for spacings, which headers of float32 round."""


def intensity_numbers(values: Distribution) -> dict[str, float] | None:
    """Return mean, median, standard deviation, extremes and percentiles; ``None`` if there is no finite value.

    The definitions are those of nnU-Net's fingerprint: the standard deviation is that of the population, percentiles
    are interpolated linearly.
    """
    if values.size == 0:
        return None
    low, p0_5, median, p99_5, high = values.percentiles((0, 0.5, 50, 99.5, 100))
    return _named(values.mean, median, values.std, low, high, p0_5, p99_5)


def _named(
    mean: float, median: float, std: float, low: float, high: float, p0_5: float, p99_5: float
) -> dict[str, float]:
    return {"mean": mean, "median": median, "std": std, "min": low, "max": high, "p0_5": p0_5, "p99_5": p99_5}


def label_numbers(label: Volume, names: Mapping[int, str] = MappingProxyType({})) -> dict[str, dict[str, Any]]:
    """Return what each class of a label map has, except 0.

    Parameters
    ----------
    label
        The label map.
    names
        Name of each value; a value without a name is called by its number.

    Returns
    -------
    dict
        By value: ``name``, ``voxels``, ``ml``, ``components`` (26 neighbours), ``box`` with ``start`` and ``size``
        (voxels Z Y X), and ``touches_border`` (whether a voxel lies on an outer face of the volume).
    """
    found = components(label.array_zyx, neighbours=26)
    voxel_ml = label.geometry.voxel_ml
    touch_border = found.touch_border
    order = np.argsort(found.classes, kind="stable")
    values, counts = np.unique(found.classes, return_counts=True)
    numbers = {}
    for value, last, count in zip(values.tolist(), np.cumsum(counts).tolist(), counts.tolist(), strict=True):
        own = order[last - count : last]
        start, end = found.starts_zyx[own].min(axis=0), found.ends_zyx[own].max(axis=0)
        voxels = int(found.voxels[own].sum())
        numbers[str(value)] = {
            "name": names.get(value, str(value)),
            "voxels": voxels,
            "ml": voxels * voxel_ml,
            "components": count,
            "box": {"start": start.tolist(), "size": (end - start).tolist()},
            "touches_border": bool(touch_border[own].any()),
        }
    return numbers


def packed(values: Distribution) -> str:
    """Return a thinned distribution as a short text; `unpacked` reads it."""
    thin = values.thinned()
    counts = np.zeros(0, np.float32) if thin.counts is None else thin.counts
    both = np.concatenate([np.asarray(thin.values, dtype="<f8"), np.asarray(counts, dtype="<f8")])
    return b64encode(zlib.compress(both.tobytes(), 6)).decode()


def unpacked(text: str) -> Distribution:
    """Return the distribution that `packed` made a text of.

    Examples
    --------
    >>> from itkit.kernels.distribution import distribution
    >>> unpacked(packed(distribution(np.array([5, 5, -1])))).values.tolist()
    [-1.0, 5.0]
    """
    values, counts = np.frombuffer(zlib.decompress(b64decode(text)), dtype="<f8").reshape(2, -1)
    return Distribution(values, counts.astype(np.int64))


class Pool(NamedTuple):
    """The values of many cases together, each case counting alike: its numbers, its values and their weights."""

    numbers: dict[str, float] | None
    values: NDArray[np.float64]
    weights: NDArray[np.float64]


def pooled(cases: Sequence[tuple[Numbers, Distribution]]) -> Pool:
    """Return the intensities of a dataset: those of an endless sample that draws equally often from each case.

    nnU-Net draws the same number of foreground voxels from each case, with replacement; this is what its numbers
    approach when that number grows. Mean, standard deviation and extremes follow exactly from those of the cases.

    Parameters
    ----------
    cases
        Numbers and (thinned) values of each case that has any.
    """
    if not cases:
        return Pool(None, np.zeros(0), np.zeros(0))
    values, weights = mixture([part for _, part in cases])
    means = np.array([numbers["mean"] for numbers, _ in cases])
    squares = np.array([numbers["std"] ** 2 for numbers, _ in cases])
    mean = float(means.mean())
    std = math.sqrt(float((squares + (means - mean) ** 2).mean()))
    low, high = min(numbers["min"] for numbers, _ in cases), max(numbers["max"] for numbers, _ in cases)
    p0_5, median, p99_5 = weighted_percentiles(values, weights, (0.5, 50, 99.5))
    return Pool(_named(mean, median, std, low, high, p0_5, p99_5), values, weights)


def summary_of(values: Sequence[float]) -> dict[str, float]:
    """Return median, mean, extremes and the 5th and 95th percentile of some numbers."""
    found = np.asarray(values, dtype=np.float64)
    p5, median, p95 = (float(value) for value in np.percentile(found, (5, 50, 95)))
    return {
        "median": median,
        "mean": float(found.mean()),
        "min": float(found.min()),
        "max": float(found.max()),
        "p5": p5,
        "p95": p95,
    }


@dataclass(frozen=True)
class Outlier:
    """A case that lies far from the others in one respect; ``z`` is ``None`` where more than half are equal."""

    case: str
    what: str
    value: float
    z: float | None
    why: str


def outliers(
    what: str,
    values: Mapping[str, float],
    unit: str = "",
    *,
    least_z: float = ROBUST_Z,
    tolerance: float = SAME,
    scale: float = 0.0,
) -> Iterator[Outlier]:
    """Yield the cases whose robust z exceeds a limit: 0.6745 times the distance to the median, by the MAD.

    Parameters
    ----------
    what
        What the values are.
    values
        Value of each case.
    unit
        Unit of the values, for the reasons.
    least_z
        The limit. Where the MAD (median of the absolute distances to the median) is 0, every case that differs from
        the median is named, without a z.
    tolerance
        Relative difference up to which two values count as equal.
    scale
        What differences are compared with if it is larger than the values: of the means of normalized images, which
        are 0 but for rounding, the standard deviation.

    Examples
    --------
    >>> found = list(outliers("spacing Z", {"a": 1.0, "b": 1.0, "c": 1.0, "d": 5.0}, "mm"))
    >>> found[0].case, found[0].z, found[0].why
    ('d', None, 'spacing Z is 5 mm; of 4 cases most have 1 mm')
    """
    if len(values) < 3:
        return
    numbers = np.array(list(values.values()), dtype=np.float64)
    median = float(np.median(numbers))
    mad = float(np.median(np.abs(numbers - median)))
    with_unit = f" {unit}" if unit else ""
    for case, value in values.items():
        distance = value - median
        if abs(distance) <= tolerance * max(abs(median), abs(value), scale):
            continue
        if mad <= tolerance * max(abs(median), scale):
            why = f"{what} is {value:.6g}{with_unit}; of {len(values)} cases most have {median:.6g}{with_unit}"
            yield Outlier(case, what, value, None, why)
            continue
        z = _TO_SIGMA * distance / mad
        if abs(z) > least_z:
            why = (
                f"{what} is {value:.6g}{with_unit}; the median of {len(values)} cases is {median:.6g}{with_unit}, "
                f"half of them lie within {mad:.3g}{with_unit} of it"
            )
            yield Outlier(case, what, value, z, why)
