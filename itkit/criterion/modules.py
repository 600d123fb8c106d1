"""Losses as modules, for frameworks that build a loss from its name and options; `functional` computes them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from itkit.core.errors import ArgumentError
from itkit.criterion import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SPLIT_Z = inspect.Parameter("split_z", inspect.Parameter.KEYWORD_ONLY, default=False, annotation="bool")


class _Loss(nn.Module):
    """Holds the keyword arguments of a function and passes them on; names and defaults are the function's.

    ``split_z`` averages the loss over the slices of volumes, each on its own (`functional.per_slice`).
    """

    _function: ClassVar[Callable[..., Tensor]]

    def __init_subclass__(cls, function: Callable[..., Tensor], **defaults: Any) -> None:
        super().__init_subclass__()
        parameters = inspect.signature(function).parameters.values()
        options = [
            parameter.replace(default=defaults.get(parameter.name, parameter.default))
            for parameter in parameters
            if parameter.kind is parameter.KEYWORD_ONLY
        ]
        cls._function = staticmethod(function)
        cls.__signature__ = inspect.Signature([*options, _SPLIT_Z])  # type: ignore[attr-defined]  # inspect looks for it

    def __init__(self, **options: Any) -> None:
        bound = inspect.signature(type(self)).bind(**options)
        super().__init__()
        bound.apply_defaults()
        self.options = bound.kwargs

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        options = dict(self.options)
        if options.pop("split_z"):
            return functional.per_slice(type(self)._function, logits, target, **options)
        return type(self)._function(logits, target, **options)

    def extra_repr(self) -> str:
        """Show the options."""
        return ", ".join(f"{key}={value!r}" for key, value in self.options.items())


class DiceLoss(_Loss, function=functional.dice_loss):
    """Soft Dice loss; see :func:`itkit.criterion.functional.dice_loss`."""


class JaccardLoss(_Loss, function=functional.jaccard_loss):
    """Soft Jaccard (IoU) loss; see :func:`itkit.criterion.functional.jaccard_loss`."""


class GeneralizedDiceLoss(_Loss, function=functional.generalized_dice_loss):
    """Generalised Dice loss; see :func:`itkit.criterion.functional.generalized_dice_loss`."""


class TverskyLoss(_Loss, function=functional.tversky_loss):
    """Tversky loss; see :func:`itkit.criterion.functional.tversky_loss`."""


class FocalTverskyLoss(_Loss, function=functional.focal_tversky_loss):
    """Focal Tversky loss; see :func:`itkit.criterion.functional.focal_tversky_loss`."""


class LovaszLoss(_Loss, function=functional.lovasz_loss):
    """Lovász-softmax loss; see :func:`itkit.criterion.functional.lovasz_loss`."""


class CrossEntropyLoss(_Loss, function=functional.cross_entropy):
    """Cross entropy; see :func:`itkit.criterion.functional.cross_entropy`."""


class TopKLoss(_Loss, function=functional.cross_entropy, top_k=10.0):
    """Cross entropy of the hardest tenth of the voxels; see :func:`itkit.criterion.functional.cross_entropy`."""


class SurfaceCELoss(_Loss, function=functional.surface_cross_entropy):
    """Surface-weighted cross entropy; see :func:`itkit.criterion.functional.surface_cross_entropy`."""


class FocalLoss(_Loss, function=functional.focal_loss):
    """Focal loss; see :func:`itkit.criterion.functional.focal_loss`."""


class BoundaryLoss(_Loss, function=functional.boundary_loss):
    """Boundary loss; see :func:`itkit.criterion.functional.boundary_loss`."""


class HausdorffDTLoss(_Loss, function=functional.hausdorff_dt_loss):
    """Hausdorff loss by distance transforms; see :func:`itkit.criterion.functional.hausdorff_dt_loss`."""


class LogHausdorffDTLoss(_Loss, function=functional.hausdorff_dt_loss, logarithm=True):
    """Logarithm of one plus the Hausdorff loss; see :func:`itkit.criterion.functional.hausdorff_dt_loss`."""


class ClDiceLoss(_Loss, function=functional.cldice_loss):
    """Centre-line Dice loss; see :func:`itkit.criterion.functional.cldice_loss`."""


class DiceCELoss(_Loss, function=functional.dice_ce_loss):
    """Dice plus cross entropy; see :func:`itkit.criterion.functional.dice_ce_loss`."""


class DiceFocalLoss(_Loss, function=functional.dice_focal_loss):
    """Dice plus focal loss; see :func:`itkit.criterion.functional.dice_focal_loss`."""


class DiceClDiceLoss(_Loss, function=functional.dice_cldice_loss):
    """Dice plus centre-line Dice; see :func:`itkit.criterion.functional.dice_cldice_loss`."""


class WeightedSum(nn.Module):
    """Sum of several losses of the same output and target, each times its weight.

    Parameters
    ----------
    losses
        The losses.
    weights
        One weight for each; by default 1.
    """

    def __init__(self, losses: Sequence[nn.Module], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if not losses or (weights is not None and len(weights) != len(losses)):
            raise ArgumentError(f"weights: {0 if weights is None else len(weights)} for {len(losses)} losses")
        self.losses = nn.ModuleList(losses)
        self.weights = (1.0,) * len(losses) if weights is None else tuple(weights)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the sum, a scalar."""
        parts: list[Tensor] = [
            weight * loss(logits, target) for weight, loss in zip(self.weights, self.losses, strict=True)
        ]
        return sum(parts[1:], parts[0])


class DeepSupervision(nn.Module):
    """Weighted sum of a loss over a network's outputs, finest first.

    Outputs may be smaller than the target: it is then sampled by nearest neighbour (`functional.resized_target`), as
    nnU-Net does. Or give one target for each output.

    Parameters
    ----------
    loss
        Loss of one output.
    weights
        One weight an output; by default halved at each level and normalised. An output of weight 0 is left out.
    coarsest
        Whether the coarsest output counts, if no weights are given; nnU-Net leaves it out.
    """

    def __init__(self, loss: nn.Module, weights: Sequence[float] | None = None, *, coarsest: bool = True) -> None:
        super().__init__()
        self.loss = loss
        self.coarsest = coarsest
        self.weights = None if weights is None else tuple(weights)

    def forward(self, outputs: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]) -> Tensor:
        """Return the weighted sum; a single tensor is simply its loss."""
        if isinstance(outputs, Tensor):
            return self.loss(outputs, target if isinstance(target, Tensor) else target[0])  # type: ignore[no-any-return]
        weights = self.weights or functional.deep_supervision_weights(len(outputs), coarsest=self.coarsest)
        if len(weights) != len(outputs):
            raise ArgumentError(f"{len(weights)} weights for {len(outputs)} outputs")
        targets = [target] * len(outputs) if isinstance(target, Tensor) else list(target)
        if len(targets) != len(outputs):
            raise ArgumentError(f"{len(targets)} targets for {len(outputs)} outputs")
        losses: list[Tensor] = [
            weight * self.loss(output, functional.resized_target(truth, output))
            for weight, output, truth in zip(weights, outputs, targets, strict=True)
            if weight
        ]
        if not losses:
            raise ArgumentError("weights: expected one above 0")
        return sum(losses[1:], losses[0])
