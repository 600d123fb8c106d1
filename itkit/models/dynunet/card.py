"""Card of DynUNet."""

from __future__ import annotations

from itkit.models.card import ModelCard

CARDS = (
    ModelCard(
        name="dynunet",
        family="dynunet",
        title="DynUNet",
        paper="Futrega et al., Optimized U-Net for Brain Tumor Segmentation, BrainLes 2021, arXiv:2110.03352",
        year=2021,
        doi="10.1007/978-3-031-09002-8_2",
        repository="https://github.com/Project-MONAI/MONAI",
        code_licence="Apache-2.0",
        built_by="monai",
        spatial_dims=(3, 2),
        builder="itkit.models.dynunet.network:build",
        tiny={"strides": (1, 2, 2), "features_per_stage": (8, 12, 16)},
        tiny_size=16,
        divisor=32,
        minimum_size=64,
        head=(r"^output_block\.conv\.conv\.", r"(deep_supervision_heads\.\d+|super_head)\.conv\.conv\."),
        stem=(r"^(input_block|skip_layers\.downsample)\.conv[13]\.conv\.weight$",),
        deep_supervision=True,
        notes=(
            "Strides and kernels follow from the options patch_size and spacing by nnU-Net's rule, or are given; the "
            "divisor is per axis their product. Other options are those of MONAI's class."
        ),
    ),
)
REFERENCES: dict[str, str] = {}
