"""Boxes of voxels in a volume: where patches start along an axis, and which boxes cover a volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PatchGrid:
    """Start indices of all patches of a volume, along each axis."""

    starts_zyx: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    patch_zyx: tuple[int, int, int]

    def __iter__(self) -> Iterator[tuple[tuple[int, int, int], tuple[int, int, int]]]:
        """Yield (position in the grid, start index) of each patch, x fastest."""
        zs, ys, xs = self.starts_zyx
        for k, z in enumerate(zs):
            for j, y in enumerate(ys):
                for i, x in enumerate(xs):
                    yield (k, j, i), (z, y, x)

    def __len__(self) -> int:
        zs, ys, xs = self.starts_zyx
        return len(zs) * len(ys) * len(xs)


def patch_starts(length: int, patch: int, stride: int) -> tuple[int, ...]:
    """Return where patches start along an axis: 0, s, 2s, …, and a last one at the end.

    Raises
    ------
    ValueError
        When the patch is longer than the axis.

    Examples
    --------
    >>> patch_starts(10, 4, 3), patch_starts(11, 4, 3), patch_starts(4, 4, 9)
    ((0, 3, 6), (0, 3, 6, 7), (0,))
    """
    last = length - patch
    if last < 0:
        raise ValueError(f"a patch of {patch} voxels is longer than the axis of {length}; pad the volume first")
    starts = list(range(0, last + 1, stride))
    return tuple(starts if starts[-1] == last else [*starts, last])


def patch_grid(size_zyx: Sequence[int], patch_zyx: Sequence[int], stride_zyx: Sequence[int]) -> PatchGrid:
    """Return the patches that cover a volume of at least the patch's size."""
    z, y, x = (patch_starts(n, p, s) for n, p, s in zip(size_zyx, patch_zyx, stride_zyx, strict=True))
    a, b, c = patch_zyx
    return PatchGrid((z, y, x), (a, b, c))
