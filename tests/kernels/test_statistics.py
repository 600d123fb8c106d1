from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itkit.kernels.statistics import finite_summary, min_max

from .support import DTYPES, both, seeds, volume

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 200))


@settings(max_examples=80, deadline=None)
@given(shapes, st.sampled_from(DTYPES), st.booleans(), seeds)
def test_extremes_and_counts_equal_numpys(shape, dtype, special, seed):
    array = volume(seed, shape, dtype, special=special)
    for view in (array, array[::-1, ::2, ::-3]):
        n_nan, n_inf = (
            (int(np.count_nonzero(f(view))) for f in (np.isnan, np.isinf)) if view.dtype.kind == "f" else (0, 0)
        )
        known = view[view == view]
        finite = view[np.isfinite(view)]
        if known.size:
            assert both(min_max, view) == [(known.min(), known.max())] * 2
        if finite.size:
            assert both(finite_summary, view) == [(finite.min(), finite.max(), n_nan, n_inf)] * 2


def test_without_a_finite_value_the_extremes_are_nan(backend_name):
    low, high, n_nan, n_inf = finite_summary(np.array([np.nan, np.inf, -np.inf]))
    assert (np.isnan([low, high]).all(), n_nan, n_inf) == (True, 1, 2)
    assert min_max(np.array([np.nan, np.inf])) == (np.inf, np.inf)
    assert np.isnan(min_max(np.array([np.nan], dtype=np.float32))).all()


def test_results_are_python_numbers(backend_name):
    assert [type(value) for value in min_max(np.array([1], dtype=np.uint64))] == [int, int]
    assert [type(value) for value in finite_summary(np.array([1], dtype=np.float32))] == [float, float, int, int]
    assert min_max(np.array([True, False])) == (0, 1)
    assert min_max(np.array([np.iinfo(np.uint64).max], dtype=np.uint64))[1] == 2**64 - 1


def test_an_empty_array_is_refused(backend_name):
    for function in (min_max, finite_summary):
        with pytest.raises(ValueError, match="no extremes"):
            function(np.zeros((0, 2, 2)))
