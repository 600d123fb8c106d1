"""DICOM series, segmentations and structure sets in, DICOM series out.

The parts: `dicom_find` (series in a folder), `dicom_stack` (slices in order, what is irregular), `dicom_read` (voxels),
`dicom_write`, `dicom_seg`, `dicom_rtstruct`, `dicom_names`.
"""

from itkit.core.errors import IrregularSeriesError, NotDicomError, UndecodableError
from itkit.io.dicom.find import Refusal, Series, SeriesKind, find_series, series_of
from itkit.io.dicom.labels import LabelMap
from itkit.io.dicom.names import case_name, pseudonym
from itkit.io.dicom.read import OnIrregular, read_series, series_geometry, series_note, split_series
from itkit.io.dicom.rtstruct import read_rtstruct
from itkit.io.dicom.seg import read_seg
from itkit.io.dicom.write import write_series

__all__ = [
    "IrregularSeriesError",
    "LabelMap",
    "NotDicomError",
    "OnIrregular",
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
    "series_note",
    "series_of",
    "split_series",
    "write_series",
]
