"""``itk_convert dicom``: a tree of DICOM files becomes a dataset, one case per series."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from itkit.core.errors import CaseError, LayoutError, ReadError
from itkit.core.files import DATASET_META, split_extension
from itkit.core.operation import CaseInput, Collected, Context, InputFile, Job, Outcome, Plan, Report, Target
from itkit.core.text import csv_text, some
from itkit.core.volume import Case
from itkit.dataset.exchange.direction import Direction, estimate, finished
from itkit.dataset.exchange.params import ConvertParams
from itkit.io.json_files import json_text
from itkit.io.layouts import IMAGE, LABEL
from itkit.io.walk import walk
from itkit.process.common import sidecar, stamp_of

if TYPE_CHECKING:
    from itkit.process.dicom_cases import DicomCase, RefusedSeries

REPORT = "dicom_report.csv"
LABELS = "label_names.json"
_COLUMNS = ("case", "status", "modality", "slices", "size_zyx", "spacing_zyx", "label", "path", "reason")
_MAP_COLUMNS = ("case", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "path")
_MOST_UNPACKED = 8
"""A segmentation has a bit for each voxel, which becomes a byte."""
_UID = re.compile(r"[0-2](?:\.\d+){5,}")


class _Found(NamedTuple):
    """All series that were found, those of other shards too, and what was refused."""

    jobs: tuple[Job, ...]
    refused: tuple[RefusedSeries, ...]


def plan_dicom(params: ConvertParams) -> Plan:
    """List the series of a tree that are volumes.

    Raises
    ------
    LayoutError
        When there is none, or ``--id-map`` lies inside the dataset.
    """
    from itkit.io.dcm_toolkit import case_name

    if params.id_map is not None and params.dest.resolve() in params.id_map.resolve().parents:
        raise LayoutError(f"--id-map {params.id_map} lies inside the dataset, which must not hold identifiers")
    from itkit.process.dicom_cases import find_dicom_cases

    cases, refused = find_dicom_cases(
        params.source,
        least_slices=params.least_slices,
        modalities=params.modality,
        on_irregular=params.on_irregular,
        untilt=params.untilt,
        labels=not params.no_labels,
    )
    named = [
        (f"{name}_{case.part}" if case.part else name, case)
        for case in cases
        for name in [case_name(case.series, params.name, keep_ids=params.keep_ids, key=params.key.get_secret_value())]
    ]
    jobs: dict[str, Job] = {}
    renamed = []
    taken = {name for name, _ in named}
    for name, case in sorted(named, key=lambda item: (item[1].series.study_date, item[1].series.study_uid)):
        own = name
        if name in jobs:  # another exam of the same patient: the later one gets a counter
            own = next(f"{name}_{n}" for n in count(2) if f"{name}_{n}" not in taken)
            taken.add(own)
            renamed.append(own)
        targets = {IMAGE: Target(params.dest / IMAGE, params.ext, "image")}
        if case.annotations:
            targets[LABEL] = Target(params.dest / LABEL, params.ext, "label")
        inputs = {IMAGE: InputFile(case.series.files[0], "file")}
        jobs[own] = Job(
            own,
            inputs,
            targets,
            details=case,
            stamp=stamp_of(case.files),
            more_files=tuple(case.files),
            sizes=_sizes_of(case),
        )
    notes = [f"left out: {_place(item.path, params)}: {_said(item.reason, params)}" for item in refused if item.series]
    others = sum(item.series is None for item in refused)
    if others:
        notes.append(f"{others} files belong to no series; {REPORT} names them")
    if renamed:
        notes.append(
            f"{len(renamed)} series share the name of another and got a counter, in order of study dates: "
            f"{some(renamed)}; fields in --name tell them apart"
        )
    if not jobs:
        counts = Counter(_said(item.reason, params) for item in refused)
        reasons = "; ".join(f"{number} x {reason}" for reason, number in counts.most_common())
        volumes = next((name for _, name in walk(params.source, recursive=True) if split_extension(name)), "")
        format_ = f"; {volumes} is a volume file: itk_convert format converts those" if volumes else ""
        raise LayoutError(f"{params.source}: no series to convert: {reasons or 'there is no file'}{format_}")
    in_order = tuple(job for _, job in sorted(jobs.items()))
    return Plan(in_order, (), params.dest, tuple(notes), _Found(in_order, tuple(refused)))


def _sizes_of(case: DicomCase) -> dict[str, CaseInput]:
    """Return what a series takes in memory: it is decoded to integers, rescaled, and perhaps resampled in doubles."""
    if case.geometry is None:
        return {}
    from itkit.io.dicom.pixels import DECODERS_BYTES

    voxels = math.prod(case.geometry.size_zyx)
    drawn = sum(path.stat().st_size for series in case.annotations for path in series.files if path.exists())
    decoders = DECODERS_BYTES if any(frame.is_compressed for frame in case.series.frames) else 0
    image = CaseInput(case.geometry, "int32", 4 * voxels, reading=4 * voxels + decoders)
    label = CaseInput(case.geometry, "uint8", voxels, reading=2 * voxels + _MOST_UNPACKED * drawn)
    return {IMAGE: image, **({LABEL: label} if case.annotations else {})}


def convert_series(case: Case, params: ConvertParams, context: Context) -> Outcome:
    """Convert one series, with its annotations."""
    from itkit.io.dcm_toolkit import read_series
    from itkit.process.dicom_cases import kinds_of, read_annotations

    found: DicomCase = case.details
    with _discreet(params):
        grid = found.require_grid()
        labels = read_annotations(found, params.overlap, bridge=params.interpolate_contours)
    facts: dict[str, Any] = {
        "modality": found.series.modality,
        "slices": len(found.series.frames),
        "size": list(grid.size_zyx),
        "spacing": list(grid.spacing_zyx),
    }
    warnings = list(found.notes)
    if labels is not None:
        facts["labels"] = {str(value): name for value, name in labels.names.items()}
        facts["annotation"] = kinds_of(found)
        if labels.overlaps:
            warnings.append(f"{labels.overlaps} voxels are in several regions; rule: {params.overlap}")
        warnings += [f"{key}: {text}" for key, text in labels.facts.items() if key != "type"]
    finish = partial(finished, params=params, context=context)

    def volumes() -> Iterator[Case]:
        if labels is not None:
            yield Case(case.id, {LABEL: finish(labels.volume)})
        with _discreet(params):
            choice: Literal["error", "largest"] = "largest" if params.on_irregular == "largest" else "error"
            image = read_series(found.series, on_irregular=choice, untilt=params.untilt)
        yield Case(case.id, {IMAGE: finish(image)})

    return Outcome(volumes(), facts, tuple(warnings))


@contextmanager
def _discreet(params: ConvertParams) -> Iterator[None]:
    """Remove what identifies a patient from error messages, which are written to the manifest."""
    try:
        yield
    except CaseError as error:
        if params.keep_ids:
            raise
        raise ReadError(_said(str(error), params)) from None


def collect_dicom(params: ConvertParams, run: Collected) -> Report:
    """Return ``convert_configs.json``, the table of cases and refused series, and the names of the label values.

    ``dataset.json`` names them, too, if they mean the same in all cases; if not, it has no ``labels``.
    """
    files = sidecar("convert_configs.json", "itk_convert", params, run)
    files[Path(REPORT)] = _report(params, run)
    names = {name: record.facts["labels"] for name, record in sorted(run.all_records.items())
             if "labels" in record.facts}  # fmt: skip
    lines: tuple[str, ...] = ()
    if names:
        files[Path(LABELS)] = json_text(names, compact_depth=1)
        labels = _common(names.values())
        modalities = sorted({record.facts["modality"] for record in run.all_records.values()})
        about = {"name": params.dest.absolute().name, "modality": modalities}
        files[Path(DATASET_META)] = {**about, **({"labels": {"0": "background", **labels}} if labels else {})}
        if not labels:
            lines = (f"values mean other classes in other cases: {LABELS} names them, {DATASET_META} does not",)
    named = {params.id_map: _id_map(params, run)} if params.id_map is not None and run.dest is not None else {}
    return Report(lines, files=files, named_files=named)


def _common(names: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the names of all values; nothing if one has several names, or a name several values.

    Examples
    --------
    >>> _common([{"2": "mass"}, {"1": "liver", "2": "mass"}]), _common([{"1": "liver"}, {"1": "mass"}])
    ({'1': 'liver', '2': 'mass'}, {})
    """
    pairs = {pair for own in names for pair in own.items()}
    values, texts = ({pair[side] for pair in pairs} for side in (0, 1))
    if len(values) < len(pairs) or len(texts) < len(pairs):
        return {}
    return dict(sorted(pairs, key=lambda pair: int(pair[0])))


def _report(params: ConvertParams, run: Collected) -> str:
    """Return the table: a row for each case, then a row for each refused series or file."""
    found: _Found = run.plan.details
    cases: dict[str, DicomCase] = {job.case_id: job.details for job in found.jobs}
    refused = found.refused
    private = () if params.keep_ids else _private(cases, refused)
    rows: list[tuple[object, ...]] = []
    records = {case: record for case, record in run.all_records.items() if case in cases}
    of_run = {record.case_id: record for record in run.records}
    for _, record in sorted({**records, **run.failed, **of_run}.items()):
        facts = (run.all_records.get(record.case_id) or record).facts
        size, spacing = (" ".join(f"{value:g}" for value in facts.get(name, ())) for name in ("size", "spacing"))
        case = cases.get(record.case_id)
        path = "" if case is None else _shown(case.series.files[0].parent, params, private)
        reason = _told(record.message, params, private)
        rows.append(
            (record.case_id, record.status, facts.get("modality", ""), facts.get("slices", ""), size, spacing,
             facts.get("annotation", ""), path, reason)
        )  # fmt: skip
    for item in refused:
        modality = item.series.modality if item.series else ""
        slices = len(item.series.frames) if item.series else ""
        reason = _told(item.reason, params, private)
        if item.series is not None:
            reason = f"series {item.series.number}: {reason}"
        rows.append(("", "refused", modality, slices, "", "", "", _shown(item.path, params, private), reason))
    return _table(_COLUMNS, rows)


def _id_map(params: ConvertParams, run: Collected) -> str:
    """Return the table from case names to the identifiers in the DICOM files."""
    rows = []
    for job in run.plan.details.jobs:
        series = job.details.series
        place = _place(series.files[0].parent, params)
        rows.append((job.case_id, series.patient_id, series.study_uid, series.uid, place))
    return _table(_MAP_COLUMNS, rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    return csv_text([columns, *rows])


def _private(cases: Mapping[str, DicomCase], refused: Sequence[RefusedSeries]) -> frozenset[str]:
    """Return all names, identifiers and dates of birth of patients in the files."""
    series = [*(case.series for case in cases.values()), *(item.series for item in refused if item.series)]
    return frozenset().union(*(one.private for one in series))


def _place(path: Path, params: ConvertParams) -> str:
    """Return a path relative to the source, for the screen only: it may contain a patient's name."""
    inside = path.relative_to(params.source) if params.source in path.parents else path
    return "." if inside == params.source else inside.as_posix()


def _shown(path: Path, params: ConvertParams, private: Iterable[str]) -> str:
    """Return a path relative to the source, for a file: UIDs and what names a patient are replaced."""
    return _told(_place(path, params), params, private)


def _told(text: str, params: ConvertParams, private: Iterable[str]) -> str:
    """Return a text, for a file: paths relative to the source, and UIDs and what names a patient replaced."""
    from itkit.io.dicom.names import without

    if params.keep_ids:
        return text
    return _UID.sub("<UID>", without(private, text.replace(f"{params.source}/", "")))


def _said(reason: str, params: ConvertParams) -> str:
    """Return a reason; without ``--keep-ids``, paths below the source are shortened and UIDs replaced."""
    if params.keep_ids:
        return reason
    text = re.sub(re.escape(str(params.source)) + r"[^:;,()]*/", "…/", reason)
    return _UID.sub("<UID>", text)


def memory(inputs: Mapping[str, CaseInput], params: ConvertParams) -> int:
    """Estimate the memory of a series: its voxels twice, and compression buffers; half a gigabyte if it has no grid."""
    return estimate(inputs, params) or 512 << 20


DIRECTION = Direction(plan_dicom, convert_series, collect_dicom, memory)
