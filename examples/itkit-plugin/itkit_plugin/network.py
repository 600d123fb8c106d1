"""A network: two convolutions. torch is imported when it is built, not when networks are listed."""

from typing import Any

from itkit.models.card import ModelCard


def build(in_channels: int, num_classes: int, spatial_dims: int, width: int = 8) -> Any:
    """Return the network: it maps ``(N, C, ...)`` to logits of the same size."""
    from torch import nn

    conv = {2: nn.Conv2d, 3: nn.Conv3d}[spatial_dims]
    return nn.Sequential(
        conv(in_channels, width, 3, padding=1), nn.ReLU(inplace=True), conv(width, num_classes, 3, padding=1)
    )


CARD = ModelCard(
    name="example_net",
    title="Two convolutions",
    spatial_dims=(2, 3),
    builder="itkit_plugin.network:build",
    tiny={"width": 2},
)
