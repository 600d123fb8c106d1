"""Card of DconnNet."""

from __future__ import annotations

from itkit.models.card import ENCODER, ModelCard, Weights

CARDS = (
    ModelCard(
        name="dconnnet",
        family="dconnnet",
        title="DconnNet",
        paper="Yang, Farsiu, Directional Connectivity-based Segmentation of Medical Images, CVPR 2023",
        year=2023,
        doi="10.48550/arXiv.2304.00145",
        repository="https://github.com/Zyun-Y/DconnNet",
        code_licence="none stated",
        weights=(
            Weights(
                trained_on="ImageNet",
                page="https://pytorch.org/vision/stable/models.html",
                url="https://download.pytorch.org/models/resnet34-b627a593.pth",
                sha256="b627a593",
                what=ENCODER,
            ),
        ),
        spatial_dims=(2,),
        builder="itkit.models.dconnnet.network:build",
        tiny={"width": 8, "blocks": (1, 2, 2, 3)},
        tiny_size=64,
        divisor=32,
        minimum_size=32,
        head=(r"^cls_pred_conv_2\.", r"^channel_mapping\.[01]\.", r"^direc_reencode\.0\."),
        head_inputs=(r"^direc_reencode\.0\.weight$", r"^sde_module\.reencoder\.0\.weight$"),
        stem=(r"^backbone\.conv1\.weight$",),
        unused=(r"backbone\.fc\.", r"fb5\.conv_3x3\.", r"cls_pred_conv\."),
        checkpointing=True,
        deep_supervision=True,
        notes=(
            "Predicts eight links a class; logits come from bilateral voting. With links=True it returns the links in "
            "training, on which the authors' loss (itkit.criterion.DconnLoss) is computed. Its backbone takes "
            "torchvision's ResNet-34 weights."
        ),
    ),
)
REFERENCES = {"model.DconnNet.DconnNet": "itkit.models.dconnnet.network:reference"}
