"""EfficientFormer, version 1: pooling blocks, and attention at the end of the last stage.

Li et al., NeurIPS 2022, arXiv:2206.01191.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    from collections.abc import Sequence

KEY_DIM = 32
SEGMENTATION_GRID = 16
"""Side of the grid for which the segmentation encoder holds its biases."""


class TokenAttention(BiasedAttention):
    """Self-attention over the tokens of one small grid."""

    def __init__(self, dim: int, *, resizable: bool) -> None:
        side = SEGMENTATION_GRID if resizable else CLASSIFIER_GRID
        super().__init__(offset_index(side), side**2, resizable=resizable)
        self.qkv = nn.Linear(dim, HEADS * KEY_DIM * (2 + ATTENTION_RATIO))
        self.proj = nn.Linear(HEADS * KEY_DIM * ATTENTION_RATIO, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens ``(N, L, C)``."""
        batch, length, _ = x.shape
        heads = self.qkv(x).reshape(batch, length, HEADS, -1).transpose(1, 2)
        query, key, value = heads.split([KEY_DIM, KEY_DIM, KEY_DIM * ATTENTION_RATIO], dim=-1)
        bias = self.bias(length, length).to(query.dtype)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(mixed.transpose(1, 2).reshape(batch, length, -1))  # type: ignore[no-any-return]


class ConvMLP(nn.Module):
    """Pointwise convolutions with batch norms and a GELU between them."""

    def __init__(self, dim: int, hidden: int, drop: float) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, dim, 1)
        self.drop = nn.Dropout(drop)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.norm2 = nn.BatchNorm2d(dim)
        for conv in (self.fc1, self.fc2):
            nn.init.trunc_normal_(conv.weight, std=0.02)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # these convolutions have a bias

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, Y, X)`` to the same shape."""
        hidden = self.drop(functional.gelu(self.norm1(self.fc1(x))))
        return self.drop(self.norm2(self.fc2(hidden)))  # type: ignore[no-any-return]  # calling a module returns Any


class LinearMLP(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, dim: int, hidden: int, drop: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``(N, L, C)`` to the same shape."""
        return self.drop(self.fc2(self.drop(functional.gelu(self.fc1(x)))))  # type: ignore[no-any-return]


class _Residual(nn.Module):
    """Residual branches with an optional learned factor a channel."""

    def __init__(self, dim: int, drop_path: float, scale: float, *, channels_last: bool, use_scale: bool) -> None:
        super().__init__()
        self.view = (-1,) if channels_last else (-1, 1, 1)
        self.drop_path = DropPath(drop_path)
        self.layer_scale_1 = scale_parameter((dim,), scale, use=use_scale)
        self.layer_scale_2 = scale_parameter((dim,), scale, use=use_scale)

    def add(self, x: Tensor, branch: Tensor, scale: nn.Parameter | None) -> Tensor:
        """Add a branch, scaled and randomly dropped."""
        return x + self.drop_path(branch if scale is None else scale.view(self.view) * branch)  # type: ignore[no-any-return]


class Block4D(_Residual):
    """Average pooling as the token mixer and a convolutional MLP, on maps."""

    def __init__(
        self,
        dim: int,
        mlp_ratio: float,
        pool_size: int,
        drop: float,
        drop_path: float,
        scale: float,
        *,
        use_scale: bool,
    ) -> None:
        super().__init__(dim, drop_path, scale, channels_last=False, use_scale=use_scale)
        self.pool = nn.AvgPool2d(pool_size, 1, pool_size // 2, count_include_pad=False)
        self.mlp = ConvMLP(dim, int(dim * mlp_ratio), drop)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, Y, X)`` to the same shape."""
        x = self.add(x, self.pool(x) - x, self.layer_scale_1)
        return self.add(x, self.mlp(x), self.layer_scale_2)


class Block3D(_Residual):
    """Attention and an MLP, on tokens."""

    def __init__(
        self,
        dim: int,
        mlp_ratio: float,
        drop: float,
        drop_path: float,
        scale: float,
        *,
        use_scale: bool,
        resizable: bool,
    ) -> None:
        super().__init__(dim, drop_path, scale, channels_last=True, use_scale=use_scale)
        self.norm1 = nn.LayerNorm(dim)
        self.token_mixer = TokenAttention(dim, resizable=resizable)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = LinearMLP(dim, int(dim * mlp_ratio), drop)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``(N, L, C)`` to the same shape."""
        x = self.add(x, self.token_mixer(self.norm1(x)), self.layer_scale_1)
        return self.add(x, self.mlp(self.norm2(x)), self.layer_scale_2)


class Flat(nn.Module):
    """Turn a map into tokens, row by row."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, Y, X)`` to ``(N, Y*X, C)``."""
        return x.flatten(2).transpose(1, 2)


class EfficientFormer(Classifier):
    """Version 1, as a classifier or, with ``fork_feat``, as a segmentation encoder.

    Parameters
    ----------
    layers, embed_dims
        Blocks and width of each of the four stages.
    mlp_ratios
        Expansion of all MLPs.
    downsamples
        Whether a downsampling follows a stage; one also follows where the width changes.
    pool_size
        Window of the pooling mixer.
    num_classes
        Classes; 0 returns the mean token.
    down_patch_size, down_stride, down_pad
        Window of the downsampling convolutions.
    drop_rate, drop_path_rate
        Dropout of the MLPs and stochastic depth at the last block.
    use_layer_scale, layer_scale_init_value
        Learned factors on the residual branches and their start.
    fork_feat
        Return four feature maps, group-normalised, for images of any size; otherwise class scores for 224 x 224.
    vit_num
        Number of attention blocks at the end of the last stage.
    distillation
        Whether the classifier has a second head.
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
        in_chans: int = 3,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        check_stages(layers, embed_dims, downsamples)
        if not 0 <= vit_num <= layers[3]:
            raise ModelError(f"vit_num must lie between 0 and the last stage's {layers[3]} blocks; got {vit_num}")
        self.embed_dims = tuple(embed_dims)
        self.fork_feat = fork_feat
        self.use_checkpoint = use_checkpoint
        self.patch_embed = stem(in_chans, embed_dims[0], nn.ReLU)
        self.network = nn.ModuleList()
        self.stage_indices: list[int] = []
        total = sum(layers)
        for stage, (depth, dim) in enumerate(zip(layers, embed_dims, strict=True)):
            blocks: list[nn.Module] = []
            first_attention = depth - vit_num if stage == 3 else depth
            for block in range(depth):
                rate = drop_path_rate * (block + sum(layers[:stage])) / max(1, total - 1)
                if block < first_attention:
                    new: nn.Module = Block4D(
                        dim, mlp_ratios, pool_size, drop_rate, rate, layer_scale_init_value, use_scale=use_layer_scale
                    )
                else:
                    new = Block3D(
                        dim,
                        mlp_ratios,
                        drop_rate,
                        rate,
                        layer_scale_init_value,
                        use_scale=use_layer_scale,
                        resizable=fork_feat,
                    )
                blocks.append(new)
            if stage == 3:
                blocks.insert(first_attention, Flat())
            self.stage_indices.append(len(self.network))
            self.network.append(nn.Sequential(*blocks))
            if stage < 3 and (downsamples[stage] or dim != embed_dims[stage + 1]):
                self.network.append(Embedding(dim, embed_dims[stage + 1], down_patch_size, down_stride, down_pad))
        if fork_feat:
            for stage, dim in enumerate(embed_dims):
                self.add_module(f"norm{2 * stage}", nn.GroupNorm(1, dim))
        else:
            self.norm = nn.LayerNorm(embed_dims[-1])
            self.add_heads(embed_dims[-1], num_classes, distillation=distillation)
        self.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor] | list[Tensor]:
        """Map ``(N, C, Y, X)`` to class scores, or to four maps at strides 4, 8, 16 and 32."""
        x = self.patch_embed(image)
        maps: list[Tensor] = []
        for index, module in enumerate(self.network):
            if index not in self.stage_indices:
                x = module(x)
                continue
            size = x.shape[2:]
            x = run(module, x, use_checkpoint=self.use_checkpoint)
            if self.fork_feat:
                as_map = x if x.ndim == 4 else x.transpose(1, 2).reshape(x.shape[0], -1, *size)
                maps.append(getattr(self, f"norm{2 * len(maps)}")(as_map))
        return maps if self.fork_feat else self.classify(self.norm(x).mean(1))
