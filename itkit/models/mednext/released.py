"""MONAI's names of MedNeXt's weights (``monai.networks.nets.MedNeXt``, since release 1.5)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_COUNTED_UP = {"enc_stages": "enc_block", "down_blocks": "down"}
_COUNTED_DOWN = {"up_blocks": "up", "dec_stages": "dec_block"}
_LEVELS = 4


def is_monai(state: Mapping[str, Tensor]) -> bool:
    """Tell whether the names are MONAI's."""
    return any(key.startswith(("enc_stages.", "up_blocks.")) for key in state)


def from_monai(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert to the authors' names.

    MONAI's down blocks have no response normalisation, which is one with zeros, and there is no ``dummy_tensor``, which
    no forward pass uses: both take their neutral values.

    Parameters
    ----------
    state
        Weights under MONAI's names.
    own
        The network's own state.
    """
    named = {_name(key): value for key, value in state.items()}
    for key, value in own.items():
        if key not in named and re.fullmatch(r"down_\d\.grn_(beta|gamma)", key):
            named[key] = torch.zeros_like(value, device="cpu")
        if key == "dummy_tensor":
            named.setdefault(key, torch.ones_like(value, device="cpu"))
    return named


def _name(key: str) -> str:
    group, _, rest = key.partition(".")
    if group in _COUNTED_UP or group in _COUNTED_DOWN or group == "out_blocks":
        number, _, rest = rest.partition(".")
        index = int(number)
        if group in _COUNTED_UP:
            group = f"{_COUNTED_UP[group]}_{index}"
        elif group in _COUNTED_DOWN:
            group = f"{_COUNTED_DOWN[group]}_{_LEVELS - 1 - index}"
        else:
            group = f"out_{_LEVELS - index}"
    return re.sub(r"\bglobal_resp_(beta|gamma)$", r"grn_\1", f"{group}.{rest}" if rest else group)
