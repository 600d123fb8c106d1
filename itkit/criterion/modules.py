"""Losses as modules: thin faces of ``functional`` for frameworks that build losses from a config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from itkit.criterion import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class _Loss(nn.Module):
    """Holds the keyword arguments of a function and passes them on."""

    def __init__(self, function: Callable[..., Tensor], **options: Any) -> None:
        super().__init__()
        self.function = function
        self.options = options

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        return self.function(logits, target, **self.options)

    def extra_repr(self) -> str:
        """Show the options."""
        return ", ".join(f"{key}={value!r}" for key, value in self.options.items())


class DiceLoss(_Loss):
    """Soft Dice loss; see :func:`itkit.criterion.functional.dice_loss`."""

    def __init__(
        self,
        *,
        include_background: bool = True,
        batch: bool = False,
        ignore_index: int | None = None,
        smooth: float = 1e-5,
    ) -> None:
        super().__init__(
            functional.dice_loss,
            include_background=include_background,
            batch=batch,
            ignore_index=ignore_index,
            smooth=smooth,
        )


class DiceCELoss(_Loss):
    """Dice plus cross entropy; see :func:`itkit.criterion.functional.dice_ce_loss`."""

    def __init__(
        self,
        *,
        dice_weight: float = 1.0,
        ce_weight: float = 1.0,
        class_weights: Sequence[float] | None = None,
        include_background: bool = True,
        batch: bool = False,
        ignore_index: int | None = None,
        smooth: float = 1e-5,
    ) -> None:
        super().__init__(
            functional.dice_ce_loss,
            dice_weight=dice_weight,
            ce_weight=ce_weight,
            class_weights=class_weights,
            include_background=include_background,
            batch=batch,
            ignore_index=ignore_index,
            smooth=smooth,
        )


class FocalLoss(_Loss):
    """Focal loss; see :func:`itkit.criterion.functional.focal_loss`."""

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        class_weights: Sequence[float] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(functional.focal_loss, gamma=gamma, class_weights=class_weights, ignore_index=ignore_index)


class TverskyLoss(_Loss):
    """Tversky or focal Tversky loss; see :func:`itkit.criterion.functional.tversky_loss`."""

    def __init__(
        self,
        *,
        alpha: float = 0.3,
        beta: float = 0.7,
        gamma: float = 1.0,
        include_background: bool = True,
        batch: bool = False,
        ignore_index: int | None = None,
        smooth: float = 1e-5,
    ) -> None:
        super().__init__(
            functional.tversky_loss,
            alpha=alpha,
            beta=beta,
            gamma=gamma,
            include_background=include_background,
            batch=batch,
            ignore_index=ignore_index,
            smooth=smooth,
        )


class DeepSupervision(nn.Module):
    """Weighted sum of a loss over a network's outputs, all at the target's size, finest first.

    Parameters
    ----------
    loss
        Loss of one output.
    weights
        One weight an output; by default halved at each level and normalised.
    """

    def __init__(self, loss: nn.Module, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.loss = loss
        self.weights = None if weights is None else tuple(weights)

    def forward(self, outputs: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Return the weighted sum; a single tensor is simply its loss."""
        if isinstance(outputs, Tensor):
            return self.loss(outputs, target)  # type: ignore[no-any-return]
        weights = self.weights or functional.deep_supervision_weights(len(outputs))
        if len(weights) != len(outputs):
            raise ValueError(f"{len(weights)} weights for {len(outputs)} outputs")
        losses: list[Tensor] = [
            weight * self.loss(output, target) for weight, output in zip(weights, outputs, strict=True)
        ]
        return sum(losses[1:], losses[0])
