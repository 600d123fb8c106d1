"""Weights changed to fit a network of another shape: heads, input channels, 2-D to 3-D, positions, kernels."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.models.blocks.by_dims import resize

if TYPE_CHECKING:
    from collections.abc import Sequence

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """Which weights may be changed to fit, and how.

    Attributes
    ----------
    head_keys, stem_keys
        Regular expressions (searched) of the parameters whose shapes follow the number of classes, and of those whose
        shapes follow the number of input channels: the network's card names them.
    head_inputs
        Parameters whose inputs follow the number of classes.
    in_channels, num_classes
        Channels of the network that is filled.
    image_size
        Fixed input size, for position embeddings.
    position_grid
        Grid of the file's position embeddings, ZYX or YX; by default one of equal sides, or of the network's
        proportions.
    inflate
        ``"mean"`` spreads a 2-D kernel evenly over depth, ``"centre"`` puts it into the middle plane.
    head
        ``"new"`` leaves a head of another number of classes as initialised, ``"copy"`` copies the first classes.
    resize_kernels
        Resize kernels of another size linearly (UpKern).
    """

    head_keys: tuple[str, ...] = ()
    stem_keys: tuple[str, ...] = ()
    head_inputs: tuple[str, ...] = ()
    in_channels: int | None = None
    num_classes: int | None = None
    image_size: tuple[int, ...] | None = None
    position_grid: tuple[int, ...] | None = None
    inflate: str = "mean"
    head: str = "new"
    resize_kernels: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """What a tensor of a file became.

    Attributes
    ----------
    value
        The network's new tensor; None where the network keeps its own.
    how
        What was done; empty when the tensor was copied as it is.
    """

    value: Tensor | None
    how: str = ""


def adapt(key: str, source: Tensor, target: Tensor, owner: nn.Module, rules: Rules) -> Fitted | None:
    """Make ``source`` fit ``target``.

    Parameters
    ----------
    key
        The parameter's name.
    source, target
        Value from the file, and the network's own.
    owner
        Module that owns the parameter: a transposed convolution has its axes in another order.

    Returns
    -------
    Fitted or None
        None when no rule applies.
    """
    if target.is_floating_point() and not source.is_floating_point():
        return None  # quantised weights mean nothing without their scales
    if source.shape == target.shape and not (_is_position(key) and rules.position_grid):
        return Fitted(value=source)
    done: list[str] = []
    value = source
    if value.ndim == 4 and target.ndim == 5 and value.shape[2:] == target.shape[3:]:
        value = _inflate(value, target.shape[2], owner, rules.inflate)
        done.append(f"inflated to depth {target.shape[2]} ({rules.inflate})")
    if _is_position(key) and (resized := _resize_positions(value, target, rules)) is not None:
        done += [] if resized is value else ["positions interpolated"]
        value = resized
    if (
        rules.resize_kernels
        and value.ndim == target.ndim >= 4
        and value.shape[:2] == target.shape[:2]
        and value.shape != target.shape
    ):
        done.append(f"kernel resized from {tuple(value.shape[2:])}")
        value = resize(value.float(), target.shape[2:])
    if _is_one_of(key, rules.stem_keys) and (changed := _fit_input(value, target, owner, rules)) is not None:
        value, how = changed
        done.append(how)
    if value.shape != target.shape and (axes := _class_axes(key, owner, value, rules)):
        head = _fit_head(value, target, axes, rules)
        return None if head is None else Fitted(value=head.value, how=", ".join([*done, head.how]))
    return Fitted(value=value, how=", ".join(done)) if value.shape == target.shape else None


def _class_axes(key: str, owner: nn.Module, value: Tensor, rules: Rules) -> list[int]:
    """Return the axes of a parameter that follow the number of classes."""
    inputs, outputs = (0, 1) if isinstance(owner, _TRANSPOSED) and value.ndim > 1 else (1, 0)
    axes = [outputs] if _is_one_of(key, rules.head_keys) else []
    return axes + ([inputs] if _is_one_of(key, rules.head_inputs) else [])


def _is_one_of(key: str, patterns: Sequence[str]) -> bool:
    return any(re.search(pattern, key) for pattern in patterns)


def _differing_axes(source: Tensor, target: Tensor) -> list[int]:
    if source.ndim != target.ndim:
        return [-1]
    return [axis for axis, (old, new) in enumerate(zip(source.shape, target.shape, strict=True)) if old != new]


def _fit_input(value: Tensor, target: Tensor, owner: nn.Module, rules: Rules) -> tuple[Tensor, str] | None:
    axis = 0 if isinstance(owner, _TRANSPOSED) else 1
    wanted = rules.in_channels
    if value.ndim < 2 or getattr(owner, "groups", 1) != 1 or _differing_axes(value, target) != [axis] or not wanted:
        return None
    # a linear layer over patches has the channel as the last part of its inputs, a convolution nothing else
    positions = target.shape[axis] // wanted
    if positions * wanted != target.shape[axis] or value.shape[axis] % positions:
        return None
    given = value.shape[axis] // positions
    split = value.unflatten(axis, (positions, given))
    total = split.sum(axis + 1, keepdim=True)
    sizes = [wanted if index == axis + 1 else -1 for index in range(split.ndim)]
    if wanted == 1:
        how = f"{given} input channels summed into 1"
    elif given == 1:
        how = f"1 input channel shared out over {wanted}"
    else:
        how = f"{given} input channels averaged over {wanted}"
    return (total / wanted).expand(sizes).flatten(axis, axis + 1), how


def _fit_head(value: Tensor, target: Tensor, axes: Sequence[int], rules: Rules) -> Fitted | None:
    """Leave a head of another number of classes, or copy its first ones; None where more differs than classes."""
    differing = _differing_axes(value, target)
    if not set(differing) <= set(axes):
        return None
    axis = differing[0]
    given, wanted = value.shape[axis], target.shape[axis]
    word = "classes" if wanted == rules.num_classes else "channels"
    if rules.head == "new" or len(axes) > 1:
        return Fitted(value=None, how=f"head of {given} {word} left as initialised for {wanted}")
    shared = min(given, wanted)
    filled = target.clone()
    filled.narrow(axis, 0, shared).copy_(value.narrow(axis, 0, shared))
    if shared < wanted:
        return Fitted(
            value=filled, how=f"first {shared} {word} copied from a head of {given}, the others as initialised"
        )
    return Fitted(value=filled, how=f"first {shared} {word} copied from a head of {given}")


def _inflate(value: Tensor, depth: int, owner: nn.Module, how: str) -> Tensor:
    stacked = value.unsqueeze(2).expand(-1, -1, depth, -1, -1)
    if how == "centre":
        mask = torch.zeros(depth, dtype=value.dtype)
        mask[depth // 2] = 1
        return stacked * mask.view(1, 1, -1, 1, 1)
    stride = owner.stride[0] if isinstance(owner, nn.ConvTranspose3d) else 1
    return stacked / max(1, depth // stride)


def _is_position(key: str) -> bool:
    last = key.rsplit(".", 1)[-1]
    return "pos" in last and "embed" in last


def _resize_positions(value: Tensor, target: Tensor, rules: Rules) -> Tensor | None:
    if value.ndim == target.ndim == 3 and value.shape[::2] == target.shape[::2] and rules.image_size is not None:
        new = _grid_of(target.shape[1], rules.image_size)
        old = rules.position_grid or (None if new is None else old_grid(value.shape[1], new))
        if new is None or old is None or math.prod(old) != value.shape[1] or len(old) != len(new):
            return None
        if old == new:
            return value
        cells = value.float().transpose(1, 2).reshape(1, value.shape[2], *old)
        mode = {2: "bicubic", 3: "trilinear"}[len(new)]
        return functional.interpolate(cells, size=new, mode=mode).flatten(2).transpose(1, 2)
    if value.ndim == target.ndim and value.ndim >= 4 and value.shape[:2] == target.shape[:2]:
        return resize(value.float(), target.shape[2:])
    return None


def _grid_of(tokens: int, image_size: Sequence[int]) -> tuple[int, ...] | None:
    """Return the grid of a network's own tokens, whose patches have equal sides."""
    patch = round((math.prod(image_size) / tokens) ** (1 / len(image_size)))
    grid = tuple(side // patch for side in image_size)
    return grid if math.prod(grid) == tokens else None


def old_grid(tokens: int, new: Sequence[int]) -> tuple[int, ...] | None:
    """Return the grid of a number of tokens as far as the number tells: equal sides, or ``new``'s proportions.

    Examples
    --------
    >>> old_grid(216, (4, 8, 8)), old_grid(32, (4, 8, 8)), old_grid(30, (4, 8, 8))
    ((6, 6, 6), (2, 4, 4), None)
    """
    dims = len(new)
    side = round(tokens ** (1 / dims))
    if side**dims == tokens:
        return (side,) * dims
    factor = (tokens / math.prod(new)) ** (1 / dims)
    scaled = tuple(round(length * factor) for length in new)
    proportional = all(
        math.isclose(length * factor, got, rel_tol=1e-6) for length, got in zip(new, scaled, strict=True)
    )
    return scaled if proportional and math.prod(scaled) == tokens else None
