"""Label maps with names, painted region by region, with overlaps counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.errors import LabelError
from itkit.core.geometry import Geometry
from itkit.core.params import OverlapRule
from itkit.core.volume import Volume

Colour = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label volume and what its values are called.

    Parameters
    ----------
    volume
        Values of the regions' own numbers ``(Z, Y, X)``, smallest unsigned type. With ``overlap="multi"``: ``(Z, Y, X,
        C)``, one binary channel a region, in the order of ``names``.
    names
        Name of each value; unique.
    colours
        Recommended display colour (sRGB, 0 to 255) where the file gives one.
    overlaps
        Number of voxels that more than one region claims.
    facts
        What was noted, by name: regions without voxels, contours of other types, voxels off the grid.
    """

    volume: Volume
    names: Mapping[int, str]
    colours: Mapping[int, Colour] = field(default_factory=dict)
    overlaps: int = 0
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Region:
    """A region's number, name and colour."""

    number: int
    name: str
    colour: Colour | None = None


def numbered(regions: Iterable[Region]) -> list[Region]:
    """Make names unique and numbers usable as label values.

    Equal names get their number appended; numbers below 1, and all but the first of equal ones, move above the highest.
    """
    regions = list(regions)
    names = Counter(region.name for region in regions)
    free = max([0, *(region.number for region in regions)]) + 1
    result: list[Region] = []
    taken_numbers: set[int] = set()
    taken_names: set[str] = set()
    for region in regions:
        number = region.number
        if number < 1 or number in taken_numbers:
            number, free = free, free + 1
        name = region.name or f"region_{number}"
        name = f"{name}_{number}" if names[region.name] > 1 else name
        while name in taken_names:
            name += "_"
        taken_numbers.add(number)
        taken_names.add(name)
        result.append(Region(number, name, region.colour))
    return result


class Painter:
    """Collects regions on one grid; every region is painted in one or several strokes.

    Parameters
    ----------
    where
        Named in errors.
    geometry
        The grid.
    regions
        As `numbered` gives them.
    overlap
        Which region keeps a voxel that two claim; ``"error"`` refuses, ``"multi"`` keeps both.
    """

    def __init__(self, where: str, geometry: Geometry, regions: list[Region], overlap: OverlapRule) -> None:
        self._where, self._geometry, self._regions, self._overlap = where, geometry, regions, overlap
        self._ranks = {region.number: rank for rank, region in enumerate(regions, start=1)}
        self._owner: NDArray[Any] = np.zeros(geometry.size_zyx, np.min_scalar_type(len(regions)))
        self._claimed_twice = np.zeros(geometry.size_zyx, bool)
        self._channels: NDArray[Any] | None = None
        if overlap == "multi":
            self._channels = np.zeros((*geometry.size_zyx, len(regions)), np.uint8)
        self._painted: set[int] = set()
        self._pairs: set[tuple[int, int]] = set()

    def paint(self, number: int, index_zyx: tuple[NDArray[Any], ...]) -> None:
        """Give voxels to a region."""
        if not len(index_zyx[0]):
            return
        rank = self._ranks[number]
        self._painted.add(number)
        before = self._owner[index_zyx]
        is_taken = (before != 0) & (before != rank)
        if is_taken.any():
            self._claimed_twice[tuple(axis[is_taken] for axis in index_zyx)] = True
            self._pairs |= {(min(int(other), rank), max(int(other), rank)) for other in np.unique(before[is_taken])}
        stays = (before > rank) if self._overlap == "last" else (before < rank)
        self._owner[index_zyx] = np.where(is_taken & stays, before, self._owner.dtype.type(rank))
        if self._channels is not None:
            z, y, x = index_zyx
            self._channels[z, y, x, rank - 1] = 1

    def result(self, facts: Mapping[str, str]) -> LabelMap:
        """Return the label map.

        Raises
        ------
        LabelError
            When regions overlap and that is an error.
        """
        names = {region.number: region.name for region in self._regions}
        overlaps = int(self._claimed_twice.sum())
        if overlaps and self._overlap == "error":
            ordered = list(names.values())
            pairs = ", ".join(f"{ordered[a - 1]} and {ordered[b - 1]}" for a, b in sorted(self._pairs))
            raise LabelError(
                f"{self._where}: {overlaps} voxels are in more than one region ({pairs}); "
                "choose which one keeps them (first, last) or read one channel a region (multi)"
            )
        empty = [name for number, name in names.items() if number not in self._painted]
        array = self._labels() if self._channels is None else self._channels
        return LabelMap(
            volume=Volume(array, self._geometry, "label"),
            names=names,
            colours={region.number: region.colour for region in self._regions if region.colour is not None},
            overlaps=overlaps,
            facts={**facts, **({"empty": ", ".join(empty)} if empty else {})},
        )

    def _labels(self) -> NDArray[Any]:
        values = np.array([0, *self._ranks])
        labels: NDArray[Any] = values.astype(np.min_scalar_type(int(values.max())))[self._owner]
        return labels
