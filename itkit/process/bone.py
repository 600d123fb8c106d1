"""The bones in a CT, as far as a threshold can tell them from metal, contrast agent and noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.geometry import voxel_ml
from itkit.kernels.components import components

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_BONE_HU = 200.0
_DENSE_HU = 500.0
_METAL_HU = 2500.0
_LEAST_ML = 0.2
_METAL_SHARE = 0.1
_MOST_METAL_ML = 5.0
_DENSE_SHARE = 0.02
_CONTRAST_ML = 2.0
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
    2500 HU), and regions of at least 2 ml of which less than 2 % lie above 500 HU: bone has a dense cortex, a vessel,
    kidney or bowel with contrast agent has none. A threshold can't tell organs with contrast agent that touch a bone,
    nor those that are as dense as a cortex, nor calcified vessels; marrow below 200 HU is a hole.
    """
    bright = (image > _BONE_HU).view(np.uint8)
    bright &= body
    found = components(bright)
    ml = found.voxels * voxel_ml(spacing)
    numbers = found.numbered()
    dense, metal = (
        np.bincount(numbers[(image > level) & (numbers > 0)], minlength=len(found) + 1)[1:] / found.voxels
        for level in (_DENSE_HU, _METAL_HU)
    )
    is_large = ml >= _LEAST_ML
    is_metal = is_large & (metal > _METAL_SHARE) & (ml <= _MOST_METAL_ML)
    is_contrast = is_large & ~is_metal & (ml >= _CONTRAST_ML) & (dense < _DENSE_SHARE)
    kept = is_large & ~is_metal & ~is_contrast
    left_out = {_CONTRAST_KIND: float(ml[is_contrast].sum()), _METAL_KIND: float(ml[is_metal].sum())}
    has_metal = bool((kept & (metal * ml > _LEAST_ML)).any())
    return Bones(found.painted(kept.astype(np.uint8)), {k: v for k, v in left_out.items() if v}, has_metal)
