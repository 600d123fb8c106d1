"""Exact Euclidean distance transforms of masks: by ITK on a CPU, by tensor operations on other devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from itkit.core.errors import ArgumentError

if TYPE_CHECKING:
    from torch import Tensor


@torch.no_grad()
def distance_to_outside(masks: Tensor, spacing: Sequence[float] | None = None) -> Tensor:
    """Measure how far each voxel of a mask is from the nearest voxel outside it.

    Parameters
    ----------
    masks
        Booleans ``(N, C, *spatial)``.
    spacing
        Distances between voxel centres along the spatial axes (Z, Y, X or Y, X); by default 1 each.

    Returns
    -------
    Tensor
        Float32, 0 outside the mask; infinite where the mask covers everything.

    Examples
    --------
    >>> distance_to_outside(torch.tensor([[[[False, True, True, True]]]]))[0, 0, 0].tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    steps = (1.0,) * (masks.ndim - 2) if spacing is None else tuple(float(step) for step in spacing)
    if len(steps) != masks.ndim - 2 or not all(0 < step < float("inf") for step in steps):
        raise ArgumentError(f"spacing: expected {masks.ndim - 2} positive numbers; got {steps}")
    return _by_itk(masks, steps) if masks.device.type == "cpu" and len(steps) in (2, 3) else by_lines(masks, steps)


def _by_itk(masks: Tensor, steps: tuple[float, ...]) -> Tensor:
    import SimpleITK as sitk  # losses without distances need none

    result = torch.zeros(masks.shape)
    for mask, place in zip(masks.flatten(0, 1), result.flatten(0, 1), strict=True):
        if bool(mask.all()):
            place.fill_(torch.inf)
        elif bool(mask.any()):
            outside: Any = sitk.GetImageFromArray((~mask).numpy().view("uint8"))
            outside.SetSpacing([*reversed(steps)])
            distances = sitk.SignedMaurerDistanceMap(outside, squaredDistance=False, useImageSpacing=True)
            place.copy_(torch.from_numpy(sitk.GetArrayFromImage(distances)).clamp_min(0) + 0.0)  # no -0
    return result


@torch.no_grad()
def by_lines(masks: Tensor, steps: Sequence[float]) -> Tensor:
    """Compute the same without leaving the device.

    Squared distances are minimised along one axis after another (Felzenszwalb and Huttenlocher, "Distance transforms
    of sampled functions", Theory of Computing 8, 2012), over all pairs of a line: quadratic in its length, but without
    branches.
    """
    squared = torch.where(masks, torch.inf, 0.0)
    for axis, step in enumerate(steps, start=2):
        least = squared.clone()
        length = squared.shape[axis]
        for offset in range(1, length):
            cost = (offset * step) ** 2
            for here, there in ((0, offset), (offset, 0)):
                view = least.narrow(axis, here, length - offset)
                torch.minimum(view, squared.narrow(axis, there, length - offset) + cost, out=view)
        squared = least
    return squared.sqrt()
