"""DICOM files made with pydicom alone, for the tests of the DICOM readers."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_CT, ENHANCED_MR = f"{CT}.1", f"{MR}.1"
AXIAL = (1, 0, 0, 0, 1, 0)
OBLIQUE = tuple(
    np.linalg.qr(np.array([[0.9, -0.3, 0.2], [0.35, 0.88, -0.1], [-0.1, 0.25, 0.95]]))[0].T[:2].ravel().round(6)
)


def dataset(*, sop_class=CT, series="1.2.3.1", study="1.2.3", **elements):
    one = Dataset()
    one.SOPClassUID, one.SOPInstanceUID = sop_class, generate_uid()
    one.SeriesInstanceUID, one.StudyInstanceUID, one.FrameOfReferenceUID = series, study, "1.2.3.9"
    one.PatientID, one.PatientName, one.PatientBirthDate = "SECRET-4711", "Doe^Jane", "19700101"
    one.Modality = "CT" if sop_class == CT else "MR"
    one.SeriesNumber, one.SeriesDescription = 7, "thin"
    for keyword, value in elements.items():
        setattr(one, keyword, value)
    return one


def image(values, position, *, orientation=AXIAL, spacing_yx=(0.5, 0.75), thickness=2.5, **elements):
    """One slice; the type of ``values`` (16 or 8 bits) decides how it is stored."""
    values = np.asarray(values)
    one = dataset(**elements)
    one.Rows, one.Columns = values.shape[-2:]
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, elements.get("PhotometricInterpretation", "MONOCHROME2")
    bits = 8 * values.dtype.itemsize
    one.BitsAllocated, one.BitsStored, one.HighBit = (
        bits,
        elements.get("BitsStored", bits),
        elements.get("HighBit", bits - 1),
    )
    one.PixelRepresentation = int(values.dtype.kind == "i")
    if position is not None:
        one.ImagePositionPatient = [float(f"{value:.6f}") for value in position]
        one.ImageOrientationPatient = list(orientation)
        one.PixelSpacing = list(spacing_yx)
    if thickness is not None:
        one.SliceThickness = thickness
    one.PixelData = np.ascontiguousarray(values).tobytes()
    one["PixelData"].VR = "OW" if bits > 8 else "OB"
    return one


def save(one, path, syntax=ExplicitVRLittleEndian):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = syntax
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    pydicom.dcmwrite(path, one, enforce_file_format=True)
    return path


def normal_of(orientation):
    return np.cross(orientation[:3], orientation[3:])


def slices(heights, *, origin=(-10.0, 20.0, 5.0), orientation=AXIAL, shape=(5, 7), values=None, **elements):
    """Slices at heights along the normal; slice *k* holds ``100 * k + 10 * row + column`` unless told otherwise."""
    rows, columns = np.indices(shape)
    for at, height in enumerate(heights):
        position = np.array(origin) + height * normal_of(orientation)
        array = (100 * at + 10 * rows + columns).astype(np.int16) if values is None else values[at]
        yield image(array, position, orientation=orientation, InstanceNumber=at + 1, **elements)


def save_all(datasets, folder, *, seed=3):
    """Save under names in an order of their own, without extension."""
    datasets = list(datasets)
    for name, one in zip(np.random.default_rng(seed).permutation(len(datasets)), datasets, strict=True):
        save(one, Path(folder) / f"IM{name:04d}")
    return folder


def enhanced(heights, *, echo_times=None, orientation=AXIAL, sop_class=ENHANCED_MR, **elements):
    """One enhanced multi-frame file with rescale shared and positions per frame, in the order given."""
    values = np.stack(
        [np.full((4, 6), 10 * at, np.uint16) + np.arange(6, dtype=np.uint16) for at in range(len(heights))]
    )
    one = image(values, None, thickness=None, sop_class=sop_class, NumberOfFrames=len(heights), **elements)
    shared, per_frame = Dataset(), []
    measures, plane, transform = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness, measures.SpacingBetweenSlices = [0.5, 0.75], 9.0, 9.0
    plane.ImageOrientationPatient = list(orientation)
    transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = 2, -5, "US"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([plane])
    shared.PixelValueTransformationSequence = Sequence([transform])
    for at, height in enumerate(heights):
        group, position = Dataset(), Dataset()
        position.ImagePositionPatient = list(np.round(np.array([1.0, 2.0, 3.0]) + height * normal_of(orientation), 6))
        group.PlanePositionSequence = Sequence([position])
        if echo_times:
            echo = Dataset()
            echo.EffectiveEchoTime = echo_times[at]
            group.MREchoSequence = Sequence([echo])
        per_frame.append(group)
    one.SharedFunctionalGroupsSequence = Sequence([shared])
    one.PerFrameFunctionalGroupsSequence = Sequence(per_frame)
    return one
