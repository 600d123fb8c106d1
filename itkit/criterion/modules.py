"""Losses as modules, for frameworks that build a loss from its name and options; `functional` computes them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from itkit.criterion import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class _Loss(nn.Module):
    """Holds the keyword arguments of a function and passes them on; names and defaults are the function's."""

    _function: ClassVar[Callable[..., Tensor]]

    def __init_subclass__(cls, function: Callable[..., Tensor]) -> None:
        super().__init_subclass__()
        parameters = inspect.signature(function).parameters.values()
        options = [parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
        cls._function = staticmethod(function)
        cls.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]  # inspect looks for it

    def __init__(self, **options: Any) -> None:
        bound = inspect.signature(type(self)).bind(**options)
        super().__init__()
        bound.apply_defaults()
        self.options = bound.kwargs

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        return type(self)._function(logits, target, **self.options)

    def extra_repr(self) -> str:
        """Show the options."""
        return ", ".join(f"{key}={value!r}" for key, value in self.options.items())


class DiceLoss(_Loss, function=functional.dice_loss):
    """Soft Dice loss; see :func:`itkit.criterion.functional.dice_loss`."""


class CrossEntropyLoss(_Loss, function=functional.cross_entropy):
    """Cross entropy; see :func:`itkit.criterion.functional.cross_entropy`."""


class DiceCELoss(_Loss, function=functional.dice_ce_loss):
    """Dice plus cross entropy; see :func:`itkit.criterion.functional.dice_ce_loss`."""


class FocalLoss(_Loss, function=functional.focal_loss):
    """Focal loss; see :func:`itkit.criterion.functional.focal_loss`."""


class TverskyLoss(_Loss, function=functional.tversky_loss):
    """Tversky or focal Tversky loss; see :func:`itkit.criterion.functional.tversky_loss`."""


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
