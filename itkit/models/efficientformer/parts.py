"""Parts that both versions of EfficientFormer share: attention biases, scaled residuals, stem, downsampling.

Li et al., "EfficientFormer: Vision Transformers at MobileNet Speed", NeurIPS 2022, arXiv:2206.01191, and "Rethinking
Vision Transformers for MobileNet Size and Speed", ICCV 2023, arXiv:2212.08059; parameter names as in
github.com/snap-research/EfficientFormer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.core.errors import ModelError
from itkit.models.blocks.recompute import recompute
from itkit.models.efficientformer.released import adapted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

HEADS = 8
ATTENTION_RATIO = 4
"""Width of a value over width of a key."""
CLASSIFIER_GRID = 7
"""Side of the token grid in the classifiers' last stage at 224 pixels."""


def offset_index(key_side: int, query_side: int | None = None) -> Tensor:
    """Return a number for the absolute row and column offset of every query and key of square grids.

    Parameters
    ----------
    key_side
        Side of the grid of keys.
    query_side
        Side of the coarser grid of queries; by default that of the keys.

    Returns
    -------
    Tensor
        ``(queries, keys)``, int64: ``|rows| * key_side + |columns|``, tokens row by row.

    Examples
    --------
    >>> offset_index(2).tolist()
    [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]
    >>> offset_index(2, 1).tolist()
    [[0, 1, 2, 3]]
    """
    queries = query_side or key_side
    step = math.ceil(key_side / queries)
    apart = (step * torch.arange(queries)[:, None] - torch.arange(key_side)[None, :]).abs()
    index = apart[:, None, :, None] * key_side + apart[None, :, None, :]
    return index.reshape(queries**2, key_side**2)


class BiasedAttention(nn.Module):
    """Base of the attention modules: one learned number a head for every offset between two tokens.

    Parameters
    ----------
    index
        Offsets of every query and key, from :func:`offset_index`.
    biases
        Number of different offsets.
    resizable
        Resize the table of biases to the actual number of tokens, as the authors' segmentation encoders do. These also
        hold two entries named like the classifier's that nothing reads, so that classifier files load.
    unread_queries, unread_keys
        Shape of the unread table of offsets.
    """

    attention_bias_idxs: Tensor
    attention_bias_idxs_seg: Tensor

    def __init__(
        self,
        index: Tensor,
        biases: int,
        *,
        resizable: bool,
        unread_queries: int = CLASSIFIER_GRID**2,
        unread_keys: int = CLASSIFIER_GRID**2,
    ) -> None:
        super().__init__()
        self.resizable = resizable
        if resizable:
            self.attention_biases_seg = nn.Parameter(torch.zeros(HEADS, biases))
            self.register_buffer("attention_biases", torch.zeros(HEADS, unread_keys))
            self.register_buffer("attention_bias_idxs", torch.ones(unread_queries, unread_keys, dtype=torch.int64))
            self.register_buffer("attention_bias_idxs_seg", index)
        else:
            self.attention_biases = nn.Parameter(torch.zeros(HEADS, biases))
            self.register_buffer("attention_bias_idxs", index)

    def bias(self, queries: int, keys: int) -> Tensor:
        """Return what is added to the attention scores, ``(1, heads, queries, keys)``.

        Raises
        ------
        ValueError
            When the table belongs to another number of tokens and is not resizable.
        """
        if self.resizable:
            table = self.attention_biases_seg[:, self.attention_bias_idxs_seg][None]
            if table.shape[2:] == (queries, keys):
                return table
            return functional.interpolate(table, size=(queries, keys), mode="bicubic", align_corners=False)
        if self.attention_bias_idxs.shape != (queries, keys):
            expected = " and ".join(map(str, self.attention_bias_idxs.shape))
            raise ModelError(
                f"attention biases belong to {expected} queries and keys; got {queries} and {keys}: "
                "the classifier takes images of its own resolution only"
            )
        return self.attention_biases[:, self.attention_bias_idxs][None]


def scale_parameter(shape: Sequence[int], initial: float, *, use: bool) -> nn.Parameter | None:
    """Return the factor of a residual branch, None where it has none."""
    return nn.Parameter(torch.full(tuple(shape), initial)) if use else None


def stem(in_channels: int, dim: int, activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Return two strided convolutions that take an image to a quarter of its sides."""
    half = dim // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, half, 3, 2, 1),
        nn.BatchNorm2d(half),
        activation(),
        nn.Conv2d(half, dim, 3, 2, 1),
        nn.BatchNorm2d(dim),
        activation(),
    )


class Embedding(nn.Module):
    """Strided convolution and batch norm between two stages."""

    def __init__(self, in_channels: int, dim: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel, stride, padding)
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, Y, X)`` to ``(N, dim, Y / stride, X / stride)``."""
        return self.norm(self.proj(x))  # type: ignore[no-any-return]  # calling a module returns Any


class Classifier(nn.Module):
    """Base of the networks: two heads on a mean over positions, the second for distillation.

    Parameters
    ----------
    dim, num_classes
        Input width and number of classes; no class means that the mean itself comes out.
    distillation
        Whether the second head exists.
    """

    head: nn.Module
    dist_head: nn.Module

    def add_heads(self, dim: int, num_classes: int, *, distillation: bool) -> None:
        """Register ``head`` and, for distillation, ``dist_head``."""
        self.distillation = distillation
        self.head = nn.Linear(dim, num_classes) if num_classes > 0 else nn.Identity()
        if distillation:
            self.dist_head = nn.Linear(dim, num_classes) if num_classes > 0 else nn.Identity()

    def classify(self, mean: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return class scores ``(N, K)``: with distillation a pair in training, its mean in evaluation mode."""
        if not self.distillation:
            return self.head(mean)  # type: ignore[no-any-return]  # calling a module returns Any
        both: tuple[Tensor, Tensor] = (self.head(mean), self.dist_head(mean))
        return both if self.training else (both[0] + both[1]) / 2

    def adapt_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert weights of the authors' classifiers and segmentation networks, or timm's, to this network's names.

        Heads and last norms that this network lacks are left out; index tables that the file lacks are added.
        """
        return adapted(state, self.state_dict())


def run(blocks: nn.Module, x: Tensor, *, use_checkpoint: bool) -> Tensor:
    """Call the children of a stage one after the other."""
    for block in blocks.children():
        x = recompute(block, x) if use_checkpoint else block(x)
    return x


def check_stages(layers: Sequence[int], embed_dims: Sequence[int], downsamples: Sequence[bool]) -> None:
    """Raise ValueError where the arguments do not describe four stages."""
    for name, values in (("layers", layers), ("embed_dims", embed_dims), ("downsamples", downsamples)):
        if len(values) != 4:
            raise ModelError(f"{name} needs 4 entries, one a stage; got {list(values)}")


def init_weights(module: nn.Module) -> None:
    """Draw the authors' initial weights of one linear layer: 0.02, no bias."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
