"""Write volumes as DICOM series: one file per slice; the folder is written completely or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.errors import WriteError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.dicom.find import Series
from itkit.io.dicom.header import parse_errors, pydicom_module, read_dataset, short, warnings_as_notes
from itkit.io.disk import write_error

_CT = "1.2.840.10008.5.1.4.1.1.2"
_CLASSES = {"CT": _CT, "MR": "1.2.840.10008.5.1.4.1.1.4", "PT": "1.2.840.10008.5.1.4.1.1.128"}
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
#: Elements that the new series copies from its template: patient, study and frame of reference.
_FROM_TEMPLATE = (
    "SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
    "PatientWeight", "PatientPosition", "StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "StudyDescription",
    "AccessionNumber", "ReferringPhysicianName", "FrameOfReferenceUID", "PositionReferenceIndicator", "Modality",
    "BodyPartExamined", "RescaleType",
)  # fmt: skip
_EMPTY = (
    "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName", "Manufacturer", "PositionReferenceIndicator",
)  # fmt: skip
_LEVELS = 65535


@dataclass(frozen=True)
class _Stored:
    """16-bit values, and the rescale that restores the volume's values, in numbers that the file can hold."""

    values_zyx: NDArray[Any]
    slope: str
    intercept: str


def series_datasets(
    volume: Volume,
    where: Path,
    *,
    template: Series | Path | None = None,
    description: str = "",
    series_number: int = 1,
    modality: str = "",
    uid_of: Callable[..., str] | None = None,
) -> Iterator[Any]:
    """Yield the file of each slice of a volume as a dataset, with its file header; see `write_series`.

    Parameters
    ----------
    volume, template, description, series_number, modality
        As in `write_series`.
    where
        Folder to name in messages.
    uid_of
        Function that returns an identifier for some words, so that the same volume gets the same; by default all
        identifiers are new.

    Raises
    ------
    WriteError
        When a series can't hold the volume.
    """
    pydicom = pydicom_module()
    _check(volume, where)
    stored = _stored(volume, where)
    new = uid_of or (lambda *_: str(pydicom.uid.generate_uid()))
    common = _common(volume, template, modality, new)
    common.SeriesDescription = description
    common.SeriesNumber = series_number
    for index in range(len(stored.values_zyx)):
        yield _slice(pydicom, common, stored, volume.geometry, index, new("slice", index))


def write_series(
    volume: Volume,
    folder: Path,
    *,
    template: Series | Path | None = None,
    description: str = "",
    series_number: int = 1,
    modality: str = "",
) -> list[Path]:
    """Write a volume as a DICOM series, one uncompressed file per slice.

    Parameters
    ----------
    volume
        A volume with one channel; its direction must be orthonormal. If it is left-handed, every voxel still keeps its
        physical point.
    folder
        Folder to create; it must not exist, or be empty.
    template
        A series or a file from which patient, study, frame of reference and modality are copied, or ``None``. Series
        and instance UIDs are new.
    description, series_number
        SeriesDescription and SeriesNumber.
    modality
        Modality to write instead of the template's or the volume's. ``CT``, ``MR`` and ``PT`` get their own SOP class,
        others become secondary captures.

    Returns
    -------
    list[Path]
        The files, in slice order.

    Raises
    ------
    WriteError
        When the folder is not empty, values aren't finite, a label map needs more than 16 bits, the direction is not
        orthonormal, or the disk can't be written; no file is left behind.

    Notes
    -----
    Integers whose range fits 16 bits are kept exactly; other values are quantised to 65536 levels over their range, so
    reading them back returns values within half a level.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WriteError(f"{folder}: exists already; give a new or empty folder")
    datasets = series_datasets(
        volume, folder, template=template, description=description, series_number=series_number, modality=modality
    )
    names = [f"{index:05d}.dcm" for index in range(1, volume.shape_zyx[0] + 1)]
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
    try:
        for index, dataset in enumerate(datasets):
            partial.mkdir(parents=True, exist_ok=True)
            write_slice(dataset, partial / names[index])
        if folder.is_dir():
            folder.rmdir()
        partial.rename(folder)
    except OSError as error:
        raise write_error(folder, error) from error
    except parse_errors() as error:
        raise WriteError(f"{folder}: the template has values that can't be written: {short(error)}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [folder / name for name in names]


def _check(volume: Volume, folder: Path) -> None:
    if volume.array_zyx.ndim != 3:
        raise WriteError(f"{folder}: {volume.array_zyx.shape[-1]} channels; a series holds one")
    matrix = np.reshape(volume.geometry.direction_xyz, (3, 3))
    if np.abs(matrix.T @ matrix - np.eye(3)).max() > 1e-4:
        raise WriteError(f"{folder}: the axes of the grid aren't perpendicular; resample it first")
    if volume.array_zyx.dtype.kind not in "biuf":
        raise WriteError(f"{folder}: values of type {volume.dtype}; a series holds integers or real numbers")
    if volume.array_zyx.dtype.kind == "f" and not np.isfinite(volume.array_zyx).all():
        raise WriteError(f"{folder}: nan or infinite values; a series can't hold them")


def _stored(volume: Volume, folder: Path) -> _Stored:
    array = volume.array_zyx
    low, high = array.min().item(), array.max().item()
    is_integral = array.dtype.kind != "f" or bool(np.all(array == np.rint(array)))
    if is_integral:
        low, high = int(low), int(high)
        for dtype in (np.int16, np.uint16):
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                return _Stored(array.astype(dtype), "1", "0")
        if high - low <= _LEVELS:
            offset = array - array.dtype.type(low) if array.dtype.kind in "fu" else array.astype(np.int64) - low
            return _Stored(offset.astype(np.uint16), "1", _decimal(low))
    if volume.kind == "label":
        raise WriteError(f"{folder}: label values from {low} to {high} don't fit 16 bits; renumber them first")
    slope, intercept = _decimal((float(high) - float(low)) / _LEVELS), _decimal(low)
    levels = np.rint((array.astype(np.float64) - float(intercept)) / (float(slope) or 1.0))
    return _Stored(np.clip(levels, 0, _LEVELS).astype(np.uint16), slope if float(slope) else "1", intercept)


def _decimal(value: float) -> str:
    """Return a number as a decimal string of at most 16 characters (PS3.5, VR DS)."""
    return str(pydicom_module().valuerep.format_number_as_ds(float(value))).strip()


def patient_and_study(path: Path | None) -> Any:
    """Return a dataset with the elements that a new object copies from a file: patient, study, frame of reference.

    Those that a file must have are empty if it lacks them, and without a file.
    """
    common = pydicom_module().Dataset()
    for keyword in _EMPTY:
        setattr(common, keyword, "")
    common.PatientID = "ANONYMOUS"
    if path is not None:
        source = read_dataset(path, keywords=_FROM_TEMPLATE, pixels=False, notes=[])
        for keyword in _FROM_TEMPLATE:
            if keyword in source:
                common[keyword] = source[keyword]
    return common


def _common(volume: Volume, template: Series | Path | None, modality: str, new_uid: Callable[..., str]) -> Any:
    """Return the elements that all slices have in common."""
    common = patient_and_study(template.files[0] if isinstance(template, Series) else template)
    if "Modality" not in common:
        common.Modality = volume.metadata.get("Modality", "OT")
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        if keyword not in common:
            setattr(common, keyword, new_uid(keyword))
    if modality:
        common.Modality = modality
    common.SOPClassUID = _CLASSES.get(common.Modality, _SECONDARY_CAPTURE)
    common.SeriesInstanceUID = new_uid("series")
    common.ImageType = ["DERIVED", "SECONDARY", *(["AXIAL"] if common.SOPClassUID == _CT else ["OTHER"])]
    if common.SOPClassUID == _SECONDARY_CAPTURE:
        common.ConversionType = "WSD"
    if common.SOPClassUID == _CT and "RescaleType" not in common:
        common.RescaleType = "HU"
    if volume.metadata.get("PhotometricInterpretation", "").startswith("MONOCHROME1"):
        common.PhotometricInterpretation = "MONOCHROME1"
    else:
        common.PhotometricInterpretation = "MONOCHROME2"
    return common


def _slice(pydicom: Any, common: Any, stored: _Stored, geometry: Geometry, index: int, uid: str) -> Any:
    values = stored.values_zyx[index]
    spacing_z, spacing_y, spacing_x = geometry.spacing_zyx
    direction = geometry.direction_xyz
    dataset = pydicom.Dataset()
    dataset.update(common)
    dataset.SOPInstanceUID = uid
    dataset.InstanceNumber = index + 1
    dataset.ImagePositionPatient = [_decimal(value) for value in geometry.point_xyz((index, 0, 0))]
    dataset.ImageOrientationPatient = [_decimal(direction[3 * row + axis]) for axis in (0, 1) for row in range(3)]
    dataset.PixelSpacing = [_decimal(spacing_y), _decimal(spacing_x)]
    dataset.SliceThickness = _decimal(spacing_z)
    dataset.SpacingBetweenSlices = _decimal(spacing_z)
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel = 1
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.RescaleSlope, dataset.RescaleIntercept = stored.slope, stored.intercept
    if "RescaleType" not in dataset:
        dataset.RescaleType = "US"
    dataset.PixelData = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    dataset["PixelData"].VR = "OW"
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta
    return dataset


def write_slice(dataset: Any, path: Path) -> None:
    """Write the file of a slice and flush it to disk; errors are pydicom's and the system's."""
    with warnings_as_notes([]), path.open("xb") as file:
        pydicom_module().dcmwrite(file, dataset, enforce_file_format=True)
        file.flush()
        os.fsync(file.fileno())
