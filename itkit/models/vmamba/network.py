"""Builders of VMamba's forms: classifier, backbone, UPerNet, and encoder with a segmentation decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from itkit.models.blocks.by_dims import require_dims
from itkit.models.blocks.released import ReleasedEncoderDecoder
from itkit.models.decoders import UNetDecoder
from itkit.models.vmamba.upernet import UPerNet
from itkit.models.vmamba.vssm import VSSM, BackboneVSSM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn


def build(
    *,
    in_channels: int,
    num_classes: int,
    spatial_dims: int,
    deep_supervision: bool = False,
    decoder_width: int = 64,
    **options: Any,
) -> ReleasedEncoderDecoder:
    """Build a VMamba encoder with a U-shaped decoder; options are those of :class:`VSSM`."""
    encoder = BackboneVSSM(in_chans=in_channels, spatial_dims=spatial_dims, **options)
    decoder = UNetDecoder(
        [encoder.dims[index] for index in encoder.out_indices],
        num_classes,
        spatial_dims,
        width=decoder_width,
        deep_supervision=deep_supervision,
    )
    return ReleasedEncoderDecoder(encoder, decoder)


def build_upernet(
    *,
    in_channels: int,
    num_classes: int,
    spatial_dims: int,
    deep_supervision: bool = False,
    decode_channels: int = 512,
    auxiliary_channels: int = 256,
    **options: Any,
) -> UPerNet:
    """Build the authors' UPerNet; the auxiliary head exists with deep supervision only."""
    require_dims("UPerNet", spatial_dims, 2)
    backbone = BackboneVSSM(in_chans=in_channels, **options)
    return UPerNet(
        backbone, backbone.dims, num_classes, decode_channels, auxiliary_channels, auxiliary=deep_supervision
    )


def classifier_from_config(config: Mapping[str, Any], official_class: str) -> VSSM:
    """Build the authors' ``VSSM`` from its own arguments."""
    del official_class
    return VSSM(**config)


def backbone_from_config(config: Mapping[str, Any], official_class: str = "") -> BackboneVSSM:
    """Build the authors' ``Backbone_VSSM`` from its own arguments; weights are loaded elsewhere."""
    del official_class
    arguments = dict(config)
    if arguments.pop("pretrained", None) is not None:
        raise ValueError("pretrained: expected None; load weights with itkit.models.load_pretrained")
    return BackboneVSSM(**arguments)


def upernet_from_config(config: Mapping[str, Any], official_class: str) -> nn.Module:
    """Build the segmentation network of the authors' ADE20K checkpoints."""
    del official_class
    arguments = dict(config)
    backbone = backbone_from_config(arguments.pop("backbone", {}))
    return UPerNet(backbone, backbone.dims, **arguments)
