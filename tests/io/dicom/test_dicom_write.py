"""Series written and read back, by us and by SimpleITK."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_factory import OBLIQUE, normal_of, save_all, slices

from itkit.core.errors import WriteError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.dcm_toolkit import find_series, read_series, write_series
from itkit.io.dicom import write as dicom_write

DIRECTION = tuple(np.stack([OBLIQUE[:3], OBLIQUE[3:], normal_of(OBLIQUE)], axis=1).ravel())
GRID = Geometry((4, 5, 7), (2.5, 0.6, 0.8), (-12.25, 33.5, 101.125), DIRECTION)


def volume_of(array, **options):
    return Volume(np.asarray(array), options.pop("geometry", GRID), **options)


def ramp(dtype, low, high):
    return np.linspace(low, high, 140).reshape(4, 5, 7).astype(dtype)


def itk_read(folder):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


@pytest.mark.parametrize(
    "array",
    [
        ramp(np.int16, -1024, 3071),
        ramp(np.int16, -32768, 32767),
        ramp(np.uint16, 0, 65535),
        ramp(np.uint8, 0, 255),
        ramp(np.int32, 100_000, 165_535),
        ramp(np.int64, -70_000, -10_000),
        ramp(bool, 0, 1),
        np.rint(ramp(np.float32, -500, 500)),
    ],
    ids=lambda array: f"{array.dtype}-{array.min()}",
)
def test_integral_values_come_back_exactly(tmp_path, array):
    write_series(volume_of(array), tmp_path / "out", modality="CT")
    series, refusals = find_series(tmp_path / "out")
    again = read_series(series[0])
    assert not refusals
    np.testing.assert_array_equal(again.array_zyx, array.astype(int))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(itk_read(tmp_path / "out")), array.astype(int))


@pytest.mark.parametrize(("low", "high"), [(-3.7, 9.1), (-1e-4, 2e-4), (5e6, 5.1e6), (0.25, 0.25)])
def test_float_values_come_back_within_half_a_level(tmp_path, low, high):
    array = ramp(np.float32, low, high)
    write_series(volume_of(array), tmp_path / "out", modality="MR")
    again = read_series(find_series(tmp_path / "out")[0][0])
    np.testing.assert_allclose(
        again.array_zyx, array, atol=(high - low) / 65535 * 0.51 + 1e-6 * max(abs(low), abs(high))
    )
    np.testing.assert_allclose(
        sitk.GetArrayFromImage(itk_read(tmp_path / "out")), again.array_zyx, rtol=1e-5, atol=1e-9
    )


def test_grid_comes_back_for_itk_too(tmp_path):
    write_series(volume_of(ramp(np.int16, 0, 139)), tmp_path / "out")
    again = read_series(find_series(tmp_path / "out")[0][0])
    other = itk_read(tmp_path / "out")
    assert again.geometry.same_grid(GRID)
    np.testing.assert_allclose(other.GetOrigin(), GRID.origin_xyz, atol=1e-4)
    np.testing.assert_allclose(other.GetSpacing(), GRID.spacing_zyx[::-1], atol=1e-5)
    np.testing.assert_allclose(other.GetDirection(), GRID.direction_xyz, atol=1e-5)


def test_a_left_handed_grid_keeps_every_voxel_at_its_point(tmp_path):
    flipped = Geometry((4, 5, 7), (2.5, 0.6, 0.8), (1.0, 2.0, 3.0), (1, 0, 0, 0, 1, 0, 0, 0, -1))
    array = np.arange(140, dtype=np.int16).reshape(4, 5, 7)
    write_series(volume_of(array, geometry=flipped), tmp_path / "out")
    again = read_series(find_series(tmp_path / "out")[0][0])
    for index in [(0, 0, 0), (3, 4, 6), (1, 2, 5)]:
        z, y, x = (round(value) for value in again.geometry.index_zyx(flipped.point_xyz(index)))
        assert again.array_zyx[z, y, x] == array[index]


def test_template_gives_patient_and_study_but_no_uids_of_images(tmp_path):
    source, _ = find_series(save_all(slices([0, 2.0, 4.0], StudyDate="20200102"), tmp_path / "in"))
    volume = read_series(source[0])
    for name, template in (("series", source[0]), ("file", source[0].files[1])):
        files = write_series(volume, tmp_path / name, template=template, description="denoised", series_number=90)
        made = [pydicom.dcmread(path) for path in files]
        assert {str(one.PatientName) for one in made} == {"Doe^Jane"}
        assert {one.PatientID for one in made} == {"SECRET-4711"}
        assert {one.StudyInstanceUID for one in made} == {"1.2.3"}
        assert {one.FrameOfReferenceUID for one in made} == {"1.2.3.9"}
        assert {one.StudyDate for one in made} == {"20200102"}
        assert {one.Modality for one in made} == {"CT"}
        assert {one.SeriesDescription for one in made} == {"denoised"}
        assert {one.SeriesNumber for one in made} == {90}
        old = [pydicom.dcmread(path) for path in source[0].files]
        assert len({one.SeriesInstanceUID for one in [*made, *old]}) == 2
        assert len({one.SOPInstanceUID for one in [*made, *old]}) == 6
        assert [one.InstanceNumber for one in made] == [1, 2, 3]
        assert read_series(find_series(tmp_path / name)[0][0]).geometry.same_grid(volume.geometry)


def test_without_template_nobody_is_named(tmp_path):
    one = pydicom.dcmread(write_series(volume_of(ramp(np.int16, 0, 9)), tmp_path / "out")[0])
    assert (one.PatientID, str(one.PatientName), one.SOPClassUID.name) == (
        "ANONYMOUS",
        "",
        "Secondary Capture Image Storage",
    )


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (volume_of(np.full((4, 5, 7), np.nan)), "nan or infinite"),
        (volume_of(np.zeros((4, 5, 7, 2), np.int16)), "2 channels"),
        (volume_of(ramp(np.int64, 0, 10**6), kind="label"), "renumber"),
        (
            volume_of(
                np.zeros((4, 5, 7)), geometry=Geometry((4, 5, 7), (1, 1, 1), (0, 0, 0), (1, 0, 0.2, 0, 1, 0, 0, 0, 1))
            ),
            "axes",
        ),
        (volume_of(np.zeros((4, 5, 7), complex)), "type complex128"),
    ],
)
def test_what_a_series_cannot_hold_is_refused(tmp_path, volume, message):
    with pytest.raises(WriteError, match=message):
        write_series(volume, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_files_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").touch()
    with pytest.raises(WriteError, match="exists already"):
        write_series(volume_of(ramp(np.int16, 0, 9)), tmp_path / "out")
    (tmp_path / "out/mine.txt").unlink()
    assert len(write_series(volume_of(ramp(np.int16, 0, 9)), tmp_path / "out")) == 4


def test_a_failing_disk_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def fail(*_):
        calls.append(1)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(dicom_write.os, "fsync", fail)
    with pytest.raises(WriteError, match="No space left"):
        write_series(volume_of(ramp(np.int16, 0, 9)), tmp_path / "out")
    assert not list(tmp_path.iterdir())
