"""Read DICOM headers with pydicom, and describe the frames of a file.

The parser's warnings become notes and never reach the terminal; its errors become a ``ReadError`` that names the file.
"""

from __future__ import annotations

import logging
import math
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from itkit.core.errors import NotDicomError, ReadError
from itkit.core.extras import require
from itkit.core.geometry import Triple

_PARSE_ERRORS = (
    OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError, MemoryError,
    struct.error, zlib.error,
)  # fmt: skip
#: Keywords of contrast and time: frames with different values never belong to one volume.
CONTRASTS = ("echo", "time point", "b-value", "inversion time")
#: Keywords that may vary within one volume; they also distinguish volumes at the same positions.
VARIANTS = (
    "acquisition", "image type", "stack", "cardiac phase", "trigger time", "gradient direction", "convolution kernel",
)  # fmt: skip
#: Up to these differences, direction cosines (absolute) and pixel spacings (relative) count as equal.
COSINE_TOLERANCE = 1e-3
_PREAMBLE, _META_AT = 132, 144
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_MOST_INFLATED, _MOST_RATIO = 256 << 20, 16
"""A deflated file may hold so many bytes, and so many for each of its own."""
_PIECE_BYTES = 1 << 20
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_MISSING = "-"
_MOST_FRAMES, _FRAME_BYTES = 1 << 18, 8
"""Frames that a file may claim, and the bytes that one has at least, compressed."""


@dataclass(frozen=True)
class PixelFormat:
    """How a frame's pixels are stored."""

    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool


@dataclass(frozen=True)
class Frame:
    """One image plane: a file, or a frame of a multi-frame file.

    Parameters
    ----------
    path, index
        The file, and the index of the frame in it (from 0).
    number
        Instance number; 0 if there is none.
    size_yx, spacing_yx
        Numbers of rows and columns; distances between them in mm.
    position_xyz
        Centre of the first pixel, LPS mm.
    orientation_xyz
        Cosines of the direction along a row (three), then along a column (three).
    thickness_mm
        Slice thickness; used only for a single slice.
    slope, intercept, rescale_type
        Modality rescale; ``rescale_type`` is empty if the file has none.
    contrast, variant
        Values under `CONTRASTS` and `VARIANTS`.
    acquired
        Date and time of acquisition as sortable text; empty if the file does not state them.
    is_compressed
        Whether the pixels are compressed, as the file's head says.
    """

    path: Path
    index: int
    number: int
    size_yx: tuple[int, int]
    pixel: PixelFormat
    position_xyz: Triple | None
    orientation_xyz: tuple[float, ...] | None
    spacing_yx: tuple[float, float] | None
    thickness_mm: float | None
    slope: float
    intercept: float
    rescale_type: str
    contrast: tuple[str, ...]
    variant: tuple[str, ...]
    acquired: str = ""
    is_compressed: bool = False


def pydicom_module() -> Any:
    """Import pydicom, or raise an error that names the extra to install."""
    return require("pydicom", extra="dicom", why="Reading and writing DICOM")


@contextmanager
def warnings_as_notes(notes: list[str]) -> Iterator[None]:
    """Collect warnings as notes and silence pydicom's log; quoted values are left out, since they may contain names."""
    log = logging.getLogger("pydicom")
    level = log.level
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            log.setLevel(level)
            for warning in caught:
                text = _QUOTED.sub("'...'", " ".join(str(warning.message).split()))
                if text not in notes:
                    notes.append(text)


def read_dataset(path: Path, *, keywords: Sequence[str] | None = None, pixels: bool, notes: list[str]) -> Any:
    """Read one DICOM file, with or without the Part 10 header.

    Parameters
    ----------
    path
        The file.
    keywords
        Read only these elements; ``None`` reads all.
    pixels
        Whether to read the pixel data too.
    notes
        The parser's warnings are appended to this list.

    Raises
    ------
    NotDicomError
        When the file is not a DICOM file.
    ReadError
        When the file is damaged.
    """
    pydicom = pydicom_module()
    try:
        with path.open("rb") as file:
            start = file.read(1024)
            if start[128:132] == b"DICM" and _DEFLATED in start:
                _require_no_bomb(file, start, path)
    except OSError as error:
        raise ReadError(f"{path}: {error.strerror or error}") from error
    if not start:
        raise ReadError(f"{path}: the file is empty")
    bare = start[128:_PREAMBLE] != b"DICM"
    if bare and not _looks_like_elements(start):
        raise NotDicomError(f"{path}: not a DICOM file")
    try:
        with warnings_as_notes(notes):
            dataset = pydicom.dcmread(
                path,
                force=bare,
                stop_before_pixels=not pixels,
                specific_tags=None if keywords is None else list(keywords),
            )
            _complete_meta(dataset)
    except parse_errors() as error:
        raise ReadError(f"{path}: damaged DICOM file: {short(error)}") from error
    if keywords is None and not len(dataset):
        raise ReadError(f"{path}: damaged DICOM file: it ends before any element")
    if bare:
        notes.append("file without the Part 10 header; its encoding was guessed")
    return dataset


def _require_no_bomb(file: BinaryIO, start: bytes, path: Path) -> None:
    """Inflate a deflated data set piece by piece before pydicom does so at once.

    Raises
    ------
    ReadError
        When it is damaged, or larger than any that is deflated.
    """
    size = os.fstat(file.fileno()).st_size
    most = _MOST_INFLATED + _MOST_RATIO * size
    (length,) = struct.unpack("<I", start[_META_AT - 4 : _META_AT].ljust(4, b"\0"))
    file.seek(min(_META_AT + length, size))
    inflater, made = zlib.decompressobj(-zlib.MAX_WBITS), 0
    try:
        while not inflater.eof and (piece := inflater.unconsumed_tail or file.read(_PIECE_BYTES)):
            made += len(inflater.decompress(piece, _PIECE_BYTES))
            if made > most:
                raise ReadError(f"{path}: deflated: it inflates to more than {most >> 20} MiB; it is refused")
    except zlib.error as error:
        raise ReadError(f"{path}: damaged DICOM file: {error}") from error


def _complete_meta(dataset: Any) -> None:
    """Set the transfer syntax with which pydicom read a file that does not state it."""
    uid = pydicom_module().uid
    if not isinstance(dataset.file_meta.get("TransferSyntaxUID"), uid.UID):
        implicit, little = dataset.original_encoding
        explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else explicit


def is_compressed(dataset: Any) -> bool:
    """Whether a file's pixels are compressed; no, where its transfer syntax is not one that pydicom knows."""
    syntax = dataset.file_meta.TransferSyntaxUID
    return bool(syntax.is_transfer_syntax and syntax.is_encapsulated)


def parse_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that pydicom and its decoders raise for damaged files."""
    errors = pydicom_module().errors
    return (*_PARSE_ERRORS, errors.InvalidDicomError, errors.BytesLengthException)


def short(error: BaseException) -> str:
    """Return the last useful line of a foreign error, without quoted values."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return _QUOTED.sub("'...'", lines[-1]) if lines else type(error).__name__


def text(dataset: Any, keyword: str) -> str:
    """Return an element as text, empty if it is missing; several values are joined by a backslash."""
    value = dataset.get(keyword)
    if value is None:
        return ""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        return str(value).strip()
    return "\\".join(str(part) for part in value)


def numbers(dataset: Any, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return an element as ``count`` finite numbers; ``None`` if it is missing, malformed or of another length."""
    try:
        value = dataset.get(keyword)
        values = [value] if isinstance(value, (str, int, float)) else list(value or ())
        found = tuple(float(part) for part in values)
    except (ValueError, TypeError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def number(dataset: Any, keyword: str) -> float | None:
    """Return an element as one finite number, or ``None``."""
    found = numbers(dataset, keyword, 1)
    return found[0] if found else None


def read_frames(dataset: Any, path: Path) -> tuple[Frame, ...]:
    """Return a description of every frame of an image file.

    In enhanced multi-frame files, the functional groups hold what changes from frame to frame (PS3.3 C.7.6.16).
    """
    count = int(number(dataset, "NumberOfFrames") or 1)
    if not 1 <= count <= max(1, min(_MOST_FRAMES, path.stat().st_size // _FRAME_BYTES)):
        raise ReadError(f"{path}: NumberOfFrames is {count}, which a file of its size can't hold; it is damaged")
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if not groups:
        first = _frame(dataset, path, 0, _Macros(dataset, None, None))
        return (first,) if count == 1 else tuple(_without_place(first, index) for index in range(count))
    if len(groups) < count or (len(groups) > count and "NumberOfFrames" in dataset):
        raise ReadError(f"{path}: {count} frames, but functional groups for {len(groups)}")
    macros = (_Macros(dataset, shared, group) for group in groups[:count])
    return tuple(_frame(dataset, path, index, macro) for index, macro in enumerate(macros))


@dataclass(frozen=True)
class _Macros:
    """Looks up an attribute in the frame's functional groups, then in the shared ones, then in the data set."""

    dataset: Any
    shared: Any
    frame: Any

    def of(self, sequence: str) -> Any:
        if self.frame is None:
            return self.dataset
        for group in (self.frame, self.shared):
            items = group.get(sequence) if group is not None else None
            if items:
                return items[0]
        return {}


def _frame(dataset: Any, path: Path, index: int, macros: _Macros) -> Frame:
    measures = macros.of("PixelMeasuresSequence")
    transform = macros.of("PixelValueTransformationSequence")
    slope, intercept = number(transform, "RescaleSlope"), number(transform, "RescaleIntercept")
    is_rescaled = slope is not None or intercept is not None
    position = numbers(macros.of("PlanePositionSequence"), "ImagePositionPatient", 3)
    spacing = numbers(measures, "PixelSpacing", 2)
    bits_stored = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    return Frame(
        path=path,
        index=index,
        number=int(number(dataset, "InstanceNumber") or 0),
        size_yx=(int(dataset.Rows), int(dataset.Columns)),
        pixel=PixelFormat(
            samples=int(dataset.get("SamplesPerPixel") or 1),
            photometric=text(dataset, "PhotometricInterpretation"),
            bits_allocated=int(dataset.BitsAllocated),
            bits_stored=bits_stored,
            high_bit=int(number(dataset, "HighBit") or bits_stored - 1),
            is_signed=bool(number(dataset, "PixelRepresentation")),
        ),
        position_xyz=(position[0], position[1], position[2]) if position else None,
        orientation_xyz=numbers(macros.of("PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        spacing_yx=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        thickness_mm=number(measures, "SliceThickness") or number(measures, "SpacingBetweenSlices"),
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        rescale_type=(text(transform, "RescaleType") or "unspecified") if is_rescaled else "",
        contrast=_contrast(macros),
        variant=_variant(dataset, macros),
        acquired=_acquired(dataset, macros),
        is_compressed=is_compressed(dataset),
    )


def _without_place(frame: Frame, index: int) -> Frame:
    return Frame(**{**vars(frame), "index": index, "position_xyz": None, "orientation_xyz": None})


def _contrast(macros: _Macros) -> tuple[str, ...]:
    echo = macros.of("MREchoSequence")
    echo_time = number(echo, "EffectiveEchoTime") or number(echo, "EchoTime")
    content = macros.of("FrameContentSequence")
    return (
        f"{text(echo, 'EchoNumbers') or _MISSING} ({_MISSING if echo_time is None else f'{echo_time:.2f} ms'})",
        text(content, "TemporalPositionIndex") or text(content, "TemporalPositionIdentifier") or _MISSING,
        text(macros.of("MRDiffusionSequence"), "DiffusionBValue") or _MISSING,
        _tidy(macros.of("MRModifierSequence"), "InversionTime"),
    )


def _variant(dataset: Any, macros: _Macros) -> tuple[str, ...]:
    content, diffusion = macros.of("FrameContentSequence"), macros.of("MRDiffusionSequence")
    frame_type = text(macros.of("CTImageFrameTypeSequence"), "FrameType")
    frame_type = frame_type or text(macros.of("MRImageFrameTypeSequence"), "FrameType") or text(dataset, "ImageType")
    direction = diffusion.get("DiffusionGradientDirectionSequence") if "DiffusionBValue" in diffusion else None
    return (
        text(content, "FrameAcquisitionNumber") or text(dataset, "AcquisitionNumber") or _MISSING,
        frame_type or _MISSING,
        text(content, "StackID") or _MISSING,
        text(macros.of("CardiacSynchronizationSequence"), "NominalPercentageOfCardiacPhase") or _MISSING,
        text(macros.of("CardiacSynchronizationSequence"), "TriggerTime") or _MISSING,
        text((direction or [diffusion])[0], "DiffusionGradientOrientation") or _MISSING,
        text(macros.of("CTReconstructionSequence"), "ConvolutionKernel")
        or text(dataset, "ConvolutionKernel")
        or _MISSING,
    )


def _acquired(dataset: Any, macros: _Macros) -> str:
    """Return the date and time of a frame's acquisition (DICOM's DA, TM and DT values sort as text)."""
    whole = text(macros.of("FrameContentSequence"), "FrameAcquisitionDateTime") or text(dataset, "AcquisitionDateTime")
    return whole or " ".join(filter(None, (text(dataset, "AcquisitionDate"), text(dataset, "AcquisitionTime"))))


def _tidy(item: Any, keyword: str) -> str:
    """Return a number as text, so that 900 and 900.0 are the same value."""
    value = number(item, keyword)
    return _MISSING if value is None else f"{value:g}"


def _looks_like_elements(start: bytes) -> bool:
    """Return whether a file without preamble begins with an element of group 0002 or 0008, as data sets do."""
    if len(start) < 8:
        return False
    for order in ("<", ">"):
        group, element = struct.unpack(f"{order}HH", start[:4])
        (length,) = struct.unpack(f"{order}I", start[4:8])
        if group in (0x0002, 0x0008) and element <= 0x0100 and (start[4:6].isupper() or length < 256):
            return True
    return False
