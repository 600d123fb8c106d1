"""EfficientFormer, version 2: convolutional feed-forward blocks, attention with talking heads in the last two stages.

Li et al., "Rethinking Vision Transformers for MobileNet Size and Speed", ICCV 2023, arXiv:2212.08059.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.core.errors import ModelError
from itkit.models.blocks.drop_path import DropPath
from itkit.models.efficientformer.parts import (
    ATTENTION_RATIO,
    CLASSIFIER_GRID,
    HEADS,
    BiasedAttention,
    Classifier,
    Embedding,
    check_stages,
    init_weights,
    offset_index,
    run,
    scale_parameter,
    stem,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEY_DIM = 32
DOWN_KEY_DIM = 16
ATTENTION_STAGES = (2, 3)

RATIOS_L: Mapping[str, Sequence[float]] = MappingProxyType(
    {
        "0": (4,) * 5,
        "1": (4,) * 5,
        "2": (4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4),
        "3": (4, 4, 4, 3, 3, 3, 3, 4, 4, 4),
    }
)
"""MLP expansion of every block of the largest network, the authors' default."""


def _conv_norm(in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def _heads(x: Tensor) -> Tensor:
    """Split ``(N, C, Y, X)`` into tokens of every head, ``(N, heads, Y*X, C / heads)``."""
    batch, channels, height, width = x.shape
    return x.reshape(batch, HEADS, channels // HEADS, height * width).transpose(2, 3)


def _joined(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo :func:`_heads` for a map of ``size`` (Y, X)."""
    return tokens.transpose(2, 3).reshape(tokens.shape[0], HEADS * tokens.shape[3], *size)


def _projection(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.GELU(), nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels))


class MapAttention(BiasedAttention):
    """Self-attention on a map, with talking heads and a local branch of the values; strided where asked."""

    def __init__(self, dim: int, side: int, *, strided: bool, resizable: bool) -> None:
        grid = math.ceil(side / 2) if strided else side
        super().__init__(offset_index(grid), grid**2, resizable=resizable)
        keys, values = HEADS * KEY_DIM, HEADS * KEY_DIM * ATTENTION_RATIO
        self.stride_conv = _conv_norm(dim, dim, 3, 2, groups=dim) if strided else None
        self.q = _conv_norm(dim, keys)
        self.k = _conv_norm(dim, keys)
        self.v = _conv_norm(dim, values)
        self.v_local = _conv_norm(values, values, 3, groups=values)
        self.talking_head1 = nn.Conv2d(HEADS, HEADS, 1)
        self.talking_head2 = nn.Conv2d(HEADS, HEADS, 1)
        self.proj = _projection(values, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, Y, X)`` to the same shape; a strided module needs even sides."""
        if self.stride_conv is not None:
            x = self.stride_conv(x)
        size = (x.shape[2], x.shape[3])
        query, key, value_map = _heads(self.q(x)), _heads(self.k(x)), self.v(x)
        scores = query @ key.transpose(2, 3) * KEY_DIM**-0.5 + self.bias(query.shape[2], key.shape[2])
        weights = self.talking_head2(self.talking_head1(scores).softmax(-1))
        mixed = _joined(weights @ _heads(value_map), size) + self.v_local(value_map)
        if self.stride_conv is not None:
            mixed = functional.interpolate(mixed, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.proj(mixed)  # type: ignore[no-any-return]  # calling a module returns Any


class LocalGlobalQuery(nn.Module):
    """Queries of half resolution: a strided depthwise convolution plus every second pixel."""

    def __init__(self, dim: int, keys: int) -> None:
        super().__init__()
        self.local = nn.Sequential(nn.Conv2d(dim, dim, 3, 2, 1, groups=dim))
        self.proj = _conv_norm(dim, keys)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, Y, X)`` to ``(N, keys, Y / 2, X / 2)``."""
        return self.proj(self.local(x) + x[:, :, ::2, ::2])  # type: ignore[no-any-return]


class DownAttention(BiasedAttention):
    """Attention of a half-resolution grid of queries over the full grid."""

    def __init__(self, dim: int, out_dim: int, side: int, *, resizable: bool) -> None:
        half = math.ceil(side / 2)
        super().__init__(offset_index(side, half), side**2, resizable=resizable, unread_keys=(2 * CLASSIFIER_GRID) ** 2)
        keys, values = HEADS * DOWN_KEY_DIM, HEADS * DOWN_KEY_DIM * ATTENTION_RATIO
        self.q = LocalGlobalQuery(dim, keys)
        self.k = _conv_norm(dim, keys)
        self.v = _conv_norm(dim, values)
        self.v_local = _conv_norm(values, values, 3, 2, groups=values)
        self.proj = _projection(values, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, Y, X)`` to ``(N, out_dim, Y / 2, X / 2)``."""
        query_map, value_map = self.q(x), self.v(x)
        query, key, value = _heads(query_map), _heads(self.k(x)), _heads(value_map)
        bias = self.bias(query.shape[2], key.shape[2]).to(query.dtype)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        size = (query_map.shape[2], query_map.shape[3])
        return self.proj(_joined(mixed, size) + self.v_local(value_map))  # type: ignore[no-any-return]


class AttentionEmbedding(nn.Module):
    """Downsampling between the last two stages: attention plus a strided convolution."""

    def __init__(
        self, dim: int, out_dim: int, side: int, kernel: int, stride: int, padding: int, *, resizable: bool
    ) -> None:
        super().__init__()
        self.attn = DownAttention(dim, out_dim, side, resizable=resizable)
        self.conv = nn.Conv2d(dim, out_dim, kernel, stride, padding)
        self.bn = nn.BatchNorm2d(out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, Y, X)`` to ``(N, out_dim, Y / 2, X / 2)``."""
        return self.attn(x) + self.bn(self.conv(x))  # type: ignore[no-any-return]  # calling a module returns Any


class MLP(nn.Module):
    """Pointwise, depthwise and pointwise convolution, each with batch norm, GELU between them."""

    def __init__(self, dim: int, hidden: int, drop: float) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, dim, 1)
        self.drop = nn.Dropout(drop)
        self.mid = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.mid_norm = nn.BatchNorm2d(hidden)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.norm2 = nn.BatchNorm2d(dim)
        for conv in (self.fc1, self.fc2, self.mid):
            nn.init.trunc_normal_(conv.weight, std=0.02)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # these convolutions have a bias

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, Y, X)`` to the same shape."""
        hidden = functional.gelu(self.norm1(self.fc1(x)))
        hidden = self.drop(functional.gelu(self.mid_norm(self.mid(hidden))))
        return self.drop(self.norm2(self.fc2(hidden)))  # type: ignore[no-any-return]  # calling a module returns Any


class Block(nn.Module):
    """Optional attention and an MLP, each a residual branch with an optional learned factor a channel."""

    def __init__(
        self, dim: int, hidden: int, drop: float, drop_path: float, scale: float | None, mixer: MapAttention | None
    ) -> None:
        super().__init__()
        shape = (dim, 1, 1)
        with_mixer = scale is not None and mixer is not None
        self.layer_scale_1 = scale_parameter(shape, scale or 0.0, use=with_mixer)
        self.layer_scale_2 = scale_parameter(shape, scale or 0.0, use=scale is not None)
        self.token_mixer = mixer
        self.mlp = MLP(dim, hidden, drop)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, Y, X)`` to the same shape."""
        if self.token_mixer is not None:
            x = self._add(x, self.token_mixer(x), self.layer_scale_1)
        return self._add(x, self.mlp(x), self.layer_scale_2)

    def _add(self, x: Tensor, branch: Tensor, scale: nn.Parameter | None) -> Tensor:
        return x + self.drop_path(branch if scale is None else scale * branch)  # type: ignore[no-any-return]


class EfficientFormerV2(Classifier):
    """Version 2, as a classifier, or as an encoder that gives four feature maps.

    Parameters
    ----------
    layers, embed_dims
        Blocks and width of each of the four stages.
    mlp_ratios, pool_size
        Without effect; they exist in the authors' signature.
    downsamples
        Whether a downsampling follows a stage; one also follows where the width changes.
    num_classes
        Classes; 0 returns the mean over positions.
    down_patch_size, down_stride, down_pad
        Window of the downsampling convolutions.
    drop_rate, drop_path_rate
        Dropout of the MLPs and stochastic depth at the last block.
    use_layer_scale, layer_scale_init_value
        Learned factors on the residual branches and their start.
    fork_feat
        Return four feature maps instead of class scores.
    vit_num
        Number of attention blocks at the end of each of the last two stages.
    distillation
        Whether the classifier has a second head.
    resolution
        Side of the image in pixels, for which attention biases are held.
    e_ratios
        MLP expansion of every block, by stage ``"0"`` to ``"3"``.
    resizable
        With ``fork_feat``: the authors' segmentation encoder, which resizes its attention biases to any image whose
        sides are multiples of 32 and returns the maps as they are. Otherwise the classifier's own maps,
        batch-normalised, for images of `resolution` only.
    norm_eval
        Keep batch norms in evaluation mode when training, as the authors' segmentation encoder does; sensible with
        pretrained weights only. By default on for the resizable encoder.
    in_chans
        Channels of the image; 3 in the authors' network.
    use_checkpoint
        Recompute blocks in the backward pass instead of keeping their activations.

    Raises
    ------
    ValueError
        When the arguments do not describe four stages.
    """

    def __init__(
        self,
        layers: Sequence[int],
        embed_dims: Sequence[int],
        mlp_ratios: float = 4,
        downsamples: Sequence[bool] = (True, True, True, True),
        pool_size: int = 3,
        num_classes: int = 1000,
        down_patch_size: int = 3,
        down_stride: int = 2,
        down_pad: int = 1,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        *,
        use_layer_scale: bool = True,
        layer_scale_init_value: float = 1e-5,
        fork_feat: bool = False,
        vit_num: int = 0,
        distillation: bool = True,
        resolution: int = 224,
        e_ratios: Mapping[str, Sequence[float]] = RATIOS_L,
        resizable: bool = False,
        norm_eval: bool | None = None,
        in_chans: int = 3,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        del mlp_ratios, pool_size
        check_stages(layers, embed_dims, downsamples)
        for stage, depth in enumerate(layers):
            if len(e_ratios.get(str(stage), ())) < depth:
                raise ModelError(f"e_ratios needs {depth} entries for stage {stage}; got {e_ratios.get(str(stage))}")
        if resizable and not fork_feat:
            raise ModelError("resizable attention biases need fork_feat: a classifier has one resolution")
        self.embed_dims = tuple(embed_dims)
        self.fork_feat = fork_feat
        self.norm_eval = resizable if norm_eval is None else norm_eval
        self.use_checkpoint = use_checkpoint
        self.patch_embed = stem(in_chans, embed_dims[0], nn.GELU)
        self.network = nn.ModuleList()
        self.stage_indices: list[int] = []
        scale = layer_scale_init_value if use_layer_scale else None
        down = (down_patch_size, down_stride, down_pad)
        for stage, (depth, dim) in enumerate(zip(layers, embed_dims, strict=True)):
            side = math.ceil(resolution / 2 ** (stage + 2))
            blocks: list[nn.Module] = []
            for block in range(depth):
                rate = drop_path_rate * (block + sum(layers[:stage])) / max(1, sum(layers) - 1)
                attends = stage in ATTENTION_STAGES and block >= depth - vit_num
                mixer = MapAttention(dim, side, strided=stage == 2, resizable=resizable) if attends else None
                hidden = int(dim * e_ratios[str(stage)][block])
                blocks.append(Block(dim, hidden, drop_rate, rate, scale, mixer))
            self.stage_indices.append(len(self.network))
            self.network.append(nn.Sequential(*blocks))
            if stage < 3 and (downsamples[stage] or dim != embed_dims[stage + 1]):
                out = embed_dims[stage + 1]
                self.network.append(
                    AttentionEmbedding(dim, out, side, *down, resizable=resizable)
                    if stage == 2
                    else Embedding(dim, out, *down)
                )
        self.has_map_norms = fork_feat and not resizable
        if self.has_map_norms:
            for stage, dim in enumerate(embed_dims):
                self.add_module(f"norm{2 * stage}", nn.BatchNorm2d(dim))
        if not fork_feat:
            self.norm = nn.BatchNorm2d(embed_dims[-1])
            self.add_heads(embed_dims[-1], num_classes, distillation=distillation)
        self.apply(init_weights)

    def train(self, mode: bool = True) -> EfficientFormerV2:
        """Set training or evaluation mode; with ``norm_eval`` batch norms stay in evaluation mode."""
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor] | list[Tensor]:
        """Map ``(N, C, Y, X)`` to class scores, or to four maps at strides 4, 8, 16 and 32."""
        x = self.patch_embed(image)
        maps: list[Tensor] = []
        for index, module in enumerate(self.network):
            if index not in self.stage_indices:
                x = module(x)
                continue
            x = run(module, x, use_checkpoint=self.use_checkpoint)
            if self.fork_feat:
                maps.append(getattr(self, f"norm{2 * len(maps)}")(x) if self.has_map_norms else x)
        if self.fork_feat:
            return maps
        return self.classify(torch.flatten(self.norm(x), 2).mean(-1))
