"""What a loss compares: logits in full precision, and a truth that has been checked.

Shapes everywhere: logits ``(N, K, *spatial)``. The target is a label map ``(N, *spatial)`` or ``(N, 1, *spatial)`` of
class numbers in an integer or boolean type, or shares ``(N, K, *spatial)``, one-hot or soft, of any type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch

from itkit.core.errors import ArgumentError

if TYPE_CHECKING:
    from torch import Tensor

_Loss = TypeVar("_Loss", bound="Callable[..., Tensor]")
_SUM_TOLERANCE = 1e-3
"""How far the shares of a voxel may be from summing to 1; half precision needs as much."""


def in_full_precision(loss: _Loss) -> _Loss:
    """Switch autocast off inside a loss: sums over a volume overflow float16, and swallow voxels in bfloat16."""

    @wraps(loss)
    def compute(logits: Any, target: Tensor, **options: Any) -> Tensor:
        with torch.autocast(target.device.type, enabled=False):
            return loss(logits, target, **options)

    return cast("_Loss", compute)


def widened(tensor: Tensor) -> Tensor:
    """Return float16 and bfloat16 as float32; wider types as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


@dataclass(frozen=True, eq=False)
class Pair:
    """Logits and their truth.

    Attributes
    ----------
    logits
        Float32 or float64, ``(N, K, *spatial)``.
    sigmoid
        Whether each class is a yes-or-no question of its own. Otherwise the classes exclude each other (softmax).
    labels
        Class numbers ``(N, *spatial)``, 0 where ignored; ``None`` when the target holds shares.
    shares
        Shares ``(N, K, *spatial)``, 0 where ignored; ``None`` when the target is a label map.
    valid
        Which voxels count ``(N, *spatial)``; ``None`` when all do.
    """

    logits: Tensor
    sigmoid: bool
    labels: Tensor | None
    shares: Tensor | None
    valid: Tensor | None

    @property
    def classes(self) -> int:
        """Number of channels of the logits."""
        return self.logits.shape[1]

    @property
    def is_soft(self) -> bool:
        """Whether the truth may hold values between 0 and 1."""
        return self.shares is not None

    def probabilities(self) -> Tensor:
        """Return the probability of each class ``(N, K, *spatial)``."""
        return self.logits.sigmoid() if self.sigmoid else self.logits.softmax(1)

    def truth(self) -> Tensor:
        """Return the share of each class ``(N, K, *spatial)``; 0 for all classes where ignored."""
        if self.shares is not None:
            return self.shares
        labels = cast("Tensor", self.labels)
        if self.classes == 1:
            return self.masked(labels.unsqueeze(1).to(self.logits.dtype))
        one_hot = torch.zeros_like(self.logits, requires_grad=False)
        return self.masked(one_hot.scatter_(1, labels.unsqueeze(1), 1.0))

    def masked(self, values: Tensor) -> Tensor:
        """Set values ``(N, C, *spatial)`` of ignored voxels to 0."""
        return values if self.valid is None else values * self.valid.unsqueeze(1)

    def count(self) -> Tensor:
        """Count the voxels that are not ignored; at least 1."""
        if self.valid is None:
            return self.logits.new_tensor(self.logits[:, :1].numel())
        return self.valid.sum().clamp_min(1).to(self.logits.dtype)


def pair(logits: Tensor, target: Tensor, *, sigmoid: bool = False, ignore_index: int | None = None) -> Pair:
    """Check logits and target, and bring them to the types that a loss computes with.

    Parameters
    ----------
    sigmoid
        Ask of each class whether it is there, so that classes may overlap; always so with one logit.
    ignore_index
        Class number of voxels that count nowhere. Of shares: a voxel is ignored when it belongs to that class, when one
        of its values is this number, or, with softmax and a number beyond the classes, when all its shares are 0.

    Raises
    ------
    ArgumentError
        When shapes do not fit; when a label map is of a float type or holds a class that the logits lack; when shares
        lie outside 0 to 1 or, with softmax, do not sum to 1.
    """
    if not isinstance(logits, torch.Tensor):
        raise ArgumentError(
            f"logits: expected one tensor; got {type(logits).__name__}. The outputs of deep supervision need "
            "itkit.criterion.DeepSupervision around the loss"
        )
    if logits.ndim < 3 or not logits.is_floating_point():
        raise ArgumentError(f"logits: expected floats (N, K, *spatial); got {logits.dtype} {tuple(logits.shape)}")
    logits = widened(logits)
    sigmoid = sigmoid or logits.shape[1] == 1
    if target.shape == logits.shape and (logits.shape[1] > 1 or target.is_floating_point()):
        shares, valid = _checked_shares(target, logits, sigmoid, ignore_index)
        return Pair(logits, sigmoid, None, shares, valid)
    labels = label_map(logits, target)
    valid = None if ignore_index is None else labels != ignore_index
    labels = labels if valid is None else labels.where(valid, 0)
    _check_labels(labels, max(2, logits.shape[1]), logits.shape[1])
    return Pair(logits, sigmoid, labels, None, valid)


def label_map(logits: Tensor, target: Tensor) -> Tensor:
    """Return a target of class numbers as int64 ``(N, *spatial)``.

    Raises
    ------
    ArgumentError
        When its shape does not fit the logits, or it holds floats.
    """
    labels = target[:, 0] if target.ndim == logits.ndim and target.shape[1] == 1 else target
    if labels.shape != logits.shape[:1] + logits.shape[2:]:
        raise ArgumentError(
            f"target: {tuple(target.shape)} does not fit logits {tuple(logits.shape)}; expected class numbers "
            f"(N, *spatial) or (N, 1, *spatial), or shares (N, K, *spatial)"
        )
    if target.is_floating_point() or target.is_complex():
        raise ArgumentError(
            f"target: class numbers must be integers; got {target.dtype}. Convert them with target.long(); soft labels "
            f"need a channel for each class, {tuple(logits.shape)}"
        )
    return labels.long()


def _check_labels(labels: Tensor, classes: int, channels: int) -> None:
    if torch.compiler.is_compiling() or not labels.numel():
        return
    low, high = (int(value) for value in labels.aminmax())
    if low < 0 or high >= classes:
        found = low if low < 0 else high
        logits = f"{channels} logits tell" if channels > 1 else "one logit tells"
        raise ArgumentError(
            f"target: holds class {found}; {logits} classes 0 to {classes - 1} apart. If these voxels are to be left "
            f"out, give ignore_index={found}"
        )


def _checked_shares(
    target: Tensor, logits: Tensor, sigmoid: bool, ignore_index: int | None
) -> tuple[Tensor, Tensor | None]:
    shares = target.to(logits.dtype)
    valid = None
    if ignore_index is not None:
        if 0 <= ignore_index < logits.shape[1] and logits.shape[1] > 1:
            valid = shares[:, ignore_index] < 0.5
        else:
            marked = (shares == ignore_index).any(1)
            valid = ~(marked if sigmoid else marked | (shares == 0).all(1))
        shares = shares.where(valid.unsqueeze(1), 0)
    if torch.compiler.is_compiling() or not shares.numel():
        return shares, valid
    low, high = (float(value) for value in shares.aminmax())
    if not (low >= 0 and high <= 1):
        raise ArgumentError(f"target: shares of classes must lie in 0 to 1; found {low:g} to {high:g}")
    if not sigmoid:
        total = shares.sum(1)
        off = (total - 1).abs() > _SUM_TOLERANCE
        if bool((off if valid is None else off & valid).any()):
            raise ArgumentError(
                f"target: the shares of a voxel must sum to 1; found sums of {float(total.min()):g} to "
                f"{float(total.max()):g}. Classes that overlap need sigmoid=True"
            )
    return shares, valid


def class_table(weights: Sequence[float] | Tensor | None, logits: Tensor) -> Tensor | None:
    """Return weights of classes as a tensor beside the logits: one for each class, two for one logit.

    Raises
    ------
    ArgumentError
        For another number of weights, or one that is negative or not finite.
    """
    if weights is None:
        return None
    table = torch.as_tensor(weights, dtype=logits.dtype, device=logits.device)
    channels = logits.shape[1]
    if table.ndim != 1 or table.numel() != max(2, channels):
        wanted = f"{channels} weights, one for each class" if channels > 1 else "2 weights (class 0, class 1)"
        raise ArgumentError(f"class_weights: expected {wanted}; got {tuple(table.shape)}")
    if not torch.compiler.is_compiling() and not bool((table.isfinite() & (table >= 0)).all()):
        raise ArgumentError(f"class_weights: expected finite weights of at least 0; got {table.tolist()}")
    return table
