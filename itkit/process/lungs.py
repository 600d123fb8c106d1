"""The lungs in a CT: right and left, without the airways outside them, vessels filled in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.geometry import voxel_ml
from itkit.kernels.arrays import foreground_box
from itkit.kernels.components import components, holes
from itkit.process.airway import Airway, find_airway, near_airway
from itkit.process.body import AIR_HU, coarse_steps, enlarged, find_body
from itkit.process.morphology import closed, dilated, eroded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

RIGHT, LEFT = 1, 2
_COARSE_MM = 3.0
_LUNG_HU = -400.0
_GAS_HU = -935.0
_INTERIOR_MM = 3.0
_LEAST_ML = 20.0
_LEAST_SHARE = 0.02
_WALL_MM = 2.0
_CLOSING_MM = 6.0
_BOTH_SIDES = 0.1
_PART_VOXELS = (0, 1, 2, 3, 4)
_PART_HU = (-400.0, -500.0, -600.0, -700.0)
_LEAST_HALF = 0.15
_MOST_GROWTH = 8


@dataclass(frozen=True, eq=False)
class Lungs:
    """Lungs and what looked wrong.

    Attributes
    ----------
    labels
        1 in the right, 2 in the left lung; empty if there is none.
    airway
        The airways that were left out, if a trachea was found.
    warnings
        What looked wrong.
    """

    labels: NDArray[np.uint8]
    airway: Airway | None = None
    warnings: tuple[str, ...] = ()


def lungs(image: NDArray[Any], spacing: Sequence[float]) -> Lungs:
    """Find the lungs on a grid of about 3 mm, and their surface on the image's own grid.

    Parameters
    ----------
    image, spacing
        CT in HU, axes pointing up, to the back and to the patient's left; spacing in mm.
    """
    steps = coarse_steps(spacing, _COARSE_MM)
    coarse = np.ascontiguousarray(image[:: steps[0], :: steps[1], :: steps[2]])
    coarse_spacing = [step * n for step, n in zip(spacing, steps, strict=True)]
    found = find_lungs(coarse, coarse_spacing, find_body(coarse, coarse_spacing, AIR_HU))
    if steps == (1, 1, 1):
        return found
    if not found.labels.any():
        return replace(found, labels=np.zeros(image.shape, dtype=np.uint8))
    return replace(found, labels=_on_fine_grid(found, image, coarse_spacing, steps))


def _on_fine_grid(
    found: Lungs, image: NDArray[Any], coarse_spacing: Sequence[float], steps: Sequence[int]
) -> NDArray[np.uint8]:
    """Take the inside of the lungs from the coarse grid, and the voxels at their surface by their intensity."""
    step = max(coarse_spacing[1:])
    sure = eroded(found.labels, coarse_spacing, step) * found.labels
    edge = np.zeros(found.labels.shape, dtype=np.uint8)
    for side in (LEFT, RIGHT):
        edge[dilated(found.labels == side, coarse_spacing, step) != 0] = side
    if found.airway is not None:
        edge[(near_airway(found.airway, coarse_spacing, _WALL_MM) & (found.labels == 0)) != 0] = 0
    edge[found.labels != 0] = found.labels[found.labels != 0]
    codes = np.where(sure != 0, sure, edge << 2).astype(np.uint8)
    box = foreground_box(codes)
    result = np.zeros(image.shape, dtype=np.uint8)
    assert box is not None
    place = [slice(part.start * n, part.stop * n) for part, n in zip(box, steps, strict=True)]
    z, y, x = place
    part = result[z, y, x]
    fine = enlarged(codes[box], steps, part.shape)
    fine = (fine & 3) | ((fine >> 2) * (image[z, y, x] < _LUNG_HU).view(np.uint8))
    pieces = components(fine, neighbours=6)
    part[...] = pieces.chosen(pieces.voxels >= _LEAST_SHARE * pieces.voxels.max(initial=0))
    return result


def find_lungs(image: NDArray[Any], spacing: Sequence[float], body: NDArray[np.uint8]) -> Lungs:
    """Find the lungs on the grid that is given.

    Parameters
    ----------
    image, spacing
        CT in HU, axes pointing up, to the back and to the patient's left; spacing in mm.
    body
        The patient.

    Notes
    -----
    Air below -400 HU inside the body; regions whose inside has a median below -935 HU are gas of the bowel. The
    airways and their walls are taken away, as in Hu, Hoffman, Reinhardt, "Automatic lung segmentation for accurate
    quantitation of volumetric X-ray CT images", IEEE TMI 20 (2001). Lungs that still touch are eroded until they part.
    """
    air = (image < _LUNG_HU).view(np.uint8)
    air &= body
    whole = _lung_parts(air, image, spacing)
    if whole is None:
        return Lungs(np.zeros(image.shape, dtype=np.uint8))
    box = foreground_box(whole)
    assert box is not None
    lowest = (box[0].start + box[0].stop) / 2
    airway = find_airway(image, spacing, body, lowest_z=lowest)
    warnings = []
    if airway is None:
        warnings.append("no trachea was found: large airways may be left in the lungs")
        parts: NDArray[np.uint8] | None = whole
    else:
        rest: NDArray[np.uint8] = whole & (near_airway(airway, spacing, _WALL_MM) == 0)
        parts = _lung_parts(rest, image, spacing)
    if parts is None:
        return Lungs(np.zeros(image.shape, dtype=np.uint8), airway, tuple(warnings))
    labels, how = _sides(parts, image, spacing, body)
    warnings += how
    return Lungs(_filled(labels, spacing, body, airway), airway, tuple(warnings))


def _lung_parts(air: NDArray[np.uint8], image: NDArray[Any], spacing: Sequence[float]) -> NDArray[np.uint8] | None:
    """Return the components that are large enough for a lung and are not gas inside; ``None`` if there is none."""
    found = components(air, neighbours=6)
    is_lung = found.voxels * voxel_ml(spacing) >= _LEAST_ML
    if not is_lung.any():
        return None
    inside = eroded(found.painted(is_lung.astype(np.uint8)), spacing, max(_INTERIOR_MM, *spacing[1:]))
    numbers = found.numbered()
    interior = np.bincount(numbers[inside != 0], minlength=len(found) + 1)[1:]
    gas = np.bincount(numbers[(inside != 0) & (image < _GAS_HU)], minlength=len(found) + 1)[1:]
    is_lung &= 2 * gas < np.maximum(interior, 1)
    if not is_lung.any():
        return None
    is_lung &= found.voxels >= _LEAST_SHARE * found.voxels[is_lung].max()
    return found.painted(is_lung.astype(np.uint8))


def _sides(
    parts: NDArray[np.uint8], image: NDArray[Any], spacing: Sequence[float], body: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], list[str]]:
    """Label the parts of the lungs by the patient's side; part those that touch."""
    middle = _middle(body)
    found = components(parts, neighbours=6)
    labels = np.zeros(parts.shape, dtype=np.uint8)
    warnings: list[str] = []
    numbers = found.numbered()
    for place in range(len(found)):
        part = (numbers == place + 1).view(np.uint8)
        along_x = part.sum(axis=(0, 1), dtype=np.int64)
        right = along_x[: int(middle)].sum() / along_x.sum()
        if _BOTH_SIDES <= right <= 1 - _BOTH_SIDES and found.voxels[place] >= 0.3 * found.voxels.sum():
            halves, text = _parted(part, image, spacing, middle)
            labels |= halves
            warnings.append(text)
        else:
            labels |= part * np.uint8(RIGHT if right > 0.5 else LEFT)
    return labels, warnings


def _middle(body: NDArray[np.uint8]) -> float:
    """Return the index along X of the middle of the body."""
    along_x = body.sum(axis=(0, 1), dtype=np.int64)
    return float((along_x * np.arange(len(along_x))).sum() / max(1, along_x.sum()))


def _parted(
    part: NDArray[np.uint8], image: NDArray[Any], spacing: Sequence[float], middle: float
) -> tuple[NDArray[np.uint8], str]:
    """Part two lungs that touch: thin them until they come apart, then give each voxel to the nearer one."""
    step = max(spacing[1:])
    for radius, level in product(_PART_VOXELS, _PART_HU):
        core = (part & (image < level)).view(np.uint8)
        found = components(eroded(core, spacing, radius * step), neighbours=6)
        if len(found) < 2:
            continue
        first, second = np.sort(np.flatnonzero(found.largest(2)))
        if min(found.voxels[[first, second]]) < _LEAST_HALF * found.voxels.sum():
            continue
        centres = [(found.starts_zyx[place, 2] + found.ends_zyx[place, 2]) / 2 for place in (first, second)]
        table = np.zeros(len(found), dtype=np.uint8)
        table[first], table[second] = (RIGHT, LEFT) if centres[0] < centres[1] else (LEFT, RIGHT)
        labels = _grown(found.painted(table), part, spacing, step)
        return _by_side(labels, part, middle), "the lungs touch: they were parted where they are thinnest"
    nothing = np.zeros(part.shape, dtype=np.uint8)
    return _by_side(nothing, part, middle), "the lungs touch and could not be parted: they were cut in the middle"


def _grown(
    labels: NDArray[np.uint8], part: NDArray[np.uint8], spacing: Sequence[float], step: float
) -> NDArray[np.uint8]:
    """Let two labels grow into the free voxels of a part, one voxel at a time; where they meet, both stop."""
    for _ in range(_MOST_GROWTH):
        box = foreground_box(part & (labels == 0))
        if box is None:
            break
        z, y, x = (slice(max(0, side.start - 1), side.stop + 1) for side in box)
        near, free = labels[z, y, x], part[z, y, x] & (labels[z, y, x] == 0)
        right, left = (dilated(near == side, spacing, step) & free for side in (RIGHT, LEFT))
        right, left = right & (left ^ 1), left & (right ^ 1)
        if not (right.any() or left.any()):
            break
        near[right != 0] = RIGHT
        near[left != 0] = LEFT
    return labels


def _by_side(labels: NDArray[np.uint8], part: NDArray[np.uint8], middle: float) -> NDArray[np.uint8]:
    free = (part != 0) & (labels == 0)
    labels[..., : int(middle)][free[..., : int(middle)]] = RIGHT
    labels[..., int(middle) :][free[..., int(middle) :]] = LEFT
    return labels


def _filled(
    labels: NDArray[np.uint8], spacing: Sequence[float], body: NDArray[np.uint8], airway: Airway | None
) -> NDArray[np.uint8]:
    """Fill vessels, nodules and small bronchi of each lung, but neither the other lung nor the main bronchi."""
    result: NDArray[np.uint8] = labels.copy()
    for side in (RIGHT, LEFT):
        own = (labels == side).view(np.uint8)
        whole = closed(own, spacing, _CLOSING_MM)
        whole |= holes(whole)
        whole |= holes(whole, cut_axis=0)
        result[(whole & (result == 0) & body) != 0] = side
    return result
