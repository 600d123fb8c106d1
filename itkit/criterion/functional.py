"""Losses of logits against label maps, as functions.

Shapes everywhere: logits ``(N, K, *spatial)``, target ``(N, *spatial)`` or ``(N, 1, *spatial)`` with class numbers.
With ``K = 1`` the logit is of the foreground (sigmoid, classes 0 and 1), otherwise the classes exclude each other
(softmax). Voxels of ``ignore_index`` count nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

SMOOTH = 1e-5
"""What the overlap losses add to numerator and denominator, so that an absent class costs nothing."""


def label_map(logits: Tensor, target: Tensor) -> Tensor:
    """Return the target as integer classes ``(N, *spatial)``.

    Raises
    ------
    ValueError
        When its shape does not fit the logits.
    """
    if target.ndim == logits.ndim and target.shape[1] == 1:
        target = target[:, 0]
    if target.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(f"target {tuple(target.shape)} does not fit logits {tuple(logits.shape)} (N, K, *spatial)")
    return target.long()


def overlap_terms(
    logits: Tensor, target: Tensor, *, ignore_index: int | None = None, batch: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum soft true positives, false positives and false negatives over space.

    Returns
    -------
    tuple of Tensor
        Each ``(N, K)``, or ``(1, K)`` when summed over the batch too.
    """
    labels = label_map(logits, target)
    classes = logits.shape[1]
    valid = torch.ones_like(labels, dtype=torch.bool) if ignore_index is None else labels != ignore_index
    labels = labels.where(valid, 0)
    if classes == 1:
        probable = logits.sigmoid()
        truth = labels.unsqueeze(1).to(probable.dtype)
    else:
        probable = logits.softmax(1)
        truth = functional.one_hot(labels, classes).movedim(-1, 1).to(probable.dtype)
    mask = valid.unsqueeze(1).to(probable.dtype)
    probable, truth = probable * mask, truth * mask
    axes = [*([0] if batch else []), *range(2, logits.ndim)]
    hit = (probable * truth).sum(axes)
    terms = (hit, probable.sum(axes) - hit, truth.sum(axes) - hit)
    return tuple(term.unsqueeze(0) for term in terms) if batch else terms  # type: ignore[return-value]


def tversky_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 1.0,
    include_background: bool = True,
    batch: bool = False,
    ignore_index: int | None = None,
    smooth: float = SMOOTH,
) -> Tensor:
    """One minus the Tversky index, averaged over samples and classes (Salehi et al., arXiv:1706.05721).

    Parameters
    ----------
    alpha, beta
        Weights of false positives and false negatives; 0.5 each gives Dice.
    gamma
        Exponent of ``1 - index`` (focal Tversky, Abraham and Khan, arXiv:1810.07842, writes ``1 / gamma``).
    include_background
        Count class 0; always counted when there is one logit.
    batch
        Sum over the batch before dividing, which steadies small structures.
    smooth
        Added to numerator and denominator: an absent class that is predicted absent has index 1.
    """
    hit, false_positive, false_negative = overlap_terms(logits, target, ignore_index=ignore_index, batch=batch)
    index = (hit + smooth) / (hit + alpha * false_positive + beta * false_negative + smooth)
    if not include_background and logits.shape[1] > 1:
        index = index[:, 1:]
    loss = 1 - index
    return (loss if gamma == 1 else loss.clamp_min(1e-7) ** gamma).mean()


def dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    include_background: bool = True,
    batch: bool = False,
    ignore_index: int | None = None,
    smooth: float = SMOOTH,
) -> Tensor:
    """One minus the soft Dice coefficient, averaged over samples and classes (Milletari et al., arXiv:1606.04797).

    Unsquared denominator; parameters as in :func:`tversky_loss`, ``smooth`` on the scale of twice the overlap.
    """
    return tversky_loss(
        logits,
        target,
        alpha=0.5,
        beta=0.5,
        include_background=include_background,
        batch=batch,
        ignore_index=ignore_index,
        smooth=smooth / 2,
    )


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: Sequence[float] | Tensor | None = None,
    ignore_index: int | None = None,
) -> Tensor:
    """Cross entropy averaged over voxels, weighted by class; binary with one logit (weights: class 0, class 1)."""
    return _weighted_mean(_voxel_entropy(logits, target, ignore_index), logits, target, class_weights, ignore_index)


def focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    class_weights: Sequence[float] | Tensor | None = None,
    ignore_index: int | None = None,
) -> Tensor:
    """Focal loss averaged over voxels (Lin et al., arXiv:1708.02002, eq. 5).

    Cross entropy of each voxel times ``(1 - p)**gamma``, p being the probability of its true class. ``class_weights``
    multiply each voxel and do not enter the average's denominator, as alpha in the paper.
    """
    entropy = _voxel_entropy(logits, target, ignore_index)
    focused = entropy * (-torch.expm1(-entropy)).clamp_min(1e-12) ** gamma
    labels = label_map(logits, target)
    if class_weights is not None:
        weights = torch.as_tensor(class_weights, dtype=logits.dtype, device=logits.device)
        focused = focused * weights[labels if ignore_index is None else labels.where(labels != ignore_index, 0)]
    if ignore_index is None:
        return focused.mean()
    return focused.sum() / (labels != ignore_index).sum().clamp_min(1)


def dice_ce_loss(
    logits: Tensor,
    target: Tensor,
    *,
    dice_weight: float = 1.0,
    ce_weight: float = 1.0,
    class_weights: Sequence[float] | Tensor | None = None,
    include_background: bool = True,
    batch: bool = False,
    ignore_index: int | None = None,
    smooth: float = SMOOTH,
) -> Tensor:
    """Weighted sum of :func:`dice_loss` and :func:`cross_entropy`, as in nnU-Net (Isensee et al., 2021)."""
    dice = dice_loss(
        logits,
        target,
        include_background=include_background,
        batch=batch,
        ignore_index=ignore_index,
        smooth=smooth,
    )
    entropy = cross_entropy(logits, target, class_weights=class_weights, ignore_index=ignore_index)
    return dice_weight * dice + ce_weight * entropy


def deep_supervision_weights(count: int) -> list[float]:
    """Weights of the outputs, finest first: halved at each level, summing to 1.

    Examples
    --------
    >>> deep_supervision_weights(2)
    [0.6666666666666666, 0.3333333333333333]
    """
    total = sum(2.0**-level for level in range(count))
    return [2.0**-level / total for level in range(count)]


def _voxel_entropy(logits: Tensor, target: Tensor, ignore_index: int | None) -> Tensor:
    labels = label_map(logits, target)
    valid = None if ignore_index is None else labels != ignore_index
    labels = labels if valid is None else labels.where(valid, 0)
    if logits.shape[1] == 1:
        entropy = functional.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype), reduction="none")
    else:
        entropy = functional.cross_entropy(logits, labels, reduction="none")
    return entropy if valid is None else entropy * valid


def _weighted_mean(
    values: Tensor,
    logits: Tensor,
    target: Tensor,
    class_weights: Sequence[float] | Tensor | None,
    ignore_index: int | None,
) -> Tensor:
    if class_weights is None and ignore_index is None:
        return values.mean()
    labels = label_map(logits, target)
    valid = torch.ones_like(labels, dtype=torch.bool) if ignore_index is None else labels != ignore_index
    weights = valid.to(values.dtype)
    if class_weights is not None:
        table = torch.as_tensor(class_weights, dtype=values.dtype, device=values.device)
        weights = weights * table[labels.where(valid, 0)]
    return (values * weights).sum() / weights.sum().clamp_min(torch.finfo(values.dtype).tiny)
