"""The convolutional parts of UNETR, with MONAI's parameter names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.models.blocks.by_dims import CONV, TRANSPOSED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Norm = tuple[str, dict[str, Any]]
_NORMS: dict[str, tuple[type[nn.Module], ...]] = {
    "instance": (nn.InstanceNorm2d, nn.InstanceNorm3d),
    "batch": (nn.BatchNorm2d, nn.BatchNorm3d),
}


def parse_norm(norm_name: str | Sequence[Any]) -> Norm:
    """Read ``"instance"`` or ``("instance", {"affine": True})``; also batch and group.

    Raises
    ------
    ValueError
        For another norm.
    """
    name, options = (norm_name, {}) if isinstance(norm_name, str) else (norm_name[0], dict(*norm_name[1:]))
    if str(name).lower() not in {*_NORMS, "group"}:
        raise ValueError(f"norm_name must be instance, batch or group, alone or with options; got {norm_name!r}")
    return str(name).lower(), options


def make_norm(norm: Norm, channels: int, spatial_dims: int) -> nn.Module:
    """Create a norm over ``channels``."""
    name, options = norm
    if name == "group":
        return nn.GroupNorm(**{"num_channels": channels, **options})
    return _NORMS[name][spatial_dims - 2](channels, **options)


class Convolution(nn.Module):
    """A convolution under the inner name ``conv``."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolution."""
        return self.conv(x)  # type: ignore[no-any-return]


def doubling(in_channels: int, out_channels: int, spatial_dims: int) -> Convolution:
    """Create the transposed convolution that doubles every side."""
    return Convolution(TRANSPOSED[spatial_dims](in_channels, out_channels, 2, stride=2, bias=False))


class ConvBlock(nn.Module):
    """Two 3x3 convolutions with norms and leaky ReLU, with or without a residual path.

    ``always_project`` creates the residual path's convolution also where it goes unused, as release 0.6 did.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        spatial_dims: int,
        norm: Norm,
        *,
        residual: bool,
        always_project: bool = False,
    ) -> None:
        super().__init__()
        conv = CONV[spatial_dims]
        self.residual = residual
        self.project = in_channels != out_channels
        self.conv1 = Convolution(conv(in_channels, out_channels, 3, padding=1, bias=False))
        self.conv2 = Convolution(conv(out_channels, out_channels, 3, padding=1, bias=False))
        self.norm1 = make_norm(norm, out_channels, spatial_dims)
        self.norm2 = make_norm(norm, out_channels, spatial_dims)
        if residual and (self.project or always_project):
            self.conv3 = Convolution(conv(in_channels, out_channels, 1, bias=False))
            self.norm3 = make_norm(norm, out_channels, spatial_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, *spatial)`` to ``(N, out, *spatial)``."""
        out = self.norm2(self.conv2(functional.leaky_relu(self.norm1(self.conv1(x)), 0.01)))
        if self.residual:
            out = out + (self.norm3(self.conv3(x)) if self.project else x)
        return functional.leaky_relu(out, 0.01)


class StemBlock(nn.Module):
    """A convolution block under the inner name ``layer``."""

    def __init__(self, in_channels: int, out_channels: int, spatial_dims: int, norm: Norm, *, residual: bool) -> None:
        super().__init__()
        self.layer = ConvBlock(in_channels, out_channels, spatial_dims, norm, residual=residual)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, *spatial)`` to ``(N, out, *spatial)``."""
        return self.layer(x)  # type: ignore[no-any-return]


class ProjectionUp(nn.Module):
    """Transposed convolutions, ``stages + 1`` doublings in all, each later one with or without a block."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stages: int,
        spatial_dims: int,
        norm: Norm,
        *,
        conv_block: bool,
        residual: bool,
        always_project: bool,
    ) -> None:
        super().__init__()
        self.transp_conv_init = doubling(in_channels, out_channels, spatial_dims)

        def stage() -> nn.Module:
            up = doubling(out_channels, out_channels, spatial_dims)
            if not conv_block:
                return up
            options: Mapping[str, bool] = {"residual": residual, "always_project": always_project}
            return nn.Sequential(up, ConvBlock(out_channels, out_channels, spatial_dims, norm, **options))

        self.blocks = nn.ModuleList(stage() for _ in range(stages))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, *grid)`` to ``(N, out, *(grid * 2**(stages + 1)))``."""
        x = self.transp_conv_init(x)
        for block in self.blocks:
            x = block(x)
        return x


class DecoderUp(nn.Module):
    """Double, concatenate (upsampled first, then the skip), fuse."""

    def __init__(self, in_channels: int, out_channels: int, spatial_dims: int, norm: Norm, *, residual: bool) -> None:
        super().__init__()
        self.transp_conv = doubling(in_channels, out_channels, spatial_dims)
        self.conv_block = ConvBlock(2 * out_channels, out_channels, spatial_dims, norm, residual=residual)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map ``(N, in, *spatial)`` and its skip to ``(N, out, *double)``."""
        return self.conv_block(torch.cat([self.transp_conv(x), skip], 1))  # type: ignore[no-any-return]
