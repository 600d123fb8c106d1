"""Pictures of slices in three planes: true proportions, radiological view, labels as outlines over a light fill."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.geometry import Geometry, Triple
from itkit.core.slices import LETTERS, PLANES, Plane, plane_slice
from itkit.core.thumbnail import class_colour
from itkit.core.volume import Volume
from itkit.kernels.labels import label_counts, remap
from itkit.report.pages import Picture, Rgb
from itkit.report.windows import GREATEST, Window, window_of

FILL = 0.35
"""Opacity of a label's area: the image under it stays readable."""
_MOST_VOXELS = 1 << 21


@dataclass(frozen=True, eq=False)
class Overlay:
    """A label map over an image.

    Parameters
    ----------
    label
        Label map on the image's grid.
    colour
        One colour (0 to 255) for all classes; by default each class has the colour that tables show beside its name.
    fill
        Opacity of the area; 0 draws outlines alone.
    classes
        The classes to draw; by default all but 0.
    """

    label: Volume
    colour: Rgb | None = None
    fill: float = FILL
    classes: Collection[int] | None = None


def three_planes(
    image: Volume | None,
    overlays: Sequence[Overlay] = (),
    *,
    at_xyz: Triple | None = None,
    window: Window | None = None,
    longest_side: int = 256,
    mm_per_pixel: float | None = None,
) -> dict[Plane, Picture]:
    """Draw the axial, coronal and sagittal slice through a point, all at one scale.

    Parameters
    ----------
    image
        The image, in any orientation; ``None`` draws the overlays on black.
    overlays
        Label maps on the image's grid, the last one on top.
    at_xyz
        Physical point, mm; by default where the first overlay has the largest cross-sections, or the middle.
    window
        Values to show as black and white; chosen by `window_of` if not given.
    longest_side
        Length of the longest side of the volume, pixels.
    mm_per_pixel
        Size of a pixel, mm, in place of ``longest_side``.

    Raises
    ------
    ValueError
        When there is neither an image nor an overlay.
    """
    if image is None and not overlays:
        raise ValueError("three_planes: give an image, an overlay, or both")
    grid = overlays[0].label.geometry if image is None else image.geometry
    if at_xyz is None:
        at_xyz = busiest_point(overlays[0].label, overlays[0].classes) if overlays else centre_point(grid)
    if image is not None and window is None:
        window = window_of(image, overlays[0].label if overlays else None)
    scale = max(grid.extent_zyx) / longest_side if mm_per_pixel is None else mm_per_pixel
    return {plane: slice_picture(image, overlays, plane, at_xyz, window, mm_per_pixel=scale) for plane in PLANES}


def slice_picture(
    image: Volume | None,
    overlays: Sequence[Overlay],
    plane: Plane,
    at_xyz: Triple,
    window: Window | None = None,
    *,
    mm_per_pixel: float = 1.0,
) -> Picture:
    """Draw one slice through a point; the arguments are those of `three_planes`.

    Image values are interpolated linearly, classes are those of the nearest voxel. The outline of a class consists of
    its outermost pixels: those with one of four neighbours in another class.
    """
    grid = overlays[0].label.geometry if image is None else image.geometry
    at_zyx = nearest_voxel(grid, at_xyz)
    if image is None or window is None:
        rows, columns = _pixels(
            plane_slice(np.broadcast_to(0, grid.size_zyx), grid, plane, at_zyx).extent_mm, mm_per_pixel
        )
        rgb = np.zeros((rows, columns, 3))
    else:
        values, extent_mm = plane_slice(image.array_zyx, grid, plane, at_zyx)
        values = np.nan_to_num(values.astype(np.float64), nan=window.low, posinf=window.high, neginf=window.low)
        grey = _interpolated(np.clip(values, -GREATEST, GREATEST), *_pixels(extent_mm, mm_per_pixel))
        grey = (grey - window.low) / ((window.high - window.low) or 1.0)
        rgb = np.repeat(np.clip(grey, 0, 1)[..., None] * 255, 3, axis=2)
    for overlay in overlays:
        own = overlay.label.geometry
        labels, _ = plane_slice(overlay.label.array_zyx, own, plane, nearest_voxel(own, at_xyz))
        _lay_over(rgb, _nearest(labels, *rgb.shape[:2]), overlay)
    return Picture(rgb.round().astype(np.uint8), LETTERS[plane])


def fused_picture(
    pair: tuple[Volume, Volume],
    windows: tuple[Window, Window],
    plane: Plane,
    at_xyz: Triple,
    *,
    mm_per_pixel: float = 1.0,
) -> Picture:
    """Draw a slice of two images on one grid over each other: the first in magenta, the second in green.

    Where both are equally bright, the picture is grey.
    """
    first, second = (
        slice_picture(image, [], plane, at_xyz, window, mm_per_pixel=mm_per_pixel)
        for image, window in zip(pair, windows, strict=True)
    )
    red, green = first.rgb[..., 0], second.rgb[..., 0]
    return Picture(np.stack([red, green, red], axis=2), first.letters)


def outline(classes: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which pixels of a label picture lie on an outline: a neighbour above, below, left or right differs.

    Examples
    --------
    >>> outline(np.array([[0, 0, 0, 0, 0], [0, 2, 2, 2, 0], [0, 2, 2, 2, 0], [0, 2, 2, 2, 0]])).astype(int)
    array([[0, 0, 0, 0, 0],
           [0, 1, 1, 1, 0],
           [0, 1, 0, 1, 0],
           [0, 1, 1, 1, 0]])
    """
    framed = np.pad(classes, 1)
    inner = framed[1:-1, 1:-1]
    differs = (framed[:-2, 1:-1] != inner) | (framed[2:, 1:-1] != inner)
    differs |= (framed[1:-1, :-2] != inner) | (framed[1:-1, 2:] != inner)
    return np.asarray(differs & (inner != 0))


def busiest_point(label: Volume, classes: Collection[int] | None = None) -> Triple:
    """Return the physical point (mm) whose three planes show the most of all classes; the middle if there are none.

    Each class counts alike, by the share of its voxels in a slice, so that a large one does not hide the others.
    """
    array = label.array_zyx
    step = max(1, round((array.size / _MOST_VOXELS) ** (1 / 3)))
    thin = array[::step, ::step, ::step]
    values = list(label_counts(thin))
    counted = [number for number, value in enumerate(values) if value != 0 and (classes is None or value in classes)]
    if not counted:
        return centre_point(label.geometry)
    places, _ = remap(thin, {value: number for number, value in enumerate(values)}, dtype=np.int64)
    at = []
    for axis, size in enumerate(thin.shape):
        slices = np.arange(size).reshape([-1 if other == axis else 1 for other in range(3)])
        table = np.bincount((slices * len(values) + places).ravel(), minlength=size * len(values))
        table = table.reshape(size, len(values))[:, counted]
        at.append(min(int((table / table.sum(axis=0)).sum(axis=1).argmax()) * step, array.shape[axis] - 1))
    return label.geometry.point_xyz((at[0], at[1], at[2]))


def centre_point(grid: Geometry) -> Triple:
    """Return the physical point (mm) in the middle of a grid."""
    z, y, x = grid.size_zyx
    return grid.point_xyz(((z - 1) / 2, (y - 1) / 2, (x - 1) / 2))


def nearest_voxel(grid: Geometry, point_xyz: Triple) -> tuple[int, int, int]:
    """Return the voxel closest to a point."""
    z, y, x = (
        min(max(int(np.floor(at + 0.5)), 0), size - 1)
        for at, size in zip(grid.index_zyx(point_xyz), grid.size_zyx, strict=True)
    )
    return z, y, x


def _pixels(extent_mm: tuple[float, float], mm_per_pixel: float) -> tuple[int, int]:
    rows, columns = (max(1, round(extent / mm_per_pixel)) for extent in extent_mm)
    return rows, columns


def _nearest(values: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """Bring a slice to a number of pixels that cover the same area; each takes the voxel at its centre."""
    y = ((np.arange(rows) + 0.5) * values.shape[0] / rows).astype(int)
    x = ((np.arange(columns) + 0.5) * values.shape[1] / columns).astype(int)
    return np.asarray(values[y[:, None], x])


def _interpolated(values: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.float64]:
    """Bring a slice to a number of pixels that cover the same area, by linear interpolation between voxel centres."""
    for axis, count in ((0, rows), (1, columns)):
        size = values.shape[axis]
        at = np.clip((np.arange(count) + 0.5) * size / count - 0.5, 0, size - 1)
        first = np.minimum(at.astype(int), max(0, size - 2))
        share = (at - first)[:, None] if axis == 0 else at - first
        second = np.minimum(first + 1, size - 1)
        values = np.take(values, first, axis) * (1 - share) + np.take(values, second, axis) * share
    return values


def _lay_over(rgb: NDArray[np.float64], classes: NDArray[Any], overlay: Overlay) -> None:
    """Colour the areas and outlines of classes in a picture."""
    if overlay.classes is not None:
        classes = np.where(np.isin(classes, list(overlay.classes)), classes, 0)
    edges = outline(classes)
    for value in np.unique(classes[classes != 0]).tolist():
        colour = np.array(overlay.colour or class_colour(int(value)), dtype=np.float64)
        area = classes == value
        rgb[area] = (1 - overlay.fill) * rgb[area] + overlay.fill * colour
        rgb[area & edges] = colour


def class_statistics(image: Volume, label: Volume) -> Mapping[int, tuple[float, float]]:
    """Return (volume in ml, mean image value) of each class except 0."""
    voxel_ml = label.geometry.voxel_ml
    values = label.array_zyx.ravel()
    classes, inverse = np.unique(values, return_inverse=True)
    counts = np.bincount(inverse)
    sums = np.bincount(inverse, weights=image.array_zyx.ravel().astype(np.float64))
    return {
        int(value): (float(count) * voxel_ml, float(total / count))
        for value, count, total in zip(classes, counts, sums, strict=True)
        if value != 0
    }
