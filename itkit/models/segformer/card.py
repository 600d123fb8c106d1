"""Cards of SegFormer and of its encoder alone."""

from __future__ import annotations

from typing import Any

from itkit.models.card import ENCODER, WHOLE, ModelCard, Weights

_REPOSITORY = "https://github.com/NVlabs/SegFormer"
_LICENCE = "NVIDIA Source Code License (non-commercial)"
_FACTS: dict[str, Any] = {
    "family": "segformer",
    "paper": (
        "Xie et al., SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers, NeurIPS 2021"
    ),
    "year": 2021,
    "doi": "10.48550/arXiv.2105.15203",
    "repository": _REPOSITORY,
    "code_licence": _LICENCE,
    "spatial_dims": (2,),
    "tiny_size": 64,
    "minimum_size": 29,
    "stem": (r"\.patch_embed1\.proj\.weight$",),
    "checkpointing": True,
}
_TINY = {"embed_dims": (8, 16, 20, 32), "depths": (1, 1, 1, 1)}
_PARAMETERS = {
    "b0": 3_800_000,
    "b1": 13_700_000,
    "b2": 27_500_000,
    "b3": 47_300_000,
    "b4": 64_100_000,
    "b5": 84_700_000,
}


def _weights(trained_on: str, what: str = WHOLE) -> Weights:
    return Weights(trained_on=trained_on, page=_REPOSITORY, licence=_LICENCE, what=what)


def _segformer(variant: str) -> ModelCard:
    return ModelCard(
        **_FACTS,
        name=f"segformer_{variant}",
        title=f"SegFormer-{variant.upper()}",
        weights=(_weights("ADE20K"), _weights("Cityscapes"), _weights("ImageNet", ENCODER)),
        builder="itkit.models.segformer.network:build",
        options={"variant": variant},
        tiny={**_TINY, "embed_dim": 16},
        head=(r"^decode_head\.(conv_seg|linear_pred)\.",),
        unused=(r"^decode_head\.conv_seg\.",),
        paper_parameters=_PARAMETERS[variant],
        notes="decode_head.conv_seg is in the authors' files, but no forward uses it. The count is for 150 classes.",
    )


def _mit(variant: str) -> ModelCard:
    return ModelCard(
        **_FACTS,
        name=f"mit_{variant}",
        title=f"Mix Transformer {variant.upper()} with a U-Net decoder",
        weights=(_weights("ImageNet", ENCODER),),
        builder="itkit.models.segformer.network:build_mit",
        options={"variant": variant},
        tiny={**_TINY, "decoder_width": 16},
        head=(r"^decoder\.heads\.",),
        deep_supervision=True,
        notes="The encoder of SegFormer; the decoder is the toolkit's own.",
    )


CARDS = tuple(make(variant) for make in (_segformer, _mit) for variant in _PARAMETERS)
REFERENCES = {
    "mmseg EncoderDecoder(mit_b?, SegFormerHead)": "itkit.models.segformer.network:from_config",
    "mmseg EncoderDecoder(MixVisionTransformer, SegFormerHead)": "itkit.models.segformer.network:from_config",
    "mmseg.models.backbones.mix_transformer.MixVisionTransformer": "itkit.models.segformer.network:from_config",
    "mmseg.models.backbones.mix_transformer.mit_b?": "itkit.models.segformer.network:from_config",
}
