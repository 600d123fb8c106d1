"""Losses of EGE-UNet: cross entropy and Dice of probabilities, summed over the levels.

Source: J. Ruan et al., "EGE-UNet: an Efficient Group Enhanced UNet for skin lesion segmentation",
MICCAI 2023, arXiv:2307.08473; repository JCruan519/EGE-UNet (Apache-2.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.core.errors import ArgumentError
from itkit.criterion.targets import Pair, pair, widened

if TYPE_CHECKING:
    from collections.abc import Sequence

BCE_WEIGHT = 1.0
DICE_WEIGHT = 1.0
LEVEL_WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Weights of the auxiliary maps, deepest first."""


def binary_cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """Average the binary cross entropy of probabilities ``(N, ...)`` over everything; logarithms stop at -100."""
    return functional.binary_cross_entropy(prediction.flatten(1), target.flatten(1))


def soft_dice(prediction: Tensor, target: Tensor, *, smooth: float = 1.0) -> Tensor:
    """One minus the Dice overlap of each sample over channels and pixels, averaged over the batch.

    Parameters
    ----------
    prediction, target
        Probabilities and mask ``(N, ...)``.
    smooth
        Added to numerator and denominator: an empty pair costs nothing.
    """
    p, t = prediction.flatten(1), target.flatten(1)
    overlap = (2 * (p * t).sum(1) + smooth) / (p.sum(1) + t.sum(1) + smooth)
    return 1 - overlap.mean()


def bce_dice(
    prediction: Tensor, target: Tensor, *, bce_weight: float = BCE_WEIGHT, dice_weight: float = DICE_WEIGHT
) -> Tensor:
    """Weigh ``soft_dice`` and ``binary_cross_entropy`` together."""
    return dice_weight * soft_dice(prediction, target) + bce_weight * binary_cross_entropy(prediction, target)


def deep_bce_dice(
    auxiliary: Sequence[Tensor],
    prediction: Tensor,
    target: Tensor,
    *,
    level_weights: Sequence[float] = LEVEL_WEIGHTS,
    bce_weight: float = BCE_WEIGHT,
    dice_weight: float = DICE_WEIGHT,
) -> Tensor:
    """Sum ``bce_dice`` of the main map and, weighted, of the auxiliary maps.

    Parameters
    ----------
    auxiliary
        Probabilities of the levels, deepest first, all at the target's size.
    prediction, target
        Main probabilities and mask ``(N, K, Y, X)``.
    level_weights
        One weight for each auxiliary map.
    """
    weights = {"bce_weight": bce_weight, "dice_weight": dice_weight}
    loss = bce_dice(prediction, target, **weights)
    for level, weight in zip(auxiliary, level_weights, strict=True):
        loss = loss + weight * bce_dice(level, target, **weights)
    return loss


class EGEUNetLoss(nn.Module):
    """Binary cross entropy and Dice of the main map and, weighted, of the auxiliary maps.

    It takes what ``create_model("ege_unet")`` returns, logits ``(N, K, Y, X)`` or with deep supervision a list of them,
    the main map first and then the auxiliary ones, finest first; or the authors' form ``((p5, ..., p1), out)`` of
    probabilities. Targets are as in :func:`itkit.criterion.targets.pair`. With one logit the loss is the authors'. With
    several classes the main map's softmax is compared with each class, and an auxiliary map's share of all foreground
    with the foreground, which is all that such a map tells. Half precision is computed in float32.

    Parameters
    ----------
    bce_weight, dice_weight
        Weights of the two terms.
    level_weights
        Weights of the auxiliary maps, deepest first.
    ignore_index
        Class number of pixels that count nowhere.
    """

    def __init__(
        self,
        bce_weight: float = BCE_WEIGHT,
        dice_weight: float = DICE_WEIGHT,
        level_weights: Sequence[float] = LEVEL_WEIGHTS,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        self.bce_weight = bce_weight
        self.dice_weight = dice_weight
        self.level_weights = tuple(level_weights)
        self.ignore_index = ignore_index

    def forward(self, output: Tensor | Sequence[Tensor] | tuple[Sequence[Tensor], Tensor], target: Tensor) -> Tensor:
        """Return the loss, a scalar, of one target at full size.

        Raises
        ------
        ArgumentError
            When the target does not fit, or the number of auxiliary maps is not that of their weights.
        """
        with torch.autocast(target.device.type, enabled=False):
            maps: list[Any] = [output] if isinstance(output, Tensor) else list(output)
            main, *auxiliary = maps
            if not isinstance(main, Tensor):
                return self._of_probabilities(main, widened(maps[1]), target)
            self._check(len(auxiliary))
            loss = self._of_logits(main, target)
            for level, weight in zip(auxiliary, reversed(self.level_weights), strict=False):
                loss = loss + weight * self._of_auxiliary(level, target)
            return loss

    def _check(self, levels: int) -> None:
        if levels not in (0, len(self.level_weights)):
            raise ArgumentError(f"level_weights: {len(self.level_weights)} weights for {levels} auxiliary maps")

    def _of_probabilities(self, auxiliary: Sequence[Tensor], main: Tensor, target: Tensor) -> Tensor:
        self._check(len(auxiliary))
        data = pair(main, target, sigmoid=True, ignore_index=self.ignore_index)
        loss = self._terms(data, data.masked(main), data.truth())
        for level, weight in zip(auxiliary, self.level_weights, strict=False):
            loss = loss + weight * self._terms(data, data.masked(widened(level)), data.truth())
        return loss

    def _of_logits(self, logits: Tensor, target: Tensor) -> Tensor:
        data = pair(logits, target, ignore_index=self.ignore_index)
        only = data.logits if data.classes == 1 else None
        return self._terms(data, data.masked(data.probabilities()), data.truth(), only)

    def _of_auxiliary(self, logits: Tensor, target: Tensor) -> Tensor:
        if logits.shape[1] == 1:
            return self._of_logits(logits, target)
        data = pair(logits, target, ignore_index=self.ignore_index)
        foreground = data.logits[:, 1:].logsumexp(1, keepdim=True) - data.logits[:, :1]
        truth = data.truth()[:, 1:].sum(1, keepdim=True)
        return self._terms(data, data.masked(foreground.sigmoid()), truth, foreground)

    def _terms(self, data: Pair, probable: Tensor, truth: Tensor, logits: Tensor | None = None) -> Tensor:
        """Weigh Dice and cross entropy; from logits, where the logarithm of a certain answer keeps its slope."""
        if logits is None:
            costs = functional.binary_cross_entropy(probable, truth, reduction="none")
        else:
            costs = data.masked(functional.binary_cross_entropy_with_logits(logits, truth, reduction="none"))
        entropy = costs.sum() / (data.count() * costs.shape[1])
        return self.dice_weight * soft_dice(probable, truth) + self.bce_weight * entropy
