"""Pictures of validation cases: the truth, and below it the prediction with the truth's outlines, in three planes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.geometry import Geometry
from itkit.core.grids import oriented_grid
from itkit.core.slices import PLANES
from itkit.core.volume import Volume
from itkit.kernels.labels import remap
from itkit.report.pictures import Overlay, busiest_point, three_planes
from itkit.report.windows import window_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from itkit.inference.model_folder import Intensity

_GAP = 6
_TRUTH = (255, 255, 255)


def overlay_picture(
    image_zyx: NDArray[np.float32],
    truth_zyx: NDArray[Any],
    found_zyx: NDArray[Any],
    *,
    spacing_zyx: tuple[float, float, float],
    orient: str,
    intensity: Intensity,
    values: Sequence[int],
    longest_side: int = 256,
) -> NDArray[np.uint8]:
    """Draw a case.

    Parameters
    ----------
    image_zyx
        The first channel as the network sees it.
    truth_zyx, found_zyx
        Numbers of classes.
    spacing_zyx
        Distances of voxels, mm.
    orient
        Directions of the axes, e.g. ``"LPS"``.
    intensity
        How the image was normalised; a CT is shown in HU.
    values
        Label value of each class, background first; it decides the colour.
    longest_side
        Length of the longest side of the volume, pixels.

    Returns
    -------
    numpy.ndarray
        ``(rows, columns, 3)``: above the truth, below the prediction in the same colours and the truth's outlines in
        white; axial, coronal and sagittal.
    """
    z, y, x = truth_zyx.shape
    direction = oriented_grid(Geometry((1, 1, 1), (1.0, 1.0, 1.0)), orient).direction_xyz
    grid = Geometry((z, y, x), spacing_zyx, direction_xyz=direction)
    modality = ""
    if intensity.scheme == "ct":
        _, _, mean, sd = intensity.numbers
        image_zyx, modality = image_zyx * np.float32(sd) + np.float32(mean), "CT"
    image = Volume(np.ascontiguousarray(image_zyx), grid)
    table = dict(enumerate(values))
    truth, found = (
        Volume(remap(np.ascontiguousarray(part), table, dtype=np.int32)[0], grid, "label")
        for part in (truth_zyx, found_zyx)
    )
    point = busiest_point(truth if truth.array_zyx.any() else found)
    window = window_of(image, truth, modality)
    rows = [[Overlay(truth)], [Overlay(found), Overlay(truth, _TRUTH, fill=0.0)]]
    drawn = [three_planes(image, overlays, at_xyz=point, window=window, longest_side=longest_side) for overlays in rows]
    return _stacked([_beside([found[plane].rgb for plane in PLANES]) for found in drawn])


def _beside(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    height = max(picture.shape[0] for picture in pictures)
    width = sum(picture.shape[1] for picture in pictures) + _GAP * (len(pictures) - 1)
    result = np.zeros((height, width, 3), np.uint8)
    left = 0
    for picture in pictures:
        top = (height - picture.shape[0]) // 2
        result[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1] + _GAP
    return result


def _stacked(rows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    gap = np.zeros((_GAP, rows[0].shape[1], 3), np.uint8)
    return np.concatenate([rows[0], gap, rows[1]])
