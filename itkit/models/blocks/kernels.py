"""Resizing of convolution kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def resize_kernel(weight: Tensor, size: Sequence[int]) -> Tensor:
    """Resize kernels ``(out, in, *spatial)`` linearly over their spatial axes (half-pixel centres, no rescaling).

    This is the rule of UpKern (Roy et al., MedNeXt, arXiv:2303.09975, section 2.3).
    """
    mode = _LINEAR[weight.ndim - 2]
    return functional.interpolate(weight, size=tuple(size), mode=mode, align_corners=False)
