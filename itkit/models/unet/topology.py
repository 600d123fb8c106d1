"""Which strides and kernels a U-Net has for a voxel spacing and a patch size; needs no torch.

The rule is nnU-Net's (Isensee et al., Nature Methods 2021, doi:10.1038/s41592-020-01008-z, Supplementary Note 1;
github.com/MIC-DKFZ/nnUNet, ``network_topology.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from itkit.core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_FEATURES = {2: 512, 3: 320}
"""Channels that no stage exceeds, by the number of spatial axes."""
FIRST_FEATURES = 32
_SMALLEST_SIDE = 4
_ALIKE = 2
"""Axes whose spacings differ by less than this factor are halved together and convolved together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stages:
    """What a plan says of each stage, the finest first.

    Attributes
    ----------
    strides, kernel_sizes
        One number per spatial axis (ZYX or YX) for each stage.
    features_per_stage
        Channels of each stage.
    """

    strides: tuple[tuple[int, ...], ...]
    kernel_sizes: tuple[tuple[int, ...], ...]
    features_per_stage: tuple[int, ...]

    @property
    def divisor(self) -> tuple[int, ...]:
        """Number whose multiples the sides of an input are, per axis."""
        return total_strides(self.strides)

    @property
    def minimum_size(self) -> tuple[int, ...]:
        """Shortest sides, per axis: the deepest map keeps two voxels, which instance norm needs in training."""
        return tuple(2 * side for side in self.divisor)


def total_strides(strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Multiply the strides of all stages, per axis.

    Examples
    --------
    >>> total_strides([(1, 1, 1), (1, 2, 2), (2, 2, 2)])
    (2, 4, 4)
    """
    totals = [1] * len(strides[0])
    for stage in strides:
        totals = [total * step for total, step in zip(totals, stage, strict=True)]
    return tuple(totals)


def features_of(
    stages: int, spatial_dims: int, first: int = FIRST_FEATURES, *, most: int | None = None
) -> tuple[int, ...]:
    """Double the channels from stage to stage, up to ``most`` (320 in 3-D, 512 in 2-D).

    Examples
    --------
    >>> features_of(6, 3)
    (32, 64, 128, 256, 320, 320)
    """
    return tuple(min(first * 2**stage, most or MOST_FEATURES[spatial_dims]) for stage in range(stages))


def plan_stages(
    patch_size: Sequence[int], spacing: Sequence[float] | None = None, *, first_features: int = FIRST_FEATURES
) -> Stages:
    """Choose strides and kernels for a patch.

    Axes are halved while at least 4 voxels remain, the finely sampled ones first: an axis is halved once its spacing is
    less than twice the smallest one of the axes that can still be halved. Its kernels have side 1 until its spacing is
    less than twice the smallest of all, then 3; the deepest stage has side 3 everywhere.

    Parameters
    ----------
    patch_size
        Voxels per axis (ZYX or YX).
    spacing
        Distance of voxels in mm per axis; None when all are equal.
    first_features
        Channels of the first stage.

    Raises
    ------
    ModelError
        When the numbers of axes differ, or a value is not positive.

    Examples
    --------
    >>> plan = plan_stages((16, 64, 64), (5.0, 0.8, 0.8))
    >>> plan.strides
    ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))
    >>> plan.kernel_sizes
    ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
    >>> plan.divisor
    (4, 16, 16)
    """
    dims = len(patch_size)
    distances = [1.0] * dims if spacing is None else [float(value) for value in spacing]
    if dims not in MOST_FEATURES or len(distances) != dims:
        raise ModelError(
            f"patch_size and spacing: expected two or three numbers each; got {tuple(patch_size)} "
            f"and {None if spacing is None else tuple(spacing)}"
        )
    if min(patch_size) < 1 or not all(0 < value < float("inf") for value in distances):
        raise ModelError(f"patch_size and spacing: expected positive numbers; got {tuple(patch_size)} and {spacing}")
    sides = list(patch_size)
    strides: list[tuple[int, ...]] = [(1,) * dims]
    kernels: list[tuple[int, ...]] = []
    kernel = [1] * dims
    while axes := _axes_to_halve(sides, distances):
        kernel = [
            3 if side == 3 or value / min(distances) < _ALIKE else 1
            for side, value in zip(kernel, distances, strict=True)
        ]
        strides.append(tuple(2 if axis in axes else 1 for axis in range(dims)))
        kernels.append(tuple(kernel))
        distances = [value * step for value, step in zip(distances, strides[-1], strict=True)]
        sides = [-(-side // step) for side, step in zip(sides, strides[-1], strict=True)]
    kernels.append((3,) * dims)
    return Stages(
        strides=tuple(strides),
        kernel_sizes=tuple(kernels),
        features_per_stage=features_of(len(strides), dims, first_features),
    )


def _axes_to_halve(sides: Sequence[int], distances: Sequence[float]) -> list[int]:
    possible = [axis for axis, side in enumerate(sides) if side >= 2 * _SMALLEST_SIDE]
    if not possible:
        return []
    finest = min(distances[axis] for axis in possible)
    axes = [axis for axis in possible if distances[axis] / finest < _ALIKE]
    alone_and_short = len(axes) == 1 and sides[axes[0]] < 3 * _SMALLEST_SIDE
    return [] if alone_and_short else axes
