"""Where a slide shows tissue: coloured pixels without pen marks, black borders, specks and holes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.kernels.components import components, holes
from itkit.pathology.scaling import overview
from itkit.pathology.slides import Slide

_MASK_MPP = 8.0
_LEAST_SATURATION = 0.05
"""Otsu's threshold of a slide without tissue lies in the noise; below this, nothing is tissue."""
_DARK = 0.3
"""Brightness below which a pixel is a black border or black ink; its colour is noise."""
_INK_HUES = (70.0, 235.0)
"""Green and blue pens; stains are purple, pink, red or brown (degrees)."""
_INK_SATURATION = 0.25
_SPECK_UM2 = 2_500.0
"""Smaller spots are dust."""


@dataclass(frozen=True)
class Tissue:
    """A tissue mask of a whole slide.

    Parameters
    ----------
    mask
        ``(Y, X)``, true where there is tissue.
    mpp
        Micrometres per pixel of the mask.
    threshold
        Least saturation of tissue, 0 to 1.
    picture
        The overview that it was found in, ``(Y, X, 3)``.
    """

    mask: NDArray[np.bool_]
    mpp: float
    threshold: float
    picture: NDArray[np.uint8]

    def share(self, x_um: float, y_um: float, width_um: float, height_um: float) -> float:
        """Return which part of a rectangle is tissue, 0 to 1; what lies outside the slide is none."""
        rows, columns = self.mask.shape
        top, bottom = _span(y_um, height_um, self.mpp, rows)
        left, right = _span(x_um, width_um, self.mpp, columns)
        if bottom <= top or right <= left:
            return 0.0
        whole = max(1.0, width_um / self.mpp) * max(1.0, height_um / self.mpp)
        return float(min(1.0, np.count_nonzero(self.mask[top:bottom, left:right]) / whole))


def _span(start_um: float, length_um: float, mpp: float, most: int) -> tuple[int, int]:
    first = round(start_um / mpp)
    last = max(first + 1, round((start_um + length_um) / mpp))
    return max(0, first), min(most, last)


def find_tissue(slide: Slide, mpp: float = _MASK_MPP) -> Tissue:
    """Find the tissue of a slide at a coarse resolution (micrometres per pixel)."""
    picture, own = overview(slide, mpp)
    mask, threshold = tissue_mask(picture, own)
    return Tissue(mask, own, threshold, picture)


def tissue_mask(rgb: NDArray[np.uint8], mpp: float) -> tuple[NDArray[np.bool_], float]:
    """Find tissue in a picture of a slide.

    Parameters
    ----------
    rgb
        ``(Y, X, 3)``.
    mpp
        Micrometres per pixel, for the size of specks.

    Returns
    -------
    NDArray
        ``(Y, X)``, true where there is tissue.
    float
        The threshold of the saturation that was used.

    Notes
    -----
    Tissue is what is more saturated (HSV) than Otsu's threshold (Otsu 1979, doi:10.1109/TSMC.1979.4310076) of the
    saturations, and is neither dark nor of a pen's colour. Holes in it are filled, spots below 2500 µm² left out. An
    unstained slide has no saturated pixels and hence no tissue.

    Examples
    --------
    >>> picture = np.full((60, 80, 3), 240, np.uint8)
    >>> picture[10:40, 20:50] = 200, 120, 180
    >>> mask, _ = tissue_mask(picture, 8.0)
    >>> int(mask.sum()), bool(mask[10, 20]), bool(mask[9, 20])
    (900, True, False)
    """
    values = rgb.astype(np.float32) / 255
    most, least = values.max(axis=2), values.min(axis=2)
    spread = most - least
    saturation = spread / np.maximum(most, 1e-6)
    is_ink = _is_ink(values, saturation)
    is_usable = (most > _DARK) & ~is_ink
    threshold = max(_otsu(saturation[is_usable]), _LEAST_SATURATION)
    mask = is_usable & (saturation > threshold)
    mask |= _holes(mask) & ~is_ink  # a dark fold within tissue is tissue
    found = components(mask[None].astype(np.uint8), neighbours=26)
    kept = found.chosen(found.voxels >= math.ceil(_SPECK_UM2 / mpp**2))
    return kept[0].astype(bool), threshold


def _is_ink(values: NDArray[Any], saturation: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which pixels have the hue of green or blue ink."""
    most = values.max(axis=2)
    red, green, blue = np.moveaxis(values, 2, 0)
    safe = np.maximum(most - values.min(axis=2), 1e-6)
    hue = np.select(
        [most == red, most == green],
        [((green - blue) / safe) % 6, (blue - red) / safe + 2],
        (red - green) / safe + 4,
    )
    degrees = 60 * hue
    is_pen = (degrees > _INK_HUES[0]) & (degrees < _INK_HUES[1]) & (saturation > _INK_SATURATION)
    return np.asarray(is_pen, bool)


def _otsu(values: NDArray[Any]) -> float:
    """Return the threshold that separates two classes best: the largest variance between them."""
    counts, edges = np.histogram(values, bins=256, range=(0, 1))
    total = counts.sum()
    if total == 0:
        return 0.0
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (sums[-1] * below - total * sums) ** 2 / (below * (total - below))
    if not np.isfinite(between).any():
        return 0.0
    best = np.flatnonzero(between == np.nanmax(between[np.isfinite(between)]))
    return float(edges[1:][best].mean())


def _holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(holes(mask[None].astype(np.uint8), cut_axis=0)[0], bool)
