"""Read DICOM series, segmentations and structure sets; write DICOM series.

The modules of `itkit.io.dicom` do the work: `find` (series in a folder), `stack` (order of slices, irregularities),
`read` (voxels), `write`, `seg`, `rtstruct` and `names`.
"""

from itkit.core.errors import IrregularSeriesError, NotDicomError, UndecodableError
from itkit.io.dicom.find import Refusal, Series, SeriesKind, find_series, series_of
from itkit.io.dicom.labels import LabelMap
from itkit.io.dicom.names import case_name, pseudonym
from itkit.io.dicom.read import OnIrregular, read_series, series_geometry, series_grid, series_note, split_series
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
    "series_grid",
    "series_note",
    "series_of",
    "split_series",
    "write_series",
]
