"""Pixels of a slide at any resolution: the nearest level that is fine enough, resampled if it is another resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from itkit.core.errors import ReadError
from itkit.core.extras import require
from itkit.pathology.slides import Slide

EQUAL = 0.01
"""Resolutions that differ by less than this part are the same: 0.499 stands for 0.5."""
_STRIP = 1 << 22
"""Pixels of a level that are read at a time for an overview."""


@dataclass(frozen=True)
class Scale:
    """How a slide is read at a resolution.

    Parameters
    ----------
    level
        The level that is read.
    mpp
        Micrometres per pixel of what comes out: that of the level if it is within 1 % of what is wanted.
    factor
        Pixels of the level for a pixel that comes out; 1.0: nothing is resampled.
    """

    level: int
    mpp: float
    factor: float

    def text(self) -> str:
        """Return in words how it is read."""
        how = "its pixels as they are" if self.factor == 1 else f"resampled by {self.factor:.4g}"
        return f"level {self.level}, {how}, {self.mpp:.4g} µm per pixel"


def scale_for(slide: Slide, mpp: float) -> Scale:
    """Return how a slide is read at a resolution (micrometres per pixel)."""
    level = slide.level_for(mpp)
    own = slide.level_mpp(level)
    if abs(own / mpp - 1) <= EQUAL:
        return Scale(level, own, 1.0)
    return Scale(level, mpp, mpp / own)


def require_equal_scale(mask: Slide, mpp: float, slide: str) -> None:
    """Raise an error if a mask has not the resolution of the tiles that it belongs to (within 1 %).

    Raises
    ------
    ReadError
        When it has another one.
    """
    if abs(mask.mpp / mpp - 1) > EQUAL:
        raise ReadError(
            f"{slide}: its mask has {mask.mpp:.4g} µm per pixel, its tiles {mpp:.4g}; make both with the same --mpp"
        )


def read_scaled(slide: Slide, scale: Scale, left_top: tuple[int, int], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Read pixels at a resolution.

    Parameters
    ----------
    slide
        The slide.
    scale
        How it is read; see `scale_for`.
    left_top
        Upper left corner, pixels of that resolution, X Y; pixel (0, 0) begins where level 0 does.
    size
        Width and height, pixels of that resolution.

    Returns
    -------
    NDArray
        ``(height, width, 3)`` RGB; white outside the slide. Resampled pixels are triangle-filtered means of the level's
        pixels below them, so that nothing aliases.
    """
    if scale.factor == 1:
        return slide.read_region(level_px=left_top, size=size, level=scale.level)
    margin = math.ceil(scale.factor) + 1
    begin = [place * scale.factor for place in left_top]
    first = [math.floor(value) - margin for value in begin]
    wanted = [math.ceil(value + length * scale.factor) + margin for value, length in zip(begin, size, strict=True)]
    whole = slide.levels[scale.level].size_xy
    low = [min(max(0, start), most - 1) for start, most in zip(first, whole, strict=True)]
    high = [max(start + 1, min(end, most)) for start, end, most in zip(low, wanted, whole, strict=True)]
    inner = slide.read_region(level_px=(low[0], low[1]), size=(high[0] - low[0], high[1] - low[1]), level=scale.level)
    more = [(a - b, d - c) for a, b, c, d in zip(low, first, high, wanted, strict=True)]
    pixels = np.pad(
        inner, [more[1], more[0], (0, 0)], mode="edge"
    )  # so that the slide's last pixels don't fade to white
    left, top = (value - start for value, start in zip(begin, first, strict=True))
    box = (left, top, left + size[0] * scale.factor, top + size[1] * scale.factor)
    found = resampled(pixels, size, box)
    width, height = size_at(slide, scale)
    return _white_outside(found, left_top, (width, height))


def _white_outside(pixels: NDArray[np.uint8], left_top: tuple[int, int], whole: tuple[int, int]) -> NDArray[np.uint8]:
    rows, columns = pixels.shape[:2]
    y, x = (np.arange(count) + start for count, start in ((rows, left_top[1]), (columns, left_top[0])))
    is_in = ((y >= 0) & (y < whole[1]))[:, None] & ((x >= 0) & (x < whole[0]))[None]
    return pixels if is_in.all() else np.where(is_in[..., None], pixels, np.uint8(255))


def resampled(
    pixels: NDArray[np.uint8], size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> NDArray[np.uint8]:
    """Resample a picture, or a box (left, top, right, bottom; pixels) of it, to a width and height."""
    image = require("PIL.Image", extra="pathology", why="resampling slides")
    return np.asarray(image.fromarray(pixels).resize(size, image.Resampling.BILINEAR, box=box))


def size_at(slide: Slide, scale: Scale) -> tuple[int, int]:
    """Return width and height of a whole slide at a resolution, pixels."""
    width, height = slide.levels[scale.level].size_xy
    return math.ceil(width / scale.factor - 1e-9), math.ceil(height / scale.factor - 1e-9)


def overview(slide: Slide, mpp: float, most_pixels: int = 4096) -> tuple[NDArray[np.uint8], float]:
    """Read a whole slide at a coarse resolution, strip by strip, in bounded memory.

    Parameters
    ----------
    slide
        The slide.
    mpp
        Micrometres per pixel that are wanted.
    most_pixels
        Longest side of the picture; a large slide is read more coarsely.

    Returns
    -------
    NDArray
        ``(Y, X, 3)`` RGB.
    float
        Micrometres per pixel of the picture.
    """
    longest = max(slide.size_xy) * slide.mpp
    scale = scale_for(slide, max(mpp, longest / most_pixels))
    width, height = size_at(slide, scale)
    wide = slide.levels[scale.level].size_xy[0]
    rows = max(1, int(_STRIP / wide / scale.factor))
    columns = max(1, int(_STRIP / scale.factor / max(1.0, rows * scale.factor)))
    result = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            size = (min(columns, width - left), min(rows, height - top))
            result[top : top + size[1], left : left + size[0]] = read_scaled(slide, scale, (left, top), size)
    return result, scale.mpp
