"""Convolution with TensorFlow's padding, and squeeze-and-excitation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return how many zeros TensorFlow's SAME rule puts before and after an axis of ``size``.

    Examples
    --------
    >>> same_padding(224, 3, 2), same_padding(225, 3, 2), same_padding(224, 5, 1)
    ((0, 1), (1, 1), (2, 2))
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class SameConv2d(nn.Conv2d):
    """Convolution whose output has the input's size divided by the stride, rounded up.

    Parameters
    ----------
    image_size
        Size (Y, X) that the padding is computed for, whatever the input's size is; by default the input's own.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, groups=groups, bias=False)
        self.image_size = image_size

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, Y, X)`` to ``(N, out, Y / stride, X / stride)``."""
        size = self.image_size or (x.shape[2], x.shape[3])
        kernel, stride = self.kernel_size[0], self.stride[0]
        top, bottom = same_padding(size[0], kernel, stride)
        left, right = same_padding(size[1], kernel, stride)
        if top == bottom and left == right:
            return functional.conv2d(x, self.weight, None, self.stride, (top, left), groups=self.groups)
        return super().forward(functional.pad(x, (left, right, top, bottom)))


def squeeze_excite(x: Tensor, reduce: Callable[[Tensor], Tensor], expand: Callable[[Tensor], Tensor]) -> Tensor:
    """Scale every channel by a gate computed from all channels' means (Hu et al., CVPR 2018, arXiv:1709.01507)."""
    return x * expand(functional.silu(reduce(x.mean((2, 3), keepdim=True)))).sigmoid()
