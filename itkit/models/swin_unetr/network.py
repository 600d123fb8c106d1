"""MONAI's SwinUNETR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from itkit.core.errors import ModelError
from itkit.core.extras import require

_ENCODER_NAMES = (("mlp.fc1.", "mlp.linear1."), ("mlp.fc2.", "mlp.linear2."))
"""Names of self-supervised weights, and MONAI's (its ``load_from``)."""


def build(*, in_channels: int, num_classes: int, spatial_dims: int, **options: Any) -> nn.Module:
    """Build MONAI's class; ``options`` are its arguments (``feature_size``, ``depths``, ``use_v2``, ...)."""
    require("einops", extra="train", why="swin_unetr")
    nets = require("monai.networks.nets", extra="train", why="swin_unetr")
    if options.get("patch_size", 2) != 2:
        raise ModelError(
            f"swin_unetr: patch_size must be 2, for logits of the image's size; got {options['patch_size']}"
        )
    network: nn.Module = nets.SwinUNETR(
        in_channels=in_channels, out_channels=num_classes, spatial_dims=spatial_dims, **options
    )
    # the deepest map needs two voxels for its instance norm
    network.minimum_size = (32,) * (spatial_dims - 1) + (64,)  # type: ignore[assignment]  # torch's types of attributes
    network.adapt_state_dict = _released  # type: ignore[assignment]  # likewise
    return network


def _released(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of the self-supervised encoder's file."""
    found = {}
    for key, value in weights.items():
        for old, new in _ENCODER_NAMES:
            key = key.replace(old, new)
        found[key] = value
    return found
