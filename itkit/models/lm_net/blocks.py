"""Re-parameterised convolutions, local and global attention, and skip fusions of LM-Net.

Source: Z. Lu et al., "LM-Net: A light-weight and multi-scale network for medical image segmentation", Computers in
Biology and Medicine 168 (2024), arXiv:2501.03838; repository Asunatan/LM-Net. Local attention: A. Hassani et al.,
"Neighborhood attention transformer", CVPR 2023, arXiv:2204.07143.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WINDOW = 3
"""Side of the neighbourhood of local attention."""


def enlarged(conv: nn.Conv2d) -> nn.Sequential:
    """Make a convolution that sees its input doubled bilinearly, corner pixels aligned."""
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), conv)


class SqueezeExcite(nn.Module):
    """Channel gate from the global mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 4, 1)
        self.fc2 = nn.Conv2d(channels // 4, channels, 1)
        for conv in (self.fc1, self.fc2):
            nn.init.kaiming_normal_(conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of ``(N, C, Y, X)``; shape kept."""
        return x * functional.hardsigmoid(self.fc2(functional.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class DepthwiseBranch(nn.Module):
    """Depthwise convolution that keeps the size, then batch normalisation."""

    def __init__(self, channels: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.conv = nn.Conv2d(channels, channels, kernel, padding=padding, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, Y, X)``; shape kept."""
        out: Tensor = self.bn(self.conv(x))
        return out

    def fused(self, side: int) -> tuple[Tensor, Tensor]:
        """Return kernel (padded to ``side``) and bias of the one convolution that does the same in evaluation."""
        if self.bn.running_var is None or self.bn.running_mean is None:
            raise ValueError("batch normalisation keeps no statistics; it can't be fused")
        scale = self.bn.weight / (self.bn.running_var + self.bn.eps).sqrt()
        rows, columns = ((side - length) // 2 for length in self.conv.weight.shape[2:])
        kernel = functional.pad(self.conv.weight * scale[:, None, None, None], (columns, columns, rows, rows))
        return kernel, self.bn.bias - self.bn.running_mean * scale


class ReparamConv(nn.Module):
    """Inverted bottleneck whose four depthwise branches fuse into one for deployment.

    Parameters
    ----------
    in_channels, expanded, out_channels
        Channels of the input, inside and of the output.
    """

    def __init__(self, in_channels: int, expanded: int, out_channels: int) -> None:
        super().__init__()
        self.se = SqueezeExcite(expanded)
        self.expand_conv = nn.Sequential(nn.Conv2d(in_channels, expanded, 1), nn.BatchNorm2d(expanded), nn.Hardswish())
        self.large_conv = DepthwiseBranch(expanded, (5, 5))
        self.square_conv = DepthwiseBranch(expanded, (3, 3))
        self.ver_conv = DepthwiseBranch(expanded, (3, 1))
        self.hor_conv = DepthwiseBranch(expanded, (1, 3))
        self.pointwise_conv = nn.Sequential(nn.Conv2d(expanded, out_channels, 1))
        self.shortcut = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1))
        self.deployed = False

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, Y, X)`` to ``(N, out, Y, X)``."""
        z = self.expand_conv(x)
        if self.deployed:
            y = self.fuse_conv(z)
        else:
            y = self.large_conv(z) + self.square_conv(z) + self.ver_conv(z) + self.hor_conv(z)
        out: Tensor = self.pointwise_conv(self.se(functional.gelu(y))) + self.shortcut(x)
        return out

    @torch.no_grad()
    def deploy(self) -> None:
        """Fuse the branches in place; ``large_conv`` stays, unused, as it does in the authors' deployed files."""
        if self.deployed:
            return
        branches = (self.large_conv, self.square_conv, self.ver_conv, self.hor_conv)
        kernels, biases = zip(*(branch.fused(5) for branch in branches), strict=True)
        channels = kernels[0].shape[0]
        self.fuse_conv = nn.Conv2d(channels, channels, 5, padding=2, groups=channels).to(kernels[0])
        self.fuse_conv.weight.copy_(torch.stack(kernels).sum(0))
        self.fuse_conv.bias.copy_(torch.stack(biases).sum(0))  # type: ignore[union-attr]  # built with a bias
        del self.square_conv, self.ver_conv, self.hor_conv
        self.deployed = True


class Mlp(nn.Sequential):
    """Two linear layers, twice as wide inside, with dropout."""

    def __init__(self, channels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 2 * channels)
        self.act = nn.GELU()
        self.drop1 = nn.Dropout(dropout)
        self.fc2 = nn.Linear(2 * channels, channels)
        self.drop2 = nn.Dropout(dropout)


class PatchEmbedding(nn.Module):
    """3x3 convolution, then channels last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.patch_embeddings = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, Y, X)`` to ``(N, Y, X, C)``."""
        out: Tensor = self.patch_embeddings(x).permute(0, 2, 3, 1)
        return out


def _windows(length: int, device: torch.device) -> Tensor:
    """Return the three positions that each of ``length`` positions attends to: ``(length, 3)``."""
    centre = torch.arange(length, device=device)
    start = (centre - WINDOW // 2).clamp(0, length - WINDOW)
    return start[:, None] + torch.arange(WINDOW, device=device)


class NeighbourhoodAttention(nn.Module):
    """Each pixel attends to the 3x3 window around it, moved inside the image at the border.

    Parameters
    ----------
    channels, heads
        Width and number of heads.
    rel_pos_bias
        Whether scores have a learnt bias for each offset.
    """

    def __init__(self, channels: int, heads: int, *, rel_pos_bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.rpb: nn.Parameter | None = None
        if rel_pos_bias:
            self.rpb = nn.Parameter(torch.empty(heads, 2 * WINDOW - 1, 2 * WINDOW - 1))
            nn.init.trunc_normal_(self.rpb, std=0.02)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within ``(N, Y, X, C)``; shape kept."""
        rows, columns = x.shape[1:3]
        if min(rows, columns) < WINDOW:
            x = functional.pad(x, (0, 0, 0, max(0, WINDOW - columns), 0, max(0, WINDOW - rows)))
        count, height, width, channels = x.shape
        qkv = self.qkv(x).view(count, height, width, 3, self.heads, channels // self.heads)
        query, key, value = qkv.unbind(3)
        query = query * (channels // self.heads) ** -0.5
        near_y, near_x = _windows(height, x.device), _windows(width, x.device)
        key, value = (t[:, near_y][:, :, :, near_x] for t in (key, value))  # (N, Y, 3, X, 3, heads, channels)
        scores = torch.einsum("nyxhc,nyixjhc->nyxhij", query, key)
        if self.rpb is not None:
            offset_y = near_y - torch.arange(height, device=x.device)[:, None] + WINDOW - 1
            offset_x = near_x - torch.arange(width, device=x.device)[:, None] + WINDOW - 1
            bias = self.rpb[:, offset_y[:, None, :, None], offset_x[None, :, None, :]]  # (heads, Y, X, 3, 3)
            scores = scores + bias.permute(1, 2, 0, 3, 4)
        weights = scores.flatten(-2).softmax(-1).view_as(scores)
        gathered = torch.einsum("nyxhij,nyixjhc->nyxhc", weights, value).flatten(3)
        out: Tensor = self.proj(gathered[:, :rows, :columns])
        return out


class NeighbourhoodBlock(nn.Module):
    """Transformer block with local attention; the residual is the embedding."""

    def __init__(self, channels: int, heads: int, *, rel_pos_bias: bool = True) -> None:
        super().__init__()
        self.patchembedding = PatchEmbedding(channels)
        self.norm1 = nn.LayerNorm(channels)
        self.att1 = NeighbourhoodAttention(channels, heads, rel_pos_bias=rel_pos_bias)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``(N, C, Y, X)``; shape kept."""
        x = self.patchembedding(x)
        x = x + self.att1(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x.permute(0, 3, 1, 2)


class GlobalAttention(nn.Module):
    """Multi-head attention between all tokens."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        for linear in (self.qkv, self.proj):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend within ``(N, T, C)``; shape kept."""
        query, key, value = self.qkv(tokens).reshape(*tokens.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return out


class GlobalFusion(nn.Module):
    """GFT: transformer block over the concatenated levels, then a 1x1 convolution."""

    def __init__(self, channels: int, out_channels: int, heads: int) -> None:
        super().__init__()
        self.patchembedding = PatchEmbedding(channels)
        self.norm1 = nn.LayerNorm(channels)
        self.attention = GlobalAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels)
        self.conv = nn.Sequential(nn.Conv2d(channels, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, Y, X)`` to ``(N, out, Y, X)``."""
        height, width = x.shape[2:]
        tokens = self.patchembedding(x).flatten(1, 2)
        tokens = tokens + self.attention(self.norm1(tokens))
        tokens = tokens + self.mlp(self.norm2(tokens))
        out: Tensor = self.conv(tokens.transpose(1, 2).reshape(x.shape[0], -1, height, width))
        return out


class SkipFusion(nn.Module):
    """Brings two or three neighbouring levels to one resolution and fuses them.

    Parameters
    ----------
    finer, same, coarser
        Channels of the maps, finest first; ``same`` is None where only two are fused.
    out_channels
        Channels of the result.
    stride
        Of the convolution on the finest map.
    up
        Whether the coarsest map is enlarged by two.
    """

    def __init__(
        self, finer: int, same: int | None, coarser: int, out_channels: int, *, stride: int = 2, up: bool = True
    ) -> None:
        super().__init__()
        self.convl = nn.Sequential(nn.Conv2d(finer, out_channels, 3, stride, padding=1))
        self.convm = None if same is None else nn.Sequential(nn.Conv2d(same, out_channels, 3, padding=1))
        conv = nn.Conv2d(coarser, out_channels, 3, padding=1)
        self.convs = enlarged(conv) if up else nn.Sequential(conv)
        branches = 2 if same is None else 3
        self.fuse_conv = nn.Sequential(
            nn.Conv2d(branches * out_channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels), nn.GELU()
        )

    def forward(self, *maps: Tensor) -> Tensor:
        """Fuse maps, finest first, to ``(N, out, Y, X)``."""
        branches = [self.convl(maps[0])]
        if self.convm is not None:
            branches.append(self.convm(maps[1]))
        branches.append(self.convs(maps[-1]))
        fused: Tensor = self.fuse_conv(torch.cat(branches, dim=1))
        return fused
