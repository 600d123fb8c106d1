"""Grids that differ in their axes and ends alone are found, others are refused with the reason."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itkit.core.errors import GeometryMismatchError
from itkit.core.geometry import Geometry
from itkit.core.grids import match, oriented_grid, turned_grid
from itkit.testing import phantoms

CODES = [a + b + c for a in "LR" for b in "AP" for c in "SI"]
CODES = [x + y + z for code in CODES for x, y, z in (code, code[1] + code[2] + code[0], code[2] + code[1] + code[0])]


@given(
    st.sampled_from(sorted(phantoms.GRIDS)),
    st.sampled_from(CODES),
    st.tuples(*[st.integers(-9, 9)] * 3),
    st.tuples(*[st.integers(1, 20)] * 3),
)
def test_a_turned_and_cropped_grid_is_reached_voxel_by_voxel(name, code, start, size):
    grid = phantoms.GRIDS[name]
    target = oriented_grid(grid, code).crop(start, size)
    found = match(grid, target)
    assert found.start_zyx == start
    for index in ((0, 0, 0), tuple(n - 1 for n in size)):
        turned = [at + first for at, first in zip(index, start, strict=True)]
        old = [0.0, 0.0, 0.0]
        for at, axis, flip in zip(turned, found.axes_zyx, found.flips_zyx, strict=True):
            old[axis] = grid.size_zyx[axis] - 1 - at if flip else at
        np.testing.assert_allclose(grid.point_xyz(tuple(old)), target.point_xyz(index), atol=1e-9)


def test_axes_half_way_between_two_directions_are_told_by_the_target_and_not_by_their_letters():
    cosine = 0.5**0.5
    turned = (cosine, -cosine, 0.0, cosine, cosine, 0.0, 0.0, 0.0, 1.0)
    noisy = tuple(value * (1 + 1e-9 * (-1) ** place) for place, value in enumerate(turned))
    grid = Geometry((4, 5, 6), (2.0, 1.0, 1.0), (1.0, 2.0, 3.0), turned)
    assert match(grid, replace(grid, direction_xyz=noisy)).axes_zyx == (0, 1, 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"spacing_zyx": (2.5, 0.8, 0.71)}, "spacing"),
        ({"origin_xyz": (-31.2, 12.25, 100.0)}, "origin"),
        ({"direction_xyz": (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)}, "direction"),
    ],
)
def test_grids_that_need_new_values_are_refused_with_the_reason(change, reason):
    grid = phantoms.GRIDS["plain"]
    with pytest.raises(GeometryMismatchError, match=f"differ in {reason}.*resample"):
        match(grid, replace(grid, **change))


def test_grids_that_differ_by_the_sign_of_zero_turn_into_the_same_bytes():
    direction = (-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, -0.0, -0.0, -1.0)
    grids = [Geometry((2, 3, 4), (1.0, 1.0, 1.0), (zero, zero, zero), direction) for zero in (-0.0, 0.0)]
    found = []
    for grid in grids:
        turned_grid.cache_clear()
        found.append(repr(turned_grid(grid, (1, 0, 2), (False, False, False)).origin_xyz))
    assert found == ["(0.0, 0.0, 0.0)"] * 2
