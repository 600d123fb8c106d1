"""Cards of EfficientFormer, versions 1 and 2."""

from __future__ import annotations

from typing import Any

from itkit.models.card import ENCODER, ModelCard, Weights

_REPOSITORY = "https://github.com/snap-research/EfficientFormer"
_LICENCE = "MIT, parts Apache-2.0"
_FACTS: dict[str, Any] = {
    "family": "efficientformer",
    "repository": _REPOSITORY,
    "code_licence": _LICENCE,
    "weights": (Weights(trained_on="ImageNet", page=_REPOSITORY, licence=_LICENCE, what=ENCODER),),
    "spatial_dims": (2,),
    "builder": "itkit.models.efficientformer.network:build",
    "tiny_size": 64,
    "head": (r"^decoder\.heads\.",),
    "stem": (r"^encoder\.patch_embed\.0\.weight$",),
    "checkpointing": True,
    "deep_supervision": True,
}
_NOTES = (
    "Classifier files load into the encoder, but its attention biases then start at zero, as in the authors' code: "
    "their segmentation encoder keeps a table of its own."
)


def _v1(size: str, parameters: int) -> ModelCard:
    return ModelCard(
        **_FACTS,
        name=f"efficientformer_{size}",
        title=f"EfficientFormer-{size.upper()} with a U-Net decoder",
        paper="Li et al., EfficientFormer: Vision Transformers at MobileNet Speed, NeurIPS 2022",
        year=2022,
        doi="10.48550/arXiv.2206.01191",
        options={"variant": size},
        tiny={"layers": (1, 1, 1, 2), "embed_dims": (8, 12, 16, 24), "vit_num": 1, "decoder_width": 16},
        paper_parameters=parameters,
        notes=_NOTES + " The count is the classifier's.",
    )


def _v2(size: str, parameters: int) -> ModelCard:
    return ModelCard(
        **_FACTS,
        name=f"efficientformerv2_{size}",
        title=f"EfficientFormerV2-{size.upper()} with a U-Net decoder",
        paper="Li et al., Rethinking Vision Transformers for MobileNet Size and Speed, ICCV 2023",
        year=2023,
        doi="10.48550/arXiv.2212.08059",
        options={"variant": f"v2_{size}"},
        tiny={
            "layers": (1, 1, 2, 2),
            "embed_dims": (8, 12, 16, 24),
            "e_ratios": {"0": (2,), "1": (2,), "2": (2, 3), "3": (3, 2)},
            "vit_num": 1,
            "resolution": 64,
            "decoder_width": 16,
        },
        divisor=32,
        minimum_size=32,
        paper_parameters=parameters,
        notes=_NOTES + " Option norm_eval keeps batch norms fixed, as the authors do. The count is the classifier's.",
    )


CARDS = (
    _v1("l1", 12_300_000),
    _v1("l3", 31_300_000),
    _v1("l7", 82_100_000),
    _v2("s0", 3_500_000),
    _v2("s1", 6_100_000),
    _v2("s2", 12_600_000),
    _v2("l", 26_100_000),
)
_FROM_CONFIG = "itkit.models.efficientformer.network:from_config"
REFERENCES = {
    "models.efficientformer.EfficientFormer": _FROM_CONFIG,
    "models.efficientformer.efficientformer_l?": _FROM_CONFIG,
    "models.efficientformer_v2.EfficientFormerV2": _FROM_CONFIG,
    "models.efficientformer_v2.efficientformerv2_*": _FROM_CONFIG,
    "segmentation.backbone.EfficientFormer": _FROM_CONFIG,
    "segmentation.backbone.efficientformer_l?_feat": _FROM_CONFIG,
    "segmentation.backbonev2.EfficientFormer": _FROM_CONFIG,
    "segmentation.backbonev2.efficientformerv2_*_feat": _FROM_CONFIG,
}
