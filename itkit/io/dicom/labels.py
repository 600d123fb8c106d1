"""Label maps with the names and colours of their regions, and the number of overlaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from itkit.core.errors import LabelError
from itkit.core.geometry import Geometry
from itkit.core.params import OverlapRule
from itkit.core.volume import Volume
from itkit.kernels.paint import Canvas

Colour = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label volume, and the names of its values.

    Parameters
    ----------
    volume
        Label map ``(Z, Y, X)`` of the smallest unsigned type; the values are the regions' own numbers. With
        ``overlap="multi"``: ``(Z, Y, X, C)``, one binary channel per region, in the order of ``names``.
    names
        Name of each value; unique.
    colours
        Recommended display colours (sRGB, 0 to 255), as far as the file states them.
    overlaps
        Number of voxels that more than one region claims, each counted once.
    facts
        Facts by name: regions without voxels, contours of other types, voxels outside the grid.
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
    """Return the regions with unique names, and with numbers that can serve as label values.

    Equal names get their number appended. Numbers below 1, and repeated ones, are replaced by numbers above the
    highest.
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


def merged(maps: Sequence[LabelMap], *, where: str, overlap: OverlapRule) -> LabelMap:
    """Merge the label maps of several files with the same grid; equal names and numbers are made unique.

    Parameters
    ----------
    maps
        At least one label map, all read with the same ``overlap``.
    where
        Text that names the source in errors.
    overlap
        Which region keeps a voxel that regions of two files claim; regions of a later file count as later regions.

    Raises
    ------
    LabelError
        When regions of two files overlap and ``overlap`` is ``"error"``.
    """
    if len(maps) == 1:
        return maps[0]
    regions = numbered(
        Region(number, name, one.colours.get(number)) for one in maps for number, name in one.names.items()
    )
    geometry = maps[0].volume.geometry
    canvas = Canvas(geometry.size_zyx, [region.number for region in regions], overlap)
    wanted = iter(regions)
    for one in maps:
        array = one.volume.array_zyx
        for channel, number in enumerate(one.names):
            inside = array[..., channel] if overlap == "multi" else array == number
            canvas.paint(next(wanted).number, np.nonzero(inside))
    facts = {name: "; ".join(one.facts[name] for one in maps if name in one.facts)
             for name in dict.fromkeys(name for one in maps for name in one.facts if name != "empty")}  # fmt: skip
    whole = label_map(where, geometry, regions, canvas, facts)
    return replace(whole, overlaps=whole.overlaps + sum(one.overlaps for one in maps))


def label_map(
    where: str,
    geometry: Geometry,
    regions: Sequence[Region],
    canvas: Canvas,
    facts: Mapping[str, str],
) -> LabelMap:
    """Return the painted label map with its names.

    Parameters
    ----------
    where
        Text that names the source in errors.
    geometry, regions
        The grid and the regions for which the canvas was made.

    Raises
    ------
    LabelError
        When regions overlap and the canvas's rule is ``"error"``.
    """
    names = {region.number: region.name for region in regions}
    overlaps = canvas.overlap_voxels
    if overlaps and canvas.rule == "error":
        ranks = {number: rank for rank, number in enumerate(names)}
        met = sorted(canvas.pairs, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
        pairs = ", ".join(f"{names[a]} and {names[b]}" for a, b in met)
        raise LabelError(
            f"{where}: {overlaps} voxels are in more than one region ({pairs}); "
            "choose which one keeps them (first, last) or read one channel per region (multi)"
        )
    empty = [names[number] for number in canvas.empty]
    return LabelMap(
        volume=Volume(canvas.labels(), geometry, "label"),
        names=names,
        colours={region.number: region.colour for region in regions if region.colour is not None},
        overlaps=overlaps,
        facts={**facts, **({"empty": ", ".join(empty)} if empty else {})},
    )
