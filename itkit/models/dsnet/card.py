"""Cards of DSNet."""

from __future__ import annotations

from itkit.models.card import ModelCard, Weights

_REPOSITORY = "https://github.com/takaniwa/DSNet"
_TINY = {"planes": 8, "m": 1, "n": 1}


def _card(name: str, title: str, parameters: int | None, **options: int | str) -> ModelCard:
    return ModelCard(
        name=name,
        family="dsnet",
        title=title,
        paper=(
            "Guo et al., DSNet: A Novel Way to Use Atrous Convolutions in Semantic Segmentation, IEEE Transactions on "
            "Circuits and Systems for Video Technology 2025"
        ),
        year=2025,
        doi="10.1109/TCSVT.2024.3509504",
        repository=_REPOSITORY,
        code_licence="MIT",
        weights=tuple(
            Weights(trained_on=data, page=_REPOSITORY, licence="none stated apart from the code's")
            for data in ("ImageNet", "Cityscapes", "ADE20K", "CamVid", "BDD")
        ),
        spatial_dims=(2,),
        builder="itkit.models.dsnet.network:build",
        options=options,
        tiny=_TINY,
        tiny_size=32,
        divisor=8,
        minimum_size=16,
        head=(r"^lastlayer\.conv2\.", r"^seghead_[pd]\.conv2\."),
        stem=(r"^conv1\.0\.weight$",),
        checkpointing=True,
        deep_supervision=True,
        paper_parameters=parameters,
        notes="Training needs at least two images in a batch: a global mean is batch-normalised.",
    )


CARDS = (
    _card("dsnet_head64", "DSNet, head 64", None, variant="s64", planes=32, m=2, n=2),
    _card("dsnet_head128", "DSNet, head 128", 6_800_000, variant="s128", planes=32, m=2, n=2),
    _card("dsnet_head256", "DSNet, head 256", None, variant="s256", planes=32, m=2, n=2),
    _card("dsnet_base", "DSNet-Base", 37_500_000, variant="m", planes=64, m=2, n=3),
)
REFERENCES = {"models.dsnet.DSNet": "itkit.models.dsnet.network:reference"}
