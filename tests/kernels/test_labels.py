from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itkit.kernels.arrays import in_memory_order
from itkit.kernels.dispatch import forced_backend
from itkit.kernels.labels import label_counts, remap

from .support import INTEGERS, both, classes, same_bits, seeds

shapes = st.tuples(*[st.integers(1, 40)] * 3)


def label_map(seed, shape, dtype, spread):
    """Classes around the type's ends and around zero, in runs."""
    info = np.iinfo(dtype)
    rng = np.random.default_rng(seed)
    anchors = np.array([info.min, 0, info.max // 3, info.max], dtype=dtype)
    anchor = anchors[rng.integers(0, 4)]
    values = classes(seed, shape, "uint8", n=12).astype(dtype)
    with np.errstate(over="ignore"):
        near = anchor - values if anchor == info.max else anchor + values
    return np.where(rng.random(shape) < 0.01, anchors[rng.integers(0, 4, shape)], near) if spread else near


@settings(max_examples=80, deadline=None)
@given(shapes, st.sampled_from(INTEGERS), st.booleans(), seeds)
def test_counts_equal_np_unique(shape, dtype, spread, seed):
    array = label_map(seed, shape, dtype, spread)
    values, counts = np.unique(array, return_counts=True)
    expected = dict(zip(values.tolist(), counts.tolist(), strict=True))
    for result in both(label_counts, array) + both(label_counts, array[::-1, ::2].repeat(2, axis=1)[:, : shape[1]]):
        assert list(result) == sorted(result)
    assert both(label_counts, array) == [expected, expected]


@settings(max_examples=80, deadline=None)
@given(shapes, st.sampled_from(INTEGERS), st.sampled_from(INTEGERS), st.booleans(), st.sampled_from([0, "keep"]), seeds)
def test_remap_equals_an_assignment_a_class(shape, dtype, out_dtype, spread, rest, seed):
    array = label_map(seed, shape, dtype, spread)
    rng = np.random.default_rng(seed)
    info = np.iinfo(out_dtype)
    values, counts = np.unique(array, return_counts=True)
    old = values.tolist()
    mapping = {value: int(rng.integers(info.min, info.max, dtype=out_dtype)) for value in old[::2]}
    mapping[17] = mapping.get(17, 1)
    written = [mapping.get(value, value if rest == "keep" else 0) for value in old]
    if not all(info.min <= value <= info.max for value in written):
        for name in ("native", "numpy"):
            with forced_backend(name), pytest.raises(ValueError, match="does not fit"):
                remap(array, mapping, dtype=out_dtype, rest=rest)
        return
    expected = np.zeros(shape, dtype=out_dtype)
    for value, new in zip(old, written, strict=True):
        expected[array == value] = new
    for result, found in both(remap, array, mapping, dtype=out_dtype, rest=rest):
        assert same_bits(result, expected)
        assert result.flags.c_contiguous
        assert found == dict(zip(old, counts.tolist(), strict=True))


def test_integral_floats_are_labels_and_others_are_not(backend_name):
    array = np.array([[[0.0, 3.0, -2.0]]], dtype=np.float32)
    assert label_counts(array) == {-2: 1, 0: 1, 3: 1}
    result, _ = remap(array, {3: 300}, dtype="uint16")
    assert result.tolist() == [[[0, 300, 0]]]
    for bad in (0.5, np.nan, np.inf):
        with pytest.raises(ValueError, match="integers"):
            label_counts(np.array([[[0.0, bad]]]))


def test_a_class_that_does_not_fit_is_refused_only_if_it_is_written(backend_name):
    array = np.array([[[0, 300]]], dtype=np.int16)
    with pytest.raises(ValueError, match=r"300.*uint8"):
        remap(array, {}, dtype="uint8", rest="keep")
    with pytest.raises(ValueError, match=r"-1.*uint8"):
        remap(array, {0: -1}, dtype="uint8")
    assert remap(array, {300: 2, 5: 1000}, dtype="uint8")[0].tolist() == [[[0, 2]]]


def test_strided_and_boolean_maps(backend_name):
    array = np.arange(2 * 70 * 90).reshape(2, 70, 90).astype(np.uint8)[:, ::3, ::-2]
    values, counts = np.unique(array, return_counts=True)
    assert label_counts(array) == dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert np.array_equal(remap(array, {7: 1}, dtype="int8")[0], (array == 7).astype(np.int8))
    assert label_counts(np.array([[[True, False, True]]])) == {0: 1, 1: 2}
    assert label_counts(np.zeros((0, 3, 3), dtype=np.uint8)) == {}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_reversed_and_permuted_views_are_counted_without_a_copy(order):
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    view = array.transpose(order)[::-1, :, ::-1]
    values = in_memory_order(view)
    assert np.shares_memory(values, array)
    np.testing.assert_array_equal(values, array.ravel())
    np.testing.assert_array_equal(np.sort(in_memory_order(view[:, ::2])), np.sort(view[:, ::2].ravel()))


def test_without_the_kernel_few_bytes_a_voxel_are_taken():
    array = np.zeros((96, 256, 256), np.uint8)
    array[5, 6, 7], array[-1, -1, -1] = 7, 9
    tracemalloc.start()
    try:
        with forced_backend("numpy"):
            result, counts = remap(array, {7: 300, 9: -3}, dtype=np.int16)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert counts == {0: array.size - 2, 7: 1, 9: 1}
    assert (result[5, 6, 7], result[-1, -1, -1], np.count_nonzero(result)) == (300, -3, 2)
    assert most < 6 * array.size  # the result takes two, a part of the voxels the others
