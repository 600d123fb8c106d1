"""``itkit plan``: measure a dataset and this machine, and write a plan for ``itkit train``."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itkit.core.errors import LayoutError, ParamsError
from itkit.core.text import counted, format_bytes, format_seconds, shown, some
from itkit.core.tool import Tool
from itkit.training.wishes import PlanParams

if TYPE_CHECKING:
    from itkit.core.dataset_meta import DatasetMeta
    from itkit.training.fingerprint import Fingerprint
    from itkit.training.planning import Planned

_VALIDATES = ("val", "valid", "validation")


def run(params: PlanParams) -> int:
    """Plan, and return the exit code: 1 if a case can't be read."""
    from itkit.core.dataset_meta import DatasetMeta
    from itkit.core.extras import require_torch
    from itkit.engine.resources import available_cores, available_memory
    from itkit.io.dataset_meta import find_dataset_meta
    from itkit.io.layouts import IMAGE, LABEL, require_folder
    from itkit.training.fingerprint import read_fingerprint
    from itkit.training.planning import plan_dataset
    from itkit.training.probing import Prober
    from itkit.training.splits import patients_of

    require_torch("itkit plan")
    dataset = require_folder(params.dataset, "dataset")
    for part in (IMAGE, LABEL):
        require_folder(dataset / part, f"{part}/ of the dataset")
    output = params.output / "plan.toml" if params.output.is_dir() else params.output
    if params.split is not None:
        require_splits(params.split)
    stats, failed = measured(dataset, output)
    meta = find_dataset_meta(dataset).meta or DatasetMeta({})
    try:
        fingerprint = read_fingerprint(stats, meta, orient=params.orient)
    except LayoutError as error:
        raise LayoutError(f"{dataset}: {error}") from error
    given = None
    if params.split is not None:
        given = folds_of(params.split, [*stats["cases"], *failed], patients_of(meta.values))
    params = params.model_copy(update={"split": params.split and Path(relative(params.split, output.parent))})
    fingerprint, folds, notes = chosen(fingerprint, meta, params, failed)
    with Prober(params.device) as prober:
        planned = plan_dataset(
            fingerprint,
            params,
            prober,
            path=relative(dataset, output.parent),
            cores=available_cores(),
            memory=available_memory(),
        )
    if given is not None:
        split = planned.plan.split.model_copy(update={"folds": given})
        planned = replace(planned, plan=planned.plan.model_copy(update={"split": split}))
    written = write(planned, output, folds)
    for text in (*notes, *planned.warnings):
        print(f"warning: {shown(text)}", file=sys.stderr)
    for line in (*written, *described(planned), f"next: {shlex.join(['itkit', 'train', str(output)])}"):
        print(shown(line))
    return 1 if failed else 0


def require_splits(path: Path) -> int:
    """Return how many folds a file of splits has.

    Raises
    ------
    ParamsError
        When it can't be read, or has none.
    """
    from itkit.io.splits import read_splits

    try:
        count = len(read_splits(path).folds)
    except LayoutError as error:
        raise ParamsError(f"--split {error}") from error
    if count == 0:
        raise ParamsError(f"--split {path}: no fold in it")
    return count


def folds_of(path: Path, cases: Sequence[str], patients: Mapping[str, str]) -> int:
    """Return how many folds a file of splits has, each of which can train.

    Raises
    ------
    ParamsError
        When a fold names a case that is not there, or a case or a patient for both parts.
    """
    from itkit.training.splits import read_fold

    count = require_splits(path)
    for fold in range(count):
        read_fold(path, fold, cases, patients)
    return count


def stats_folder(dataset: Path, output: Path) -> Path:
    """Return the folder for the measurements: ``<dataset>-stats`` beside the dataset if it is there, else by the plan.

    The measurements of an earlier run there are used as far as files have not changed since.
    """
    name = f"{dataset.absolute().name or 'dataset'}-stats"
    beside = dataset.absolute().parent / name
    by_plan = output.absolute().parent / name
    is_inside = dataset.absolute() in by_plan.parents
    return beside if beside.is_dir() or is_inside else by_plan


def measured(dataset: Path, output: Path) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """Return the measurements of the dataset, and the cases that can't be measured with their reasons.

    Raises
    ------
    LayoutError
        When no case can be measured.
    """
    from itkit.catalogue import load
    from itkit.cli.terminal import Terminal
    from itkit.engine.options import RunOptions
    from itkit.engine.parameters import make_params
    from itkit.engine.runner import execute
    from itkit.io.json_files import read_json

    operation = load("itk_stats")
    folder = stats_folder(dataset, output)
    folder.parent.mkdir(parents=True, exist_ok=True)
    values = {"source": dataset, "dest": folder, "recursive": True}
    show = Terminal("auto")
    try:
        result = execute(
            operation,
            make_params(operation.params, values),
            RunOptions(mp=True),
            on_event=lambda event: show(event) if event["event"] != "summary" else None,
        )
    finally:
        show.close()
    if result.summary.interrupted:
        raise KeyboardInterrupt
    done = {record.case_id for record in result.records if record.status in ("done", "skipped")}
    failed = {record.case_id: record.message for record in result.records if record.case_id not in done}
    if not done:
        raise LayoutError(f"{dataset}: no case can be measured: {some(failed.values(), most=5, separator='; ')}")
    stats = read_json(folder / "stats.json")
    if not isinstance(stats, dict) or set(stats.get("cases", ())) != done:
        raise LayoutError(f"{folder / 'stats.json'}: not the measurements of {dataset}; move this file away")
    again = sum(record.status == "skipped" for record in result.records)
    known = f", {again} of them before" if again else ""
    print(f"measured {counted(len(done), 'case')}{known}: {shown(str(folder / 'stats.html'))}")
    return stats, failed


def chosen(
    fingerprint: Fingerprint, meta: DatasetMeta, params: PlanParams, failed: Mapping[str, str]
) -> tuple[Fingerprint, list[dict[str, list[str]]] | None, list[str]]:
    """Leave out what can't be learnt from, and what is for testing.

    Returns
    -------
    tuple
        The fingerprint of the other cases; their folds, if a file must name them; and what the user should know.

    Raises
    ------
    LayoutError
        When no case is left.
    """
    from itkit.training.rules import fold_count
    from itkit.training.splits import draw_fold

    notes = [f"left out, because it can't be read: {case}: {reason}" for case, reason in failed.items()]
    if fingerprint.unlabelled:
        notes.append(f"left out, because they have no class above 0: {some(fingerprint.unlabelled)}")
    if params.split is not None:
        return fingerprint, None, notes
    splits = {name: set(cases) & fingerprint.cases.keys() for name, cases in meta.splits.items()}
    train = splits.pop("train", set())
    val = set().union(*(splits.pop(name, set()) for name in _VALIDATES))
    others = {name: cases for name, cases in splits.items() if cases}
    usable = (train | val) if train else fingerprint.cases.keys()
    for name, cases in others.items() if train else ():
        notes.append(f"left out, because dataset.json has them in the split {name!r}: {some(sorted(cases))}")
    if not usable:
        raise LayoutError(f"no case is left to learn from: {'; '.join(notes)}")
    fingerprint = replace(fingerprint, cases={case: fingerprint.cases[case] for case in sorted(usable)})
    if train and val and params.folds is None:
        notes.append(f"one fold: {counted(val, 'case')} validate, as dataset.json has them")
        return fingerprint, [{"train": sorted(train), "val": sorted(val)}], notes
    left_out = failed or fingerprint.unlabelled or others or len(usable) < len(train | val)
    count, _, warning = fold_count(len(usable), params.folds)
    if not left_out or count == 1:
        return fingerprint, None, notes
    drawn = [draw_fold(sorted(usable), count, fold, params.seed) for fold in range(count)]
    return (
        fingerprint,
        [{"train": list(fold.train), "val": list(fold.val)} for fold in drawn],
        [
            *notes,
            *([warning] if warning else []),
        ],
    )


def write(planned: Planned, output: Path, folds: list[dict[str, list[str]]] | None) -> Iterator[str]:
    """Write the plan, and the folds if a file must name them; yield what was written."""
    from itkit.io.disk import write_text
    from itkit.io.json_files import write_json
    from itkit.training.plan_file import plan_text

    plan, reasons = planned.plan, dict(planned.reasons)
    output.parent.mkdir(parents=True, exist_ok=True)
    if folds is not None:
        path = output.with_name(f"{output.stem}-splits.json")
        yield from kept(path, None)
        write_json(path, {"folds": folds})
        split = plan.split.model_copy(update={"file": path.name, "folds": len(folds)})
        plan = plan.model_copy(update={"split": split})
        reasons["split.file"] = f"{counted(folds, 'fold')} of the cases that can be used"
        yield f"folds: {path}"
    text = plan_text(plan, reasons)
    yield from kept(output, text)
    write_text(output, text)
    yield f"plan: {output}"


def kept(path: Path, text: str | None) -> Iterator[str]:
    """Keep an earlier file of another content under another name."""
    if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") == text:
        return
    number = next(n for n in range(1, 10**6) if not path.with_name(f"{path.stem}.{n}{path.suffix}").exists())
    old = path.with_name(f"{path.stem}.{number}{path.suffix}")
    path.rename(old)
    yield f"the {path.name} that was there is kept as {old.name}"


def relative(path: Path, folder: Path) -> str:
    """Return a path as a plan in a folder names it: absolute only if it was given so.

    Examples
    --------
    >>> relative(Path("data/ct"), Path("plans"))
    '../data/ct'
    """
    return str(path) if path.is_absolute() else Path(os.path.relpath(path, folder)).as_posix()


def described(planned: Planned) -> Sequence[str]:
    """Return lines that say what a run of the plan takes."""
    training, cost = planned.plan.training, planned.timing.run
    patch = " x ".join(map(str, training.patch_size))
    how = "measured" if planned.timing.is_measured else "extrapolated from two measured ones"
    each = format_seconds(planned.timing.step_seconds)
    validating = format_seconds(planned.validations.seconds)
    folds = planned.plan.split.folds
    return (
        f"network: {planned.plan.network.name}, {planned.parameters:,} parameters; {planned.machine.name}",
        f"step: {each} and {format_bytes(cost.peak_bytes)} for {training.batch_size} patches of {patch} ({how})",
        f"run: {planned.steps:,} steps in {counted(training.epochs, 'epoch')}, "
        f"{counted(planned.validations.number, 'validation')} of {validating}: {format_seconds(planned.seconds)} "
        f"({planned.seconds / 3600:.2f} hours) for {'one of ' if folds > 1 else ''}{counted(folds, 'fold')}",
    )


TOOL = Tool("itkit plan", PlanParams, run, "itkit plan raw -o plan.toml --memory 8GB --minutes 60")
__all__ = ["TOOL", "PlanParams"]
