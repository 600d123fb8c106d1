"""``itk_evaluate``: compare predicted label maps with reference ones, class by class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import model_validator
from typing_extensions import Self

from itkit.core.classes import ClassWords
from itkit.core.errors import LayoutError
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
from itkit.core.text import some
from itkit.core.volume import Case
from itkit.io.dataset_meta import find_dataset_meta
from itkit.io.layouts import IMAGE, LABEL, find_images, find_volumes, require_destination
from itkit.io.tables import read_table
from itkit.metrics.definitions import METRICS, metric_names
from itkit.process.evaluating import (
    BASELINE,
    PREDICTION,
    REFERENCE,
    TOLERANCE,
    Answers,
    Question,
    compared,
    on_grid,
    question_of,
)
from itkit.process.evaluation import storable
from itkit.process.evaluation_report import report_of
from itkit.process.plans import label_folder

_NAME = "itk_evaluate"
_WORST = 6
_MOST_NAME = 40
"""Letters of a class's name in a note."""
_INSTANCES = "instances"

Format = Literal["csv", "xlsx", "json", "html"]
_FORMATS: tuple[Format, ...] = ("csv", "xlsx", "json", "html")


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
        tuple[Annotated[str, Pattern(rf"^{TOLERANCE.pattern}$")], ...],
        Unit("mm"),
        Group("What"),
    ] = ("2",)
    """Distance within which surfaces agree (NSD): one value, one a class in order, or CLASS=VALUE for some of them."""
    metrics: Annotated[tuple[Annotated[str, FreeText("dice")], ...], Group("What")] = ()
    """Metrics to compute, e.g. dice hd95 nsd; instances stands for the option --instances (default: all others)."""
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
        metric_names(self._metrics)
        for text in self.tolerance_mm:
            if TOLERANCE.fullmatch(text) is None:
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
        return metric_names(self._metrics) if self.metrics else METRICS

    @property
    def compares_instances(self) -> bool:
        """Whether connected components are compared."""
        return self.instances or _INSTANCES in self.metrics

    @property
    def _metrics(self) -> tuple[str, ...]:
        return tuple(word for word in self.metrics if word != _INSTANCES)


def evaluate_case(case: Case, params: EvaluateParams, context: Context) -> Outcome:
    """Compare the prediction of a case with its reference."""
    question: Question = case.details
    gt = case.volumes[REFERENCE]
    warnings: list[str] = []
    facts: dict[str, Any] = {}
    for name in (PREDICTION, *([BASELINE] if params.baseline is not None else [])):
        other = case.volumes.get(name)
        if other is None:
            warnings.append(f"no {name}: every class counts as missed")
        else:
            other = on_grid(case.id, gt, other, name, params, context.threads, warnings)
        classes, joint = compared(gt, other, question, params)
        facts[name] = {str(label): storable(row) for label, row in classes.items()}
        if name == PREDICTION:
            facts["joint"] = joint
    return Outcome(facts=facts, warnings=tuple(warnings))


def plan(params: EvaluateParams) -> Plan:
    """List the pairs of label maps; a case without a prediction is a job with a reference alone."""
    gt, pred = label_folder(params.gt, REFERENCE), label_folder(params.pred, PREDICTION)
    base = None if params.baseline is None else label_folder(params.baseline, BASELINE)
    require_destination(params.dest, *filter(None, (gt, pred, base)))
    described = find_dataset_meta(params.gt, params.gt.absolute().parent)
    question = question_of(params, described)
    references = find_volumes(gt, recursive=params.recursive)
    others = {PREDICTION: find_volumes(pred, recursive=params.recursive)}
    if base is not None:
        others[BASELINE] = find_volumes(base, recursive=params.recursive)
    if references and not references.keys() & others[PREDICTION].keys():
        raise LayoutError(
            f"no case of {gt} has a prediction in {pred}: {some(references, 3)} against "
            f"{some(others[PREDICTION], 3) or 'no volume'}; files pair by their names without extension"
        )
    unpaired = [
        *(Unpaired(case, path, PREDICTION) for case, path in references.items() if case not in others[PREDICTION]),
        *(Unpaired(case, path, REFERENCE) for case, path in others[PREDICTION].items() if case not in references),
    ]
    asked = repr((question, sorted(others))).encode(errors="surrogateescape")
    jobs, stamp = [], hashlib.sha256(asked).hexdigest()[:16]
    for case, path in references.items():
        inputs = {REFERENCE: InputFile(path, "label")}
        inputs |= {name: InputFile(found[case], "label") for name, found in others.items() if case in found}
        if not (params.only_common and len(inputs) <= len(others)):
            jobs.append(Job(case, inputs, details=question, stamp=stamp))
    missing = tuple(job.case_id for job in jobs if PREDICTION not in job.inputs)
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
    files = tuple(params.dest / name for kind in params.format for name in _files_of(kind, params))
    notes = (*described.notes, *_other_names(described.labels, params.pred))
    return Plan(tuple(jobs), tuple(unpaired), params.dest, notes, answers, writes=files)


def _other_names(names: Mapping[int, str], pred: Path) -> tuple[str, ...]:
    """Return a note if the predictions' own description calls a value otherwise: they may be numbered otherwise."""
    theirs = find_dataset_meta(pred, pred.absolute().parent).labels
    other = [
        f"{value} is {names[value][:_MOST_NAME]!r} in the reference and {name[:_MOST_NAME]!r} in the prediction"
        for value, name in theirs.items()
        if value and names.get(value, name) != name
    ]
    if not other:
        return ()
    return (
        f"the classes have other names: {some(other, 4)}; values are compared, whatever their names (itk_extract "
        "renumbers them)",
    )


def _files_of(kind: Format, params: EvaluateParams) -> tuple[str, ...]:
    """Return the names of the files of a format."""
    if kind != "csv":
        return (f"evaluation.{kind}",)
    return ("per_case.csv", "summary.csv", *(["comparison.csv"] if params.baseline is not None else []))


def _folder_name(folder: Path) -> str:
    return folder.resolve().name


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
    return report_of(params, run)


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
