"""The patient in an image: without table, cables and the air around; air inside the body belongs to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.arguments import expect
from itkit.core.volume import Volume
from itkit.kernels.arrays import foreground_box
from itkit.kernels.components import components, holes
from itkit.kernels.statistics import finite_summary
from itkit.process.geometry import orient
from itkit.process.morphology import dilated, eroded, opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PATIENT = "LPS"
"""Orientation in which anatomy is looked for: axis Z points up, Y to the back, X to the patient's left."""
AIR_HU = -500.0
"""Intensity between air and skin: half of what a voxel of skin at the surface has."""
LEAST_AIR_HU = -200.0
"""An image without any value below this holds no air, or no Hounsfield units."""
_COARSE_MM = 3.0
_TABLE_MM = 6.0
_NEAR_MM = 4.0
_PASSAGE_MM = 8.0
_LEAST_SHARE = 0.05
_INNER_SHARE = 0.2
_TISSUE_HU = (-200.0, 200.0)
_BINS = 256
_GREATEST, _SMALLER = 1e140, 2.0**-600  # whose squares, times the number of voxels, are finite; a power of two is exact


def body_mask(volume: Volume, *, threshold: float | None = None, with_air: bool = True) -> Volume:
    """Find the patient in a CT or MR image.

    Parameters
    ----------
    volume
        Image; of several channels, the first one is taken.
    threshold
        Least intensity of the body. By default -500 HU; in an image without values below -200, Otsu's threshold
        between its dark and its bright voxels.
    with_air
        Whether the air inside belongs to the body; without it, the mask has the same box and takes half the time.

    Returns
    -------
    Volume
        Label map (uint8) on the image's grid: 1 is the patient with the air inside (lungs, bowel). It is empty if
        nothing exceeds the threshold.

    Notes
    -----
    Thin things (table top, cables, blankets) vanish in an opening with a ball of 6 mm, less in a small image, on a grid
    of about 3 mm; of what is left, the largest part stays, and others of its size and density (arms, legs). The surface
    is that of the threshold on the image's own grid. Then the holes of each axial slice are filled, unless they open
    to the outside by a passage of more than 16 mm, as the gap between an arm and the trunk does.

    Examples
    --------
    >>> from itkit.core.geometry import Geometry
    >>> array = np.full((4, 40, 40), -1000, np.int16)
    >>> array[:, 10:30, 10:30], array[:, 18:22, 18:22], array[:, 34] = 40, -900, 100
    >>> body = body_mask(Volume(array, Geometry((4, 40, 40), (5.0, 5.0, 5.0))))
    >>> int(body.array_zyx.sum()) == 4 * 20 * 20
    True
    """
    expect(volume, Volume, "body_mask: volume", "an itkit.Volume")
    image = first_channel(volume)
    level = body_threshold(image.array_zyx) if threshold is None else threshold
    upright = orient(image, PATIENT)
    mask = find_body(upright.array_zyx, upright.geometry.spacing_zyx, level, with_air=with_air)
    turned_back = orient(Volume(mask, upright.geometry, "label"), image.geometry.orientation)
    return Volume(np.ascontiguousarray(turned_back.array_zyx), image.geometry, "label")


def first_channel(volume: Volume) -> Volume:
    """Return the first channel of an image as a volume of its own."""
    array = volume.array_zyx
    return volume if array.ndim == 3 else volume.with_array(np.ascontiguousarray(array[..., 0]))


def body_threshold(array_zyx: NDArray[Any]) -> float:
    """Return the intensity above which voxels belong to the body: -500 HU, or Otsu's threshold if there is no air.

    Examples
    --------
    >>> body_threshold(np.array([-1000, 0, 50])), body_threshold(np.array([1.0, 2.0, 99.0, 100.0])) < 99
    (-500.0, True)
    """
    return AIR_HU if holds_air(array_zyx) else otsu_threshold(array_zyx)


def holds_air(array_zyx: NDArray[Any]) -> bool:
    """Return whether an image has values that only air has in Hounsfield units."""
    return bool(finite_summary(array_zyx).minimum <= LEAST_AIR_HU)


def otsu_threshold(array: NDArray[Any]) -> float:
    """Return the threshold that separates dark from bright values with the least variance within both.

    Notes
    -----
    Otsu N., "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9 (1979), over 256 bins up to
    the 99.5th percentile, so that a few bright voxels do not stretch them.
    """
    step = max(1, array.size // 2_000_000)
    values = array.reshape(-1)[::step].astype(np.float64)
    values = values[np.isfinite(values)]
    if values.size and max(-values.min(), values.max()) > _GREATEST:
        return otsu_threshold(values * _SMALLER) / _SMALLER
    if values.size == 0 or values.min() == values.max():
        return float("inf") if values.size == 0 else float(values.min())
    low, high = float(values.min()), float(np.percentile(values, 99.5))
    if high == low:  # all but a few voxels have one value
        high = float(values.max())
    if high - low <= 2 * _BINS * np.spacing(max(abs(low), abs(high))):
        return low  # too close to each other for bins
    counts, edges = np.histogram(np.minimum(values, high), _BINS, (low, high))
    centres = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    mean_below = np.cumsum(counts * centres) / np.maximum(below, 1)
    mean_above = (np.sum(counts * centres) - np.cumsum(counts * centres)) / np.maximum(above, 1)
    between = below * above * (mean_below - mean_above) ** 2
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))  # a gap without values: its middle
    return float(edges[1 + int(best.mean())])


def coarse_steps(spacing_zyx: Sequence[float], coarse_mm: float) -> tuple[int, int, int]:
    """Return how many voxels of each axis make a step of at most a given length.

    Examples
    --------
    >>> coarse_steps((5.0, 0.7, 0.7), 3.0)
    (1, 4, 4)
    """
    z, y, x = (max(1, int(coarse_mm / step)) for step in spacing_zyx)
    return (z, y, x)


def find_body(
    image: NDArray[Any], spacing: Sequence[float], level: float, *, with_air: bool = True
) -> NDArray[np.uint8]:
    """Find the patient in an array.

    Parameters
    ----------
    image, spacing
        Image, axes pointing up, to the back and to the patient's left; spacing in mm.
    level
        Least intensity of the body.
    with_air
        Whether the air inside belongs to it.
    """
    steps, level = coarse_steps(spacing, _COARSE_MM), _as_value_of(image.dtype, level)
    coarse_image = np.ascontiguousarray(image[:: steps[0], :: steps[1], :: steps[2]])
    coarse_spacing = [step * n for step, n in zip(spacing, steps, strict=True)]
    tissue = (coarse_image > level).view(np.uint8)
    extents = [n * step for n, step in zip(tissue.shape[1:], coarse_spacing[1:], strict=True)]
    thin = min(_TABLE_MM, max(0.02 * min(extents), *coarse_spacing[1:]))
    core = opened(tissue, coarse_spacing, thin)
    core = _patient(core if core.any() else tissue, coarse_image)
    near = dilated(core, coarse_spacing, _NEAR_MM + max(coarse_spacing))
    box = foreground_box(near)
    mask = np.zeros(image.shape, dtype=np.uint8)
    if box is None:
        return mask
    z, y, x = (slice(part.start * n, part.stop * n) for part, n in zip(box, steps, strict=True))
    part = (image[z, y, x] > level).view(np.uint8)
    part &= enlarged(near[box], steps, part.shape)
    found = components(part)
    part = found.painted((found.voxels >= _LEAST_SHARE * found.voxels.max(initial=0)).astype(np.uint8))
    if with_air:
        part |= _inner_air(part, core[box], steps, coarse_spacing)
    mask[z, y, x] = part
    return mask


def _as_value_of(dtype: np.dtype[Any], level: float) -> Any:
    """Return a level of which the same integers lie above, in their own type: numpy compares with it without a copy."""
    if dtype.kind in "iu" and np.iinfo(dtype).min <= level < np.iinfo(dtype).max:
        return dtype.type(math.floor(level))
    return level


def _inner_air(
    mask: NDArray[np.uint8], core: NDArray[np.uint8], steps: Sequence[int], coarse_spacing: Sequence[float]
) -> NDArray[np.uint8]:
    """Return the air that the body encloses.

    That is what it encloses in axial slices. Of it, regions that are open in space may be the lungs, if the volume ends
    in the trachea, or the gap between the back and the table's cover, or between an arm and the trunk.
    """
    flat = holes(mask, cut_axis=0)
    found = components(flat[:: steps[0], :: steps[1], :: steps[2]], neighbours=6)
    if len(found) == 0:
        return flat
    numbers = found.numbered().ravel()
    around = components(mask[:: steps[0], :: steps[1], :: steps[2]], neighbours=6, background=True)
    is_open = around.painted(around.touch_border.astype(np.uint8)).ravel()
    opens = np.bincount(numbers, weights=is_open, minlength=len(found) + 1)[1:] > 0
    if not opens.any():
        return flat
    enclosed = holes(core, cut_axis=0)
    enclosed &= _outer_air(core, coarse_spacing) ^ 1
    shares = np.bincount(numbers, weights=enclosed.ravel(), minlength=len(found) + 1)[1:]
    is_outer = opens & (shares < _INNER_SHARE * found.voxels)
    if is_outer.any():
        outer = dilated(found.painted(is_outer.astype(np.uint8)), coarse_spacing, 2 * max(coarse_spacing))
        flat &= enlarged(outer, steps, flat.shape) ^ 1
    return flat


def _outer_air(core: NDArray[np.uint8], spacing: Sequence[float]) -> NDArray[np.uint8]:
    """Return the air that a ball rolls to from the sides of the image."""
    found = components(eroded(core == 0, spacing, _PASSAGE_MM), neighbours=6)
    at_side = (found.starts_zyx[:, 1:] == 0) | (found.ends_zyx[:, 1:] == np.array(found.shape[1:]))
    return dilated(found.painted(at_side.any(axis=1).astype(np.uint8)), spacing, _PASSAGE_MM)


def enlarged(array: NDArray[Any], steps: Sequence[int], shape: Sequence[int]) -> NDArray[Any]:
    """Take for each voxel of a fine grid the nearest one of those that were kept at every ``steps`` voxels.

    Examples
    --------
    >>> enlarged(np.array([[[1, 2]]]), (1, 1, 3), (1, 1, 5)).tolist()
    [[[1, 1, 2, 2, 2]]]
    """
    for axis in (2, 1, 0):  # whole rows and slices are copied last
        step, size = steps[axis], shape[axis]
        if step == 1 and size == array.shape[axis]:
            continue
        array = array.take(np.minimum((np.arange(size) + step // 2) // step, array.shape[axis] - 1), axis=axis)
    return array


def _patient(core: NDArray[np.uint8], image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the largest part of a mask, and the parts that are like it in size and density."""
    found = components(core)
    if len(found) == 0:
        return core
    numbers = found.numbered().ravel()
    sums = np.bincount(numbers, weights=np.nan_to_num(image.ravel().astype(np.float64)), minlength=len(found) + 1)[1:]
    means = sums / found.voxels
    is_like = (found.voxels >= _LEAST_SHARE * found.voxels.max()) & (means > _TISSUE_HU[0]) & (means < _TISSUE_HU[1])
    return found.painted((found.largest() | is_like).astype(np.uint8))
