"""The bones in a CT, as far as a threshold can tell them from metal, contrast agent and noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.geometry import voxel_ml
from itkit.kernels.balls import ball_rows, reach_zyx
from itkit.kernels.components import components
from itkit.process.body import coarse_steps, enlarged
from itkit.process.morphology import dilated, opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BONE_HU = 200.0
"""Intensity above which a voxel may be bone."""
_DENSE_HU = 500.0
_METAL_HU = 2500.0
_LEAST_ML = 0.2
_METAL_SHARE = 0.1
_MOST_METAL_ML = 5.0
_DENSE_SHARE = 0.02
_CONTRAST_ML = 2.0
_COARSE_MM = 2.0
_THICK_MM = 6.0
_RIM_MM = 4.0
_MOST_CONTRAST_HU = 550.0
_CORTEX = 1.2
_RIM_SHARE = 1.1
_MOST_SPREAD = 0.42
_CONTRAST_KIND = "contrast agent"
_METAL_KIND = "metal"


@dataclass(frozen=True, eq=False)
class Bones:
    """Bones and what was left out.

    Attributes
    ----------
    mask
        1 in bone.
    left_out_ml
        Volume of bright regions that were taken for contrast agent or metal.
    has_metal
        Whether a region with much metal (a prosthesis, fillings) was kept with the bone that it touches.
    """

    mask: NDArray[np.uint8]
    left_out_ml: dict[str, float]
    has_metal: bool


def find_bones(image: NDArray[Any], spacing: Sequence[float], body: NDArray[np.uint8]) -> Bones:
    """Find the bones.

    Parameters
    ----------
    image, spacing
        CT in HU and its spacing, mm.
    body
        The patient.

    Notes
    -----
    Connected regions above 200 HU of at least 0.2 ml. Left out are specks of metal (at most 5 ml, a tenth of them above
    2500 HU), and contrast agent: bone has a dense cortex, a vessel, heart, kidney or bowel has none. So regions of at
    least 2 ml that are thicker than 12 mm and whose rim is not denser than their inside are left out, and then regions
    of at least 2 ml of which less than 2 % lie above 500 HU, or 1.2 times the contrast. A threshold can't tell thin
    vessels that touch a bone, nor contrast agent as dense as a cortex, nor calcified vessels; marrow below 200 HU is a
    hole.
    """
    bright = (image > BONE_HU).view(np.uint8)
    bright &= body
    chambers, level = _chambers(bright, image, spacing)
    bright &= chambers ^ 1
    found = components(bright)
    ml = found.voxels * voxel_ml(spacing)
    numbers = found.numbered()
    dense, metal = (
        np.bincount(numbers[(image > limit) & (numbers > 0)], minlength=len(found) + 1)[1:] / found.voxels
        for limit in (max(_DENSE_HU, _CORTEX * level), _METAL_HU)
    )
    is_large = ml >= _LEAST_ML
    is_metal = is_large & (metal > _METAL_SHARE) & (ml <= _MOST_METAL_ML)
    is_contrast = is_large & ~is_metal & (ml >= _CONTRAST_ML) & (dense < _DENSE_SHARE)
    kept = is_large & ~is_metal & ~is_contrast
    left_out = {
        _CONTRAST_KIND: float(ml[is_contrast].sum()) + float(np.count_nonzero(chambers)) * voxel_ml(spacing),
        _METAL_KIND: float(ml[is_metal].sum()),
    }
    has_metal = bool((kept & (metal * ml > _LEAST_ML)).any())
    return Bones(found.painted(kept.astype(np.uint8)), {k: v for k, v in left_out.items() if v}, has_metal)


def _chambers(
    bright: NDArray[np.uint8], image: NDArray[Any], spacing: Sequence[float]
) -> tuple[NDArray[np.uint8], float]:
    """Find thick, even regions whose rim is not denser than their inside, and the mean intensity of the densest."""
    steps = coarse_steps(spacing, _COARSE_MM)
    coarse_spacing = [step * n for step, n in zip(spacing, steps, strict=True)]
    some, values = (array[:: steps[0], :: steps[1], :: steps[2]] for array in (bright, image))
    thick = components(opened(some, coarse_spacing, _THICK_MM), neighbours=6)
    numbers = thick.numbered()
    level, taken = 0.0, np.zeros(some.shape, dtype=np.uint8)
    for place in np.flatnonzero(thick.voxels * voxel_ml(coarse_spacing) >= _CONTRAST_ML):
        z, y, x = (
            slice(max(0, start - reach), end + reach)
            for start, end, reach in zip(
                thick.starts_zyx[place].tolist(),
                thick.ends_zyx[place].tolist(),
                reach_zyx(ball_rows(coarse_spacing, _RIM_MM)),
                strict=True,
            )
        )
        inside = numbers[z, y, x] == place + 1
        near = dilated(inside, coarse_spacing, _RIM_MM) & some[z, y, x]
        rim = (near != 0) & ~inside
        own = values[z, y, x][inside].astype(np.float64)
        mean = float(own.mean())
        densest = float(np.percentile(values[z, y, x][rim], 90)) if rim.any() else 0.0
        if mean < _MOST_CONTRAST_HU and own.std() < _MOST_SPREAD * mean and densest < _RIM_SHARE * mean:
            taken[z, y, x] |= near
            level = max(level, mean)
    return enlarged(taken, steps, bright.shape) & bright, level
