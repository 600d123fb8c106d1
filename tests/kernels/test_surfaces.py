"""Surfaces of masks, exact distances and joint histograms: C and numpy agree with scipy and with each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from itkit.core.errors import ArgumentError, LabelError
from itkit.kernels import surfaces
from itkit.kernels.joint import MOST_CLASSES, joint_counts
from itkit.kernels.surfaces import Points, border_points, distances_mm, surface_elements, with_rim

from .support import both, seeds

shapes = st.tuples(*[st.integers(1, 24)] * 3)
spacings = st.tuples(*[st.sampled_from([0.3, 0.7, 1.0, 1.1, 2.5, 7.0])] * 3)


def blobs(seed, shape, level=0.05):
    """A mask of smooth shapes; at least one voxel is set."""
    rng = np.random.default_rng(seed)
    mask = ndimage.gaussian_filter(rng.normal(size=shape), 1.2) > level
    mask[tuple(rng.integers(0, size) for size in shape)] = True
    return mask


@settings(max_examples=40, deadline=None)
@given(shapes, seeds)
def test_border_voxels_are_what_erosion_takes_away(shape, seed):
    mask = blobs(seed, shape)
    expected = np.flatnonzero(mask & ~ndimage.binary_erosion(mask))
    for found in both(border_points, with_rim(mask)):
        assert found.shape == shape
        assert np.array_equal(found.places, expected)


@settings(max_examples=40, deadline=None)
@given(shapes, seeds)
def test_surface_elements_are_where_eight_voxels_differ(shape, seed):
    mask = blobs(seed, shape)
    kernel = (1 << np.arange(8)).reshape(2, 2, 2)
    padded = np.pad(mask, 1).astype(np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2, 2, 2))
    codes = (windows * kernel).sum(axis=(3, 4, 5)).astype(np.uint8)
    expected = np.flatnonzero((codes > 0) & (codes < 255))
    for found in both(surface_elements, with_rim(mask)):
        assert found.shape == codes.shape
        assert np.array_equal(found.places, expected)
        assert np.array_equal(found.codes, codes.ravel()[expected])


@settings(max_examples=60, deadline=None)
@given(shapes, spacings, st.sampled_from([1, 9, 2048]), seeds)
def test_distances_equal_those_of_scipy(shape, spacing, near, seed):
    """With few columns to try one by one, the compiled form must go on with envelopes."""
    mask, other = blobs(seed, shape), blobs(seed + 1, shape, 0.2)
    points, targets = Points(shape, np.flatnonzero(mask)), Points(shape, np.flatnonzero(other))
    expected = ndimage.distance_transform_edt(~other, sampling=spacing)[mask]
    whole, surfaces._NEAR = surfaces._NEAR, near
    try:
        native, numpy = both(distances_mm, points, targets, spacing)
    finally:
        surfaces._NEAR = whole
    np.testing.assert_allclose(native, expected, rtol=1e-12)
    np.testing.assert_allclose(numpy, native, rtol=1e-15)


def test_far_targets_in_every_direction_and_none_at_all():
    shape, spacing = (3, 40, 30), (4.0, 0.7, 0.5)
    points = Points(shape, np.arange(0, np.prod(shape), 7))
    for corner in (0, 39 * 30 + 29, 2 * 1200 + 29, 3 * 1200 - 1):
        targets = Points(shape, np.array([corner]))
        steps = (np.indices(shape).reshape(3, -1).T[::7] - np.array(np.unravel_index(corner, shape))) * spacing
        for found in both(distances_mm, points, targets, spacing):
            np.testing.assert_allclose(found, np.linalg.norm(steps, axis=1), rtol=1e-15)
    for found in both(distances_mm, points, Points(shape, np.zeros(0, np.int64)), spacing):
        assert np.isinf(found).all()


@settings(max_examples=60, deadline=None)
@given(shapes, st.sampled_from(["uint8", "int16", "uint16", "int64", "float32", "bool"]), seeds)
def test_joint_counts_and_boxes(shape, dtype, seed):
    rng = np.random.default_rng(seed)
    first = (rng.integers(0, 2, shape) if dtype == "bool" else rng.integers(0, 9, shape) * 11).astype(dtype)
    second = np.repeat(rng.integers(-2, 5, shape), 2, axis=2)[:, :, : shape[2]].astype(np.int16)
    for found in both(joint_counts, first, second):
        assert found.first == tuple(np.unique(first).astype(int).tolist())
        assert found.second == tuple(np.unique(second).tolist())
        for row, a in enumerate(found.first):
            for column, b in enumerate(found.second):
                assert found.counts[row, column] == ((first == a) & (second == b)).sum()
        for value, box in found.boxes.items():
            places = np.argwhere((first == value) | (second == value))
            assert box == tuple(slice(int(a), int(b) + 1) for a, b in zip(places.min(0), places.max(0), strict=True))
        mask, other = np.isin(first, [0, 4]), np.isin(second, [0, 4])
        assert found.of([0, 4]) == ((mask & other).sum(), (mask & ~other).sum(), (other & ~mask).sum())
        assert found.box([99]) is None


def test_views_and_many_classes():
    base = np.arange(6 * 7 * 8, dtype=np.int32).reshape(6, 7, 8)
    view, other = base[::-1, :, ::2], np.zeros((6, 7, 4), np.uint8)
    for found in both(joint_counts, view, other):
        assert found.boxes[0] == (slice(0, 6), slice(0, 7), slice(0, 4))
        assert found.boxes[2] == (slice(5, 6), slice(0, 1), slice(1, 2))
        assert found.counts.sum() == view.size
    many = np.arange(MOST_CLASSES + 8, dtype=np.int32).reshape(8, 1, -1)
    with pytest.raises(LabelError, match="2056 classes, as images do"):
        joint_counts(many, many)
    with pytest.raises(ArgumentError, match="one shape"):
        joint_counts(base, base[:2])


def test_spacings_that_no_scanner_makes_need_no_more_memory():
    shape = (2, 3, 4)
    points, targets = Points(shape, np.arange(24)), Points(shape, np.array([5, 18]))
    for spacing in ((1.0, 1e-12, 1e12), (1e-9, 1e9, 1e-9)):
        expected = ndimage.distance_transform_edt(~np.isin(np.arange(24), [5, 18]).reshape(shape), sampling=spacing)
        for found in both(distances_mm, points, targets, spacing):
            np.testing.assert_allclose(found, expected.ravel(), rtol=1e-12)


def test_spacings_of_whole_numbers_are_as_good_as_others():
    points = Points((1, 2, 50), np.array([3]))
    targets = Points((1, 2, 50), np.array([56]))
    assert distances_mm(points, targets, (7, 3, 2)) == pytest.approx([math.hypot(3, 6)])
