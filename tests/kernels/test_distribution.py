"""Distributions: the numbers of numpy, for every voxel type, by a table or by sorting, in C or in numpy."""

import numpy as np
import pytest

from itkit.core.errors import ArgumentError
from itkit.kernels.dispatch import forced_backend
from itkit.kernels.distribution import Distribution, distribution, distributions, mixture, weighted_percentiles

from .support import DTYPES, both, classes

RNG = np.random.default_rng(5)
PERCENTS = (0, 0.5, 3, 50, 75, 99.5, 100)
ARRAYS = {
    "int16": RNG.normal(0, 400, (7, 9, 11)).astype(np.int16),
    "uint8": RNG.integers(0, 5, (4, 5, 6), dtype=np.uint8),
    "int32": RNG.integers(-3000, 3000, 501, dtype=np.int32),
    "wide int32": RNG.integers(-(2**31), 2**31 - 1, 501, dtype=np.int32),
    "uint64": RNG.integers(0, 1000, 501, dtype=np.uint64) + np.uint64(2**63),
    "float32": RNG.normal(1000, 3, 4001).astype(np.float32),
    "float64": RNG.gamma(1, 1, 100),
    "one": np.array([3], np.int16),
    "bool": RNG.integers(0, 2, 50).astype(bool),
    "view": RNG.normal(0, 400, (7, 9, 11)).astype(np.int16)[::-2, :, ::3],
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_moments_and_percentiles_are_those_of_numpy(name, backend):
    array = ARRAYS[name]
    with forced_backend(backend):
        found = distribution(array)
    wide = array.astype(np.float64)
    assert found.size == array.size
    assert found.mean == pytest.approx(wide.mean(), rel=1e-12)
    assert found.std == pytest.approx(wide.std(), rel=1e-6, abs=1e-12)
    assert found.percentiles(PERCENTS) == pytest.approx(np.percentile(wide, PERCENTS).tolist(), rel=1e-12)


def test_a_part_and_values_that_are_no_numbers():
    array = np.array([1.0, np.nan, 5.0, np.inf, -np.inf, 3.0], np.float32)
    found = distribution(array, np.array([True, True, False, True, False, True]))
    assert (found.values.tolist(), found.n_other) == ([1.0, 3.0], 2)
    nothing = distribution(array, np.zeros(6, bool))
    assert nothing.size == 0
    assert np.isnan([nothing.mean, nothing.std, *nothing.percentiles([50])]).all()
    assert nothing.thinned().size == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mask_dtype", ["bool", "uint8", "int8", "uint16", "int32"])
def test_both_distributions_of_one_pass_are_those_of_two(dtype, mask_dtype):
    shape = (3, 17, 29)  # no multiple of a block
    values = classes(1, shape, dtype, n=5)
    values[0, 0, :2] = np.array([90, 7]).astype(dtype)
    mask = classes(2, shape, "uint8", n=3).astype(mask_dtype)
    for found in both(lambda: distributions(values, mask)):
        for part, expected in zip(found, (values, values[mask != 0]), strict=True):
            uniques, counts = np.unique(expected, return_counts=True)
            if part.counts is None:
                np.testing.assert_array_equal(part.values, np.sort(expected, axis=None))
                continue
            np.testing.assert_array_equal(part.values, uniques)
            np.testing.assert_array_equal(part.counts, counts)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ArgumentError, match="mask of shape"):
        distributions(np.zeros((2, 3, 4), np.int16), np.zeros((4, 3, 2), np.uint8))


@pytest.mark.parametrize(
    "make", [lambda: RNG.gamma(2, 100, 60000), lambda: RNG.normal(0, 900, 200000).astype(np.int16)]
)
def test_a_thinned_distribution_keeps_its_percentiles(make):
    array = make()
    thin = distribution(array).thinned()
    assert thin.size == array.size
    assert len(thin.values) < 1500
    assert thin.mean == pytest.approx(array.mean(), rel=1e-9)
    for percent in (0.5, 50, 99.5):
        (value,) = weighted_percentiles(thin.values.astype(float), thin.counts.astype(float), [percent])
        below, above = np.mean(array < value), np.mean(array <= value)
        assert below - 0.001 <= percent / 100 <= above + 0.001
        if percent != 50:
            assert below - 1e-4 <= percent / 100 <= above + 1e-4


def test_few_values_are_not_merged():
    array = RNG.integers(-512, 512, 100000)
    thin = distribution(array).thinned()
    values, counts = np.unique(array, return_counts=True)
    assert np.array_equal(thin.values, values)
    assert np.array_equal(thin.counts, counts)


def test_in_a_mixture_each_part_counts_alike():
    parts = [distribution(np.arange(1000)), distribution(np.full(3, 7.0)), Distribution(np.zeros(0), None)]
    values, weights = mixture(parts)
    assert weights.sum() == pytest.approx(1)
    assert weights[values == 7][0] == pytest.approx(0.5 + 0.5 / 1000)
    assert weighted_percentiles(values, weights, [10, 100]) == [7.0, 999.0]
    assert np.isnan(weighted_percentiles(*mixture([]), [50])).all()
