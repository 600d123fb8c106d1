"""Losses of the shape of regions: signed distance to the boundary, Hausdorff distance, centre lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from itkit.core.errors import ArgumentError
from itkit.core.extras import require
from itkit.criterion.distance import distance_to_outside
from itkit.criterion.targets import Pair, in_full_precision, pair

if TYPE_CHECKING:
    from torch import Tensor


def _counted(data: Pair, include_background: bool) -> tuple[Tensor, Tensor]:
    """Return probabilities and truth of the classes that count, 0 where ignored."""
    first = 0 if include_background or data.classes == 1 else 1
    return data.masked(data.probabilities())[:, first:], data.truth()[:, first:]


def _voxel_mean(values: Tensor, data: Pair) -> Tensor:
    return values.sum() / (data.count() * values.shape[1])


@in_full_precision
def boundary_loss(
    logits: Tensor,
    target: Tensor,
    *,
    include_background: bool = True,
    spacing: Sequence[float] | None = None,
    sigmoid: bool = False,
    ignore_index: int | None = None,
) -> Tensor:
    """Mean product of probability and signed distance to the truth's boundary (Kervadec et al., arXiv:1812.07032).

    The distance is positive outside a class and 0 at its outermost voxels, negative further inside, as in the authors'
    code and MONAI. The loss is least, and negative, for the truth itself; use it beside an overlap loss. A class that
    is absent, or everywhere, has no boundary and costs nothing.

    Parameters
    ----------
    include_background, sigmoid, ignore_index
        As in :func:`itkit.criterion.functional.tversky_loss`.
    spacing
        Distances between voxel centres along the spatial axes (Z, Y, X or Y, X), mm; by default 1 each, voxels.
    """
    data = pair(logits, target, sigmoid=sigmoid, ignore_index=ignore_index)
    probable, truth = _counted(data, include_background)
    return _voxel_mean(probable * _signed_distance(truth > 0.5, spacing), data)


@torch.no_grad()
def _signed_distance(masks: Tensor, spacing: Sequence[float] | None) -> Tensor:
    step = 1.0 if spacing is None else float(min(spacing))
    inside, outside = distance_to_outside(masks, spacing), distance_to_outside(~masks, spacing)
    signed = torch.where(masks, step - inside, outside)
    return signed.where(_has_boundary(masks), 0)


def _has_boundary(masks: Tensor) -> Tensor:
    flat = masks.flatten(2)
    return (flat.any(2) & ~flat.all(2)).view(*masks.shape[:2], *[1] * (masks.ndim - 2))


@in_full_precision
def hausdorff_dt_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 2.0,
    logarithm: bool = False,
    include_background: bool = False,
    spacing: Sequence[float] | None = None,
    sigmoid: bool = False,
    ignore_index: int | None = None,
) -> Tensor:
    """Squared errors weighted by their distance to both boundaries (Karimi and Salcudean, arXiv:1904.10030, eq. 8).

    The boundary of the prediction is where its probability crosses 0.5; through its distances no gradient passes. A
    mask that is empty or full has no boundary, and its distances are 0.

    Parameters
    ----------
    alpha
        Exponent of the distances.
    logarithm
        Return ``log(1 + loss)``, which keeps its scale near that of other losses.
    include_background, sigmoid, ignore_index
        As in :func:`itkit.criterion.functional.tversky_loss`.
    spacing
        Distances between voxel centres along the spatial axes (Z, Y, X or Y, X), mm; by default 1 each, voxels.
    """
    data = pair(logits, target, sigmoid=sigmoid, ignore_index=ignore_index)
    probable, truth = _counted(data, include_background)
    weights = sum(_to_boundary(part.detach() > 0.5, spacing) ** alpha for part in (probable, truth))
    loss = _voxel_mean((probable - truth).square() * weights, data)
    return loss.log1p() if logarithm else loss


@torch.no_grad()
def _to_boundary(masks: Tensor, spacing: Sequence[float] | None) -> Tensor:
    distances = distance_to_outside(masks, spacing) + distance_to_outside(~masks, spacing)
    return distances.where(_has_boundary(masks), 0)


@in_full_precision
def cldice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    iterations: int = 3,
    include_background: bool = True,
    sigmoid: bool = False,
    ignore_index: int | None = None,
    smooth: float = 1.0,
    smooth_mean: float = 1e-4,
) -> Tensor:
    """One minus the centre-line Dice of each sample, averaged over the batch (Shit et al., arXiv:2003.07311).

    Soft skeletons of prediction and truth, 2-D or 3-D, are computed by ``monai.losses.cldice.soft_skel``.

    Parameters
    ----------
    iterations
        Erosions of the skeleton; at least the greatest radius of the tubes, in voxels.
    include_background, sigmoid, ignore_index
        As in :func:`itkit.criterion.functional.tversky_loss`; for tubes leave the background out.
    smooth
        Added to numerators and denominators of both shares.
    smooth_mean
        Added to the denominator of their harmonic mean, as MONAI does.

    Raises
    ------
    MissingExtraError
        When MONAI is not installed.
    """
    if iterations < 0:
        raise ArgumentError(f"iterations: expected at least 0; got {iterations}")
    skeleton = require("monai.losses.cldice", extra="train", why="the centre-line Dice loss").soft_skel
    data = pair(logits, target, sigmoid=sigmoid, ignore_index=ignore_index)
    if data.logits.ndim not in (4, 5):
        raise ArgumentError(f"logits: expected 2 or 3 spatial axes; got {tuple(logits.shape)}")
    probable, truth = _counted(data, include_background)
    of_probable, of_truth = skeleton(probable, iterations), skeleton(truth, iterations)

    def share(part: Tensor, whole: Tensor) -> Tensor:
        return ((part * whole).flatten(1).sum(1) + smooth) / (part.flatten(1).sum(1) + smooth)

    precision, sensitivity = share(of_probable, truth), share(of_truth, probable)
    return (1 - 2 * precision * sensitivity / (precision + sensitivity + smooth_mean)).mean()
