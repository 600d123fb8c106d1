"""EfficientNet's weights from one set of names to another: efficientnet_pytorch, timm, MONAI."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
