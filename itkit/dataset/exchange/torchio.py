"""``itk_convert torchio``: a dataset with ``subjects.csv``, a row a subject, for ``torchio.SubjectsDataset``; and back.

TorchIO itself reads no tables. The columns are those that its users turn into subjects: ``subject``, a column for each
image by the name of its channel, ``label``; paths are relative to the table. Images and labels lie in ``image/`` and
``label/``, so that the folder stays a dataset of ITKIT's, and ``dataset.json`` keeps the names of the classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from itkit.core.dataset_meta import DatasetMeta
from itkit.core.errors import LayoutError
from itkit.core.files import split_extension
from itkit.core.operation import Collected, Plan, Report, Target, Unpaired
from itkit.core.text import csv_text, file_part, some
from itkit.dataset.convert.described import modality_of
from itkit.dataset.convert.enrich import read_table
from itkit.dataset.convert.find import walk_files
from itkit.dataset.convert.params import ConvertDatasetParams
from itkit.dataset.convert.spec import DatasetSpec, Finding, FoundCase
from itkit.dataset.exchange.direction import Direction
from itkit.dataset.exchange.params import ConvertParams
from itkit.dataset.exchange.release import finding_of, listed_case, plain_spec, release
from itkit.dataset.exchange.source import (
    Source,
    SourceCase,
    credits_of,
    export_case,
    export_plan,
    paths_of,
    read_source,
)
from itkit.io.dataset_meta import find_dataset_meta
from itkit.io.layouts import IMAGE, LABEL
from itkit.process.plans import carry

TABLE = "subjects.csv"
_SUBJECT = "subject"
_LABELS = (LABEL, "labels", "seg", "segmentation", "mask", "labelmap")
"""Columns of label maps, in any letter case."""


def plan_torchio(params: ConvertParams) -> Plan:
    """List the cases.

    Raises
    ------
    LayoutError
        When the source is not a dataset, or a channel has the name of another column.
    """
    source = read_source(params.source)
    taken = [name for name in source.channels if name in (_SUBJECT, LABEL)]
    if taken:
        raise LayoutError(f"{source.root}: a channel is called {taken[0]!r}, as another column is; rename it")
    endings = ("",) if len(source.channels) == 1 else tuple(f"_{file_part(name)}" for name in source.channels)
    plan = export_plan(source, params, partial(_place, params, endings))
    return replace(plan, carries=carry(source.images.described, params.dest))


def _place(params: ConvertParams, endings: tuple[str, ...], case: SourceCase, channel: int | None) -> Target:
    del case
    if channel is None:
        return Target(params.dest / LABEL, params.ext, "label")
    return Target(params.dest / IMAGE, f"{endings[channel]}{params.ext}", "image")


def collect_torchio(params: ConvertParams, run: Collected) -> Report:
    """Return ``subjects.csv``."""
    del params
    source: Source = run.plan.details
    rows: list[list[str]] = [[_SUBJECT, *source.channels, LABEL]]
    for case, record in sorted(run.all_records.items()):
        images, label = paths_of(record, source)
        if images:
            rows.append([case, *images, label])
    return Report(files={Path(TABLE): csv_text(rows)})


def find(spec: DatasetSpec, source: Path, params: ConvertDatasetParams) -> Finding:
    """Find the cases that ``subjects.csv``, or the only CSV file, lists.

    Raises
    ------
    LayoutError
        When there is no such file, or it has no column of images.
    """
    del spec, params
    tables = [source / TABLE] if (source / TABLE).is_file() else sorted(source.glob("*.csv"))
    if len(tables) != 1:
        raise LayoutError(f"{source}: expected {TABLE}, or one CSV file of any name; found {len(tables)}")
    rows = list(read_table(tables[0]))
    if not rows:
        raise LayoutError(f"{tables[0]}: lists no subject")
    files = {name: None for row in rows for name, value in row.items() if split_extension(value.rsplit("/", 1)[-1])}
    channels = tuple(name for name in files if name.lower() not in _LABELS)
    if not channels:
        raise LayoutError(f"{tables[0]}: no column holds paths of images; columns: {some(rows[0])}")
    described = find_dataset_meta(source)
    meta = described.meta or DatasetMeta({})
    channels = meta.channels if set(meta.channels) == set(channels) else channels
    about = {
        "name": meta.values.get("name", source.absolute().name),
        "modality": meta.values.get("modality", modality_of(channels)),
        "labels": meta.labels,
        "channels": list(channels),
        **credits_of(meta.values),
    }
    paths = list(walk_files(source))
    named = {value for row in rows for name, value in row.items() if name in files}
    splits = {case: name for name, members in meta.splits.items() for case in members}
    finding = finding_of(_cases(source, set(paths), rows, channels, splits), paths, named)
    finding = finding.with_cases(lambda case: replace(case, labels=meta.labels, channels=channels))
    return replace(finding, notes=(*described.notes, *finding.notes), about={"": about})


def _cases(
    source: Path,
    there: set[str],
    rows: list[dict[str, str]],
    channels: tuple[str, ...],
    splits: Mapping[str, str],
) -> Iterator[FoundCase | Unpaired]:
    for row in rows:
        case = row.get(_SUBJECT) or next(iter(row.values()))
        images = [row.get(name, "") for name in channels]
        labels = [value for name, value in row.items() if name.lower() in _LABELS and value]
        lacking = [name for name, path in zip(channels, images, strict=True) if not path]
        problem = f"{TABLE} names no image in column {lacking[0]}" if lacking else ""
        facts = {
            name: value
            for name, value in row.items()
            if value and name not in (_SUBJECT, *channels) and name.lower() not in _LABELS
        }
        shown = [path for path in images if path]
        split = splits.get(case, "")
        yield listed_case(source, there, case, shown, labels, problem=problem, split=split, facts=facts)


TO = Direction(plan_torchio, export_case, collect_torchio)
FROM = release(plain_spec("torchio", "subjects listed for TorchIO", find))
