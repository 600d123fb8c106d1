"""Select, join and renumber classes, and merge masks into label maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from itkit.core.errors import LabelError, ParamsError
from itkit.core.geometry import Geometry
from itkit.core.text import key_of
from itkit.core.volume import Volume
from itkit.kernels.arrays import smallest_integer
from itkit.kernels.labels import label_counts, remap
from itkit.kernels.paint import Canvas

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from itkit.core.params import OverlapRule


@dataclass(frozen=True)
class Selection:
    """The label values of the output.

    Parameters
    ----------
    names
        Name of each value in the output, without background.
    mapping
        Official value to new value; ``None`` if nothing changes.
    """

    names: Mapping[int, str]
    mapping: Mapping[int, int] | None = None

    def apply(self, label: Volume) -> Volume:
        """Return a label map with its output values; values outside the table stay unless classes were selected."""
        if self.mapping is None:
            return label
        dtype = smallest_integer(0, max(self.mapping.values(), default=0))
        return label.with_array(remap(label.array_zyx, self.mapping, dtype=dtype)[0])


def select(
    table: Mapping[int, str],
    labels: Sequence[str] = (),
    merge: Sequence[str] = (),
    *,
    renumber: bool = False,
    is_complete: bool = True,
) -> Selection:
    """Return the output values and names that the options select from a label table.

    Parameters
    ----------
    table
        Name of each official value.
    labels, merge, renumber
        The classes to keep, the classes to join (``NAME=a,b``), and whether to renumber classes.
    is_complete
        Whether a name that is not in the table is an error; false if each case has its own table.

    Raises
    ------
    ParamsError
        When a name is unknown.

    Examples
    --------
    >>> table = {1: "liver", 4: "left kidney", 9: "right kidney"}
    >>> found = select(table, merge=["kidneys=left kidney,right kidney"], renumber=True)
    >>> dict(found.names), dict(found.mapping)
    ({1: 'liver', 2: 'kidneys'}, {1: 1, 4: 2, 9: 2})
    """
    names = {value: name for value, name in table.items() if value != 0}
    mapping = {value: value for value in names}
    for text in merge:
        new, _, parts = text.partition("=")
        values = [value for part in parts.split(",") for value in _values(part, names, is_complete=is_complete)]
        if values:
            target = min(values)
            mapping = {old: target if value in values else value for old, value in mapping.items()}
            names = {value: name for value, name in names.items() if value not in values} | {target: new.strip()}
    kept = sorted(names)
    if labels:
        kept = [value for name in labels for value in _values(name, names, is_complete=is_complete)]
    numbers = {value: number if renumber else value for number, value in enumerate(dict.fromkeys(kept), 1)}
    mapping = {old: numbers[value] for old, value in mapping.items() if value in numbers}
    is_asked = bool(labels or merge or renumber)
    return Selection({numbers[value]: names[value] for value in numbers}, mapping if is_asked else None)


def _values(name: str, names: Mapping[int, str], *, is_complete: bool) -> list[int]:
    found = [value for value, known in names.items() if key_of(known) == key_of(name)]
    if not found and is_complete:
        raise ParamsError(f"no class {name.strip()!r}; there are: {', '.join(names.values())}")
    return found


def unknown_values(label: Volume, table: Mapping[int, str]) -> dict[int, int]:
    """Return the voxel counts of values that are not in a table."""
    return {value: count for value, count in label_counts(label.array_zyx).items() if value and value not in table}


@dataclass(frozen=True, eq=False)
class Merged:
    """A label map merged from one mask per class.

    Parameters
    ----------
    label
        The map ``(Z, Y, X)``; with the rule ``multi``, one channel per class ``(Z, Y, X, C)``.
    overlap_voxels
        Number of voxels that several classes claim, each counted once.
    pairs
        Number of voxels that each pair of values claims.
    empty
        Values without a voxel.
    """

    label: Volume
    overlap_voxels: int
    pairs: Mapping[tuple[int, int], int]
    empty: tuple[int, ...]


def merge_masks(
    masks: Iterable[tuple[int, NDArray[Any]]], grid: Geometry, values: Sequence[int], rule: OverlapRule
) -> Merged:
    """Paint masks into one label map, one mask in memory at a time.

    Parameters
    ----------
    masks
        Value and mask ``(Z, Y, X)`` (inside is > 0) of each class, in the order of painting.
    grid
        Grid of the result.
    values
        The values that may occur.
    rule
        ``last``: later masks overwrite earlier ones; ``first``: they do not; ``error``: overlaps are refused;
        ``multi``: every value gets its own channel, in the order of ``values``.

    Raises
    ------
    LabelError
        When masks overlap and the rule is ``error``.

    Examples
    --------
    >>> import numpy as np
    >>> a, b = np.array([[[1, 1, 0]]]), np.array([[[0, 1, 1]]])
    >>> found = merge_masks([(1, a), (5, b)], Geometry((1, 1, 3), (1.0, 1.0, 1.0)), [1, 5], "last")
    >>> found.label.array_zyx.tolist(), found.overlap_voxels
    ([[[1, 5, 5]]], 1)
    """
    canvas = Canvas(grid.size_zyx, values, rule)
    for value, mask in masks:
        canvas.paint_mask(value, mask)
        del mask  # before the next one is read
    overlap_voxels, pairs = canvas.overlap_voxels, canvas.pairs
    if overlap_voxels and rule == "error":
        (a, b), count = max(pairs.items(), key=lambda item: item[1])
        raise LabelError(
            f"{overlap_voxels} voxels are claimed by several classes (most by {a} and {b}: {count}); "
            "choose with --overlap first, last or multi"
        )
    return Merged(Volume(canvas.labels(), grid, "label"), overlap_voxels, pairs, canvas.empty)
