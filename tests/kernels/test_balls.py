from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from itkit.core.errors import ArgumentError, CaseError
from itkit.kernels.balls import ball_counts, ball_dilate, ball_rows, reach_zyx

from .support import both, seeds

shapes = st.tuples(st.integers(1, 9), st.integers(1, 14), st.integers(1, 60))
spacings = st.sampled_from([(1.0, 1.0, 1.0), (2.5, 0.7, 0.7), (0.6, 1.1, 3.0)])
radii = st.floats(0, 6)


def offsets(spacing, radius):
    """The ball as an array, from all offsets and their distances."""
    reach = [int(radius / step) + 1 for step in spacing]
    grid = np.meshgrid(*(np.arange(-n, n + 1) * step for n, step in zip(reach, spacing, strict=True)), indexing="ij")
    return np.sqrt(sum(part**2 for part in grid)) <= radius * (1 + 1e-6)


@settings(max_examples=80, deadline=None)
@given(shapes, spacings, radii, seeds)
def test_dilation_equals_scipys_with_the_ball_and_its_distances(shape, spacing, radius, seed):
    mask = np.random.default_rng(seed).random(shape) < 0.03
    ball = ball_rows(spacing, radius)
    expected = ndimage.binary_dilation(mask, offsets(spacing, radius))
    by_distance = ndimage.distance_transform_edt(~mask, spacing) <= radius * (1 + 1e-6)
    for result in both(ball_dilate, mask, ball):
        np.testing.assert_array_equal(result, expected)
        if mask.any():
            np.testing.assert_array_equal(result, by_distance)


@settings(max_examples=60, deadline=None)
@given(shapes, spacings, radii, seeds)
def test_counts_equal_a_convolution(shape, spacing, radius, seed):
    mask = np.random.default_rng(seed).random(shape) < 0.4
    expected = ndimage.convolve(mask.astype(np.int32), offsets(spacing, radius).astype(np.int32), mode="constant")
    for result in both(ball_counts, mask, ball_rows(spacing, radius)):
        np.testing.assert_array_equal(result, expected)


def test_a_ball_is_exact_at_its_radius():
    assert ball_rows((1.0, 1.0, 0.1), 0.3).tolist() == [[0, 0, 3]]  # 3 * 0.1 > 0.3 in binary
    assert reach_zyx(ball_rows((2.0, 0.5, 0.7), 2.1)) == (1, 4, 3)
    assert len(ball_rows((1.0, 1.0, 1.0), 0.0)) == 1


def test_strange_strides_and_types(backend_name):
    mask = (np.random.default_rng(0).random((12, 10, 9)) < 0.1).astype(np.int16).T[::-1]
    ball = ball_rows((1.0, 1.0, 1.0), 2.0)
    np.testing.assert_array_equal(ball_dilate(mask, ball), ndimage.binary_dilation(mask, offsets((1.0,) * 3, 2.0)))


@pytest.mark.parametrize(("spacing", "radius"), [((1, 1, 1), -1.0), ((1, 1, 1), np.nan), ((1, 0, 1), 1.0)])
def test_impossible_balls_are_refused(spacing, radius):
    with pytest.raises(ArgumentError, match="ball"):
        ball_rows(spacing, radius)


def test_a_ball_of_too_many_voxels_is_refused():
    """A spacing in metres: 5 mm would be 100 million rows."""
    with pytest.raises(CaseError, match="a radius of 5 mm is 5000 voxels here, and 256 is the most"):
        ball_rows((1.0, 0.001, 1.0), 5.0)
