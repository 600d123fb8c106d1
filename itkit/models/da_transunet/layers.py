"""Dual attention and transformer layers of DA-TransUNet.

Sources: G. Sun et al., DA-TransUNet, Front. Bioeng. Biotechnol. 12 (2024), arXiv:2310.12570; A. Dosovitskiy et al., "An
image is worth 16x16 words", ICLR 2021, arXiv:2010.11929.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from itkit.models.blocks.dual_attention import ChannelAttention, PositionAttention

NORM_EPS = 1e-6


class DualAttentionBlock(nn.Module):
    """DA block: position and channel attention on a part of the channels; replaces its input.

    ``conv6`` and ``conv7`` belong to the authors' files but take no part.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        inner = channels // reduction
        self.conv5a = _attention_conv(channels, inner)
        self.conv5c = _attention_conv(channels, inner)
        self.sa = PositionAttention(inner)
        self.sc = ChannelAttention()
        self.conv51 = _attention_conv(inner, inner)
        self.conv52 = _attention_conv(inner, inner)
        self.conv6 = _attention_output(inner, channels)
        self.conv7 = _attention_output(inner, channels)
        self.conv8 = _attention_output(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Refine ``(N, C, Y, X)``; shape kept."""
        by_position = self.conv51(self.sa(self.conv5a(x)))
        by_channel = self.conv52(self.sc(self.conv5c(x)))
        out: Tensor = self.conv8(by_position + by_channel)
        return out


def _attention_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.95),
        nn.ReLU(),
    )


def _attention_output(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Dropout2d(0.05), nn.Conv2d(in_channels, out_channels, 1), nn.ReLU())


class Attention(nn.Module):
    """Multi-head self-attention with one linear layer each for query, key, value and output."""

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend within ``(N, T, C)``; shape kept."""
        query, key, value = (
            layer(tokens).reshape(*tokens.shape[:2], self.heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        rate = self.dropout if self.training else 0.0
        attended = functional.scaled_dot_product_attention(query, key, value, dropout_p=rate)
        return functional.dropout(self.out(attended.transpose(1, 2).flatten(2)), self.dropout, self.training)


class Mlp(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, channels: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, inner)
        self.fc2 = nn.Linear(inner, channels)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(N, T, C)``; shape kept."""
        out: Tensor = self.dropout(self.fc2(self.dropout(functional.gelu(self.fc1(tokens)))))
        return out


class TransformerLayer(nn.Module):
    """Pre-norm attention and multi-layer perceptron, each with a residual."""

    def __init__(self, channels: int, inner: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(channels, eps=NORM_EPS)
        self.ffn_norm = nn.LayerNorm(channels, eps=NORM_EPS)
        self.ffn = Mlp(channels, inner, dropout)
        self.attn = Attention(channels, heads, attention_dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Refine ``(N, T, C)``; shape kept."""
        tokens = tokens + self.attn(self.attention_norm(tokens))
        out: Tensor = tokens + self.ffn(self.ffn_norm(tokens))
        return out
