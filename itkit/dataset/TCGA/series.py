"""Find and read the cases of a TCIA download: series by header, labels by reference; ``metadata.csv`` is optional."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from itkit.core.errors import LayoutError
from itkit.core.fields import FreeText
from itkit.dataset.convert.enrich import find_file, read_table
from itkit.dataset.convert.labels import select
from itkit.dataset.convert.params import ConvertDatasetParams
from itkit.dataset.convert.spec import DatasetSpec, Finding, FoundCase, Loaded, Skipped
from itkit.io.dcm_toolkit import read_series
from itkit.process.common import stamp_of
from itkit.process.dicom_cases import DicomCase, OnIrregularSeries, find_dicom_cases, kinds_of, read_annotations

if TYPE_CHECKING:
    from itkit.core.operation import Context

METADATA = "metadata.csv"


class TciaParams(ConvertDatasetParams):
    """Convert a TCIA download (DICOM, SEG, RTSTRUCT) to image/, label/, series_meta.json and dataset.json."""

    modality: tuple[Annotated[str, FreeText("CT")], ...] = ()
    """Take these modalities alone, e.g. CT (default: all)."""
    least_slices: Annotated[int, Field(ge=1)] = 4
    """Series of fewer slices (localizers) are left out and named."""
    on_irregular: OnIrregularSeries = "error"
    """A series that is not a regular volume: refuse it, use its largest regular stack, or make one case per stack."""


@dataclass(frozen=True)
class _Row:
    """The row of a series in ``metadata.csv``."""

    collection: str
    files: int | None


def find(spec: DatasetSpec, source: Path, params: ConvertDatasetParams) -> Finding:
    """Find the volumes of a download.

    Raises
    ------
    LayoutError
        When there is no usable series.
    """
    del spec
    own = params if isinstance(params, TciaParams) else TciaParams(**params.model_dump())
    cases, refused = find_dicom_cases(
        source, least_slices=own.least_slices, modalities=own.modality, on_irregular=own.on_irregular
    )
    if not cases and not refused:
        raise LayoutError(f"{source}: no file in it")
    rows = read_metadata(source)
    counts: Counter[str] = Counter(item.reason for item in refused)
    first = {item.reason: item.path for item in reversed(refused)}
    skipped = [Skipped(_below(first[reason], source), reason, count) for reason, count in counts.items()]
    named = [f"left out: {_below(item.path, source)}: {item.reason}" for item in refused if item.series is not None]
    return Finding(tuple(_found(case, rows) for case in cases), skipped=tuple(skipped), notes=tuple(named))


def _below(path: Path, source: Path) -> str:
    return path.relative_to(source).as_posix() if source in path.parents else path.as_posix()


def read_metadata(source: Path) -> dict[str, _Row]:
    """Read ``metadata.csv`` as far as possible; it is optional.

    Notes
    -----
    File sizes with a decimal comma add a column to a row; the columns that are read here come before it.
    """
    path = find_file(source, METADATA)
    rows: dict[str, _Row] = {}
    if path is None:
        return rows
    try:
        for row in read_table(path):
            count = row.get("Number of Images", "")
            rows[row.get("Series UID", "")] = _Row(row.get("Collection", ""), int(count) if count.isdigit() else None)
    except LayoutError:
        return rows
    return rows


def _found(case: DicomCase, rows: dict[str, _Row]) -> FoundCase:
    series = case.series
    row = rows.get(series.uid, _Row("", None))
    warnings = list(case.notes)
    if row.files is not None and row.files != len(series.files) and not case.part:
        warnings.append(f"{METADATA} says {row.files} files, {len(series.files)} are here: is the download complete?")
    facts = {
        "collection": row.collection,
        "modality": series.modality,
        "study": series.study_uid,
        "has_label": bool(case.annotations),
    }
    name = f"{series.uid}_{case.part}" if case.part else series.uid
    return FoundCase(
        name,
        (series.files[0],),
        patient=series.patient_id,
        facts=facts,
        warnings=tuple(warnings),
        payload=case,
        stamp=stamp_of(case.files),
        more_files=tuple(case.files),
    )


def load(spec: DatasetSpec, found: FoundCase, params: ConvertDatasetParams, context: Context) -> Loaded:
    """Read a series and its annotation.

    Raises
    ------
    CaseError
        When a file can't be read, the series is irregular, or regions overlap and the rule is ``error``.
    """
    del context
    case: DicomCase = found.payload
    grid = case.require_grid()
    largest = isinstance(params, TciaParams) and params.on_irregular == "largest"
    reader = partial(read_series, case.series, on_irregular="largest" if largest else "error")
    facts: dict[str, object] = {}
    warnings: Sequence[str] = ()
    rule = spec.overlap
    labels = read_annotations(case, rule)
    if labels is None:
        return Loaded(grid, {"image": reader})
    selection = select(labels.names, params.labels, params.merge, renumber=params.renumber, is_complete=False)
    label = labels.volume if rule == "multi" else selection.apply(labels.volume)
    names = labels.names if rule == "multi" else selection.names
    facts["labels"] = {str(value): name for value, name in names.items()}
    facts["annotation"] = kinds_of(case)
    if labels.overlaps:
        facts |= {"overlap_voxels": labels.overlaps, "overlap_rule": rule}
        warnings = (f"{labels.overlaps} voxels are in several regions; rule: {rule}",)
    notes = [f"{key}: {text}" for key, text in labels.facts.items() if key not in ("type",)]
    return Loaded(grid, {"image": reader}, label, names, facts, (*warnings, *notes))
