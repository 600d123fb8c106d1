"""Card of Swin UNETR."""

from __future__ import annotations

from itkit.models.card import ENCODER, ModelCard, Weights

_PAGE = "https://github.com/Project-MONAI/research-contributions/tree/main/SwinUNETR"

CARDS = (
    ModelCard(
        name="swin_unetr",
        family="swin_unetr",
        title="Swin UNETR",
        paper=(
            "Hatamizadeh et al., Swin UNETR: Swin Transformers for Semantic Segmentation of Brain Tumors in MRI "
            "Images, BrainLes 2021, arXiv:2201.01266"
        ),
        year=2022,
        doi="10.1007/978-3-031-08999-2_22",
        repository="https://github.com/Project-MONAI/MONAI",
        code_licence="Apache-2.0",
        built_by="monai",
        weights=(
            Weights(
                trained_on="5050 CT, self-supervised",
                page=f"{_PAGE}/Pretrain",
                url="https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/model_swinvit.pt",
                what=ENCODER,
            ),
            Weights(trained_on="BTCV", page=f"{_PAGE}/BTCV"),
        ),
        spatial_dims=(3, 2),
        builder="itkit.models.swin_unetr.network:build",
        options={"feature_size": 48},
        tiny={"feature_size": 12, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 2},
        tiny_size=(32, 32, 64),
        divisor=32,
        minimum_size=32,
        head=(r"^out\.conv\.conv\.",),
        stem=(r"^swinViT\.patch_embed\.proj\.weight$", r"^encoder1\.layer\.conv[13]\.conv\.weight$"),
        checkpointing=True,
        paper_parameters=61_980_000,
        notes="Options are those of MONAI's class, use_v2=True among them.",
    ),
)
REFERENCES: dict[str, str] = {}
