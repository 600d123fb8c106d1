"""Whether an exported network computes the same as the original, in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOLERANCE = 1e-3
"""What an export may differ by: in any logit, of their range; in the mean softmax; in the share of voxels' classes."""


@dataclass(frozen=True, eq=False)
class Difference:
    """Where the logits of two networks for the same windows differ.

    Parameters
    ----------
    probability
        Largest difference of the softmax in each voxel, ``(N, Z, Y, X)``.
    expected, found
        Number of the class with the largest logit in each voxel, by the original and by the export.
    max_rel
        Largest difference of the logits, as a part of the range of the original's logits.
    """

    probability: NDArray[np.float32]
    expected: NDArray[Any]
    found: NDArray[Any]
    max_rel: float


@dataclass(frozen=True)
class Parity:
    """What the comparison of an exported network with the original has found.

    Attributes
    ----------
    backend
        What computed the exported network.
    max_abs, mean_abs
        Largest and mean absolute difference of the softmax, over all voxels and classes.
    max_rel
        Largest difference of the logits, as a part of the range of the original's logits.
    changed_voxels, voxels
        Number of voxels whose class changes, and of all voxels that were compared.
    min_dice
        Lowest Dice coefficient of a class between both label maps; of classes that neither has, none counts.
    sizes
        Sizes of the windows, ZYX.
    tolerance
        What ``max_rel``, ``mean_abs`` and the share of changed voxels may be.
    """

    backend: str
    max_abs: float
    mean_abs: float
    max_rel: float
    changed_voxels: int
    voxels: int
    min_dice: float
    sizes: tuple[tuple[int, ...], ...] = ()
    tolerance: float = TOLERANCE
    differences: tuple[Difference, ...] = field(default=(), compare=False, repr=False)

    @property
    def ok(self) -> bool:
        """Whether the export may be used.

        The largest difference of the softmax is not judged: where logits have a wide range, a millionth of it is more
        than a thousandth of a probability.
        """
        measured = (self.max_rel, self.mean_abs, self.changed_voxels / self.voxels)
        return all(value <= self.tolerance for value in measured)  # nan is not

    def to_json(self) -> dict[str, Any]:
        """Return the numbers for ``parity.json``; what is not a number is null."""
        values = {
            "max_abs": self.max_abs,
            "max_rel": self.max_rel,
            "changed_voxels": self.changed_voxels,
            "backend": self.backend,
            "ok": self.ok,
            "mean_abs": self.mean_abs,
            "voxels": self.voxels,
            "min_dice": self.min_dice,
            "tolerance": self.tolerance,
            "sizes": [list(size) for size in self.sizes],
        }
        return {
            name: None if isinstance(value, float) and not np.isfinite(value) else value
            for name, value in values.items()
        }


def compare(expected: NDArray[Any], found: NDArray[Any]) -> Difference:
    """Compare logits ``(N, K, ...)`` of the original with those of the export.

    Examples
    --------
    >>> logits = np.array([[0.0, 1.0], [1.0, 0.0]]).reshape(1, 2, 1, 1, 2)
    >>> difference = compare(logits, logits + [[0.0, 0.5]])
    >>> difference.max_rel, int((difference.expected != difference.found).sum())
    (0.5, 0)
    """
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    if expected.shape != found.shape:
        shape = expected.shape[:1] + expected.shape[2:]
        nothing = np.full(shape, np.nan, np.float32)
        return Difference(nothing, np.zeros(shape, np.int64), np.full(shape, -1), float("nan"))
    extent = float(expected.max() - expected.min())
    largest = float(np.abs(expected - found).max())
    relative = largest / extent if extent > 0 else largest
    probability = np.abs(softmax(expected) - softmax(found))
    return Difference(
        probability.max(axis=1).astype(np.float32),
        _classes(expected),
        _classes(found),
        relative,
    )


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities of logits ``(N, K, ...)``: the softmax, or the sigmoid of a single class."""
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = values / values.sum(axis=1, keepdims=True)
    return result


def _classes(logits: NDArray[np.float64]) -> NDArray[Any]:
    result: NDArray[Any] = (logits[:, 0] > 0).astype(np.int64) if logits.shape[1] == 1 else logits.argmax(axis=1)
    return result


def summarise(differences: Sequence[Difference], backend: str, *, tolerance: float = TOLERANCE) -> Parity:
    """Return the numbers for all windows.

    Parameters
    ----------
    differences
        What `compare` says of each window.
    backend
        What computed the exported network.
    tolerance
        See `Parity`.
    """
    expected = np.concatenate([one.expected.ravel() for one in differences])
    found = np.concatenate([one.found.ravel() for one in differences])
    probability = np.concatenate([one.probability.ravel() for one in differences])
    return Parity(
        backend,
        float(probability.max()),
        float(probability.mean(dtype=np.float64)),
        float(np.max([one.max_rel for one in differences])),
        int((expected != found).sum()),
        expected.size,
        _lowest_dice(expected, found),
        tuple(dict.fromkeys(one.expected.shape[1:] for one in differences)),
        tolerance,
        tuple(differences),
    )


def _lowest_dice(expected: NDArray[Any], found: NDArray[Any]) -> float:
    scores = []
    for value in np.unique(expected).tolist():
        one, other = expected == value, found == value
        scores.append(2 * float((one & other).sum()) / float(one.sum() + other.sum()))
    return min(scores)
