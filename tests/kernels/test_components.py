from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from itkit.core.errors import ArgumentError
from itkit.kernels.components import components, holes

from .support import both, classes, seeds

shapes = st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 90))
STRUCTURES = {6: 1, 18: 2, 26: 3}


def sparse(seed, shape, n=3, dtype="uint8"):
    """A label map with many regions of all sizes."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.uniform_filter(rng.random(shape), 2)
    return np.where(smooth > np.quantile(smooth, rng.uniform(0.2, 0.9)), rng.integers(1, n, shape), 0).astype(dtype)


def structure(neighbours):
    """The neighbourhood as scipy takes it."""
    if neighbours in STRUCTURES:
        return ndimage.generate_binary_structure(3, STRUCTURES[neighbours])
    flat = np.zeros((3, 3, 3), dtype=int)
    flat[1] = ndimage.generate_binary_structure(2, 1 if neighbours == 4 else 2)
    return flat


@settings(max_examples=120, deadline=None)
@given(shapes, st.sampled_from([4, 6, 8, 18, 26]), st.integers(2, 4), seeds, st.booleans())
def test_components_are_those_of_scipy_class_by_class(shape, neighbours, n, seed, noisy):
    labels = classes(seed, shape, "int16", n) if noisy else sparse(seed, shape, n, "int16")
    ours, in_numpy = both(components, labels, neighbours=neighbours)
    number = ours.numbered()
    np.testing.assert_array_equal(number, in_numpy.numbered())
    for name in ("classes", "voxels", "starts_zyx", "ends_zyx"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(in_numpy, name))
    total = 0
    for value in np.unique(labels[labels != 0]):
        theirs, count = ndimage.label(labels == value, structure(neighbours))
        pairs = np.unique(np.stack([number[labels == value], theirs[labels == value]]), axis=1)
        assert pairs.shape[1] == count == np.sum(ours.classes == value)  # one to one
        total += count
    assert len(ours) == total
    assert (number > 0).tolist() == (labels != 0).tolist()
    firsts = [np.flatnonzero(number.ravel() == one)[0] for one in range(1, len(ours) + 1)]
    assert firsts == sorted(firsts)
    for place, box in enumerate(ndimage.find_objects(number)):
        assert ours.voxels[place] == np.count_nonzero(number == place + 1)
        assert [part.start for part in box] == ours.starts_zyx[place].tolist()
        assert [part.stop for part in box] == ours.ends_zyx[place].tolist()


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "uint64", "bool"])
def test_every_integer_type_and_any_strides(dtype, backend_name):
    labels = sparse(1, (7, 13, 150), 2, dtype)[::-1, :, ::-2]
    assert not labels.flags.c_contiguous
    expected, count = ndimage.label(labels, structure(26))
    found = components(labels)
    assert len(found) == count
    np.testing.assert_array_equal(found.numbered() != 0, expected != 0)


def test_corners_of_two_classes_in_one_row(backend_name):
    """Runs that end at one place touch the next runs at a corner."""
    assert components(np.array([[[1, 1, 2, 2], [2, 2, 1, 1]]])).voxels.tolist() == [4, 4]
    assert components(np.array([[[2, 2, 1, 1], [1, 1, 2, 2]]])).voxels.tolist() == [4, 4]
    assert components(np.array([[[1, 1, 2, 2], [2, 2, 1, 1]]]), neighbours=6).voxels.tolist() == [2, 2, 2, 2]


@settings(max_examples=60, deadline=None)
@given(shapes, seeds, st.integers(1, 4))
def test_largest_and_small_equal_simpleitks(shape, seed, count):
    mask = sparse(seed, shape, 2)
    image = sitk.ConnectedComponent(sitk.GetImageFromArray(mask), True)
    theirs = sitk.GetArrayFromImage(image)
    sizes = np.bincount(theirs.ravel())
    sizes[0] = 0
    firsts = [np.flatnonzero(theirs.ravel() == number)[:1].sum() for number in range(len(sizes))]
    order = sorted(range(1, len(sizes)), key=lambda number: (-sizes[number], firsts[number]))
    for found in both(components, mask > 0):
        largest = found.painted(found.largest(count).astype(np.uint8))
        np.testing.assert_array_equal(largest, np.isin(theirs, order[:count]) & (mask != 0))
        np.testing.assert_array_equal(found.painted((found.voxels >= 5).astype(np.uint8)), (sizes >= 5)[theirs])


@settings(max_examples=60, deadline=None)
@given(shapes, seeds)
def test_holes_equal_scipys_and_simpleitks(shape, seed):
    mask = np.random.default_rng(seed).random(shape) < 0.7
    expected = ndimage.binary_fill_holes(mask)
    itk = sitk.BinaryFillhole(sitk.GetImageFromArray(mask.astype(np.uint8)), False, 1)
    if min(shape) > 2:
        np.testing.assert_array_equal(sitk.GetArrayFromImage(itk), expected)
    for axis in range(3):
        parts = np.moveaxis(mask, axis, 0)
        flat = np.moveaxis(np.stack([ndimage.binary_fill_holes(part) for part in parts]), 0, axis)
        for result in both(holes, mask, cut_axis=axis):
            np.testing.assert_array_equal(result, flat & ~mask)
    for result in both(holes, mask):
        np.testing.assert_array_equal(result, expected & ~mask)


def test_a_comb_joins_late(backend_name):
    """Teeth that only the last row joins: a long chain of unions."""
    mask = np.zeros((1, 50, 400), dtype=np.uint8)
    mask[0, :, ::2] = 1
    mask[0, -1] = 1
    assert components(mask, neighbours=6).voxels.tolist() == [mask.sum()]


def test_nothing_and_everything(backend_name):
    empty = components(np.zeros((2, 3, 4), np.uint8))
    assert len(empty) == 0
    assert not empty.numbered().any()
    full = components(np.ones((2, 3, 4), np.int16))
    assert (full.voxels.tolist(), full.ends_zyx.tolist(), full.touch_border.tolist()) == ([24], [[2, 3, 4]], [True])
    assert not holes(np.zeros((2, 3, 4), np.uint8)).any()
    assert not empty.largest().any()


def test_only_the_chosen_are_painted(backend_name):
    labels = np.array([[[5, 0, 300, 0, 5, 5]]], dtype=np.int32)
    found = components(labels)
    assert found.chosen(found.largest_of_each_class(), np.uint16).tolist() == [[[0, 0, 300, 0, 5, 5]]]
    onto = np.full(labels.shape, 7, dtype=np.uint8)
    found.painted(np.array([0, 1, 0], np.uint8), onto)
    assert onto.tolist() == [[[7, 7, 1, 7, 7, 7]]]
    with pytest.raises(ArgumentError, match="C-contiguous"):
        found.painted(np.array([0, 1, 0], np.uint8), onto.astype(np.int16))


def test_wrong_arguments_are_named():
    with pytest.raises(ArgumentError, match="neighbours"):
        components(np.zeros((1, 1, 1), bool), neighbours=5)
    with pytest.raises(ArgumentError, match="float32"):
        components(np.zeros((1, 1, 1), np.float32))
