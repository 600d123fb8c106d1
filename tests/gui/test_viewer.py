"""The viewer shows the voxel that stands at a point, right side up, and says where it is."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PyQt6.QtCore import QPoint, QPointF, Qt
from PyQt6.QtGui import QColor, QImage
from PyQt6.QtWidgets import QApplication, QLabel, QListWidget

import itkit
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.forms.progress import CaseRow
from itkit.gui.viewer import loader
from itkit.gui.viewer.opening import CaseFiles, middle_slice, what_is_at
from itkit.gui.viewer.plane_view import SWIPE
from itkit.gui.viewer.planes import PlaneMap, tilt_degrees
from itkit.gui.viewer.slices import Classes, Grey, LabelStyle, projection
from itkit.io.formats.inspect import read_any_header
from itkit.kernels.colouring import coloured
from itkit.report.windows import Window
from itkit.testing import phantoms

PLANES = ("axial", "coronal", "sagittal")


def marked(grid):
    """An image whose values are those of the patient's directions: brightest towards left, posterior, superior."""
    index = np.indices(grid.size_zyx).reshape(3, -1).T
    points = np.array([grid.point_xyz(tuple(map(float, one))) for one in index])
    points -= points.mean(axis=0)
    return points.reshape(*grid.size_zyx, 3)


@pytest.mark.parametrize("name", list(phantoms.GRIDS))
@pytest.mark.parametrize("plane", PLANES)
def test_a_place_in_a_plane_and_a_voxel_are_each_others(name, plane):
    grid = phantoms.GRIDS[name]
    found = PlaneMap.of(grid, plane)
    at = found.count // 2
    for index in ((0, 0, 0), (1, 2, 3), tuple(size - 1 for size in grid.size_zyx)):
        index = tuple(at if axis == found.across else value for axis, value in enumerate(index))
        assert found.index(*found.offset(index), at) == pytest.approx(index, abs=1e-9)


@pytest.mark.parametrize("name", [name for name in phantoms.GRIDS if tilt_degrees(phantoms.GRIDS[name]) < 1e-6])
@pytest.mark.parametrize(("plane", "right", "down"), [("axial", 0, 1), ("coronal", 0, -2), ("sagittal", 1, -2)])
def test_planes_are_right_side_up_whatever_the_order_of_axes(name, plane, right, down):
    """To the right lies the patient's left, or posterior; down lies posterior, or inferior."""
    from itkit.core.slices import plane_slice

    grid = phantoms.GRIDS[name]
    points = marked(grid)
    middle = tuple(size // 2 for size in grid.size_zyx)
    found = PlaneMap.of(grid, plane)
    shown = [plane_slice(points[..., axis], grid, plane, middle).values for axis in range(3)]
    assert np.all(np.diff(shown[right], axis=1) > 0)
    rows = np.diff(shown[abs(down)], axis=0)
    assert np.all(rows > 0 if down > 0 else rows < 0)
    assert found.letters == {"axial": tuple("RLAP"), "coronal": tuple("RLSI"), "sagittal": tuple("APSI")}[plane]
    corner = found.corner(middle[found.across])
    assert corner[0] < found.uv(tuple(map(float, middle)))[0]
    assert corner[1] < found.uv(tuple(map(float, middle)))[1]


def test_an_oblique_grid_is_said_so_and_has_letters_of_its_matrix():
    grid = phantoms.GRIDS["oblique"]
    assert tilt_degrees(grid) > 5
    assert any(len(letters) > 1 for plane in PLANES for letters in PlaneMap.of(grid, plane).letters)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "float32"])
def test_grey_is_linear_between_the_windows_ends(dtype):
    values = np.arange(0, 120, dtype=dtype).reshape(10, 12)
    grey = Grey(np.dtype(dtype), Window(20.0, 100.0, ""))(values[:, ::-1])
    expected = np.clip((values[:, ::-1].astype(float) - 20) / 80 * 255, 0, 255).astype(np.uint8)
    assert np.abs(grey.astype(int) - expected).max() <= 1


def test_negative_and_large_classes_keep_their_colours():
    classes = Classes({0: 9, -3: 1, 70000: 2})
    places = classes.places(np.array([[0, -3], [70000, 5]]))
    style = LabelStyle(colours={-3: (1, 2, 3), 70000: (4, 5, 6)}, opacity=1)
    grey = np.full((2, 2), 9, np.uint8)
    assert (coloured(grey, places, classes.table(style)) & 0xFFFFFF).tolist() == [
        [0x090909, 0x010203],
        [0x040506, 0x090909],
    ]
    hidden = classes.table(replace(style, hidden=frozenset({-3})))
    assert coloured(grey, places, hidden)[0, 1] & 0xFFFFFF == 0x090909
    half = classes.table(replace(style, opacity=0.5))
    assert coloured(grey, places, half)[1, 0] & 0xFF == 8  # (9 + 6) / 2, rounded up
    assert (coloured(grey, None, half) == 0xFF090909).all()  # labels are not shown: no class has a colour


def test_colours_are_those_of_the_table_wherever_classes_lie():
    rng = np.random.default_rng(5)
    grey = rng.integers(0, 256, (9, 14)).astype(np.uint8)
    places = np.zeros((9, 14), np.uint8)
    places[2:5, 3:11] = rng.integers(0, 4, (3, 8))
    table = Classes({0, 1, 2, 3}).table(LabelStyle(opacity=0.4, hidden=frozenset({2})))
    expected = table[256 * places.astype(int) + grey]
    assert np.array_equal(coloured(grey, places, table), expected)
    assert np.array_equal(coloured(grey, 0 * places, table), 0xFF000000 | 0x010101 * grey.astype(np.uint32))


@pytest.fixture
def dataset(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 3)
    return tmp_path / "raw"


def test_what_a_path_holds(dataset, tmp_path):
    opened = what_is_at(dataset)
    assert [case.name for case in opened.cases] == ["case_00", "case_01", "case_02"]
    assert all(case.label is not None for case in opened.cases)
    image = dataset / "image" / "case_01.nii.gz"
    opened = what_is_at(image)
    assert opened.cases[opened.first].image == image
    assert what_is_at(dataset / "image").cases[2].name == "case_02"
    alone = tmp_path / "alone.nii.gz"
    alone.write_bytes(image.read_bytes())
    assert what_is_at(alone).cases == (CaseFiles("alone", alone),)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(itkit.ItkitError, match="found 0 files"):
        what_is_at(empty)


@pytest.fixture
def viewer(window, until):
    page = window.viewer_page

    def show(path):
        window.open_path(Path(path))
        until(lambda: page.loaded is not None and page.message.text() == "")
        return page

    window.show_page("viewer")
    return show


def pixel(view, place):
    return QColor(view.grab().toImage().pixel(round(place.x()), round(place.y())))


def test_the_voxel_under_the_crosshair_is_that_of_the_file(viewer, dataset, until):
    page = viewer(dataset)
    image = itkit.read(dataset / "image" / "case_00.nii.gz")
    index = (4, 9, 3)
    page.go_to(image.geometry.point_xyz(index))
    assert page.scene.index_zyx == index
    assert page.scene.value() == float(image.array_zyx[index])
    until(lambda: "Z Y X  4 9 3" in page.readout.text())
    text = page.findChild(QLabel, "readout").text()
    assert f"value {image.array_zyx[index]:g}" in text


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_click_goes_to_the_voxel_that_is_drawn_there(viewer, tmp_path, qtbot, number):
    """One bright voxel in an oddly turned grid: where it is drawn, a click finds it."""
    grid = replace(phantoms.GRIDS["oblique"], size_zyx=(7, 9, 11))
    array = np.zeros(grid.size_zyx, np.int16)
    index = (5, 2, 8)
    array[index] = 1000
    array[0, 0, 0] = 100
    itkit.write(Volume(array, grid), tmp_path / "dot.mha")
    page = viewer(tmp_path / "dot.mha")
    page.set_window(Window(0, 1000, "test"))
    page.go_to(grid.point_xyz(index))
    page.shared.shows_cross = False
    view = page.views.planes[number]
    place = view.place_of(grid.point_xyz(index))
    view.forget()
    assert pixel(view, place).lightness() > 200
    assert view.point_at(place) == pytest.approx(grid.point_xyz(index), abs=1e-6)
    away = [at if axis == view.scene.maps[view.plane].across else 0 for axis, at in enumerate(index)]
    page.go_to(grid.point_xyz(tuple(away)))
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=QPoint(round(place.x()), round(place.y())))
    assert page.scene.index_zyx == index


def test_labels_are_drawn_hidden_and_outlined(viewer, dataset, qtbot):
    page = viewer(dataset)
    label = itkit.read(dataset / "label" / "case_00.nii.gz", "label")
    value = int(np.unique(label.array_zyx)[-1])
    inner = tuple(int(at) for at in np.argwhere(label.array_zyx == value)[0])
    page.go_to(label.geometry.point_xyz(inner))
    page.scene.set_style(opacity=1.0)
    page.shared.shows_cross = False
    view = page.views.planes[0]
    view.forget()
    place = view.place_of(label.geometry.point_xyz(inner))
    assert pixel(view, place).getRgb()[:3] == pytest.approx(page.scene.style.colour(value), abs=2)
    items = page.findChild(QListWidget, "classes")
    row = next(at for at in range(items.count()) if f"({value})" in items.item(at).text())
    items.item(row).setCheckState(Qt.CheckState.Unchecked)
    colour = pixel(view, place)
    assert colour.red() == colour.green() == colour.blue()
    qtbot.keyClick(page, Qt.Key.Key_Space)
    assert not page.scene.shows_label


def on_screen(window, view):
    """What the screen shows of a view, where only parts of it were drawn anew."""
    QApplication.processEvents()
    corner = view.mapTo(window, QPoint())
    whole = window.screen().grabWindow(window.winId()).toImage()
    return whole.copy(corner.x(), corner.y(), view.width(), view.height())


def is_kept(view):
    """Whether the smooth pictures of all that a view shows are drawn, a moment after the last change, and kept."""
    shown = [view.scene, *([view.other] if view._splits() else [])]
    return all(view._is_kept(at, view._key(view.layout_of_slice(), scene)) for at, scene in enumerate(shown))


def test_what_is_drawn_in_parts_is_what_is_drawn_as_a_whole(window, viewer, dataset, until):
    page = viewer(dataset)
    grid = page.scene.grid
    page.go_to(grid.point_xyz((4, 9, 3)))
    view = page.views.planes[0]
    until(lambda: is_kept(view))
    found = page.scene.maps["axial"]
    for index in ((4, 5, 9), (4, 2, 1), (6, 2, 1), (6, 7, 8)):
        kept = dict(view._kept)
        page.go_to(grid.point_xyz(index))
        stays = index[found.across] == 4 and found.across == 0
        shown = on_screen(window, view)
        assert (view._kept == kept) or not stays
        until(lambda: is_kept(view))
        assert shown.size() == view.grab().toImage().size()
        whole = view.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
        if stays:
            assert shown.convertToFormat(QImage.Format.Format_RGB32) == whole
    assert on_screen(window, view).convertToFormat(QImage.Format.Format_RGB32) == whole


def test_keys_and_wheel_move_through_slices(viewer, dataset, qtbot):
    page = viewer(dataset)
    view = page.views.planes[0]
    before = page.scene.index_zyx
    qtbot.keyClick(view, Qt.Key.Key_PageUp)
    across = page.scene.maps["axial"].across
    assert abs(page.scene.index_zyx[across] - before[across]) == 1
    point = np.array(page.scene.point_xyz)
    qtbot.keyClick(view, Qt.Key.Key_Right)
    assert page.scene.point_xyz[0] > point[0], "to the right lies the patient's left"


def test_a_distance_is_measured_in_millimetres(viewer, dataset, qtbot):
    page = viewer(dataset)
    page.measure.setChecked(True)
    view = page.views.planes[1]
    begin, end = QPointF(view.width() / 2, view.height() / 2), QPointF(view.width() / 2 + 30, view.height() / 2)
    expected = np.linalg.norm(np.subtract(view.point_at(begin), view.point_at(end)))
    qtbot.mousePress(view, Qt.MouseButton.LeftButton, pos=begin.toPoint())
    qtbot.mouseMove(view, end.toPoint())
    view.pointing.stretch(QPointF(end.toPoint()))
    qtbot.mouseRelease(view, Qt.MouseButton.LeftButton, pos=end.toPoint())
    assert view.rulers[0].length_mm == pytest.approx(expected, rel=0.05)
    assert expected == pytest.approx(30 / view.layout_of_slice().scale, rel=1e-6)


def test_a_distance_is_measured_and_planes_are_swiped_by_keys(viewer, dataset, tmp_path, until, qtbot):
    page = viewer(dataset)
    view = page.views.planes[0]
    view.setFocus()
    page.go_to(page.scene.grid.point_xyz((1, 1, 1)))
    page.measure.setChecked(True)
    begin = page.scene.point_xyz
    for key in (Qt.Key.Key_Return, *[Qt.Key.Key_Right] * 3, Qt.Key.Key_Return):
        qtbot.keyClick(view, key)
    assert view.rulers[0].length_mm == pytest.approx(np.linalg.norm(np.subtract(page.scene.point_xyz, begin)))
    assert view.rulers[0].length_mm > 0
    qtbot.keyClick(view, Qt.Key.Key_F)
    assert not page.views.planes[1].isVisible()
    qtbot.keyClick(view, Qt.Key.Key_F)
    page.compare_with(dataset / "image" / "case_01.nii.gz")
    until(lambda: page.other is not None)
    page.modes.buttons()[2].setChecked(True)
    qtbot.keyClick(view, Qt.Key.Key_BracketLeft)
    assert page.shared.swipe == pytest.approx(0.45)


def test_a_distance_without_an_end_is_dropped(viewer, dataset, until, qtbot):
    page = viewer(dataset)
    view = page.views.planes[0]
    for end in (lambda: page.measure.setChecked(False), lambda: page.list.setCurrentRow(1)):
        page.measure.setChecked(True)
        qtbot.keyClick(view, Qt.Key.Key_Return)
        assert view.pointing.ruler is not None
        end()
        until(lambda: view.pointing.ruler is None)


def test_classes_of_the_second_volume_alone_are_shown_and_hidden(viewer, dataset, tmp_path, until):
    shutil.copy(dataset / "image" / "case_00.nii.gz", tmp_path / "plain.nii.gz")
    page = viewer(tmp_path / "plain.nii.gz")
    assert page.class_panel.list.count() == 0
    page.compare_with(dataset)
    until(lambda: page.other is not None and page.other.label is not None)
    item = page.class_panel.list.item(0)
    item.setCheckState(Qt.CheckState.Unchecked)
    assert len(page.other_scene.style.hidden) == 1
    page.class_panel.visible.setChecked(False)
    assert not page.other_scene.shows_label


def test_long_numbers_of_the_geometry_are_shown_whole(viewer, tmp_path):
    grid = Geometry((4, 5, 6), (1.0, 1.0, 1.0), (177.956, -11.3189, 94.3018))
    itkit.write(phantoms.noise(grid), tmp_path / "far.mha")
    table = viewer(tmp_path / "far.mha").geometry_panel
    row = next(row for row in range(table.rowCount()) if table.verticalHeaderItem(row).text().startswith("Origin"))
    lines = table.item(row, 0).text().splitlines()
    assert lines == ["177.956", "-11.3189", "94.3018"]
    assert table.rowHeight(row) >= len(lines) * table.fontMetrics().height()


def test_before_and_after_show_one_point_and_their_differences(window, viewer, dataset, tmp_path, until):
    itkit.run("itk_resample", mode="image", source=dataset / "image", dest=tmp_path / "out", spacing=(1, -1, -1))
    page = viewer(dataset / "image" / "case_00.nii.gz")
    page.compare_with(tmp_path / "out" / "case_00.mha")
    until(lambda: page.other is not None)
    assert page.other_views.isVisible()
    assert "Spacing ZYX, mm" in page.geometry_panel.differences()
    assert "Axes to" not in page.geometry_panel.differences()
    grid = page.scene.grid
    page.go_to(grid.point_xyz((2, 3, 4)))
    distance = np.linalg.norm(np.subtract(page.other_scene.point_xyz, page.scene.point_xyz))
    assert distance <= max(page.other_scene.grid.spacing_zyx)
    page.modes.buttons()[2].setChecked(True)
    assert page.views.planes[0].other is page.other_scene
    assert page.screenshot(tmp_path / "swipe.png").stat().st_size > 1000
    view = page.views.planes[0]
    until(lambda: is_kept(view))
    view.swiped.emit(0.25)
    shown = on_screen(window, view).convertToFormat(QImage.Format.Format_RGB32)
    assert shown == view.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
    line = [shown.pixelColor(round(view.width() * share), view.height() // 4).getRgb()[:3] for share in (0.25, 0.5)]
    assert line[0] == SWIPE.getRgb()[:3] != line[1]


def test_a_case_of_a_run_opens_with_what_was_made_of_it(window, dataset, tmp_path, until):
    itkit.run("itk_orient", source=dataset, dest=tmp_path / "out", orient="ASL")
    files = [str(dataset / kind / "case_01.nii.gz") for kind in ("image", "label")]
    made = [str(tmp_path / "out" / kind / "case_01.mha") for kind in ("image", "label")]
    window._open_case(CaseRow("case_01", "done", inputs=tuple(files), outputs=tuple(made)))
    page = window.viewer_page
    until(lambda: page.other is not None and page.loaded is not None)
    assert list(page.volumes()) == ["image", "label", "image 2", "label 2"]
    assert "Axes to" in page.geometry_panel.differences()


def test_a_fault_while_a_case_is_read_is_told(viewer, dataset, until, monkeypatch):
    page = viewer(dataset)
    monkeypatch.setattr("itkit.gui.viewer.loader.load", lambda *_, **__: 1 // 0)
    page.list.setCurrentRow(1)
    until(lambda: "a fault of ITKIT: ZeroDivisionError" in page.message.text())


def test_what_a_model_made_is_drawn_over_its_image(window, viewer, dataset, tmp_path, until):
    image, made = dataset / "image" / "case_01.nii.gz", tmp_path / "predicted" / "case_01.nii.gz"
    made.parent.mkdir()
    made.write_bytes((dataset / "label" / "case_01.nii.gz").read_bytes())
    window._open_case(CaseRow("case_01", "done", inputs=(str(image),), outputs=(str(made),)))
    page = window.viewer_page
    until(lambda: page.other is not None)
    assert page.other.label is not None
    assert np.array_equal(page.other.image.array_zyx, itkit.read(image).array_zyx)
    page = viewer(image)
    page.show_labels(made)
    until(lambda: page.scene.label is not None and page.loaded.files.label == made)
    assert np.array_equal(page.scene.label.array_zyx, itkit.read(made, "label").array_zyx)
    assert page.scene.image is not None


def test_side_by_side_planes_stand_beside_each_other_and_grow_together(viewer, dataset, until):
    page = viewer(dataset)
    page.compare_with(dataset / "image" / "case_01.nii.gz")
    until(lambda: page.other is not None)
    until(lambda: page.views.planes[0].width() > 1.5 * page.views.planes[0].height())  # they are laid out
    for before, after in zip(page.views.planes, page.other_views.planes, strict=True):
        assert before.mapTo(page, QPoint()).y() == after.mapTo(page, QPoint()).y()
        assert before.width() > 1.5 * before.height()
    page.views.planes[1].maximised.emit()
    assert [view.isVisible() for view in page.other_views.planes] == [False, True, False, False]
    page.other_views.planes[1].maximised.emit()
    assert all(view.isVisible() for view in page.views.planes)


def test_a_path_that_holds_nothing_takes_no_projection_away(viewer, dataset, tmp_path, until, monkeypatch):
    began = threading.Event()
    monkeypatch.setattr(
        "itkit.gui.viewer.loader.projection", lambda volume, plane: began.wait(180) and projection(volume, plane)
    )
    page = viewer(dataset)
    (tmp_path / "empty").mkdir()
    page.open_path(tmp_path / "empty")
    until(lambda: "found 0 files" in page.message.text())
    began.set()
    until(lambda: page.scene.mip is not None)
    assert "found 0 files" in page.message.text()


def test_a_file_that_cannot_be_read_is_told_and_the_last_case_stays(viewer, dataset, tmp_path, until):
    page = viewer(dataset)
    (tmp_path / "cut.nii.gz").write_bytes((dataset / "image" / "case_00.nii.gz").read_bytes()[:300])
    page.open_path(tmp_path / "cut.nii.gz")
    until(lambda: "cut.nii.gz" in page.message.text() and "Reading" not in page.message.text())
    assert page.loaded is not None


@pytest.mark.parametrize("name", ["big.mha", "big.nii.gz", "big.mhd"])
def test_the_middle_slice_of_a_large_file_comes_first(tmp_path, monkeypatch, name):
    monkeypatch.setattr("itkit.gui.viewer.opening._LARGE_BYTES", 1)
    rng = np.random.default_rng(0)
    volume = Volume(rng.integers(-900, 900, (9, 40, 30)).astype(np.int16), Geometry((9, 40, 30), (3.0, 1.0, 2.0)))
    itkit.write(volume, tmp_path / name)
    found = middle_slice(read_any_header(tmp_path / name))
    assert np.array_equal(found.array_zyx[0], volume.array_zyx[4])
    assert found.geometry.origin_xyz == pytest.approx(volume.geometry.point_xyz((4, 0, 0)))


def test_dicom_folders_open(viewer, tmp_path):
    phantom = phantoms.l_shape(Geometry((12, 14, 16), (2.0, 1.0, 1.0)))
    itkit.write(phantom.with_array(phantom.array_zyx.astype(np.int16)), tmp_path / "raw" / "a.mha")
    from itkit.io.dcm_toolkit import write_series

    write_series(itkit.read(tmp_path / "raw" / "a.mha"), tmp_path / "series")
    page = viewer(tmp_path / "series")
    assert page.scene.image.shape_zyx == (12, 14, 16)


def test_one_channel_is_shown_and_said_so_and_nan_does_not_widen_the_window(window, until, tmp_path):
    values = np.zeros((4, 5, 6, 2), np.float32)
    values[..., 0] = np.arange(120).reshape(4, 5, 6)
    values[0, 0, 0, 0] = np.nan
    itkit.write(itkit.Volume(values, Geometry((4, 5, 6), (1.0, 1.0, 1.0)), "image"), tmp_path / "two.mha")
    page = window.viewer_page
    window.open_path(tmp_path / "two.mha")
    until(lambda: page.message.text() == "channel 1 of 2 is shown")
    box = page.window_panel.box
    box.setCurrentIndex(box.findData("all"))
    box.activated.emit(box.currentIndex())
    assert (page.scene.window.low, page.scene.window.high) == (1.0, 119.0)
    assert box.currentData() == "all"
    page.views.planes[0].windowed.emit(3.0, 0.0)
    assert box.currentIndex() == -1  # none of them, but that of the mouse
    page.open_path(tmp_path / "two.mha")
    until(lambda: box.currentData() == "auto")


def test_one_of_several_series_is_chosen(window, until, tmp_path):
    from itkit.io.dcm_toolkit import write_series

    for number, (name, depth) in enumerate((("Leber venös", 5), ("Lunge <b>", 7)), start=1):
        volume = phantoms.noise(Geometry((depth, 8, 9), (2.0, 1.0, 1.0)))
        write_series(volume, tmp_path / "ct" / name[:5], description=name, series_number=number, modality="CT")
    (tmp_path / "ct" / "notes.txt").write_text("no DICOM")
    page = window.viewer_page
    window.open_path(tmp_path / "ct")
    until(lambda: page.scene.image is not None)
    rows = {page.list.item(row).text(): row for row in range(page.list.count())}
    wanted = {"CT · Leber venös (series 1) · 5 slices": 5, "CT · Lunge <b> (series 2) · 7 slices": 7}
    assert rows.keys() == wanted.keys()
    for title, depth in wanted.items():
        page.list.setCurrentRow(rows[title])
        until(lambda depth=depth: page.scene.image.shape_zyx == (depth, 8, 9))
    until(lambda: page.message.text() == "2 series: choose one on the left; 1 file is no part of a series")


def test_a_window_is_changed_by_the_mouse_and_by_presets(viewer, dataset, qtbot):
    page = viewer(dataset)
    low, high, _ = page.scene.window
    page.views.planes[0].windowed.emit(25.0, 0.0)
    assert page.scene.window.high - page.scene.window.low > high - low
    page.window_panel.box.setCurrentText("Lung")
    page.window_panel._choose()
    assert page.scene.window[:2] == (-1350.0, 150.0)
    assert page.window_panel.box.currentText() == "Lung"


def test_the_window_goes_on_while_a_case_is_read(window, tmp_path, until, monkeypatch):
    """Whatever takes long waits here until the window has gone on for a while: in its own thread, it never would."""
    may_end, own = threading.Event(), threading.get_ident()
    done = []

    def late(name):
        work = getattr(loader, name)

        def run(*what, **how):
            assert threading.get_ident() != own, f"{name} in the thread of the window"
            assert may_end.wait(180)
            done.append(name)
            return work(*what, **how)

        return run

    slow = {"what_is_at", "header_of", "load", "middle_slice", "projection"}
    for name in slow:
        monkeypatch.setattr(loader, name, late(name))
    monkeypatch.setattr("itkit.gui.viewer.opening._LARGE_BYTES", 1)  # the middle slice comes first
    rng = np.random.default_rng(1)
    volume = Volume(rng.integers(-1000, 1000, (16, 26, 25)).astype(np.int16), Geometry((16, 26, 25), (1.0, 1.0, 1.0)))
    itkit.write(volume, tmp_path / "one.nii.gz")
    page = window.viewer_page
    window.open_path(tmp_path / "one.nii.gz")
    for _ in range(20):
        QApplication.processEvents()
    assert page.loaded is None
    may_end.set()
    until(lambda: page.loaded is not None and page.scene.mip is not None)
    assert set(done) == slow
