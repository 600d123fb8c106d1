"""``itkit.read`` takes a volume file, or a folder with one DICOM series."""

import sys

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_factory import save_all, slices

import itkit
from itkit.core.errors import MissingExtraError, ReadError
from itkit.testing import phantoms


@pytest.fixture
def folder(tmp_path):
    save_all(slices([0.0, 2.5, 5.0, 7.5]), tmp_path / "scan" / "deep")
    (tmp_path / "scan" / "notes.txt").write_text("not DICOM")
    return tmp_path / "scan"


def test_a_folder_of_one_series_is_a_volume_as_simpleitk_reads_it(folder):
    volume = itkit.read(folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder / "deep")))
    reference = itkit.Volume.from_sitk(reader.Execute())
    np.testing.assert_array_equal(volume.array_zyx, reference.array_zyx)
    assert volume.geometry.same_grid(reference.geometry)
    assert volume.kind == "image"
    label = itkit.read(str(folder), "label")
    assert label.kind == "label"
    assert label.dtype.kind in "iu"


def test_several_series_are_listed_and_the_command_is_named(folder):
    save_all(slices([0.0, 2.5], SeriesInstanceUID="1.2.3.9", SeriesNumber=9), folder / "other")
    with pytest.raises(ReadError, match=r"2 DICOM image series: .*deep.*other.*number 9.*itk_convert dicom"):
        itkit.read(folder)


def test_a_folder_without_a_series_says_what_is_there(tmp_path):
    phantoms.write_dataset(tmp_path, 1)
    with pytest.raises(ReadError, match="the folder of one DICOM image series; found 2 files"):
        itkit.read(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match="found 0 files"):
        itkit.read(tmp_path / "empty")


def test_without_pydicom_the_extra_is_named(folder, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "pydicom"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"itkit\[dicom\]"):
        itkit.read(folder)


def test_files_are_read_as_before(tmp_path):
    volume = phantoms.noise(phantoms.GRIDS["oblique"])
    itkit.write(volume, tmp_path / "a.mha")
    np.testing.assert_array_equal(itkit.read(tmp_path / "a.mha").array_zyx, volume.array_zyx)
    with pytest.raises(ReadError, match=r"missing\.mha"):
        itkit.read(tmp_path / "missing.mha")
