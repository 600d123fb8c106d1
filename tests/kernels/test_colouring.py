from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itkit.kernels.colouring import coloured

from .support import both, same_bits, seeds

shapes = st.tuples(st.integers(0, 40), st.integers(1, 1100))


@settings(max_examples=30, deadline=None)
@given(shapes, st.sampled_from(["uint8", "uint16"]), st.booleans(), st.booleans(), seeds)
def test_every_pixel_has_the_tables_colour(shape, dtype, is_turned, is_reversed, seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    places = rng.integers(0, 5, shape).astype(np.uint8)
    if is_turned:
        values, places = values.T, places.T
    if is_reversed:
        values, places = values[::-2, ::-1], places[::-2, ::-1]
    grey = rng.integers(0, 256, 1 << 8 * values.itemsize).astype(np.uint8)
    table = rng.integers(0, 1 << 32, 1 << 16).astype(np.uint32)
    for rgb in both(coloured, values, places, table, grey=grey):
        assert same_bits(rgb, table[256 * places.astype(int) + grey[values]])
    for rgb in both(coloured, values, None, table, grey=grey):
        assert same_bits(rgb, np.stack([*3 * [grey[values]], np.full_like(grey[values], 255)], -1).view("<u4")[..., 0])
    for rgb in both(coloured, None, places, table):
        assert same_bits(rgb, table[256 * places.astype(int)])
    for rgb in both(coloured, grey[values], places, table):
        assert same_bits(rgb, table[256 * places.astype(int) + grey[values]])


def test_tables_and_slices_that_do_not_fit_are_refused():
    table = np.zeros(1 << 16, np.uint32)
    for values, places, grey in (
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), None),
        (np.zeros((2, 3), np.uint16), None, None),
        (np.zeros((2, 3), np.uint8), None, np.zeros(255, np.uint8)),
    ):
        with pytest.raises(ValueError, match="expected"):
            coloured(values, places, table, grey=grey)
    with pytest.raises(ValueError, match=r"65,536"):
        coloured(np.zeros((2, 3), np.uint8), None, table[:-1])
