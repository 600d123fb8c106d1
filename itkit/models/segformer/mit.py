"""Mix Transformer (MiT), the encoder of SegFormer.

Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers", NeurIPS 2021,
arXiv:2105.15203; parameter names as in github.com/NVlabs/SegFormer.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import functional

from itkit.core.errors import ModelError
from itkit.models.blocks.drop_path import DropPath, linear_rates
from itkit.models.blocks.initial import init_transformer_weights
from itkit.models.blocks.recompute import recompute
from itkit.models.blocks.released import under
from itkit.models.segformer.released import to_authors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STAGES = 4

_SHARED = {"num_heads": (1, 2, 5, 8), "mlp_ratios": (4, 4, 4, 4), "qkv_bias": True, "sr_ratios": (8, 4, 2, 1)}


def _variant(embed_dims: tuple[int, ...], depths: tuple[int, ...]) -> Mapping[str, Any]:
    return MappingProxyType({"embed_dims": embed_dims, "depths": depths, "drop_path_rate": 0.1, **_SHARED})


VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "b0": _variant((32, 64, 160, 256), (2, 2, 2, 2)),
        "b1": _variant((64, 128, 320, 512), (2, 2, 2, 2)),
        "b2": _variant((64, 128, 320, 512), (3, 4, 6, 3)),
        "b3": _variant((64, 128, 320, 512), (3, 4, 18, 3)),
        "b4": _variant((64, 128, 320, 512), (3, 8, 27, 3)),
        "b5": _variant((64, 128, 320, 512), (3, 6, 40, 3)),
    }
)
"""Arguments of the published encoders."""


def variant_options(variant: str) -> Mapping[str, Any]:
    """Return the arguments of a published encoder.

    Raises
    ------
    ValueError
        When the variant is not one of b0 to b5.
    """
    if variant not in VARIANTS:
        raise ModelError(f"variant must be one of {', '.join(VARIANTS)}; got {variant!r}")
    return VARIANTS[variant]


def to_tokens(x: Tensor) -> Tensor:
    """Flatten ``(N, C, Y, X)`` to ``(N, Y*X, C)``, X fastest."""
    return x.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo :func:`to_tokens` for a map of ``size`` (Y, X)."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *size)


class OverlapPatchEmbed(nn.Module):
    """Strided convolution with overlapping windows, then LayerNorm (eps 1e-5)."""

    def __init__(self, in_channels: int, dim: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel, stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Map ``(N, C, Y, X)`` to tokens and the size (Y, X) of their grid."""
        x = self.proj(x)
        return self.norm(to_tokens(x)), (x.shape[2], x.shape[3])


class Attention(nn.Module):
    """Self-attention whose keys and values come from a map reduced ``sr_ratio`` times a side."""

    def __init__(
        self,
        dim: int,
        heads: int,
        sr_ratio: int,
        *,
        qkv_bias: bool,
        scale: float | None,
        attn_drop: float,
        proj_drop: float,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.scale = scale or (dim // heads) ** -0.5
        self.attn_drop = attn_drop
        self.q = nn.Linear(dim, dim, bias=qkv_bias)
        self.kv = nn.Linear(dim, 2 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        self.sr_ratio = sr_ratio
        if sr_ratio > 1:
            self.sr = nn.Conv2d(dim, dim, sr_ratio, sr_ratio)
            self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Mix tokens ``(N, L, C)`` of a grid of ``size`` (Y, X)."""
        batch, length, dim = x.shape
        query = self.q(x).reshape(batch, length, self.heads, -1).transpose(1, 2)
        source = self.norm(to_tokens(self.sr(to_map(x, size)))) if self.sr_ratio > 1 else x
        key, value = self.kv(source).reshape(batch, -1, 2, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        dropout = self.attn_drop if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, scale=self.scale)
        return self.proj_drop(self.proj(mixed.transpose(1, 2).reshape(batch, length, dim)))  # type: ignore[no-any-return]


class DepthwiseConv(nn.Module):
    """3x3 convolution a channel, which tells the tokens where they are."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Filter tokens ``(N, L, C)`` of a grid of ``size`` (Y, X)."""
        return to_tokens(self.dwconv(to_map(x, size)))


class MixFFN(nn.Module):
    """Linear, depthwise convolution, GELU, linear."""

    def __init__(self, dim: int, hidden: int, drop: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = DepthwiseConv(hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Map tokens ``(N, L, C)`` to tokens of the same shape."""
        hidden = self.drop(functional.gelu(self.dwconv(self.fc1(x), size)))
        return self.drop(self.fc2(hidden))  # type: ignore[no-any-return]  # calling a module returns Any


class Block(nn.Module):
    """Pre-norm attention and MLP with residual connections."""

    def __init__(
        self, dim: int, hidden: int, attention: Attention, *, drop: float, drop_path: float, eps: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = attention
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = MixFFN(dim, hidden, drop)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Map tokens ``(N, L, C)`` to tokens of the same shape."""
        x = x + self.drop_path(self.attn(self.norm1(x), size))
        return x + self.drop_path(self.mlp(self.norm2(x), size))  # type: ignore[no-any-return]


class MixVisionTransformer(nn.Module):
    """Four stages of efficient self-attention that give feature maps at strides 4, 8, 16 and 32.

    Parameters
    ----------
    img_size, patch_size, num_classes
        Without effect; they exist in the authors' signature.
    in_chans
        Channels of the image.
    embed_dims, num_heads, mlp_ratios, depths, sr_ratios
        Width, heads, MLP expansion, blocks and reduction of keys and values (a side), one number a stage.
    qkv_bias
        Whether queries, keys and values have biases.
    qk_scale
        Factor on the attention scores; by default the inverse root of a head's width.
    drop_rate, attn_drop_rate, drop_path_rate
        Dropout of projections, of attention weights, and stochastic depth at the last block.
    norm_eps
        Epsilon of the blocks' norms and of the norms after the stages; 1e-6 in all published networks.
    use_checkpoint
        Recompute blocks in the backward pass instead of keeping their activations.

    Raises
    ------
    ValueError
        When a list has not four entries or heads do not divide a width.
    """

    def __init__(
        self,
        img_size: int = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        num_classes: int = 1000,
        embed_dims: Sequence[int] = (64, 128, 256, 512),
        num_heads: Sequence[int] = (1, 2, 4, 8),
        mlp_ratios: Sequence[float] = (4, 4, 4, 4),
        *,
        qkv_bias: bool = False,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        depths: Sequence[int] = (3, 4, 6, 3),
        sr_ratios: Sequence[int] = (8, 4, 2, 1),
        norm_eps: float = 1e-6,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        del img_size, patch_size, num_classes
        lists = {"embed_dims": embed_dims, "num_heads": num_heads, "mlp_ratios": mlp_ratios}
        for name, values in {**lists, "depths": depths, "sr_ratios": sr_ratios}.items():
            if len(values) != STAGES:
                raise ModelError(f"{name} needs {STAGES} entries, one a stage; got {list(values)}")
        for dim, heads in zip(embed_dims, num_heads, strict=True):
            if dim % heads:
                raise ModelError(f"embed_dims must be multiples of num_heads; got {dim} channels for {heads} heads")
        self.embed_dims = tuple(embed_dims)
        self.use_checkpoint = use_checkpoint
        rates = iter(linear_rates(drop_path_rate, sum(depths)))
        previous = in_chans
        for stage, dim in enumerate(embed_dims, 1):
            kernel, stride = (7, 4) if stage == 1 else (3, 2)
            self.add_module(f"patch_embed{stage}", OverlapPatchEmbed(previous, dim, kernel, stride))
            previous = dim
        for index, dim in enumerate(embed_dims):
            blocks = nn.ModuleList()
            for _ in range(depths[index]):
                attention = Attention(
                    dim,
                    num_heads[index],
                    sr_ratios[index],
                    qkv_bias=qkv_bias,
                    scale=qk_scale,
                    attn_drop=attn_drop_rate,
                    proj_drop=drop_rate,
                )
                hidden = int(dim * mlp_ratios[index])
                blocks.append(Block(dim, hidden, attention, drop=drop_rate, drop_path=next(rates), eps=norm_eps))
            self.add_module(f"block{index + 1}", blocks)
            self.add_module(f"norm{index + 1}", nn.LayerNorm(dim, eps=norm_eps))
        self.apply(init_transformer_weights)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map ``(N, C, Y, X)`` to four maps ``(N, embed_dims[s], Y / stride, X / stride)``, sizes rounded up.

        Every side needs at least ``sr_ratio`` pixels in every stage: 29 pixels of the image by default.
        """
        maps: list[Tensor] = []
        x = image
        for stage in range(1, STAGES + 1):
            tokens, size = getattr(self, f"patch_embed{stage}")(x)
            for block in getattr(self, f"block{stage}"):
                tokens = recompute(block, tokens, size) if self.use_checkpoint else block(tokens, size)
            x = to_map(getattr(self, f"norm{stage}")(tokens), size)
            maps.append(x)
        return maps

    def adapt_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert weights of a classifier, of a whole SegFormer or of another library to the encoder's names."""
        authors = to_authors(state)
        return {key: value for key, value in under(authors, "backbone.").items() if not key.startswith("head.")}
