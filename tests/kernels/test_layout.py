from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itkit.kernels.layout import reorient

from .support import DTYPES, both, same_bits, seeds, volume

shapes = st.tuples(st.integers(0, 70), st.integers(1, 70), st.integers(1, 150))


@settings(max_examples=60, deadline=None)
@given(shapes, st.sampled_from([*DTYPES, "bool"]), st.permutations(range(3)), st.tuples(*[st.booleans()] * 3), seeds)
def test_voxels_move_as_numpy_moves_them(shape, dtype, axes, flips, seed):
    array = volume(seed, shape, dtype, special=True) if dtype != "bool" else volume(seed, shape, "int8") > 0
    steps = np.random.default_rng(seed).choice([-2, -1, 1, 1, 3], 3)
    for view in (array, array[tuple(slice(None, None, step) for step in steps)]):
        expected = view.transpose(axes)[tuple(slice(None, None, -1 if flip else None) for flip in flips)]
        for threads in (1, 3):
            for result in both(reorient, view, axes, flips, threads=threads):
                assert result.flags.c_contiguous
                assert same_bits(result, expected)
                assert not np.shares_memory(result, array)


@pytest.mark.parametrize(("axes", "flips"), list(product(permutations(range(3)), product([False, True], repeat=3))))
def test_all_48_orientations_of_a_volume_without_symmetry(backend_name, axes, flips):
    array = np.arange(3 * 5 * 7, dtype=np.int16).reshape(3, 5, 7)
    expected = np.transpose(array, axes)
    for axis, flip in enumerate(flips):
        expected = np.flip(expected, axis) if flip else expected
    assert np.array_equal(reorient(array, axes, flips), expected)
