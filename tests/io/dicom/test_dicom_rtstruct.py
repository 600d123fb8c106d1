"""Contours rasterised, against circles, a scalar point-in-polygon test and oblique grids."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from dicom_factory import OBLIQUE, dataset, normal_of, save
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from itkit.core.errors import LabelError, ReadError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.dcm_toolkit import read_rtstruct, series_of
from itkit.io.dicom.polygons import fill_even_odd, points_inside

SAMPLE = Path(pydicom.data.__file__).parent / "test_files/rtstruct.dcm"
DIRECTION = tuple(np.stack([OBLIQUE[:3], OBLIQUE[3:], normal_of(OBLIQUE)], axis=1).ravel())
AXIAL_GRID = Geometry((9, 40, 48), (3.0, 1.0, 0.8), (-11.0, 7.0, 40.0))
OBLIQUE_GRID = Geometry((9, 40, 48), (3.0, 1.0, 0.8), (-11.0, 7.0, 40.0), DIRECTION)


def structure_set(path, regions):
    """Save ``{number: (name, colour, [(type, points in mm)])}``."""
    one = dataset(sop_class="1.2.840.10008.5.1.4.1.1.481.3", Modality="RTSTRUCT")
    one.StructureSetROISequence, one.ROIContourSequence = Sequence(), Sequence()
    for number, (name, colour, contours) in regions.items():
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, "1.2.3.9"
        drawn.ReferencedROINumber, drawn.ContourSequence = number, Sequence()
        if colour:
            drawn.ROIDisplayColor = list(colour)
        for kind, points in contours:
            item = Dataset()
            item.ContourGeometricType, item.NumberOfContourPoints = kind, len(points)
            item.ContourData = [float(f"{value:.8f}") for value in np.ravel(points)]
            drawn.ContourSequence.append(item)
        one.StructureSetROISequence.append(roi)
        one.ROIContourSequence.append(drawn)
    return save(one, path)


def on_grid(grid, z, outline_yx):
    """Contour in slice ``z`` of a grid, from continuous indices ``(N, 2)``."""
    return "CLOSED_PLANAR", [grid.point_xyz((z, y, x)) for y, x in outline_yx]


def circle_mm(grid, radius, centre=(20.3, 24.4), count=720):
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    _, sy, sx = grid.spacing_zyx
    return np.stack([centre[0] + radius * np.sin(angle) / sy, centre[1] + radius * np.cos(angle) / sx], axis=1)


SQUARE = [(9.5, 9.5), (9.5, 19.5), (29.5, 19.5), (29.5, 9.5)]  # rows 10..29, columns 10..19


def inside_by_hand(polygon, y, x):
    """Even-odd rule for one point: count edges that a ray towards lower x meets."""
    count = 0
    for (y0, x0), (y1, x1) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if (y0 <= y) != (y1 <= y) and Fraction(x0) + (Fraction(y) - Fraction(y0)) / (Fraction(y1) - Fraction(y0)) * (
            Fraction(x1) - Fraction(x0)
        ) <= Fraction(x):  # exactly, so that an edge there and back counts twice
            count += 1
    return count % 2 == 1


@pytest.mark.parametrize("grid", [AXIAL_GRID, OBLIQUE_GRID], ids=["axial", "oblique"])
def test_circle_has_its_area_and_place(tmp_path, grid):
    path = structure_set(tmp_path / "x", {5: ("ball", (10, 200, 30), [on_grid(grid, 3, circle_mm(grid, 12.0))])})
    found = read_rtstruct(path, grid)
    array = found.volume.array_zyx
    assert np.unique(np.nonzero(array)[0]).tolist() == [3]
    assert np.count_nonzero(array) * 0.8 == pytest.approx(np.pi * 12**2, rel=0.01)
    _, y, x = np.nonzero(array)
    assert np.mean(y) == pytest.approx(20.3, abs=0.1)
    assert np.mean(x) == pytest.approx(24.4, abs=0.1)
    assert (dict(found.names), dict(found.colours)) == ({5: "ball"}, {5: (10, 200, 30)})
    assert set(np.unique(array)) == {0, 5}
    grid_y, grid_x = np.indices(array.shape[1:])
    distance = np.hypot(grid_y - 20.3, (grid_x - 24.4) * 0.8)
    np.testing.assert_array_equal(
        array[3][np.abs(distance - 12.0) > 0.01] == 5, (distance < 12.0)[np.abs(distance - 12.0) > 0.01]
    )


@given(st.lists(st.tuples(st.floats(-3, 12), st.floats(-3, 14)), min_size=3, max_size=9))
@settings(max_examples=60, deadline=None)
def test_scanline_and_point_test_agree_with_counting_by_hand(outline):
    outline = [(round(y * 16) / 16, round(x * 16) / 16) for y, x in outline]  # also on centres and edges
    polygon = np.array(outline)
    filled = fill_even_odd([polygon], (10, 12))
    points = np.stack([axis.ravel() for axis in np.indices((10, 12))], axis=1).astype(float)
    expected = np.array([inside_by_hand(outline, y, x) for y, x in points])
    # exact ties on slanted edges may round either way; all others agree
    near = [np.array([inside_by_hand(outline, y, x + step) for y, x in points]) for step in (-1e-6, 1e-6)]
    same = (expected == near[0]) & (expected == near[1])
    np.testing.assert_array_equal(points_inside([polygon], points)[same], expected[same])
    np.testing.assert_array_equal(filled.ravel()[same], expected[same])


def test_a_centre_on_an_edge_belongs_to_the_growing_side():
    square = np.array([[1.0, 2.0], [1.0, 5.0], [4.0, 5.0], [4.0, 2.0]])
    filled = fill_even_odd([square], (7, 7))
    rows, columns = np.nonzero(filled)
    assert (rows.min(), rows.max(), columns.min(), columns.max(), filled.sum()) == (1, 3, 2, 4, 9)


def test_holes_by_a_second_contour_and_by_a_keyhole_are_equal(tmp_path):
    hole = [(14.5, 12.5), (14.5, 16.5), (24.5, 16.5), (24.5, 12.5)]
    keyhole = [*SQUARE, SQUARE[0], hole[0], hole[3], hole[2], hole[1], hole[0]]
    expected = np.zeros((40, 48), np.uint8)
    expected[10:30, 10:20] = 1
    expected[15:25, 13:17] = 0
    for name, outlines in (("two", [SQUARE, hole]), ("keyhole", [keyhole])):
        path = structure_set(tmp_path / name, {1: ("ring", None, [on_grid(AXIAL_GRID, 2, one) for one in outlines])})
        np.testing.assert_array_equal(read_rtstruct(path, AXIAL_GRID).volume.array_zyx[2], expected)


def test_contours_between_slices_go_to_the_nearest(tmp_path):
    wide = [(9.5, 9.5), (9.5, 29.5), (29.5, 29.5), (29.5, 9.5)]
    contours = [on_grid(AXIAL_GRID, z, SQUARE) for z in (0.4, 2.0, 3.5, 5.3)] + [on_grid(AXIAL_GRID, 4.6, wide)]
    found = read_rtstruct(structure_set(tmp_path / "x", {1: ("a", None, contours)}), AXIAL_GRID)
    counts = found.volume.array_zyx.sum(axis=(1, 2)).tolist()
    assert counts == [200, 0, 200, 200, 0, 200, 0, 0, 0]
    assert found.facts["contour planes with a nearer one to the same slice"] == "1"


def test_contours_follow_another_index_axis(tmp_path):
    """Axial contours on a grid whose slices are sagittal: each voxel keeps its point."""
    contours = [on_grid(AXIAL_GRID, z, SQUARE) for z in range(2, 6)]
    path = structure_set(tmp_path / "x", {1: ("a", None, contours)})
    axial = read_rtstruct(path, AXIAL_GRID).volume.array_zyx
    sagittal = Geometry((48, 9, 40), (0.8, 3.0, 1.0), AXIAL_GRID.origin_xyz, (0, 0, 1, 1, 0, 0, 0, 1, 0))
    np.testing.assert_array_equal(read_rtstruct(path, sagittal).volume.array_zyx, axial.transpose(2, 0, 1))


def test_contours_oblique_to_the_grid_fill_the_same_space(tmp_path):
    """A slab drawn in planes of an oblique grid, read on an axial one: every centre is where the slab is, or not."""
    contours = [on_grid(OBLIQUE_GRID, z, SQUARE) for z in range(2, 6)]
    path = structure_set(tmp_path / "x", {1: ("a", None, contours)})
    centre = OBLIQUE_GRID.point_xyz((3.5, 19.5, 14.5))
    grid = Geometry((30, 30, 30), (1.1, 1.2, 1.3), tuple(np.subtract(centre, (19.0, 18.0, 16.0))))
    found = read_rtstruct(path, grid).volume.array_zyx
    checked = 0
    for index in np.ndindex(grid.size_zyx):
        z, y, x = OBLIQUE_GRID.index_zyx(grid.point_xyz(index))
        margin = min(abs(z - 1.5), abs(z - 5.5), abs(y - 9.5), abs(y - 29.5), abs(x - 9.5), abs(x - 19.5))
        if margin > 1e-3:
            assert found[index] == (1.5 < z < 5.5 and 9.5 < y < 29.5 and 9.5 < x < 19.5)
            checked += 1
    assert checked > 26_000
    assert found.sum() * 1.1 * 1.2 * 1.3 == pytest.approx(4 * 3 * 20 * 10 * 0.8, rel=0.03)


def test_other_contour_types_are_counted(tmp_path):
    contours = [
        on_grid(AXIAL_GRID, 1, SQUARE),
        ("POINT", [(1.0, 2.0, 3.0)]),
        ("OPEN_PLANAR", [AXIAL_GRID.point_xyz((1, y, x)) for y, x in SQUARE]),
        ("CLOSED_PLANAR", [AXIAL_GRID.point_xyz((40, y, x)) for y, x in SQUARE]),
        ("CLOSED_PLANAR", [AXIAL_GRID.point_xyz(index) for index in ((1, 1, 1), (3, 9, 2), (2, 3, 9), (5, 8, 8))]),
    ]
    found = read_rtstruct(structure_set(tmp_path / "x", {1: ("a", None, contours), 2: ("none", None, [])}), AXIAL_GRID)
    assert found.volume.array_zyx.sum() == 200
    assert dict(found.facts) == {
        "POINT contours": "1",
        "OPEN_PLANAR contours": "1",
        "contour planes outside the grid": "1",
        "contours that aren't flat, or in a plane of another direction": "1",
        "empty": "none",
    }


def test_names_and_numbers(tmp_path):
    regions = {300: ("GTV", None, []), 0: ("zero", None, []), 7: ("GTV", None, [on_grid(AXIAL_GRID, 1, SQUARE)])}
    found = read_rtstruct(structure_set(tmp_path / "x", regions), AXIAL_GRID)
    assert dict(found.names) == {300: "GTV_300", 301: "zero", 7: "GTV_7"}
    assert found.volume.dtype == np.uint16
    assert set(np.unique(found.volume.array_zyx)) == {0, 7}


def test_overlaps(tmp_path):
    shifted = [(y, x + 8) for y, x in SQUARE]
    regions = {1: ("a", None, [on_grid(AXIAL_GRID, 1, SQUARE)]), 2: ("b", None, [on_grid(AXIAL_GRID, 1, shifted)])}
    path = structure_set(tmp_path / "x", regions)
    with pytest.raises(LabelError, match="40 voxels are in more than one region"):
        read_rtstruct(path, AXIAL_GRID)
    row = read_rtstruct(path, Volume(np.zeros(AXIAL_GRID.size_zyx), AXIAL_GRID), overlap="last").volume.array_zyx[1, 15]
    assert np.flatnonzero(row == 1).tolist() == list(range(10, 18))
    assert np.flatnonzero(row == 2).tolist() == list(range(18, 28))


def test_another_frame_of_reference_is_refused(tmp_path):
    path = structure_set(tmp_path / "x", {1: ("a", None, [])})
    assert read_rtstruct(path, AXIAL_GRID, frame_of_reference_uid="1.2.3.9").names == {1: "a"}
    with pytest.raises(ReadError, match="another frame of reference"):
        read_rtstruct(path, AXIAL_GRID, frame_of_reference_uid="1.2.3.8")


def test_real_structure_set_is_read():
    assert series_of(SAMPLE).kind == "RTSTRUCT"
    tags = pydicom.dcmread(SAMPLE, force=True)
    assert len(read_rtstruct(SAMPLE, AXIAL_GRID).names) == len(tags.StructureSetROISequence)
    with pytest.raises(ReadError, match="not a structure set"):
        read_rtstruct(SAMPLE.with_name("CT_small.dcm"), AXIAL_GRID)


def outline(rows, columns):
    (top, bottom), (left, right) = rows, columns
    edge = 0.5
    return [
        (top - edge, left - edge),
        (top - edge, right + edge),
        (bottom + edge, right + edge),
        (bottom + edge, left - edge),
    ]


def drawn(path, contours, **options):
    structure_set(path, {1: ("a", None, contours)})
    return read_rtstruct(path, AXIAL_GRID, **options)


@pytest.mark.parametrize(
    ("boxes", "voxels"),
    [
        ([((2, 5), (2, 5))] * 2, 16),  # drawn twice
        ([((2, 5), (2, 5)), ((4, 7), (4, 7))], 28),  # overlapping
        ([((2, 9), (2, 9)), ((4, 7), (4, 7))], 48),  # a hole
        ([((2, 9), (2, 9)), ((3, 8), (3, 8)), ((5, 6), (5, 6))], 32),  # an island in a hole
        ([((2, 9), (2, 9)), ((6, 13), (6, 13)), ((7, 8), (7, 8))], 108),  # a hole in what two share
    ],
)
@pytest.mark.parametrize("grid", [AXIAL_GRID, OBLIQUE_GRID])
def test_contours_of_one_slice_are_joined_and_nested_ones_are_holes(boxes, voxels, grid, tmp_path):
    contours = [on_grid(AXIAL_GRID, 3, outline(*box)) for box in boxes]
    label = drawn(tmp_path / "rt.dcm", contours).volume.array_zyx
    assert np.count_nonzero(label) == voxels
    structure_set(tmp_path / "own.dcm", {1: ("a", None, [on_grid(grid, 3, outline(*box)) for box in boxes])})
    assert np.count_nonzero(read_rtstruct(tmp_path / "own.dcm", grid).volume.array_zyx) == voxels


def test_exclusive_or_is_for_contours_that_ask_for_it(tmp_path):
    boxes = [((2, 5), (2, 5)), ((4, 7), (4, 7))]
    contours = [("CLOSEDPLANAR_XOR", on_grid(AXIAL_GRID, 3, outline(*box))[1]) for box in boxes]
    assert np.count_nonzero(drawn(tmp_path / "rt.dcm", contours).volume.array_zyx) == 24


def test_contours_in_every_second_slice_are_named_and_filled_on_request(tmp_path):
    contours = [on_grid(AXIAL_GRID, z, circle_mm(AXIAL_GRID, 4.0 + 2.0 * z)) for z in (1, 3, 5)]
    striped = drawn(tmp_path / "rt.dcm", contours)
    assert [bool(plane.any()) for plane in striped.volume.array_zyx] == [0, 1, 0, 1, 0, 1, 0, 0, 0]
    assert striped.facts["slices without contours between slices with contours"] == "2"
    filled = drawn(tmp_path / "rt.dcm", contours, bridge=True)
    between = drawn(
        tmp_path / "x.dcm", [on_grid(AXIAL_GRID, z, circle_mm(AXIAL_GRID, 4.0 + 2.0 * z)) for z in range(1, 6)]
    )
    for z in (2, 4):
        areas = [int(np.count_nonzero(one.volume.array_zyx[z])) for one in (filled, between)]
        assert areas[0] == pytest.approx(areas[1], rel=0.05)
    apart = [on_grid(AXIAL_GRID, z, SQUARE) for z in (0, 1, 2, 6, 7, 8)]
    assert "slices" not in str(drawn(tmp_path / "two.dcm", apart).facts)
