"""Card of DA-TransUNet."""

from __future__ import annotations

from itkit.models.card import ENCODER, ModelCard, Weights

CARDS = (
    ModelCard(
        name="da_transunet",
        family="da_transunet",
        title="DA-TransUNet (R50-ViT-B/16)",
        paper=(
            "Sun et al., DA-TransUNet: integrating spatial and channel dual attention with transformer U-net for "
            "medical image segmentation, Frontiers in Bioengineering and Biotechnology 12 (2024)"
        ),
        year=2024,
        doi="10.48550/arXiv.2310.12570",
        repository="https://github.com/SUN-1024/DA-TransUnet",
        code_licence="GPL-3.0",
        weights=(
            Weights(
                trained_on="ImageNet-21k",
                page="https://github.com/google-research/vision_transformer",
                url="https://storage.googleapis.com/vit_models/imagenet21k/R50%2BViT-B_16.npz",
                licence="Apache-2.0",
                what=ENCODER,
            ),
        ),
        spatial_dims=(2,),
        builder="itkit.models.da_transunet.network:build",
        options={"image_size": 224},
        tiny={
            "image_size": 32,
            "hidden_size": 128,
            "mlp_dim": 64,
            "num_heads": 2,
            "num_layers": 1,
            "resnet_layers": (1, 1, 1),
            "width_factor": 0.25,
            "norm_groups": 16,
            "head_channels": 128,
            "decoder_channels": (64, 16, 8, 8),
            "skip_channels": (128, 64, 16, 0),
            "attention_channels": (32, 64, 128),
            "attention_reduction": 8,
        },
        tiny_size=32,
        divisor=16,
        fixed_size=True,
        head=(r"^segmentation_head\.0\.",),
        stem=(r"hybrid_model\.root\.conv\.weight$",),
        unused=(
            r"\.conv[67]\.",
            r"decoder\.blocks\.\d\.da\.",
            r"decoder\.blocks\.[023]\.da2\.",
            r"decoder\.blocks\.[123]\.da3\.",
        ),
        checkpointing=True,
        notes=(
            "Decoder blocks hold attention that no forward pass uses, as in the authors' files; it is frozen. The stem "
            "and the transformer take Google's R50+ViT-B_16 weights; their images are RGB."
        ),
    ),
)
REFERENCES = {"Architecture.DATransUNet.DA_Transformer": "itkit.models.da_transunet.network:reference"}
