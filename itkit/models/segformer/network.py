"""SegFormer: a Mix Transformer and the all-MLP head that reads its four maps.

Xie et al., NeurIPS 2021, arXiv:2105.15203; parameter names as in the checkpoints of github.com/NVlabs/SegFormer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.core.errors import ModelError
from itkit.models.blocks.released import ReleasedEncoderDecoder
from itkit.models.decoders import UNetDecoder
from itkit.models.segformer.mit import MixVisionTransformer, to_map, to_tokens, variant_options
from itkit.models.segformer.released import to_authors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HEAD_WIDTHS = {"b0": 256, "b1": 256, "b2": 768, "b3": 768, "b4": 768, "b5": 768}
"""Width of the published heads."""

_FRAMEWORK_KEYS = {
    "type",
    "style",
    "pretrained",
    "init_cfg",
    "loss_decode",
    "ignore_index",
    "sampler",
    "input_transform",
}
"""Entries of mmseg's configurations that say nothing about the network itself."""


class Projection(nn.Module):
    """Linear layer on the channels of a map."""

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_channels, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, Y, X)`` to ``(N, dim, Y, X)``."""
        return to_map(self.proj(to_tokens(x)), (x.shape[2], x.shape[3]))


class Fuse(nn.Module):
    """Pointwise convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, dim, 1, bias=False)
        self.bn = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, Y, X)`` to ``(N, dim, Y, X)``."""
        return functional.relu(self.bn(self.conv(x)))


class SegFormerHead(nn.Module):
    """Project four maps to one width, resize them to the finest, fuse and classify.

    Parameters
    ----------
    in_channels
        Channels of the four maps, finest first.
    num_classes
        Channels of the logits.
    embed_dim
        Width of the projections.
    channels
        Input channels of ``conv_seg``, a layer that no forward pass uses but that every checkpoint contains.
    dropout_ratio
        Rate of the channel dropout before the last layer.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        embed_dim: int = 256,
        channels: int = 128,
        dropout_ratio: float = 0.1,
    ) -> None:
        super().__init__()
        if len(in_channels) != 4:
            raise ModelError(f"in_channels needs 4 entries, one a feature map; got {list(in_channels)}")
        c1, c2, c3, c4 = in_channels
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)
        self.dropout = nn.Dropout2d(dropout_ratio)
        self.linear_c4 = Projection(c4, embed_dim)
        self.linear_c3 = Projection(c3, embed_dim)
        self.linear_c2 = Projection(c2, embed_dim)
        self.linear_c1 = Projection(c1, embed_dim)
        self.linear_fuse = Fuse(4 * embed_dim, embed_dim)
        self.linear_pred = nn.Conv2d(embed_dim, num_classes, 1)
        nn.init.normal_(self.conv_seg.weight, std=0.01)
        nn.init.kaiming_normal_(self.linear_fuse.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Turn four maps, finest first, into logits at the finest map's size."""
        c1, c2, c3, c4 = maps
        size = c1.shape[2:]
        coarse = [
            functional.interpolate(projection(x), size=size, mode="bilinear", align_corners=False)
            for projection, x in ((self.linear_c4, c4), (self.linear_c3, c3), (self.linear_c2, c2))
        ]
        fused = self.linear_fuse(torch.cat([*coarse, self.linear_c1(c1)], dim=1))
        return self.linear_pred(self.dropout(fused))  # type: ignore[no-any-return]  # calling a module returns Any


class SegFormer(nn.Module):
    """Encoder, head, and logits resized to the image.

    Parameters
    ----------
    backbone, decode_head
        The two parts; their names are the prefixes of the checkpoints' keys.
    align_corners
        How the logits are resized to the image.
    """

    def __init__(
        self, backbone: MixVisionTransformer, decode_head: SegFormerHead, *, align_corners: bool = False
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.decode_head = decode_head
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, C, Y, X)`` to logits ``(N, K, Y, X)``."""
        logits = self.decode_head(self.backbone(image))
        return functional.interpolate(logits, size=image.shape[2:], mode="bilinear", align_corners=self.align_corners)

    def adapt_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert weights of the encoder alone, of transformers or of mmsegmentation to this network's names."""
        authors = to_authors(state)
        encoder = {f"backbone.{key}": value for key, value in self.backbone.adapt_state_dict(authors).items()}
        alone = not any(key.startswith("backbone.") for key in authors)
        return encoder if alone and any(key in self.state_dict() for key in encoder) else authors


def build(
    in_channels: int,
    num_classes: int,
    spatial_dims: int = 2,
    *,
    variant: str = "b0",
    embed_dim: int | None = None,
    dropout_ratio: float = 0.1,
    **options: Any,
) -> SegFormer:
    """Build a SegFormer for segmentation.

    Parameters
    ----------
    in_channels, num_classes
        Channels of the image and of the logits.
    spatial_dims
        Must be 2.
    variant
        Published size, b0 to b5.
    embed_dim
        Width of the head; the variant's own by default.
    dropout_ratio
        Channel dropout before the last layer.
    **options
        Arguments of :class:`MixVisionTransformer` that replace those of the variant.
    """
    _require_two_axes(spatial_dims)
    backbone = MixVisionTransformer(in_chans=in_channels, **{**variant_options(variant), **options})
    width = embed_dim or HEAD_WIDTHS[variant]
    return SegFormer(backbone, SegFormerHead(backbone.embed_dims, num_classes, width, dropout_ratio=dropout_ratio))


def build_mit(
    in_channels: int,
    num_classes: int,
    spatial_dims: int = 2,
    *,
    variant: str = "b0",
    decoder_width: int = 64,
    deep_supervision: bool = False,
    **options: Any,
) -> ReleasedEncoderDecoder:
    """Build a Mix Transformer with a U-Net decoder.

    Parameters
    ----------
    in_channels, num_classes
        Channels of the image and of the logits.
    spatial_dims
        Must be 2.
    variant
        Published size, b0 to b5.
    decoder_width
        Channels of the decoder's finest map.
    deep_supervision
        Also return logits of the coarser maps in training.
    **options
        Arguments of :class:`MixVisionTransformer` that replace those of the variant.
    """
    _require_two_axes(spatial_dims)
    encoder = MixVisionTransformer(in_chans=in_channels, **{**variant_options(variant), **options})
    decoder = UNetDecoder(
        encoder.embed_dims, num_classes, spatial_dims, width=decoder_width, deep_supervision=deep_supervision
    )
    return ReleasedEncoderDecoder(encoder, decoder)


def _require_two_axes(spatial_dims: int) -> None:
    if spatial_dims != 2:
        raise ModelError(f"spatial_dims must be 2 for SegFormer; got {spatial_dims}; segformer3d has three axes")


def from_config(config: Mapping[str, Any], official_class: str) -> nn.Module:
    """Build the authors' form: an mmseg encoder-decoder, or the encoder alone.

    Parameters
    ----------
    config
        ``backbone`` holds the arguments of the encoder, ``decode_head`` those of the head; an encoder alone may have
        its arguments at the top. Entries of mmseg for losses, sampling and weight files are passed over.
    official_class
        The authors' class; a name ``mit_b<n>`` in it gives the defaults of that variant.

    Raises
    ------
    TypeError, ValueError
        For an argument that does not exist or has no effect on these networks but another value than theirs.
    """
    found = re.search(r"mit_(b\d)", official_class)
    variant = found.group(1) if found else None
    defaults = variant_options(variant) if variant else {}
    whole = "SegFormerHead" in official_class
    if whole or "backbone" in config:
        unknown = set(config) - {"backbone", "decode_head"}
        if unknown:
            raise TypeError(f"{official_class} takes backbone and decode_head; got {', '.join(sorted(unknown))}")
    encoder = _network_arguments(config.get("backbone") or ({} if whole else config))
    backbone = MixVisionTransformer(**{**defaults, **encoder})
    if not whole:
        return backbone
    head = _network_arguments(config.get("decode_head") or {})
    return _with_head(backbone, HEAD_WIDTHS.get(variant or "", 256), **head)


def _network_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _FRAMEWORK_KEYS}


def _with_head(
    backbone: MixVisionTransformer,
    default_width: int,
    *,
    num_classes: int,
    embed_dim: int | None = None,
    decoder_params: Mapping[str, int] | None = None,
    channels: int = 128,
    dropout_ratio: float = 0.1,
    align_corners: bool = False,
    in_channels: Sequence[int] | None = None,
    in_index: Sequence[int] = (0, 1, 2, 3),
    feature_strides: Sequence[int] = (4, 8, 16, 32),
    norm_cfg: Mapping[str, Any] | None = None,
) -> SegFormer:
    if norm_cfg is not None and norm_cfg.get("type") not in {"BN", "SyncBN"}:
        raise ModelError(f"norm_cfg must be BN or SyncBN, which are the same network; got {norm_cfg}")
    if in_channels is not None and tuple(in_channels) != backbone.embed_dims:
        raise ModelError(f"in_channels must be the encoder's widths {backbone.embed_dims}; got {list(in_channels)}")
    if tuple(in_index) != (0, 1, 2, 3):
        raise ModelError(f"in_index must be [0, 1, 2, 3]; got {list(in_index)}")
    if len(feature_strides) != 4 or min(feature_strides) != feature_strides[0]:
        raise ModelError(f"feature_strides needs 4 entries, the smallest first; got {list(feature_strides)}")
    width = embed_dim or (decoder_params or {}).get("embed_dim") or default_width
    head = SegFormerHead(backbone.embed_dims, num_classes, width, channels, dropout_ratio)
    return SegFormer(backbone, head, align_corners=align_corners)
