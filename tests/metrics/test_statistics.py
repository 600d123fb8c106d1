"""Wilcoxon's test equals scipy's, Holm's correction its definition, the bootstrap scipy's within its own noise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from itkit.metrics import bootstrap_interval, holm, signed_rank


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 70), st.integers(0, 2**32 - 1), st.sampled_from(["plain", "ties", "zeros"]))
def test_signed_rank_equals_scipy(n, seed, kind):
    rng = np.random.default_rng(seed)
    differences = rng.normal(0.2, 1, n)
    if kind == "ties":
        differences = np.round(differences * 2) / 2 + 0.25
    if kind == "zeros":
        differences[rng.random(n) < 0.2] = 0
    if not differences.any():
        return
    expected = stats.wilcoxon(differences)
    found = signed_rank(differences)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.n == np.count_nonzero(differences)


def test_no_difference_at_all_has_no_p_value():
    found = signed_rank([0.0, 0.0])
    assert (found.n, found.is_exact) == (0, False)
    assert math.isnan(found.p)
    assert math.isnan(signed_rank([]).p)


def test_holm():
    given_p = {"a": 0.04, "b": 0.01, "c": math.nan, "d": 0.03, "e": 0.9}
    found = holm(given_p)
    assert list(found) == list(given_p)
    assert {key: value for key, value in found.items() if key != "c"} == {
        "a": pytest.approx(0.09), "b": pytest.approx(0.04), "d": pytest.approx(0.09), "e": 0.9,
    }  # fmt: skip
    assert math.isnan(found["c"])


def test_bootstrap_is_seeded_and_near_that_of_scipy():
    values = np.random.default_rng(3).beta(8, 2, 40)
    first = bootstrap_interval(values, seed=(1, 2))
    assert first == bootstrap_interval(values, seed=(1, 2))
    assert first != bootstrap_interval(values, seed=(1, 3))
    other = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(0))
    assert first == pytest.approx(tuple(other.confidence_interval), abs=0.004)
    assert bootstrap_interval([0.5]) is None
    assert bootstrap_interval([0.5, 0.5]) == (0.5, 0.5)
    many = bootstrap_interval(np.repeat(values, 30_000), seed=(0,), resamples=20)  # in parts, for the sake of memory
    assert many[0] == pytest.approx(values.mean(), abs=1e-3)
