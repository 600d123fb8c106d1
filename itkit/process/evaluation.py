"""Evaluations over cases: means with confidence intervals, paired comparisons, and tables of both."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from itkit.metrics.definitions import COLUMNS, COUNTS, IN_MM, INSTANCES, VARIANTS
from itkit.metrics.evaluation import empty_row
from itkit.metrics.statistics import bootstrap_interval, holm, signed_rank

Row = Mapping[str, Any]
"""Metrics of one class of one case."""
Rows = Mapping[str, Mapping[str, Row]]
"""Rows by case and label."""
OF_INSTANCES = ("detection_f1", "pq")
"""Metrics of components that have a mean."""
_NOT_COMPARED = ("volume_gt_ml",)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything that was measured, by case and label.

    Parameters
    ----------
    rows
        Rows of every case, with values that JSON can hold.
    names
        Name of each label, in the order of reports.
    metrics
        The metrics that were computed.
    confusion
        Number of voxels by reference and prediction value, over all cases.
    missing
        Cases without a prediction.
    baseline
        Rows of the baseline, and the name it has in reports.
    groups
        Group of each case.
    failed
        What went wrong, by case.
    """

    rows: Rows
    names: Mapping[str, str]
    metrics: tuple[str, ...]
    confusion: Mapping[int, Mapping[int, int]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    baseline: Rows | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_instances(self) -> bool:
        """Whether components were compared."""
        return any("pq" in row for rows in self.rows.values() for row in rows.values())

    @property
    def summed(self) -> tuple[str, ...]:
        """Names of the metrics that have a mean."""
        return (*self.metrics, *(OF_INSTANCES if self.has_instances else ()))

    def values(self, label: str, metric: str, cases: Collection[str] | None = None) -> dict[str, float]:
        """Return the finite values of a metric by case; classes that neither map holds are left out."""
        return _values(self.rows, label, metric, cases)

    def flagged(self, label: str, flag: str, cases: Collection[str] | None = None) -> list[str]:
        """Return the cases in which a label has a flag."""
        return [
            case
            for case, rows in self.rows.items()
            if label in rows and rows[label]["flag"] == flag and (cases is None or case in cases)
        ]


def label_of(text: str) -> int | str:
    """Return a label as a value, or as the name of a region.

    Examples
    --------
    >>> label_of("-3"), label_of("whole")
    (-3, 'whole')
    """
    return int(text) if text.removeprefix("-").isdigit() else text


def storable(row: Row) -> dict[str, Any]:
    """Return a row as JSON can hold it: ``None`` for what is infinite or undefined.

    Examples
    --------
    >>> storable({"dice": 0.0, "hd_mm": math.inf, "flag": "missed"})
    {'dice': 0.0, 'hd_mm': None, 'flag': 'missed'}
    """
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }


def shown_value(row: Row, metric: str) -> Any:
    """Return a value of a stored row as tables show it: ``inf`` for a distance to nothing, ``nan`` if undefined.

    Examples
    --------
    >>> shown_value({"hd_mm": None, "flag": "missed"}, "hd_mm"), shown_value({"flag": "missed"}, "hd_mm")
    (inf, None)
    """
    if metric not in row:
        return None
    if row[metric] is None:
        return math.inf if metric in IN_MM else math.nan
    return row[metric]


def complete(rows: Rows, names: Mapping[str, str], metrics: Sequence[str], *, instances: bool) -> dict[str, Any]:
    """Return the rows with one for every label of every case: a case that lacks a label holds it in neither map."""
    empty = storable(empty_row(metrics, instances=instances))
    return {
        case: {label: {"name": name, **rows[case].get(label, empty)} for label, name in names.items()}
        for case in sorted(rows)
    }


def _values(rows: Rows, label: str, metric: str, cases: Collection[str] | None) -> dict[str, float]:
    found = {}
    for case, of_case in rows.items():
        row = of_case.get(label)
        if row is None or row["flag"] == "both_empty" or (cases is not None and case not in cases):
            continue
        value = row.get(metric)
        if value is not None:
            found[case] = float(value)
    return found


def summarise(evaluation: Evaluation, seed: int, cases: Collection[str] | None = None) -> dict[str, Any]:
    """Return mean, median, standard deviation (n - 1) and 95 % confidence interval of each metric, by label.

    Parameters
    ----------
    evaluation
        What was measured.
    seed
        Seed of the bootstrap.
    cases
        The cases that count; all by default.
    """
    result: dict[str, Any] = {}
    for label, name in evaluation.names.items():
        of_label: dict[str, Any] = {"name": name}
        for metric in evaluation.summed:
            values = list(evaluation.values(label, metric, cases).values())
            of_label[metric] = _moments(values, seed)
        for flag in ("missed", "invented", "both_empty"):
            of_label[f"n_{flag}"] = len(evaluation.flagged(label, flag, cases))
        if evaluation.has_instances:
            for count in INSTANCES[:3]:
                of_label[count] = sum(
                    rows[label][count] for case, rows in evaluation.rows.items() if cases is None or case in cases
                )
        result[label] = of_label
    return result


def _moments(values: Sequence[float], seed: int) -> dict[str, Any]:
    interval = bootstrap_interval(values, seed=(seed,))
    array = np.array(values)
    return {
        "mean": float(array.mean()) if values else None,
        "median": float(np.median(array)) if values else None,
        "std": float(array.std(ddof=1)) if len(values) > 1 else None,
        "ci95": [None, None] if interval is None else list(interval),
        "n": len(values),
    }


def overall(summary: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, Any]:
    """Return the mean over labels of the means over cases, with the number of labels that have one."""
    result = {}
    for metric in metrics:
        means = [of_label[metric]["mean"] for of_label in summary.values() if of_label[metric]["mean"] is not None]
        result[metric] = {"mean": float(np.mean(means)) if means else None, "n_labels": len(means)}
    return result


def compare_paired(evaluation: Evaluation, seed: int) -> dict[str, Any]:
    """Compare with the baseline, case by case: differences (this minus baseline) of each metric, by label.

    Returns
    -------
    dict
        For each label and metric: ``n`` pairs in which both values are finite and neither pair of maps lacks the class
        altogether, ``mean_difference``, ``median_difference``, ``ci95`` of the mean (bootstrap), the ``statistic`` and
        ``p`` of Wilcoxon's signed-rank test, and ``p_holm``, corrected over the labels for each metric.
    """
    assert evaluation.baseline is not None
    result: dict[str, Any] = {label: {} for label in evaluation.names}
    for metric in evaluation.summed:
        if metric in _NOT_COMPARED:
            continue
        for label in evaluation.names:
            ours = evaluation.values(label, metric)
            theirs = _values(evaluation.baseline, label, metric, ours)
            differences = [ours[case] - theirs[case] for case in sorted(theirs)]
            moments, test = _moments(differences, seed), signed_rank(differences)
            result[label][metric] = {
                "mean_difference": moments["mean"],
                "median_difference": moments["median"],
                "ci95": moments["ci95"],
                "n": len(differences),
                "statistic": test.statistic if test.n else None,
                "p": test.p if test.n else None,
                "is_exact": test.is_exact,
            }
        corrected = holm(
            {label: math.nan if of[metric]["p"] is None else of[metric]["p"] for label, of in result.items()}
        )
        for label, p in corrected.items():
            result[label][metric]["p_holm"] = None if math.isnan(p) else p
    return result


def case_table(evaluation: Evaluation, group: str = "") -> tuple[list[str], list[list[Any]]]:
    """Return the head and the rows of ``per_case.csv``: one row for each label of each case."""
    instances = INSTANCES if evaluation.has_instances else ()
    first = [name for name in COLUMNS if name not in VARIANTS]
    more = [name for name in VARIANTS if name in evaluation.metrics]
    head = ["case", "label", "name", *first, *more, *instances, *([group] if group else [])]
    rows = [
        [
            case,
            label_of(label),
            row["name"],
            *(_cell(shown_value(row, name)) for name in (*first, *more, *instances)),
            *([evaluation.groups.get(case, "")] if group else []),
        ]
        for case, of_case in evaluation.rows.items()
        for label, row in of_case.items()
    ]
    return head, rows


def _cell(value: Any) -> Any:
    return "; ".join(map(str, value)) if isinstance(value, list) else "" if value is None else value


def summary_table(
    summaries: Mapping[str, Mapping[str, Any]], metrics: Sequence[str]
) -> tuple[list[str], list[list[Any]]]:
    """Return the head and the rows of ``summary.csv``: one row for each group, label and metric."""
    grouped = len(summaries) > 1
    head = [
        *(["group"] if grouped else []), "label", "name", "metric", "mean", "median", "std", "ci95_low", "ci95_high",
        "n", "n_missed", "n_invented", "n_both_empty",
    ]  # fmt: skip
    rows = []
    for group, summary in summaries.items():
        for label, found in summary.items():
            for metric in metrics:
                of = found[metric]
                numbers = [of["mean"], of["median"], of["std"], *of["ci95"], of["n"]]
                counts = [found["n_missed"], found["n_invented"], found["n_both_empty"]]
                rows.append(
                    [
                        *([group] if grouped else []),
                        label_of(label),
                        found["name"],
                        metric,
                        *map(_cell, numbers),
                        *counts,
                    ]
                )
    return head, rows


def comparison_table(
    comparison: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]
) -> tuple[list[str], list[list[Any]]]:
    """Return the head and the rows of ``comparison.csv``: one row for each label and metric."""
    numbers = ("n", "mean_difference", "median_difference", "statistic", "p", "p_holm")
    head = ["label", "name", "metric", *numbers[:3], "ci95_low", "ci95_high", *numbers[3:]]
    rows = [
        [
            label_of(label),
            names[label],
            metric,
            *(_cell(of[name]) for name in numbers[:3]),
            *map(_cell, of["ci95"]),
            *(_cell(of[name]) for name in numbers[3:]),
        ]
        for label, of_label in comparison.items()
        for metric, of in of_label.items()
    ]
    return head, rows


def worst_rows(evaluation: Evaluation, most: int) -> list[tuple[str, str]]:
    """Return the case and label of the worst results, one for each case, the worst first.

    The worst have the lowest Dice. Perfect cases and those without a prediction are left out.
    """
    found = []
    for case, rows in evaluation.rows.items():
        scored = [
            (_score(row), label) for label, row in rows.items() if row["flag"] != "both_empty" and _score(row) < 1
        ]
        if scored and case not in evaluation.missing:
            found.append((*min(scored), case))
    return [(case, label) for _, label, case in sorted(found)[:most]]


def _score(row: Row) -> float:
    tp, fp, fn = (row[name] for name in COUNTS)
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0
