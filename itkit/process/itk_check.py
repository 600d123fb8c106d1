"""``itk_check``: find samples of a dataset that do not conform; delete them, or copy or link the others."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, model_validator
from typing_extensions import Self

from itkit.core.actions import Delete, RefreshIndex, Sample, Transfer
from itkit.core.ended import notable
from itkit.core.errors import LayoutError
from itkit.core.fields import (
    Advanced,
    Axes,
    Blank,
    Consent,
    Deletes,
    Formerly,
    Group,
    Later,
    OnlyWith,
    PathRole,
    Positional,
    Short,
    Unbounded,
    Unkeyed,
)
from itkit.core.geometry import Geometry
from itkit.core.grids import grid_differences
from itkit.core.operation import (
    CaseInput,
    Collected,
    Context,
    InputFile,
    Job,
    Jobs,
    Operation,
    Outcome,
    Plan,
    Reads,
    Record,
    Report,
    Target,
)
from itkit.core.params import Params, SizeZyx, SpacingZyx
from itkit.core.text import counted, some
from itkit.core.volume import Case, Kind, Volume, is_image
from itkit.io.layouts import (
    IMAGE,
    LABEL,
    Alone,
    Paired,
    find_dataset,
    find_images,
    is_dataset,
    require_destination,
    require_folder,
)
from itkit.io.overlooked import advice
from itkit.process.plans import carry, inputs_of

_RELATIVE_TOLERANCE = 1e-4  # headers store spacing in single precision
_SAME_TOLERANCE = 1e-3
_FLAT = "volume"
_MOST_CLASSES = 20

AxisName = Literal["X", "Y", "Z"]


def _two_axes(pair: tuple[str, str] | None) -> tuple[str, str] | None:
    if pair is not None and pair[0] == pair[1]:
        raise ValueError(f"expected two different axes of X, Y, Z; got {pair[0]} twice")
    return pair


AxisPair = Annotated[tuple[AxisName, AxisName] | None, Axes("AB"), AfterValidator(_two_axes)]
_COPYING = OnlyWith(mode=("copy", "symlink"), note="check and delete write no samples")


class CheckParams(Params):
    """Find samples that can't be read, lack a partner, disagree in grid, or break the given rules."""

    mode: Annotated[Literal["check", "delete", "copy", "symlink"], Positional(), Deletes(("delete",))]
    """What to do: report, delete samples that break a rule, or copy or link valid samples."""
    source: Annotated[Path, PathRole("in_folder", "dataset"), Positional("sample_folder"), Formerly("sample_folder")]
    """Dataset (image/ and label/), or a flat folder of volumes."""
    recursive: Annotated[bool, Short("-r")] = False
    """Search sub-folders."""
    dest: Annotated[
        Path | None,
        PathRole("out_folder"),
        _COPYING,
        Short("-o"),
        Short("--output"),
        Formerly("output"),
    ] = None
    """Folder to write."""
    min_size: Annotated[SizeZyx, Blank("any"), Group("Rules")] = (-1, -1, -1)
    """Smallest allowed size; -1 ignores an axis."""
    max_size: Annotated[SizeZyx, Blank("any"), Group("Rules")] = (-1, -1, -1)
    """Largest allowed size; -1 ignores an axis."""
    min_spacing: Annotated[SpacingZyx, Blank("any"), Group("Rules")] = (-1.0, -1.0, -1.0)
    """Smallest allowed spacing; -1 ignores an axis."""
    max_spacing: Annotated[SpacingZyx, Blank("any"), Group("Rules")] = (-1.0, -1.0, -1.0)
    """Largest allowed spacing; -1 ignores an axis."""
    same_spacing: Annotated[AxisPair, Group("Rules")] = None
    """Two axes (X, Y or Z) whose spacings must be equal, within 0.1 %."""
    same_size: Annotated[AxisPair, Group("Rules")] = None
    """Two axes (X, Y or Z) whose sizes must be equal."""
    yes: Annotated[bool, Unkeyed(), Consent()] = False
    """Delete without asking."""
    deep: bool = False
    """Read all voxels too: find truncated files, nan, constant or swapped images and labels; count classes."""
    labels: Annotated[tuple[int, ...], Later(), Group("Rules"), Unbounded("classes have any number")] = ()
    """Allowed label values, e.g. 0 1 2; other values are reported (reads all voxels)."""
    allow_empty: Annotated[bool, Later(), Group("Rules")] = False
    """Accept labels that hold only 0, e.g. of healthy patients."""
    delete_unreadable: Annotated[bool, Advanced()] = False
    """delete: unreadable and unpaired samples too."""
    report: Annotated[Path | None, PathRole("out_file")] = None
    """Write a table of all samples to this .html, .csv or .json file."""

    @model_validator(mode="after")
    def _rules_are_possible(self) -> Self:
        for name in ("size", "spacing"):
            for axis, low, high in zip("ZYX", getattr(self, f"min_{name}"), getattr(self, f"max_{name}"), strict=True):
                if -1 not in (low, high) and low > high:
                    raise ValueError(f"--min-{name} {axis} {low:g} is above --max-{name} {axis} {high:g}")
        if self.mode in ("copy", "symlink") and self.dest is None:
            raise ValueError(f"{self.mode} needs a folder to write: give -o FOLDER")
        if self.mode == "delete" and not self.has_rule and not self.delete_unreadable:
            raise ValueError("delete needs a rule, e.g. --min-size 32 -1 -1; without one nothing may be deleted")
        if self.report is not None and self.report.suffix.lower() not in (".html", ".csv", ".json"):
            raise ValueError(f"--report: expected a .html, .csv or .json file; got {self.report.name}")
        return self

    @property
    def reads_voxels(self) -> bool:
        """Whether voxels are read."""
        return self.deep or bool(self.labels)

    @property
    def has_rule(self) -> bool:
        """Whether any rule is given."""
        bounds = (*self.min_size, *self.max_size, *self.min_spacing, *self.max_spacing)
        return bounds.count(-1) < len(bounds) or self.same_spacing is not None or self.same_size is not None


def broken_rules(grid: Geometry, params: CheckParams) -> list[str]:
    """Return a phrase for each rule that a grid breaks.

    Examples
    --------
    >>> params = CheckParams(mode="check", source=".", min_size=(33, -1, -1), same_spacing=("Y", "X"))
    >>> broken_rules(Geometry((32, 64, 64), (1.0, 0.3, 0.5)), params)
    ['size Z=32 < min 33', 'spacing Y=0.300 and X=0.500 differ']
    """
    if not params.has_rule:
        return []
    broken = []
    for axis, value, low, high in zip("ZYX", grid.size_zyx, params.min_size, params.max_size, strict=True):
        if low != -1 and value < low:
            broken.append(f"size {axis}={value} < min {low}")
        if high != -1 and value > high:
            broken.append(f"size {axis}={value} > max {high}")
    for axis, mm, least, most in zip("ZYX", grid.spacing_zyx, params.min_spacing, params.max_spacing, strict=True):
        if least != -1 and mm < least * (1 - _RELATIVE_TOLERANCE):
            broken.append(f"spacing {axis}={mm:.3f} < min {least:g}")
        if most != -1 and mm > most * (1 + _RELATIVE_TOLERANCE):
            broken.append(f"spacing {axis}={mm:.3f} > max {most:g}")
    if params.same_size is not None:
        a, b = (grid.size_zyx["ZYX".index(axis)] for axis in params.same_size)
        if a != b:
            broken.append(f"size {params.same_size[0]}={a} and {params.same_size[1]}={b} differ")
    if params.same_spacing is not None:
        p, q = (grid.spacing_zyx["ZYX".index(axis)] for axis in params.same_spacing)
        if not math.isclose(p, q, rel_tol=_SAME_TOLERANCE):
            broken.append(f"spacing {params.same_spacing[0]}={p:.3f} and {params.same_spacing[1]}={q:.3f} differ")
    return broken


def voxel_findings(volume: Volume, name: str, params: CheckParams | None = None) -> tuple[list[str], dict[str, Any]]:
    """Return the faults of a volume's voxels, and facts about them.

    Parameters
    ----------
    volume
        Image or label map, according to its folder.
    name
        Name in messages; a volume in a flat folder may be an image or a label map.
    params
        Rules for labels.
    """
    if volume.kind == "label":
        return _label_findings(volume, name, params)
    from itkit.kernels.kinds import looks_like_labels  # imports numpy, which headers alone don't need
    from itkit.kernels.statistics import finite_summary

    low, high, n_nan, n_inf = finite_summary(volume.array_zyx)
    low, high = float(low), float(high)
    wrong = [f"{name} holds {count} {what} voxels" for count, what in ((n_nan, "nan"), (n_inf, "infinite")) if count]
    if low == high and not wrong:
        wrong.append(f"{name} is constant ({low:g})")
    if name != _FLAT and looks_like_labels(volume.array_zyx):
        wrong.append(
            f"{name} looks like a label map (few whole numbers from {low:g} to {high:g}); is it in the wrong folder?"
        )
    return wrong, {"min": low if math.isfinite(low) else None, "max": high if math.isfinite(high) else None}


def _label_findings(volume: Volume, name: str, params: CheckParams | None) -> tuple[list[str], dict[str, Any]]:
    from itkit.kernels.kinds import looks_like_image
    from itkit.kernels.labels import label_counts

    counts = label_counts(volume.array_zyx)
    facts: dict[str, Any] = {"classes": {str(value): count for value, count in counts.items()}}
    if looks_like_image(volume.array_zyx):
        span = f"{len(counts)} values from {min(counts)} to {max(counts)}"
        return [f"{name} looks like an image ({span}); is it in the wrong folder?"], {**facts, "looks_like": IMAGE}
    wrong = []
    expected = params.labels if params is not None else ()
    strange = [f"{value} ({counted(count, 'voxel')})" for value, count in counts.items() if value not in expected]
    if expected and strange:
        wrong.append(f"{name} holds values outside --labels: {some(strange)}")
    if set(counts) == {0}:
        wrong += (
            []
            if params is not None and params.allow_empty
            else [f"{name} is empty (all 0; --allow-empty if that is right)"]
        )
    elif len(counts) == 1:
        wrong.append(f"{name} is constant ({next(iter(counts))})")
    return wrong, facts


def check_case(case: Case, params: CheckParams, context: Context) -> Outcome:
    """Collect every reason why a sample does not conform."""
    del context
    names = case.names
    is_flat = case.details == _FLAT or (not names and _FLAT in case.grids)
    if is_flat and not names:
        names = tuple(name for name in (*case.volumes, *case.grids) if name == _FLAT)
    reasons = list(case.problems)
    rules: list[str] = []
    facts: dict[str, Any] = {}
    if names:
        grid = case.grid(names[0])
        facts |= {"size": list(grid.size_zyx), "spacing": list(grid.spacing_zyx), "orientation": grid.orientation}
        rules = broken_rules(grid, params)
    reasons += [difference for _, difference in grid_differences(case)]
    has_image = any(map(is_image, names))
    is_unpaired = not is_flat and not case.problems and not (has_image and LABEL in names)
    if is_unpaired:
        reasons.append(f"unpaired: no {LABEL if has_image else IMAGE}")
    for name, volume in case.volumes.items():
        for channel, part in channels_of(volume, name):
            wrong, found = voxel_findings(part, channel, params)
            reasons += wrong
            facts[channel] = found
    facts |= {"breaks_rule": bool(rules), "is_unreadable": bool(case.problems), "is_unpaired": is_unpaired}
    return Outcome(facts=facts, reasons=tuple(dict.fromkeys((*rules, *reasons))))


def channels_of(volume: Volume, name: str) -> Iterator[tuple[str, Volume]]:
    """Yield a volume with its name; of a volume with several values per voxel, each channel with name and number."""
    if volume.array_zyx.ndim == 3:
        yield name, volume
        return
    for number in range(volume.array_zyx.shape[3]):
        yield f"{name}[{number}]", replace(volume, array_zyx=volume.array_zyx[..., number])


def plan(params: CheckParams) -> Plan:
    """List samples: pairs and lone files of a dataset, or the volumes of a flat folder."""
    folder = require_folder(params.source, "sample")
    if params.dest is not None:
        require_destination(params.dest, folder)
    notes: tuple[str, ...] = ()
    is_flat = not is_dataset(folder)
    if not is_flat:
        pairs = find_dataset(folder, recursive=params.recursive)
        images, unpaired, lone = pairs.images, pairs.unpaired, pairs.lone_labels
    elif (folder / IMAGE).is_dir() or (folder / LABEL).is_dir():
        there, missing = (IMAGE, LABEL) if (folder / IMAGE).is_dir() else (LABEL, IMAGE)
        raise LayoutError(
            f"{folder} holds {there}/ but no {missing}/; give {folder / there} to check it as a flat folder"
        )
    else:
        images = find_images(folder, recursive=params.recursive)
        pairs, unpaired, lone = None, images.extras, {}
        notes = (f"{folder} has no image/ and label/: checked as a flat folder of volumes",)
    extras = {extra.case_id: extra for extra in images.extras}
    ids = sorted({*images.cases, *lone, *extras})
    if not ids:
        raise LayoutError(f"{folder}: no volume to check was found{advice(folder)}")

    def files_of(case: str) -> Mapping[str, Path]:
        if pairs is not None and case in pairs.pairs:
            return pairs.pairs[case]
        if case in images.cases:
            return images.cases[case]
        return {LABEL: lone[case]} if case in lone else {IMAGE: extras[case].path}

    def problem_of(case: str) -> str:
        if case in images.problems or case not in extras:
            return images.problems.get(case, "")
        return f"{extras[case].path.name}: no {extras[case].lacks}"

    def job(case: str) -> Job:
        parts = files_of(case)
        inputs = inputs_of(parts, images)
        if is_flat and parts.keys() == {IMAGE}:
            inputs = {_FLAT: replace(inputs[IMAGE], kind="label") if params.labels else inputs[IMAGE]}
        targets = {} if params.dest is None else _targets(case, inputs, params.dest, is_flat=is_flat)
        return Job(case, inputs, targets, details=_FLAT if is_flat else None, problem=problem_of(case))

    single, paired = images.cases, {} if pairs is None else pairs.pairs
    reads = None
    if isinstance(single, Alone) and images.components == (1,) and (isinstance(paired, Paired) or not paired):

        def reads(case: str) -> dict[str, str]:
            if isinstance(paired, Paired) and case in paired:
                return paired.texts(case)
            if case in single:
                return {_FLAT if is_flat else IMAGE: single.text(case)}
            return {LABEL: os.fspath(lone[case])}

    folders = () if params.dest is None else (params.dest,) if is_flat else (params.dest / IMAGE, params.dest / LABEL)
    carries = carry(images.described, params.dest) if params.dest is not None else None
    meta = images.described.meta
    jobs = Jobs(ids, job, folders, {} if params.dest is None else None, reads)
    notes = (*notes, *images.described.notes)
    return Plan(jobs, unpaired, None, notes, meta, carries, index=folder)


def _targets(case: str, inputs: Mapping[str, InputFile], dest: Path, *, is_flat: bool) -> dict[str, Target]:
    """Return the targets of a sample's files; each file keeps its name."""
    base, targets = case.rpartition("/")[2], {}
    for name, file in inputs.items():
        kind: Kind = "label" if name == LABEL else "image"
        targets[name] = Target(dest if is_flat else dest / kind, file.path.name.removeprefix(base), kind)
    return targets


def collect(params: CheckParams, run: Collected) -> Report:
    """Report every nonconforming sample, the table, and the samples to delete, copy or link."""
    if params.mode == "check":
        report = Report(_told(_bad(run)), actions=(RefreshIndex(params.source),))
    elif params.mode == "delete":
        report = _deletion(params, run, _jobs_of(run))
    else:
        report = _transfer(params, run, _jobs_of(run))
    if params.reads_voxels:
        inventory = classes_of(run.records)
        report = replace(
            report, lines=(*report.lines, *_told_classes(inventory, run, is_listed=params.report is not None))
        )
    return report if params.report is None else _with_table(report, params.report, run)


def _jobs_of(run: Collected) -> dict[str, Job]:
    return {job.case_id: job for job in run.plan.jobs}


def classes_of(records: Iterable[Record]) -> dict[int, tuple[int, int]]:
    """Return for each class the number of cases that hold it, and of its voxels, without images among the labels."""
    inventory: dict[int, tuple[int, int]] = {}
    for record in records:
        for facts in record.facts.values():
            if not isinstance(facts, Mapping) or facts.get("looks_like") == IMAGE:
                continue
            for value, count in facts.get("classes", {}).items():
                cases, voxels = inventory.get(int(value), (0, 0))
                inventory[int(value)] = (cases + 1, voxels + count)
    return dict(sorted(inventory.items()))


def _told_classes(inventory: Mapping[int, tuple[int, int]], run: Collected, *, is_listed: bool) -> tuple[str, ...]:
    names = {} if run.plan.details is None else run.plan.details.labels

    def told(value: int, cases: int, voxels: int) -> str:
        name = f" ({names[value]})" if value in names else ""
        return f"{value}{name} in {counted(cases, 'case')}, {counted(voxels, 'voxel')}"

    each = some((told(value, *counts) for value, counts in inventory.items()), _MOST_CLASSES, "; ")
    each += " (--report lists all)" if len(inventory) > _MOST_CLASSES and not is_listed else ""
    return (f"classes of the labels: {each}",) if each else ()


def _bad(run: Collected) -> list[Record]:
    return [record for record in notable(run.records) if record.status != "done"]


def _told(records: Sequence[Record]) -> tuple[str, ...]:
    return tuple(f"{record.case_id}: {record.message}" for record in records)


def _with_table(report: Report, path: Path, run: Collected) -> Report:
    from itkit.report.tables import check_report

    return replace(
        report,
        files={path: check_report(run.records, path.suffix, classes_of(run.records))},
        closing=(f"report: {path}",),
    )


def _deletion(params: CheckParams, run: Collected, by_case: Mapping[str, Job]) -> Report:
    doomed = [record for record in run.records if _is_doomed(record, params)]
    kept = _told([record for record in _bad(run) if record not in doomed])
    if not doomed:
        return Report((*kept, "no sample breaks a rule; nothing deleted"), 0)
    volumes = tuple(file.path for record in doomed for file in by_case[record.case_id].inputs.values())
    what, named = f"{len(doomed)} samples", _told(doomed)
    question = "" if params.yes else "\n".join([*named, f"Delete these {what} (image and label)?"])
    return Report((*kept, *named), 0, actions=(Delete(volumes, params.source, what, question),))


def _is_doomed(record: Record, params: CheckParams) -> bool:
    if record.status not in ("nonconforming", "failed"):
        return False
    is_sample = not record.facts.get("is_unreadable", True) and not record.facts.get("is_unpaired", True)
    return bool(record.facts.get("breaks_rule")) if is_sample else params.delete_unreadable


def _transfer(params: CheckParams, run: Collected, by_case: Mapping[str, Job]) -> Report:
    """Report the samples to copy or link, and name samples in the destination that do not conform."""
    assert params.dest is not None
    output, bad = params.dest, _bad(run)
    moves = {record.case_id: _moves(by_case[record.case_id]) for record in run.records}
    wrong = [record.case_id for record in bad if any(os.path.lexists(final) for _, final in moves[record.case_id])]
    notes = (f"{output} still holds {len(wrong)} samples that do not conform ({', '.join(wrong)})",) if wrong else ()
    samples = tuple(moves[record.case_id] for record in run.records if record.status == "done")
    action = Transfer(samples, output, params.mode == "symlink", "valid samples", notes)
    return Report(_told(bad), 0, actions=(action,))


def _moves(job: Job) -> Sample:
    """Return the files of a sample, each with its path in the destination."""
    return tuple((file.path, job.targets[name].path(job.case_id)) for name, file in job.inputs.items())


def memory(inputs: Mapping[str, CaseInput], params: CheckParams) -> int:
    """Estimate the memory of a sample whose voxels are read."""
    del params
    return sum(2 * item.nbytes for item in inputs.values())


def what_is_read(params: CheckParams) -> Reads:
    """Return whether voxels or only headers are read."""
    return "voxels" if params.reads_voxels else "headers"


OPERATION: Operation[Any] = Operation(
    "itk_check",
    CheckParams,
    plan,
    check_case,
    collect,
    example="itk_check check raw --min-size 32 -1 -1 --same-spacing X Y",
    memory=memory,
    reads=what_is_read,
    is_inspection=True,
)
__all__ = ["OPERATION", "CheckParams", "broken_rules", "voxel_findings"]
