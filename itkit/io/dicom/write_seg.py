"""Write label maps as DICOM SEG beside the series that they belong to, with highdicom (PS3.3 A.51)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from itkit.core.errors import WriteError
from itkit.core.extras import require
from itkit.core.version import VERSION
from itkit.core.volume import Volume
from itkit.io.dicom.derived import Template, digest_of, own_uid, regions_of, short_names
from itkit.io.dicom.header import parse_errors, pydicom_module, short, text, warnings_as_notes
from itkit.io.dicom.seg import rgb_to_cielab
from itkit.kernels.labels import label_counts, remap

_SYNTAX = {"binary": "1.2.840.10008.1.2.1", "labelmap": "1.2.840.10008.1.2.4.80"}
"""Explicit VR little endian, JPEG-LS lossless."""
_TISSUE = ("85756007", "SCT", "Tissue")
_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
_TIMES = {
    "ContentDate": ("StudyDate", "19000101"),
    "ContentTime": ("StudyTime", "000000"),
    "SeriesDate": ("StudyDate", ""),
    "SeriesTime": ("StudyTime", ""),
}
"""Elements with the time of day, each with the one of the study to take instead, and what stands for none."""


def seg_dataset(
    label: Volume,
    names: Mapping[int, str],
    template: Template,
    *,
    title: str = "",
    kind: Literal["binary", "labelmap"] = "binary",
    whole: bool = False,
) -> Any:
    """Return a label map as a DICOM segmentation object.

    Parameters
    ----------
    label
        A label map on the grid of the series.
    names
        Name of each class; each becomes a segment, whether or not it occurs. Segments are numbered from 1 without gaps,
        in order of the values, as the standard wants it.
    template
        The series.
    title
        SeriesDescription.
    kind
        ``"binary"``: a bit a voxel and segment, which every viewer reads; ``"labelmap"``: one value a voxel, compressed
        with JPEG-LS (Supplement 243 of the standard), far smaller with many segments.
    whole
        Keep frames in which no segment has a voxel; a map without any voxel of a segment is then possible, too.

    Returns
    -------
    pydicom.Dataset
        The segmentation; its identifiers depend on its content, its dates are those of the study.

    Raises
    ------
    MissingExtraError
        When highdicom is not installed.
    ReadError
        When a file of the series has no identifiers.
    WriteError
        When the map has no class at all, or no voxel of one, or highdicom refuses the series.
    """
    highdicom = require("highdicom", extra="dicom", why="Writing DICOM SEG")
    pydicom = pydicom_module()
    counts = label_counts(label.array_zyx)
    regions = regions_of(list(counts), names)
    if not whole and not any(value for value in counts):
        raise WriteError("the label map is empty, and a segmentation object needs a segment with voxels")
    sources = template.datasets()
    for source in sources:
        for keyword in _EMPTY:
            if keyword not in source:
                setattr(source, keyword, "")
    numbers = {region.number: number for number, region in enumerate(regions, 1)}
    array = remap(label.array_zyx, numbers, dtype=np.min_scalar_type(len(numbers)))[0]
    if len(sources) == 1:  # one file with many frames: the frames are wanted in the file's order
        array = array[np.argsort([frame.index for frame in template.frames])]
    code = pydicom.sr.coding.Code(*_TISSUE)
    algorithm = highdicom.AlgorithmIdentificationSequence("ITKIT", code, VERSION)
    segments = []
    for region, name in zip(regions, short_names(regions), strict=True):
        segment = highdicom.seg.SegmentDescription(
            numbers[region.number], name, code, code, "SEMIAUTOMATIC", algorithm_identification=algorithm
        )
        segment.SegmentDescription = f"{region.name} (label value {region.number})"[:1024]
        if region.colour is not None:
            segment.RecommendedDisplayCIELabValue = rgb_to_cielab(region.colour)
        segments.append(segment)
    uid = ("SEG", template.series.uid, digest_of(label), sorted(names.items()))
    try:
        with warnings_as_notes([]):
            dataset = highdicom.seg.Segmentation(
                sources,
                array,
                kind.upper(),
                segments,
                series_instance_uid=own_uid(*uid, "series"),
                series_number=1000 + (template.series.number or 0),
                sop_instance_uid=own_uid(*uid, "instance"),
                instance_number=1,
                manufacturer="ITKIT",
                manufacturer_model_name="ITKIT",
                software_versions=VERSION,
                device_serial_number="0",
                content_label="LABELS",
                omit_empty_frames=not whole,
                transfer_syntax_uid=_SYNTAX[kind],
            )
    except parse_errors() as error:
        raise WriteError(f"the series can't be a template of a segmentation: {short(error)}") from error
    dataset.SeriesDescription = title or "Labels"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for keyword, (of, otherwise) in _TIMES.items():
        setattr(dataset, keyword, text(sources[0], of) or otherwise)
    _without_chance(dataset, own_uid(*uid, "dimensions"))
    return dataset


def _without_chance(dataset: Any, uid: str) -> None:
    """Remove what differs from run to run: the time of day, and the random identifier of the dimensions."""
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        dataset.pop(keyword, None)
    for item in dataset.get("ContributingEquipmentSequence", ()):
        item.pop("ContributionDateTime", None)
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
