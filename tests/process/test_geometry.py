"""Cropped, padded and matched volumes keep values at their physical points; one rule says what stands outside."""

import highdicom
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itkit.core.axes import to_zyx
from itkit.core.geometry import Geometry
from itkit.core.grids import oriented_grid
from itkit.core.volume import Volume
from itkit.process.geometry import crop, matched, padded
from itkit.testing import phantoms

names = st.sampled_from(sorted(phantoms.GRIDS))
starts = st.tuples(*[st.integers(-20, 20)] * 3)
sizes = st.tuples(*[st.integers(1, 25)] * 3)


def expected(volume, target, outside):
    """Values of a ramp at the target's points; what lies outside the volume is ``outside``."""
    points = phantoms.points_xyz(target)
    inside = np.ones(target.size_zyx, bool)
    at = np.array([volume.geometry.index_zyx(tuple(point)) for point in points.reshape(-1, 3)])
    for axis, n in enumerate(volume.geometry.size_zyx):
        inside &= ((at[:, axis] > -0.5) & (at[:, axis] < n - 0.5)).reshape(target.size_zyx)
    return np.where(inside, phantoms.ramp_at(points), outside)


@settings(max_examples=40, deadline=None)
@given(names, starts, sizes)
def test_a_box_has_the_volumes_values_and_outside_the_whole_volumes_minimum(name, start, size):
    volume = phantoms.ramp(phantoms.GRIDS[name])
    cut = crop(volume, start, size)
    assert cut.geometry == volume.geometry.crop(start, size)
    np.testing.assert_allclose(cut.array_zyx, expected(volume, cut.geometry, volume.array_zyx.min()), atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(names, st.sampled_from(["LPS", "RAS", "SAR", "PIL", "IRA"]), starts, sizes)
def test_a_matched_volume_lies_on_the_target_with_its_own_values(name, code, start, size):
    volume = phantoms.ramp(phantoms.GRIDS[name])
    target = oriented_grid(volume.geometry, code).crop(start, size)
    new = matched(volume, target)
    assert new.geometry == target
    np.testing.assert_allclose(new.array_zyx, expected(volume, target, volume.array_zyx.min()), atol=1e-9)
    assert set(np.unique(new.array_zyx)) <= set(np.unique(volume.array_zyx))


def highdicom_volume(volume):
    grid = volume.geometry
    columns = np.array(grid.direction_xyz).reshape(3, 3) * np.array(to_zyx(grid.spacing_zyx))
    affine = np.eye(4)
    affine[:3, :3] = columns[:, [2, 1, 0]]
    affine[:3, 3] = grid.origin_xyz
    return highdicom.Volume(volume.array_zyx, affine, coordinate_system="PATIENT")


@pytest.mark.parametrize("name", sorted(phantoms.GRIDS))
def test_equals_highdicoms_match_geometry(name):
    volume = phantoms.l_shape(phantoms.GRIDS[name])
    target = oriented_grid(volume.geometry, "SAR").crop((-2, 3, 1), (14, 5, 30))
    reference = highdicom_volume(volume).match_geometry(highdicom_volume(Volume(np.zeros(target.size_zyx), target)))
    np.testing.assert_array_equal(matched(volume, target).array_zyx, reference.array)


def test_padding_takes_the_least_value_of_each_channel_and_zero_for_labels():
    grid = Geometry((1, 2, 2), (1.0, 1.0, 1.0))
    values = np.array([[[[5, -3], [6, 9]], [[7, 2], [np.nan, 4]]]])
    new = padded(Volume(values, grid), (2, 1, 3))
    assert new.array_zyx.shape == (2, 2, 3, 2)
    assert (new.array_zyx[1] == [5, -3]).all()
    assert (new.array_zyx[:, :, 2] == [5, -3]).all()
    label = padded(Volume(np.full((1, 2, 2), 4, np.int8), grid, "label"), (1, 3, 1))
    assert label.array_zyx.tolist() == [[[4, 4], [4, 4], [0, 0]]]
    assert label.dtype == np.int8


def test_a_box_inside_is_a_view_and_a_volume_large_enough_is_itself():
    volume = phantoms.noise(phantoms.GRIDS["plain"])
    assert np.shares_memory(crop(volume, (1, 2, 3), (4, 5, 6)).array_zyx, volume.array_zyx)
    assert padded(volume, (9, 1, 11)) is volume
