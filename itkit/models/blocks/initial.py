"""Initial weights that several networks draw alike."""

from __future__ import annotations

import math

from torch import nn


def init_transformer_weights(module: nn.Module) -> None:
    """Draw one module's initial weights as SegFormer does: linear layers 0.02, convolutions by fan-out, biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d | nn.Conv3d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
