"""Random volumes, and what SimpleITK makes of a file: the independent reference of the tests beside this file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from hypothesis import strategies as st

from itkit.core.axes import to_xyz, to_zyx
from itkit.core.geometry import Geometry

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
SUFFIXES = (".mha", ".mhd", ".nii", ".nii.gz", ".nrrd", ".nhdr")
OBLIQUE = Geometry((5, 7, 9), (2.5, 0.7, 1.1), (10.5, -20.25, 300.0), (0.0, -0.8, 0.6, 1.0, 0.0, 0.0, 0.0, 0.6, 0.8))
"""Odd sizes, three spacings, permuted and turned axes: nothing can be swapped unseen."""


def rotation(a: float, b: float, c: float, flips: tuple[int, int, int]) -> tuple[float, ...]:
    """Rotation by three angles about z, y, x, with columns turned round where ``flips`` has -1; row by row."""
    ca, sa, cb, sb, cc, sc = (f(v) for v in (a, b, c) for f in (math.cos, math.sin))
    rows = (
        (ca * cb, ca * sb * sc - sa * cc, ca * sb * cc + sa * sc),
        (sa * cb, sa * sb * sc + ca * cc, sa * sb * cc - ca * sc),
        (-sb, cb * sc, cb * cc),
    )
    return tuple(value * flip for row in rows for value, flip in zip(row, flips, strict=True))


_sizes = st.integers(1, 40)
_angles = st.sampled_from([0.0, math.pi / 2, math.pi]) | st.floats(-math.pi, math.pi)
_signs = st.sampled_from([-1, 1])
directions = st.builds(rotation, _angles, _angles, _angles, st.tuples(_signs, _signs, _signs))
_spacings = st.floats(0.3, 5.0)
_points = st.floats(-500.0, 500.0)
geometries = st.builds(
    Geometry,
    st.tuples(_sizes, _sizes, _sizes),
    st.tuples(_spacings, _spacings, _spacings),
    st.tuples(_points, _points, _points),
    directions,
)
dtypes = st.sampled_from(DTYPES)


def voxels(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    """Seeded voxels of any type, negative ones and fractions where the type has them."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 1000, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(max(info.min, -1000), min(info.max, 1000), shape, endpoint=True).astype(dtype)


def to_image(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    image.SetSpacing(to_xyz(geometry.spacing_zyx))
    image.SetOrigin(geometry.origin_xyz)
    image.SetDirection(geometry.direction_xyz)
    return image


def sitk_says(path: Path) -> tuple[Geometry, str, int, int]:
    """Grid, type, components and dimensions that SimpleITK reports from the header alone."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    ndim = reader.GetDimension()
    size, spacing, origin = list(reader.GetSize()), list(reader.GetSpacing()), list(reader.GetOrigin())
    matrix = np.eye(max(3, ndim))
    matrix[:ndim, :ndim] = np.reshape(reader.GetDirection(), (ndim, ndim))
    geometry = Geometry(
        to_zyx([*size, 1][:3]), to_zyx([*spacing, 1.0][:3]), tuple([*origin, 0.0][:3]), tuple(matrix[:3, :3].ravel())
    )
    probe = sitk.Image([1, 1], reader.GetPixelID(), reader.GetNumberOfComponents())
    return geometry, sitk.GetArrayFromImage(probe).dtype.name, reader.GetNumberOfComponents(), ndim


def assert_same_geometry(ours: Geometry, reference: Geometry, *, tolerance: float = 1e-6) -> None:
    assert ours.size_zyx == reference.size_zyx
    np.testing.assert_allclose(ours.spacing_zyx, reference.spacing_zyx, rtol=tolerance, atol=0)
    np.testing.assert_allclose(ours.direction_xyz, reference.direction_xyz, rtol=0, atol=tolerance)
    np.testing.assert_allclose(ours.origin_xyz, reference.origin_xyz, rtol=tolerance, atol=tolerance)
