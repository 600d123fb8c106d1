"""Cards of nnU-Net's U-Nets."""

from __future__ import annotations

from typing import Any

from itkit.models.card import ModelCard

_FACTS: dict[str, Any] = {
    "family": "unet",
    "repository": "https://github.com/MIC-DKFZ/dynamic-network-architectures",
    "code_licence": "Apache-2.0",
    "spatial_dims": (3, 2),
    "tiny_size": 16,
    "divisor": 32,
    "minimum_size": 64,
    "head": (r"^decoder\.seg_layers\.\d+\.",),
    "stem": (r"\bencoder\.(stem|stages\.0\.0)\.convs\.0\.(conv|all_modules\.0)\.weight$",),
    "checkpointing": True,
    "deep_supervision": True,
}
_PLAN = (
    "Strides and kernels follow from the options patch_size and spacing by nnU-Net's rule, or are given; the divisor "
    "is per axis the product of the strides. from_nnunet_plans reads nnU-Net's plans.json; its checkpoints load."
)
_TINY: dict[str, Any] = {"strides": (1, 2, 2), "features_per_stage": (8, 12, 16)}


def _residual(name: str, preset: str, gigabytes: int) -> ModelCard:
    return ModelCard(
        name=name,
        title=f"ResEnc U-Net {preset} of nnU-Net",
        paper="Isensee et al., nnU-Net Revisited: A Call for Rigorous Validation in 3D Medical Image Segmentation, "
        "MICCAI 2024, arXiv:2404.09556",
        year=2024,
        doi="10.48550/arXiv.2404.09556",
        builder="itkit.models.unet.network:build_residual",
        options={"preset": preset},
        tiny={**_TINY, "n_blocks_per_stage": (1, 2, 2)},
        notes=f"{preset} is the plan for {gigabytes} GB: presets differ in the patch that they are planned for, and in "
        f"stages only where the patch asks for them. {_PLAN}",
        **_FACTS,
    )


CARDS = (
    ModelCard(
        name="unet",
        title="U-Net of nnU-Net",
        paper="Isensee et al., nnU-Net: a self-configuring method for deep learning-based biomedical image "
        "segmentation, Nature Methods 2021",
        year=2021,
        doi="10.1038/s41592-020-01008-z",
        builder="itkit.models.unet.network:build",
        tiny=_TINY,
        notes=_PLAN,
        **_FACTS,
    ),
    _residual("resenc_unet", "M", 8),
    _residual("resenc_unet_m", "M", 8),
    _residual("resenc_unet_l", "L", 24),
    _residual("resenc_unet_xl", "XL", 40),
)
REFERENCES = {
    "dynamic_network_architectures.architectures.*PlainConvUNet": "itkit.models.unet.network:from_config",
    "dynamic_network_architectures.architectures.*ResidualEncoderUNet": "itkit.models.unet.network:from_config",
}
