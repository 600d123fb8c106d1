"""What comes in a form for each number of spatial axes: layers, linear resizing, and the check of the number itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from itkit.core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONV: Mapping[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: Mapping[int, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
BATCH_NORM: Mapping[int, type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOL: Mapping[int, type[nn.MaxPool2d] | type[nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def require_dims(network: str, spatial_dims: int, *supported: int) -> None:
    """Refuse a number of spatial axes that a network has no form for.

    Raises
    ------
    ModelError
        When `spatial_dims` is not among the supported ones; the message names them.
    """
    if spatial_dims not in supported:
        raise ModelError(f"{network}: spatial_dims must be {' or '.join(map(str, supported))}; got {spatial_dims}")


def resize(tensor: Tensor, size: Sequence[int]) -> Tensor:
    """Resize ``(N, C, *spatial)`` linearly (half-pixel centres) to ``size``; returns the tensor itself when it fits.

    For kernels ``(out, in, *spatial)`` this is the rule of UpKern (Roy et al., MedNeXt, arXiv:2303.09975, section 2.3).
    """
    if tuple(tensor.shape[2:]) == tuple(size):
        return tensor
    return functional.interpolate(tensor, size=tuple(size), mode=_LINEAR[tensor.ndim - 2], align_corners=False)
