"""Damaged DICOM through `itk_convert dicom`: slices of a series, a segmentation and a structure set on it.

A whole series lies beside them. However the others are damaged, it must be converted, and the command must end as a
command does, without a byte outside its destination.
"""

from __future__ import annotations

import contextlib
import io
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from dicom_factory import AXIAL, dataset, save, slices
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from fuzz.watch import Finding
from itkit.cli.main import main
from itkit.io.sitk_toolkit import read_volume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHAPE, HEIGHTS = (6, 7), (0.0, 2.5, 5.0, 7.5)
SEG, RTSTRUCT = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.481.3"
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless)
_ELEMENTS = (
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel", "PixelRepresentation",
    "NumberOfFrames", "ImagePositionPatient", "PixelSpacing", "ImageOrientationPatient", "RescaleSlope",
    "RescaleIntercept", "SOPClassUID", "SeriesInstanceUID", "PhotometricInterpretation", "Modality", "PatientID",
    "FrameOfReferenceUID", "SegmentationType", "SegmentSequence", "ROIContourSequence", "PixelData",
    "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence", "ReferencedSeriesSequence",
)  # fmt: skip
_VALUES = (
    b"", b"0", b"-1 ", b"1 ", b"nan ", b"1e308 ", b"9\\9\\9 ", b"1\\0\\0\\0\\1\\0", b"\xff\xff", b"\0\0", b"\xff" * 8,
    b"2147483647", b"..", b"../../evil", b"/evil ", b"RGB ", b"x" * 100, b"a\\b ",
)  # fmt: skip


def _items(*elements: dict[str, object]) -> Sequence:
    found = []
    for values in elements:
        one = Dataset()
        for name, value in values.items():
            setattr(one, name, value)
        found.append(one)
    return Sequence(found)


def _segmentation(ct: Dataset) -> Dataset:
    one = dataset(sop_class=SEG, series="1.2.3.20", SegmentationType="BINARY", NumberOfFrames=len(HEIGHTS))
    one.Modality, (one.Rows, one.Columns) = "SEG", SHAPE
    one.BitsAllocated, one.BitsStored, one.HighBit, one.SamplesPerPixel = 1, 1, 0, 1
    one.PixelRepresentation, one.PhotometricInterpretation = 0, "MONOCHROME2"
    one.SegmentSequence = _items({"SegmentNumber": 1, "SegmentLabel": "liver"})
    one.ReferencedSeriesSequence = _items({"SeriesInstanceUID": ct.SeriesInstanceUID})
    shared = {
        "PixelMeasuresSequence": _items({"PixelSpacing": [0.5, 0.75], "SliceThickness": 2.5}),
        "PlaneOrientationSequence": _items({"ImageOrientationPatient": list(AXIAL)}),
    }
    one.SharedFunctionalGroupsSequence = _items(shared)
    one.PerFrameFunctionalGroupsSequence = _items(
        *(
            {
                "PlanePositionSequence": _items({"ImagePositionPatient": [-10.0, 20.0, 5.0 + height]}),
                "SegmentIdentificationSequence": _items({"ReferencedSegmentNumber": 1}),
            }
            for height in HEIGHTS
        )
    )
    bits = np.zeros((len(HEIGHTS), *SHAPE), np.uint8)
    bits[1:3, 2:4, 1:5] = 1
    one.PixelData = np.packbits(bits, bitorder="little").tobytes()
    one["PixelData"].VR = "OB"
    return one


def _structures(ct: Dataset) -> Dataset:
    one = dataset(sop_class=RTSTRUCT, series="1.2.3.21")
    one.Modality = "RTSTRUCT"
    one.StructureSetROISequence = _items(
        {"ROINumber": 1, "ROIName": "spleen", "ReferencedFrameOfReferenceUID": ct.FrameOfReferenceUID}
    )
    outline = [-9.5, 20.5, 7.5, -7.0, 20.5, 7.5, -7.0, 22.0, 7.5, -9.5, 22.0, 7.5]
    contour = {"ContourGeometricType": "CLOSED_PLANAR", "NumberOfContourPoints": 4, "ContourData": outline}
    one.ROIContourSequence = _items({"ReferencedROINumber": 1, "ContourSequence": _items(contour)})
    study = _items({"RTReferencedSeriesSequence": _items({"SeriesInstanceUID": ct.SeriesInstanceUID})})
    one.ReferencedFrameOfReferenceSequence = _items(
        {"FrameOfReferenceUID": ct.FrameOfReferenceUID, "RTReferencedStudySequence": study}
    )
    return one


def sources(folder: Path) -> list[dict[str, bytes]]:
    """Make the files of a series with its annotations, once in each transfer syntax, and return what they hold."""
    made = []
    for syntax in SYNTAXES:
        for number, one in enumerate(slices(HEIGHTS, shape=SHAPE, series="1.2.3.10")):
            if syntax == RLELossless:
                one.file_meta = pydicom.dataset.FileMetaDataset()
                one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
                one.compress(RLELossless, generate_instance_uid=False)
            save(one, folder / f"{number}.dcm", syntax)
            for name, label in (("seg.dcm", _segmentation(one)), ("struct.dcm", _structures(one))):
                save(label, folder / name, ExplicitVRLittleEndian)
        made.append({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
        shutil.rmtree(folder)
        folder.mkdir()
    return made


def files_of(seed: int, number: int, known: list[dict[str, bytes]]) -> dict[str, bytes]:
    """Return the damaged files of a case, the same for the same numbers."""
    rng = np.random.default_rng([seed, number])
    files = dict(known[int(rng.integers(len(known)))])
    names = ["seg.dcm", "struct.dcm"] if rng.random() < 0.5 else list(files)
    for _ in range(int(rng.integers(1, 3))):
        name = names[int(rng.integers(len(names)))]
        files[name] = _damaged(files[name], rng)
    return files


def _damaged(data: bytes, rng: np.random.Generator) -> bytes:
    way = rng.random()
    if way < 0.5:
        return _element(data, rng)
    at = int(rng.integers(len(data)))
    if way < 0.6:
        return data[:at]
    if way < 0.7:
        return data[:at] + data[at + int(rng.integers(1, 40)) :]
    if way < 0.8:
        return data[:at] + bytes(rng.integers(0, 256, int(rng.integers(1, 20)), "uint8")) + data[at:]
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _element(data: bytes, rng: np.random.Generator) -> bytes:
    """Replace the bytes of an element, or remove it; of damaged files, nothing is replaced."""
    try:
        one = pydicom.dcmread(io.BytesIO(data), force=True)
        name = _ELEMENTS[int(rng.integers(len(_ELEMENTS)))]
        if name not in one:
            return data[: int(rng.integers(len(data)))]
        if rng.random() < 0.2:
            delattr(one, name)
        else:
            element = one[name]
            value = _VALUES[int(rng.integers(len(_VALUES)))]
            one[name] = pydicom.dataelem.RawDataElement(
                element.tag, "UN" if element.VR == "SQ" else element.VR, len(value), value, 0, False, True
            )
        out = io.BytesIO()
        pydicom.dcmwrite(out, one, enforce_file_format=False)
    except Exception:  # noqa: BLE001 - pydicom refuses what is damaged twice
        return data[: int(rng.integers(len(data)))]
    return out.getvalue()


def check(files: dict[str, bytes], folder: Path, phase: Callable[[str], None]) -> str:
    """Convert a case; return how it ended.

    Raises
    ------
    Finding
        When the whole series is lost, something lies outside the destination, or the command did not end as it should.
    """
    source, out = folder / "in", folder / "out"
    save_whole(source / "whole")
    (source / "damaged").mkdir()
    for name, data in files.items():
        (source / "damaged" / name).write_bytes(data)
    said = io.StringIO()
    phase("ours")
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        code = main("itk_convert", ["dicom", str(source), str(out), "--name", "{SeriesNumber}", "--progress", "none"])
    text = said.getvalue()
    if code not in (0, 1) or "Traceback" in text or "fault of ITKIT" in text:
        raise Finding(f"exit code {code}: {text[-2000:]}")
    if {path.name for path in folder.iterdir()} != {"in", "out"} or list(folder.parent.glob("*evil*")):
        raise Finding(f"files outside: {sorted(path.name for path in folder.iterdir())}: {text[-1500:]}")
    found = out / "image" / "42.mha"
    if not found.exists() or read_volume(found).array_zyx.tolist() != _WHOLE.tolist():
        raise Finding(f"the whole series is lost: {text[-2000:]}")
    return "refused" if len(list((out / "image").iterdir())) == 1 else "converted"


_WHOLE = np.arange(len(HEIGHTS) * SHAPE[0] * SHAPE[1], dtype=np.int16).reshape(-1, *SHAPE)


def save_whole(folder: Path) -> None:
    """Write the series that nothing may cost: another patient, study and frame of reference."""
    for number, one in enumerate(slices(HEIGHTS, shape=SHAPE, values=_WHOLE, series="1.2.9.1", study="1.2.9")):
        one.PatientID, one.FrameOfReferenceUID, one.SeriesNumber = "WHOLE", "1.2.9.9", 42
        save(one, folder / f"{number}.dcm")
