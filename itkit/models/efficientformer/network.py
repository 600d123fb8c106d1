"""Builders of EfficientFormer, versions 1 and 2."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from itkit.core.errors import ModelError
from itkit.models.blocks.by_dims import require_dims
from itkit.models.blocks.released import ReleasedEncoderDecoder
from itkit.models.decoders import UNetDecoder
from itkit.models.efficientformer.v1 import EfficientFormer
from itkit.models.efficientformer.v2 import RATIOS_L, EfficientFormerV2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn


def _ratios(*stages: tuple[float, ...]) -> Mapping[str, tuple[float, ...]]:
    return MappingProxyType({str(stage): ratios for stage, ratios in enumerate(stages)})


VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "l1": {"layers": (3, 2, 6, 4), "embed_dims": (48, 96, 224, 448), "vit_num": 1},
        "l3": {"layers": (4, 4, 12, 6), "embed_dims": (64, 128, 320, 512), "vit_num": 4},
        "l7": {"layers": (6, 6, 18, 8), "embed_dims": (96, 192, 384, 768), "vit_num": 8},
        "v2_s0": {
            "layers": (2, 2, 6, 4),
            "embed_dims": (32, 48, 96, 176),
            "vit_num": 2,
            "e_ratios": _ratios((4,) * 2, (4,) * 2, (4, 3, 3, 3, 4, 4), (4, 3, 3, 4)),
        },
        "v2_s1": {
            "layers": (3, 3, 9, 6),
            "embed_dims": (32, 48, 120, 224),
            "vit_num": 2,
            "e_ratios": _ratios((4,) * 3, (4,) * 3, (4, 4, 3, 3, 3, 3, 4, 4, 4), (4, 4, 3, 3, 4, 4)),
        },
        "v2_s2": {
            "layers": (4, 4, 12, 8),
            "embed_dims": (32, 64, 144, 288),
            "vit_num": 4,
            "drop_path_rate": 0.02,
            "e_ratios": _ratios((4,) * 4, (4,) * 4, (4, 4, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4), (4, 4, 3, 3, 3, 3, 4, 4)),
        },
        "v2_l": {
            "layers": (5, 5, 15, 10),
            "embed_dims": (40, 80, 192, 384),
            "vit_num": 6,
            "drop_path_rate": 0.1,
            "e_ratios": RATIOS_L,
        },
    }
)
"""Arguments of the published networks."""


def variant_options(variant: str) -> Mapping[str, Any]:
    """Return the arguments of a published network.

    Raises
    ------
    ValueError
        When the variant is unknown.
    """
    if variant not in VARIANTS:
        raise ModelError(f"variant must be one of {', '.join(VARIANTS)}; got {variant!r}")
    return VARIANTS[variant]


def build(
    in_channels: int,
    num_classes: int,
    spatial_dims: int = 2,
    *,
    variant: str = "l1",
    decoder_width: int = 64,
    deep_supervision: bool = False,
    **options: Any,
) -> ReleasedEncoderDecoder:
    """Build a segmentation encoder of EfficientFormer with a U-Net decoder.

    Parameters
    ----------
    in_channels, num_classes
        Channels of the image and of the logits.
    spatial_dims
        Must be 2.
    variant
        Published size: l1, l3, l7, v2_s0, v2_s1, v2_s2 or v2_l.
    decoder_width
        Channels of the decoder's finest map.
    deep_supervision
        Also return logits of the coarser maps in training.
    **options
        Arguments of :class:`EfficientFormer` or :class:`EfficientFormerV2` that replace those of the variant. Batch
        norms of version 2 train unless ``norm_eval=True``; its ``resolution`` is 512 by default.
    """
    require_dims("EfficientFormer", spatial_dims, 2)
    arguments = {**variant_options(variant), "fork_feat": True, "in_chans": in_channels}
    encoder: EfficientFormer | EfficientFormerV2
    if variant.startswith("v2"):
        version = {"resizable": True, "norm_eval": False, "resolution": 512}
        encoder = EfficientFormerV2(**{**arguments, **version, **options})
    else:
        encoder = EfficientFormer(**{**arguments, **options})
    decoder = UNetDecoder(
        encoder.embed_dims, num_classes, spatial_dims, width=decoder_width, deep_supervision=deep_supervision
    )
    return ReleasedEncoderDecoder(encoder, decoder)


def from_config(config: Mapping[str, Any], official_class: str) -> nn.Module:
    """Build the authors' form: a classifier, or a segmentation encoder for a class in ``segmentation.``.

    Parameters
    ----------
    config
        Arguments of :class:`EfficientFormer` or :class:`EfficientFormerV2`.
    official_class
        The authors' class or one of their functions ``efficientformer_l1``, ``efficientformerv2_s0_feat``, ...

    Raises
    ------
    TypeError, ValueError
        For an argument that the class does not take or with which the authors' own code can't run.
    """
    named = re.search(r"efficientformer(?:_(l\d)|(v2_(?:s\d|l)))(_feat)?$", official_class)
    defaults = variant_options(named.group(1) or named.group(2)) if named else {}
    arguments = {**defaults, **config}
    for key in ("init_cfg", "pretrained"):
        if arguments.pop(key, None):
            raise ModelError(f"{key} must be empty: weights are loaded with load_pretrained")
    encoder = official_class.startswith("segmentation.")
    if encoder and not arguments.setdefault("fork_feat", True):
        raise ModelError(f"fork_feat must be true for {official_class}; the classifiers are in models.efficientformer*")
    if "v2" in official_class.lower():
        resolution = 512 if encoder else 224
        return EfficientFormerV2(**{"resolution": resolution, "resizable": encoder, **arguments})
    if not encoder and arguments.get("fork_feat"):
        raise ModelError(f"fork_feat must be false for {official_class}; use segmentation.backbone.EfficientFormer")
    return EfficientFormer(**arguments)
