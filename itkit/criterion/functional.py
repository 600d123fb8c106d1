"""Losses of logits against truths, as functions.

Shapes everywhere: logits ``(N, K, *spatial)``. The target is a label map ``(N, *spatial)`` or ``(N, 1, *spatial)`` of
integer class numbers, or shares ``(N, K, *spatial)``, one-hot or soft. The classes exclude each other (softmax) unless
``sigmoid=True`` asks of each whether it is there, or there is one logit, which is the foreground's. Voxels of
``ignore_index`` count nowhere. Half precision is computed, and returned, in float32; autocast has no effect. Targets
that do not fit are errors that say why (:func:`itkit.criterion.targets.pair`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from itkit.core.errors import ArgumentError
from itkit.criterion.overlap import (
    SMOOTH,
    dice_loss,
    focal_tversky_loss,
    generalized_dice_loss,
    jaccard_loss,
    lovasz_loss,
    overlap_terms,
    tversky_loss,
)
from itkit.criterion.shape import boundary_loss, cldice_loss, hausdorff_dt_loss
from itkit.criterion.targets import in_full_precision, label_map, pair
from itkit.criterion.voxelwise import cross_entropy, focal_loss, focal_of, surface_cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "SMOOTH",
    "boundary_loss",
    "cldice_loss",
    "cross_entropy",
    "deep_supervision_weights",
    "dice_ce_loss",
    "dice_cldice_loss",
    "dice_focal_loss",
    "dice_loss",
    "focal_loss",
    "focal_tversky_loss",
    "generalized_dice_loss",
    "hausdorff_dt_loss",
    "jaccard_loss",
    "label_map",
    "lovasz_loss",
    "overlap_terms",
    "per_slice",
    "resized_target",
    "surface_cross_entropy",
    "tversky_loss",
]


def dice_ce_loss(
    logits: Tensor,
    target: Tensor,
    *,
    dice_weight: float = 1.0,
    ce_weight: float = 1.0,
    class_weights: Sequence[float] | Tensor | None = None,
    label_smoothing: float = 0.0,
    top_k: float | None = None,
    squared: bool = False,
    include_background: bool = True,
    batch: bool = False,
    sigmoid: bool = False,
    ignore_index: int | None = None,
    smooth: float = SMOOTH,
) -> Tensor:
    """Weighted sum of :func:`dice_loss` and :func:`cross_entropy`, as in nnU-Net (Isensee et al., 2021).

    ``class_weights`` go to both terms, as in MONAI; ``include_background`` to the Dice term alone.
    """
    dice = dice_loss(
        logits,
        target,
        squared=squared,
        include_background=include_background,
        batch=batch,
        class_weights=class_weights,
        sigmoid=sigmoid,
        ignore_index=ignore_index,
        smooth=smooth,
    )
    entropy = cross_entropy(
        logits,
        target,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        top_k=top_k,
        sigmoid=sigmoid,
        ignore_index=ignore_index,
    )
    return dice_weight * dice + ce_weight * entropy


@in_full_precision
def dice_focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    dice_weight: float = 1.0,
    focal_weight: float = 1.0,
    gamma: float = 2.0,
    alpha: float | None = None,
    focal_softmax: bool = False,
    class_weights: Sequence[float] | Tensor | None = None,
    squared: bool = False,
    include_background: bool = True,
    batch: bool = False,
    sigmoid: bool = False,
    ignore_index: int | None = None,
    smooth: float = SMOOTH,
) -> Tensor:
    """Weighted sum of :func:`dice_loss` and :func:`focal_loss` (AnatomyNet, Zhu et al., arXiv:1808.05238).

    The focal term asks of each class whether it is there (sigmoid), also when the Dice term takes the softmax, as in
    MONAI; with ``focal_softmax`` it takes the softmax too. ``class_weights`` go to both terms.
    """
    dice = dice_loss(
        logits,
        target,
        squared=squared,
        include_background=include_background,
        batch=batch,
        class_weights=class_weights,
        sigmoid=sigmoid,
        ignore_index=ignore_index,
        smooth=smooth,
    )
    data = pair(logits, target, sigmoid=sigmoid, ignore_index=ignore_index)
    asked = data if focal_softmax else replace(data, sigmoid=True)
    focal = focal_of(asked, gamma=gamma, alpha=alpha, class_weights=class_weights)
    return dice_weight * dice + focal_weight * focal


def dice_cldice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.5,
    iterations: int = 3,
    include_background: bool = True,
    sigmoid: bool = False,
    ignore_index: int | None = None,
    smooth: float = 1.0,
    smooth_mean: float = 1e-4,
) -> Tensor:
    """``(1 - alpha)`` times :func:`dice_loss` plus ``alpha`` times :func:`cldice_loss` (arXiv:2003.07311, eq. 4)."""
    if not 0 <= alpha <= 1:
        raise ArgumentError(f"alpha: expected 0 to 1; got {alpha}")
    dice = dice_loss(
        logits,
        target,
        include_background=include_background,
        sigmoid=sigmoid,
        ignore_index=ignore_index,
        smooth=smooth,
    )
    lines = cldice_loss(
        logits,
        target,
        iterations=iterations,
        include_background=include_background,
        sigmoid=sigmoid,
        ignore_index=ignore_index,
        smooth=smooth,
        smooth_mean=smooth_mean,
    )
    return (1 - alpha) * dice + alpha * lines


def per_slice(loss: Callable[..., Tensor], logits: Tensor, target: Tensor, **options: Any) -> Tensor:
    """Average a loss over the slices of volumes: each slice ``(N, K, Y, X)`` of ``(N, K, Z, Y, X)`` on its own.

    Raises
    ------
    ArgumentError
        When logits or target have no Z axis.
    """
    if logits.ndim != 5 or target.ndim not in (4, 5):
        raise ArgumentError(
            f"split_z: expected logits (N, K, Z, Y, X) and their target; got {tuple(logits.shape)} and "
            f"{tuple(target.shape)}"
        )
    if target.shape[-3] != logits.shape[2]:
        raise ArgumentError(f"target: {tuple(target.shape)} does not fit logits {tuple(logits.shape)}")
    slices = zip(logits.unbind(2), target.unbind(-3), strict=True)
    return torch.stack([loss(part, truth, **options) for part, truth in slices]).mean()


def deep_supervision_weights(count: int, *, coarsest: bool = True) -> list[float]:
    """Weights of the outputs, finest first: halved at each level, summing to 1.

    Parameters
    ----------
    count
        Number of outputs.
    coarsest
        Whether the coarsest output counts; nnU-Net leaves it out.

    Examples
    --------
    >>> deep_supervision_weights(2)
    [0.6666666666666666, 0.3333333333333333]
    >>> deep_supervision_weights(3, coarsest=False)
    [0.6666666666666666, 0.3333333333333333, 0.0]
    """
    if not coarsest and count > 1:
        return [*deep_supervision_weights(count - 1), 0.0]
    total = sum(2.0**-level for level in range(count))
    return [2.0**-level / total for level in range(count)]


def resized_target(target: Tensor, output: Tensor) -> Tensor:
    """Take a target's voxels at the places of a smaller output's: voxel ``floor(i * size / smaller)`` of each axis.

    A target of the output's size stays as it is. Whole factors take every second, fourth, ... voxel.
    """
    size = output.shape[2:]
    if target.shape[-len(size) :] == size:
        return target
    lead = target.ndim - len(size)
    for axis, (new, old) in enumerate(zip(size, target.shape[lead:], strict=True), start=lead):
        index = torch.arange(new, device=target.device) * old // new
        target = target.index_select(axis, index)
    return target
