"""Boxes to crop cases to: from masks, with margins, multiples and least sizes; and back onto the original grid."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.boxes import Index, index
from itkit.core.errors import LabelError
from itkit.core.geometry import by
from itkit.core.volume import Volume
from itkit.kernels.labels import label_counts
from itkit.process.geometry import crop

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KEYS = ("start", "size", "source_size", "padded")


@dataclass(frozen=True)
class CropBox:
    """A box of voxels of a volume, and how much is added around it.

    Attributes
    ----------
    start_zyx, size_zyx
        First voxel and size of the box inside the volume, without padding.
    source_zyx
        Size of the whole volume.
    padded_zyx
        Voxels added along each axis, the smaller half in front.
    """

    start_zyx: Index
    size_zyx: Index
    source_zyx: Index
    padded_zyx: Index = (0, 0, 0)

    def as_facts(self) -> dict[str, list[int]]:
        """Return the entry of ``crop_boxes.json``."""
        values = (self.start_zyx, self.size_zyx, self.source_zyx, self.padded_zyx)
        return {key: list(value) for key, value in zip(_KEYS, values, strict=True)}

    @classmethod
    def from_facts(cls, facts: Any) -> CropBox:
        """Return the box that an entry of ``crop_boxes.json`` describes.

        Raises
        ------
        ValueError
            When the entry does not describe a box inside its volume.
        """
        found = []
        for key in _KEYS:
            values = facts.get(key) if isinstance(facts, Mapping) else None
            if not (
                isinstance(values, list)
                and len(values) == 3
                and all(type(value) is int and 0 <= value < 2**31 for value in values)
            ):
                raise ValueError(f"{key}: expected three whole numbers >= 0 (Z Y X); got {values}")
            found.append(index(values))
        box = cls(*found)
        for start, size, whole in zip(box.start_zyx, box.size_zyx, box.source_zyx, strict=True):
            if size < 1 or start + size > whole:
                raise ValueError(f"the box {box.start_zyx} + {box.size_zyx} lies outside {box.source_zyx} voxels ZYX")
        return box

    @property
    def front_zyx(self) -> Index:
        """Voxels added in front of each axis."""
        return index([added // 2 for added in self.padded_zyx])

    @property
    def whole_zyx(self) -> Index:
        """Size of the result, with padding."""
        return index([size + added for size, added in zip(self.size_zyx, self.padded_zyx, strict=True)])


def crop_box(
    mask_zyx: NDArray[Any],
    spacing_zyx: Sequence[float],
    *,
    margin_mm: Sequence[float] = (0, 0, 0),
    multiple_of: Sequence[int] = (1, 1, 1),
    min_size: Sequence[int] = (1, 1, 1),
) -> CropBox:
    """Return the smallest box that holds a mask, grown as asked.

    Parameters
    ----------
    mask_zyx
        What is not 0 is inside the box.
    spacing_zyx
        Spacing, mm.
    margin_mm
        Margin on both sides of each axis, rounded to the nearest number of voxels (half up); it ends at the edge of
        the volume.
    multiple_of, min_size
        The size is at least ``min_size``, and a multiple of ``multiple_of``. To reach it the box grows on both sides
        inside the volume, and beyond it only where an axis of the volume is too short.

    Raises
    ------
    LabelError
        When the mask is empty.

    Examples
    --------
    >>> import numpy as np
    >>> mask = np.zeros((1, 1, 10), bool)
    >>> mask[..., 2:5] = True
    >>> crop_box(mask, (1.0, 1.0, 2.0), margin_mm=(0, 0, 2), multiple_of=(1, 1, 4))
    CropBox(start_zyx=(0, 0, 0), size_zyx=(1, 1, 8), source_zyx=(1, 1, 10), padded_zyx=(0, 0, 0))
    """
    from itkit.kernels.arrays import foreground_box

    found = foreground_box(mask_zyx)
    if found is None:
        raise LabelError("nothing to crop to: the mask is empty")
    starts, sizes, padded = [], [], []
    for axis, side in enumerate(found):
        whole = mask_zyx.shape[axis]
        margin = math.floor(margin_mm[axis] / spacing_zyx[axis] + 0.5)
        start, end = max(0, side.start - margin), min(whole, side.stop + margin)
        step = multiple_of[axis]
        wanted = -(-max(end - start, min_size[axis]) // step) * step
        size = min(wanted, whole)
        starts.append(min(max(0, start - (size - (end - start)) // 2), whole - size))
        sizes.append(size)
        padded.append(wanted - size)
    return CropBox(index(starts), index(sizes), index(mask_zyx.shape), index(padded))


def cut_out(volume: Volume, box: CropBox, *, fill: float | None = None) -> Volume:
    """Cut a box out of a volume; every voxel keeps its physical point.

    Parameters
    ----------
    volume
        Image or label map.
    box
        The box.
    fill
        Value of padding in an image; by default its minimum. A label map is padded with 0.
    """
    start = [at - front for at, front in zip(box.start_zyx, box.front_zyx, strict=True)]
    return crop(volume, start, box.whole_zyx, fill=fill)


def left_outside(array_zyx: NDArray[Any], box: CropBox) -> dict[int, int]:
    """Count the voxels of each foreground class of a label map that lie outside a box.

    Examples
    --------
    >>> import numpy as np
    >>> left_outside(np.array([[[2, 0, 5, 2, 2]]]), CropBox((0, 0, 2), (1, 1, 2), (1, 1, 5)))
    {2: 2}
    """
    counts: Counter[int] = Counter()
    rest = array_zyx
    for axis, (start, size) in enumerate(zip(box.start_zyx, box.size_zyx, strict=True)):
        before, rest, after = np.split(rest, [start, start + size], axis)
        for part in (before, after):
            counts.update(label_counts(part))
    return {value: counts[value] for value in sorted(counts) if value != 0}


def paste_back(volume: Volume, box: CropBox, *, fill: float | None = None) -> Volume:
    """Put a volume that was cut out back onto the grid from which it comes; padding is dropped.

    Parameters
    ----------
    volume
        What was cut out, or a label map on its grid.
    box
        The box that was cut out.
    fill
        Value of an image outside the box; by default its minimum. A label map gets 0 there.

    Raises
    ------
    LabelError
        When the volume does not have the box's size.

    Examples
    --------
    >>> import numpy as np
    >>> from itkit.core.geometry import Geometry
    >>> volume = Volume(np.arange(6).reshape(1, 1, 6), Geometry((1, 1, 6), (1.0, 1.0, 1.0)))
    >>> box = CropBox((0, 0, 3), (1, 1, 2), (1, 1, 6))
    >>> back = paste_back(cut_out(volume, box), box, fill=9)
    >>> back.array_zyx.tolist(), back.geometry == volume.geometry
    ([[[9, 9, 9, 3, 4, 9]]], True)
    """
    if volume.geometry.size_zyx != box.whole_zyx:
        raise LabelError(
            f"{by(volume.geometry.size_zyx)} voxels ZYX do not fit the box of {by(box.whole_zyx)}: "
            "it is not the volume that was cut out"
        )
    inner = crop(volume, box.front_zyx, box.size_zyx)
    return crop(inner, [-at for at in box.start_zyx], box.source_zyx, fill=fill)
