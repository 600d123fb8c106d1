"""Cards of Swin-UMamba."""

from __future__ import annotations

from typing import Any

from itkit.models.card import ModelCard, Weights
from itkit.models.vmamba.card import FIRST_TINY

_FAMILY = "itkit.models.swin_umamba"
_REPOSITORY = "https://github.com/JiarunLiu/Swin-UMamba"


def _card(
    name: str, title: str, builder: str, paper_parameters: int, tiny: dict[str, Any], stem: tuple[str, ...]
) -> ModelCard:
    return ModelCard(
        name=name,
        family="swin_umamba",
        title=title,
        paper=(
            "Liu et al., Swin-UMamba: Mamba-based UNet with ImageNet-based pretraining, MICCAI 2024, arXiv:2402.03302"
        ),
        year=2024,
        doi="10.1007/978-3-031-72114-4_59",
        repository=_REPOSITORY,
        code_licence="Apache-2.0",
        weights=(
            Weights(trained_on="the paper's data sets", page=_REPOSITORY),
            FIRST_TINY,
        ),
        spatial_dims=(2,),
        builder=builder,
        tiny=tiny,
        tiny_size=32,
        divisor=32,
        minimum_size=32,
        head=(r"^out_layers\.\d\.conv\.conv\.", r"^decoder\.seg_layers\."),
        stem=stem,
        checkpointing=True,
        deep_supervision=True,
        paper_parameters=paper_parameters,
        notes="Without deep supervision the coarser heads exist, for the authors' weights, but are frozen.",
    )


CARDS = (
    _card(
        "swin_umamba",
        "Swin-UMamba",
        f"{_FAMILY}.network:build",
        60_000_000,
        {"feat_size": [8, 8, 16, 32, 64], "depths": [1, 1, 1, 1]},
        (r"^stem\.0\.weight$", r"^encoder1\.layer\.conv[13]\.conv\.weight$"),
    ),
    _card(
        "swin_umamba_d",
        "SwinUMambaD (Swin-UMamba with Mamba decoder)",
        f"{_FAMILY}.dagger:build",
        28_000_000,
        {"dims": 8, "depths": [1, 1, 1, 1], "d_state": 4, "drop_path_rate": 0.0},
        (r"^vssm_encoder\.patch_embed\.proj\.weight$",),
    ),
)
REFERENCES = {
    "nnunetv2.nets.SwinUMamba.SwinUMamba": f"{_FAMILY}.network:from_config",
    "nnunetv2.nets.SwinUMambaD.SwinUMambaD": f"{_FAMILY}.dagger:from_config",
}
