"""Embedding, downsampling, MLP and block of VMamba, with its parameter names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.models.blocks.by_dims import BATCH_NORM, CONV
from itkit.models.blocks.cross_scan import ChannelLinear, ChannelNorm
from itkit.models.blocks.drop_path import DropPath
from itkit.models.blocks.recompute import recompute
from itkit.models.vmamba.ss2d import ToChannelsFirst, ToChannelsLast, activation

if TYPE_CHECKING:
    from collections.abc import Callable

NORMS = ("ln", "ln2d", "bn")


def is_channels_first(norm_layer: str) -> bool:
    """Whether a norm works on channels-first maps."""
    return norm_layer in {"ln2d", "bn"}


def make_norm(norm_layer: str, channels: int, spatial_dims: int) -> nn.Module:
    """Create "ln" (channels last), "ln2d" or "bn" (channels first)."""
    if norm_layer == "bn":
        return BATCH_NORM[spatial_dims](channels)
    return (ChannelNorm if norm_layer == "ln2d" else nn.LayerNorm)(channels)


def make_linear(channels_first: bool, in_features: int, out_features: int, *, bias: bool = True) -> nn.Linear:
    """Create a linear layer over the channels."""
    return (ChannelLinear if channels_first else nn.Linear)(in_features, out_features, bias=bias)


def patch_embedding(
    in_channels: int, dim: int, patch_size: int, version: str, norm_layer: str, spatial_dims: int, *, norm: bool
) -> nn.Sequential:
    """Create the stem: one convolution without overlap ("v1") or two with overlap ("v2").

    Raises
    ------
    ValueError
        For another version.
    """
    conv, first = CONV[spatial_dims], is_channels_first(norm_layer)

    def normed(channels: int) -> list[nn.Module]:
        layer = make_norm(norm_layer, channels, spatial_dims) if norm else nn.Identity()
        return [nn.Identity() if first else ToChannelsLast(), layer]

    if version == "v1":
        return nn.Sequential(conv(in_channels, dim, patch_size, patch_size), *normed(dim))
    if version == "v2":
        stride = patch_size // 2
        return nn.Sequential(
            conv(in_channels, dim // 2, stride + 1, stride, 1),
            *normed(dim // 2),
            nn.Identity() if first else ToChannelsFirst(),
            nn.GELU(),
            conv(dim // 2, dim, stride + 1, stride, 1),
            *normed(dim),
        )
    raise ValueError(f"patchembed_version: expected v1 or v2; got {version!r}")


def merge_patches(x: Tensor) -> Tensor:
    """Put the 2x2 (2x2x2) cells of ``(N, *spatial, C)`` on the channels; the first spatial axis alternates fastest.

    Odd sides are padded with zeros at their end.
    """
    dims = x.ndim - 2
    odd = [n for side in reversed(x.shape[1:-1]) for n in (0, side % 2)]
    x = functional.pad(x, (0, 0, *odd)) if any(odd) else x
    parts = []
    for code in range(2**dims):
        starts = (slice(code >> axis & 1, None, 2) for axis in range(dims))
        cell = (slice(None), *starts)
        parts.append(x[cell])
    return torch.cat(parts, -1)


class PatchMerging(nn.Module):
    """Cells of two voxels a side joined on the channels, norm, linear."""

    def __init__(self, dim: int, out_dim: int, norm_layer: str, spatial_dims: int) -> None:
        super().__init__()
        self.channels_first = is_channels_first(norm_layer)
        self.reduction = make_linear(self.channels_first, 2**spatial_dims * dim, out_dim, bias=False)
        self.norm = make_norm(norm_layer, 2**spatial_dims * dim, spatial_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Halve every side, rounding up."""
        merged = merge_patches(x.movedim(1, -1)).movedim(-1, 1) if self.channels_first else merge_patches(x)
        out: Tensor = self.reduction(self.norm(merged))
        return out


def downsampling(dim: int, out_dim: int, version: str, norm_layer: str, spatial_dims: int) -> nn.Module:
    """Create what halves the sides between stages: "v1" merging, "v2" or "v3" strided convolution, or "none".

    Raises
    ------
    ValueError
        For another version.
    """
    if version == "v1":
        return PatchMerging(dim, out_dim, norm_layer, spatial_dims)
    if version == "none":
        return nn.Identity()
    if version not in {"v2", "v3"}:
        raise ValueError(f"downsample_version: expected v1, v2, v3 or none; got {version!r}")
    first = is_channels_first(norm_layer)
    kernel, padding = (2, 0) if version == "v2" else (3, 1)
    return nn.Sequential(
        nn.Identity() if first else ToChannelsFirst(),
        CONV[spatial_dims](dim, out_dim, kernel, 2, padding),
        nn.Identity() if first else ToChannelsLast(),
        make_norm(norm_layer, out_dim, spatial_dims),
    )


class MLP(nn.Module):
    """Two linear layers with an activation, or with a gated one."""

    def __init__(
        self, dim: int, hidden: int, act_layer: str, drop: float, *, channels_first: bool, gated: bool = False
    ) -> None:
        super().__init__()
        self.axis = 1 if channels_first else -1
        self.gated = gated
        self.fc1 = make_linear(channels_first, dim, 2 * hidden if gated else hidden)
        self.act = activation(act_layer, "mlp_act_layer")
        self.fc2 = make_linear(channels_first, hidden, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        x = self.fc1(x)
        if self.gated:
            value, gate = x.chunk(2, dim=self.axis)
            x = value * self.act(gate)
        else:
            x = self.drop(self.act(x))
        out: Tensor = self.drop(self.fc2(x))
        return out


class VSSBlock(nn.Module):
    """Pre-norm scan layer and pre-norm MLP, each with a residual path; either may be absent."""

    def __init__(
        self,
        dim: int,
        norm: Callable[[int], nn.Module],
        op: Callable[[int], nn.Module] | None,
        mlp: Callable[[int], nn.Module] | None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.has_op, self.has_mlp = op is not None, mlp is not None
        if op is not None:
            self.norm = norm(dim)
            self.op = op(dim)
        if mlp is not None:
            self.norm2 = norm(dim)
            self.mlp = mlp(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        if self.has_op:
            x = x + self.drop_path(self.op(self.norm(x)))
        if self.has_mlp:
            x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x


class Stage(nn.Module):
    """Blocks on one grid, and what leads to the next one."""

    def __init__(self, blocks: list[VSSBlock], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.downsample = downsample

    def forward(self, x: Tensor, *, use_checkpoint: bool = False) -> tuple[Tensor, Tensor]:
        """Return the blocks' map, and the map that goes on."""
        for block in self.blocks:
            x = recompute(block, x) if use_checkpoint else block(x)
        return x, x if self.downsample is None else self.downsample(x)
