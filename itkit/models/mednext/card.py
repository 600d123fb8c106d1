"""Cards of MedNeXt."""

from __future__ import annotations

from itkit.models.card import ModelCard

_TINY = {"n_channels": 4, "exp_r": 2, "block_counts": (1,) * 9}


def _card(size: str, parameters: int) -> ModelCard:
    return ModelCard(
        name=f"mednext_{size.lower()}",
        family="mednext",
        title=f"MedNeXt-{size}",
        paper="Roy et al., MedNeXt: Transformer-driven Scaling of ConvNets for Medical Image Segmentation, MICCAI 2023",
        year=2023,
        doi="10.1007/978-3-031-43901-8_39",
        repository="https://github.com/MIC-DKFZ/MedNeXt",
        code_licence="Apache-2.0",
        spatial_dims=(3, 2),
        builder="itkit.models.mednext.network:build",
        options={"model_id": size, "kernel_size": 3},
        tiny=_TINY,
        tiny_size=32,
        divisor=16,
        minimum_size=32,
        head=(r"^out_\d\.conv_out\.",),
        stem=(r"^stem\.weight$",),
        unused=(r"dummy_tensor",),
        checkpointing=True,
        deep_supervision=True,
        paper_parameters=parameters,
        notes="kernel_size=5 gives the large-kernel form; itkit.models.mednext.upkern starts it from kernel 3.",
    )


CARDS = (
    _card("S", 5_600_000),
    _card("B", 10_500_000),
    _card("M", 17_600_000),
    _card("L", 61_800_000),
)
REFERENCES = {
    "nnunet_mednext.MedNeXt (MedNextV1.py)": "itkit.models.mednext.network:from_config",
    "nnunet_mednext.MedNeXt": "itkit.models.mednext.network:from_config",
    "nnunet_mednext.create_mednext_v1": "itkit.models.mednext.network:from_config",
    "nnunet_mednext.run.load_weights.upkern_load_weights": "itkit.models.mednext.upkern:small_from_config",
    "nnunet_mednext.run.load_pretrained_weights.load_pretrained_weights_resampling": (
        "itkit.models.mednext.upkern:small_from_config"
    ),
}
