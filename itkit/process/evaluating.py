"""What ``itk_evaluate`` compares in every case, and the comparison of one case."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.classes import chosen_classes
from itkit.core.errors import GeometryMismatchError, ParamsError
from itkit.core.grids import grid_difference
from itkit.core.volume import Volume
from itkit.io.dataset_meta import FoundMeta
from itkit.metrics.evaluation import compare
from itkit.process.itk_resample import resample
from itkit.process.lost import describe_classes, lost_classes

if TYPE_CHECKING:
    from itkit.process.itk_evaluate import EvaluateParams

REFERENCE, PREDICTION, BASELINE = "reference", "prediction", "baseline"
TOLERANCE = re.compile(r"(?:([^=]+)=)?(\d+\.?\d*|\.\d+)")
_DEFAULT_MM = 2.0
_NO_LABEL = frozenset({"ignore"})


@dataclass(frozen=True)
class Question:
    """What is compared in every case.

    Parameters
    ----------
    names
        Name of each class.
    chosen
        The classes to compare; ``None`` for those of ``names`` and all that the label maps hold.
    regions
        Values of each region.
    limits
        Tolerance of some classes and regions, mm.
    other_limit
        Tolerance of all others, mm.
    ignored
        Value of the reference whose voxels do not count.
    """

    names: Mapping[int, str]
    chosen: tuple[int, ...] | None
    regions: Mapping[str, tuple[int, ...]]
    limits: Mapping[int | str, float]
    other_limit: float
    ignored: int | None = None

    def limit(self, label: int | str) -> float:
        """Return the tolerance of a class or region, mm."""
        return self.limits.get(label, self.other_limit)

    def name(self, label: str) -> str:
        """Return the name of a label; a class without one is called by its value."""
        if label in self.regions:
            return label
        return self.names.get(int(label), label)


@dataclass(frozen=True)
class Answers:
    """Data of the plan for `collect`: what is compared, and the files that pictures need."""

    question: Question
    files: Mapping[str, Mapping[str, Path]]
    images: Mapping[str, Path]
    groups: Mapping[str, str]
    missing: tuple[str, ...]
    prediction: str
    reference: str
    baseline: str
    modality: str = ""


def compared(
    gt: Volume, other: Volume | None, question: Question, params: EvaluateParams
) -> tuple[Mapping[int | str, Mapping[str, Any]], list[list[int]]]:
    """Return the rows of every class and region, and the joint histogram, of a reference and a prediction or none."""
    first = gt.array_zyx
    second = np.zeros(first.shape, np.uint8) if other is None else other.array_zyx
    if question.ignored is not None:
        counts = first != question.ignored
        first, second = (np.where(counts, array, np.zeros((), array.dtype)) for array in (first, second))
    found = compare(
        first,
        second,
        spacing_zyx=gt.spacing_zyx,
        labels=question.chosen,
        known=question.names,
        tolerance_mm=question.limit,
        regions=question.regions,
        metrics=params.wanted,
        instances=params.compares_instances,
        penalty=params.penalty,
    )
    joint = [
        [row, column, int(found.joint.counts[i, j])]
        for i, row in enumerate(found.joint.first)
        for j, column in enumerate(found.joint.second)
        if found.joint.counts[i, j]
    ]
    return found.classes, joint


def on_grid(
    case: str, gt: Volume, other: Volume, name: str, params: EvaluateParams, threads: int, warnings: list[str]
) -> Volume:
    """Return a prediction on the grid of its reference.

    Raises
    ------
    GeometryMismatchError
        When the grids differ, and predictions are not to be resampled.
    """
    difference = grid_difference(gt.geometry, other.geometry, REFERENCE, name)
    if not difference:
        return other
    if not params.resample_prediction:
        raise GeometryMismatchError(
            f"{case}: {difference}; --resample-prediction puts predictions on the grid of the reference"
        )
    new = resample(other, gt.geometry, fill=0.0, threads=threads)
    warnings.append(f"{name} was resampled onto the reference's grid: {difference}")
    lost = lost_classes(other, new)
    if lost:
        warnings.append(f"{name}: {describe_classes(lost)} lost on the reference's grid")
    return new


def question_of(params: EvaluateParams, described: FoundMeta) -> Question:
    """Return what is compared: the classes, regions and tolerances that the user names, as the dataset calls them.

    Raises
    ------
    ParamsError
        When a name is unknown, or tolerances do not match the classes.
    """
    names = described.labels
    ignored = None
    if described.meta is not None:
        stated = described.meta.values.get("ignore")
        of_name = [value for value, name in names.items() if name in _NO_LABEL]
        ignored = stated if isinstance(stated, int) else next(iter(of_name), None)
    names = {value: name for value, name in names.items() if value != ignored}
    chosen = chosen_classes(params.labels, names) if params.labels else None
    regions: dict[str, tuple[int, ...]] = {}
    for text in params.regions:
        name, _, members = text.partition("=")
        if name.strip() in regions or name.strip().removeprefix("-").isdigit():
            raise ParamsError(f"--regions: {name.strip()!r}: expected names, each once, that are no numbers")
        words = [member.strip() for member in members.split(",")]
        regions[name.strip()] = tuple(chosen_classes(words, names, option="--regions"))
    ordered = [*(chosen if chosen is not None else [value for value in names if value != 0]), *regions]
    limits, other = _limits(params.tolerance_mm, ordered, names)
    known = {value: name for value, name in names.items() if value != 0 or (chosen is not None and 0 in chosen)}
    return Question(known, None if chosen is None else tuple(chosen), regions, limits, other, ignored)


def _limits(
    words: Sequence[str], ordered: Sequence[int | str], names: Mapping[int, str]
) -> tuple[dict[int | str, float], float]:
    """Return the tolerance of the labels that have one of their own, and that of the others, mm."""
    plain = [float(word) for word in words if "=" not in word]
    named = [word.rpartition("=") for word in words if "=" in word]
    limits: dict[int | str, float] = {}
    if len(plain) > 1:
        if len(plain) != len(ordered) or named:
            raise ParamsError(
                f"--tolerance-mm: expected one value, or one for each of the {len(ordered)} classes and regions that "
                f"--labels, --regions or dataset.json list; got {len(plain)}"
            )
        limits = dict(zip(ordered, plain, strict=True))
    for word, _, value in named:
        label: int | str = (
            word if word in ordered else next(iter(chosen_classes([word], names, option="--tolerance-mm")))
        )
        limits[label] = float(value)
    return limits, plain[0] if plain else _DEFAULT_MM
