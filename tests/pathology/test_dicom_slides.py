"""DICOM whole slides: all files of a series are one slide, read, checked, tiled and segmented as any other."""

import csv
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from itkit.cli.operation import main
from itkit.pathology import open_slide
from itkit.pathology.finding import find_slides

from .made_slides import gradient, write_dicom

RGB = gradient(300, 200)


def wsi(*arguments):
    return main("itk_wsi", [str(argument) for argument in arguments])


@pytest.fixture
def slides(tmp_path):
    write_dicom(tmp_path / "slides" / "one", RGB, levels=3, label=gradient(30, 20))
    write_dicom(tmp_path / "slides" / "two", RGB[:, ::-1])
    return tmp_path / "slides"


@pytest.mark.parametrize("file", ["0.dcm", "2.dcm", "label.dcm"])
def test_any_file_of_a_slide_opens_all_of_it(file, slides):
    with open_slide(slides / "one" / file) as slide:
        assert [level.size_xy for level in slide.levels] == [(300, 200), (150, 100), (75, 50)]
        assert (slide.mpp, slide.associated) == (0.5, ("label",))
        np.testing.assert_array_equal(slide.read_region(level_px=(0, 0), size=(300, 200)), RGB)
        found = slide.read_region(level_px=(30, 20), size=(90, 70), level=1)
        np.testing.assert_array_equal(found, RGB[::2, ::2][20:90, 30:120])
        np.testing.assert_array_equal(slide.read_associated("label"), gradient(30, 20))


def test_a_series_is_one_slide_wherever_it_lies(slides, tmp_path):
    found, twice = find_slides(slides, recursive=False)
    assert ({name: path.name for name, path in found.items()}, twice) == ({"one": "0.dcm", "two": "0.dcm"}, [])
    assert list(find_slides(slides / "one", recursive=False)[0]) == ["one"]
    assert list(find_slides(slides / "two", recursive=False)[0]) == ["0"]
    for path in slides.rglob("*.dcm"):
        shutil.copy(path, slides / f"{path.parent.name}_{path.name}")
    found, _ = find_slides(slides, recursive=False)
    assert list(found) == ["one", "one_0", "two", "two_0"]


def test_tiles_are_its_pixels_and_a_changed_level_makes_them_anew(slides, tmp_path, capsys):
    words = ("tile", slides, tmp_path / "out", "--mpp", "1", "--tile-um", "50", "--tissue-min", "0")
    assert wsi(*words) == 0
    with (tmp_path / "out" / "one" / "tiles.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    whole = np.pad(RGB[::2, ::2], [(0, 50), (0, 50), (0, 0)], constant_values=255)
    for row in rows:
        x, y = int(row["x_px0"]) // 2, int(row["y_px0"]) // 2
        tile = np.asarray(Image.open(tmp_path / "out" / "one" / row["file"]))
        np.testing.assert_array_equal(tile, whole[y : y + 50, x : x + 50])
    os.utime(slides / "one" / "2.dcm")
    capsys.readouterr()
    assert wsi(*words) == 0
    assert "1 done, 1 skipped" in "".join(capsys.readouterr())


def test_check_names_the_patient_and_what_is_cut(slides, capsys):
    path = slides / "one" / "1.dcm"
    path.write_bytes(path.read_bytes()[:-9000])
    assert wsi("check", slides) == 1
    said = "".join(capsys.readouterr())
    assert "level 1 (150 x 100)" in said
    assert "images that may show a patient's name: label" in said
    assert "dicom.PatientName" in said
    assert "level 2" not in said
    assert "1 of 2 slides are as they should be" in said
    assert wsi("deidentify", slides, slides.parent / "copies") == 1
