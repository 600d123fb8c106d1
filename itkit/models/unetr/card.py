"""Card of UNETR."""

from __future__ import annotations

from itkit.models.card import ModelCard, Weights

CARDS = (
    ModelCard(
        name="unetr",
        family="unetr",
        title="UNETR",
        paper="Hatamizadeh et al., UNETR: Transformers for 3D Medical Image Segmentation, WACV 2022",
        year=2022,
        doi="10.1109/WACV51458.2022.00181",
        repository="https://github.com/Project-MONAI/MONAI",
        code_licence="Apache-2.0",
        weights=(
            Weights(
                trained_on="BTCV",
                page="https://github.com/Project-MONAI/research-contributions/tree/main/UNETR/BTCV",
            ),
        ),
        spatial_dims=(3, 2),
        builder="itkit.models.unetr.network:build",
        options={"image_size": 96},
        tiny={"image_size": 32, "feature_size": 4, "hidden_size": 24, "mlp_dim": 48, "num_heads": 2},
        tiny_size=32,
        divisor=16,
        minimum_size=16,
        fixed_size=True,
        head=(r"^out\.conv\.conv\.",),
        stem=(r"^vit\.patch_embedding\.patch_embeddings\.(1\.)?weight$", r"^encoder1\.layer\.conv[13]\.conv\.weight$"),
        unused=(r"cross_attn", r"\.cls_token$", r"^encoder[23]\.blocks\.\d+\.1\.(conv|norm)3\."),
        checkpointing=True,
        paper_parameters=92_580_000,
        notes="The layout option gives the key names of MONAI releases; load_pretrained converts between them.",
    ),
)
REFERENCES = {"monai.networks.nets.UNETR": "itkit.models.unetr.network:from_config"}
