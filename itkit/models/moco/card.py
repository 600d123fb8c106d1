"""Card of the encoder that MoCo pre-trains."""

from __future__ import annotations

from itkit.models.card import ENCODER, ModelCard, Weights

CARDS = (
    ModelCard(
        name="moco_resnet50",
        family="moco",
        title="ResNet-50 pre-trained by MoCo, with a U-Net decoder",
        paper="He et al., Momentum Contrast for Unsupervised Visual Representation Learning, CVPR 2020",
        year=2020,
        doi="10.1109/CVPR42600.2020.00975",
        repository="https://github.com/facebookresearch/moco",
        code_licence="MIT",
        weights=(
            Weights(
                trained_on="ImageNet",
                page="https://github.com/facebookresearch/moco",
                url="https://dl.fbaipublicfiles.com/moco/moco_checkpoints/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar",
                licence="none stated apart from the code's",
                what=ENCODER,
            ),
        ),
        spatial_dims=(2, 3),
        builder="itkit.models.moco.network:build",
        options={"depth": "resnet50"},
        tiny={"depth": "resnet18", "width": 8, "decoder_width": 8},
        tiny_size=32,
        divisor=32,
        minimum_size=32,
        head=(r"^decoder\.heads\.",),
        stem=(r"^encoder\.conv1\.weight$",),
        checkpointing=True,
        deep_supervision=True,
        notes=(
            "Pre-training: itkit.models.moco.pretraining, for any network by itkit.models.moco.encoders.zoo_encoder; "
            "encoder_weights brings the result back. load_pretrained takes the authors' files as they are."
        ),
    ),
)
REFERENCES = {"moco.builder.MoCo": "itkit.models.moco.network:reference"}
