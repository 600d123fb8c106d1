"""Pages of commands that make volumes: all cases, those to look at, pictures at the same physical point."""

import re

import numpy as np
import pytest

import itkit
from itkit.core.errors import ParamsError, ReadError
from itkit.core.geometry import Geometry
from itkit.core.slices import PLANES
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import write_volume
from itkit.report import results
from itkit.report.alignment import slab_of
from itkit.report.pictures import fused_picture, slice_picture
from itkit.report.results import MOST_PICTURES
from itkit.report.windows import Window
from itkit.testing import phantoms

GRID = Geometry((8, 12, 16), (3.0, 2.0, 1.5), (-10.0, 5.0, 20.0), phantoms.GRIDS["oblique"].direction_xyz)
GREY = Window(0.0, 100.0, "test")


def volumes(count, folder):
    """Bright blocks at different places of a dark image, with their labels."""
    for number in range(count):
        array = np.full(GRID.size_zyx, 20, np.int16)
        array[2:5, 3:8, 4 + number % 3 : 12] = 300 + number
        write_volume(Volume(array, GRID), folder / "image" / f"case_{number}.nii.gz")
        write_volume(Volume((array > 100).astype(np.uint8), GRID, "label"), folder / "label" / f"case_{number}.nii.gz")


def names_drawn(page):
    return re.findall(r"<h3>(.*?)</h3>", page)


def test_crop_draws_whole_and_box_and_names_what_failed(tmp_path):
    volumes(3, tmp_path / "raw")
    empty = Volume(np.zeros(GRID.size_zyx, np.uint8), GRID, "label")
    write_volume(empty, tmp_path / "raw" / "label" / "case_1.nii.gz")
    page = tmp_path / "pages" / "crop.html"
    values = {"source": tmp_path / "raw", "dest": tmp_path / "out", "to": "foreground", "report": page}
    assert itkit.run("itk_crop", **values).exit_code == 1
    text = page.read_text()
    assert names_drawn(text) == ["case_2", "case_0"]  # the smaller box first
    assert text.count("<img") == 2 * 2 * len(PLANES)
    assert "the label is empty" in text
    assert "3 x 5 x 6" in text
    assert "http" not in text.replace("http-equiv", "")


def test_the_page_costs_no_case_twice_and_a_dry_run_writes_none(tmp_path):
    volumes(1, tmp_path / "raw")
    values = {"source": tmp_path / "raw", "dest": tmp_path / "out", "to": "foreground"}
    page = tmp_path / "crop.html"
    itkit.run("itk_crop", **values, report=page, dry_run=True)
    assert not page.exists()
    assert itkit.run("itk_crop", **values).summary.counts["done"] == 1
    again = itkit.run("itk_crop", **values, report=page)
    assert (again.summary.counts["skipped"], again.summary.counts.get("done", 0)) == (1, 0)
    first = page.read_bytes()
    itkit.run("itk_crop", **values, report=page)
    assert page.read_bytes() == first
    for name in ("image", "label"):
        (tmp_path / "raw" / name / "case_0.nii.gz").rename(tmp_path / "raw" / name / "other.nii.gz")
    itkit.run("itk_crop", **values, report=page)
    assert names_drawn(page.read_text()) == ["other"]


def test_pasted_back_cases_are_drawn_whole_and_cut(tmp_path):
    volumes(1, tmp_path / "raw")
    itkit.run("itk_crop", source=tmp_path / "raw", dest=tmp_path / "cut", to="foreground")
    boxes, page = tmp_path / "cut" / "crop_boxes.json", tmp_path / "back.html"
    result = itkit.run("itk_crop", source=tmp_path / "cut", dest=tmp_path / "back", paste_back=boxes, report=page)
    assert result.exit_code == 0
    assert re.findall(r"<figcaption>axial, (\w+)", page.read_text()) == ["whole", "box"]


def test_presegment_draws_cases_with_warnings_first_and_no_more_than_some(tmp_path):
    volumes(MOST_PICTURES + 2, tmp_path / "raw")
    page = tmp_path / "found.html"
    values = {"source": tmp_path / "raw", "dest": tmp_path / "out", "target": "threshold", "threshold": (200, 999)}
    assert itkit.run("itk_presegment", **values, report=page).exit_code == 0
    text = page.read_text()
    assert len(names_drawn(text)) == MOST_PICTURES
    assert "2 more cases without a picture" in text
    assert "Volume of each label" in text


def test_align_lays_both_images_over_each_other(tmp_path):
    volumes(1, tmp_path / "raw")
    page = tmp_path / "align.html"
    result = itkit.run(
        "itk_align",
        source=tmp_path / "raw",
        fixed=tmp_path / "raw",
        dest=tmp_path / "out",
        transform="translation",
        levels=1,
        report=page,
    )
    assert result.exit_code == 0
    text = page.read_text()
    assert text.count("<img") == 3 * len(PLANES)
    assert "fixed image with moved label" in text


def test_an_unreadable_result_costs_its_picture_alone(tmp_path, monkeypatch):
    volumes(2, tmp_path / "raw")
    values = {"source": tmp_path / "raw", "dest": tmp_path / "out", "target": "threshold", "threshold": (200, 999)}
    read, page = results.read_volume, tmp_path / "found.html"

    def one_fails(path, *words, **options):
        if path == tmp_path / "out" / "label" / "case_0.mha":
            raise ReadError(f"{path.name}: gone")
        return read(path, *words, **options)

    monkeypatch.setattr(results, "read_volume", one_fails)
    assert itkit.run("itk_presegment", **values, report=page).exit_code == 0
    text = page.read_text()
    assert "No picture: case_0.mha: gone" in text
    assert text.count("<img") == len(PLANES)


@pytest.mark.parametrize("name", ["itk_crop", "itk_align", "itk_presegment"])
def test_only_a_page_is_written(name, tmp_path):
    values = {
        "itk_crop": {"to": "body"},
        "itk_align": {"fixed": "b"},
        "itk_presegment": {"target": "body"},
    }[name]
    with pytest.raises(ParamsError, match=r"--report: expected a \.html file; got table\.csv"):
        itkit.run(name, source="a", dest="c", report="table.csv", **values)


def test_equal_images_give_grey_and_others_magenta_or_green():
    array = np.full(GRID.size_zyx, 50, np.int16)
    one, other = Volume(array, GRID), Volume(np.zeros_like(array), GRID)
    point = GRID.point_xyz((3, 4, 5))
    same = fused_picture((one, one), (GREY, GREY), "axial", point).rgb
    assert (same == 128).all()
    assert (fused_picture((one, other), (GREY, GREY), "axial", point).rgb == [128, 0, 128]).all()
    assert (fused_picture((other, one), (GREY, GREY), "axial", point).rgb == [0, 128, 0]).all()


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("name", ["oblique", "RAS"])
def test_a_layer_shows_what_the_volume_shows(plane, name):
    direction = phantoms.GRIDS.get(name, GRID).direction_xyz
    grid = Geometry(GRID.size_zyx, GRID.spacing_zyx, GRID.origin_xyz, direction)
    rng = np.random.default_rng(3)
    volume = Volume(rng.integers(0, 100, grid.size_zyx).astype(np.int16), grid)
    point = grid.point_xyz((2, 9, 13))
    layer = slab_of(grid, plane, point)
    start = [round(at) for at in grid.index_zyx(layer.origin_xyz)]
    z, y, x = (slice(at, at + size) for at, size in zip(start, layer.size_zyx, strict=True))
    part = Volume(volume.array_zyx[z, y, x], layer)
    pictures = [slice_picture(found, [], plane, point, GREY).rgb for found in (volume, part)]
    np.testing.assert_array_equal(*pictures)
