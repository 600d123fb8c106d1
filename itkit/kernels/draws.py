"""Draw places for random patches: anywhere in a volume, or around a voxel of a class that is drawn first.

Training from a dataset and ``itk_patch --per-case`` use this one rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.boxes import Index, random_start, start_around
from itkit.kernels.labels import label_counts
from itkit.kernels.padding import SLAB

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    ReadSlab = Callable[[int], NDArray[Any]]
    """Returns a slab of a label map, ``(up to SLAB, Y, X)``, given its number."""


@dataclass(frozen=True, eq=False)
class Foreground:
    """The number of voxels of each class, background left out, in each slab of slices of a label map."""

    classes: tuple[int, ...]
    counts: NDArray[np.int64]
    """``(slabs, classes)``."""


def count_foreground(slab: ReadSlab, length: int) -> Foreground:
    """Count the foreground voxels of a label map of ``length`` slices, with one slab in memory at a time."""
    slabs: list[Mapping[int, int]] = [label_counts(slab(number)) for number in range(-(-length // SLAB))]
    classes = sorted({value for counts in slabs for value in counts if value})
    return Foreground(
        tuple(classes), np.array([[counts.get(value, 0) for value in classes] for counts in slabs], np.int64)
    )


def draw_start(
    rng: np.random.Generator,
    whole_zyx: Index,
    size_zyx: Index,
    share: float,
    slab: ReadSlab | None = None,
    foreground: Callable[[], Foreground] | None = None,
) -> Index:
    """Draw the start index of a patch.

    Parameters
    ----------
    rng
        The generator of this draw.
    whole_zyx, size_zyx
        Sizes of the volume and of the patch; a patch longer than an axis starts at 0.
    share
        Probability (0 to 1) that a foreground voxel is the patch's centre, as far as the volume's ends allow. All
        classes are then equally likely, and so are all voxels of a class.
    slab, foreground
        Return a slab of the label map, and its counts; without them, or without foreground, any place is drawn.

    Examples
    --------
    >>> label = np.zeros((4, 6, 8), np.uint8)
    >>> label[2, 3, 4] = 5
    >>> slab = lambda number: label[number * SLAB : (number + 1) * SLAB]
    >>> draw_start(np.random.default_rng(0), (4, 6, 8), (2, 2, 2), 1.0, slab, lambda: count_foreground(slab, 4))
    (1, 2, 3)
    """
    start = random_start(rng, whole_zyx, size_zyx)
    if slab is None or foreground is None or rng.random() >= share:
        return start
    known = foreground()
    if not known.classes:
        return start
    return start_around(_voxel(rng, slab, known), whole_zyx, size_zyx)


def _voxel(rng: np.random.Generator, slab: ReadSlab, known: Foreground) -> Index:
    """Draw a foreground voxel: first its class, then one of the class's voxels; only one slab is read."""
    column = int(rng.integers(len(known.classes)))
    ends = np.cumsum(known.counts[:, column])
    drawn = int(rng.integers(ends[-1]))
    number = int(np.searchsorted(ends, drawn, side="right"))
    labels = slab(number)
    places = np.flatnonzero(labels == known.classes[column])
    z, y, x = np.unravel_index(places[drawn - (int(ends[number - 1]) if number else 0)], labels.shape)
    return (number * SLAB + int(z), int(y), int(x))
