"""Blocks of nnU-Net's U-Nets, with the parameter names of ``dynamic_network_architectures``.

That package registers each layer of a unit twice, by its name and in a sequence, and files carry both names; so do
these blocks. The tensors are shared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from itkit.core.errors import ModelError
from itkit.models.blocks.by_dims import BATCH_NORM, CONV

_INSTANCE_NORM = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_DROPOUT = {2: nn.Dropout2d, 3: nn.Dropout3d}
NORMS = ("instance", "batch", "none")
ACTIVATIONS: dict[str, Any] = {"leaky_relu": nn.LeakyReLU, "relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


@dataclass(frozen=True, kw_only=True, slots=True)
class Layers:
    """Which layers all units of a network have.

    Attributes
    ----------
    spatial_dims
        2 or 3.
    conv_bias
        Convolutions have a bias.
    norm, norm_options
        ``"instance"``, ``"batch"`` or ``"none"``, and arguments of torch's layer.
    dropout
        Probability of dropping a channel; 0 for no such layer.
    activation, activation_options
        One of :data:`ACTIVATIONS`, and arguments of torch's layer.
    nonlin_first
        The activation comes before the norm.
    """

    spatial_dims: int
    conv_bias: bool = True
    norm: str = "instance"
    norm_options: Mapping[str, Any] = field(default_factory=lambda: {"eps": 1e-5, "affine": True})
    dropout: float = 0.0
    activation: str = "leaky_relu"
    activation_options: Mapping[str, Any] = field(default_factory=lambda: {"inplace": True})
    nonlin_first: bool = False

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ModelError(f"norm: expected {', '.join(map(repr, NORMS))}; got {self.norm!r}")
        if self.activation not in ACTIVATIONS:
            raise ModelError(f"activation: expected {', '.join(map(repr, ACTIVATIONS))}; got {self.activation!r}")
        if not 0 <= self.dropout < 1:
            raise ModelError(f"dropout: expected a probability from 0 to below 1; got {self.dropout}")

    def make_norm(self, channels: int) -> nn.Module:
        """Make the norm of a unit."""
        kind = BATCH_NORM if self.norm == "batch" else _INSTANCE_NORM
        norm: nn.Module = kind[self.spatial_dims](channels, **self.norm_options)
        return norm

    def make_activation(self) -> nn.Module:
        """Make the activation of a unit."""
        options = {} if self.activation == "gelu" else self.activation_options
        activation: nn.Module = ACTIVATIONS[self.activation](**options)
        return activation


class _Average3d(nn.AvgPool3d):
    """Average pooling; torch has none for half types on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, *spatial)`` to ``(N, C, *spatial / stride)``."""
        narrow = x.device.type == "cpu" and x.dtype in {torch.bfloat16, torch.float16}
        return super().forward(x.float()).to(x.dtype) if narrow else super().forward(x)


_AVERAGE: dict[int, Any] = {2: nn.AvgPool2d, 3: _Average3d}


class ConvUnit(nn.Module):
    """Convolution, dropout, norm and activation; a kernel of side k is padded by (k - 1) // 2.

    Parameters
    ----------
    in_channels, out_channels
        Channels.
    kernel, stride
        One number per spatial axis.
    layers
        The network's layers.
    bias, dropout, active
        Whether this unit has a bias (None: as the network's), dropout, and an activation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        layers: Layers,
        *,
        bias: bool | None = None,
        dropout: bool = True,
        active: bool = True,
    ) -> None:
        super().__init__()
        conv: Any = CONV[layers.spatial_dims]  # torch's types want tuples of two or of three
        self.conv: nn.Module = conv(
            in_channels,
            out_channels,
            tuple(kernel),
            stride=tuple(stride),
            padding=tuple((side - 1) // 2 for side in kernel),
            bias=layers.conv_bias if bias is None else bias,
        )
        parts: list[nn.Module] = [self.conv]
        if dropout and layers.dropout:
            self.dropout = _DROPOUT[layers.spatial_dims](layers.dropout)
            parts.append(self.dropout)
        if layers.norm != "none":
            self.norm = layers.make_norm(out_channels)
            parts.append(self.norm)
        if active:
            self.nonlin = layers.make_activation()
            parts.append(self.nonlin)
        if active and layers.nonlin_first and layers.norm != "none":
            parts[-1], parts[-2] = parts[-2], parts[-1]
        self.all_modules = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, *spatial)`` to ``(N, out, *spatial / stride)``."""
        return self.all_modules(x)  # type: ignore[no-any-return]  # calling a module returns Any


class _Stack(nn.Module):
    """Parts of one kind, one after another; the first one has the stride.

    Subclasses say which kind (``part``), and under which name it stands in a state dict (``key``).
    """

    part: ClassVar[Callable[..., nn.Module]]
    key: ClassVar[str]

    def __init__(
        self,
        count: int,
        in_channels: int,
        out_channels: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        layers: Layers,
    ) -> None:
        super().__init__()
        ones, make = (1,) * layers.spatial_dims, type(self).part
        first = make(in_channels, out_channels, kernel, stride, layers)
        others = (make(out_channels, out_channels, kernel, ones, layers) for _ in range(count - 1))
        self.add_module(self.key, nn.Sequential(first, *others))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, *spatial)`` to ``(N, out, *spatial / stride)``."""
        return self.get_submodule(self.key)(x)  # type: ignore[no-any-return]  # calling a module returns Any


class ConvStack(_Stack):
    """Units one after another."""

    part, key = ConvUnit, "convs"


class ResidualBlock(nn.Module):
    """Two units and a skip: average pooling for a stride, a 1x1 convolution for other channels (ResNet-D).

    He et al., Bag of Tricks for Image Classification with Convolutional Neural Networks, CVPR 2019, arXiv:1812.01187.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: Sequence[int], stride: Sequence[int], layers: Layers
    ) -> None:
        super().__init__()
        ones = (1,) * layers.spatial_dims
        self.conv1 = ConvUnit(in_channels, out_channels, kernel, stride, layers)
        self.conv2 = ConvUnit(out_channels, out_channels, kernel, ones, layers, dropout=False, active=False)
        self.nonlin2 = layers.make_activation()
        parts: list[nn.Module] = []
        if any(step != 1 for step in stride):
            parts.append(_AVERAGE[layers.spatial_dims](tuple(stride), tuple(stride)))
        if in_channels != out_channels:
            parts.append(
                ConvUnit(in_channels, out_channels, ones, ones, layers, bias=False, dropout=False, active=False)
            )
        self.skip = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, *spatial)`` to ``(N, out, *spatial / stride)``."""
        return self.nonlin2(self.conv2(self.conv1(x)) + self.skip(x))  # type: ignore[no-any-return]


class ResidualStack(_Stack):
    """Residual blocks one after another."""

    part, key = ResidualBlock, "blocks"
