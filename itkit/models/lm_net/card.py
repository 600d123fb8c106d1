"""Card of LM-Net."""

from __future__ import annotations

from itkit.models.card import ModelCard

CARDS = (
    ModelCard(
        name="lm_net",
        family="lm_net",
        title="LM-Net",
        paper=(
            "Lu et al., LM-Net: A light-weight and multi-scale network for medical image segmentation, Computers in "
            "Biology and Medicine 168 (2024)"
        ),
        year=2024,
        doi="10.48550/arXiv.2501.03838",
        repository="https://github.com/Asunatan/LM-Net",
        code_licence="none stated",
        spatial_dims=(2,),
        builder="itkit.models.lm_net.network:build",
        options={"filters": (12, 24, 48, 96, 192)},
        tiny={"filters": (12, 12, 24, 24, 36)},
        tiny_size=32,
        divisor=16,
        minimum_size=16,
        head=(r"^output_layer\.",),
        stem=(r"^conv1\.0\.(expand_conv|shortcut)\.0\.weight$",),
        checkpointing=True,
        paper_parameters=5_400_000,
        notes=(
            "The authors' code has 3.97 million parameters. itkit.models.lm_net.network.structural_reparam fuses a "
            "trained network's branches; rel_pos_bias=False suits files saved with NATTEN 0.17."
        ),
    ),
)
REFERENCES = {"core.LM_Net.LM_Net": "itkit.models.lm_net.network:reference"}
