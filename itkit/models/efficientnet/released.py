"""EfficientNet's weights from one set of names to another: efficientnet_pytorch, timm, MONAI."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from itkit.core.bounded import parse_json, read_bounded
from itkit.core.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor

_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
_FIRST_STAGE = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
    **_SQUEEZE,
}
_OTHER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
    **_SQUEEZE,
}


FORMS = ("efficientnet_pytorch", "timm_tf", "timm")
"""Whose weights a network takes; padding and epsilon of the first two are TensorFlow's."""
_MOST_CONFIG_BYTES = 1 << 20


def require_form(names: Iterable[str], source: str, said: str | None, form: str) -> None:
    """Refuse weights that a network with other padding and epsilon was trained with.

    The names of efficientnet_pytorch and MONAI stand for TensorFlow's. Under timm's names both kinds circulate. The
    name of the file, its folder or address (``tf_efficientnet_b0``, ``efficientnet_b0.ra_in1k``), or a ``config.json``
    beside it, may tell them apart; else the user has to.

    Parameters
    ----------
    names
        Names of the weights.
    source
        Path or URL of the file.
    said
        What the user says, one of :data:`FORMS`; None for nothing.
    form
        The network's own.

    Raises
    ------
    WeightsError
        When the weights are of the other kind, or could be.
    """
    if said is not None and said not in FORMS:
        raise WeightsError(f"form must be one of {', '.join(FORMS)}; got {said!r}")
    listed = [re.sub(r"^.*?(?=_conv_stem\.|conv_stem\.|_?blocks\.)", "", name, count=1) for name in names]
    classic = any(name.startswith(("_blocks.", "_conv_stem.")) for name in listed)
    timm = not classic and any(re.match(r"conv_stem\.|blocks\.\d+\.\d+\.(conv_|bn\d|se\.)", name) for name in listed)
    if not classic and not timm:
        return
    kind = said or ("efficientnet_pytorch" if classic else _form_of(source))
    if kind is None and form == FORMS[0]:
        raise WeightsError(
            f"{source}: has timm's names, under which weights with TensorFlow's padding and with PyTorch's circulate; "
            "say form='timm_tf' for those of a tf_efficientnet, or form='timm' for those of an efficientnet"
        )
    if kind is not None and (kind == "timm") != (form == "timm"):
        trained, wanted = ("PyTorch", "timm") if kind == "timm" else ("TensorFlow", "timm_tf")
        raise WeightsError(
            f"{source}: needs {trained}'s padding and epsilon, and this network has the others; build it with "
            f"create_model(..., form={wanted!r}), or say form={form!r} if the file is not what it seems"
        )


def _form_of(source: str) -> str | None:
    """Tell which of timm's two kinds a file is from its address, or from the configuration beside it."""
    texts = [source]
    try:
        config = Path(source).parent / "config.json"
        architecture = parse_json(read_bounded(config, _MOST_CONFIG_BYTES)).get("architecture", "")
        texts.append(f"{architecture}.timm_in1k")
    except (OSError, ValueError, AttributeError):
        pass  # no such file, or not timm's
    for text in texts:
        if re.search(r"(?:^|[^a-z])tf_efficientnet_", text):
            return "timm_tf"
        if re.search(r"(?:^|[^a-z_])efficientnet_(?:b\d|l2)(?:\.\w*in\d+k|_\w+-[0-9a-f]{8}\.pth)", text):
            return "timm"
    return None


def to_classic(state: Mapping[str, Tensor], repeats: Sequence[int]) -> dict[str, Tensor]:
    """Give weights the names of efficientnet_pytorch.

    Parameters
    ----------
    state
        Weights under the names of efficientnet_pytorch, timm or MONAI.
    repeats
        Blocks of every stage.
    """
    return {_classic_name(key, repeats): value for key, value in state.items()}


def to_timm(state: Mapping[str, Tensor], repeats: Sequence[int]) -> dict[str, Tensor]:
    """Give weights the names of timm; arguments as for :func:`to_classic`."""
    if any(key.startswith("conv_stem.") for key in state):
        return dict(state)
    return {_timm_name(_classic_name(key, repeats), repeats): value for key, value in state.items()}


def _classic_name(key: str, repeats: Sequence[int]) -> str:
    if key.startswith("_"):
        return re.sub(r"^_blocks\.\d+\.(?=\d+\.)", "_blocks.", key)  # MONAI: stage, then the block's number among all
    staged = re.match(r"blocks\.(\d+)\.(\d+)\.(.+)$", key)
    if not staged:
        return _translate(key, _inverse(_TOP))
    stage = int(staged[1])
    leaf = _translate(staged[3], _inverse(_OTHER_STAGES if stage else _FIRST_STAGE))
    return f"_blocks.{sum(repeats[:stage]) + int(staged[2])}.{leaf}"


def _timm_name(key: str, repeats: Sequence[int]) -> str:
    found = re.match(r"_blocks\.(\d+)\.(.+)$", key)
    if not found:
        return _translate(key, _TOP)
    block, stage = int(found[1]), 0
    while stage < len(repeats) - 1 and block >= repeats[stage]:
        block -= repeats[stage]
        stage += 1
    return f"blocks.{stage}.{block}.{_translate(found[2], _OTHER_STAGES if stage else _FIRST_STAGE)}"


def _inverse(table: Mapping[str, str]) -> dict[str, str]:
    return {value: key for key, value in table.items()}


def _translate(name: str, table: Mapping[str, str]) -> str:
    module, dot, parameter = name.rpartition(".")
    return table.get(module, module) + dot + parameter
