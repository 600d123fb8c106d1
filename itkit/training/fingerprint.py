"""What planning must know of a dataset, out of the measurements of ``itk_stats``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from itkit.core.axes import opposite
from itkit.core.dataset_meta import DatasetMeta
from itkit.core.errors import LayoutError
from itkit.core.geometry import Geometry, orientation_steps
from itkit.core.text import some
from itkit.process.dataset_statistics import REGIONS, Numbers

Triple = tuple[float, float, float]
_CANONICAL = "LPS"
_ONE = ""
"""Name of the only channel of a case in the measurements."""


@dataclass(frozen=True)
class CaseGrid:
    """Grid of a case with its axes turned as the network sees them.

    Parameters
    ----------
    size_zyx
        Voxels.
    spacing_zyx
        Their distances, mm.
    nonzero
        Part of the volume that lies in the smallest box around all voxels that are not 0; ``None`` if all are 0.
    """

    size_zyx: tuple[int, int, int]
    spacing_zyx: Triple
    nonzero: float | None

    def resampled(self, spacing_zyx: Sequence[float]) -> tuple[int, int, int]:
        """Return its size at another spacing."""
        z, y, x = (
            max(1, int(size * own / new + 0.5))
            for size, own, new in zip(self.size_zyx, self.spacing_zyx, spacing_zyx, strict=True)
        )
        return (z, y, x)


@dataclass(frozen=True)
class Fingerprint:
    """What planning must know of a dataset.

    Parameters
    ----------
    cases
        Grid of each case that can be learnt from.
    orient
        Directions to which the axes X, Y, Z of these grids point.
    turned
        How many cases have other axes than these, and must be turned.
    channels
        Names of the channels.
    labels
        Name of each class in the data.
    modality
        As ``dataset.json`` states it; empty if it does not.
    intensity
        By channel and region (``whole``, ``foreground``): numbers of the dataset, or ``None`` for a region without a
        voxel.
    class_cases
        In how many cases each class is.
    unlabelled
        Cases without a label, or with an empty one.
    absent
        Classes that ``dataset.json`` names and no case has.
    """

    cases: Mapping[str, CaseGrid]
    orient: str
    turned: int
    channels: tuple[str, ...]
    labels: Mapping[int, str]
    modality: str
    intensity: Mapping[str, Mapping[str, Numbers | None]]
    class_cases: Mapping[int, int]
    unlabelled: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def median_spacing(self) -> Triple:
        """Median distance of voxels along each axis, mm, ZYX."""
        return _median([case.spacing_zyx for case in self.cases.values()])

    def median_size(self, spacing_zyx: Sequence[float]) -> tuple[int, int, int]:
        """Return the median size at a spacing, voxels, ZYX."""
        z, y, x = _median([case.resampled(spacing_zyx) for case in self.cases.values()])
        return (round(z), round(y), round(x))

    @property
    def is_flat(self) -> bool:
        """Whether every case is a single plane."""
        return all(case.size_zyx[0] == 1 for case in self.cases.values())


def _median(values: Sequence[Sequence[float]]) -> Triple:
    z, y, x = (float(value) for value in np.median(np.array(values, dtype=np.float64), axis=0))
    return (z, y, x)


def common_orientation(codes: Sequence[str]) -> str:
    """Return directions for the axes that keep the order of the axes of most cases, each pointing to L, P or S.

    So slices that were recorded one after another stay planes of the array, whatever their direction.

    Examples
    --------
    >>> common_orientation(["RAS", "LPS", "ASL"]), common_orientation(["ASL", "AIL", "RAS"])
    ('LPS', 'PSL')
    """
    orders = Counter("".join(x if x in _CANONICAL else opposite(x) for x in code) for code in codes)
    return min(orders, key=lambda order: (-orders[order], order != _CANONICAL, order))


def read_fingerprint(stats: Mapping[str, Any], meta: DatasetMeta, *, orient: str | None = None) -> Fingerprint:
    """Read what planning must know out of ``stats.json``.

    Parameters
    ----------
    stats
        Content of ``stats.json`` of ``itk_stats``.
    meta
        Description of the dataset, ``dataset.json``; empty if there is none.
    orient
        Directions to which the axes X, Y, Z point when the network sees a volume; by default `common_orientation`.

    Raises
    ------
    LayoutError
        When no case has a label, cases have different channels, or a class has a negative value.
    """
    cases: Mapping[str, Any] = stats["cases"]
    labelled = {name: case for name, case in cases.items() if case["labels"]}
    if not labelled:
        raise LayoutError("no case has a label with a class above 0; there is nothing to learn")
    names = _channel_names(labelled, meta)
    values = {int(value): numbers for value, numbers in stats["dataset"]["labels"].items()}
    if negative := sorted(value for value in values if value < 0):
        raise LayoutError(f"class {some(map(str, negative))} is below 0; give it another value with itk_extract")
    labels = {value: str(numbers["name"]) for value, numbers in sorted(values.items())}
    codes = [case["orientation"] for case in labelled.values()]
    orient = orient or common_orientation(codes)
    pooled = stats["dataset"]["intensity"]
    by_channel = {_ONE: pooled} if pooled.keys() == set(REGIONS) else pooled
    return Fingerprint(
        cases={name: _grid(case, orient) for name, case in labelled.items()},
        orient=orient,
        turned=sum(code != orient for code in codes),
        channels=tuple(names.values()),
        labels=labels,
        modality=meta.modality,
        intensity={names[key]: by_channel[key] for key in names},
        class_cases={value: int(values[value]["cases"]) for value in labels},
        unlabelled=tuple(name for name in cases if name not in labelled),
        absent=tuple(f"{value} ({name})" for value, name in meta.labels.items() if value and value not in labels),
    )


def _grid(case: Mapping[str, Any], orient: str) -> CaseGrid:
    axes, _ = orientation_steps(_axes_grid(case["orientation"]), orient)
    a, b, c = axes
    size, spacing, box = case["size"], case["spacing"], case["nonzero_box"]
    part = None if box is None else float(np.prod(box["size"]) / np.prod(size))
    return CaseGrid((size[a], size[b], size[c]), (spacing[a], spacing[b], spacing[c]), part)


def _axes_grid(code: str) -> Geometry:
    """Return a grid of one voxel whose axes x, y, z point to the directions of a code."""
    columns = [[float(letter == there) - float(letter == opposite(there)) for there in "LPS"] for letter in code]
    return Geometry((1, 1, 1), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(c[row] for row in range(3) for c in columns))


def _channel_names(cases: Mapping[str, Any], meta: DatasetMeta) -> dict[str, str]:
    """Map the channels of the measurements to their names.

    Raises
    ------
    LayoutError
        When cases differ in their channels.
    """
    by_keys: dict[tuple[str, ...], list[str]] = {}
    for name, case in cases.items():
        keys = (_ONE,) if case["intensity"].keys() == set(REGIONS) else tuple(case["intensity"])
        by_keys.setdefault(tuple(sorted(keys)), []).append(name)
    if len(by_keys) > 1:
        parts = [f"{', '.join(keys) or 'one channel'} ({some(names, most=3)})" for keys, names in by_keys.items()]
        raise LayoutError(f"cases have different channels: {'; '.join(parts)}; a network takes the same of each")
    (keys,) = by_keys
    if keys == (_ONE,):
        return {_ONE: meta.channels[0] if len(meta.channels) == 1 else meta.modality or "image"}
    order = {name: place for place, name in enumerate(meta.channels)}
    return {key: key for key in sorted(keys, key=lambda key: (order.get(key, len(order)), key))}
