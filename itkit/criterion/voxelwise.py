"""Losses that average a cost of each voxel: cross entropy, focal, and cross entropy weighted near surfaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from itkit.core.errors import ArgumentError
from itkit.criterion.distance import distance_to_outside
from itkit.criterion.targets import Pair, class_table, in_full_precision, pair

if TYPE_CHECKING:
    from torch import Tensor

_LEAST = 1e-20
"""Divides a sum of no voxels, which is 0; its inverse times a weight is still a float32."""


@in_full_precision
def cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: Sequence[float] | Tensor | None = None,
    label_smoothing: float = 0.0,
    top_k: float | None = None,
    sigmoid: bool = False,
    ignore_index: int | None = None,
) -> Tensor:
    """Cross entropy averaged over voxels, as ``torch.nn.functional.cross_entropy``; binary with sigmoid or one logit.

    Parameters
    ----------
    class_weights
        Weights of a weighted average; one for each class, with one logit two (class 0, class 1). With soft labels the
        average's denominator does not hold them, as in torch.
    label_smoothing
        Share of the truth that is spread over all classes (Szegedy et al., arXiv:1512.00567).
    top_k
        Average only this percentage of the voxels, those with the greatest loss (Wu et al., arXiv:1605.06885; nnU-Net
        takes 10), without weights in the denominator.
    sigmoid, ignore_index
        As in :func:`itkit.criterion.functional.tversky_loss`.
    """
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"label_smoothing: expected 0 to 1; got {label_smoothing}")
    if top_k is not None and not 0 < top_k <= 100:
        raise ArgumentError(f"top_k: expected a percentage above 0, up to 100; got {top_k}")
    data = pair(logits, target, sigmoid=sigmoid, ignore_index=ignore_index)
    values, weights = _entropies(data, class_table(class_weights, data.logits), label_smoothing)
    if top_k is None:
        return _weighted_mean(values, weights)
    if data.valid is not None:
        values = values.movedim(0, values.ndim - data.valid.ndim)[..., data.valid]
    hardest = values.flatten().topk(max(1, int(values.numel() * top_k / 100))) if values.numel() else None
    return values.sum() if hardest is None else hardest.values.mean()


def _entropies(data: Pair, table: Tensor | None, label_smoothing: float = 0.0) -> tuple[Tensor, Tensor | None]:
    """Return weighted costs, and the weights whose sum is the average's denominator; ``None`` for ones."""
    valid = None if data.valid is None else data.valid.to(data.logits.dtype)
    weights: Tensor | None
    if data.sigmoid:
        truth = data.truth()
        smoothed = truth * (1 - label_smoothing) + label_smoothing / 2
        values = functional.binary_cross_entropy_with_logits(data.logits, smoothed, reduction="none")
        weights = None if valid is None else valid.unsqueeze(1).expand_as(values)
        if table is not None:
            shape = (1, -1, *[1] * (values.ndim - 2))
            of_class = table.view(shape).expand_as(values) if data.classes > 1 else table[0].lerp(table[1], truth)
            weights = of_class if weights is None else weights * of_class
        return (values if weights is None else values * weights), weights
    classes = data.truth() if data.labels is None else data.labels
    values = functional.cross_entropy(
        data.logits, classes, weight=table, label_smoothing=label_smoothing, reduction="none"
    )
    if valid is not None:
        values = values * valid
    if table is None or data.labels is None:
        return values, valid
    return values, table[data.labels] if valid is None else table[data.labels] * valid


def _weighted_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return values.mean()
    return values.sum() / weights.sum().clamp_min(_LEAST)


@in_full_precision
def focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    class_weights: Sequence[float] | Tensor | None = None,
    sigmoid: bool = False,
    ignore_index: int | None = None,
) -> Tensor:
    """Focal loss averaged over voxels and channels, as MONAI does (Lin et al., arXiv:1708.02002, eq. 5).

    Cross entropy times ``(1 - p)**gamma``, p being the probability of the true class; with sigmoid, of the right answer
    to each class's question, where for soft labels ``|share - p|`` stands for ``1 - p`` (Li et al., arXiv:2006.04388).

    Parameters
    ----------
    alpha
        Weight of true answers, ``1 - alpha`` being that of wrong ones; with softmax, of all classes but the background.
    class_weights
        Multiply the costs of each class, background first; they do not enter the average's denominator.
    sigmoid, ignore_index
        As in :func:`itkit.criterion.functional.tversky_loss`.
    """
    data = pair(logits, target, sigmoid=sigmoid, ignore_index=ignore_index)
    return focal_of(data, gamma=gamma, alpha=alpha, class_weights=class_weights)


def focal_of(
    data: Pair, *, gamma: float, alpha: float | None, class_weights: Sequence[float] | Tensor | None
) -> Tensor:
    """Compute :func:`focal_loss` of a pair that has been checked."""
    table = class_table(class_weights, data.logits)
    shape = (1, -1, *[1] * (data.logits.ndim - 2))
    truth = data.truth()
    if data.sigmoid:
        costs = functional.binary_cross_entropy_with_logits(data.logits, truth, reduction="none")
        costs = costs * _power((truth - data.logits.sigmoid()).abs(), gamma)
        if alpha is not None:
            costs = costs * (truth * alpha + (1 - truth) * (1 - alpha))
        if table is not None:
            costs = costs * (table.view(shape) if data.classes > 1 else table[0].lerp(table[1], truth))
    else:
        logarithm = data.logits.log_softmax(1)
        costs = -_power(-torch.expm1(logarithm), gamma) * logarithm * truth
        if alpha is not None:
            other = [alpha] * (data.classes - 1)
            costs = costs * costs.new_tensor([1 - alpha, *other]).view(shape)
        if table is not None:
            costs = costs * table.view(shape)
    return data.masked(costs).sum() / (data.count() * data.classes)


def _power(base: Tensor, gamma: float) -> Tensor:
    """Return the power of numbers from 0; its slope stays finite for exponents below 1."""
    return base.clamp_min(1e-12) ** gamma


@in_full_precision
def surface_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    surface_weight: float = 10.0,
    sigma: float = 5.0,
    spacing: Sequence[float] | None = None,
    class_weights: Sequence[float] | Tensor | None = None,
    sigmoid: bool = False,
    ignore_index: int | None = None,
) -> Tensor:
    """Cross entropy averaged with greater weights near the surfaces of the truth.

    The weight of a voxel is ``1 + surface_weight * exp(-d**2 / (2 * sigma**2))``, d being its distance to the nearest
    voxel of another class (Ronneberger et al., arXiv:1505.04597, eq. 2, of one border instead of two).

    Parameters
    ----------
    surface_weight, sigma
        Weight at the surface, and its reach in the unit of ``spacing``.
    spacing
        Distances between voxel centres along the spatial axes (Z, Y, X or Y, X), mm; by default 1 each, voxels.
    class_weights, sigmoid, ignore_index
        As in :func:`cross_entropy`.
    """
    if surface_weight < 0 or sigma <= 0:
        raise ArgumentError(f"surface_weight, sigma: expected at least 0 and above 0; got {surface_weight}, {sigma}")
    data = pair(logits, target, sigmoid=sigmoid, ignore_index=ignore_index)
    values, weights = _entropies(data, class_table(class_weights, data.logits))
    near = 1 + surface_weight * torch.exp(-_to_surface(data, spacing).square() / (2 * sigma**2))
    return _weighted_mean(values * near, near if weights is None else weights * near)


@torch.no_grad()
def _to_surface(data: Pair, spacing: Sequence[float] | None) -> Tensor:
    """Distance of each voxel to the nearest one of another class, in the shape of its costs; infinite without one.

    Classes that may overlap have a surface each, ``(N, K, *spatial)``; the others share theirs, ``(N, *spatial)``.
    """
    inside = data.truth() > 0.5
    distance = distance_to_outside(inside, spacing).where(inside, 0)
    return distance + distance_to_outside(~inside, spacing) if data.sigmoid else distance.sum(1)
