"""The vision transformer of UNETR, with the parameter names of MONAI's releases."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from itkit.models.blocks.by_dims import CONV

if TYPE_CHECKING:
    from collections.abc import Sequence

LAYERS = 12
PATCH = 16


class Patches(nn.Module):
    """Cut ``(N, C, *spatial)`` into flat patches ``(N, T, 16**d * C)``, the channel fastest."""

    def forward(self, image: Tensor) -> Tensor:
        """Order tokens and positions as the image's axes, last axis fastest."""
        batch, channels, *size = image.shape
        dims = len(size)
        split = [part for side in size for part in (side // PATCH, PATCH)]
        x = image.reshape(batch, channels, *split)
        grid_axes = [2 + 2 * axis for axis in range(dims)]
        x = x.permute(0, *grid_axes, *(axis + 1 for axis in grid_axes), 1)
        return x.reshape(batch, -1, PATCH**dims * channels)


class PatchEmbedding(nn.Module):
    """Patches to tokens, plus a learned position each."""

    def __init__(
        self,
        in_channels: int,
        image_size: Sequence[int],
        hidden_size: int,
        proj_type: str,
        dropout_rate: float,
        *,
        class_token: bool,
    ) -> None:
        super().__init__()
        dims = len(image_size)
        tokens = math.prod(side // PATCH for side in image_size)
        self.patch_embeddings: nn.Module
        if proj_type == "conv":
            self.patch_embeddings = CONV[dims](in_channels, hidden_size, PATCH, stride=PATCH)
        else:
            linear = nn.Linear(PATCH**dims * in_channels, hidden_size)
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
            self.patch_embeddings = nn.Sequential(Patches(), linear)
        self.position_embeddings = nn.Parameter(torch.zeros(1, tokens, hidden_size))
        nn.init.trunc_normal_(self.position_embeddings, std=0.02)
        if class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, hidden_size))
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, C, *spatial)`` to ``(N, T, H)``."""
        x = self.patch_embeddings(image)
        if x.ndim > 3:
            x = x.flatten(2).transpose(1, 2)
        return self.dropout(x + self.position_embeddings)  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, hidden_size: int, mlp_dim: int, dropout_rate: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(hidden_size, mlp_dim)
        self.linear2 = nn.Linear(mlp_dim, hidden_size)
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, T, H)`` to the same shape."""
        return self.dropout(self.linear2(self.dropout(functional.gelu(self.linear1(x)))))  # type: ignore[no-any-return]


class SelfAttention(nn.Module):
    """Multi-head self-attention; the joint projection lists q, k, v, each head-major."""

    def __init__(self, hidden_size: int, num_heads: int, dropout_rate: float, *, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout_rate = dropout_rate
        self.out_proj = nn.Linear(hidden_size, hidden_size)
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size, bias=qkv_bias)
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, T, H)`` to the same shape."""
        batch, tokens, hidden = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        rate = self.dropout_rate if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(q, k, v, dropout_p=rate)
        return self.dropout(self.out_proj(mixed.transpose(1, 2).reshape(batch, tokens, hidden)))  # type: ignore[no-any-return]


class UnusedCrossAttention(nn.Module):
    """Parameters that releases 1.4 and 1.5 created and never used; kept so that their files load."""

    def __init__(self, hidden_size: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.out_proj = nn.Linear(hidden_size, hidden_size)
        self.to_q = nn.Linear(hidden_size, hidden_size, bias=qkv_bias)
        self.to_k = nn.Linear(hidden_size, hidden_size, bias=qkv_bias)
        self.to_v = nn.Linear(hidden_size, hidden_size, bias=qkv_bias)


class TransformerBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(
        self, hidden_size: int, mlp_dim: int, num_heads: int, dropout_rate: float, *, qkv_bias: bool, layout: str
    ) -> None:
        super().__init__()
        self.mlp = Mlp(hidden_size, mlp_dim, dropout_rate)
        self.norm1 = nn.LayerNorm(hidden_size)
        self.attn = SelfAttention(hidden_size, num_heads, dropout_rate, qkv_bias=qkv_bias)
        self.norm2 = nn.LayerNorm(hidden_size)
        if layout in {"1.4", "1.6"}:
            self.norm_cross_attn = nn.LayerNorm(hidden_size)
        if layout == "1.4":
            self.cross_attn = UnusedCrossAttention(hidden_size, qkv_bias=qkv_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, T, H)`` to the same shape."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class ViT(nn.Module):
    """Twelve transformer blocks; returns the normed last tokens and every block's output."""

    def __init__(
        self,
        in_channels: int,
        image_size: Sequence[int],
        hidden_size: int,
        mlp_dim: int,
        num_heads: int,
        *,
        proj_type: str,
        dropout_rate: float,
        qkv_bias: bool,
        layout: str,
        use_checkpoint: bool,
    ) -> None:
        super().__init__()
        self.use_checkpoint = use_checkpoint
        self.patch_embedding = PatchEmbedding(
            in_channels, image_size, hidden_size, proj_type, dropout_rate, class_token=layout == "0.6"
        )
        self.blocks = nn.ModuleList(
            TransformerBlock(hidden_size, mlp_dim, num_heads, dropout_rate, qkv_bias=qkv_bias, layout=layout)
            for _ in range(LAYERS)
        )
        self.norm = nn.LayerNorm(hidden_size)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map ``(N, C, *spatial)`` to tokens ``(N, T, H)`` and the list of block outputs."""
        x = self.patch_embedding(image)
        hidden = []
        for block in self.blocks:
            recompute = self.use_checkpoint and torch.is_grad_enabled()
            x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
            hidden.append(x)
        return self.norm(x), hidden
