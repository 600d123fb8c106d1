"""SegFormer3D: the SegFormer idea for volumes.

Perera, Navard, Yilmaz, "SegFormer3D: an Efficient Transformer for 3D Medical Image Segmentation", CVPR Workshops 2024,
arXiv:2404.10156; parameter names as in github.com/OSUPCVLab/SegFormer3D. Grids need not be cubes here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.core.errors import ModelError
from itkit.models.blocks.initial import init_transformer_weights
from itkit.models.blocks.recompute import recompute

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STAGES = 4
FIRST_RELEASE = "5a149a69880f30b62e5b4a1567dccf04a31ed0f5"
"""Commit of the released checkpoints, whose attention scores are divided by the root of the number of heads."""

AttentionScale = Literal["num_heads", "head_dim"]
Size = tuple[int, int, int]


def to_tokens(x: Tensor) -> Tensor:
    """Flatten ``(N, C, Z, Y, X)`` to ``(N, Z*Y*X, C)``, X fastest."""
    return x.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, size_zyx: Size) -> Tensor:
    """Undo :func:`to_tokens` for a map of ``size_zyx``."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *size_zyx)


class PatchEmbedding(nn.Module):
    """Strided convolution with overlapping windows, then LayerNorm."""

    def __init__(self, in_channels: int, dim: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.patch_embeddings = nn.Conv3d(in_channels, dim, kernel, stride, padding)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Size]:
        """Map ``(N, C, Z, Y, X)`` to tokens and the size of their grid."""
        x = self.patch_embeddings(x)
        return self.norm(to_tokens(x)), (x.shape[2], x.shape[3], x.shape[4])


class SelfAttention(nn.Module):
    """Self-attention whose keys and values come from a map reduced ``sr_ratio`` times a side."""

    def __init__(self, dim: int, heads: int, sr_ratio: int, scale: AttentionScale) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (heads if scale == "num_heads" else dim // heads) ** -0.5
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.sr_ratio = sr_ratio
        if sr_ratio > 1:
            self.sr = nn.Conv3d(dim, dim, sr_ratio, sr_ratio)
            self.sr_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, size_zyx: Size) -> Tensor:
        """Mix tokens ``(N, L, C)`` of a grid of ``size_zyx``."""
        batch, length, dim = x.shape
        query = self.query(x).reshape(batch, length, self.heads, -1).transpose(1, 2)
        source = self.sr_norm(to_tokens(self.sr(to_map(x, size_zyx)))) if self.sr_ratio > 1 else x
        pairs = self.key_value(source).reshape(batch, -1, 2, self.heads, dim // self.heads)
        key, value = pairs.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, scale=self.scale)
        return self.proj(mixed.transpose(1, 2).reshape(batch, length, dim))  # type: ignore[no-any-return]


class DepthwiseConv(nn.Module):
    """3x3x3 convolution a channel and batch norm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv3d(dim, dim, 3, padding=1, groups=dim)
        self.bn = nn.BatchNorm3d(dim)

    def forward(self, x: Tensor, size_zyx: Size) -> Tensor:
        """Filter tokens ``(N, L, C)`` of a grid of ``size_zyx``."""
        return to_tokens(self.bn(self.dwconv(to_map(x, size_zyx))))


class MLP(nn.Module):
    """Linear, depthwise convolution, GELU, linear."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = DepthwiseConv(hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, size_zyx: Size) -> Tensor:
        """Map tokens ``(N, L, C)`` to tokens of the same shape."""
        return self.fc2(functional.gelu(self.dwconv(self.fc1(x), size_zyx)))  # type: ignore[no-any-return]


class TransformerBlock(nn.Module):
    """Pre-norm attention and MLP with residual connections."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, sr_ratio: int, scale: AttentionScale) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, heads, sr_ratio, scale)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, int(mlp_ratio * dim))

    def forward(self, x: Tensor, size_zyx: Size) -> Tensor:
        """Map tokens ``(N, L, C)`` to tokens of the same shape."""
        x = x + self.attention(self.norm1(x), size_zyx)
        return x + self.mlp(self.norm2(x), size_zyx)  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """Four stages of embedding and transformer blocks; arguments as in :class:`SegFormer3D`."""

    def __init__(
        self,
        in_channels: int,
        *,
        embed_dims: Sequence[int],
        patch_kernel_size: Sequence[int],
        patch_stride: Sequence[int],
        patch_padding: Sequence[int],
        mlp_ratios: Sequence[float],
        num_heads: Sequence[int],
        depths: Sequence[int],
        sr_ratios: Sequence[int],
        attention_scale: AttentionScale,
        use_checkpoint: bool,
    ) -> None:
        super().__init__()
        self.use_checkpoint = use_checkpoint
        before = (in_channels, *embed_dims[:-1])
        windows = zip(before, embed_dims, patch_kernel_size, patch_stride, patch_padding, strict=True)
        for stage, (channels, dim, kernel, stride, padding) in enumerate(windows, 1):
            self.add_module(f"embed_{stage}", PatchEmbedding(channels, dim, kernel, stride, padding))
        for index, dim in enumerate(embed_dims):
            blocks = nn.ModuleList(
                TransformerBlock(dim, num_heads[index], mlp_ratios[index], sr_ratios[index], attention_scale)
                for _ in range(depths[index])
            )
            self.add_module(f"tf_block{index + 1}", blocks)
            self.add_module(f"norm{index + 1}", nn.LayerNorm(dim))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map ``(N, C, Z, Y, X)`` to four maps, finest first."""
        maps: list[Tensor] = []
        x = image
        for stage in range(1, STAGES + 1):
            tokens, size = getattr(self, f"embed_{stage}")(x)
            for block in getattr(self, f"tf_block{stage}"):
                tokens = recompute(block, tokens, size) if self.use_checkpoint else block(tokens, size)
            x = to_map(getattr(self, f"norm{stage}")(tokens), size)
            maps.append(x)
        return maps


class Projection(nn.Module):
    """Linear layer and LayerNorm (named ``bn``) on the channels of a map."""

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_channels, dim)
        self.bn = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, Z, Y, X)`` to ``(N, dim, Z, Y, X)``."""
        return to_map(self.bn(self.proj(to_tokens(x))), (x.shape[2], x.shape[3], x.shape[4]))


class DecoderHead(nn.Module):
    """Project four maps to one width, resize them to the finest, fuse, classify and enlarge four times."""

    def __init__(self, in_channels: Sequence[int], dim: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        c1, c2, c3, c4 = in_channels
        self.linear_c4 = Projection(c4, dim)
        self.linear_c3 = Projection(c3, dim)
        self.linear_c2 = Projection(c2, dim)
        self.linear_c1 = Projection(c1, dim)
        self.linear_fuse = nn.Sequential(nn.Conv3d(4 * dim, dim, 1, bias=False), nn.BatchNorm3d(dim), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.linear_pred = nn.Conv3d(dim, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Turn four maps, finest first, into logits of four times the finest map's size."""
        c1, c2, c3, c4 = maps
        size = c1.shape[2:]
        coarse = [
            functional.interpolate(projection(x), size=size, mode="trilinear", align_corners=False)
            for projection, x in ((self.linear_c4, c4), (self.linear_c3, c3), (self.linear_c2, c2))
        ]
        fused = self.linear_fuse(torch.cat([*coarse, self.linear_c1(c1)], dim=1))
        logits = self.linear_pred(self.dropout(fused))
        return functional.interpolate(logits, size=[4 * side for side in size], mode="trilinear", align_corners=False)


class SegFormer3D(nn.Module):
    """Encoder and decoder head; the defaults are the published BraTS network.

    Parameters
    ----------
    in_channels, num_classes
        Channels of the image and of the logits.
    sr_ratios, embed_dims, patch_kernel_size, patch_stride, patch_padding, mlp_ratios, num_heads, depths
        One number a stage: reduction of keys and values (a side), width, window of the embedding, MLP expansion, heads,
        blocks.
    decoder_head_embedding_dim
        Width of the decoder.
    decoder_dropout
        Dropout before the last layer.
    attention_scale
        What the attention scores are divided by the root of: ``"num_heads"`` in the first release, which made the
        released checkpoints; ``"head_dim"``, the usual rule, since. A checkpoint does not say which one it needs.
    use_checkpoint
        Recompute blocks in the backward pass instead of keeping their activations.

    Raises
    ------
    ValueError
        When a list has not four entries, heads do not divide a width, or the scale is unknown.
    """

    def __init__(
        self,
        in_channels: int = 4,
        sr_ratios: Sequence[int] = (4, 2, 1, 1),
        embed_dims: Sequence[int] = (32, 64, 160, 256),
        patch_kernel_size: Sequence[int] = (7, 3, 3, 3),
        patch_stride: Sequence[int] = (4, 2, 2, 2),
        patch_padding: Sequence[int] = (3, 1, 1, 1),
        mlp_ratios: Sequence[float] = (4, 4, 4, 4),
        num_heads: Sequence[int] = (1, 2, 5, 8),
        depths: Sequence[int] = (2, 2, 2, 2),
        decoder_head_embedding_dim: int = 256,
        num_classes: int = 3,
        decoder_dropout: float = 0.0,
        *,
        attention_scale: AttentionScale = "num_heads",
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        if attention_scale not in ("num_heads", "head_dim"):
            raise ModelError(f"attention_scale must be num_heads or head_dim; got {attention_scale!r}")
        stages: dict[str, Sequence[Any]] = {
            "embed_dims": embed_dims,
            "patch_kernel_size": patch_kernel_size,
            "patch_stride": patch_stride,
            "patch_padding": patch_padding,
            "mlp_ratios": mlp_ratios,
            "num_heads": num_heads,
            "depths": depths,
            "sr_ratios": sr_ratios,
        }
        for name, values in stages.items():
            if len(values) != STAGES:
                raise ModelError(f"{name} needs {STAGES} entries, one a stage; got {list(values)}")
        for dim, heads in zip(embed_dims, num_heads, strict=True):
            if dim % heads:
                raise ModelError(f"embed_dims must be multiples of num_heads; got {dim} channels for {heads} heads")
        self.segformer_encoder = Encoder(
            in_channels, **stages, attention_scale=attention_scale, use_checkpoint=use_checkpoint
        )
        self.segformer_decoder = DecoderHead(embed_dims, decoder_head_embedding_dim, num_classes, decoder_dropout)
        self.apply(init_transformer_weights)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, C, Z, Y, X)`` to logits ``(N, K, Z, Y, X)``, sides rounded up to multiples of 4.

        Every side needs at least ``sr_ratio`` voxels in every stage: 13 voxels of the image by default.
        """
        return self.segformer_decoder(self.segformer_encoder(image))  # type: ignore[no-any-return]


def build(in_channels: int, num_classes: int, spatial_dims: int = 3, **options: Any) -> SegFormer3D:
    """Build a SegFormer3D; ``options`` are arguments of :class:`SegFormer3D`."""
    if spatial_dims != 3:
        raise ModelError(f"spatial_dims must be 3 for SegFormer3D; got {spatial_dims}; segformer_b0 has two axes")
    return SegFormer3D(in_channels, num_classes=num_classes, **options)


def from_config(config: Mapping[str, Any], official_class: str, commit: str = "") -> SegFormer3D:
    """Build the authors' form.

    Parameters
    ----------
    config
        Arguments of :class:`SegFormer3D`.
    official_class
        The authors' class; there is one.
    commit
        Commit of the authors' code: the first release, or none, scales by heads, every other by the head's width.

    Raises
    ------
    TypeError, ValueError
        For an argument that :class:`SegFormer3D` does not take.
    """
    del official_class
    old = not commit or FIRST_RELEASE.startswith(commit)
    return SegFormer3D(**{"attention_scale": "num_heads" if old else "head_dim", **config})
