import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from itkit.kernels.arrays import foreground_box
from itkit.process.morphology import closed, dilated, eroded, majority, opened
from tests.kernels.test_balls import offsets

SPACING = (2.5, 0.8, 1.1)
shapes = st.tuples(st.integers(1, 9), st.integers(1, 14), st.integers(1, 30))
radii = st.floats(0.5, 4)
seeds = st.integers(0, 2**32 - 1)


def blobs(seed, shape):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random(shape), 1)
    return smooth > np.quantile(smooth, rng.uniform(0.3, 0.9))


@settings(max_examples=60, deadline=None)
@given(shapes, radii, seeds)
def test_all_four_equal_scipys(shape, radius, seed):
    mask, ball = blobs(seed, shape), offsets(SPACING, radius)
    reach = [(n // 2, n // 2) for n in ball.shape]
    inner = tuple(slice(a, a + n) for (a, _), n in zip(reach, shape, strict=True))
    shrunk = ndimage.binary_erosion(mask, ball, border_value=1)
    np.testing.assert_array_equal(dilated(mask, SPACING, radius), ndimage.binary_dilation(mask, ball))
    np.testing.assert_array_equal(eroded(mask, SPACING, radius), shrunk)
    np.testing.assert_array_equal(opened(mask, SPACING, radius), ndimage.binary_dilation(shrunk, ball))
    np.testing.assert_array_equal(
        closed(mask, SPACING, radius), ndimage.binary_closing(np.pad(mask, reach), ball)[inner]
    )


@settings(max_examples=40, deadline=None)
@given(shapes, radii, seeds)
def test_what_opening_and_closing_must_hold(shape, radius, seed):
    mask = blobs(seed, shape)
    small, large = opened(mask, SPACING, radius), closed(mask, SPACING, radius)
    assert not (small & ~mask).any()
    assert not (mask & ~large.astype(bool)).any()
    np.testing.assert_array_equal(opened(small, SPACING, radius), small)
    np.testing.assert_array_equal(closed(large, SPACING, radius), large)


def test_a_ball_that_closes_a_slit_along_one_axis_only():
    """2 mm reach over 2 slices of 1.5 mm, but not over 3: a swapped axis would fail."""
    mask = np.zeros((9, 9, 9), np.uint8)
    mask[:, 2:7, 2:7] = 1
    mask[4] = 0
    spacing = (1.5, 5.0, 5.0)
    assert closed(mask, spacing, 1.6)[4, 2:7, 2:7].all()
    assert not closed(mask, spacing, 1.4)[4].any()
    assert not closed(mask, spacing[::-1], 1.6)[4].any() or not closed(mask, (5.0, 5.0, 1.5), 1.6)[4].any()


@settings(max_examples=30, deadline=None)
@given(shapes, radii, seeds)
def test_majority_equals_counting_by_hand(shape, radius, seed):
    labels = np.where(blobs(seed, shape), np.random.default_rng(seed).integers(1, 4, shape) * 100, 0).astype(np.int16)
    ball = offsets(SPACING, radius).astype(int)
    values = np.unique(labels)
    votes = np.stack([ndimage.convolve((labels == value).astype(int), ball, mode="constant") for value in values])
    best = votes.max(axis=0)
    expected = values[votes.argmax(axis=0)]
    for value, count in zip(values, votes, strict=True):
        expected[(labels == value) & (count == best)] = value
    result = majority(labels, SPACING, radius)
    assert result.dtype == labels.dtype
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("function", [dilated, eroded, opened, closed, majority])
def test_nothing_stays_nothing_and_everything_stays(function):
    assert not function(np.zeros((3, 4, 5), np.uint8), SPACING, 2.0).any()
    assert function(np.ones((3, 4, 5), np.uint8), SPACING, 2.0).all()


def test_the_box_of_a_mask():
    mask = np.zeros((5, 6, 7), np.int32)
    assert foreground_box(mask) is None
    mask[1, 2, 3] = mask[3, 4, 6] = -1
    assert foreground_box(mask) == (slice(1, 4), slice(2, 5), slice(3, 7))
