"""Volumes written by us are read alike by SimpleITK, nibabel and ourselves, whole or not at all."""

import os

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

import itkit
from itkit.core.errors import LabelError, ReadError, WriteError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.formats.label_values import as_labels
from itkit.io.sitk_toolkit import (
    from_sitk,
    read_geometry,
    read_volume,
    read_with_header,
    to_sitk,
    write_volume,
)
from itkit.testing import phantoms

SUFFIXES = [".mha", ".mhd", ".nii", ".nii.gz", ".nrrd", ".nhdr"]
DTYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", phantoms.GRIDS)
def test_round_trip_and_simpleitk_read_back(tmp_path, suffix, dtype, name):
    volume = phantoms.noise(phantoms.GRIDS[name], dtype=dtype)
    path = tmp_path / f"case.1{suffix.upper() if dtype == 'int8' else suffix}"
    write_volume(volume, path, compression="fast" if dtype != "uint8" else "none")
    ours = read_volume(path)
    np.testing.assert_array_equal(ours.array_zyx, volume.array_zyx)
    assert ours.dtype == np.dtype(dtype)
    assert ours.geometry.same_grid(volume.geometry, tol_mm=1e-4)
    assert read_geometry(path) == ours.geometry
    if dtype != "int8":
        theirs = from_sitk(sitk.ReadImage(str(path)))
        np.testing.assert_array_equal(theirs.array_zyx, volume.array_zyx)
        assert theirs.geometry.same_grid(volume.geometry, tol_mm=1e-4)


@pytest.mark.parametrize("name", phantoms.GRIDS)
def test_nifti_affine_equals_nibabel(tmp_path, name):
    grid = phantoms.GRIDS[name]
    write_volume(phantoms.noise(grid), tmp_path / "v.nii.gz")
    image = nib.load(tmp_path / "v.nii.gz")
    points_ras = phantoms.points_xyz(grid) * np.array([-1, -1, 1])
    k, j, i = 7, 11, 3
    np.testing.assert_allclose((image.affine @ [i, j, k, 1])[:3], points_ras[k, j, i], atol=1e-4)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj).T, read_volume(tmp_path / "v.nii.gz").array_zyx)


def test_scaled_nifti_labels_and_images(tmp_path):
    stored = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    image = nib.Nifti1Image(stored, np.diag([-1, -1, 1, 1]))
    image.header.set_slope_inter(2.0, -1.0)
    nib.save(image, tmp_path / "s.nii.gz")
    expected = np.asanyarray(nib.load(tmp_path / "s.nii.gz").dataobj).T
    np.testing.assert_allclose(read_volume(tmp_path / "s.nii.gz").array_zyx, expected)
    label = read_volume(tmp_path / "s.nii.gz", "label")
    assert label.dtype.kind == "i"
    np.testing.assert_array_equal(label.array_zyx, expected)


def test_sform_wins_over_a_qform_that_disagrees_and_the_run_warns(tmp_path):
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([-1.0, -1.0, 2.0, 1.0]))
    image.set_sform(np.diag([-1.0, -1.0, 2.0, 1.0]), code=1)
    other = np.diag([-1.0, -1.0, 2.0, 1.0])
    other[:3, 3] = (10, 20, 30)
    image.set_qform(other, code=1)
    (tmp_path / "in").mkdir()
    nib.save(image, tmp_path / "in" / "a.nii.gz")
    assert read_volume(tmp_path / "in" / "a.nii.gz").geometry.origin_xyz == (0.0, 0.0, 0.0)
    result = itkit.run("itk_orient", source=tmp_path / "in", dest=tmp_path / "out", orient="LPS")
    assert any("qform" in warning for warning in result.records[0].warnings)


def test_shear_is_a_named_error(tmp_path):
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    affine[0, 1] = 0.3
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), affine)
    image.set_sform(affine, code=1)
    image.set_qform(None, code=0)
    nib.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(ReadError, match=r"shear|orthogonal|right angles"):
        read_volume(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_write_keeps_what_was_there(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"a{suffix}"
    write_volume(phantoms.noise(phantoms.GRIDS["plain"]), path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="No space left"):
        write_volume(phantoms.noise(phantoms.GRIDS["flipped"], 5), path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_labels_of_any_size_and_none_that_is_not_integral():
    for array, dtype in (
        (np.array([0.0, 3.0]), "uint8"),
        (np.array([0.0, 300.0]), "uint16"),
        (np.array([-1.0, 100000.0]), "int32"),
        (np.array([True, False]), "uint8"),
        (np.array([0, 2**40]), "int64"),
    ):
        new, notes = as_labels(array, "x")
        assert notes == ()
        assert new.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(new, array)
    for bad in (0.5, 1.002, np.nan, np.inf):
        with pytest.raises(LabelError, match="must hold integers"):
            as_labels(np.array([0.0, bad]), "x")


def test_labels_one_rounding_step_off_are_rounded_with_a_note():
    new, notes = as_labels(np.array([0.0, 2.9999, 11.0005, 3.0]), "x")
    assert (new.tolist(), new.dtype) == ([0, 3, 11, 3], np.uint8)
    assert notes == ("2 label voxels were up to 0.0005 off an integer: rounded",)
    with pytest.raises(LabelError, match=r"it holds 11\.0012 \(1 voxels"):
        as_labels(np.array([0.0, 11.0012]), "x")


def test_the_note_of_rounded_labels_reaches_whoever_reads(tmp_path):
    path = tmp_path / "a.mha"
    write_volume(Volume(np.full((2, 3, 4), 2.9995), Geometry((2, 3, 4), (1.0, 2.0, 3.0))), path)
    volume, header = read_with_header(path, "label")
    assert volume.array_zyx.max() == 3
    assert "24 label voxels" in header.warnings[0]


def test_channels_only_when_asked_for(tmp_path):
    volume = Volume(np.arange(48, dtype=np.uint8).reshape(2, 3, 4, 2), Geometry((2, 3, 4), (1.0, 2.0, 3.0)))
    write_volume(volume, tmp_path / "v.mha")
    with pytest.raises(ReadError, match="one value per voxel"):
        read_volume(tmp_path / "v.mha")
    np.testing.assert_array_equal(read_volume(tmp_path / "v.mha", channels=True).array_zyx, volume.array_zyx)
    assert sitk.ReadImage(str(tmp_path / "v.mha")).GetNumberOfComponentsPerPixel() == 2
    np.testing.assert_array_equal(sitk.GetArrayFromImage(to_sitk(volume)), volume.array_zyx)


@pytest.mark.parametrize("content", [b"", b"ObjectType = Image\n", b"\x1f\x8b\x08", b"NRRD0004\n", bytes(range(256))])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_unreadable_files_say_which_and_why(tmp_path, suffix, content):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(ReadError, match="bad"):
        read_volume(path)
    with pytest.raises(ReadError, match="none"):
        read_volume(tmp_path / f"none{suffix}")


def test_a_label_beyond_64_bits_is_named_with_its_file(tmp_path):
    path = tmp_path / "case9.mha"
    image = sitk.GetImageFromArray(np.full((3, 4, 5), 1e30))
    sitk.WriteImage(image, str(path))
    with pytest.raises(LabelError, match=r"case9\.mha: no integer type"):
        read_volume(path, "label")
