"""Which classes gain when only their largest component is kept: measured on cases with a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.kernels.labels import label_counts
from itkit.process.cleaning import keep_largest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


def scores(prediction_zyx: NDArray[Any], reference_zyx: NDArray[Any]) -> dict[str, dict[str, float | None]]:
    """Return the Dice of each class as it is and with its largest component only.

    Parameters
    ----------
    prediction_zyx, reference_zyx
        Label maps on one grid.

    Returns
    -------
    dict
        For each class but 0 that one of them holds: ``as_is`` and ``largest``.

    Examples
    --------
    >>> scores(np.array([[[1, 1, 0, 1]]]), np.array([[[1, 1, 0, 0]]]))
    {'1': {'as_is': 0.8, 'largest': 1.0}}
    """
    expected = label_counts(reference_zyx)
    found: dict[str, dict[str, float | None]] = {}
    for name, labels in (("as_is", prediction_zyx), ("largest", keep_largest(prediction_zyx))):
        counts = label_counts(labels)
        met = label_counts(labels[labels == reference_zyx])
        for value in sorted({*expected, *label_counts(prediction_zyx)} - {0}):
            total = counts.get(value, 0) + expected.get(value, 0)
            dice = 2 * met.get(value, 0) / total if total else None
            found.setdefault(str(value), {})[name] = dice
    return found


def learned_classes(cases: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> dict[int, dict[str, Any]]:
    """Return, for each class, the mean Dice over cases with and without the step, and whether the step is kept.

    Parameters
    ----------
    cases
        Results of :func:`scores`, by case.

    Notes
    -----
    The rule is nnU-Net's, for each class on its own: the step is kept if the mean Dice over the cases that have the
    class, in the prediction or the reference, rises (Isensee et al., "nnU-Net", Nature Methods 18, 2021;
    `determine_postprocessing` of MIC-DKFZ/nnUNet).

    Examples
    --------
    >>> learned_classes({"a": {"1": {"as_is": 0.8, "largest": 1.0}}, "b": {"1": {"as_is": 0.5, "largest": 0.4}}})
    {1: {'as_is': 0.65, 'largest': 0.7, 'is_kept': True, 'cases': 2}}
    """
    found: dict[int, dict[str, Any]] = {}
    for value in sorted({int(value) for scored in cases.values() for value in scored}):
        own = [scored[str(value)] for scored in cases.values() if str(value) in scored]
        means = {}
        for name in ("as_is", "largest"):
            known = [dice for scored in own if (dice := scored[name]) is not None]
            means[name] = round(float(np.mean(known)), 12) if known else None
        is_kept = None not in means.values() and means["largest"] > means["as_is"]  # type: ignore[operator]  # no None
        found[value] = {**means, "is_kept": is_kept, "cases": len(own)}
    return found
