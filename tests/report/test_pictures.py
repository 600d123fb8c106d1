"""Pictures: every voxel is drawn where the patient has it, whatever the axes of the file; outlines lie on borders."""

import numpy as np
import pytest
import SimpleITK as sitk

from itkit.core.geometry import Geometry
from itkit.core.slices import LETTERS, PLANES, plane_slice
from itkit.core.thumbnail import class_colour
from itkit.core.volume import Volume
from itkit.process.geometry import orient
from itkit.report.pictures import (
    Overlay,
    _interpolated,
    _nearest,
    busiest_point,
    centre_point,
    outline,
    slice_picture,
    three_planes,
)
from itkit.report.windows import CT_WINDOWS, Window, window_of
from itkit.testing.phantoms import GRIDS, l_shape, ramp

GRID = Geometry((6, 5, 4), (4.0, 2.0, 1.0), (10.0, 20.0, 30.0))
WINDOW = CT_WINDOWS["soft tissue"]
DIRECTIONS = {"R": (-1, 0, 0), "L": (1, 0, 0), "A": (0, -1, 0), "P": (0, 1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


def lit(picture, colour):
    """Rows and columns of the pixels of a colour."""
    return np.argwhere((picture.rgb == np.array(colour)).all(axis=2))


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("code", ["LPS", "RAS", "ASL", "PIR", "SRA"])
def test_a_voxel_is_drawn_at_its_physical_place(plane, code):
    """One voxel, in any storage order: its pixel follows from the physical point and the letters alone."""
    array = np.zeros(GRID.size_zyx, np.uint8)
    array[1, 3, 2] = 5
    point = np.array(GRID.point_xyz((1, 3, 2)))
    label = orient(Volume(array, GRID, "label"), code)
    picture = slice_picture(None, [Overlay(label)], plane, tuple(point.tolist()), mm_per_pixel=0.5)
    found = lit(picture, class_colour(5))
    corner = np.array(GRID.point_xyz((-0.5, -0.5, -0.5)))
    extent = np.array((4.0, 10.0, 24.0))  # XYZ: size times spacing
    left, right, top, bottom = (np.array(DIRECTIONS[letter]) for letter in picture.letters)
    assert np.array_equal(left, -right)
    assert np.array_equal(top, -bottom)
    for axis, direction in ((0, bottom), (1, right)):
        start = corner + np.where(direction < 0, extent, 0)
        middle_mm = (point - start) @ direction
        assert (found[:, axis].min() + found[:, axis].max() + 1) / 2 * 0.5 == pytest.approx(middle_mm)
    spacing = np.array((1.0, 2.0, 4.0))
    rows, columns = np.ptp(found, axis=0) + 1
    assert (rows * 0.5, columns * 0.5) == (abs(spacing @ bottom), abs(spacing @ right))


@pytest.mark.parametrize("plane", PLANES)
def test_a_slice_holds_what_sitk_holds_there(plane):
    volume = ramp(GRIDS["sagittal"])
    image = sitk.DICOMOrient(volume.to_sitk(), "LPS")
    expected = sitk.GetArrayFromImage(image)
    point = volume.geometry.point_xyz((4, 3, 8))
    x, y, z = image.TransformPhysicalPointToIndex(point)
    values, _ = plane_slice(volume.array_zyx, volume.geometry, plane, (4, 3, 8))
    flat = {"axial": expected[z], "coronal": expected[::-1, y], "sagittal": expected[::-1, :, x]}[plane]
    assert np.array_equal(values, flat)


def test_pixels_have_one_physical_size_in_all_planes():
    sizes = {plane: p.rgb.shape[:2] for plane, p in three_planes(ramp(GRID), mm_per_pixel=0.5).items()}
    assert sizes == {"axial": (20, 8), "coronal": (48, 8), "sagittal": (48, 20)}
    assert max(three_planes(ramp(GRID), longest_side=100)["coronal"].rgb.shape) == 100


def test_outlines_are_opaque_and_areas_let_the_image_through():
    image = Volume(np.full(GRID.size_zyx, 1000, np.int16), GRID)  # white
    array = np.zeros(GRID.size_zyx, np.uint8)
    array[1:5, 1:4, 1:4] = 2
    picture = slice_picture(
        image, [Overlay(Volume(array, GRID, "label"))], "axial", GRID.point_xyz((2, 2, 2)), WINDOW, mm_per_pixel=0.25
    )
    colour = np.array(class_colour(2))
    edge = lit(picture, colour)
    inner = (0.65 * 255 + 0.35 * colour).round()
    assert {tuple(pixel) for pixel in picture.rgb[12:28, 8:12].reshape(-1, 3)} == {tuple(inner.astype(int))}
    assert (edge.min(axis=0).tolist(), edge.max(axis=0).tolist()) == ([8, 4], [31, 15])
    inside = (edge > np.array([8, 4])).all(axis=1) & (edge < np.array([31, 15])).all(axis=1)
    assert not inside.any()  # one pixel wide
    assert len(edge) == 2 * 24 + 2 * 12 - 4


def test_touching_classes_both_have_outlines():
    assert outline(np.array([[1, 1, 2, 2]])).all()
    assert outline(np.ones((5, 7), int)).sum() == 5 * 7 - 3 * 5


def test_two_label_maps_are_told_apart_by_their_colours():
    label = l_shape(GRIDS["plain"])
    overlays = [Overlay(label, classes=[1]), Overlay(label, (255, 255, 255), 0.0, [3])]
    picture = three_planes(None, overlays)["axial"]
    assert len(lit(picture, class_colour(1)))
    assert not len(lit(picture, class_colour(2)))


def test_the_busiest_point_lets_small_classes_count():
    array = np.zeros((20, 20, 20), np.uint8)
    array[:4] = 1  # large
    array[15, 10:12, 7:9] = 2
    array[15, 3:5, 7:9] = 3
    grid = Geometry((20, 20, 20), (1.0, 1.0, 1.0))
    x, _, z = busiest_point(Volume(array, grid, "label"))
    assert z == 15
    assert x in (7, 8)
    assert busiest_point(Volume(np.zeros_like(array), grid, "label")) == centre_point(grid) == (9.5, 9.5, 9.5)


def test_letters_name_opposite_directions():
    assert LETTERS == {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}


def ct(values):
    array = np.asarray(values, np.int16).reshape(1, 1, -1)
    return Volume(array, Geometry(array.shape, (1.0, 1.0, 1.0)))


def label_of(image, values):
    return Volume(np.asarray(values, np.uint8).reshape(image.array_zyx.shape), image.geometry, "label")


def test_a_ct_window_follows_the_labelled_part():
    values = [-1000] * 100 + [-850] * 80 + [40] * 100 + [700] * 40
    image = ct(values)
    parts = {"lung": (100, 180), "soft tissue": (180, 280), "bone": (280, 320)}
    for name, (start, stop) in parts.items():
        label = label_of(image, [start <= place < stop for place in range(len(values))])
        assert window_of(image, label) == CT_WINDOWS[name]


def test_a_ct_window_without_labels_follows_the_histogram():
    assert window_of(ct([-1000] * 100 + [40] * 100)) == CT_WINDOWS["soft tissue"]
    assert window_of(ct([-1000] * 100 + [-850] * 80 + [40] * 100)) == CT_WINDOWS["lung"]
    assert window_of(ct([-1000] * 100 + [40] * 60 + [700] * 40)) == CT_WINDOWS["bone"]


def test_other_images_are_shown_between_percentiles_of_what_is_not_zero():
    values = [0] * 1000 + list(range(100, 301))
    window = window_of(ct(values))
    assert (window.low, window.high) == pytest.approx(np.percentile(range(100, 301), (1, 99)))
    assert window_of(ct([0, 0, 0])).high > 0
    assert window_of(ct(values), modality="CT") == CT_WINDOWS["soft tissue"]
    assert window_of(ct([-1000] * 9 + [40] * 9), modality="MR").name == "1st to 99th percentile"
    assert window_of(ct([-2, 0, 1, 3] * 9), modality="CT").high == 3  # normalized: no HU any more
    array = np.full((1, 1, 2), np.nan)
    assert window_of(Volume(array, Geometry((1, 1, 2), (1.0, 1.0, 1.0)))).high == 1


def test_a_picture_of_nothing_is_refused():
    with pytest.raises(ValueError, match="give an image"):
        three_planes(None)


def test_nan_and_several_channels_are_drawn():
    array = np.zeros((4, 5, 6, 2), np.float32)
    array[0, 0, 0, 0] = np.nan
    volume = Volume(array, Geometry((4, 5, 6), (1.0, 1.0, 1.0)))
    assert all(picture.rgb.ndim == 3 for picture in three_planes(volume).values())


def test_infinite_and_huge_values_are_black_and_white_without_a_warning():
    array = np.zeros((1, 8, 8))
    array[0, 0, 0], array[0, 0, 4], array[0, 4, 0], array[0, 4, 4] = np.inf, -np.inf, 1.7e308, -1.7e308
    image = Volume(array, Geometry((1, 8, 8), (1.0, 1.0, 1.0)))
    assert window_of(image).low < window_of(image).high
    rgb = slice_picture(image, [], "axial", (0.0, 0.0, 0.0), Window(-1.0, 1.0, "")).rgb[..., 0]
    assert [rgb[0, 0], rgb[0, 4], rgb[4, 0], rgb[4, 4], rgb[2, 2]] == [255, 0, 255, 0, 128]
    assert len(three_planes(image)) == 3


def test_a_pixel_shows_what_lies_at_its_centre():
    row = np.arange(5.0)[None]
    assert _nearest(row, 1, 3).tolist() == [[0, 2, 4]]
    assert _interpolated(row, 1, 3)[0] == pytest.approx([1 / 3, 2, 11 / 3])
    assert _interpolated(row, 1, 10)[0] == pytest.approx([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4])
    assert _interpolated(row.T, 3, 1)[:, 0] == pytest.approx([1 / 3, 2, 11 / 3])
