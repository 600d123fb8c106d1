"""Groups of voxels equal those that np.unique finds of the stacked label maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itkit.core.errors import ArgumentError
from itkit.kernels.dispatch import forced_backend
from itkit.kernels.labels import label_counts
from itkit.kernels.patterns import painted, patterns_of

from .support import INTEGERS, both, classes, seeds

shapes = st.tuples(*[st.integers(1, 20)] * 3)


@settings(max_examples=60, deadline=None)
@given(shapes, st.lists(st.sampled_from(INTEGERS), min_size=1, max_size=5), seeds)
def test_groups_are_the_rows_of_the_stacked_maps(shape, dtypes, seed):
    maps = [classes(seed + place, shape, dtype, n=5) for place, dtype in enumerate(dtypes)]
    numbers = [{value: value * 10 - 15 for value in range(1, 4)} for _ in maps]
    stacked = np.stack([np.select([m == v for v in range(1, 4)], [v * 10 - 15 for v in range(1, 4)]) for m in maps])
    rows, counts = np.unique(stacked.reshape(len(maps), -1), axis=1, return_counts=True)
    expected = {tuple(row): int(count) for row, count in zip(rows.T.tolist(), counts, strict=True)}
    results = both(lambda: patterns_of(zip(maps, numbers, strict=True)))
    for found in results:
        assert {tuple(r): c for r, c in zip(found.classes.tolist(), found.counts.tolist(), strict=True)} == expected
        np.testing.assert_array_equal(found.classes[found.groups], np.moveaxis(stacked, 0, -1))
        assert found.voxels == tuple(label_counts(m) for m in maps)
    for one, other in zip(*(result[:3] for result in results), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.parametrize(("n", "kind"), [(15, "uint8"), (16, "uint8"), (17, "uint16"), (260, "uint32")])
def test_groups_become_as_wide_as_their_number_needs(n, kind, backend_name):
    first, second = np.meshgrid(np.arange(n, dtype=np.int16), np.arange(n, dtype=np.uint32), indexing="ij")
    own = {value: value for value in range(n)}
    found = patterns_of([(first[None], own), (second[None], own), (first[None], {1: 1})])
    assert found.groups.dtype == kind
    assert found.groups.ravel().tolist() == list(range(n * n))
    np.testing.assert_array_equal(found.classes, np.stack([first, second, first == 1], -1).reshape(-1, 3))
    assert painted(found, found.classes[:, 1].tolist()).tolist() == second[None].tolist()


def test_values_far_apart_and_floats_are_searched(backend_name):
    wide = np.array([[[-(2**62), 2**62, 5, 5]]])
    found = patterns_of([(wide, {2**62: 1, 5: 2}), (wide.astype(float) / 5, {1: 3})])
    assert found.classes[found.groups].tolist() == [[[[0, 0], [1, 0], [2, 3], [2, 3]]]]
    assert painted(found, [-1 if row[1] == 3 else 0 for row in found.classes]).tolist() == [[[0, 0, -1, -1]]]


def test_a_value_is_counted_once(backend_name):
    maps = [classes(seed, (5, 6, 7)) for seed in range(3)]
    found = patterns_of([(m, {v: v for v in label_counts(m)}) for m in maps])
    assert found.counts.sum() == 5 * 6 * 7
    assert np.bincount(found.groups.ravel()).tolist() == found.counts.tolist()


def test_shapes_must_agree():
    with pytest.raises(ArgumentError, match="expected one shape"):
        patterns_of([(np.zeros((1, 2, 3), np.uint8), {}), (np.zeros((1, 3, 2), np.uint8), {})])
    with pytest.raises(ArgumentError, match="at least one"), forced_backend("numpy"):
        patterns_of([])
