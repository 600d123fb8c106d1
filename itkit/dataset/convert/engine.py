"""Build the converter of a dataset as an operation: list the cases, convert one case, describe the result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from itkit.core.errors import LayoutError, ParamsError
from itkit.core.geometry import Geometry
from itkit.core.operation import CaseInput, Collected, Context, InputFile, Job, Operation, Outcome, Plan, Report, Target
from itkit.core.text import file_part, some
from itkit.core.volume import Case, Volume
from itkit.dataset.convert.find import choose_variant, find_by_patterns, looked_for, selected
from itkit.dataset.convert.index import index_report
from itkit.dataset.convert.labels import Selection, select
from itkit.dataset.convert.load import load_files
from itkit.dataset.convert.params import ConvertDatasetParams
from itkit.dataset.convert.spec import DatasetSpec, Finding, FoundCase, Loaded
from itkit.io.layouts import IMAGE, LABEL, require_destination, require_folder
from itkit.process.common import converted
from itkit.process.geometry import orient
from itkit.process.itk_resample import resample

_LEAST = 32 << 20
"""Estimated bytes of a case whose files do not show how large it is."""


def dataset_operation(spec: DatasetSpec, params: type[ConvertDatasetParams] = ConvertDatasetParams) -> Operation[Any]:
    """Return the converter of a dataset; ``params`` may be a model with additional parameters.

    Examples
    --------
    >>> from itkit.dataset.KiTS23.meta import SPEC
    >>> dataset_operation(SPEC).name
    'convert_kits23'
    """
    return Operation(
        f"convert_{spec.name}",
        params,
        partial(plan_dataset, spec),
        partial(convert_case, spec),
        partial(collect_dataset, spec),
        example=f"itkit convert-dataset {spec.name} release converted --mp",
        memory=memory,
    )


def plan_dataset(spec: DatasetSpec, params: ConvertDatasetParams) -> Plan:
    """List the cases of a release.

    Raises
    ------
    LayoutError
        When the source does not hold such a release, or the destination is unusable.
    ParamsError
        When a class or variant is unknown.
    """
    source, dest = require_folder(params.source), params.dest
    require_destination(dest, source)
    spec = as_asked(choose_variant(spec, source, params.variant), params)
    finding = (spec.find or find_by_patterns)(spec, source, params)
    if not finding.cases and spec.patterns:
        raise LayoutError(_nothing_found(spec, source, finding))
    if spec.enrich is not None:
        finding = spec.enrich(source, finding)
    finding = selected(finding, params) if spec.case is None else finding
    finding = with_selections(spec, finding, params)
    jobs = tuple(sorted((job_of(spec, case, params) for case in finding.cases), key=lambda job: job.case_id))
    is_partial = bool(params.only)
    return Plan(jobs, finding.unpaired, dest, finding.notes, details=(spec, finding), is_partial=is_partial)


def _nothing_found(spec: DatasetSpec, source: Path, finding: Finding) -> str:
    lone = some((f"{item.path.name} (no {item.lacks})" for item in finding.unpaired), 4)
    return (
        f"{source}: no case of {spec.title} was found; looked for {looked_for(spec)}"
        f"{'; without a partner: ' if lone else ''}{lone}; give a folder of the release as unpacked, "
        "or the dataset that it is (itkit convert-dataset --list)"
    )


def as_asked(spec: DatasetSpec, params: ConvertDatasetParams) -> DatasetSpec:
    """Return the facts about a release with the rules that the user chose in place of the default ones."""
    return replace(spec, overlap=params.overlap or spec.overlap, channel_layout=params.channels or spec.channel_layout)


def with_selections(spec: DatasetSpec, finding: Finding, params: ConvertDatasetParams) -> Finding:
    """Decide, for each case and each group, which value and name every label value gets.

    Raises
    ------
    ParamsError
        When a class is in no label table; the message lists the known classes.
    """
    choose = partial(select, labels=params.labels, merge=params.merge, renumber=params.renumber)
    _require_known(spec, finding, choose)
    kept: dict[tuple[tuple[int, str], ...], Selection] = {}

    def of(table: Mapping[int, str]) -> Selection:
        key = tuple(table.items())
        if key not in kept:
            kept[key] = choose(table, is_complete=False)
        return kept[key]

    groups = {group: of(about["labels"]) for group, about in finding.about.items() if "labels" in about}
    found = finding.with_cases(
        lambda case: replace(case, selection=of(spec.labels if case.labels is None else case.labels))
    )
    return replace(found, selections={"": of(spec.labels), **groups})


def _require_known(spec: DatasetSpec, finding: Finding, choose: Callable[[Mapping[int, str]], Selection]) -> None:
    """Raise an error if a chosen class name is in no label table."""
    tables = [spec.labels, *(case.labels for case in finding.cases if case.labels is not None)]
    error: ParamsError | None = None
    for table in {tuple(table.items()): table for table in tables if len(table) > 1}.values():
        try:
            choose(table)
        except ParamsError as reason:
            error = reason
        else:
            return
    if error is not None:
        raise error


def channel_names(spec: DatasetSpec, found: FoundCase) -> tuple[str, ...]:
    """Return the channels of a case, in order."""
    return found.channels or spec.channels


def targets(
    params: ConvertDatasetParams, channels: tuple[str, ...], layout: str, *, has_label: bool, group: str = ""
) -> dict[str, Target]:
    """Return where the volumes of a case are written, by name.

    Examples
    --------
    >>> params = ConvertDatasetParams(source="a", dest="b")
    >>> found = targets(params, ("t1n", "t1c"), "files", has_label=True)
    >>> [target.path("case").as_posix() for target in found.values()]
    ['b/image/case_t1n.mha', 'b/image/case_t1c.mha', 'b/label/case.mha']
    """
    root = params.dest / group if group else params.dest
    if len(channels) == 1 or layout == "vector":
        found = {IMAGE: Target(root / IMAGE, params.ext, "image")}
    else:
        found = {
            f"{IMAGE}_{name}": Target(root / IMAGE, f"_{file_part(name)}{params.ext}", "image") for name in channels
        }
    return {**found, LABEL: Target(root / LABEL, params.ext, "label")} if has_label else found


def job_of(spec: DatasetSpec, found: FoundCase, params: ConvertDatasetParams) -> Job:
    """Return the job that converts one case."""
    inputs = {f"{IMAGE}{number or ''}": InputFile(path, "file") for number, path in enumerate(found.images)}
    if found.label is not None:
        inputs[LABEL] = InputFile(found.label, "file")
    job_id = f"{found.group}/{found.case_id}" if found.group else found.case_id
    where = targets(
        params, channel_names(spec, found), spec.channel_layout, has_label=found.has_label, group=found.group
    )
    return Job(
        job_id,
        inputs,
        where,
        output_ids=(found.case_id,),
        details=(spec, found),
        stamp=_stamp(spec, found),
        more_files=(*found.more_files, *(path for _, path in found.parts)),
        problem=found.problem,
    )


def _stamp(spec: DatasetSpec, found: FoundCase) -> str:
    """Return a digest of everything the release states about a case besides its image and label files."""
    labels = spec.labels if found.labels is None else found.labels
    said = [found.stamp, found.split, found.patient, dict(labels), channel_names(spec, found), dict(found.facts)]
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:16]


def convert_case(spec: DatasetSpec, case: Case, params: ConvertDatasetParams, context: Context) -> Outcome:
    """Convert one case; each channel is read only when it is written."""
    spec, found = case.details  # the spec of the release that was found, not of the family
    if spec.case is not None:
        return spec.case(spec, case, params, context)
    loaded = (spec.load or load_files)(spec, found, params, context)
    return outcome_of(spec, found, loaded, params, context)


def outcome_of(
    spec: DatasetSpec, found: FoundCase, loaded: Loaded, params: ConvertDatasetParams, context: Context
) -> Outcome:
    """Return the outcome of a loaded case: its volumes on the requested grid, in the requested type and layout."""
    grid = params.target(loaded.grid)
    facts: dict[str, Any] = {"group": found.group, "split": found.split, "patient": found.patient, **found.facts}
    facts |= {**loaded.facts, "has_label": loaded.label is not None, "id": found.case_id}
    if found.labels is not None:
        facts["labels"] = {str(value): name for value, name in loaded.names.items()}
    if len(loaded.channels) > 1 or found.channels:
        facts["channels"] = list(loaded.channels)
    facts = {name: value for name, value in facts.items() if value not in ("", None)}

    def volumes() -> Iterator[Case]:
        if loaded.label is not None:
            yield Case(found.case_id, {LABEL: on_grid(loaded.label, grid, params, context)})
        finish = partial(_finished, source=loaded.grid, grid=grid, params=params, context=context)
        images = {name: partial(finish, read) for name, read in loaded.channels.items()}
        if len(images) == 1:
            yield Case(found.case_id, {IMAGE: next(iter(images.values()))()})
        elif spec.channel_layout == "vector":
            stack = np.stack([read().array_zyx for read in images.values()], axis=-1)
            yield Case(found.case_id, {IMAGE: Volume(stack, grid)})
        else:
            for name, read in images.items():
                yield Case(found.case_id, {f"{IMAGE}_{name}": read()})

    return Outcome(volumes(), facts, (*found.warnings, *loaded.warnings))


def _finished(
    read: Callable[[], Volume], *, source: Geometry, grid: Geometry, params: ConvertDatasetParams, context: Context
) -> Volume:
    volume = read()
    return converted(on_grid(volume.with_array(volume.array_zyx, source), grid, params, context), params)


def on_grid(volume: Volume, grid: Geometry, params: ConvertDatasetParams, context: Context) -> Volume:
    """Reorient and resample a volume onto a grid, each channel separately."""
    if volume.geometry == grid:
        return volume
    if volume.array_zyx.ndim == 4:
        parts = [replace(volume, array_zyx=volume.array_zyx[..., c]) for c in range(volume.array_zyx.shape[3])]
        arrays = [on_grid(part, grid, params, context).array_zyx for part in parts]
        return volume.with_array(np.stack(arrays, axis=-1), grid)
    if params.orient is not None:
        volume = orient(volume, params.orient, threads=context.threads)
    return resample(volume, grid, threads=context.threads)


def collect_dataset(spec: DatasetSpec, params: ConvertDatasetParams, run: Collected) -> Report:
    """Return the report with ``dataset.json`` and the indices of sub-datasets."""
    return index_report(spec, params, run)


def memory(inputs: Mapping[str, CaseInput], params: ConvertDatasetParams) -> int:
    """Estimate the bytes that a case needs: its largest channel, read and written, its label and one mask."""
    largest = max((item.nbytes for item in inputs.values()), default=0)
    total = sum(item.nbytes for item in inputs.values())
    voxels = max((int(np.prod(item.geometry.size_zyx, dtype=np.int64)) for item in inputs.values()), default=0)
    grids = [params.target(item.geometry).size_zyx for item in inputs.values()]
    new = max((int(np.prod(size, dtype=np.int64)) for size in grids), default=0)
    grown = largest * max(1.0, new / voxels) if voxels else 0
    stacked = total if params.channels == "vector" else 0
    return int(_LEAST + largest + 1.5 * grown + 4 * voxels + stacked)
