from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from volume_cases import OBLIQUE, assert_same_geometry, geometries, voxels

from itkit.core.errors import LabelError, ReadError
from itkit.core.geometry import Geometry
from itkit.io.formats.codecs import read_voxels
from itkit.io.formats.headers import Header, read_header
from itkit.io.formats.label_values import as_labels
from itkit.io.nii_toolkit import affine_ras, apply_scaling, geometry_from_affine, split_volumes
from itkit.io.sitk_toolkit import read_volume


def scaled_file(path: Path, array: np.ndarray, slope: float, inter: float) -> Header:
    """Write stored numbers with a scaling, as nibabel does not by itself."""
    nibabel.Nifti1Image(array.T, np.array(affine_ras(Geometry(array.shape[-3:], (2.0, 1.0, 1.5))))).to_filename(path)
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([slope, inter], "<f4").tobytes()
    path.write_bytes(data)
    return read_header(path)


@given(geometries)
def test_affine_and_geometry_are_each_other(geometry: Geometry) -> None:
    assert_same_geometry(geometry_from_affine(affine_ras(geometry), geometry.size_zyx), geometry, tolerance=1e-9)


def test_affine_maps_indices_to_ras_points() -> None:
    point = np.array(affine_ras(OBLIQUE)) @ (4, 3, 2, 1)
    x, y, z = OBLIQUE.point_xyz((2, 3, 4))
    np.testing.assert_allclose(point[:3], (-x, -y, z))


def test_axes_without_length_and_shear_are_refused() -> None:
    matrix = np.eye(4)
    matrix[1, 1] = 0
    with pytest.raises(ValueError, match="axis y has length 0"):
        geometry_from_affine(tuple(map(tuple, matrix)), (1, 1, 1))
    matrix = np.eye(4)
    matrix[0, 2] = 0.1
    with pytest.raises(ValueError, match="axes x and z"):
        geometry_from_affine(tuple(map(tuple, matrix)), (1, 1, 1))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
@pytest.mark.parametrize(("slope", "inter"), [(2.0, -1000.0), (1.0, -1024.0), (0.5, 0.25), (1e-3, 3.0), (1.0, 0.0)])
def test_images_are_scaled_as_simpleitk_scales_them(tmp_path: Path, dtype: str, slope: float, inter: float) -> None:
    header = scaled_file(tmp_path / "a.nii", voxels((3, 4, 5), dtype), slope, inter)
    values = apply_scaling(read_voxels(header), header, "image")
    reference = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nii")))
    assert values.dtype == reference.dtype == np.dtype(header.value_dtype)
    np.testing.assert_allclose(values, reference, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize(("slope", "inter"), [(0.0, 7.0), (float("nan"), float("nan")), (float("nan"), 0.0)])
def test_slopes_that_stand_for_none_scale_nothing(tmp_path: Path, slope: float, inter: float) -> None:
    header = scaled_file(tmp_path / "a.nii", voxels((3, 4, 5), "int16"), slope, inter)
    assert (header.slope, header.inter, header.is_scaled) == (1.0, 0.0, False)


@pytest.mark.parametrize(
    ("slope", "inter"), [(2.0, float("nan")), (float("nan"), 7.0), (float("inf"), 0.0), (1.0, float("-inf"))]
)
def test_half_a_scaling_is_refused_by_name(tmp_path: Path, slope: float, inter: float) -> None:
    with pytest.raises(ReadError, match=r"a\.nii: NIfTI scaling is incomplete: scl_slope"):
        scaled_file(tmp_path / "a.nii", voxels((3, 4, 5), "int16"), slope, inter)


def test_large_integers_are_scaled_in_double_precision(tmp_path: Path) -> None:
    array = np.full((2, 2, 2), 2**24 + 1, np.int32)
    header = scaled_file(tmp_path / "a.nii", array, 1.0, 1.0)
    np.testing.assert_array_equal(apply_scaling(read_voxels(header), header, "image"), 2.0**24 + 2)


@pytest.mark.parametrize(
    ("stored", "slope", "inter", "expected", "dtype"),
    [
        ([0, 10, 20], 0.1, 0.0, [0, 1, 2], "uint8"),
        ([0, 1, 2], 1.0, -1.0, [-1, 0, 1], "int8"),
        ([0, 150, 2], 2.0, 0.0, [0, 300, 4], "uint16"),
        ([0, 200, 2], 1.0, -1.0, [-1, 199, 1], "int16"),
    ],
)
def test_scaled_labels_stay_integers(
    tmp_path: Path, stored: list[int], slope: float, inter: float, expected: list[int], dtype: str
) -> None:
    header = scaled_file(tmp_path / "a.nii", np.array(stored, np.uint8).reshape(1, 1, 3), slope, inter)
    labels, notes = as_labels(apply_scaling(read_voxels(header), header, "label"), "a.nii")
    assert notes == ()
    assert labels.dtype == dtype
    assert labels.ravel().tolist() == expected


def test_labels_that_scaling_makes_fractions_are_refused(tmp_path: Path) -> None:
    header = scaled_file(tmp_path / "case9.nii", np.array([0, 1, 2], np.uint8).reshape(1, 1, 3), 0.25, 0.0)
    with pytest.raises(LabelError, match=r"case9\.nii.*0\.25.*2 voxels"):
        as_labels(apply_scaling(read_voxels(header), header, "label"), "case9.nii")


def test_unscaled_voxels_are_not_copied(tmp_path: Path) -> None:
    header = scaled_file(tmp_path / "a.nii", voxels((3, 4, 5), "int16"), 1.0, 0.0)
    stored = read_voxels(header)
    assert apply_scaling(stored, header, "label") is stored


def test_a_series_is_split_into_its_volumes(tmp_path: Path) -> None:
    array = voxels((4, 3, 5, 6), "int16")
    header = scaled_file(tmp_path / "a.nii", array, 2.0, 1.0)
    volumes = list(split_volumes(read_voxels(header), header))
    assert len(volumes) == 4
    for time, volume in enumerate(volumes):
        np.testing.assert_array_equal(volume.array_zyx, array[time] * 2.0 + 1.0)
        assert volume.geometry == header.geometry
    single = scaled_file(tmp_path / "b.nii", array[0], 1.0, 0.0)
    (only,) = split_volumes(read_voxels(single), single, "label")
    np.testing.assert_array_equal(only.array_zyx, array[0])


def test_scaling_beyond_what_a_type_holds_gives_infinity_and_a_named_error(tmp_path: Path) -> None:
    header = scaled_file(tmp_path / "case9.nii", np.array([0, 1, 200], np.uint8).reshape(1, 1, 3), 1e38, 0.0)
    image = apply_scaling(read_voxels(header), header, "image")
    assert image.dtype == "float32"
    assert np.isinf(image[0, 0]).tolist() == [False, False, True]
    with pytest.raises(LabelError, match=r"case9\.nii: no integer type"):
        read_volume(header.data_path, "label")
