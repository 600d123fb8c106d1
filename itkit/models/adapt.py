"""Weights changed to fit a network of another shape: heads, input channels, 2-D to 3-D, positions, kernels."""

from __future__ import annotations

import math
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
    in_channels, num_classes
        Channels of the network that is filled; None where they are unknown; weights that depend
        on them then stay as they are.
    image_size
        Fixed input size, for position embeddings.
    inflate
        ``"mean"`` spreads a 2-D kernel evenly over depth, ``"centre"`` puts it into the middle plane.
    head
        ``"new"`` leaves a head of another number of classes as initialised, ``"copy"`` copies the first classes.
    resize_kernels
        Resize kernels of another size linearly (UpKern).
    """

    in_channels: int | None = None
    num_classes: int | None = None
    image_size: tuple[int, ...] | None = None
    inflate: str = "mean"
    head: str = "new"
    resize_kernels: bool = False


def adapt(key: str, source: Tensor, target: Tensor, owner: nn.Module, rules: Rules) -> tuple[Tensor, str] | None:
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
    tuple or None
        The new value and, unless the shapes agree, what was done; None when no rule applies.
    """
    if source.shape == target.shape:
        return source, ""
    done: list[str] = []
    value = source
    if value.ndim == 4 and target.ndim == 5 and value.shape[2:] == target.shape[3:]:
        value = _inflate(value, target.shape[2], owner, rules.inflate)
        done.append(f"inflated to depth {target.shape[2]} ({rules.inflate})")
    if _is_position(key) and (resized := _resize_positions(value, target, rules.image_size)) is not None:
        value = resized
        done.append("positions interpolated")
    if (
        rules.resize_kernels
        and value.ndim == target.ndim >= 4
        and value.shape[:2] == target.shape[:2]
        and value.shape != target.shape
    ):
        done.append(f"kernel resized from {tuple(value.shape[2:])}")
        value = resize(value.float(), target.shape[2:])
    for change in (_fit_input, _fit_head):
        if (changed := change(value, target, owner, rules)) is not None:
            value, how = changed
            done.append(how)
    return (value, ", ".join(done)) if value.shape == target.shape and done else None


def _differing_axes(source: Tensor, target: Tensor) -> list[int]:
    if source.ndim != target.ndim:
        return [-1]
    return [axis for axis, (old, new) in enumerate(zip(source.shape, target.shape, strict=True)) if old != new]


def _fit_input(value: Tensor, target: Tensor, owner: nn.Module, rules: Rules) -> tuple[Tensor, str] | None:
    axis = 0 if isinstance(owner, _TRANSPOSED) else 1
    wanted = rules.in_channels
    if value.ndim < 3 or getattr(owner, "groups", 1) != 1 or _differing_axes(value, target) != [axis]:
        return None
    if wanted is None or target.shape[axis] != wanted:
        return None
    given = value.shape[axis]
    total = value.sum(axis, keepdim=True)
    sizes = [wanted if index == axis else -1 for index in range(value.ndim)]
    if wanted == 1:
        how = f"{given} input channels summed into 1"
    elif given == 1:
        how = f"1 input channel shared out over {wanted}"
    else:
        how = f"{given} input channels averaged over {wanted}"
    return (total / wanted).expand(sizes), how


def _fit_head(value: Tensor, target: Tensor, owner: nn.Module, rules: Rules) -> tuple[Tensor, str] | None:
    axis = 1 if isinstance(owner, _TRANSPOSED) and value.ndim > 1 else 0
    wanted = rules.num_classes
    if wanted is None or _differing_axes(value, target) != [axis] or target.shape[axis] != wanted:
        return None
    given = value.shape[axis]
    if rules.head == "new":
        return target, f"head of {given} classes left as initialised for {wanted}"
    shared = min(given, wanted)
    filled = target.clone()
    filled.narrow(axis, 0, shared).copy_(value.narrow(axis, 0, shared))
    return filled, f"first {shared} classes copied from a head of {given}"


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


def _resize_positions(value: Tensor, target: Tensor, image_size: Sequence[int] | None) -> Tensor | None:
    if value.ndim == target.ndim == 3 and value.shape[::2] == target.shape[::2] and image_size is not None:
        dims = len(image_size)
        old_side = round(value.shape[1] ** (1 / dims))
        patch = round((math.prod(image_size) / target.shape[1]) ** (1 / dims))
        grid = [side // patch for side in image_size]
        if old_side**dims != value.shape[1] or math.prod(grid) != target.shape[1]:
            return None
        cube = value.float().transpose(1, 2).reshape(1, value.shape[2], *[old_side] * dims)
        mode = {2: "bicubic", 3: "trilinear"}[dims]
        return functional.interpolate(cube, size=grid, mode=mode).flatten(2).transpose(1, 2)
    if value.ndim == target.ndim and value.ndim >= 4 and value.shape[:2] == target.shape[:2]:
        return resize(value.float(), target.shape[2:])
    return None
