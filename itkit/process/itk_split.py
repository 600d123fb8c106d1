"""``itk_split``: divide the cases of a dataset into folds, or into train, validation and test."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import model_validator
from typing_extensions import Self

from itkit.core.errors import LayoutError, ParamsError
from itkit.core.fields import Bounds, FreeText, Group, PathRole, Positional, Short
from itkit.core.fields import Unit as UnitOf
from itkit.core.operation import Collected, Context, InputFile, Job, Operation, Outcome, Plan, Report, Unpaired
from itkit.core.params import Params
from itkit.core.text import counted, did_you_mean, some
from itkit.core.volume import Case
from itkit.io.json_files import json_text, read_json
from itkit.io.layouts import IMAGE, LABEL, find_images, find_pairs, find_volumes, require_destination, require_folder
from itkit.io.meta import current_classes
from itkit.io.tables import Table, read_table
from itkit.kernels.labels import label_counts
from itkit.process.plans import inputs_of
from itkit.process.splitting import Unit, balanced_parts, fraction_of, in_bins, rounded

_NAME = "itk_split"
_CLASSES = "classes"
_TRAIN, _VAL, _TEST, _REST = "train", "val", "test", "rest"
SPLITS, SPLITS_NNUNET = "splits.json", "splits_final.json"
Fraction = Annotated[float, UnitOf("fraction"), Bounds(least=0, below=1)]


class SplitParams(Params):
    """Divide the cases of a dataset into folds, or into parts to train, validate and test with."""

    source: Annotated[Path, PathRole("in_folder", "dataset"), Positional("dataset")]
    """Dataset (image/, label/ or both), or a folder of volumes."""
    output: Annotated[Path | None, PathRole("out_file"), Short("-o")] = None
    """File to write (default: splits.json in the dataset)."""
    folds: Annotated[int, Bounds(least=2)] | None = None
    """Number of folds: each case that is not for testing validates in one of them."""
    test: Fraction = 0.0
    """Fraction of the cases to test with."""
    val: Fraction = 0.0
    """Fraction of the cases to validate with; with folds, in each of them, if each case need not have its turn."""
    group_by: Annotated[str | None, FreeText("^[^_]+")] = None
    """Keep cases together: by a column of the table, or by what a regular expression finds in the case id."""
    stratify: Annotated[str | None, FreeText("classes")] = None
    """Give each part its share of every class (classes), or of every value of a column of the table."""
    table: Annotated[Path | None, PathRole("in_file")] = None
    """CSV file with a row for each case: the column case, or the first one, holds the case ids."""
    pin: Annotated[Path | None, PathRole("in_file")] = None
    """CSV file case,part of cases whose part is given: train, val, test, or the number of a fold from 0 on."""
    stable: bool = False
    """Decide each group by a hash of its name, so that new cases never move old ones; sizes are only about right."""
    nnunet: Annotated[bool, Group("Output")] = False
    """Also write splits_final.json, as nnU-Net reads it, beside the file."""
    recursive: Annotated[bool, Short("-r")] = False
    """Search sub-folders."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if self.folds is None and not self.test and not self.val:
            raise ValueError("nothing to divide: give --folds, --test or --val")
        if self.folds is not None and self.test + self.folds * self.val > 1 + 1e-9:
            raise ValueError(
                f"--folds {self.folds}: no case validates twice, so --val is at most "
                f"{(1 - self.test) / self.folds:.4g} here; got {self.val:g}. Without --val, each case has its turn"
            )
        if self.test + self.val >= 1:
            raise ValueError("--test and --val leave no case to train with; expected less than 1 together")
        if self.stable and self.stratify is not None:
            raise ValueError("--stratify balances all cases, so that new ones would move old ones; drop it or --stable")
        if self.stratify not in (None, _CLASSES) and self.table is None:
            raise ValueError(f"--stratify {self.stratify}: expected {_CLASSES}, or a column of --table")
        if self.table is not None and self.group_by is None and self.stratify in (None, _CLASSES):
            raise ValueError("--table only matters with --group-by or --stratify and a column of it; drop it")
        return self

    @property
    def file(self) -> Path:
        """The file to write."""
        if self.output is None:
            return self.source / SPLITS
        return self.output / SPLITS if self.output.is_dir() else self.output


@dataclass(frozen=True)
class _Sorted:
    """What is known of the cases before any is read: group, stratum and part of each, and the file that is there."""

    groups: Mapping[str, str]
    strata: Mapping[str, str]
    pins: Mapping[str, str]
    there: Any
    there_nnunet: Any
    notes: tuple[str, ...] = ()


def split_case(case: Case, params: SplitParams, context: Context) -> Outcome:
    """Find the classes of a case, if they are needed."""
    del context
    if params.stratify != _CLASSES:
        return Outcome()
    known = case.details
    if known is None:
        known = list(label_counts(case.volumes[LABEL].array_zyx))
    return Outcome(facts={_CLASSES: [value for value in known if value != 0]})


def plan(params: SplitParams) -> Plan:
    """List the cases, their groups and given parts.

    Raises
    ------
    LayoutError
        When there are no cases, or no labels to stratify by.
    ParamsError
        When the table, the pins or the expression are unclear, or there are fewer groups than folds.
    """
    source = require_folder(params.source, "dataset")
    jobs, unpaired, notes = _cases(params, source)
    if not jobs:
        raise LayoutError(f"{source}: no case to divide was found")
    require_destination(params.file.parent)
    cases = [job.case_id for job in jobs]
    table = None if params.table is None else read_table(params.table)
    known = _sorted(params, cases, table)
    if params.folds is not None:
        groups = {known.groups[case] for case in cases}
        if len(groups) < params.folds:
            noun = "case" if params.group_by is None else "group"
            raise ParamsError(f"--folds {params.folds}: there are only {counted(groups, noun)}")
    files = (params.file, _nnunet_file(params)) if params.nnunet else (params.file,)
    return Plan(tuple(jobs), unpaired, notes=(*notes, *known.notes), details=known, writes=files)


def _cases(params: SplitParams, source: Path) -> tuple[list[Job], tuple[Unpaired, ...], tuple[str, ...]]:
    has_images, has_labels = (source / IMAGE).is_dir(), (source / LABEL).is_dir()
    recursive = params.recursive
    if params.stratify == _CLASSES and not has_labels:
        raise LayoutError(f"--stratify {_CLASSES}: {source} has no folder {LABEL}")
    if has_images and has_labels:
        pairs = find_pairs(source / IMAGE, source / LABEL, recursive=recursive)
        files, images, unpaired = pairs.pairs, pairs.images, pairs.unpaired
        inputs = {case: inputs_of(parts, images) for case, parts in files.items()}
        problems, notes = images.problems, images.described.notes
    elif has_labels:
        volumes = find_volumes(source / LABEL, recursive=recursive)
        inputs = {case: {LABEL: InputFile(path, "label")} for case, path in volumes.items()}
        problems, notes, unpaired = {}, (), ()
    else:
        images = find_images(source / IMAGE if has_images else source, recursive=recursive)
        inputs = {case: inputs_of(parts, images) for case, parts in images.cases.items()}
        problems, notes, unpaired = images.problems, images.described.notes, images.extras
    classes = current_classes(source, LABEL) if params.stratify == _CLASSES else {}
    jobs = []
    for case, parts in inputs.items():
        known = None
        if LABEL in parts and classes:
            known = classes.get(f"{LABEL}/{parts[LABEL].path.relative_to(source / LABEL).as_posix()}")
        reads_label = params.stratify == _CLASSES and known is None
        looked_at = {
            name: file if name == LABEL and reads_label else InputFile(file.path, "grid", file.components)
            for name, file in parts.items()
        }
        jobs.append(Job(case, looked_at, details=known, problem=problems.get(case, "")))
    return jobs, unpaired, notes


def _sorted(params: SplitParams, cases: list[str], table: Table | None) -> _Sorted:
    notes = []
    groups = {case: case for case in cases}
    by_table = params.group_by is not None and table is not None and params.group_by in table.columns
    if params.group_by is not None:
        found = dict(_from_table(table, params.group_by)) if by_table else dict(_found(params.group_by, cases))
        alone = [case for case in cases if not found.get(case)]
        if len(alone) == len(cases):
            hint = "" if table is None else f"; the table has {some(table.columns)}"
            raise ParamsError(f"--group-by {params.group_by}: no case has such a group{hint}")
        if alone:
            notes.append(f"--group-by finds no group of {some(alone)}; each is a group of its own")
        groups = {case: found.get(case) or f"case {case}" for case in cases}
    strata: dict[str, str] = {}
    if params.stratify not in (None, _CLASSES) and table is not None:
        column = table.column(str(params.stratify))
        missing = [case for case in cases if not column.get(case)]
        if missing:
            notes.append(f"--stratify {params.stratify}: the table says nothing of {some(missing)}")
        strata = in_bins({case: column.get(case, "") for case in cases})
    pins = {} if params.pin is None else _pins(params, groups, notes)
    return _Sorted(groups, strata, pins, _there(params.file), _there(_nnunet_file(params)), tuple(notes))


def _there(path: Path) -> Any:
    """Return what a file holds that would be replaced: ``None`` if there is none, text if it is no JSON."""
    found = read_json(path)
    return "no JSON" if found is None and path.exists() else found


def _nnunet_file(params: SplitParams) -> Path:
    return params.file.with_name(SPLITS_NNUNET)


def _from_table(table: Table | None, column: str) -> Mapping[str, str]:
    return {} if table is None else table.column(column)


def _found(pattern: str, cases: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the group that an expression finds in each case id: its first bracket, or all that it matches."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ParamsError(f"--group-by {pattern!r}: neither a column nor a regular expression ({error})") from error
    for case in cases:
        match = expression.search(case)
        if match is not None:
            yield case, (match[1] if expression.groups else match[0]) or ""


def _pins(params: SplitParams, groups: Mapping[str, str], notes: list[str]) -> dict[str, str]:
    """Return the given part of each group.

    Raises
    ------
    ParamsError
        When a part is unknown, or a group has two.
    """
    assert params.pin is not None
    table = read_table(params.pin, "--pin")
    column = "part" if "part" in table.columns or not table.columns else table.columns[0]
    folds = [] if params.folds is None else [str(number) for number in range(params.folds)]
    allowed = [_TRAIN, _VAL, _TEST] if params.folds is None else [_TRAIN, _TEST, *folds]
    pins: dict[str, str] = {}
    absent = []
    for case, text in table.column(column).items():
        part = text.lower().removeprefix("fold").strip("_- ") if folds else text.lower()
        if part not in allowed:
            raise ParamsError(f"--pin {params.pin}: {case}: expected one of {', '.join(allowed)}; got {text!r}")
        if case not in groups:
            absent.append(case)
        elif pins.setdefault(groups[case], part) != part:
            raise ParamsError(
                f"--pin {params.pin}: the group {groups[case]!r} would be in {pins[groups[case]]} and {part}"
            )
    if absent:
        notes.append(f"--pin names cases that are not here: {some(absent)}{did_you_mean(absent[0], groups)}")
    return pins


def split_cases(units: list[Unit], params: SplitParams, pins: Mapping[str, str], seed: int) -> dict[str, Any]:
    """Return ``folds`` and ``test`` of ``splits.json``.

    Parameters
    ----------
    units
        Groups of cases.
    params
        What to divide them into.
    pins
        Parts that are given, by group.
    seed
        Seed of the random order, or of the hashes.
    """
    parts = _stable(units, params, seed) if params.stable else _balanced(units, params, pins, seed)
    parts |= {unit.name: pins[unit.name] for unit in units if unit.name in pins}

    def cases(*wanted: str) -> list[str]:
        return sorted(case for unit in units if parts[unit.name] in wanted for case in unit.cases)

    folds = [_VAL] if params.folds is None else [str(number) for number in range(params.folds)]
    return {
        "folds": [
            {_TRAIN: cases(_TRAIN, *(other for other in folds if other != fold)), _VAL: cases(fold)} for fold in folds
        ],
        "test": cases(_TEST),
    }


def _stable(units: list[Unit], params: SplitParams, seed: int) -> dict[str, str]:
    def part(unit: Unit) -> str:
        place = fraction_of(seed, "part", unit.name)
        if place < params.test:
            return _TEST
        if params.folds is not None:
            share = params.val / (1 - params.test) or 1 / params.folds
            fold = int(fraction_of(seed, "fold", unit.name) / share)
            return str(fold) if fold < params.folds else _TRAIN
        return _VAL if place < params.test + params.val else _TRAIN

    return {unit.name: part(unit) for unit in units}


def _balanced(units: list[Unit], params: SplitParams, pins: Mapping[str, str], seed: int) -> dict[str, str]:
    count = sum(len(unit.cases) for unit in units)
    sizes = {_TEST: rounded(params.test, count)}
    if params.folds is None:
        sizes[_VAL] = min(rounded(params.val, count), count - sizes[_TEST])
        sizes[_TRAIN] = count - sum(sizes.values())
        return balanced_parts(units, sizes, seed=seed, given=pins)
    given = {name: _TEST if part == _TEST else _REST for name, part in pins.items()}
    sizes[_REST] = count - sizes[_TEST]
    parts = balanced_parts(units, sizes, seed=seed, given=given) if params.test or _TEST in given.values() else {}
    rest = [unit for unit in units if parts.get(unit.name) != _TEST and pins.get(unit.name) != _TRAIN]
    left = sum(len(unit.cases) for unit in rest)
    per_fold = {str(n): left // params.folds + (n < left % params.folds) for n in range(params.folds)}
    if params.val and params.test + params.folds * params.val < 1 - 1e-9:
        ends = [0, *(min(left, rounded(params.val * (n + 1), count)) for n in range(params.folds))]
        per_fold = {str(n): end - start for n, (start, end) in enumerate(pairwise(ends))}
        per_fold[_TRAIN] = left - ends[-1]
    own = {name: part for name, part in pins.items() if part in per_fold}
    return {**parts, **balanced_parts(rest, per_fold, seed=seed, given=own)}


def collect(params: SplitParams, run: Collected) -> Report:
    """Return ``splits.json``, unless a file stands there that this command did not write."""
    known: _Sorted = run.plan.details
    path = params.file
    if run.options["shard"] is not None or len(run.records) < len(run.plan.jobs):
        return Report((f"only a part of the cases was looked at; {path} was not written",), 1)
    facts = {record.case_id: record.facts for record in run.records if record.status == "done"}
    if not facts:
        return Report((f"no case can be read; {path} was not written",), 1)
    seed = int(run.options["seed"])
    units = _units(facts, known, params)
    values: dict[str, Any] = {
        "seed": seed,
        "groups": {} if params.group_by is None else {unit.name: sorted(unit.cases) for unit in units},
        **split_cases(units, params, known.pins, seed),
    }
    values["check"] = _check(values)
    files: dict[Path, Any] = {path: values}
    foreign = [path] if known.there is not None and not _is_ours(known.there) else []
    if params.nnunet:
        files[_nnunet_file(params)] = values["folds"]
        is_ours = _is_ours(known.there) and known.there["folds"] == known.there_nnunet
        foreign += [_nnunet_file(params)] if known.there_nnunet is not None and not is_ours else []
    existing = run.options["existing"]
    if foreign and existing != "redo":
        why = "was not written by this command, or was edited since; left alone (--existing redo replaces it)"
        return Report(tuple(f"{file} {why}" for file in foreign), 2)
    if existing == "error" and known.there not in (None, values):
        return Report((f"--existing error: {path} exists and would change",), 2)
    texts = {file: json_text(value) for file, value in files.items()}
    lines = tuple(_described(values, params))
    return Report(lines, files=texts) if params.output is None else Report(lines, named_files=texts)


def _units(facts: Mapping[str, Mapping[str, Any]], known: _Sorted, params: SplitParams) -> list[Unit]:
    members: dict[str, list[str]] = {}
    for case in sorted(facts):
        members.setdefault(known.groups[case], []).append(case)

    def strata_of(case: str) -> list[str]:
        if params.stratify == _CLASSES:
            return [str(value) for value in facts[case][_CLASSES]]
        return [known.strata[case]] if known.strata.get(case) else []

    units = []
    for name, cases in sorted(members.items()):
        strata: dict[str, int] = {}
        for case in cases:
            for stratum in strata_of(case):
                strata[stratum] = strata.get(stratum, 0) + 1
        units.append(Unit(name, tuple(cases), strata))
    return units


def _check(values: Mapping[str, Any]) -> str:
    """Return a digest of a split, by which an edited file is known."""
    plain = {name: value for name, value in values.items() if name != "check"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode(errors="surrogateescape")).hexdigest()[:16]


def _is_ours(there: Any) -> bool:
    return isinstance(there, dict) and there.get("check") == _check(there)


def _described(values: Mapping[str, Any], params: SplitParams) -> Iterator[str]:
    folds, test = values["folds"], values["test"]
    groups = f" in {counted(values['groups'], 'group')}" if values["groups"] else ""
    if params.folds is None:
        (only,) = folds
        yield f"train {len(only[_TRAIN])}, val {len(only[_VAL])}, test {counted(test, 'case')}{groups}"
    else:
        sizes = ", ".join(str(len(fold[_VAL])) for fold in folds)
        yield f"{len(folds)} folds of {sizes} cases to validate with, test {counted(test, 'case')}{groups}"
    empty = [f"fold {n}" for n, fold in enumerate(folds) if not fold[_VAL] and (params.folds or params.val)]
    empty += [_TEST] if params.test and not test else []
    empty += [f"train of fold {n}" for n, fold in enumerate(folds) if not fold[_TRAIN]]
    if empty:
        yield f"warning: too few cases or groups: nothing is in {some(empty)}"


OPERATION: Operation[Any] = Operation(
    _NAME,
    SplitParams,
    plan,
    split_case,
    collect,
    example="itk_split raw --folds 5 --test 0.1 --group-by '^[^_]+' --stratify classes --seed 7",
    is_random=True,
)
__all__ = ["OPERATION", "SplitParams", "split_cases"]
