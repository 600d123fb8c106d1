"""Card of SegFormer3D."""

from __future__ import annotations

from itkit.models.card import ModelCard, Weights

CARDS = (
    ModelCard(
        name="segformer3d",
        family="segformer3d",
        title="SegFormer3D",
        paper=(
            "Perera, Navard, Yilmaz, SegFormer3D: an Efficient Transformer for 3D Medical Image Segmentation, "
            "CVPR Workshops 2024"
        ),
        year=2024,
        doi="10.48550/arXiv.2404.10156",
        repository="https://github.com/OSUPCVLab/SegFormer3D",
        code_licence="GPL-3.0",
        weights=(
            Weights(
                trained_on="BraTS 2017",
                page="https://github.com/OSUPCVLab/SegFormer3D",
                licence="none stated",
            ),
        ),
        spatial_dims=(3,),
        builder="itkit.models.segformer3d.network:build",
        tiny={
            "embed_dims": (8, 16, 20, 32),
            "depths": (1, 1, 1, 1),
            "mlp_ratios": (2, 2, 2, 2),
            "decoder_head_embedding_dim": 16,
        },
        tiny_size=48,
        divisor=4,
        minimum_size=16,
        head=(r"^segformer_decoder\.linear_pred\.",),
        stem=(r"^segformer_encoder\.embed_1\.patch_embeddings\.weight$",),
        checkpointing=True,
        paper_parameters=4_510_000,
        notes=(
            "The released checkpoint needs attention_scale='num_heads', the default; code since 2026 uses 'head_dim'. "
            "Training on one image a batch needs sides above 32, so that the coarsest map has more than one voxel."
        ),
    ),
)
REFERENCES = {"architectures.segformer3d.SegFormer3D": "itkit.models.segformer3d.network:from_config"}
