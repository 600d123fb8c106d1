"""Cards of VMamba."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from itkit.models.card import ENCODER, ModelCard, Weights

_NETWORK = "itkit.models.vmamba.network"
_SECOND = {
    "ssm_d_state": 1,
    "ssm_conv_bias": False,
    "forward_type": "v05_noz",
    "norm_layer": "ln2d",
    "downsample_version": "v3",
    "patchembed_version": "v2",
}
_VANILLA = {"forward_type": "v0", "mlp_ratio": 0.0, "downsample_version": "v1"}
_TINY = {"depths": [1, 1, 1, 1], "dims": 8, "drop_path_rate": 0.0}
_TINIER = {"depths": [1, 1], "dims": 8, "out_indices": [0, 1], "drop_path_rate": 0.0}
_LICENCE = "MIT"
_RELEASES = "https://github.com/MzeroMiko/VMamba/releases"
_SECOND_RELEASE = f"{_RELEASES}/download/%23v2cls"
_FILES = {
    "t": "vssm1_tiny_0230s_ckpt_epoch_264.pth",
    "s": "vssm_small_0229_ckpt_epoch_222.pth",
    "b": "vssm_base_0229_ckpt_epoch_237.pth",
}
_SEGMENTATION_RELEASE = f"{_RELEASES}/download/%23v2seg"
_SEGMENTATION_FILES = {
    "s": "upernet_vssm_4xb4-160k_ade20k-512x512_small_iter_144000.pth",
    "b": "upernet_vssm_4xb4-160k_ade20k-512x512_base_iter_160000.pth",
}
_FIRST_RELEASE = f"{_RELEASES}/download/%23v0cls"
_FIRST_FILES = {
    "t": (
        "vssmtiny_dp01_ckpt_epoch_292.pth",
        "dbc0cc4f5ec0e45db5fba7c939d2c7d9b617e891ac10766912a8d604c37c5e47",
    ),
    "s": ("vssmsmall_dp03_ckpt_epoch_238.pth", ""),
    "b": ("vssmbase_dp06_ckpt_epoch_241.pth", ""),
}
"""Files of the first version, and their SHA-256 where somebody has published it; the authors state none."""
FIRST_TINY = Weights(
    trained_on="ImageNet",
    page=_RELEASES,
    url=f"{_FIRST_RELEASE}/{_FIRST_FILES['t'][0]}",
    sha256=_FIRST_FILES["t"][1],
    what=ENCODER,
)
"""What Swin-UMamba starts from, too."""


def _card(name: str, title: str, options: dict[str, Any], paper_parameters: int | None, **facts: Any) -> ModelCard:
    return ModelCard(
        name=name,
        family="vmamba",
        title=title,
        paper="Liu et al., VMamba: Visual State Space Model, NeurIPS 2024, arXiv:2401.10166",
        year=2024,
        doi="10.48550/arXiv.2401.10166",
        repository="https://github.com/MzeroMiko/VMamba",
        code_licence=_LICENCE,
        options=options,
        paper_parameters=paper_parameters,
        head=(r"^decoder\.heads\.", r"^(decode|auxiliary)_head\.conv_seg\."),
        stem=(r"^(encoder|backbone)\.patch_embed\.0\.weight$",),
        checkpointing=True,
        deep_supervision=True,
        **facts,
    )


def _second(depth: int, dims: int, ratio: float, drop_path: float) -> dict[str, Any]:
    return {**_SECOND, "depths": [2, 2, depth, 2], "dims": dims, "ssm_ratio": ratio, "drop_path_rate": drop_path}


def _vanilla(depth: int, dims: int, drop_path: float) -> dict[str, Any]:
    return {**_VANILLA, "depths": [2, 2, depth, 2], "dims": dims, "drop_path_rate": drop_path}


_SIZES = {"t": (8, 96, 1.0, 0.2), "s": (15, 96, 2.0, 0.3), "b": (15, 128, 2.0, 0.6)}
_BACKBONE_PARAMETERS = {"t": 30_000_000, "s": 50_000_000, "b": 89_000_000}
_UPERNET_PARAMETERS = {"t": 62_000_000, "s": 82_000_000, "b": 122_000_000}
_VANILLA_SIZES = {"t": (9, 96, 0.2), "s": (27, 96, 0.3), "b": (27, 128, 0.6)}
_VANILLA_PARAMETERS = {"t": 23_000_000, "s": 44_000_000, "b": 76_000_000}
_OWN_HEAD = "The paper's count is the classifier's; here its encoder has a U-shaped decoder. "

CARDS = (
    *(
        _card(
            f"vmamba_{size}",
            f"VMamba-{size.upper()}",
            _second(*arguments),
            _BACKBONE_PARAMETERS[size],
            weights=(
                Weights(trained_on="ImageNet", page=_RELEASES, url=f"{_SECOND_RELEASE}/{_FILES[size]}", what=ENCODER),
            ),
            spatial_dims=(2, 3),
            builder=f"{_NETWORK}:build",
            tiny={**(_TINY if size == "t" else _TINIER), "decoder_width": 8},
            notes=f"{_OWN_HEAD}The volumetric form, with 6 or 12 routes (directions), is this toolkit's own.",
        )
        for size, arguments in _SIZES.items()
    ),
    *(
        _card(
            f"vmamba_v0_{size}",
            f"VMamba-{size.upper()} (first version)",
            _vanilla(*arguments),
            _VANILLA_PARAMETERS[size],
            weights=(
                replace(FIRST_TINY, url=f"{_FIRST_RELEASE}/{_FIRST_FILES[size][0]}", sha256=_FIRST_FILES[size][1]),
            ),
            spatial_dims=(2, 3),
            builder=f"{_NETWORK}:build",
            tiny={**(_TINY if size == "t" else _TINIER), "ssm_d_state": 4, "decoder_width": 8},
            divisor=4,
            notes=f"{_OWN_HEAD}The volumetric form, with 6 or 12 routes (directions), is this toolkit's own.",
        )
        for size, arguments in _VANILLA_SIZES.items()
    ),
    *(
        _card(
            f"vmamba_{size}_upernet",
            f"VMamba-{size.upper()} with UPerNet",
            _second(*arguments),
            _UPERNET_PARAMETERS[size],
            weights=(
                Weights(
                    trained_on="ADE20K",
                    page=_RELEASES,
                    url=f"{_SEGMENTATION_RELEASE}/{_SEGMENTATION_FILES[size]}" if size in _SEGMENTATION_FILES else "",
                ),
            ),
            spatial_dims=(2,),
            builder=f"{_NETWORK}:build_upernet",
            tiny={**_TINY, "decode_channels": 16, "auxiliary_channels": 8},
            notes="The auxiliary head exists with deep supervision only.",
        )
        for size, arguments in _SIZES.items()
    ),
)
REFERENCES = {
    "classification.models.vmamba.VSSM": f"{_NETWORK}:classifier_from_config",
    "classification.models.vmamba.Backbone_VSSM": f"{_NETWORK}:backbone_from_config",
    "mmseg EncoderDecoder(MM_VSSM, UPerHead, FCNHead)": f"{_NETWORK}:upernet_from_config",
}
