"""The patient without table and cables, the lungs by side, the airways: phantoms whose parts are known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.kernels.arrays import foreground_box
from itkit.process.airway import find_airway
from itkit.process.body import body_mask, body_threshold, coarse_steps, enlarged, otsu_threshold
from itkit.process.geometry import orient
from itkit.process.lungs import LEFT, RIGHT, lungs
from tests.process import ct_phantom
from tests.process.ct_phantom import GRID, dice, image, parts

SHAPES = parts()


def test_the_body_is_the_patient_without_table_and_cable():
    mask = body_mask(image())
    assert mask.geometry == GRID
    assert (mask.kind, mask.dtype) == ("label", np.uint8)
    assert dice(mask.array_zyx, SHAPES["body"]) > 0.999
    assert not mask.array_zyx[SHAPES["table"] | SHAPES["cable"]].any()
    assert mask.array_zyx[SHAPES["right"] | SHAPES["trachea"] | SHAPES["gas"]].all()


@pytest.mark.parametrize("code", ["RAS", "SAR", "PIL"])
def test_any_storage_order_gives_the_same_body(code):
    turned = orient(image(), code)
    mask = body_mask(turned)
    assert mask.geometry == turned.geometry
    np.testing.assert_array_equal(orient(mask, "LPS").array_zyx, body_mask(image()).array_zyx)


@pytest.mark.parametrize("level", [-500.0, -500.5, 39.5, -1e9, 1e9, float("inf")])
def test_whole_numbers_are_compared_as_floats_are(level):
    ints = image()
    assert ints.dtype.kind == "i"
    floats = ints.with_array(ints.array_zyx.astype(np.float32))
    found, expected = (body_mask(volume, threshold=level).array_zyx for volume in (ints, floats))
    np.testing.assert_array_equal(found, expected)


def test_without_the_air_inside_the_box_is_the_same():
    with_air, without = (body_mask(image(), with_air=flag).array_zyx for flag in (True, False))
    assert foreground_box(with_air) == foreground_box(without)
    assert not without[SHAPES["right"] & ~SHAPES["vessels"]].any()


def test_a_fine_grid_keeps_the_surface_of_its_threshold():
    grid = Geometry((30, 144, 180), (8.0, 2.0, 2.0), (-179.0, -143.0, -117.5))
    shapes = parts(grid)
    mask = body_mask(image(grid, shapes=shapes)).array_zyx
    np.testing.assert_array_equal(mask != 0, shapes["body"])


def test_a_gap_between_arm_and_trunk_stays_outside():
    array = image(noise=0).array_zyx.copy()
    array[4:44, 10:60, 0:6] = array[4:44, 10:16, 0:20] = array[4:44, 54:60, 0:20] = 30  # an arm around a gap
    gap = np.zeros(array.shape, bool)
    gap[10:38, 24:46, 6] = True
    assert (array[gap] == -1000).all()
    mask = body_mask(Volume(array, GRID)).array_zyx
    assert mask[20, 30, 2]
    assert not mask[gap].any()


def test_an_mr_image_is_cut_by_otsu():
    rng = np.random.default_rng(0)
    values = np.where(SHAPES["body"], 400, 20) + rng.normal(0, 10, SHAPES["body"].shape)
    assert 100 < body_threshold(values) < 350
    assert dice(body_mask(Volume(np.abs(values).astype(np.float32), GRID)).array_zyx, SHAPES["body"]) > 0.99


def test_otsu_on_two_peaks_and_on_nothing():
    rng = np.random.default_rng(1)
    two = np.concatenate([rng.normal(0, 1, 4000), rng.normal(10, 1, 1000), [np.nan, np.inf]])
    assert 3 < otsu_threshold(two) < 7
    assert not (np.full(5, 3.0) > otsu_threshold(np.full(5, 3.0))).any()
    assert otsu_threshold(np.array([np.nan])) == np.inf
    few = np.zeros(1000)
    few[3] = 7.0  # the 99.5th percentile is the minimum
    assert 0 < otsu_threshold(few) < 7
    close = np.repeat([1.0, np.nextafter(1.0, 2.0)], 5)
    assert otsu_threshold(close) == 1.0
    assert abs(otsu_threshold(np.array([-1.7e308] * 9 + [1.7e308] * 9))) < 1e307
    assert not (np.full(5, 1e200) > otsu_threshold(np.full(5, 1e200))).any()


def test_without_a_body_the_mask_is_empty():
    assert not body_mask(Volume(np.full(GRID.size_zyx, -1000, np.int16), GRID)).array_zyx.any()


def test_of_several_channels_the_first_counts():
    ct = image()
    both = replace(ct, array_zyx=np.stack([ct.array_zyx, ct.array_zyx[::-1]], axis=-1))
    np.testing.assert_array_equal(body_mask(both).array_zyx, body_mask(ct).array_zyx)


@pytest.mark.parametrize("fine", [False, True])
def test_lungs_by_side_without_airways_and_with_vessels(fine):
    grid = Geometry((96, 144, 180), (2.5, 2.0, 2.0), (-179.0, -143.0, -118.75)) if fine else GRID
    shapes = parts(grid) if fine else SHAPES
    found = lungs(image(grid, shapes=shapes).array_zyx, grid.spacing_zyx)
    airways = shapes["trachea"] | shapes["bronchi"]
    assert found.warnings == ()
    for side, name in ((RIGHT, "right"), (LEFT, "left")):
        assert dice(found.labels == side, shapes[name] & ~airways) > 0.99
    assert (found.labels[shapes["vessels"]] != 0).mean() > 0.98
    assert not found.labels[shapes["trachea"] | shapes["gas"]].any()


def test_lungs_that_touch_are_parted_where_they_are_thinnest():
    shapes = {**SHAPES, "trachea": np.zeros(GRID.size_zyx, bool), "bronchi": np.zeros(GRID.size_zyx, bool)}
    bridge = np.zeros(GRID.size_zyx, bool)
    bridge[30:34, 30:33, 35:55] = True
    shapes["right"] = shapes["right"] | bridge
    found = lungs(image(shapes=shapes).array_zyx, GRID.spacing_zyx)
    assert any("touch" in text for text in found.warnings)
    assert any("trachea" in text for text in found.warnings)
    for side, name in ((RIGHT, "right"), (LEFT, "left")):
        assert dice((found.labels == side) & ~bridge, shapes[name] & ~bridge) > 0.99


def test_gas_and_air_are_no_lungs():
    nothing = np.zeros(GRID.size_zyx, bool)
    gone = {**SHAPES, **dict.fromkeys(("right", "left", "trachea", "bronchi", "vessels"), nothing)}
    assert not lungs(image(shapes=gone).array_zyx, GRID.spacing_zyx).labels.any()


def test_the_airway_grows_to_the_bronchi_and_no_further():
    body = SHAPES["body"].view(np.uint8)
    found = find_airway(image().array_zyx, GRID.spacing_zyx, body)
    expected = SHAPES["trachea"] | SHAPES["bronchi"]
    assert not found.has_leaked
    assert dice(found.tree, expected) > 0.98
    holed = image().array_zyx.copy()
    holed[20:30, 36:40, 20:44] = -840  # a bronchus without a wall: at its own level the tree runs into the lung
    assert dice(find_airway(holed, GRID.spacing_zyx, body).tree, expected) > 0.95


def test_without_a_trachea_there_is_no_airway():
    nothing = np.zeros(GRID.size_zyx, bool)
    ct = image(shapes={**SHAPES, "trachea": nothing, "bronchi": nothing})
    assert find_airway(ct.array_zyx, GRID.spacing_zyx, SHAPES["body"].view(np.uint8)) is None


def test_coarse_and_fine_meet():
    assert coarse_steps((0.6, 3.5, 1.0), 3.0) == (5, 1, 3)
    coarse = np.arange(12).reshape(2, 2, 3)
    fine = enlarged(coarse, (2, 1, 3), (3, 2, 8))
    expected = ndimage.zoom(coarse, (1, 1, 1), order=0)[[0, 1, 1]][:, :, [0, 0, 1, 1, 1, 2, 2, 2]]
    np.testing.assert_array_equal(fine, expected)


def test_parts_of_the_phantom_are_apart():
    assert not (ct_phantom.parts()["right"] & ct_phantom.parts()["left"]).any()
