"""Which classes an output holds, under which values and names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.errors import LabelError, ParamsError
from itkit.core.geometry import Geometry
from itkit.core.text import key_of
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import smallest_integer
from itkit.kernels.labels import label_counts, remap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from itkit.core.params import OverlapRule
    from itkit.dataset.convert.params import ConvertDatasetParams


@dataclass(frozen=True)
class Selection:
    """What becomes of label values.

    Parameters
    ----------
    names
        Name of each value in the output, background left out.
    mapping
        New value of each official one; ``None`` when nothing changes.
    """

    names: Mapping[int, str]
    mapping: Mapping[int, int] | None = None

    def apply(self, label: Volume) -> Volume:
        """Give a label map its output values; values outside the table stay unless classes were selected."""
        if self.mapping is None:
            return label
        dtype = smallest_integer(0, max(self.mapping.values(), default=0))
        return label.with_array(remap(label.array_zyx, self.mapping, dtype=dtype)[0])


def select(table: Mapping[int, str], params: ConvertDatasetParams, *, is_complete: bool = True) -> Selection:
    """Work out output values and names from a label table.

    Parameters
    ----------
    table
        Name of each official value.
    params
        ``labels``, ``merge``, ``renumber``.
    is_complete
        Whether a name that the table lacks is an error; not where each case has a table of its own.

    Raises
    ------
    ParamsError
        When a name is unknown.

    Examples
    --------
    >>> from itkit.dataset.convert.params import ConvertDatasetParams
    >>> params = ConvertDatasetParams(source="a", dest="b", merge=("kidneys=left kidney,right kidney",), renumber=True)
    >>> found = select({1: "liver", 4: "left kidney", 9: "right kidney"}, params)
    >>> dict(found.names), dict(found.mapping)
    ({1: 'liver', 2: 'kidneys'}, {1: 1, 4: 2, 9: 2})
    """
    names = {value: name for value, name in table.items() if value != 0}
    mapping = {value: value for value in names}
    for text in params.merge:
        new, _, parts = text.partition("=")
        values = [value for part in parts.split(",") for value in _values(part, names, is_complete=is_complete)]
        if values:
            target = min(values)
            mapping = {old: target if value in values else value for old, value in mapping.items()}
            names = {value: name for value, name in names.items() if value not in values} | {target: new.strip()}
    kept = sorted(names)
    if params.labels:
        kept = [value for name in params.labels for value in _values(name, names, is_complete=is_complete)]
    numbers = {value: number if params.renumber else value for number, value in enumerate(dict.fromkeys(kept), 1)}
    mapping = {old: numbers[value] for old, value in mapping.items() if value in numbers}
    is_asked = bool(params.labels or params.merge or params.renumber)
    return Selection({numbers[value]: names[value] for value in numbers}, mapping if is_asked else None)


def _values(name: str, names: Mapping[int, str], *, is_complete: bool) -> list[int]:
    found = [value for value, known in names.items() if key_of(known) == key_of(name)]
    if not found and is_complete:
        raise ParamsError(f"no class {name.strip()!r}; there are: {', '.join(names.values())}")
    return found


def unknown_values(label: Volume, table: Mapping[int, str]) -> dict[int, int]:
    """Return voxel counts of values that a table does not name."""
    return {value: count for value, count in label_counts(label.array_zyx).items() if value and value not in table}


@dataclass(frozen=True, eq=False)
class Merged:
    """A label map merged from one mask a class.

    Parameters
    ----------
    label
        The map ``(Z, Y, X)``; with the rule ``multi`` a channel a class ``(Z, Y, X, C)``.
    overlaps
        For each pair of values, voxels that the second claimed when the first had them.
    empty
        Values whose mask has no voxel.
    """

    label: Volume
    overlaps: Mapping[tuple[int, int], int]
    empty: tuple[int, ...]

    @property
    def overlap_voxels(self) -> int:
        """Claims beyond the first, summed over all voxels."""
        return sum(self.overlaps.values())


def merge_masks(
    masks: Iterable[tuple[int, NDArray[Any]]], grid: Geometry, values: Sequence[int], rule: OverlapRule
) -> Merged:
    """Paint masks into one label map, one mask in memory at a time.

    Parameters
    ----------
    masks
        Value and voxels ``(Z, Y, X)`` (inside is > 0) of each class, in the order of painting.
    grid
        Grid of the result.
    values
        The values that may occur.
    rule
        ``last``: later masks overwrite; ``first``: they don't; ``error``: an overlap is refused; ``multi``: every value
        gets a channel, in the order of ``values``.

    Raises
    ------
    LabelError
        When masks overlap and the rule is ``error``.

    Examples
    --------
    >>> a, b = np.array([[[1, 1, 0]]]), np.array([[[0, 1, 1]]])
    >>> found = merge_masks([(1, a), (5, b)], Geometry((1, 1, 3), (1.0, 1.0, 1.0)), [1, 5], "last")
    >>> found.label.array_zyx.tolist(), dict(found.overlaps)
    ([[[1, 5, 5]]], {(1, 5): 1})
    """
    dtype = smallest_integer(0, max(values, default=0))
    channel = {value: number for number, value in enumerate(dict.fromkeys(values))}
    owner = np.zeros(grid.size_zyx, dtype)
    stack = np.zeros((*grid.size_zyx, len(channel)), np.uint8) if rule == "multi" else None
    overlaps: dict[tuple[int, int], int] = {}
    painted: set[int] = set()
    for value, mask in masks:
        for z in range(len(mask)):
            inside = mask[z] > 0
            if not inside.any():
                continue
            painted.add(value)
            before = owner[z][inside]
            for other, count in label_counts(before).items() if before.any() else ():
                if other not in (0, value):
                    overlaps[other, value] = overlaps.get((other, value), 0) + count
            owner[z][inside] = np.where(before == 0, dtype.type(value), before) if rule == "first" else value
            if stack is not None:
                stack[z, ..., channel[value]][inside] = 1
        del mask  # before the next one is read
    if overlaps and rule == "error":
        (a, b), count = max(overlaps.items(), key=lambda item: item[1])
        raise LabelError(
            f"{sum(overlaps.values())} voxels are claimed by several classes (most by {a} and {b}: {count}); "
            "choose with --overlap first, last or multi"
        )
    label = Volume(owner if stack is None else stack, grid, "label")
    return Merged(label, overlaps, tuple(value for value in channel if value not in painted))
