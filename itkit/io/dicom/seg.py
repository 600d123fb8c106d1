"""Read DICOM SEG as label maps (PS3.3 A.51 and C.8.20): binary, fractional and labelmap segmentations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.errors import GeometryMismatchError, ReadError
from itkit.core.geometry import Geometry
from itkit.core.params import OverlapRule
from itkit.io.dicom.header import (
    COSINE_TOLERANCE,
    Frame,
    number,
    numbers,
    parse_errors,
    read_dataset,
    read_frames,
    short,
    text,
    warnings_as_notes,
)
from itkit.io.dicom.labels import Colour, LabelMap, Region, label_map, numbered
from itkit.io.dicom.pixels import decoded
from itkit.io.dicom.stack import slice_axes
from itkit.kernels.paint import Canvas

#: A pixel coincides with a voxel if its index differs by at most this much.
_ON_GRID = 0.1
_D65 = (0.95047, 1.0, 1.08883)
_XYZ_TO_RGB = np.array(
    [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]]
)


def read_seg(
    path: Path, reference: Geometry | None = None, *, overlap: OverlapRule = "error", threshold: float = 0.5
) -> LabelMap:
    """Read a segmentation object.

    Parameters
    ----------
    path
        A SEG file.
    reference
        Grid of the result; if its voxels don't coincide with those of the segmentation, each takes the nearest one.
        ``None`` uses the smallest grid that contains all frames.
    overlap
        What happens to voxels in several segments: ``"error"`` refuses the file, ``"first"`` and ``"last"`` keep the
        first or the last segment in the file's order, ``"multi"`` returns one channel per segment.
    threshold
        A voxel of a fractional segment counts as foreground from this fraction on.

    Returns
    -------
    LabelMap
        Values are segment numbers. Frames that the file omits are background.

    Raises
    ------
    ReadError
        When the file is not a segmentation, is damaged, or its frames do not lie on a regular grid.
    LabelError
        When segments overlap and ``overlap`` is ``"error"``.
    GeometryMismatchError
        When no frame lies on the reference grid.
    """
    notes: list[str] = []
    dataset = read_dataset(path, pixels=True, notes=notes)
    try:
        with warnings_as_notes(notes):
            found = _read(dataset, path, reference, overlap, threshold, notes)
    except parse_errors() as error:
        raise ReadError(f"{path}: damaged segmentation: {short(error)}") from error
    return replace(found, facts={**found.facts, "warnings": "; ".join(notes)}) if notes else found


def cielab_to_rgb(lab: Sequence[float]) -> Colour:
    """Convert CIELab (L* 0 to 100) to sRGB, 0 to 255, by way of XYZ with the white point D65 (IEC 61966-2-1).

    Examples
    --------
    >>> cielab_to_rgb((53.24, 80.09, 67.20))
    (255, 0, 0)
    """
    lightness, a, b = lab
    y = (lightness + 16) / 116
    curve = np.array([y + a / 500, y, y - b / 200])
    xyz = np.where(curve > 6 / 29, curve**3, (curve - 4 / 29) * 3 * (6 / 29) ** 2) * _D65
    linear = np.clip(_XYZ_TO_RGB @ xyz, 0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = (round(float(value) * 255) for value in rgb)
    return (red, green, blue)


def rgb_to_cielab(colour: Colour) -> list[int]:
    """Return an sRGB colour as DICOM stores it: CIELab in 16-bit integers (PS3.3 C.10.7.1.1); see `cielab_to_rgb`.

    Examples
    --------
    >>> rgb_to_cielab((255, 0, 0))
    [34891, 53480, 50167]
    """
    rgb = np.array(colour) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.linalg.solve(_XYZ_TO_RGB, linear) / _D65
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    lab = np.array([(116 * y - 16) / 100, (500 * (x - y) + 128) / 255, (200 * (y - z) + 128) / 255])
    return [int(value) for value in np.clip(np.rint(lab * 65535), 0, 65535)]


def _read(
    dataset: Any, path: Path, reference: Geometry | None, overlap: OverlapRule, threshold: float, notes: list[str]
) -> LabelMap:
    kind = text(dataset, "SegmentationType")
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise ReadError(f"{path}: not a segmentation (SegmentationType {kind or 'missing'})")
    frames = _placed_frames(dataset, path)
    geometry = reference or _own_grid(frames, dataset, path)
    items = [(int(item.SegmentNumber), _region(item)) for item in dataset.SegmentSequence]
    regions = numbered(region for _, region in items if kind != "LABELMAP" or region.number != 0)
    numbers_by_file = dict(
        zip((old for old, region in items if kind != "LABELMAP" or region.number != 0), regions, strict=True)
    )
    canvas = Canvas(geometry.size_zyx, [region.number for region in regions], overlap)
    own_grid = geometry if all(_is_on_grid(frame, geometry) for frame in frames) else _own_grid(frames, dataset, path)
    lost, met = 0, 0
    own_masks: dict[int, NDArray[np.bool_]] = {}
    for frame, segment, mask in _masks(dataset, path, frames, kind, threshold, notes):
        if segment not in numbers_by_file:
            raise ReadError(f"{path}: a frame belongs to segment {segment}, which the file doesn't describe")
        inside, outside = _on_grid_indices(frame, mask, own_grid)
        if own_grid is geometry:
            lost, met = lost + outside, met + len(inside[0])
            canvas.paint(numbers_by_file[segment].number, inside)
        else:
            own_masks.setdefault(segment, np.zeros(own_grid.size_zyx, bool))[inside] = True
    for segment, array in own_masks.items():
        index = _nearest_indices(array, own_grid, geometry)
        met += len(index[0])
        canvas.paint(numbers_by_file[segment].number, index)
        lost += int(array.any() and not len(index[0]))
    if lost and not met:
        raise GeometryMismatchError(f"{path}: no segmented voxel is inside the grid; give the grid of its image")
    facts = {"type": kind.lower()}
    described = len(dataset.get("PerFrameFunctionalGroupsSequence") or frames)
    if described > len(frames):
        facts["frames"] = f"{len(frames)}, though the file describes {described}"
    if own_grid is not geometry:
        facts["grid"] = "the segmentation's own grid is another; each voxel took the nearest value"
    if lost:
        facts["off_grid"] = f"{lost} segmented voxels (on another grid: segments) are outside the reference grid"
    return label_map(str(path), geometry, regions, canvas, facts)


def _placed_frames(dataset: Any, path: Path) -> list[Frame]:
    frames = list(read_frames(dataset, path))
    for frame in frames:
        if frame.position_xyz is None or frame.orientation_xyz is None or frame.spacing_yx is None:
            raise ReadError(f"{path}: frame {frame.index + 1} lacks position, orientation or pixel spacing")
    return frames


def _region(item: Any) -> Region:
    lab = numbers(item, "RecommendedDisplayCIELabValue", 3)
    colour = None
    if lab:  # 16-bit integers over L* 0 to 100, a* and b* -128 to 127 (PS3.3 C.10.7.1.1)
        lightness, a, b = (value / 65535 for value in lab)
        colour = cielab_to_rgb((lightness * 100, a * 255 - 128, b * 255 - 128))
    return Region(int(item.SegmentNumber), text(item, "SegmentLabel"), colour)


def _masks(
    dataset: Any, path: Path, frames: list[Frame], kind: str, threshold: float, notes: list[str]
) -> Iterator[tuple[Frame, int, NDArray[np.bool_]]]:
    """Yield the masks of every frame's segments, one after the other."""
    maximum = number(dataset, "MaximumFractionalValue") or 1
    least = threshold * maximum if kind == "FRACTIONAL" else 1
    background = number(dataset, "PixelPaddingValue") or 0
    for frame, array in zip(frames, decoded(dataset, path, range(len(frames)), notes), strict=True):
        if kind == "LABELMAP":
            for value in np.unique(array):
                if value not in (0, background):
                    yield frame, int(value), array == value
        else:
            yield frame, _segment_of(dataset, frame.index), array >= least


def _segment_of(dataset: Any, index: int) -> int:
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or [{}]
    shared = dataset.get("SharedFunctionalGroupsSequence") or [{}]
    for group in (per_frame[index], shared[0]):
        items = group.get("SegmentIdentificationSequence")
        if items:
            return int(items[0].ReferencedSegmentNumber)
    return int(dataset.SegmentSequence[0].SegmentNumber)


def _steps(frame: Frame, grid: Geometry) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the index (ZYX) of a frame's first pixel, and the steps to the next row and the next column."""
    axes = slice_axes(frame)
    y, x = frame.spacing_yx or (1.0, 1.0)
    start = np.array(frame.position_xyz, float)
    first, below, beside = (_index(point, grid) for point in (start, start + axes[1] * y, start + axes[0] * x))
    return first, below - first, beside - first


def _index(point_xyz: NDArray[np.float64], grid: Geometry) -> NDArray[np.float64]:
    x, y, z = point_xyz.tolist()
    return np.array(grid.index_zyx((x, y, z)))


def _is_on_grid(frame: Frame, grid: Geometry) -> bool:
    """Return whether every pixel of a frame coincides with a voxel of a grid."""
    first, row, column = _steps(frame, grid)
    rows, columns = frame.size_yx
    drift = np.abs(row - np.round(row)) * rows + np.abs(column - np.round(column)) * columns
    is_unit = np.abs(np.round(row)).sum() == 1 and np.abs(np.round(column)).sum() == 1
    return bool(is_unit and np.all(np.abs(first - np.round(first)) + drift <= _ON_GRID))


def _on_grid_indices(frame: Frame, mask: NDArray[np.bool_], grid: Geometry) -> tuple[tuple[NDArray[Any], ...], int]:
    """Return the voxel indices of a frame's foreground inside a grid, and the number of voxels outside."""
    first, row, column = (np.round(part).astype(int) for part in _steps(frame, grid))
    rows, columns = np.nonzero(mask)
    index = first[:, None] + row[:, None] * rows + column[:, None] * columns
    is_inside = np.all((index >= 0) & (index < np.array(grid.size_zyx)[:, None]), axis=0)
    return tuple(index[:, is_inside]), int(np.count_nonzero(~is_inside))


def _own_grid(frames: list[Frame], dataset: Any, path: Path) -> Geometry:
    """Return the smallest regular grid that contains all frames."""
    first = frames[0]
    if any(
        frame.size_yx != first.size_yx
        or np.abs(np.subtract(frame.orientation_xyz or (), first.orientation_xyz or ())).max() > COSINE_TOLERANCE
        or not np.allclose(frame.spacing_yx or (), first.spacing_yx or (), rtol=COSINE_TOLERANCE)
        for frame in frames
    ):
        raise ReadError(f"{path}: its frames differ in orientation, size or pixel spacing; give the grid of its image")
    axes = slice_axes(first)
    positions = np.array([frame.position_xyz for frame in frames], float)
    along = positions @ axes[2]
    low = frames[int(along.argmin())]
    gaps = np.diff(np.unique(np.round(along, 3)))
    stated = _stated_spacing(dataset, first)
    spacing_z = _slice_distance(gaps, stated)
    y, x = first.spacing_yx or (1.0, 1.0)
    sideways = (positions - np.array(low.position_xyz)) @ axes[:2].T
    if spacing_z is None or np.abs(sideways).max() > _ON_GRID * min(y, x):
        raise ReadError(f"{path}: its frames do not lie on a regular grid; give the grid of its image")
    px, py, pz = low.position_xyz or (0.0, 0.0, 0.0)
    return Geometry(
        size_zyx=(round(float(along.max() - along.min()) / spacing_z) + 1, *first.size_yx),
        spacing_zyx=(spacing_z, y, x),
        origin_xyz=(px, py, pz),
        direction_xyz=tuple(float(value) for value in axes.T.ravel()),
    )


def _stated_spacing(dataset: Any, first: Frame) -> list[float]:
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
    measures = (shared.get("PixelMeasuresSequence") or [{}])[0]
    stated = [number(measures, "SpacingBetweenSlices"), first.thickness_mm]
    return [value for value in stated if value and value > 0]


def _slice_distance(gaps: NDArray[Any], stated: list[float]) -> float | None:
    """Return a distance of which all gaps are multiples: a stated one if it fits, else the smallest gap."""
    if not len(gaps):
        return stated[0] if stated else None
    for distance in (*stated, float(gaps.min())):
        counts = np.round(gaps / distance)
        if counts.min() >= 1 and np.all(np.abs(gaps / distance - counts) <= 0.01 * counts):
            return float(gaps.sum() / counts.sum())
    return None


def _nearest_indices(array: NDArray[np.bool_], own: Geometry, grid: Geometry) -> tuple[NDArray[Any], ...]:
    """Return the voxels of a grid whose centre lies in a foreground voxel of another grid."""
    found: list[NDArray[Any]] = []
    ends = [own.index_zyx(grid.point_xyz(index)) for index in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]
    corner, *unit = np.array(ends)[..., None, None]
    unit = [step - corner for step in unit]
    y, x = np.indices(grid.size_zyx[1:])
    size = np.array(own.size_zyx)[:, None, None]
    for z in range(grid.size_zyx[0]):
        at = corner + unit[0] * z + unit[1] * y + unit[2] * x
        index = np.floor(at + 0.5 + 1e-6).astype(int)
        is_inside = np.all((index >= 0) & (index < size), axis=0)
        hit = np.zeros(grid.size_zyx[1:], bool)
        hit[is_inside] = array[tuple(index[:, is_inside])]
        rows, columns = np.nonzero(hit)
        found.append(np.stack([np.full(len(rows), z), rows, columns]))
    return tuple(np.concatenate(found, axis=1))
