"""The files of ``itk_evaluate``: tables, workbook, JSON and page; and what it tells at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.errors import CaseError
from itkit.core.operation import Collected, Report
from itkit.core.text import counted, csv_text, some
from itkit.core.version import VERSION
from itkit.io.sitk_toolkit import read_volume
from itkit.metrics.definitions import BORDER, COUNTS, DEFINITIONS, INSTANCES
from itkit.process.evaluating import BASELINE, PREDICTION, REFERENCE, Answers, on_grid
from itkit.process.evaluation import (
    Evaluation,
    case_table,
    compare_paired,
    comparison_table,
    complete,
    label_of,
    overall,
    summarise,
    summary_table,
    worst_rows,
)

if TYPE_CHECKING:
    from itkit.process.itk_evaluate import EvaluateParams
    from itkit.report.evaluation import Results, Worst

Table = tuple[list[str], list[list[Any]]]
"""Names of the columns, and the rows."""
_MOST_TOLD = 10
"""Classes that are missed or invented of which a line is printed."""


@dataclass(frozen=True)
class _Found:
    """Everything that the files say: the evaluation, and what follows from it."""

    evaluation: Evaluation
    answers: Answers
    summaries: Mapping[str, Mapping[str, Any]]
    """Summary of all cases under an empty name, and of each group."""
    comparison: Mapping[str, Any]
    means: Mapping[str, Any]
    seed: int


def report_of(params: EvaluateParams, run: Collected) -> Report:
    """Return the tables, the workbook, the JSON file and the page, and lines with the means and what is lacking."""
    found = _found(params, run)
    tables, definition = _tables(found, params), _definition(found.evaluation, params, found.answers)
    files: dict[Path, Any] = {}
    if "csv" in params.format:
        files |= {Path(f"{name}.csv"): csv_text([head, *rows]) for name, (head, rows) in tables.items()}
    if "xlsx" in params.format:
        files[Path("evaluation.xlsx")] = _workbook(tables, definition, found.evaluation.failed)
    if "json" in params.format:
        files[Path("evaluation.json")] = _json(found, definition, params)
    if "html" in params.format:
        from itkit.report.evaluation import evaluation_page

        pictures = _worst(found.evaluation, params, found.answers)
        files[Path("evaluation.html")] = evaluation_page(found.evaluation, _results(found, params), pictures)
    return Report(tuple(_lines(found.evaluation, found.means)), files=files)


def _found(params: EvaluateParams, run: Collected) -> _Found:
    answers: Answers = run.plan.details
    evaluation = _evaluation(params, run, answers)
    seed = int(run.options["seed"])
    summaries = {"": summarise(evaluation, seed)}
    for group in sorted({group for case, group in answers.groups.items() if group and case in evaluation.rows}):
        members = [case for case in evaluation.rows if answers.groups.get(case) == group]
        summaries[group] = summarise(evaluation, seed, members)
    comparison = compare_paired(evaluation, seed) if evaluation.baseline is not None else {}
    return _Found(evaluation, answers, summaries, comparison, overall(summaries[""], evaluation.summed), seed)


def _tables(found: _Found, params: EvaluateParams) -> dict[str, Table]:
    evaluation = found.evaluation
    tables = {
        "per_case": case_table(evaluation, params.group_by or ""),
        "summary": summary_table(found.summaries, evaluation.summed),
    }
    if found.comparison:
        tables["comparison"] = comparison_table(found.comparison, evaluation.names)
    return tables


def _workbook(tables: Mapping[str, Table], definition: Mapping[str, Any], failed: Mapping[str, str]) -> bytes:
    from itkit.report.workbook import Sheet, workbook

    sheets = [Sheet(name, head, rows) for name, (head, rows) in tables.items()]
    if failed:
        sheets.append(Sheet("failed", ["case", "reason"], list(map(list, failed.items()))))
    texts = [[name, text if isinstance(text, str) else str(text)] for name, text in definition.items()]
    return workbook([*sheets, Sheet("definitions", ["key", "definition"], texts)])


def _json(found: _Found, definition: Mapping[str, Any], params: EvaluateParams) -> dict[str, Any]:
    evaluation, comparison = found.evaluation, found.comparison
    of_groups = {group: summary for group, summary in found.summaries.items() if group}
    return {
        "itkit": VERSION,
        "operation": "itk_evaluate",
        "versions": {"itkit": VERSION, "numpy": np.__version__},
        "definition": definition,
        "params": _stated(params, found.seed, found.answers),
        "cases": evaluation.rows,
        "summary": found.summaries[""],
        "overall": found.means,
        **({"groups": {"column": params.group_by, "summary": of_groups}} if params.group_by else {}),
        **({"comparison": comparison, "baseline": {"cases": evaluation.baseline}} if comparison else {}),
        "confusion": {str(gt): {str(pred): n for pred, n in row.items()} for gt, row in evaluation.confusion.items()},
        "missing": list(evaluation.missing),
        "failed": dict(evaluation.failed),
    }


def _results(found: _Found, params: EvaluateParams) -> Results:
    from itkit.report.evaluation import Results

    answers = found.answers
    return Results(
        found.summaries,
        found.means,
        found.comparison,
        answers.prediction,
        answers.reference,
        answers.baseline,
        params.group_by or "",
        {label: answers.question.limit(label_of(label)) for label in found.evaluation.names},
    )


def _evaluation(params: EvaluateParams, run: Collected, answers: Answers) -> Evaluation:
    facts = {case: record.facts for case, record in sorted(run.all_records.items())}
    question = answers.question
    values: set[int] = set(question.chosen or question.names)
    if question.chosen is None:
        of_cases = chain.from_iterable((*found[PREDICTION], *found.get(BASELINE, ())) for found in facts.values())
        values |= {int(label) for label in of_cases if label not in question.regions}
    order = [str(value) for value in (question.chosen if question.chosen is not None else sorted(values))]
    names = {label: question.name(label) for label in (*order, *question.regions)}

    def rows(name: str) -> dict[str, Any]:
        found = {case: of_case[name] for case, of_case in facts.items()}
        return complete(found, names, params.wanted, instances=params.compares_instances)

    confusion: dict[int, dict[int, int]] = {}
    for found in facts.values():
        for gt, pred, count in found["joint"]:
            row = confusion.setdefault(gt, {})
            row[pred] = row.get(pred, 0) + count
    return Evaluation(
        rows(PREDICTION),
        names,
        params.wanted,
        {gt: dict(sorted(row.items())) for gt, row in sorted(confusion.items())},
        tuple(case for case in answers.missing if case in facts),
        rows(BASELINE) if params.baseline is not None else None,
        answers.groups,
        {case: record.message for case, record in run.failed.items()},
    )


def _definition(evaluation: Evaluation, params: EvaluateParams, answers: Answers) -> dict[str, Any]:
    instances = INSTANCES if params.compares_instances else ()
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
    folders = {REFERENCE: answers.reference, PREDICTION: answers.prediction}
    return {**folders, **({BASELINE: answers.baseline} if answers.baseline else {}), **values, "seed": seed}


def _worst(evaluation: Evaluation, params: EvaluateParams, answers: Answers) -> Iterator[Worst]:
    """Read the label maps of the worst cases again, for their pictures."""
    from itkit.report.evaluation import Worst

    for case, label in worst_rows(evaluation, params.worst):
        files = answers.files.get(case, {})
        if PREDICTION not in files:
            yield Worst(case, label, problem="no prediction")
            continue
        try:
            gt = read_volume(files[REFERENCE], "label")
            pred = on_grid(case, gt, read_volume(files[PREDICTION], "label"), PREDICTION, params, 1, [])
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
        found = [
            (text, cases_of)
            for label, text in called.items()
            if (cases_of := [case for case in evaluation.flagged(label, flag) if case not in evaluation.missing])
        ]
        for text, cases_of in found[:_MOST_TOLD]:
            yield f"note: {text}: {told} {counted(cases_of, 'case')}: {some(cases_of, 5)}"
        if len(found) > _MOST_TOLD:
            more = some((text for text, _ in found[_MOST_TOLD:]), 5)
            yield f"note: {len(found) - _MOST_TOLD} other classes: {told} some of the cases: {more}"
