"""Orientation against nibabel's and SimpleITK's own."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

import itkit
from itkit.core.grids import oriented_grid
from itkit.io.sitk_toolkit import from_sitk, read_volume, to_sitk, write_volume
from itkit.process.geometry import orient
from itkit.testing import phantoms

CODES = [
    "".join(letters) for order in itertools.permutations(["LR", "PA", "SI"]) for letters in itertools.product(*order)
]


def test_there_are_48_codes():
    assert len(set(CODES)) == 48


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", phantoms.GRIDS)
def test_every_voxel_keeps_its_value_at_its_point(name, code):
    turned = orient(phantoms.ramp(phantoms.GRIDS[name]), code)
    assert turned.geometry.orientation == code
    np.testing.assert_allclose(turned.array_zyx, phantoms.ramp_at(phantoms.points_xyz(turned.geometry)), atol=1e-9)


@pytest.mark.parametrize("code", CODES)
def test_equals_simpleitk(code):
    volume = phantoms.noise(phantoms.GRIDS["sagittal"])
    reference = from_sitk(sitk.DICOMOrient(to_sitk(volume), code))
    turned = orient(volume, code)
    np.testing.assert_array_equal(turned.array_zyx, reference.array_zyx)
    assert turned.geometry.same_grid(reference.geometry, tol_mm=1e-9)


@pytest.mark.parametrize("code", ["RAS", "LPI", "SRP", "AIL"])
@pytest.mark.parametrize("name", phantoms.GRIDS)
def test_equals_nibabel(tmp_path, name, code):
    volume = phantoms.noise(phantoms.GRIDS[name])
    write_volume(volume, tmp_path / "v.nii.gz")
    image = nib.load(tmp_path / "v.nii.gz")
    steps = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple(code))
    )
    reference = image.as_reoriented(steps)
    write_volume(orient(read_volume(tmp_path / "v.nii.gz"), code), tmp_path / "o.nii.gz")
    ours = nib.load(tmp_path / "o.nii.gz")
    assert "".join(nib.aff2axcodes(ours.affine)) == code
    np.testing.assert_array_equal(np.asanyarray(ours.dataobj), np.asanyarray(reference.dataobj))
    np.testing.assert_allclose(ours.affine, reference.affine, atol=1e-4)


def test_there_and_back_is_the_identity():
    volume = phantoms.noise(phantoms.GRIDS["oblique"])
    back = orient(orient(volume, "SRA"), volume.geometry.orientation)
    np.testing.assert_array_equal(back.array_zyx, volume.array_zyx)
    assert back.geometry.same_grid(volume.geometry, tol_mm=1e-9)
    assert oriented_grid(volume.geometry, volume.geometry.orientation) == volume.geometry


def test_tree_is_kept_and_pairs_stay_together(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 2)
    write_volume(phantoms.noise(phantoms.GRIDS["plain"]), tmp_path / "raw" / "extra" / "deep" / "x.nrrd")
    (tmp_path / "raw" / "image" / "case_00.nii.gz").write_bytes(b"")
    result = itkit.run("itk_orient", source=tmp_path / "raw", dest=tmp_path / "out", orient="lpi")
    statuses = {record.case_id: record.status for record in result.records}
    assert statuses == {"case_00": "failed", "case_01": "done", "extra/deep/x": "done"}
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.mha"))
    assert written == ["extra/deep/x.mha", "image/case_01.mha", "label/case_01.mha"]
    assert read_volume(tmp_path / "out" / "label" / "case_01.mha", "label").geometry.orientation == "LPI"


def test_ext_keep_keeps_each_format(tmp_path):
    grid = phantoms.GRIDS["flipped"]
    for name in ("a.nii", "b.MHD", "c.nrrd"):
        write_volume(phantoms.noise(grid), tmp_path / "raw" / name)
    itkit.run("itk_orient", source=tmp_path / "raw", dest=tmp_path / "out", orient="RAS", ext="keep")
    names = sorted(path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith("."))
    assert names == ["a.nii", "b.mhd", "b.zraw", "c.nrrd", "orient_configs.json", "series_meta.json"]


def test_a_pair_whose_label_is_flipped_is_brought_together(tmp_path):
    grid = phantoms.GRIDS["anisotropic"] if "anisotropic" in phantoms.GRIDS else next(iter(phantoms.GRIDS.values()))
    image, label = phantoms.noise(grid), phantoms.l_shape(grid)
    flipped = "RPI" if grid.orientation != "RPI" else "LAS"
    write_volume(image, tmp_path / "raw/image/a.mha")
    write_volume(orient(label, flipped), tmp_path / "raw/label/a.mha")
    check = itkit.run("itk_check", mode="check", source=tmp_path / "raw")
    assert "itk_orient" in check.records[0].message
    refused = itkit.run(
        "itk_resample", mode="dataset", source=tmp_path / "raw", dest=tmp_path / "no", spacing=(2, 2, 2)
    )
    assert refused.exit_code == 1
    assert "bring both to one orientation with itk_orient" in refused.records[0].message
    assert "--target-folder" not in refused.records[0].message
    assert itkit.run("itk_orient", source=tmp_path / "raw", dest=tmp_path / "out", orient="RAS").exit_code == 0
    new = read_volume(tmp_path / "out/label/a.mha", "label")
    np.testing.assert_array_equal(new.array_zyx, orient(label, "RAS").array_zyx)
    assert itkit.run("itk_check", mode="check", source=tmp_path / "out").exit_code == 0
