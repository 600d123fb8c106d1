from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itkit.kernels.patches import patch_classes, patch_foreground

from .support import DTYPES, both, classes, seeds

shapes = st.tuples(*[st.integers(1, 24)] * 3)


def grid_of(seed, shape):
    """Starts at a stride with one more patch at the end, not always in order."""
    rng = np.random.default_rng(seed)
    patch = [int(rng.integers(1, n + 1)) for n in shape]
    starts = []
    for length, size in zip(shape, patch, strict=True):
        stride = int(rng.integers(1, size + 2))
        starts.append(sorted({*range(0, length - size + 1, stride), length - size}, reverse=bool(rng.integers(2))))
    return starts, patch


def patches(array, starts, patch):
    for place in product(*(range(len(s)) for s in starts)):
        begin = [s[p] for s, p in zip(starts, place, strict=True)]
        yield place, array[tuple(slice(b, b + n) for b, n in zip(begin, patch, strict=True))]


@settings(max_examples=60, deadline=None)
@given(shapes, st.sampled_from(DTYPES), seeds)
def test_foreground_equals_counting_every_patch(shape, dtype, seed):
    array = classes(seed, shape, dtype, n=2)
    starts, patch = grid_of(seed, shape)
    for counts in both(patch_foreground, array, starts, patch):
        assert counts.shape == tuple(len(s) for s in starts)
        assert counts.dtype == np.int64
        assert all(counts[place] == np.count_nonzero(part) for place, part in patches(array, starts, patch))


@settings(max_examples=40, deadline=None)
@given(shapes, st.sampled_from(["uint8", "int16", "int64", "uint64", "float32"]), st.sampled_from([3, 64, 150]), seeds)
def test_classes_equal_looking_at_every_patch(shape, dtype, n, seed):
    array = classes(seed, shape, dtype, n=n)
    if dtype == "int64":
        array[array == 2] = -(2**40)  # too far apart for a table
    starts, patch = grid_of(seed, shape)
    for names, present in both(patch_classes, array, starts, patch):
        assert list(names) == np.unique(array).tolist()
        for place, part in patches(array, starts, patch):
            assert np.array(names)[present[place]].tolist() == np.unique(part).tolist()


def test_long_rows_are_counted_whole(backend_name):
    array = np.ones((1, 1, 200_000), dtype=np.uint8)
    assert patch_foreground(array, ([0], [0], [0, 1]), (1, 1, 199_999)).tolist() == [[[199_999, 199_999]]]


def test_strided_volumes_count_alike(backend_name):
    array = classes(4, (9, 8, 21), "int16", n=4)
    for view in (array[::-1, :, ::-2], array.transpose(2, 1, 0)):
        dense = np.ascontiguousarray(view)
        grid = grid_of(1, view.shape)
        assert np.array_equal(patch_foreground(view, *grid), patch_foreground(dense, *grid))
        assert np.array_equal(patch_classes(view, *grid)[1], patch_classes(dense, *grid)[1])


@pytest.mark.parametrize(("starts", "size"), [([-1], 2), ([3], 2), ([], 2), ([0], 0)])
def test_a_patch_outside_is_refused(starts, size):
    with pytest.raises(ValueError, match="axis Y of 4"):
        patch_foreground(np.zeros((1, 4, 1)), ([0], starts, [0]), (1, size, 1))
