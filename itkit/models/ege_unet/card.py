"""Card of EGE-UNet."""

from __future__ import annotations

from itkit.models.card import ModelCard

CARDS = (
    ModelCard(
        name="ege_unet",
        family="ege_unet",
        title="EGE-UNet",
        paper="Ruan et al., EGE-UNet: an Efficient Group Enhanced UNet for skin lesion segmentation, MICCAI 2023",
        year=2023,
        doi="10.48550/arXiv.2307.08473",
        repository="https://github.com/JCruan519/EGE-UNet",
        code_licence="Apache-2.0",
        spatial_dims=(2,),
        builder="itkit.models.ege_unet.network:build",
        options={"c_list": (8, 16, 24, 32, 48, 64)},
        tiny={"c_list": (8, 16, 24, 32, 48, 64)},
        tiny_size=64,
        divisor=32,
        minimum_size=32,
        head=(r"^final\.",),
        stem=(r"^encoder1\.0\.weight$",),
        checkpointing=True,
        deep_supervision=True,
        paper_parameters=53_000,
        notes=(
            "Logits, where the authors return probabilities. Auxiliary maps tell foreground from background only. The "
            "authors' loss is itkit.criterion.EGEUNetLoss."
        ),
    ),
)
REFERENCES = {"models.egeunet.EGEUNet": "itkit.models.ege_unet.network:reference"}
