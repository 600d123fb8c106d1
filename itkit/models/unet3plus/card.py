"""Cards of UNet 3+."""

from __future__ import annotations

from typing import Any

from itkit.models.card import ModelCard

_SHARED: dict[str, Any] = {
    "family": "unet3plus",
    "paper": "Huang et al., UNet 3+: A Full-Scale Connected UNet for Medical Image Segmentation, ICASSP 2020",
    "year": 2020,
    "doi": "10.1109/ICASSP40776.2020.9053405",
    "repository": "https://github.com/ZJUGiveLab/UNet-Version",
    "code_licence": "none stated",
    "spatial_dims": (2, 3),
    "builder": "itkit.models.unet3plus.network:build",
    "tiny": {"widths": (2, 4, 6, 6, 8)},
    "tiny_size": 32,
    "divisor": 16,
    "head": (r"^outconv\d\.",),
    "stem": (r"^conv1\.conv1\.0\.weight$",),
    "checkpointing": True,
    "deep_supervision": True,
    "paper_parameters": 26_970_000,
}

CARDS = (
    ModelCard(
        name="unet3plus",
        title="UNet 3+",
        notes="The 3-D form is an extension: the same graph with 3-D layers.",
        **_SHARED,
    ),
    ModelCard(
        name="unet3plus_cgm",
        title="UNet 3+ with class-guided module",
        options={"class_guided": True},
        unused=(r"^cls\.",),
        notes=(
            "The classifier's decision multiplies the logits in evaluation and passes no gradient. It is frozen and "
            "lets every image pass until `cls` is trained on what `network.network.logits(image)` returns second."
        ),
        **_SHARED,
    ),
)
REFERENCES = {
    "models.UNet_3Plus.UNet_3Plus": "itkit.models.unet3plus.network:from_config",
    "models.UNet_3Plus.UNet_3Plus_DeepSup": "itkit.models.unet3plus.network:from_config",
    "models.UNet_3Plus.UNet_3Plus_DeepSup_CGM": "itkit.models.unet3plus.network:from_config",
}
