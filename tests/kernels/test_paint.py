"""Regions on one canvas: who keeps a voxel, and how many voxels several claim."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itkit.core.errors import LabelError
from itkit.kernels.arrays import smallest_integer
from itkit.kernels.paint import Canvas

SIZE = (3, 4, 5)
VALUES = (7, 2, 300)
"""In order of precedence, which is not that of the numbers."""


def masks_of(seed):
    rng = np.random.default_rng(seed)
    return {value: rng.random(SIZE) < 0.5 for value in VALUES}


def claims(masks):
    return sum(mask.astype(int) for mask in masks.values())


def painted(masks, order, rule):
    """Paint by loops over voxels, which no kernel does."""
    result = np.zeros(SIZE, int)
    for index in np.ndindex(*SIZE):
        owners = [value for value in order if masks[value][index]]
        if owners:
            result[index] = owners[0] if rule == "first" else owners[-1]
    return result


@given(st.integers(0, 2**32 - 1), st.sampled_from(["first", "last"]))
def test_strokes_in_any_order_keep_the_order_of_precedence(seed, rule):
    masks = masks_of(seed)
    canvas = Canvas(SIZE, VALUES, rule)
    strokes = [(value, z) for value in VALUES for z in range(SIZE[0])]
    for number in np.random.default_rng(seed).permutation(len(strokes)):
        value, z = strokes[number]
        y, x = np.nonzero(masks[value][z])
        canvas.paint(value, (np.full(len(y), z), y, x))
    assert canvas.overlap_voxels == (claims(masks) > 1).sum()
    np.testing.assert_array_equal(canvas.labels(), painted(masks, VALUES, rule))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["first", "last"]), st.permutations(VALUES))
def test_masks_have_the_order_in_which_they_are_painted(seed, rule, order):
    masks = masks_of(seed)
    canvas = Canvas(SIZE, VALUES, rule)
    for value in order:
        canvas.paint_mask(value, masks[value].astype(np.uint8) * 255)
    assert canvas.overlap_voxels == (claims(masks) > 1).sum()
    labels = canvas.labels()
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, painted(masks, order, rule))


@given(st.integers(0, 2**32 - 1))
def test_channels_lose_nothing(seed):
    masks = masks_of(seed)
    canvas = Canvas(SIZE, VALUES, "multi")
    for value, mask in masks.items():
        canvas.paint_mask(value, mask)
    assert canvas.overlap_voxels == (claims(masks) > 1).sum()
    np.testing.assert_array_equal(np.moveaxis(canvas.labels(), -1, 0), list(masks.values()))


def test_a_voxel_of_three_counts_once_and_its_pairs_are_those_that_met():
    canvas = Canvas((1, 1, 1), VALUES, "last")
    for value in VALUES:
        canvas.paint_mask(value, np.ones((1, 1, 1), bool))
    assert canvas.overlap_voxels == 1
    assert canvas.pairs == {(7, 2): 1, (2, 300): 1}


def test_a_region_meets_itself_without_overlap():
    canvas = Canvas((1, 1, 2), [4], "error")
    canvas.paint_mask(4, np.ones((1, 1, 2)))
    canvas.paint_mask(4, np.ones((1, 1, 2)))
    assert canvas.overlap_voxels == 0
    assert canvas.pairs == {}
    assert canvas.labels().tolist() == [[[4, 4]]]


@pytest.mark.parametrize("count", [127, 128, 200])
def test_regions_at_the_limits_of_the_smallest_type(count):
    canvas = Canvas((1, 2, count), range(1, count + 1), "last")
    ramp = np.arange(1, count + 1)
    for value in ramp.tolist():
        canvas.paint_mask(value, np.broadcast_to(ramp >= value, (1, 2, count)))
    assert canvas.overlap_voxels == 2 * (count - 1)
    assert canvas.empty == ()
    labels = canvas.labels()
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels[0, 1], ramp)


def test_regions_without_a_voxel_are_named():
    canvas = Canvas((1, 1, 1), [3, 9], "last")
    canvas.paint_mask(9, np.zeros((1, 1, 1)))
    canvas.paint(3, (np.array([], int),) * 3)
    assert canvas.empty == (3, 9)


def test_the_smallest_type_that_holds_a_range():
    assert smallest_integer(-129, 5) == np.int16
    assert smallest_integer(0, 255) == np.uint8
    with pytest.raises(LabelError, match="no integer type"):
        smallest_integer(-1, 2**63)
