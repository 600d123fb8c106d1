"""Cards of EfficientNet."""

from __future__ import annotations

from itkit.models.card import ENCODER, ModelCard, Weights

_PARAMETERS = {
    "b0": 5_300_000,
    "b1": 7_800_000,
    "b2": 9_200_000,
    "b3": 12_000_000,
    "b4": 19_000_000,
    "b5": 30_000_000,
    "b6": 43_000_000,
    "b7": 66_000_000,
}
_RELEASE = "https://github.com/lukemelas/EfficientNet-PyTorch/releases/download/1.0"
_DIGESTS = {
    "b0": "355c32eb",
    "b1": "f1951068",
    "b2": "8bb594d6",
    "b3": "5fb5a3c3",
    "b4": "6ed6700e",
    "b5": "b6417697",
    "b6": "c76e70fd",
    "b7": "dcc49843b8ec5a097a8cb166eded1d7a09291093eff7735f603bcfcafce12c8e",
}
"""SHA-256 of the released files, or its first digits as their names carry them."""


def _card(variant: str) -> ModelCard:
    return ModelCard(
        name=f"efficientnet_{variant}",
        family="efficientnet",
        title=f"EfficientNet-{variant.upper()} with a U-Net decoder",
        paper="Tan & Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019",
        year=2019,
        doi="10.48550/arXiv.1905.11946",
        repository="https://github.com/tensorflow/tpu",
        code_licence="Apache-2.0",
        weights=(
            Weights(
                trained_on="ImageNet",
                page="https://github.com/lukemelas/EfficientNet-PyTorch",
                url=f"{_RELEASE}/efficientnet-{variant}-{_DIGESTS[variant][:8]}.pth",
                sha256=_DIGESTS[variant],
                licence="Apache-2.0",
                what=ENCODER,
            ),
            Weights(
                trained_on="ImageNet (timm)",
                page="https://github.com/huggingface/pytorch-image-models",
                licence="Apache-2.0",
                what=ENCODER,
            ),
        ),
        spatial_dims=(2,),
        builder="itkit.models.efficientnet.network:build",
        options={"variant": variant},
        tiny={"width_coefficient": 0.25, "depth_coefficient": 0.5, "decoder_width": 16},
        tiny_size=64,
        head=(r"^decoder\.heads\.",),
        stem=(r"^encoder\._?conv_stem\.weight$",),
        checkpointing=True,
        deep_supervision=True,
        paper_parameters=_PARAMETERS[variant],
        notes=(
            "Option form chooses whose weights fit: efficientnet_pytorch (default), timm_tf or timm. Padding follows "
            "the input; image_size=<training side> gives the padding of the efficientnet_pytorch package. The count "
            "is the classifier's."
        ),
    )


CARDS = tuple(_card(variant) for variant in _PARAMETERS)
REFERENCES = {
    "efficientnet_pytorch.EfficientNet.from_name": "itkit.models.efficientnet.network:from_config",
    "efficientnet_pytorch.EfficientNet": "itkit.models.efficientnet.network:from_config",
    "timm.create_model('*efficientnet_*'*)": "itkit.models.efficientnet.network:from_timm_config",
    "timm.create_model": "itkit.models.efficientnet.network:from_timm_config",
}
