"""Losses of the overlap of regions: Dice, Jaccard, Tversky, generalised Dice, Lovász.

One computation serves Dice, Jaccard and Tversky, with ignored voxels and soft labels; tests compare it with MONAI and
nnU-Net. The generalised Dice is MONAI's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch

from itkit.core.errors import ArgumentError
from itkit.core.extras import require
from itkit.criterion.targets import Pair, class_table, in_full_precision, pair

if TYPE_CHECKING:
    from torch import Tensor

SMOOTH = 1e-5
"""What the overlap losses add to numerator and denominator, so that an absent class costs nothing."""
_LEAST = 1e-7
"""Below it a power's slope is that of this loss: it would be infinite at 0 for exponents below 1."""


def overlap_terms(
    logits: Tensor,
    target: Tensor,
    *,
    batch: bool = False,
    squared: bool = False,
    sigmoid: bool = False,
    ignore_index: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum soft true positives, false positives and false negatives over space.

    With soft labels a true positive is the smaller of probability and share, so that the loss is least where they are
    equal (Wang and Blaschko, arXiv:2303.16296); with hard labels that is their product.

    Parameters
    ----------
    squared
        Square probabilities and shares in the sums that make up the denominator.

    Returns
    -------
    tuple of Tensor
        Each ``(N, K)``, or ``(1, K)`` when summed over the batch too.
    """
    return _terms(pair(logits, target, sigmoid=sigmoid, ignore_index=ignore_index), batch=batch, squared=squared)


def _terms(data: Pair, *, batch: bool, squared: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    probable, truth = data.masked(data.probabilities()), data.truth()
    axes = [*([0] if batch else []), *range(2, truth.ndim)]
    both = torch.minimum(probable, truth) if data.is_soft and not squared else probable * truth
    hit = both.sum(axes, keepdim=True)
    predicted = (probable.square() if squared else probable).sum(axes, keepdim=True)
    actual = (truth.square() if squared else truth).sum(axes, keepdim=True)
    return hit.flatten(1), (predicted - hit).flatten(1), (actual - hit).flatten(1)


@in_full_precision
def tversky_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 1.0,
    squared: bool = False,
    include_background: bool = True,
    batch: bool = False,
    class_weights: Sequence[float] | Tensor | None = None,
    sigmoid: bool = False,
    ignore_index: int | None = None,
    smooth: float = SMOOTH,
) -> Tensor:
    """One minus the Tversky index, averaged over samples and classes (Salehi et al., arXiv:1706.05721).

    Parameters
    ----------
    alpha, beta
        Weights of false positives and false negatives; 0.5 each gives Dice, 1 each Jaccard.
    gamma
        Exponent of ``1 - index`` (focal Tversky, Abraham and Khan, arXiv:1810.07842, writes ``1 / gamma``).
    squared
        Square probabilities and shares in the denominator.
    include_background
        Count class 0; always counted when there is one logit.
    batch
        Sum over the batch before dividing, which steadies small structures.
    class_weights
        Multiply each class's loss before the average; one for each class, the background's too.
    sigmoid
        Ask of each class whether it is there, so that classes may overlap.
    ignore_index
        Class number of voxels that count nowhere.
    smooth
        Added to numerator and denominator: an absent class that is predicted absent has index 1.
    """
    hit, false_positive, false_negative = _terms(
        pair(logits, target, sigmoid=sigmoid, ignore_index=ignore_index), batch=batch, squared=squared
    )
    index = (hit + smooth) / (hit + alpha * false_positive + beta * false_negative + smooth)
    loss = 1 - index
    if gamma != 1:
        loss = loss.clamp_min(_LEAST) ** gamma
    table = class_table(class_weights, loss)
    if table is not None:
        loss = loss * (table if logits.shape[1] > 1 else table[1:])
    if not include_background and logits.shape[1] > 1:
        loss = loss[:, 1:]
    return loss.mean()


def dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    squared: bool = False,
    include_background: bool = True,
    batch: bool = False,
    class_weights: Sequence[float] | Tensor | None = None,
    sigmoid: bool = False,
    ignore_index: int | None = None,
    smooth: float = SMOOTH,
) -> Tensor:
    """One minus the soft Dice coefficient, averaged over samples and classes (Milletari et al., arXiv:1606.04797).

    Parameters as in :func:`tversky_loss`, ``smooth`` on the scale of twice the overlap. The paper squares the
    denominator's terms; nnU-Net and MONAI by default do not.
    """
    return tversky_loss(
        logits,
        target,
        alpha=0.5,
        beta=0.5,
        squared=squared,
        include_background=include_background,
        batch=batch,
        class_weights=class_weights,
        sigmoid=sigmoid,
        ignore_index=ignore_index,
        smooth=smooth / 2,
    )


def jaccard_loss(
    logits: Tensor,
    target: Tensor,
    *,
    squared: bool = False,
    include_background: bool = True,
    batch: bool = False,
    class_weights: Sequence[float] | Tensor | None = None,
    sigmoid: bool = False,
    ignore_index: int | None = None,
    smooth: float = SMOOTH,
) -> Tensor:
    """One minus the soft Jaccard index (IoU), averaged over samples and classes (Wang et al., arXiv:2302.05666).

    Parameters as in :func:`tversky_loss`, ``smooth`` on the scale of twice the overlap, as in MONAI.
    """
    return tversky_loss(
        logits,
        target,
        alpha=1.0,
        beta=1.0,
        squared=squared,
        include_background=include_background,
        batch=batch,
        class_weights=class_weights,
        sigmoid=sigmoid,
        ignore_index=ignore_index,
        smooth=smooth / 2,
    )


def focal_tversky_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 0.75,
    include_background: bool = True,
    batch: bool = False,
    class_weights: Sequence[float] | Tensor | None = None,
    sigmoid: bool = False,
    ignore_index: int | None = None,
    smooth: float = SMOOTH,
) -> Tensor:
    """Power of the Tversky loss, averaged over samples and classes (Abraham and Khan, arXiv:1810.07842).

    Parameters as in :func:`tversky_loss`; ``gamma`` is the exponent itself, the paper's 4/3 being its inverse.
    """
    return tversky_loss(
        logits,
        target,
        alpha=alpha,
        beta=beta,
        gamma=gamma,
        include_background=include_background,
        batch=batch,
        class_weights=class_weights,
        sigmoid=sigmoid,
        ignore_index=ignore_index,
        smooth=smooth,
    )


@in_full_precision
def generalized_dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    weighting: Literal["square", "simple", "uniform"] = "square",
    include_background: bool = True,
    batch: bool = False,
    sigmoid: bool = False,
    ignore_index: int | None = None,
    smooth: float = SMOOTH,
) -> Tensor:
    """One minus the generalised Dice coefficient: one ratio over all classes (Sudre et al., arXiv:1707.03237).

    Computed by ``monai.losses.GeneralizedDiceLoss``.

    Parameters
    ----------
    weighting
        Weight of a class by its size v in the truth: ``1/v**2``, ``1/v`` or 1. A class that is absent from the truth
        gets the greatest weight of those that are there; when all are absent, nothing is asked.
    include_background, batch, sigmoid, ignore_index, smooth
        As in :func:`tversky_loss`.

    Raises
    ------
    MissingExtraError
        When MONAI is not installed.
    """
    monai = require("monai.losses", extra="train", why="the generalised Dice loss")
    data = pair(logits, target, sigmoid=sigmoid, ignore_index=ignore_index)
    loss = monai.GeneralizedDiceLoss(
        include_background=include_background or data.classes == 1,
        w_type=weighting,
        batch=batch,
        smooth_nr=smooth,
        smooth_dr=smooth,
        soft_label=data.is_soft,
    )
    value: Tensor = loss(data.masked(data.probabilities()), data.truth())
    return value


@in_full_precision
def lovasz_loss(
    logits: Tensor,
    target: Tensor,
    *,
    include_background: bool = True,
    batch: bool = False,
    only_present: bool = True,
    sigmoid: bool = False,
    ignore_index: int | None = None,
) -> Tensor:
    """Lovász extension of one minus the Jaccard index, on probabilities (Berman et al., arXiv:1705.08790, eq. 9).

    Parameters
    ----------
    include_background, sigmoid, ignore_index
        As in :func:`tversky_loss`.
    batch
        Sort the voxels of the whole batch together, instead of each sample's.
    only_present
        Average over the classes that the truth holds; a sample that holds none costs nothing. Otherwise over all: the
        loss of an absent class is its greatest probability.

    Raises
    ------
    ArgumentError
        For soft labels: the Jaccard index of sets knows none.
    """
    data = pair(logits, target, sigmoid=sigmoid, ignore_index=ignore_index)
    truth = data.truth()
    if data.is_soft and not bool(((truth == 0) | (truth == 1)).all()):
        raise ArgumentError("target: the Lovász loss needs hard labels; use jaccard_loss for soft ones")
    errors = data.masked((truth - data.probabilities()).abs())
    if not include_background and data.classes > 1:
        errors, truth = errors[:, 1:], truth[:, 1:]
    if batch:
        errors, truth = (part.transpose(0, 1).flatten(1).unsqueeze(0) for part in (errors, truth))
    else:
        errors, truth = errors.flatten(2), truth.flatten(2)
    ordered, order = errors.sort(dim=-1, descending=True, stable=True)
    losses = (ordered * _jaccard_slopes(truth.gather(-1, order))).sum(-1)
    if not only_present:
        return losses.mean()
    present = truth.amax(-1) > 0
    return ((losses * present).sum(1) / present.sum(1).clamp_min(1)).mean()


def _jaccard_slopes(truth: Tensor) -> Tensor:
    """Slopes of the Jaccard loss along the last axis, the worst voxel first (algorithm 1 of the paper).

    The paper takes differences of losses, which float32 rounds away in large volumes; these are their closed forms. A
    missed voxel lowers the intersection by one, a false one raises the union by one.
    """
    total = truth.sum(-1, keepdim=True)
    intersection = total - truth.cumsum(-1)
    union = total + (1 - truth).cumsum(-1)
    slopes = torch.where(truth > 0, 1 / union, intersection / (union * (union - 1)).clamp_min(1))
    is_absent = total[..., :1] == 0
    return torch.cat([slopes[..., :1].where(~is_absent, 1), slopes[..., 1:]], -1)
