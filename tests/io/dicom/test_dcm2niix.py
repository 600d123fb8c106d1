"""Series of a real CT, and of an MR, have the geometry and voxels that dcm2niix gives them.

It runs where dcm2niix is on the path (Debian's package; tried with 1.0.20220720).
"""

import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import slicerio
from dicom_factory import MR, image, save_all
from pydicom.uid import JPEG2000Lossless

import itkit
from itkit.io.sitk_toolkit import read_volume

CHEST = Path(slicerio.__file__).parent / "data" / "CTChest4.nrrd"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is not installed"),
]


@pytest.fixture(scope="module")
def chest():
    return read_volume(CHEST)


def series(volume, *, jitter=None, **elements):
    """Return the slices of a volume as DICOM, each moved along the normal by its jitter in slice steps."""
    grid = volume.geometry
    across = np.array(grid.direction_xyz).reshape(3, 3)
    moved = np.zeros(grid.size_zyx[0]) if jitter is None else jitter
    for k, values in enumerate(volume.array_zyx):
        position = np.array(grid.point_xyz((k, 0, 0))) + moved[k] * grid.spacing_zyx[0] * across[:, 2]
        yield image(
            values.astype(np.int16),
            position,
            orientation=[*across[:, 0].round(9), *across[:, 1].round(9)],
            spacing_yx=grid.spacing_zyx[1:],
            thickness=grid.spacing_zyx[0],
            InstanceNumber=k + 1,
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
            Manufacturer="SIEMENS",
            RescaleSlope=1,
            RescaleIntercept=0,
            **elements,
        )


def anonymised(slices):
    """Return slices without the identifiers that a de-identification removes."""
    for one in slices:
        for name in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName",
                     "PatientBirthDate", "SeriesDescription"):  # fmt: skip
            delattr(one, name)
        yield one


def recompressed(folder):
    for path in folder.iterdir():
        one = pydicom.dcmread(path)
        one.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg")
        pydicom.dcmwrite(path, one, enforce_file_format=True)


def by_dcm2niix(folder, out):
    out.mkdir()
    words = ["dcm2niix", "-b", "n", "-z", "n", "-f", "volume", "-o", out, folder]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    files = [path for path in out.glob("*.nii") if "_Eq" not in path.name]  # that one is interpolated
    assert len(files) == 1, done.stdout
    return nib.as_closest_canonical(nib.load(files[0]))


def by_itkit(folder, out):
    result = itkit.run("itk_convert", mode="dicom", source=folder, dest=out, ext=".nii")
    assert result.exit_code == 0, [record.message for record in result.records]
    (path,) = (out / "image").glob("*.nii")
    return nib.as_closest_canonical(nib.load(path)), result


def assert_same(ours, theirs, tol_mm):
    assert ours.shape == theirs.shape
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in ours.shape])).reshape(3, -1)
    places = [nib.affines.apply_affine(one.affine, corners.T) for one in (ours, theirs)]
    assert np.abs(places[0] - places[1]).max() < tol_mm
    np.testing.assert_array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj))


def test_a_ct_without_identifiers(chest, tmp_path):
    save_all(anonymised(series(chest)), tmp_path / "in")
    assert_same(by_itkit(tmp_path / "in", tmp_path / "out")[0], by_dcm2niix(tmp_path / "in", tmp_path / "ref"), 1e-3)


def test_a_ct_in_jpeg_2000(chest, tmp_path):
    save_all(series(chest), tmp_path / "in")
    recompressed(tmp_path / "in")
    assert_same(by_itkit(tmp_path / "in", tmp_path / "out")[0], by_dcm2niix(tmp_path / "in", tmp_path / "ref"), 1e-3)


def test_an_mr_whose_slices_jitter(chest, tmp_path):
    jitter = 0.016 * np.random.default_rng(4).uniform(-1, 1, chest.geometry.size_zyx[0])
    jitter[[0, 1, -1]] = 0  # dcm2niix takes the first distance for all; ours is the mean, from end to end
    save_all(series(chest, jitter=jitter, sop_class=MR, MRAcquisitionType="2D"), tmp_path / "in")
    ours, result = by_itkit(tmp_path / "in", tmp_path / "out")
    assert any("mean distance" in warning for record in result.records for warning in record.warnings), result.records
    assert_same(ours, by_dcm2niix(tmp_path / "in", tmp_path / "ref"), 1e-3)
