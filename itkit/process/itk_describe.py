"""``itk_describe``: write ``dataset.json`` for a dataset that has none: names of classes, channels and modality."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import model_validator
from typing_extensions import Self

from itkit.core.dataset_meta import DatasetMeta
from itkit.core.errors import LayoutError, ParamsError
from itkit.core.fields import FreeText, PathRole, Pattern, Positional, Short, Unkeyed
from itkit.core.files import DATASET_META, SERIES_META
from itkit.core.grids import grid_differences
from itkit.core.operation import Collected, Context, Job, Operation, Outcome, Plan, Report
from itkit.core.params import Params
from itkit.core.text import some
from itkit.core.volume import Case
from itkit.io.dataset_meta import FoundMeta, find_dataset_meta
from itkit.io.json_files import json_text
from itkit.io.layouts import IMAGE, LABEL, Images, find_images, find_volumes, require_folder
from itkit.io.meta import current_classes
from itkit.io.overlooked import advice
from itkit.io.segments import SegmentTable
from itkit.process.plans import inputs_of

_NAME = "itk_describe"
_LABEL = re.compile(r"(-?\d{1,19})=(.+)")


def named_values(texts: Iterable[str]) -> dict[int, str]:
    """Return the name of each label value, from texts ``VALUE=NAME``; 0 is background unless it is named.

    Raises
    ------
    ValueError
        When a text has another form, or names a value or uses a name twice.
    """
    found: dict[int, str] = {0: "background"}
    for text in texts:
        match = _LABEL.fullmatch(text)
        if match is None or not match[2].strip():
            raise ValueError(f"--labels: expected VALUE=NAME, e.g. 1=liver; got {text!r}")
        value, name = int(match[1]), match[2].strip()
        if (value in found and value != 0) or name in (found[other] for other in found if other != value):
            raise ValueError(f"--labels: {text}: each value and each name may be given once")
        found[value] = name
    return dict(sorted(found.items()))


class DescribeParams(Params):
    """Write dataset.json for a dataset that has none; checks by the headers that every case has the channels."""

    source: Annotated[Path, PathRole("in_folder", "dataset"), Positional("dataset")]
    """Dataset to describe: image/, label/ or both."""
    labels: tuple[Annotated[str, Pattern(r"^-?\d+=.*\S")], ...] = ()
    """Name of each label value, e.g. 1=liver 2=tumour; 0 is background. Without it, names and colours come from the
    segments of 3D Slicer's .nrrd files, if the labels are such files."""
    modality: tuple[Annotated[str, FreeText("CT")], ...] = ()
    """Modality of the images, e.g. CT or MR."""
    channels: tuple[Annotated[str, FreeText("t1")], ...] = ()
    """Names of the channels, as in the file names (CASE_CHANNEL), or in the order of a vector's values."""
    name: Annotated[str, FreeText("liver tumours")] = ""
    """Name of the dataset (default: the folder's)."""
    licence: Annotated[str, FreeText("CC BY 4.0")] = ""
    """Licence of the data."""
    recursive: Annotated[bool, Short("-r"), Unkeyed()] = False
    """Search sub-folders."""

    @model_validator(mode="after")
    def _can_be_described(self) -> Self:
        DatasetMeta(self.described)
        return self

    @property
    def table(self) -> dict[int, str]:
        """Name of each label value."""
        return named_values(self.labels)

    @property
    def described(self) -> dict[str, Any]:
        """The given parameters as entries of ``dataset.json``."""
        given = {
            "name": self.name,
            "licence": self.licence,
            "modality": list(self.modality),
            "channels": list(self.channels),
            "labels": {str(value): name for value, name in self.table.items()} if self.labels else {},
        }
        return {name: value for name, value in given.items() if value}


def describe_case(case: Case, params: DescribeParams, context: Context) -> Outcome:
    """Check that a case has the described channels, all on one grid."""
    del params, context
    return Outcome(reasons=(*case.problems, *(reason for _, reason in grid_differences(case))))


def plan(params: DescribeParams) -> Plan:
    """List the cases that the new description defines.

    Raises
    ------
    LayoutError
        When the folder holds neither images nor labels.
    """
    source = require_folder(params.source, "dataset")
    if not ((source / IMAGE).is_dir() or (source / LABEL).is_dir()):
        raise LayoutError(
            f"{source} has no folder image and no folder label; describe the dataset, not its parts{advice(source)}"
        )
    labels = find_volumes(source / LABEL, recursive=params.recursive) if (source / LABEL).is_dir() else {}
    old = find_dataset_meta(source)
    kept = {} if old.meta is None else dict(old.meta.values)
    table = SegmentTable.of({} if params.labels else labels)
    is_named = bool(kept.get("labels")) or not table.names
    new = {**({} if is_named else table.entries), **params.described}
    if not new and not table.names:
        raise ParamsError("nothing to describe: give --labels, --modality, --channels, --name or --licence")
    try:
        described = FoundMeta(None, DatasetMeta({**kept, **new}))
    except ValueError as error:
        raise ParamsError(f"{old.path} and what is given here contradict each other: {error}") from error
    images = Images({})
    if (source / IMAGE).is_dir():
        images = find_images(source / IMAGE, recursive=params.recursive, labels=labels.keys(), described=described)
    files: dict[str, dict[str, Path]] = {case: dict(parts) for case, parts in images.cases.items()}
    for case, path in labels.items():
        files.setdefault(case, {})[LABEL] = path
    problems = dict(images.problems)
    for extra in images.extras:
        files.setdefault(extra.case_id, {IMAGE: extra.path})
        problems.setdefault(extra.case_id, f"{extra.path.name}: no {extra.lacks}")
    jobs = tuple(
        Job(case, inputs_of(parts, images), problem=problems.get(case, "")) for case, parts in sorted(files.items())
    )
    if not jobs:
        raise LayoutError(f"{source}: no volume to describe was found")
    return Plan(jobs, notes=(*old.notes, *table.problems), details=(old, new))


def collect(params: DescribeParams, run: Collected) -> Report:
    """Return ``dataset.json``, unless one exists that this command did not write."""
    old, new = cast("tuple[FoundMeta, dict[str, Any]]", run.plan.details)
    path = params.source / DATASET_META
    bad = [f"{record.case_id}: {record.message}" for record in run.records if record.status != "done"]
    if old.path is not None and not _is_ours(old) and run.options["existing"] != "redo":
        return Report((*bad, f"{path} exists and was not written by this command; --existing redo adds to it"), 2)
    if len(bad) == len(run.records):
        return Report((*bad, f"no case is as described; {path} was not written"), 1)
    kept = {"name": params.source.absolute().name} if old.meta is None else dict(old.meta.values)
    history = [entry for entry in (old.meta.history if old.meta else ()) if entry.get("operation") != _NAME]
    values = {**kept, **new, "history": history}
    values = dict(DatasetMeta(values).after(_NAME, params.absolute_values()).values)
    text = json_text(values)
    said = (*bad, *_compared(params.source, DatasetMeta(new).labels))
    return Report((*said, text.rstrip()) if run.options["dry_run"] else said, files={path: text})


def _is_ours(found: FoundMeta) -> bool:
    """Whether this command wrote the description, and no other command has added to it."""
    history = found.meta.history if found.meta is not None else ()
    return bool(history) and all(entry.get("operation") == _NAME for entry in history)


def _compared(source: Path, table: Mapping[int, str]) -> Iterator[str]:
    """Compare the named values with those in the label files, as far as the index knows them."""
    if not table:
        return
    known = current_classes(source, LABEL)
    there = {value for values in known.values() if values is not None for value in values}
    nameless = [str(value) for value in sorted(there - table.keys())]
    if nameless:
        yield f"warning: label files hold values without a name: {some(nameless)}"
    absent = [f"{value} ({name})" for value, name in table.items() if value and value not in there]
    if absent and known and all(values is not None for values in known.values()):
        yield f"warning: no label file holds {some(absent)}"
    if any(values is None for values in known.values()) or not known:
        yield f"note: {SERIES_META} does not tell the values of all label files: they were not compared with the names"


OPERATION: Operation[Any] = Operation(
    _NAME,
    DescribeParams,
    plan,
    describe_case,
    collect,
    example="itk_describe raw --labels 1=liver 2=tumour --modality CT",
    reads="headers",
    is_inspection=True,
)
__all__ = ["OPERATION", "DescribeParams"]
