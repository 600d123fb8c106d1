"""Write the ``dataset.json`` of a converted dataset: names, labels, licence, splits, and the facts of every case."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itkit.core.actions import RefreshIndex
from itkit.core.dataset_meta import DatasetMeta
from itkit.core.errors import WriteError
from itkit.core.files import DATASET_META
from itkit.core.operation import Collected, Record, Report
from itkit.core.text import counted, some
from itkit.core.version import VERSION

if TYPE_CHECKING:
    from itkit.dataset.convert.params import ConvertDatasetParams
    from itkit.dataset.convert.spec import DatasetSpec, Finding

_FIELDS = ("title", "version", "homepage", "licence", "citation", "label_note")


def index_report(spec: DatasetSpec, params: ConvertDatasetParams, run: Collected) -> Report:
    """Return the report: ``dataset.json`` of the destination, or of each sub-dataset with its index; overlaps."""
    if run.dest is None:
        return Report()
    spec, finding = run.plan.details  # the release that was found, not the family
    standing = {name: record for name, record in run.all_records.items() if _exists(record, run.dest)}
    groups: dict[str, dict[str, Record]] = {}
    for name, record in sorted(standing.items()):
        groups.setdefault(str(record.facts.get("group", "")), {})[name] = record
    return Report(
        tuple(_lines(standing)),
        1 if _failed(standing) else None,
        {
            Path(group) / DATASET_META: _valid(describe(spec, params, run, records, finding, group))
            for group, records in groups.items()
        },
        tuple(RefreshIndex(run.dest / group) for group in groups if group),
    )


def _valid(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a description after checking that every command can read it.

    Raises
    ------
    WriteError
        When a part of it is malformed.
    """
    try:
        return DatasetMeta(values).values
    except ValueError as error:
        raise WriteError(f"{DATASET_META}: {error}") from error


def _exists(record: Record, dest: Path) -> bool:
    return all((dest / output["path"]).exists() for output in record.outputs[:1])


def _lines(standing: Mapping[str, Record]) -> Iterator[str]:
    overlapping = {name: record.facts["overlap_voxels"] for name, record in standing.items()
                   if record.facts.get("overlap_voxels")}  # fmt: skip
    if overlapping:
        where = f"{counted(overlapping, 'case')}: {some(overlapping)}"
        yield f"{sum(overlapping.values())} voxels are in several classes, in {where}"
    failed = _failed(standing)
    if failed:
        yield f"{counted(failed, 'case')} failed: {some(f'{name} ({why})' for name, why in failed.items())}"


def _failed(standing: Mapping[str, Record]) -> dict[str, str]:
    """Return the cases that failed in jobs of many cases, each with the reason."""
    return {name: why for record in standing.values() for name, why in record.facts.get("failed", {}).items()}


def describe(
    spec: DatasetSpec,
    params: ConvertDatasetParams,
    run: Collected,
    records: Mapping[str, Record],
    finding: Finding,
    group: str,
) -> dict[str, Any]:
    """Return the content of ``dataset.json``; it depends only on the files, not on how they were converted."""
    about = dict(finding.about.get(group, {}))
    about.pop("labels", None)
    channels = about.pop("channels", spec.channels)
    names = finding.selections.get(group, finding.selections[""]).names
    common = {"labels": {str(value): name for value, name in names.items()}, "channels": list(channels)}
    cases = {
        name: {key: value for key, value in facts.items() if common.get(key) != value}
        for name, facts in _cases(records)
    }
    splits: dict[str, list[str]] = {}
    for name, facts in cases.items():
        splits.setdefault(facts.get("split", ""), []).append(name)
    splits.pop("", None)
    settings = json.loads(params.model_dump_json(exclude_defaults=True, exclude={"source", "dest", "only"}))
    return {
        "name": spec.name,
        **{field: getattr(spec, field) for field in _FIELDS if getattr(spec, field)},
        "modality": list(spec.modality),
        "channels": list(channels),
        "labels": {"0": "background", **{str(number): name for number, name in sorted(names.items())}},
        **about,
        "itkit": VERSION,
        "params": settings,
        "counts": {
            "cases": len(cases),
            "with_label": sum(bool(facts.get("has_label")) for facts in cases.values()),
            **dict(sorted(Counter({split: len(members) for split, members in splits.items()}).items())),
        },
        "splits": dict(sorted(splits.items())),
        "cases": cases,
        "unpaired": {
            item.case_id: {"file": _relative(item.path, params.source), "lacks": item.lacks}
            for item in run.plan.unpaired
        },
        "skipped": [[item.path, item.why, item.count] for item in finding.skipped],
        "failed": {
            **_failed(records),
            **{case: record.message.splitlines()[-1] for case, record in run.failed.items()},
        },
        "warnings": {name: list(record.warnings) for name, record in sorted(records.items()) if record.warnings},
        "notes": list(run.plan.notes),
    }


def _cases(records: Mapping[str, Record]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the facts of every case; a job of many cases holds them under ``members``."""
    for name, record in records.items():
        facts = {key: value for key, value in record.facts.items() if key not in ("group", "id", "members", "failed")}
        members = record.facts.get("members")
        if members is None:
            label = next((output for output in record.outputs if output.get("name") == "label"), None)
            classes = [value for value in (label or {}).get("classes") or () if value]
            yield str(record.facts.get("id", name)), {**facts, **({"classes": classes} if label else {})}
        else:
            yield from members.items()


def _relative(path: Path, source: Path) -> str:
    try:
        return path.relative_to(source).as_posix()
    except ValueError:
        return path.as_posix()
