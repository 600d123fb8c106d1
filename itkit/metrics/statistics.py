"""Statistics over cases: confidence intervals by bootstrap, a paired test, and the correction for several tests."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
_MOST_KEPT = 1 << 19
_MOST_EXACT = 50
_MOST_EXACT_WITH_TIES = 13
_K = TypeVar("_K")


class SignedRank(NamedTuple):
    """Result of Wilcoxon's signed-rank test.

    Attributes
    ----------
    statistic
        The smaller one of the sums of ranks of positive and negative differences.
    p
        Two-sided p-value; ``nan`` if no difference is other than 0.
    n
        Number of differences other than 0.
    is_exact
        Whether the p-value comes from the exact distribution, not from a normal one.
    """

    statistic: float
    p: float
    n: int
    is_exact: bool


def bootstrap_interval(
    values: Sequence[float], *, seed: Sequence[int] = (0,), share: float = 0.95, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """Return a percentile bootstrap confidence interval of the mean; ``None`` for fewer than two values.

    Parameters
    ----------
    values
        One value for each case.
    seed
        Numbers that the draws depend on.
    share
        Coverage of the interval.
    resamples
        Number of draws.

    References
    ----------
    .. [1] B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap", Chapman & Hall 1993, chapter 13

    Examples
    --------
    >>> low, high = bootstrap_interval([0.8, 0.9, 0.85, 0.95])
    >>> 0.8 <= low < 0.875 < high <= 0.95
    True
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size < 2:
        return None
    parts = _draws(tuple(seed), array.size, resamples)
    means = np.concatenate([array[places].mean(axis=1) for places in parts])
    low, high = np.percentile(means, [50 * (1 - share), 50 * (1 + share)])
    return float(low), float(high)


def _draws(seed: tuple[int, ...], size: int, resamples: int) -> Iterable[NDArray[np.int64]]:
    """Return the places that each resample draws, in parts; many metrics of the same cases share them."""
    return _kept_draws(seed, size, resamples) if size * resamples <= _MOST_KEPT else _new_draws(seed, size, resamples)


@lru_cache(maxsize=8)
def _kept_draws(seed: tuple[int, ...], size: int, resamples: int) -> list[NDArray[np.int64]]:
    return list(_new_draws(seed, size, resamples))


def _new_draws(seed: tuple[int, ...], size: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    rng = np.random.default_rng(list(seed))
    step = max(1, (1 << 18) // size)
    for start in range(0, resamples, step):
        yield rng.integers(0, size, (min(step, resamples - start), size))


def signed_rank(differences: Sequence[float]) -> SignedRank:
    """Test whether paired differences are symmetric about 0: Wilcoxon's signed-rank test, two-sided.

    Parameters
    ----------
    differences
        One finite difference for each case; zeros are left out, as in Wilcoxon's own procedure.

    Notes
    -----
    The p-value is exact for up to 50 differences without ties and zeros, and for up to 13 with them; otherwise it comes
    from the normal approximation with the correction for ties and without that for continuity. These are the rules of
    ``scipy.stats.wilcoxon``.

    References
    ----------
    .. [1] F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1 (1945), 80-83

    Examples
    --------
    >>> signed_rank([1.0, 2.0, -0.5, 3.0, 4.0])
    SignedRank(statistic=1.0, p=0.125, n=5, is_exact=True)
    """
    given = np.asarray(differences, dtype=np.float64)
    values = given[given != 0]
    n = len(values)
    if n == 0:
        return SignedRank(0.0, math.nan, 0, is_exact=False)
    ranks, ties = _ranks(np.abs(values))
    positive = float(ranks[values > 0].sum())
    statistic = min(positive, n * (n + 1) / 2 - positive)
    is_plain = n == len(given) and len(ties) == n
    if len(given) <= (_MOST_EXACT if is_plain else _MOST_EXACT_WITH_TIES):
        return SignedRank(statistic, _exact(ranks, statistic), n, is_exact=True)
    variance = (n * (n + 1) * (2 * n + 1) - float((ties**3 - ties).sum()) / 2) / 24
    z = (statistic - n * (n + 1) / 4) / math.sqrt(variance)
    return SignedRank(statistic, min(1.0, math.erfc(-z / math.sqrt(2))), n, is_exact=False)


def _ranks(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the rank of each value, equal ones sharing the mean of theirs, and how often each value occurs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[places], counts


def _exact(ranks: NDArray[np.float64], statistic: float) -> float:
    """Return the two-sided p-value: the share of all signs whose sum of ranks is as far out as the one found."""
    doubled = np.rint(2 * ranks).astype(int).tolist()  # shared ranks may be halves
    ways = np.zeros(sum(doubled) + 1)
    ways[0] = 1.0
    for rank in doubled:
        ways[rank:] += ways[: len(ways) - rank].copy()
    tail = float(ways[: round(2 * statistic) + 1].sum()) / 2.0 ** len(doubled)
    return min(1.0, 2 * tail)


def holm(p_values: Mapping[_K, float]) -> dict[_K, float]:
    """Return p-values corrected for their number by Holm's step-down method; ``nan`` stays and is not counted.

    References
    ----------
    .. [1] S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6
       (1979), 65-70

    Examples
    --------
    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    tested: list[Any] = sorted((key for key, p in p_values.items() if not math.isnan(p)), key=lambda key: p_values[key])
    corrected: dict[Any, float] = {}
    greatest = 0.0
    for place, key in enumerate(tested):
        greatest = max(greatest, min(1.0, p_values[key] * (len(tested) - place)))
        corrected[key] = greatest
    return {key: corrected.get(key, math.nan) for key in p_values}
