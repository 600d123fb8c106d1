"""Find the series in a folder of DICOM files with any names."""

from __future__ import annotations

import filecmp
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from itkit.core.errors import LayoutError, ReadError
from itkit.io.dicom.header import (
    COSINE_TOLERANCE,
    Frame,
    number,
    parse_errors,
    pydicom_module,
    read_dataset,
    read_frames,
    short,
    text,
    warnings_as_notes,
)

SeriesKind = Literal["image", "SEG", "RTSTRUCT", "other"]
_SEG = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
_RTDOSE = "1.2.840.10008.5.1.4.1.1.481.2"
_DICOMDIR = "1.2.840.10008.1.3.10"
#: Facts about how an image was acquired; none of them identifies the patient.
ACQUISITION = (
    "Modality", "BodyPartExamined", "Manufacturer", "ManufacturerModelName", "KVP", "ConvolutionKernel",
    "SliceThickness", "MagneticFieldStrength", "RepetitionTime", "EchoTime", "InversionTime", "FlipAngle",
    "ScanningSequence", "SequenceVariant", "ContrastBolusAgent", "PatientPosition", "Units",
)  # fmt: skip
GROUPING = "grouping"
"""Name of the fact that says why files form one series, if it is not obvious."""
_GROUPED_BY = "folder, patient, study, frame of reference, modality, orientation, rows and columns"
_IDENTITY = (
    "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "SeriesNumber", "SeriesDescription",
    "StudyDate",
)  # fmt: skip
_PRIVATE = ("PatientName", "PatientID", "OtherPatientIDs", "PatientBirthDate", "AccessionNumber")
_IMAGE = (
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept",
    "RescaleType", "ModalityLUTSequence", "LossyImageCompression",
)  # fmt: skip
_FRAME = (
    "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SpacingBetweenSlices",
    "EchoNumbers", "TemporalPositionIdentifier", "TemporalPositionIndex", "DiffusionBValue",
    "DiffusionGradientOrientation", "AcquisitionNumber", "ImageType", "StackID", "NominalPercentageOfCardiacPhase",
    "TriggerTime", "AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
HEADER_KEYWORDS = ("SOPClassUID", "SOPInstanceUID", *_IDENTITY, *_PRIVATE, *ACQUISITION, *_IMAGE, *_FRAME)


@dataclass(frozen=True)
class Series:
    """Files of one kind with the same patient, study and SeriesInstanceUID.

    Some de-identification removes the SeriesInstanceUID. Such files belong together if they lie in one folder and agree
    in patient, study, frame of reference, modality, orientation, rows and columns; ``facts`` says so.

    Parameters
    ----------
    uid, study_uid, frame_of_reference_uid, patient_id
        Identifiers as in the files; they identify a patient, so they appear neither in the metadata of volumes nor in
        ``repr``. A series without UID gets one made from its images' own identifiers, which starts with ``no-uid``.
    modality, description, number
        As in the first file; ``number`` is ``None`` if the file has none.
    kind
        ``"image"`` (has pixels and is neither a segmentation nor a dose), ``"SEG"``, ``"RTSTRUCT"`` or ``"other"``.
    files
        Sorted by instance number, then name.
    facts
        Facts by name: acquisition, pixel padding, photometric interpretation, warnings of the parser.
    frames
        The image planes; empty unless ``kind`` is ``"image"``.
    sop_uids
        SOPInstanceUIDs of the files that have one.
    study_date
        As in the first file.
    private
        Values in the files that identify the patient: name, identifiers, date of birth, accession number.
    """

    uid: str = field(repr=False)
    modality: str
    description: str = field(repr=False)
    number: int | None
    patient_id: str = field(repr=False)
    study_uid: str = field(repr=False)
    frame_of_reference_uid: str = field(repr=False)
    kind: SeriesKind
    files: tuple[Path, ...] = field(repr=False)
    facts: Mapping[str, str] = field(default_factory=dict, hash=False)
    frames: tuple[Frame, ...] = field(default=(), repr=False)
    sop_uids: frozenset[str] = field(default=frozenset(), repr=False)
    study_date: str = field(default="", repr=False)
    private: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def title(self) -> str:
        """Name of the series in messages: its folder, its number and its number of files."""
        number = "without number" if self.number is None else f"number {self.number}"
        folder = os.path.commonpath([path.parent for path in self.files])
        files = self.files[0] if len(self.files) == 1 else f"{folder} ({len(self.files)} files)"
        return f"{files}: {self.modality or 'DICOM'} series {number}"


@dataclass(frozen=True)
class Refusal:
    """A file that belongs to no series, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class _File:
    """One file that was read, as a part of a series."""

    sop_uid: str
    series: Series


def find_series(
    folder: Path, *, recursive: bool = True, on_progress: Callable[[int, int], None] | None = None
) -> tuple[list[Series], list[Refusal]]:
    """Find the series in a folder, from headers only.

    Parameters
    ----------
    folder
        Folder with DICOM files of any names, and possibly other files. Names that start with a dot are ignored.
    recursive
        Whether sub-folders are searched too.
    on_progress
        Called with the number of files read so far, and the number of all files.

    Returns
    -------
    tuple
        The series, sorted by study, number and UID, and the files that belong to none: files that are not DICOM or are
        damaged, an index (DICOMDIR), or a byte-for-byte copy of another file.

    Raises
    ------
    LayoutError
        When the folder is missing.
    MissingExtraError
        When pydicom is not installed.
    """
    if not folder.is_dir():
        raise LayoutError(f"{folder}: not a folder")
    pydicom_module()
    paths = list(_files(folder, recursive=recursive))
    found: list[Series] = []
    refused: list[Refusal] = []
    seen: dict[str, Path] = {}
    for done, path in enumerate(paths, start=1):
        try:
            file = _read_file(path)
        except ReadError as error:
            refused.append(Refusal(path, str(error).removeprefix(f"{path}: ")))
        else:
            twin = seen.setdefault(file.sop_uid or str(path), path)
            if twin != path and filecmp.cmp(twin, path, shallow=False):
                refused.append(Refusal(path, f"a copy of {twin}"))
            else:
                found.append(file.series)
        if on_progress is not None:
            on_progress(done, len(paths))
    series = _noting_shared_uids([_merge(files) for files in _grouped(found)])
    return sorted(series, key=lambda one: (one.study_uid, one.number or 0, one.uid, one.kind)), refused


def series_of(path: Path) -> Series:
    """Read one file as a series of its own.

    Raises
    ------
    ReadError
        When the file is not a DICOM file, or is damaged.
    """
    return _merge([_read_file(path).series])


def _grouped(files: list[Series]) -> list[list[Series]]:
    """Group files by series."""
    groups: dict[tuple[Any, ...], list[Series]] = {}
    orientations: list[tuple[float, ...]] = []
    for file in files:
        key: tuple[Any, ...] = (file.patient_id, file.study_uid, file.uid, file.kind)
        if not file.uid and file.frames:
            first = file.frames[0]
            plane = _class_of(first.orientation_xyz, orientations)
            key = (*key, file.files[0].parent, file.modality, file.frame_of_reference_uid, first.size_yx, plane)
        elif not file.uid:  # nothing shows that two annotations belong together
            key = (*key, file.files[0])
        groups.setdefault(key, []).append(file)
    return list(groups.values())


def _class_of(orientation: tuple[float, ...] | None, known: list[tuple[float, ...]]) -> int:
    """Return the index of an orientation among the known ones, adding it if new; nearly equal ones count as equal."""
    if orientation is None:
        return -1
    for at, other in enumerate(known):
        if max(abs(a - b) for a, b in zip(orientation, other, strict=True)) <= COSINE_TOLERANCE:
            return at
    known.append(orientation)
    return len(known) - 1


def _noting_shared_uids(series: list[Series]) -> list[Series]:
    """Add a note to series that share their SeriesInstanceUID with another patient or study and stay separate."""
    counts = Counter((one.uid, one.kind) for one in series if one.uid)
    return [_noted(one) if counts[one.uid, one.kind] > 1 else one for one in series]


def _noted(series: Series) -> Series:
    note = "another patient or study has the same SeriesInstanceUID; each is a series of its own"
    return replace(series, facts={**series.facts, GROUPING: note})


def _files(folder: Path, *, recursive: bool) -> Iterator[Path]:
    unlisted: list[OSError] = []
    for root, folders, names in os.walk(folder, onerror=unlisted.append):
        folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if not name.startswith(".") and path.is_file():
                yield path
    yield from (Path(error.filename, "*") for error in unlisted)  # reading them says why


def _read_file(path: Path) -> _File:
    notes: list[str] = []
    dataset = read_dataset(path, keywords=HEADER_KEYWORDS, pixels=False, notes=notes)
    try:
        with warnings_as_notes(notes):
            file = _describe(dataset, path)
    except parse_errors() as error:
        raise ReadError(f"{path}: damaged DICOM header: {short(error)}") from error
    facts = {**file.series.facts, **({"warnings": "; ".join(notes)} if notes else {})}
    return replace(file, series=replace(file.series, facts=facts))


def _describe(dataset: Any, path: Path) -> _File:
    sop_class = text(dataset, "SOPClassUID") or text(dataset.file_meta, "MediaStorageSOPClassUID")
    if sop_class == _DICOMDIR:
        raise ReadError(f"{path}: an index of files (DICOMDIR), not an image")
    has_pixels = bool(dataset.get("Rows") and dataset.get("Columns") and dataset.get("BitsAllocated"))
    if not has_pixels and pydicom_module().uid.UID(sop_class).name.endswith("Image Storage"):
        raise ReadError(f"{path}: an image without Rows, Columns or BitsAllocated; its header may be truncated")
    kind = _kind(sop_class, has_pixels)
    series_number = number(dataset, "SeriesNumber")
    frames = read_frames(dataset, path) if kind == "image" else ()
    series = Series(
        uid=text(dataset, "SeriesInstanceUID"),
        modality=text(dataset, "Modality"),
        description=text(dataset, "SeriesDescription"),
        number=None if series_number is None else int(series_number),
        patient_id=text(dataset, "PatientID"),
        study_uid=text(dataset, "StudyInstanceUID"),
        frame_of_reference_uid=text(dataset, "FrameOfReferenceUID"),
        kind=kind,
        files=(path,),
        facts=_facts(dataset),
        frames=frames,
        sop_uids=frozenset(filter(None, [text(dataset, "SOPInstanceUID")])),
        study_date=text(dataset, "StudyDate"),
        private=frozenset(filter(None, (text(dataset, keyword) for keyword in _PRIVATE))),
    )
    return _File(text(dataset, "SOPInstanceUID"), series)


def _kind(sop_class: str, has_pixels: bool) -> SeriesKind:
    if sop_class in _SEG:
        return "SEG"
    if sop_class == _RTSTRUCT:
        return "RTSTRUCT"
    return "image" if has_pixels and sop_class != _RTDOSE else "other"


def _facts(dataset: Any) -> dict[str, str]:
    facts = {keyword: text(dataset, keyword) for keyword in ACQUISITION if text(dataset, keyword)}
    padding = text(dataset, "PixelPaddingValue")
    if padding:
        facts["PixelPaddingValue"] = " to ".join(filter(None, (padding, text(dataset, "PixelPaddingRangeLimit"))))
    if text(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        facts["PhotometricInterpretation"] = "MONOCHROME1: the lowest value is meant to be shown white"
    if text(dataset, "LossyImageCompression") == "01":
        facts["LossyImageCompression"] = "compressed with loss at some time"
    if "ModalityLUTSequence" in dataset:
        facts["ModalityLUTSequence"] = "values go through a table"
    return facts


def _merge(parts: list[Series]) -> Series:
    parts = sorted(parts, key=lambda part: (part.frames[0].number if part.frames else 0, str(part.files[0])))
    names = {name: None for part in parts for name in part.facts}
    facts = {name: _common([part.facts.get(name, "") for part in parts]) for name in names}
    first = parts[0]
    uid = first.uid
    if not uid:
        own = frozenset().union(*(part.sop_uids or {part.files[0].name} for part in parts))
        digest = hashlib.sha256("\0".join(sorted(own)).encode(errors="surrogateescape"))
        uid = f"no-uid-{digest.hexdigest()[:16]}"
        facts[GROUPING] = f"no SeriesInstanceUID: {len(parts)} files were taken together by {_GROUPED_BY}"
    return replace(
        first,
        uid=uid,
        sop_uids=frozenset().union(*(part.sop_uids for part in parts)),
        private=frozenset().union(*(part.private for part in parts)),
        files=tuple(path for part in parts for path in part.files),
        frames=tuple(frame for part in parts for frame in part.frames),
        facts=facts,
    )


def _common(values: list[str]) -> str:
    """Join differing values of one fact, the commonest first."""
    return "; ".join(value for value, _ in Counter(value for value in values if value).most_common(5))
