"""``itk_evaluate``: compare predicted label maps with reference ones, class by class."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, model_validator
from typing_extensions import Self

from itkit.core.classes import ClassWords, chosen_classes
from itkit.core.errors import CaseError, GeometryMismatchError, LayoutError, ParamsError
from itkit.core.fields import (
    Advanced,
    Bounds,
    FreeText,
    Group,
    OnlyWith,
    PathRole,
    Pattern,
    Positional,
    Short,
    Unit,
    Unkeyed,
)
from itkit.core.grids import grid_difference
from itkit.core.operation import (
    CaseInput,
    Collected,
    Context,
    InputFile,
    Job,
    Operation,
    Outcome,
    Plan,
    Report,
    Unpaired,
)
from itkit.core.params import Params
from itkit.core.text import counted, csv_text, some
from itkit.core.version import VERSION
from itkit.core.volume import Case, Volume
from itkit.io.dataset_meta import FoundMeta, find_dataset_meta
from itkit.io.layouts import IMAGE, LABEL, find_images, find_volumes, require_destination
from itkit.io.sitk_toolkit import read_volume
from itkit.io.tables import read_table
from itkit.metrics.definitions import BORDER, COUNTS, DEFINITIONS, INSTANCES, METRICS, metric_names
from itkit.metrics.evaluation import compare
from itkit.process.evaluation import (
    Evaluation,
    case_table,
    compare_paired,
    comparison_table,
    complete,
    label_of,
    overall,
    storable,
    summarise,
    summary_table,
    worst_rows,
)
from itkit.process.itk_resample import resample
from itkit.process.lost import describe_classes, lost_classes
from itkit.process.plans import label_folder

if TYPE_CHECKING:
    from itkit.report.evaluation import Worst

_NAME = "itk_evaluate"
_GT, _PRED, _BASELINE = "reference", "prediction", "baseline"
_TOLERANCE = re.compile(r"(?:([^=]+)=)?(\d+\.?\d*|\.\d+)")
_DEFAULT_MM = 2.0
_WORST = 6
_NO_LABEL = frozenset({"ignore"})

Format = Literal["csv", "xlsx", "json", "html"]
_FORMATS: tuple[Format, ...] = ("csv", "xlsx", "json", "html")


def _as_words(value: Any) -> Any:
    if isinstance(value, (int, float)):
        return (f"{value!r}",)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(f"{item!r}" if isinstance(item, (int, float)) else item for item in value)
    return value


class EvaluateParams(Params):
    """Compare predicted label maps with reference ones: overlap, surface distances, lesions, tests; with a report."""

    gt: Annotated[Path, PathRole("in_folder"), Positional("gt")]
    """Folder of the reference label maps, or a dataset."""
    pred: Annotated[Path, PathRole("in_folder"), Positional("pred")]
    """Folder of the predicted label maps, or a dataset."""
    dest: Annotated[Path, PathRole("out_folder"), Positional("out")]
    """Folder to write."""
    recursive: Annotated[bool, Short("-r"), Unkeyed()] = False
    """Search sub-folders."""
    labels: Annotated[ClassWords, Group("What")] = ()
    """Classes to compare: names that dataset.json lists, or values (default: all but 0)."""
    regions: Annotated[tuple[Annotated[str, Pattern(r"^[^=]+=.+$")], ...], Group("What")] = ()
    """Unions of classes to compare as well, each NAME=CLASS[,CLASS...], e.g. whole=1,2,3."""
    tolerance_mm: Annotated[
        tuple[Annotated[str, Pattern(rf"^{_TOLERANCE.pattern}$")], ...],
        BeforeValidator(_as_words),
        Unit("mm"),
        Group("What"),
    ] = ("2",)
    """Distance within which surfaces agree (NSD): one value, one a class in order, or CLASS=VALUE for some of them."""
    metrics: Annotated[tuple[Annotated[str, FreeText("dice")], ...], Group("What")] = ()
    """Metrics to compute, e.g. dice hd95 nsd (default: all)."""
    instances: Annotated[bool, Group("What")] = False
    """Compare connected components too: detection F1, panoptic quality, missed and false lesions."""
    penalty: Annotated[Literal["none", "diagonal"], Group("What")] = "none"
    """What stands for a distance to nothing, where one of both lacks the class: infinity, or the volume's diagonal."""
    resample_prediction: Annotated[bool, Group("Pairs")] = False
    """Put predictions on the grid of their reference (nearest neighbour) instead of failing where grids differ."""
    only_common: Annotated[bool, Group("Pairs"), Unkeyed()] = False
    """Leave out cases without a prediction; by default all their classes count as missed."""
    baseline: Annotated[Path | None, PathRole("in_folder"), Group("Statistics")] = None
    """Folder of other predictions to compare with, case by case."""
    group_by: Annotated[str | None, FreeText("site"), OnlyWith("table"), Group("Statistics"), Unkeyed()] = None
    """Column of the table whose values make subgroups."""
    table: Annotated[Path | None, PathRole("in_file"), OnlyWith("group_by"), Group("Statistics")] = None
    """Table with a row a case (CSV): the column case, and others."""
    format: Annotated[tuple[Format, ...], Group("Output"), Unkeyed()] = _FORMATS
    """Files to write: per_case.csv and summary.csv, evaluation.xlsx, evaluation.json, evaluation.html."""
    worst: Annotated[int, Group("Output"), Advanced(), Unkeyed(), Unit("cases"), Bounds(least=0)] = _WORST
    """Number of worst cases that the page shows."""

    @model_validator(mode="after")
    def _words_are_clear(self) -> Self:
        metric_names(self.metrics)
        for text in self.tolerance_mm:
            if _TOLERANCE.fullmatch(text) is None:
                raise ValueError(f"--tolerance-mm: expected a distance >= 0 mm, or CLASS=DISTANCE; got {text!r}")
        if not self.tolerance_mm:
            raise ValueError("--tolerance-mm: expected at least one distance, mm")
        if not self.format:
            raise ValueError("--format: expected at least one of csv, xlsx, json, html")
        for text in self.regions:
            name, _, members = text.partition("=")
            if not name.strip() or not all(member.strip() for member in members.split(",")):
                raise ValueError(f"--regions: expected NAME=CLASS[,CLASS...], e.g. whole=1,2,3; got {text!r}")
        return self

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of the metrics."""
        return metric_names(self.metrics) if self.metrics else METRICS


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


def evaluate_case(case: Case, params: EvaluateParams, context: Context) -> Outcome:
    """Compare the prediction of a case with its reference."""
    question: Question = case.details
    gt = case.volumes[_GT]
    warnings: list[str] = []
    facts: dict[str, Any] = {}
    for name in (_PRED, *([_BASELINE] if params.baseline is not None else [])):
        other = case.volumes.get(name)
        if other is None:
            warnings.append(f"no {name}: every class counts as missed")
        else:
            other = _on_grid(case.id, gt, other, name, params, context, warnings)
        classes, joint = _compared(gt, other, question, params)
        facts[name] = {str(label): storable(row) for label, row in classes.items()}
        if name == _PRED:
            facts["joint"] = joint
    return Outcome(facts=facts, warnings=tuple(warnings))


def _compared(
    gt: Volume, other: Volume | None, question: Question, params: EvaluateParams
) -> tuple[Mapping[int | str, Mapping[str, Any]], list[list[int]]]:
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
        instances=params.instances,
        penalty=params.penalty,
    )
    joint = [
        [row, column, int(found.joint.counts[i, j])]
        for i, row in enumerate(found.joint.first)
        for j, column in enumerate(found.joint.second)
        if found.joint.counts[i, j]
    ]
    return found.classes, joint


def _on_grid(
    case: str, gt: Volume, other: Volume, name: str, params: EvaluateParams, context: Context, warnings: list[str]
) -> Volume:
    """Return a prediction on the grid of its reference.

    Raises
    ------
    GeometryMismatchError
        When the grids differ, and predictions are not to be resampled.
    """
    difference = grid_difference(gt.geometry, other.geometry, _GT, name)
    if not difference:
        return other
    if not params.resample_prediction:
        raise GeometryMismatchError(
            f"{case}: {difference}; --resample-prediction puts predictions on the grid of the reference"
        )
    new = resample(other, gt.geometry, fill=0.0, threads=context.threads)
    warnings.append(f"{name} was resampled onto the reference's grid: {difference}")
    lost = lost_classes(other, new)
    if lost:
        warnings.append(f"{name}: {describe_classes(lost)} lost on the reference's grid")
    return new


def plan(params: EvaluateParams) -> Plan:
    """List the pairs of label maps; a case without a prediction is a job with a reference alone."""
    gt, pred = label_folder(params.gt, _GT), label_folder(params.pred, _PRED)
    base = None if params.baseline is None else label_folder(params.baseline, _BASELINE)
    require_destination(params.dest, *filter(None, (gt, pred, base)))
    described = find_dataset_meta(params.gt, params.gt.absolute().parent)
    question = _question(params, described)
    references = find_volumes(gt, recursive=params.recursive)
    others = {_PRED: find_volumes(pred, recursive=params.recursive)}
    if base is not None:
        others[_BASELINE] = find_volumes(base, recursive=params.recursive)
    if references and not references.keys() & others[_PRED].keys():
        raise LayoutError(
            f"no case of {gt} has a prediction in {pred}: {some(references, 3)} against "
            f"{some(others[_PRED], 3) or 'no volume'}; files pair by their names without extension"
        )
    unpaired = [
        *(Unpaired(case, path, _PRED) for case, path in references.items() if case not in others[_PRED]),
        *(Unpaired(case, path, _GT) for case, path in others[_PRED].items() if case not in references),
    ]
    asked = repr((question, sorted(others))).encode(errors="surrogateescape")
    jobs, stamp = [], hashlib.sha256(asked).hexdigest()[:16]
    for case, path in references.items():
        inputs = {_GT: InputFile(path, "label")}
        inputs |= {name: InputFile(found[case], "label") for name, found in others.items() if case in found}
        if not (params.only_common and len(inputs) <= len(others)):
            jobs.append(Job(case, inputs, details=question, stamp=stamp))
    missing = tuple(job.case_id for job in jobs if _PRED not in job.inputs)
    answers = Answers(
        question,
        {job.case_id: {name: file.path for name, file in job.inputs.items()} for job in jobs},
        _images(gt, references, recursive=params.recursive),
        _groups(params, references),
        missing,
        _folder_name(params.pred),
        _folder_name(params.gt),
        "" if params.baseline is None else _folder_name(params.baseline),
        "" if described.meta is None else described.meta.modality,
    )
    unpaired.sort(key=lambda item: item.case_id)
    return Plan(tuple(jobs), tuple(unpaired), params.dest, described.notes, answers)


def _folder_name(folder: Path) -> str:
    return folder.resolve().name


def _question(params: EvaluateParams, described: FoundMeta) -> Question:
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


def _images(gt: Path, references: Mapping[str, Path], *, recursive: bool) -> dict[str, Path]:
    """Return the image of each case, of several channels the first, if the reference is part of a dataset."""
    folder = gt.absolute().parent / IMAGE
    if gt.absolute().name != LABEL or not folder.is_dir():
        return {}
    try:
        images = find_images(folder, recursive=recursive, labels=references.keys())
    except LayoutError:  # images only decorate the page
        return {}
    return {case: next(iter(files.values())) for case, files in images.cases.items() if case in references}


def _groups(params: EvaluateParams, references: Mapping[str, Path]) -> dict[str, str]:
    if params.table is None or params.group_by is None:
        return {}
    column = read_table(params.table).column(params.group_by)
    return {case: column.get(case, "") for case in references}


def collect(params: EvaluateParams, run: Collected) -> Report:
    """Return the tables, the workbook, the JSON file and the page, and lines with the means and what is lacking."""
    answers: Answers = run.plan.details
    evaluation = _evaluation(params, run, answers)
    seed = int(run.options["seed"])
    summaries = {"": summarise(evaluation, seed)}
    for group in sorted({group for case, group in answers.groups.items() if group and case in evaluation.rows}):
        members = [case for case in evaluation.rows if answers.groups.get(case) == group]
        summaries[group] = summarise(evaluation, seed, members)
    comparison = compare_paired(evaluation, seed) if evaluation.baseline is not None else {}
    means = overall(summaries[""], evaluation.summed)
    files: dict[Path, Any] = {}
    tables = {
        "per_case": case_table(evaluation, params.group_by or ""),
        "summary": summary_table(summaries, evaluation.summed),
        **({"comparison": comparison_table(comparison, evaluation.names)} if comparison else {}),
    }
    definition = _definition(evaluation, params, answers)
    if "csv" in params.format:
        files |= {Path(f"{name}.csv"): csv_text([head, *rows]) for name, (head, rows) in tables.items()}
    if "xlsx" in params.format:
        from itkit.report.workbook import Sheet, workbook

        sheets = [Sheet(name, head, rows) for name, (head, rows) in tables.items()]
        texts = [[name, text if isinstance(text, str) else str(text)] for name, text in definition.items()]
        failed = [Sheet("failed", ["case", "reason"], list(map(list, evaluation.failed.items())))]
        sheets += [*(failed if evaluation.failed else []), Sheet("definitions", ["key", "definition"], texts)]
        files[Path("evaluation.xlsx")] = workbook(sheets)
    if "json" in params.format:
        of_groups = {group: summary for group, summary in summaries.items() if group}
        value: dict[str, Any] = {
            "itkit": VERSION,
            "operation": _NAME,
            "versions": {"itkit": VERSION, "numpy": np.__version__},
            "definition": definition,
            "params": _stated(params, seed, answers),
            "cases": evaluation.rows,
            "summary": summaries[""],
            "overall": means,
            **({"groups": {"column": params.group_by, "summary": of_groups}} if params.group_by else {}),
            **({"comparison": comparison, "baseline": {"cases": evaluation.baseline}} if comparison else {}),
            "confusion": {
                str(gt): {str(pred): n for pred, n in row.items()} for gt, row in evaluation.confusion.items()
            },
            "missing": list(evaluation.missing),
            "failed": dict(evaluation.failed),
        }
        files[Path("evaluation.json")] = value
    if "html" in params.format:
        from itkit.report.evaluation import Results, evaluation_page

        results = Results(
            summaries,
            means,
            comparison,
            answers.prediction,
            answers.reference,
            answers.baseline,
            params.group_by or "",
            {label: answers.question.limit(label_of(label)) for label in evaluation.names},
        )
        files[Path("evaluation.html")] = evaluation_page(evaluation, results, _worst(evaluation, params, answers))
    return Report(tuple(_lines(evaluation, means)), files=files)


def _evaluation(params: EvaluateParams, run: Collected, answers: Answers) -> Evaluation:
    facts = {case: record.facts for case, record in sorted(run.all_records.items())}
    question = answers.question
    values: set[int] = set(question.chosen or question.names)
    if question.chosen is None:
        of_cases = chain.from_iterable((*found[_PRED], *found.get(_BASELINE, ())) for found in facts.values())
        values |= {int(label) for label in of_cases if label not in question.regions}
    order = [str(value) for value in (question.chosen if question.chosen is not None else sorted(values))]
    names = {label: question.name(label) for label in (*order, *question.regions)}

    def rows(name: str) -> dict[str, Any]:
        found = {case: of_case[name] for case, of_case in facts.items()}
        return complete(found, names, params.wanted, instances=params.instances)

    confusion: dict[int, dict[int, int]] = {}
    for found in facts.values():
        for gt, pred, count in found["joint"]:
            row = confusion.setdefault(gt, {})
            row[pred] = row.get(pred, 0) + count
    return Evaluation(
        rows(_PRED),
        names,
        params.wanted,
        {gt: dict(sorted(row.items())) for gt, row in sorted(confusion.items())},
        tuple(case for case in answers.missing if case in facts),
        rows(_BASELINE) if params.baseline is not None else None,
        answers.groups,
        {record.case_id: record.message for record in run.records if record.status in ("failed", "crashed")},
    )


def _definition(evaluation: Evaluation, params: EvaluateParams, answers: Answers) -> dict[str, Any]:
    instances = INSTANCES if params.instances else ()
    chosen = {name: DEFINITIONS[name] for name in (*evaluation.metrics, *COUNTS, "flag", *instances)}
    limits = {label: answers.question.limit(label_of(label)) for label in evaluation.names}
    return {
        **chosen,
        "border": BORDER,
        "tolerance_mm": limits,
        "mean": "over cases with a finite value, without classes that neither map holds; std with n - 1; ci95: "
        "percentile bootstrap of the mean over cases, 2000 draws, seeded",
        **(
            {
                "comparison": "this minus the baseline, over cases in which both values are finite; p: Wilcoxon's "
                "signed-rank test, two-sided (exact for few cases); p_holm: corrected over the classes, by metric"
            }
            if params.baseline is not None
            else {}
        ),
    }


def _stated(params: EvaluateParams, seed: int, answers: Answers) -> dict[str, Any]:
    """Return the parameters that matter for the content, without paths: the same content gives the same bytes."""
    values = params.model_dump(mode="json", exclude={"dest", "gt", "pred", "baseline", "table", "recursive", "format"})
    folders = {_GT: answers.reference, _PRED: answers.prediction}
    return {**folders, **({_BASELINE: answers.baseline} if answers.baseline else {}), **values, "seed": seed}


def _worst(evaluation: Evaluation, params: EvaluateParams, answers: Answers) -> Iterator[Worst]:
    """Read the label maps of the worst cases again, for their pictures."""
    from itkit.report.evaluation import Worst

    for case, label in worst_rows(evaluation, params.worst):
        files = answers.files.get(case, {})
        if _PRED not in files:
            yield Worst(case, label, problem="no prediction")
            continue
        try:
            gt = read_volume(files[_GT], "label")
            pred = _on_grid(case, gt, read_volume(files[_PRED], "label"), _PRED, params, Context(), [])
            image = read_volume(answers.images[case], channels=True) if case in answers.images else None
        except CaseError as error:
            yield Worst(case, label, problem=str(error))
            continue
        if image is not None and image.array_zyx.ndim == 4:
            image = replace(image, array_zyx=image.array_zyx[..., 0])
        if image is not None and not image.geometry.same_grid(gt.geometry):
            image = None
        values = answers.question.regions.get(label) or (int(label),)
        yield Worst(case, label, values, gt, pred, image, modality=answers.modality)


def _lines(evaluation: Evaluation, means: Mapping[str, Any]) -> Iterator[str]:
    if not evaluation.rows:
        return
    said = [
        f"{name} {means[metric]['mean']:.4g}{unit}"
        for metric, name, unit in (("dice", "Dice", ""), ("nsd", "NSD", ""), ("hd95_mm", "HD95", " mm"))
        if metric in means and means[metric]["mean"] is not None
    ]
    cases, classes = counted(len(evaluation.rows), "case"), len(evaluation.names)
    if said:
        yield f"mean over {classes} {'class' if classes == 1 else 'classes'} of {cases}: {', '.join(said)}"
    if evaluation.missing:
        yield (
            f"warning: no prediction for {some(evaluation.missing)}: all classes count as missed "
            "(--only-common leaves such cases out)"
        )
    called = {label: name if name == label else f"{label} ({name})" for label, name in evaluation.names.items()}
    absent = [
        text for label, text in called.items() if len(evaluation.flagged(label, "both_empty")) == len(evaluation.rows)
    ]
    if absent:
        yield f"warning: neither a reference nor a prediction holds class {some(absent)}"
    for flag, told in (("missed", "not found in"), ("invented", "found without a reference in")):
        for label, text in called.items():
            cases_of = [case for case in evaluation.flagged(label, flag) if case not in evaluation.missing]
            if cases_of:
                yield f"note: {text}: {told} {counted(cases_of, 'case')}: {some(cases_of, 5)}"


def memory(inputs: Mapping[str, CaseInput], params: EvaluateParams) -> int:
    """Estimate the memory of a case: its label maps, their classes numbered, masks, and steps to a surface."""
    del params
    voxels = [item.geometry.size_zyx for item in inputs.values()]
    most = max((z * y * x for z, y, x in voxels), default=0)
    return sum(item.nbytes for item in inputs.values()) + 12 * most


OPERATION: Operation[Any] = Operation(
    _NAME,
    EvaluateParams,
    plan,
    evaluate_case,
    collect,
    example="itk_evaluate raw/label predictions evaluation --mp",
    memory=memory,
)
