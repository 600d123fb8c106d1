"""Directions that read another tool's layout with the engine of the dataset converters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from itkit.core.dataset_meta import DatasetMeta
from itkit.core.files import DATASET_META, is_inner_name, split_extension
from itkit.core.operation import CaseInput, Collected, Context, Outcome, Plan, Report, Unpaired
from itkit.core.text import counted, some
from itkit.core.volume import Case
from itkit.dataset.convert.params import ConvertDatasetParams
from itkit.dataset.convert.spec import DatasetSpec, Finder, Finding, FoundCase
from itkit.dataset.exchange.direction import Direction
from itkit.dataset.exchange.params import ConvertParams


def release(spec: DatasetSpec) -> Direction:
    """Return the direction that makes a dataset of files that a `DatasetSpec` describes."""
    return Direction(partial(_plan, spec), partial(_case, spec), partial(_collect, spec), _memory)


def _own(params: ConvertParams) -> ConvertDatasetParams:
    given = {name: getattr(params, name) for name in ("source", "dest", "ext", "orient", "dtype")}
    return ConvertDatasetParams(**given)


def _plan(spec: DatasetSpec, params: ConvertParams) -> Plan:
    from itkit.dataset.convert.engine import plan_dataset  # the other direction, to a layout, does not need it

    return plan_dataset(spec, _own(params))


def _case(spec: DatasetSpec, case: Case, params: ConvertParams, context: Context) -> Outcome:
    from itkit.dataset.convert.engine import convert_case

    return convert_case(spec, case, _own(params), context)


def _collect(spec: DatasetSpec, params: ConvertParams, run: Collected) -> Report:
    from itkit.dataset.convert.engine import collect_dataset

    report = collect_dataset(spec, _own(params), run)
    return replace(report, files={path: _after(path, values, params) for path, values in report.files.items()})


def _after(path: Path, values: Any, params: ConvertParams) -> Any:
    """Add the conversion to the history that ``dataset.json`` tells."""
    if path.name != DATASET_META:
        return values
    return DatasetMeta(values).after("itk_convert", params.absolute_values()).values


def _memory(inputs: Mapping[str, CaseInput], params: ConvertParams) -> int:
    from itkit.dataset.convert.engine import memory

    return memory(inputs, _own(params))


def listed_case(
    root: Path,
    there: Collection[str],
    case_id: str,
    images: Sequence[str],
    label_files: Sequence[str],
    *,
    problem: str = "",
    **more: Any,
) -> FoundCase | Unpaired:
    """Return a case whose files a list names; a file outside the folder fails it, a missing one leaves it unpaired.

    Parameters
    ----------
    root
        Folder of the list; the files' paths are relative to it.
    there
        The files that exist below it.
    case_id, images, label_files
        The case, its images in order of the channels, and its label files.
    problem
        Why the case can't be converted, if that is known.
    **more
        Further parts of the case.
    """
    wanted = [*images, *label_files]
    outside = [path for path in wanted if not is_inner_name(path)]
    missing = [path for path in wanted if path not in there and path not in outside]
    if missing:
        return Unpaired(case_id, root / missing[0], "file of this name, though it is listed")
    if outside:
        problem = f"{outside[0]} lies outside the folder; copy it into the folder"
        return FoundCase(case_id, problem=problem, **more)
    if len(label_files) > 1:
        problem = problem or f"{len(label_files)} label files, expected one: {some(label_files)}"
    label = root / label_files[0] if label_files else None
    return FoundCase(case_id, tuple(root / path for path in images), label, problem=problem, **more)


def finding_of(found: Iterable[FoundCase | Unpaired], paths: Iterable[str], named: Collection[str]) -> Finding:
    """Return what was found, with a note on the volumes that are not named."""
    found = list(found)
    strange = [path for path in paths if path not in named and split_extension(path.rsplit("/", 1)[-1])]
    return Finding(
        tuple(one for one in found if isinstance(one, FoundCase)),
        tuple(one for one in found if isinstance(one, Unpaired)),
        notes=(f"not listed, left out: {counted(strange, 'volume')}: {some(strange)}",) if strange else (),
    )


def plain_spec(name: str, title: str, find: Finder) -> DatasetSpec:
    """Return the description of a layout whose classes and channels stand in its own files."""
    return DatasetSpec(name=name, title=title, patterns=(), labels={0: "background"}, modality=(), find=find)
