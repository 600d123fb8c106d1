"""Inputs and references that the kernels' tests share."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from hypothesis import strategies as st

from itkit.core.axes import to_xyz
from itkit.core.geometry import Geometry
from itkit.kernels.dispatch import forced_backend

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
DTYPES = (*INTEGERS, "float32", "float64")
FACTORS = (1.0, 2.0, 0.5, 3.0)

sizes = st.tuples(*[st.integers(1, 40)] * 3)
spacings = st.tuples(*[st.floats(0.3, 5.0)] * 3)
seeds = st.integers(0, 2**32 - 1)


def volume(seed, size_zyx, dtype, *, special=False):
    """Random voxels over the type's whole range (64-bit integers: what double holds exactly)."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        values = rng.normal(0, 1000, size_zyx).astype(dtype)
        if special:
            for value in (np.nan, np.inf, -np.inf):
                values[rng.random(size_zyx) < 0.05] = value
        return values
    info = np.iinfo(dtype)
    return rng.integers(max(info.min, -(2**53)), min(info.max, 2**53), size_zyx, dtype=dtype, endpoint=True)


def classes(seed, size_zyx, dtype="uint8", n=9):
    """A label map of which a half is noise and a half long runs."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, n, size_zyx)
    calm = values.ravel()[values.size // 2 :]
    calm[:] = np.sort(calm)
    return values.astype(dtype)


def signed_axes(rng, *, permuted):
    order = rng.permutation(3) if permuted else np.arange(3)
    return tuple((np.eye(3)[order] * rng.choice([-1.0, 1.0], 3)).ravel())


def oblique(rng):
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return tuple(q.ravel())


def resized(grid, spacing_zyx, shift_zyx=(0, 0, 0)):
    """A grid of another spacing over the same box, moved by some voxels."""
    pairs = list(zip(grid.size_zyx, grid.spacing_zyx, spacing_zyx, shift_zyx, strict=True))
    size = tuple(min(60, max(1, int(n * a / b + 0.5))) for n, a, b, _ in pairs)
    start = tuple((n * a - m * b) / 2 / a - 0.5 + b / a / 2 + s for (n, a, b, s), m in zip(pairs, size, strict=True))
    return Geometry(size, spacing_zyx, grid.point_xyz(start), grid.direction_xyz)


def simpleitk(array, source, target, *, label=False, fill=0.0, transform=None):
    """SimpleITK's result: labels in their type, images as float64."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(to_xyz(source.spacing_zyx))
    image.SetOrigin(source.origin_xyz)
    image.SetDirection(source.direction_xyz)
    result = sitk.Resample(
        image,
        to_xyz(target.size_zyx),
        transform or sitk.Transform(),
        sitk.sitkNearestNeighbor if label else sitk.sitkLinear,
        target.origin_xyz,
        to_xyz(target.spacing_zyx),
        target.direction_xyz,
        float(fill),
        image.GetPixelID() if label else sitk.sitkFloat64,
    )
    return sitk.GetArrayFromImage(result)


def both(function, *args, **kwargs):
    """Results of the compiled and of the numpy implementation."""
    results = []
    for name in ("native", "numpy"):
        with forced_backend(name):
            results.append(function(*args, **kwargs))
    return results


def same_bits(a, b):
    """Equal to the last bit; any nan equals any nan."""
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
