"""Where keeping the largest component alone helps: measured on cases with a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.kernels.labels import label_counts
from itkit.process.cleaning import keep_largest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Scores = dict[str, dict[str, float | None]]
"""Dice of each class, by what was done; ``None`` where neither label map has the class."""
_AS_IS, _EACH, _ALL, _ALL_THEN_EACH = "as_is", "largest", "foreground", "foreground_largest"


def scores(prediction_zyx: NDArray[Any], reference_zyx: NDArray[Any]) -> Scores:
    """Return the Dice of each class as it is, and after keeping largest components.

    Parameters
    ----------
    prediction_zyx, reference_zyx
        Label maps on one grid.

    Returns
    -------
    dict
        For each class but 0 that one of them holds: ``as_is``; ``largest``, with the largest component of each class;
        ``foreground``, with the largest component of all classes together; ``foreground_largest``, with both, the
        component of all classes first. ``None`` where no voxel of the class is left to compare.

    Examples
    --------
    >>> scores(np.array([[[1, 1, 0, 1]]]), np.array([[[1, 1, 0, 0]]]))["1"]
    {'as_is': 0.8, 'largest': 1.0, 'foreground': 1.0, 'foreground_largest': 1.0}
    """
    together = keep_largest(prediction_zyx, together=True)
    ways = {
        _AS_IS: prediction_zyx,
        _EACH: keep_largest(prediction_zyx),
        _ALL: together,
        _ALL_THEN_EACH: keep_largest(together),
    }
    expected = label_counts(reference_zyx)
    values = sorted({*expected, *label_counts(prediction_zyx)} - {0})
    found: Scores = {str(value): {} for value in values}
    for name, labels in ways.items():
        counts = label_counts(labels)
        met = label_counts(labels[labels == reference_zyx])
        for value in values:
            total = counts.get(value, 0) + expected.get(value, 0)
            found[str(value)][name] = 2 * met.get(value, 0) / total if total else None
    return found


@dataclass(frozen=True)
class Learned:
    """What a validation set teaches.

    Parameters
    ----------
    foreground
        All classes together: the mean Dice ``as_is`` and with the ``largest`` component of all classes alone (means
        over classes of means over cases), and whether the step ``is_kept``.
    classes
        The same of each class, after the step of all classes if that is kept, with the number of ``cases``.
    """

    foreground: dict[str, Any]
    classes: dict[int, dict[str, Any]]

    @property
    def kept(self) -> list[int]:
        """Classes of which the largest component is kept."""
        return [value for value, means in self.classes.items() if means["is_kept"]]


def learned_steps(cases: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> Learned:
    """Return which steps raise the mean Dice.

    Parameters
    ----------
    cases
        Results of :func:`scores`, by case.

    Notes
    -----
    The rule is nnU-Net's (Isensee et al., "nnU-Net", Nature Methods 18, 2021; `determine_postprocessing` of version 2
    in MIC-DKFZ/nnUNet). First the largest component of all classes together: it is kept if the mean over classes rises
    and no class falls. Then the largest component of each class, in what the first step left: it is kept if the mean
    of that class rises. The mean of a class runs over the cases that have it, in the prediction or the reference; a
    step that leaves a class in none of them has no mean, and is not kept. A single class has the second step alone,
    which is then the same as the first.

    Examples
    --------
    >>> far = {"as_is": 0.8, "largest": 1.0, "foreground": 0.9, "foreground_largest": 1.0}
    >>> two = {"as_is": 0.5, "largest": 0.4, "foreground": 0.5, "foreground_largest": 0.4}
    >>> found = learned_steps({"a": {"1": far, "2": two}})
    >>> found.foreground
    {'as_is': 0.65, 'largest': 0.7, 'is_kept': True}
    >>> found.classes[1]
    {'as_is': 0.9, 'largest': 1.0, 'is_kept': True, 'cases': 1}
    >>> found.kept
    [1]
    """
    values = sorted({int(value) for scored in cases.values() for value in scored})
    own = {value: [scored[str(value)] for scored in cases.values() if str(value) in scored] for value in values}
    as_is, together = ({value: _mean(own[value], name) for value in values} for name in (_AS_IS, _ALL))
    before, after = _mean_of_all(as_is), _mean_of_all(together)
    is_kept = len(values) > 1 and _rises(before, after) and not any(_rises(together[v], as_is[v]) for v in values)
    first, second = (_ALL, _ALL_THEN_EACH) if is_kept else (_AS_IS, _EACH)
    classes = {}
    for value in values:
        means = {"as_is": _mean(own[value], first), "largest": _mean(own[value], second)}
        classes[value] = {**means, "is_kept": _rises(means["as_is"], means["largest"]), "cases": len(own[value])}
    return Learned({"as_is": before, "largest": after, "is_kept": is_kept}, classes)


def _mean(scored: list[Mapping[str, float | None]], name: str) -> float | None:
    """Return the mean Dice over the cases that have one."""
    known = [dice for values in scored if (dice := values[name]) is not None]
    return round(float(np.mean(known)), 12) if known else None


def _mean_of_all(means: Mapping[int, float | None]) -> float | None:
    """Return the mean over classes; ``None`` if a class has no mean."""
    known = [mean for mean in means.values() if mean is not None]
    return round(float(np.mean(known)), 12) if known and len(known) == len(means) else None


def _rises(before: float | None, after: float | None) -> bool:
    return before is not None and after is not None and after > before
