"""Cases from a tree of DICOM files: which series are volumes, which annotations belong to them, what is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from itkit.core.errors import CaseError, ReadError
from itkit.core.geometry import Geometry
from itkit.core.params import OverlapRule
from itkit.io.dcm_toolkit import (
    IrregularSeriesError,
    LabelMap,
    Series,
    find_series,
    read_rtstruct,
    read_seg,
    series_geometry,
    split_series,
)
from itkit.io.dicom.header import parse_errors, read_dataset

OnIrregularSeries = Literal["error", "largest", "split"]
_DEPTH = 6
"""Sequences inside sequences that are searched for references."""


@dataclass(frozen=True)
class DicomCase:
    """One volume to be.

    Parameters
    ----------
    series
        The image series; with ``split``, a regular part of it.
    annotation
        SEG or RTSTRUCT series that refers to it; of several the one with the lowest number.
    geometry
        Grid of the volume; ``None`` where it is no regular volume.
    fault
        Why it is none: reading the case fails with this.
    part
        Number of the part of a series that was split, from 1; else 0.
    notes
        What the user should know.
    """

    series: Series
    annotation: Series | None
    geometry: Geometry | None
    part: int = 0
    fault: str = ""
    notes: tuple[str, ...] = ()

    def require_grid(self) -> Geometry:
        """Return the grid.

        Raises
        ------
        ReadError
            When the series is no regular volume.
        """
        if self.geometry is None:
            raise ReadError(self.fault)
        return self.geometry

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that the result depends on."""
        return (*self.series.files, *(self.annotation.files if self.annotation else ()))


@dataclass(frozen=True)
class RefusedSeries:
    """Files that no case is made of, and why."""

    path: Path
    reason: str
    series: Series | None = None


def find_dicom_cases(
    folder: Path,
    *,
    least_slices: int = 4,
    modalities: Sequence[str] = (),
    on_irregular: OnIrregularSeries = "error",
    labels: bool = True,
) -> tuple[list[DicomCase], list[RefusedSeries]]:
    """Find the volumes in a tree; headers only.

    Parameters
    ----------
    folder
        Any tree of DICOM files, others among them.
    least_slices
        Series of fewer slices (localizers) are refused.
    modalities
        Take these alone, e.g. ``CT``; all by default.
    on_irregular
        A series that is no single regular volume: refuse it, take its largest regular stack, or make a case of each
        stack of at least ``least_slices``.
    labels
        Whether to look for annotations.

    Raises
    ------
    LayoutError
        When the folder is missing.
    MissingExtraError
        When pydicom is not installed.
    """
    found, refusals = find_series(folder)
    refused = [RefusedSeries(item.path, item.reason) for item in refusals]
    cases: list[DicomCase] = []
    wanted = {name.upper() for name in modalities}
    for series in found:
        if series.kind != "image":
            continue
        if wanted and series.modality.upper() not in wanted:
            refused.append(_refusal(series, f"modality {series.modality or 'unknown'} was not asked for"))
        elif len(series.frames) < least_slices:
            refused.append(_refusal(series, f"{len(series.frames)} slices; a volume needs {least_slices} (localizer?)"))
        else:
            made, reasons = _volumes(series, least_slices, on_irregular)
            cases += made
            refused += reasons
    refused += [_refusal(series, f"{series.kind}: holds no image") for series in found if series.kind == "other"]
    if not labels:
        return cases, refused
    return _with_annotations(cases, [series for series in found if series.kind in ("SEG", "RTSTRUCT")], refused)


def _refusal(series: Series, reason: str) -> RefusedSeries:
    return RefusedSeries(series.files[0].parent, reason, series)


def _volumes(
    series: Series, least_slices: int, on_irregular: OnIrregularSeries
) -> tuple[list[DicomCase], list[RefusedSeries]]:
    try:
        if on_irregular == "split":
            kept = [part for part in split_series(series) if len(part.frames) >= least_slices]
            lost = len(series.frames) - sum(len(part.frames) for part in kept)
            if kept and (lost or len(kept) > 1):
                reasons = [_refusal(series, f"{lost} slices are in no regular stack of {least_slices}")] if lost else []
                made = [DicomCase(part, None, series_geometry(part), number) for number, part in enumerate(kept, 1)]
                return made, reasons
            on_irregular = "error"
        geometry = series_geometry(series, on_irregular=on_irregular)
    except IrregularSeriesError as error:
        return [DicomCase(series, None, None, fault=f"irregular ({', '.join(error.reasons)}): {error}")], []
    except ReadError as error:
        return [DicomCase(series, None, None, fault=str(error))], []
    notes = () if geometry.size_zyx[0] == len(series.frames) else (
        f"{geometry.size_zyx[0]} of {len(series.frames)} slices: the largest regular stack",
    )  # fmt: skip
    return [DicomCase(series, None, geometry, notes=notes)], []


def _with_annotations(
    cases: list[DicomCase], annotations: Iterable[Series], refused: list[RefusedSeries]
) -> tuple[list[DicomCase], list[RefusedSeries]]:
    by_image: dict[str, list[Series]] = {}
    known = {case.series.uid for case in cases}
    for annotation in annotations:
        references = referenced_series(annotation.files[0])
        targets = [uid for uid in references if uid in known]
        if not targets:
            why = "refers to no series" if not references else "the series it refers to is not here, or was refused"
            refused.append(_refusal(annotation, f"{annotation.kind}: {why}"))
        for uid in targets:
            by_image.setdefault(uid, []).append(annotation)
    paired = []
    for case in cases:
        own = sorted(by_image.get(case.series.uid, []), key=lambda item: (item.number or 0, item.uid))
        notes = case.notes
        if len(own) > 1:
            notes = (*notes, f"{len(own)} annotations refer to this series; the one with the lowest number was taken")
            reason = "another annotation of the same series has a lower number and was taken"
            refused += [_refusal(other, f"{other.kind}: {reason}") for other in own[1:]]
        paired.append(replace(case, annotation=own[0] if own else None, notes=notes))
    return paired, refused


def referenced_series(path: Path) -> tuple[str, ...]:
    """Return the SeriesInstanceUIDs that a SEG or RTSTRUCT refers to; none where it can't be read."""
    try:
        dataset = read_dataset(path, keywords=_REFERENCES, pixels=False, notes=[])
    except CaseError:
        return ()
    found: dict[str, None] = {}
    with suppress(*parse_errors()):
        _collect_references(dataset, found, _DEPTH)
    return tuple(found)


_REFERENCES = ("ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence")
_NESTED = (*_REFERENCES, "RTReferencedStudySequence", "RTReferencedSeriesSequence")


def _collect_references(dataset: Any, found: dict[str, None], depth: int) -> None:
    for name in _NESTED:
        for item in dataset.get(name) or ():
            uid = str(item.get("SeriesInstanceUID", "") or "")
            if uid:
                found[uid] = None
            if depth:
                _collect_references(item, found, depth - 1)


def read_annotation(case: DicomCase, overlap: OverlapRule) -> LabelMap | None:
    """Read the label map of a case on its image's grid; ``None`` without annotation.

    Raises
    ------
    CaseError
        When it can't be read, lies elsewhere, or regions overlap and that is an error.
    """
    annotation = case.annotation
    if annotation is None:
        return None
    if annotation.kind == "SEG":
        return read_seg(annotation.files[0], case.require_grid(), overlap=overlap)
    frame = case.series.frame_of_reference_uid
    return read_rtstruct(annotation.files[0], case.require_grid(), overlap=overlap, frame_of_reference_uid=frame)
