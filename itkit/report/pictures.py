"""Pictures of slices in three planes: true proportions, radiological view, label colours on top of the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from itkit.core.thumbnail import class_colour
from itkit.core.volume import Volume
from itkit.process.geometry import orient

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
_AXIS = {"axial": 0, "coronal": 1, "sagittal": 2}


def slice_picture(
    image: Volume,
    label: Volume | None,
    plane: Plane,
    *,
    fraction: float = 0.5,
    window: tuple[float, float] = (-160.0, 240.0),
    height_mm_per_pixel: float = 1.0,
) -> NDArray[np.uint8]:
    """Draw one slice.

    Parameters
    ----------
    image, label
        Image and label map on one grid, in any orientation.
    plane
        Plane of the patient.
    fraction
        Position of the slice along the axis across the plane, 0 to 1.
    window
        Image values that are shown as black and as white.
    height_mm_per_pixel
        Size of a pixel of the picture, mm.

    Returns
    -------
    numpy.ndarray
        ``(rows, columns, 3)``, 8-bit RGB; the patient's right is on the left, anterior or superior at the top.
    """
    turned = orient(image, "LPS")
    axis = _AXIS[plane]
    index = min(turned.array_zyx.shape[axis] - 1, int(fraction * turned.array_zyx.shape[axis]))
    grey = np.take(turned.array_zyx, index, axis=axis).astype(np.float64)
    low, high = window
    rgb = np.repeat(np.clip((grey - low) / (high - low), 0, 1)[..., None] * 255, 3, axis=2)
    if label is not None:
        classes = np.take(orient(label, "LPS").array_zyx, index, axis=axis)
        for value in np.unique(classes):
            if value != 0:
                rgb[classes == value] = 0.55 * rgb[classes == value] + 0.45 * np.array(class_colour(int(value)))
    rows_mm, columns_mm = (turned.geometry.spacing_zyx[a] for a in range(3) if a != axis)
    if axis != 0:
        rgb = rgb[::-1]
    scaled = _enlarged(rgb, rows_mm / height_mm_per_pixel, columns_mm / height_mm_per_pixel)
    return np.asarray(scaled.round().astype(np.uint8))


def _enlarged(rgb: NDArray[Any], rows: float, columns: float) -> NDArray[Any]:
    """Enlarge a picture by repeating rows and columns."""
    height, width = max(1, round(rgb.shape[0] * rows)), max(1, round(rgb.shape[1] * columns))
    y = np.minimum((np.arange(height) / rows).astype(int), rgb.shape[0] - 1)
    x = np.minimum((np.arange(width) / columns).astype(int), rgb.shape[1] - 1)
    return np.asarray(rgb[y][:, x])


def class_statistics(image: Volume, label: Volume) -> Mapping[int, tuple[float, float]]:
    """Return (volume in ml, mean image value) of each class except 0."""
    voxel_ml = float(np.prod(label.geometry.spacing_zyx)) / 1000
    values = label.array_zyx.ravel()
    classes, inverse = np.unique(values, return_inverse=True)
    counts = np.bincount(inverse)
    sums = np.bincount(inverse, weights=image.array_zyx.ravel().astype(np.float64))
    return {
        int(value): (float(count) * voxel_ml, float(total / count))
        for value, count, total in zip(classes, counts, sums, strict=True)
        if value != 0
    }
