"""Card of SegMamba."""

from __future__ import annotations

from itkit.models.card import ModelCard

CARDS = (
    ModelCard(
        name="segmamba",
        family="segmamba",
        title="SegMamba",
        paper=(
            "Xing et al., SegMamba: Long-range Sequential Modeling Mamba For 3D Medical Image Segmentation, "
            "MICCAI 2024, arXiv:2401.13560"
        ),
        year=2024,
        doi="10.1007/978-3-031-72111-3_54",
        repository="https://github.com/ge-xing/SegMamba",
        code_licence="not stated",
        spatial_dims=(3,),
        builder="itkit.models.segmamba.network:build",
        tiny={"depths": [1, 1, 1, 1], "feat_size": [8, 8, 16, 16], "hidden_size": 16},
        tiny_size=32,
        divisor=32,
        minimum_size=32,
        head=(r"^out\.conv\.conv\.",),
        stem=(r"^vit\.downsample_layers\.0\.0\.weight$", r"^encoder1\.layer\.conv[13]\.conv\.weight$"),
        checkpointing=True,
        notes="The authors' constructor takes a first width of 48 only; this one takes any.",
    ),
)
REFERENCES = {"model_segmamba.segmamba.SegMamba": "itkit.models.segmamba.network:from_config"}
