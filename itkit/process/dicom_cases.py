"""Find cases in a tree of DICOM files: the series that are volumes, their annotations, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
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
    series_grid,
    split_series,
)
from itkit.io.dicom.find import GROUPING
from itkit.io.dicom.header import Frame, parse_errors, read_dataset
from itkit.io.dicom.labels import merged
from itkit.io.dicom.read import OnIrregular

OnIrregularSeries = Literal["error", "largest", "split"]
_DEPTH = 6
"""How many levels of nested sequences are searched for references."""
_MOST_LOST = 0.1
"""Largest share of a series' slices that may be left out when the series is split."""
_NOTED = (GROUPING, "PixelPaddingValue")
"""Facts of a series that become notes for the user."""


@dataclass(frozen=True)
class DicomCase:
    """A volume that can be made of a series, with its annotations.

    Parameters
    ----------
    series
        The image series; with ``split``, one regular stack of it.
    annotations
        SEG and RTSTRUCT series that belong to the image series, in order of number.
    geometry
        Grid of the volume; ``None`` if the series is not a regular volume.
    fault
        Why the case can't be read; empty if it can.
    part
        Number of the stack, from 1, if the series was split; otherwise 0.
    notes
        Notes for the user.
    """

    series: Series
    annotations: tuple[Series, ...]
    geometry: Geometry | None
    part: int = 0
    fault: str = ""
    notes: tuple[str, ...] = ()

    def require_grid(self) -> Geometry:
        """Return the grid.

        Raises
        ------
        ReadError
            When the series is not a regular volume.
        """
        if self.geometry is None:
            raise ReadError(self.fault)
        return self.geometry

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that the result depends on."""
        return (*self.series.files, *(path for one in self.annotations for path in one.files))


@dataclass(frozen=True)
class RefusedSeries:
    """Files that are left out, and the reason."""

    path: Path
    reason: str
    series: Series | None = None


def find_dicom_cases(
    folder: Path,
    *,
    least_slices: int = 4,
    modalities: Sequence[str] = (),
    on_irregular: OnIrregularSeries = "error",
    untilt: bool = False,
    labels: bool = True,
) -> tuple[list[DicomCase], list[RefusedSeries]]:
    """Find the volumes in a tree of DICOM files; only headers are read.

    Parameters
    ----------
    folder
        Any tree of DICOM files; it may hold other files too.
    least_slices
        Refuse series with fewer slices (localizers).
    modalities
        Take only these modalities, e.g. ``CT``; by default all.
    on_irregular
        What to do with a series that is not a single regular volume: ``error`` fails it, ``largest`` takes its largest
        regular stack, ``split`` makes a case of each stack of at least ``least_slices`` slices. ``split`` fails a
        series if more than a tenth of its slices is in no such stack.
    untilt
        Resample the slices of a tilted gantry onto a rectangular grid.
    labels
        Whether to look for annotations.

    Returns
    -------
    tuple
        The cases, and the files that are left out. An annotation that belongs to no image is a case that fails.

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
            few = f"{len(series.frames)} slices; a volume needs {least_slices} (localizer?); --least-slices sets it"
            refused.append(_refusal(series, few))
        else:
            made, reasons = _volumes(series, least_slices, on_irregular, untilt=untilt)
            cases += made
            refused += reasons
    refused += [_refusal(series, f"{series.kind}: holds no image") for series in found if series.kind == "other"]
    if labels:
        cases, more = _with_annotations(cases, found)
        refused += more
    return cases, refused


def _refusal(series: Series, reason: str) -> RefusedSeries:
    return RefusedSeries(series.files[0].parent, reason, series)


def _volumes(
    series: Series, least_slices: int, on_irregular: OnIrregularSeries, *, untilt: bool
) -> tuple[list[DicomCase], list[RefusedSeries]]:
    """Return the cases of an image series, and the slices of it that are left out."""
    notes = tuple(f"{name}: {series.facts[name]}" for name in _NOTED if name in series.facts)
    choice: OnIrregular = "largest" if on_irregular == "largest" else "error"
    try:
        geometry, note = series_grid(series, on_irregular=choice, untilt=untilt)
        return [DicomCase(series, (), geometry, notes=tuple(filter(None, (*notes, note))))], []
    except IrregularSeriesError as error:
        fault = f"irregular ({', '.join(error.reasons)}): {error}"
    except ReadError as error:
        return [DicomCase(series, (), None, fault=str(error))], []
    if on_irregular != "split":
        return [DicomCase(series, (), None, fault=fault)], []
    kept = [part for part in split_series(series, untilt=untilt) if len(part.frames) >= least_slices]
    lost = len(series.frames) - sum(len(part.frames) for part in kept)
    planes = {_plane(frame) for part in kept for frame in part.frames}
    slices = sum(_plane(frame) in planes for frame in series.frames)  # does not count localizers and screen captures
    if not kept or slices - (len(series.frames) - lost) > _MOST_LOST * slices:
        short = (
            f"{lost} of {len(series.frames)} slices are in no regular stack of {least_slices} slices (--least-slices)"
        )
        return [DicomCase(series, (), None, fault=f"{short}; {fault}" if kept else fault)], []
    reasons = [_refusal(series, f"{lost} slices are in no regular stack of {least_slices}")] if lost else []
    parts = []
    for number, part in enumerate(kept, 1):
        grid, note = series_grid(part, untilt=untilt)
        parts.append(DicomCase(part, (), grid, number, notes=tuple(filter(None, (*notes, note)))))
    return parts, reasons


def _plane(frame: Frame) -> tuple[object, ...]:
    """Return size and orientation of a slice, which all slices of one volume share."""
    return (frame.size_yx, *(round(value, 2) for value in frame.orientation_xyz or ()))


def _with_annotations(cases: list[DicomCase], found: Sequence[Series]) -> tuple[list[DicomCase], list[RefusedSeries]]:
    """Add its annotations to each case; an annotation that belongs to no image of the tree becomes a failing case."""
    images = [series for series in found if series.kind == "image"]
    owned: dict[int, list[Series]] = {}
    lone: list[DicomCase] = []
    refused: list[RefusedSeries] = []
    for annotation in found:
        if annotation.kind not in ("SEG", "RTSTRUCT"):
            continue
        references = references_of(annotation.files[0])
        if not (references.series or references.images or references.has_regions):
            refused.append(_refusal(annotation, f"{annotation.kind}: it holds no region and refers to no image"))
            continue
        targets = _targets(annotation, references, images)
        at = [place for place, case in enumerate(cases) if any(_is_of(case, target) for target in targets)]
        if at:
            for place in at:
                owned.setdefault(place, []).append(annotation)
        elif targets or references.series:
            reason = "the series it refers to was left out" if targets else "the series it refers to is not here"
            refused.append(_refusal(annotation, f"{annotation.kind}: {reason}"))
        else:
            fault = f"{annotation.files[0]}: {annotation.kind}: no image of this tree belongs to it"
            why = "neither its references to series and images nor its frame of reference lead to one"
            lone.append(DicomCase(annotation, (), None, fault=f"{fault} ({why})"))
    paired = []
    for place, case in enumerate(cases):
        own = sorted(owned.get(place, []), key=lambda item: (item.number or 0, item.uid))
        notes = case.notes
        if len(own) > 1:
            notes = (*notes, f"{len(own)} annotations belong to this series; their regions were merged")
        paired.append(replace(case, annotations=tuple(own), notes=notes))
    return [*paired, *lone], refused


def _is_of(case: DicomCase, series: Series) -> bool:
    """Whether a case was made of a series or of a part of it."""
    return case.series.sop_uids <= series.sop_uids and set(case.series.files) <= set(series.files)


def _targets(annotation: Series, references: References, images: Sequence[Series]) -> list[Series]:
    """Return the image series that an annotation belongs to: by series, by image, or by frame of reference.

    The frame of reference only decides if the annotation names no series and exactly one series has this frame: if
    several have it, they may be different phases.
    """
    same = [image for image in images if image.patient_id == annotation.patient_id] or list(images)
    for candidates in (same, images):
        by_series = [image for image in candidates if image.uid in references.series]
        if by_series:
            return by_series
        by_image = [image for image in candidates if image.sop_uids & references.images]
        if by_image:
            return by_image
    if references.series:
        return []
    frames = references.frames or frozenset(filter(None, [annotation.frame_of_reference_uid]))
    by_frame = [image for image in same if image.frame_of_reference_uid in frames]
    return by_frame if len(by_frame) == 1 else []


@dataclass(frozen=True)
class References:
    """The UIDs of series, images and frames of reference that a SEG or RTSTRUCT refers to; whether it has regions."""

    series: frozenset[str] = frozenset()
    images: frozenset[str] = frozenset()
    frames: frozenset[str] = frozenset()
    has_regions: bool = True


def references_of(path: Path) -> References:
    """Return the references of a SEG or RTSTRUCT; empty if the file can't be read."""
    try:
        dataset = read_dataset(path, keywords=(*_REFERENCES, *_REGIONS), pixels=False, notes=[])
    except CaseError:
        return References()
    found: dict[str, set[str]] = {keyword: set() for keyword in _UIDS}
    has_regions = True  # of a damaged file, reading says what is wrong
    with suppress(*parse_errors()):
        has_regions = any(dataset.get(name) for name in _REGIONS)
        _collect_references(dataset, found, _DEPTH)
    series, images, *frames = (frozenset(found[keyword]) for keyword in _UIDS)
    return References(series, images, frozenset().union(*frames), has_regions)


_REFERENCES = (
    "ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence", "StructureSetROISequence", "ROIContourSequence",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
_REGIONS = ("SegmentSequence", "ROIContourSequence")
_NESTED = (
    *_REFERENCES, "RTReferencedStudySequence", "RTReferencedSeriesSequence", "ContourImageSequence", "ContourSequence",
    "ReferencedInstanceSequence", "DerivationImageSequence", "SourceImageSequence",
)  # fmt: skip
_UIDS = (
    "SeriesInstanceUID", "ReferencedSOPInstanceUID", "FrameOfReferenceUID", "ReferencedFrameOfReferenceUID",
)  # fmt: skip


def _collect_references(dataset: Any, found: dict[str, set[str]], depth: int) -> None:
    for keyword in _UIDS:
        uid = str(dataset.get(keyword, "") or "")
        if uid:
            found[keyword].add(uid)
    for name in _NESTED if depth else ():
        for item in dataset.get(name) or ():
            _collect_references(item, found, depth - 1)


def kinds_of(case: DicomCase) -> str:
    """Return the kinds of a case's annotations, e.g. ``SEG`` or ``RTSTRUCT + SEG``."""
    return " + ".join(sorted({annotation.kind for annotation in case.annotations}))


def read_annotations(case: DicomCase, overlap: OverlapRule, *, bridge: bool = False) -> LabelMap | None:
    """Read the annotations of a case as one label map on its image's grid; ``None`` if it has no annotations.

    Parameters
    ----------
    case
        The case.
    overlap
        What to do with voxels in several regions, also if the regions come from different files.
    bridge
        Whether to fill slices between contours, as in `read_rtstruct`.

    Raises
    ------
    CaseError
        When a file can't be read, does not fit the image's grid, or regions overlap and ``overlap`` is ``error``.
    """
    grid, frame = case.require_grid(), case.series.frame_of_reference_uid
    maps = []
    for annotation in case.annotations:
        for path in annotation.files:
            if annotation.kind == "SEG":
                maps.append(read_seg(path, grid, overlap=overlap))
            else:
                maps.append(read_rtstruct(path, grid, overlap=overlap, frame_of_reference_uid=frame, bridge=bridge))
    return merged(maps, where=case.series.title, overlap=overlap) if maps else None
