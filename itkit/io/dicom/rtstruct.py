"""Read RTSTRUCT contours as label maps (PS3.3 C.8.8.6).

A voxel belongs to a region if its centre is inside the contours of the nearest contour plane. Of the CLOSED_PLANAR
contours of a region in one plane, equal ones count once, those that overlap or lie apart are joined, and a contour
inside another is a hole (inside a hole: an island again). CLOSEDPLANAR_XOR contours are combined by exclusive or, as
the standard requires. A contour may also draw its own hole, through a keyhole: its inside is what lies inside an odd
number of its loops. A voxel centre on an edge is inside if the region lies in the direction of growing indices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.errors import ReadError
from itkit.core.geometry import Geometry
from itkit.core.params import OverlapRule
from itkit.core.volume import Volume
from itkit.io.dicom.contours import Contour, rasterise
from itkit.io.dicom.header import number, numbers, parse_errors, read_dataset, short, text, warnings_as_notes
from itkit.io.dicom.labels import LabelMap, Region, label_map, numbered
from itkit.kernels.paint import Canvas

_XOR = "CLOSEDPLANAR_XOR"
_CLOSED = ("CLOSED_PLANAR", _XOR)


@dataclass(frozen=True)
class _Roi:
    region: Region
    contours: tuple[Contour, ...]


def read_rtstruct(
    path: Path,
    reference: Volume | Geometry,
    *,
    overlap: OverlapRule = "error",
    frame_of_reference_uid: str = "",
    bridge: bool = False,
) -> LabelMap:
    """Rasterise the closed contours of a structure set onto a grid.

    Parameters
    ----------
    path
        An RTSTRUCT file.
    reference
        Grid of the result, in any orientation. Contours are filled exactly in its slices if their planes are
        perpendicular to one of its axes, and in their own planes otherwise.
    overlap
        What happens to voxels in several regions: ``"error"`` refuses the file, ``"first"`` and ``"last"`` keep the
        first or the last region in the file's order, ``"multi"`` returns one channel per region.
    frame_of_reference_uid
        Frame of reference of the grid, if it is known; regions in another one are refused.
    bridge
        Whether to fill slices without contours between slices with contours by shape-based interpolation, for contours
        that were drawn only in every second slice or so.

    Returns
    -------
    LabelMap
        Values are ROI numbers. ``facts`` counts contours of other types (points, open ones), contours that aren't flat
        or lie outside the grid, and slices without contours between slices with contours (see ``bridge``).

    Raises
    ------
    ReadError
        When the file is not a structure set, is damaged, or is in another frame of reference.
    LabelError
        When regions overlap and ``overlap`` is ``"error"``.

    Notes
    -----
    A contour between two slices belongs to the nearest slice, and to the lower one if both are equally near. Slices
    without a contour within half a slice distance stay empty, even between two planes with contours.
    """
    geometry = reference.geometry if isinstance(reference, Volume) else reference
    notes: list[str] = []
    dataset = read_dataset(path, pixels=False, notes=notes)
    skipped: Counter[str] = Counter()
    try:
        with warnings_as_notes(notes):
            rois = _read_rois(dataset, path, frame_of_reference_uid, skipped)
    except parse_errors() as error:
        raise ReadError(f"{path}: damaged structure set: {short(error)}") from error
    regions = [roi.region for roi in rois]
    canvas = Canvas(geometry.size_zyx, [region.number for region in regions], overlap)
    for roi in rois:
        for index_zyx in rasterise(roi.contours, geometry, skipped, bridge=bridge):
            canvas.paint(roi.region.number, index_zyx)
    facts = {name: str(count) for name, count in skipped.items() if count}
    if notes:
        facts["warnings"] = "; ".join(notes)
    return label_map(str(path), geometry, regions, canvas, facts)


def _read_rois(dataset: Any, path: Path, frame_of_reference_uid: str, skipped: Counter[str]) -> list[_Roi]:
    if "StructureSetROISequence" not in dataset:
        raise ReadError(f"{path}: not a structure set (it lists no regions)")
    drawn = {int(item.ReferencedROINumber): item for item in dataset.get("ROIContourSequence") or []}
    found: list[tuple[Region, tuple[Contour, ...]]] = []
    for item in dataset.StructureSetROISequence:
        frame_of_reference = text(item, "ReferencedFrameOfReferenceUID")
        if frame_of_reference_uid and frame_of_reference and frame_of_reference != frame_of_reference_uid:
            raise ReadError(f"{path}: region {text(item, 'ROIName')!r} is in another frame of reference than the image")
        roi_number = int(item.ROINumber)
        contours = drawn.get(roi_number)
        colour = numbers(contours, "ROIDisplayColor", 3) if contours is not None else None
        red, green, blue = (int(value) for value in colour or (0, 0, 0))
        region = Region(roi_number, text(item, "ROIName"), (red, green, blue) if colour else None)
        found.append((region, tuple(_closed_contours(contours, path, region, skipped))))
    regions = numbered(region for region, _ in found)
    return [_Roi(region, contours) for region, (_, contours) in zip(regions, found, strict=True)]


def _closed_contours(item: Any, path: Path, region: Region, skipped: Counter[str]) -> Iterator[Contour]:
    for contour in (item.get("ContourSequence") or []) if item is not None else []:
        kind = text(contour, "ContourGeometricType")
        values = _coordinates(contour)
        stated = number(contour, "NumberOfContourPoints")
        if len(values) % 3 or (stated is not None and int(stated) * 3 != len(values)):
            raise ReadError(f"{path}: a contour of region {region.name!r} has {len(values)} coordinates, "
                            f"{'a multiple of 3' if stated is None else int(stated) * 3} expected")  # fmt: skip
        if not np.isfinite(values).all():
            raise ReadError(f"{path}: a contour of region {region.name!r} has coordinates that are not numbers")
        if kind not in _CLOSED:
            skipped[f"{kind or 'untyped'} contours"] += 1
        elif len(values) < 9:
            skipped["contours of less than three points"] += 1
        else:
            yield Contour(values.reshape(-1, 3), kind == _XOR)


def _coordinates(contour: Any) -> NDArray[np.float64]:
    """Parse ContourData in one call; pydicom would create an object for every number, which takes ten times as long."""
    element = contour.get_item("ContourData")
    value = None if element is None else element.value
    if isinstance(value, bytes):
        value = value.strip(b" \0").split(b"\\") if value.strip(b" \0") else None
    return np.array([] if value is None else value).astype(np.float64)
