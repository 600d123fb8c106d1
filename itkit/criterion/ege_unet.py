"""Losses of EGE-UNet on probabilities: cross entropy and Dice, summed over the levels.

Source: J. Ruan et al., "EGE-UNet: an Efficient Group Enhanced UNet for skin lesion segmentation",
MICCAI 2023, arXiv:2307.08473; repository JCruan519/EGE-UNet (Apache-2.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

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
    """``deep_bce_dice`` of the output of ``itkit.models.ege_unet.network.EGEUNet``."""

    def __init__(
        self,
        bce_weight: float = BCE_WEIGHT,
        dice_weight: float = DICE_WEIGHT,
        level_weights: Sequence[float] = LEVEL_WEIGHTS,
    ) -> None:
        super().__init__()
        self.bce_weight = bce_weight
        self.dice_weight = dice_weight
        self.level_weights = tuple(level_weights)

    def forward(self, output: tuple[Sequence[Tensor], Tensor], target: Tensor) -> Tensor:
        """Return the loss of ``((p5, ..., p1), out)`` against one mask at full size."""
        auxiliary, prediction = output
        return deep_bce_dice(
            auxiliary,
            prediction,
            target,
            level_weights=self.level_weights,
            bce_weight=self.bce_weight,
            dice_weight=self.dice_weight,
        )
