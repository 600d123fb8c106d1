"""The MedNeXt block: depthwise convolution, norm, expansion, GELU, projection; plain, down and up."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.models.blocks.by_dims import CONV, TRANSPOSED


class ChannelNorm(nn.Module):
    """Layer norm over the channel axis at every position; biased variance, eps 1e-5; for 2-D and 3-D.

    The authors' form broadcasts over three trailing axes and so serves 3-D only; this one agrees with it there.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(N, C, *spatial)``."""
        mean = x.mean(1, keepdim=True)
        centred = x - mean
        scaled = centred * torch.rsqrt(centred.square().mean(1, keepdim=True) + 1e-5)
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return scaled * self.weight.view(shape) + self.bias.view(shape)


class Block(nn.Module):
    """A plain block; down and up blocks change its convolution and its residual path.

    Parameters
    ----------
    channels, out_channels
        Channels in and out.
    expansion
        Factor by which the hidden channels exceed ``channels``.
    kernel_size
        Odd side of the depthwise kernel.
    residual
        Add the input (for down and up blocks: a strided 1x1 convolution of it).
    norm_type
        ``"group"`` (one channel a group) or ``"layer"``.
    spatial_dims
        2 or 3.
    grn
        Global response normalisation (Woo et al., ConvNeXt V2, arXiv:2301.00808) after the GELU.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        *,
        expansion: int,
        kernel_size: int,
        residual: bool,
        norm_type: str,
        spatial_dims: int,
        grn: bool,
    ) -> None:
        super().__init__()
        conv = CONV[spatial_dims]
        hidden = expansion * channels
        self.residual = residual
        self.grn = grn
        self.spatial_dims = spatial_dims
        self.conv1 = self._depthwise(channels, kernel_size)
        self.norm = nn.GroupNorm(channels, channels) if norm_type == "group" else ChannelNorm(channels)
        self.conv2 = conv(channels, hidden, 1)
        self.conv3 = conv(hidden, out_channels, 1)
        if grn:
            shape = (1, hidden) + (1,) * spatial_dims
            self.grn_beta = nn.Parameter(torch.zeros(shape))
            self.grn_gamma = nn.Parameter(torch.zeros(shape))
        self._make_residual(channels, out_channels)

    def _depthwise(self, channels: int, kernel_size: int) -> nn.Module:
        return CONV[self.spatial_dims](channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)

    def _make_residual(self, channels: int, out_channels: int) -> None:
        """Create the residual path's parameters; a plain block has none."""

    def _body(self, x: Tensor) -> Tensor:
        x = functional.gelu(self.conv2(self.norm(self.conv1(x))))
        if self.grn:
            axes = tuple(range(2, x.ndim))
            energy = torch.linalg.vector_norm(x, dim=axes, keepdim=True)
            response = energy / (energy.mean(1, keepdim=True) + 1e-6)
            x = self.grn_gamma * (x * response) + self.grn_beta + x
        return self.conv3(x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, channels, *spatial)`` to the same size."""
        return x + self._body(x) if self.residual else self._body(x)


class DownBlock(Block):
    """Halves every side (rounding up)."""

    def _depthwise(self, channels: int, kernel_size: int) -> nn.Module:
        padding = kernel_size // 2
        return CONV[self.spatial_dims](channels, channels, kernel_size, stride=2, padding=padding, groups=channels)

    def _make_residual(self, channels: int, out_channels: int) -> None:
        if self.residual:
            self.res_conv = CONV[self.spatial_dims](channels, out_channels, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, channels, *spatial)`` to ``(N, out_channels, *half)``."""
        return self._body(x) + self.res_conv(x) if self.residual else self._body(x)


class UpBlock(Block):
    """Doubles every side; the first plane of each axis is zero, as in the authors' form."""

    def _depthwise(self, channels: int, kernel_size: int) -> nn.Module:
        padding = kernel_size // 2
        return TRANSPOSED[self.spatial_dims](
            channels, channels, kernel_size, stride=2, padding=padding, groups=channels
        )

    def _make_residual(self, channels: int, out_channels: int) -> None:
        if self.residual:
            self.res_conv = TRANSPOSED[self.spatial_dims](channels, out_channels, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, channels, *spatial)`` to ``(N, out_channels, *double)``."""
        widths = [1, 0] * self.spatial_dims
        out = functional.pad(self._body(x), widths)
        return out + functional.pad(self.res_conv(x), widths) if self.residual else out
