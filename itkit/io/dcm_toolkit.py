"""DICOM series, segmentations and structure sets in, DICOM series out.

The parts: `dicom_find` (series in a folder), `dicom_stack` (slices in order, what is irregular), `dicom_read` (voxels),
`dicom_write`, `dicom_seg`, `dicom_rtstruct`, `dicom_names`.
"""

from itkit.io.dicom_find import Refusal, Series, SeriesKind, find_series, series_of
from itkit.io.dicom_header import NotDicomError
from itkit.io.dicom_labels import LabelMap, Overlap
from itkit.io.dicom_names import case_name, pseudonym
from itkit.io.dicom_pixels import UndecodableError
from itkit.io.dicom_read import OnIrregular, read_series, series_geometry, split_series
from itkit.io.dicom_rtstruct import read_rtstruct
from itkit.io.dicom_seg import read_seg
from itkit.io.dicom_stack import IrregularSeriesError
from itkit.io.dicom_write import write_series

__all__ = [
    "IrregularSeriesError",
    "LabelMap",
    "NotDicomError",
    "OnIrregular",
    "Overlap",
    "Refusal",
    "Series",
    "SeriesKind",
    "UndecodableError",
    "case_name",
    "find_series",
    "pseudonym",
    "read_rtstruct",
    "read_seg",
    "read_series",
    "series_geometry",
    "series_of",
    "split_series",
    "write_series",
]
