"""Write label maps as RTSTRUCT beside the series that they belong to (PS3.3 A.19 and C.8.8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.errors import WriteError
from itkit.core.geometry import Geometry
from itkit.core.version import VERSION
from itkit.core.volume import Volume
from itkit.io.dicom.derived import IDENTIFIERS, Template, digest_of, own_uid, regions_of, short_names
from itkit.io.dicom.header import Frame, pydicom_module, text
from itkit.io.dicom.outline import outlines
from itkit.io.dicom.write import patient_and_study
from itkit.kernels.labels import label_counts

_RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY = "1.2.840.10008.3.1.2.3.1"
_CONTOUR_DATA = 0x30060050


def rtstruct_dataset(label: Volume, names: Mapping[int, str], template: Template, *, title: str = "") -> Any:
    """Return a label map as a structure set: the outline of every class in every slice, along the edges of voxels.

    Parameters
    ----------
    label
        A label map on the grid of the series.
    names
        Name of each class; each becomes a region, whether or not it occurs. Its number is the label value; negative
        values get numbers above the highest.
    template
        The series.
    title
        SeriesDescription and label of the structure set.

    Returns
    -------
    pydicom.Dataset
        The structure set, to be written with implicit VR, as contours may be longer than explicit VR allows. Its
        identifiers depend on its content, its dates are those of the study.

    Raises
    ------
    ReadError
        When a file of the series has no identifiers.
    WriteError
        When the map has no class at all.
    """
    pydicom = pydicom_module()
    counts = label_counts(label.array_zyx)
    regions = regions_of(list(counts), names)
    if not any(value for value in counts):
        raise WriteError("the label map is empty: there is no outline to write")
    by_path = dict(
        zip(dict.fromkeys(frame.path for frame in template.frames), template.datasets(IDENTIFIERS), strict=True)
    )
    first = next(iter(by_path.values()))
    uid = ("RTSTRUCT", template.series.uid, digest_of(label), sorted(names.items()))
    dataset = patient_and_study(template.series.files[0])
    dataset.pop("RescaleType", None)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = _RTSTRUCT, own_uid(*uid, "instance")
    dataset.SeriesInstanceUID, dataset.SeriesNumber = own_uid(*uid, "series"), 1000 + (template.series.number or 0)
    dataset.InstanceNumber, dataset.Modality = 1, "RTSTRUCT"
    dataset.Manufacturer, dataset.SoftwareVersions = "ITKIT", VERSION
    dataset.SeriesDescription = title or "Labels"
    dataset.StructureSetLabel = (title or "Labels")[:16]
    dataset.StructureSetDate, dataset.StructureSetTime = text(dataset, "StudyDate"), text(dataset, "StudyTime")
    dataset.OperatorsName = ""
    dataset.ApprovalStatus = "UNAPPROVED"
    frame_uid = text(first, "FrameOfReferenceUID")
    dataset.FrameOfReferenceUID = frame_uid
    references = [_reference(pydicom, by_path[frame.path], frame, template) for frame in template.frames]
    dataset.ReferencedFrameOfReferenceSequence = [_frame_of_reference(pydicom, first, references)]
    free = max([0, *(region.number for region in regions)]) + 1
    rois, contours, observations = [], [], []
    for region, name in zip(regions, short_names(regions), strict=True):
        number = region.number
        if number < 1:
            number, free = free, free + 1
        rois.append(_items(pydicom, ROINumber=number, ReferencedFrameOfReferenceUID=frame_uid, ROIName=name,
                           ROIDescription=f"{region.name} (label value {region.number})"[:1024],
                           ROIGenerationAlgorithm=""))  # fmt: skip
        contour = _items(pydicom, ReferencedROINumber=number, ROIDisplayColor=list(region.colour or (255, 0, 0)))
        if counts.get(region.number):
            contour.ContourSequence = list(_contours(pydicom, label, region.number, references))
        contours.append(contour)
        observations.append(_items(pydicom, ObservationNumber=len(rois), ReferencedROINumber=number,
                                   RTROIInterpretedType="", ROIInterpreter=""))  # fmt: skip
    dataset.StructureSetROISequence, dataset.ROIContourSequence = rois, contours
    dataset.RTROIObservationsSequence = observations
    return dataset


def _items(pydicom: Any, **values: Any) -> Any:
    dataset = pydicom.Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _reference(pydicom: Any, source: Any, frame: Frame, template: Template) -> Any:
    item = _items(pydicom, ReferencedSOPClassUID=source.SOPClassUID, ReferencedSOPInstanceUID=source.SOPInstanceUID)
    if len({one.path for one in template.frames}) < len(template.frames):
        item.ReferencedFrameNumber = frame.index + 1
    return item


def _frame_of_reference(pydicom: Any, source: Any, references: list[Any]) -> Any:
    series = _items(pydicom, SeriesInstanceUID=source.SeriesInstanceUID, ContourImageSequence=references)
    study = _items(
        pydicom,
        ReferencedSOPClassUID=_STUDY,
        ReferencedSOPInstanceUID=source.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _items(pydicom, FrameOfReferenceUID=source.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _contours(pydicom: Any, label: Volume, value: int, references: list[Any]) -> Iterator[Any]:
    for z, plane in enumerate(label.array_zyx):
        mask = plane == value
        if not mask.any():
            continue
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        for polygon in outlines(box):
            points = _points(label.geometry, z, polygon + np.array([rows[0], columns[0]]))
            item = _items(
                pydicom,
                ContourImageSequence=[references[z]],
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(points),
            )
            item[_CONTOUR_DATA] = _coordinates(pydicom, points)
            yield item


def _points(grid: Geometry, z: int, polygon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the points ``(N, 3)``, mm, of a polygon in a slice."""
    corner = np.array(grid.point_xyz((z, 0, 0)))
    down, along = (np.array(grid.point_xyz(index)) - corner for index in ((z, 1, 0), (z, 0, 1)))
    points: NDArray[np.float64] = corner + polygon[:, :1] * down + polygon[:, 1:] * along
    return points


def _coordinates(pydicom: Any, points: NDArray[np.float64]) -> Any:
    """Return the element of a contour's coordinates as it is stored; an object for each number would take long."""
    value = "\\".join(f"{number:.9g}" for number in points.ravel().tolist()).encode()
    value += b" " * (len(value) % 2)
    tag = pydicom.tag.Tag(_CONTOUR_DATA)
    return pydicom.dataelem.RawDataElement(tag, None, len(value), value, 0, True, True)
