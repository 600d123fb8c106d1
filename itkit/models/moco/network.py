"""Builders around MoCo: the authors' form, and a segmentation network on its ResNet encoder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from itkit.models.blocks.resnet import ResNet, ResNetEncoder, depth_of
from itkit.models.decoders import EncoderDecoder, UNetDecoder
from itkit.models.moco.moco import MoCo


def reference(config: Mapping[str, Any], official_class: str) -> MoCo:
    """Build ``MoCo`` from the authors' arguments; ``base_encoder`` is a callable or a name such as ``"resnet50"``."""
    arguments = dict(config)
    encoder = arguments.pop("base_encoder", "resnet50")
    if isinstance(encoder, str):
        encoder = partial(ResNet, depth_of(encoder.removeprefix("torchvision ").removeprefix("torchvision.models.")))
    return MoCo(encoder, **arguments)


def build(
    *,
    in_channels: int,
    num_classes: int,
    spatial_dims: int = 2,
    depth: str = "resnet50",
    width: int = 64,
    decoder_width: int = 64,
    deep_supervision: bool = False,
    use_checkpoint: bool = False,
) -> EncoderDecoder:
    """Build a segmentation network on the encoder that MoCo pre-trains.

    Parameters
    ----------
    in_channels, num_classes, spatial_dims
        Channels of input and output, 2 or 3 axes.
    depth
        Name of the ResNet: a key of ``itkit.models.blocks.resnet.DEPTHS``.
    width, decoder_width
        Channels of the encoder's stem and of the decoder's finest level.
    deep_supervision
        Whether training returns logits of every level.
    use_checkpoint
        Whether encoder stages recompute their activations in the backward pass.
    """
    encoder = ResNetEncoder(
        depth_of(depth), in_channels=in_channels, spatial_dims=spatial_dims, width=width, use_checkpoint=use_checkpoint
    )
    decoder = UNetDecoder(
        encoder.channels, num_classes, spatial_dims, width=decoder_width, deep_supervision=deep_supervision
    )
    return EncoderDecoder(encoder, decoder)
