"""The window of an image: which values a picture shows as black and as white."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from itkit.core.volume import Volume


class Window(NamedTuple):
    """Values that are shown as black and as white, and what the window is for."""

    low: float
    high: float
    name: str


CT_WINDOWS: Mapping[str, Window] = {
    "lung": Window(-1350.0, 150.0, "lung window"),
    "soft tissue": Window(-160.0, 240.0, "soft-tissue window"),
    "bone": Window(-500.0, 1300.0, "bone window"),
}
"""Level and width in HU as radiology uses them: -600/1500, 40/400, 400/1800."""

GREATEST = 1e300
"""Greatest value of a picture, whose sums and differences are finite."""
_MOST_VOXELS = 1 << 18
_AIR_HU, _LUNG_HU, _TISSUE_HU, _BONE_HU = -950, -600, -200, 300


def window_of(image: Volume, label: Volume | None = None, modality: str = "") -> Window:
    """Choose the window for an image.

    Parameters
    ----------
    image
        The image; of several channels the first one is used.
    label
        Label map on the same grid: a CT window is chosen for the labelled voxels.
    modality
        ``"CT"``, ``"MR"`` or another one, as ``dataset.json`` names it; empty: an image whose values reach down to air
        in HU is a CT. The values of a CT may have been normalized; then they are no HU.

    Returns
    -------
    Window
        For CT the lung, bone or soft-tissue window; for others the 1st to the 99th percentile of the values that are
        not zero.
    """
    thin = _thin(image)
    values = _values(image)
    finite = np.isfinite(values)
    inside = None if label is None else (label.array_zyx[thin].ravel() > 0)[finite]
    values = np.clip(values[finite], -GREATEST, GREATEST)
    if values.size == 0:
        return Window(0.0, 1.0, "no finite value")
    if _is_in_hu(values, modality):
        return CT_WINDOWS[_body_part(values, None if inside is None else values[inside])]
    shown = values[values != 0]
    low, high = np.percentile(shown if shown.size else values, (1, 99))
    return Window(float(low), float(high) if high > low else float(low) + 1, "1st to 99th percentile")


def _is_in_hu(values: NDArray[Any], modality: str) -> bool:
    if modality.upper() != "CT":
        return not modality and guess_modality(values) == "CT"
    low, high = (float(value) for value in np.percentile(values, (0.5, 99.5)))
    return -5000 < low < high - 50 < 5000


def is_ct(image: Volume) -> bool:
    """Return whether an image's values reach from air to tissue in HU."""
    values = _values(image)
    values = values[np.isfinite(values)]
    return bool(values.size) and guess_modality(values) == "CT"


def _values(image: Volume) -> NDArray[np.float64]:
    array = image.array_zyx if image.array_zyx.ndim == 3 else image.array_zyx[..., 0]
    return array[_thin(image)].ravel().astype(np.float64)


def _thin(image: Volume) -> tuple[slice, slice, slice]:
    """Return the voxels that are looked at: a coarse lattice of a large volume."""
    steps = (max(1, round((math.prod(image.shape_zyx) / _MOST_VOXELS) ** (1 / 3))),) * 3
    z, y, x = (
        slice(step // 2, None, step) if step < size else slice(None)
        for step, size in zip(steps, image.shape_zyx, strict=True)
    )
    return z, y, x


def guess_modality(values: NDArray[Any]) -> Literal["CT", ""]:
    """Return ``"CT"`` for values that reach from air to tissue in HU, else an empty text.

    Examples
    --------
    >>> guess_modality(np.array([-1000, -80, 40, 60])), guess_modality(np.array([0, 80, 400]))
    ('CT', '')
    """
    low, high = (float(value) for value in np.percentile(values, (0.5, 99.5)))
    return "CT" if -5000 < low < -500 and -200 < high < 5000 else ""


def _body_part(values: NDArray[Any], labelled: NDArray[Any] | None) -> str:
    if labelled is not None and labelled.size >= 30:
        middle = float(np.median(labelled))
        return "lung" if middle < -400 else "bone" if middle > 250 else "soft tissue"
    tissue = int(np.count_nonzero(values > _TISSUE_HU))
    lung = int(np.count_nonzero((values > _AIR_HU) & (values < _LUNG_HU)))
    if lung > 0.5 * tissue:
        return "lung"
    return "bone" if int(np.count_nonzero(values > _BONE_HU)) > 0.2 * tissue else "soft tissue"
