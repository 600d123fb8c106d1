"""Write pyramids that every reader sees whole: tiled OME-TIFF with each level listed twice.

OME-TIFF keeps the coarser levels in the SubIFDs of the first image, where Bio-Formats and libvips look; OpenSlide and
plain TIFF readers look along the chain of images. Both lists lead to the same levels here: the first image's next one
is its first SubIFD, and so on.
"""

from __future__ import annotations

import math
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from itkit.core.extras import require

TILE = 512
"""Pixels along a side of a tile of a pyramid."""
PixelKind = Literal["image", "mask"]
Piece = Callable[[int, int, int, int], NDArray[np.uint8]]
"""Returns the pixels of level 0 at left, top, of a width and height, pixels."""


def write_pyramid(
    path: Path,
    size_xy: tuple[int, int],
    piece: Piece,
    *,
    mpp_xy: tuple[float, float],
    kind: PixelKind,
    quality: int = 90,
) -> int:
    """Write a pyramid tile by tile, in bounded memory; the levels in between lie in a file beside it for a while.

    Parameters
    ----------
    path
        The file, usually ``.ome.tif``. It is not written atomically: the caller must use a temporary name.
    size_xy
        Width and height of level 0, pixels.
    piece
        Returns a piece of level 0: ``(height, width, 3)`` RGB for an image, ``(height, width)`` for a mask. It is asked
        row by row of tiles, from the left to the right.
    mpp_xy
        Micrometres per pixel of level 0, X Y.
    kind
        ``image``: JPEG, coarser levels are means; ``mask``: lossless, coarser levels are nearest pixels.
    quality
        Quality of JPEG, 1 to 100.

    Returns
    -------
    int
        Number of levels: each has half the size of the one before, until one tile holds it.
    """
    tifffile = require("tifffile", extra="pathology", why="writing pyramids")
    sizes = level_sizes(size_xy)
    name = path.name
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".itkit-levels-") as scratch:
        levels = _Levels(Path(scratch), sizes, kind)
        with tifffile.TiffWriter(path, bigtiff=True, ome=True) as writer:
            for number, size in enumerate(sizes):
                source = piece if number == 0 else levels.piece(number)
                options: dict[str, Any] = {"subifds": len(sizes) - 1} if number == 0 else {"subfiletype": 1}
                if number == 0:
                    options["metadata"] = _metadata(name, mpp_xy, kind)
                scale = [width / own for width, own in zip(size_xy, size, strict=True)]
                per_cm = [1e4 / (mpp * factor) for mpp, factor in zip(mpp_xy, scale, strict=True)]
                writer.write(
                    _encoded(_tiles(size, source, levels, number), kind, quality),
                    shape=(size[1], size[0], 3) if kind == "image" else (size[1], size[0]),
                    dtype=np.uint8,
                    tile=(TILE, TILE),
                    resolution=tuple(per_cm),
                    resolutionunit="CENTIMETER",
                    **_encoding(kind),
                    **options,
                )
    _chain_levels(path, tifffile)
    return len(sizes)


def level_sizes(size_xy: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the sizes of the levels of a pyramid.

    Examples
    --------
    >>> level_sizes((2000, 1001))
    [(2000, 1001), (1000, 501), (500, 251)]
    """
    sizes = [size_xy]
    while max(sizes[-1]) > TILE:
        sizes.append((math.ceil(sizes[-1][0] / 2), math.ceil(sizes[-1][1] / 2)))
    return sizes


def _metadata(name: str, mpp_xy: tuple[float, float], kind: PixelKind) -> dict[str, Any]:
    lengths = {f"PhysicalSize{axis}": mpp for axis, mpp in zip("XY", mpp_xy, strict=True)}
    units = {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    return {"axes": "YXS" if kind == "image" else "YX", "Name": name, **lengths, **units}


def _encoding(kind: PixelKind) -> Mapping[str, Any]:
    if kind == "mask":
        return {"photometric": "minisblack", "compression": "adobe_deflate"}
    return {"photometric": "ycbcr", "subsampling": (1, 1), "compression": "jpeg"}


class _Levels:
    """The coarser levels while a pyramid is written: plain files on disk, of which a band of tiles is in memory."""

    def __init__(self, folder: Path, sizes: list[tuple[int, int]], kind: PixelKind) -> None:
        self._kind = kind
        self._sizes = sizes
        self._bands = (3,) if kind == "image" else ()
        self._files = [folder / f"{number}.raw" for number in range(len(sizes))]
        self._made: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._read: tuple[int, int, NDArray[np.uint8]] = (-1, -1, self._made)

    def piece(self, number: int) -> Piece:
        """Return what reads a level."""

        def read(left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
            if self._read[:2] != (number, top):
                shape = (height, self._sizes[number][0], *self._bands)
                row = math.prod(shape[1:])
                band = np.fromfile(self._files[number], np.uint8, count=height * row, offset=top * row)
                self._read = (number, top, band.reshape(shape))
            return self._read[2][:, left : left + width]

        return read

    def keep(self, number: int, left: int, top: int, pixels: NDArray[np.uint8]) -> None:
        """Keep what a piece of a level means for the next coarser one; a band ends with the piece at the right."""
        if number + 1 >= len(self._sizes):
            return
        half = pixels[::2, ::2] if self._kind == "mask" else _halved(pixels)
        height, width = half.shape[:2]
        if left == 0:
            self._made = np.empty((height, self._sizes[number + 1][0], *self._bands), np.uint8)
        self._made[:, left // 2 : left // 2 + width] = half
        if left + pixels.shape[1] == self._sizes[number][0]:
            with self._files[number + 1].open("wb" if top == 0 else "ab") as file:
                file.write(self._made.tobytes())


def _halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the means of 2 x 2 pixels; at an odd end, the last pixel counts twice."""
    odd = [(0, length % 2) for length in pixels.shape[:2]]
    even = np.pad(pixels, [*odd, (0, 0)], mode="edge").astype(np.uint16)
    sums = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    return np.asarray((sums + 2) // 4, np.uint8)


def _tiles(size: tuple[int, int], piece: Piece, levels: _Levels, number: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the tiles of a level row by row, those at the ends filled up."""
    width, height = size
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            pixels = piece(left, top, min(TILE, width - left), min(TILE, height - top))
            levels.keep(number, left, top, pixels)
            missing = [(0, TILE - length) for length in pixels.shape[:2]]
            more = [(0, 0)] * (pixels.ndim - 2)
            mode: Any = "edge" if pixels.ndim == 3 else "constant"
            yield np.pad(pixels, [*missing, *more], mode=mode) if any(end for _, end in missing) else pixels


def _encoded(tiles: Iterator[NDArray[np.uint8]], kind: PixelKind, quality: int) -> Iterator[Any]:
    """Yield tiles as the file holds them: JPEG streams, or arrays that tifffile compresses."""
    if kind == "mask":
        yield from tiles
        return
    image = require("PIL.Image", extra="pathology", why="writing JPEG")
    for tile in tiles:
        stream = BytesIO()
        image.fromarray(tile).save(stream, "JPEG", quality=quality, subsampling=0)
        yield stream.getvalue()


def _chain_levels(path: Path, tifffile: Any) -> None:
    """Let the first image's next one be its first SubIFD, that one's the second, and so on."""
    with tifffile.TiffFile(path) as file:
        first = file.pages[0]
        offsets = [first.offset, *(first.subifds or ())]
    with path.open("r+b") as out:
        for offset, following in zip(offsets, [*offsets[1:], 0], strict=True):
            out.seek(offset)
            (entries,) = struct.unpack("<Q", out.read(8))
            out.seek(offset + 8 + 20 * entries)
            out.write(struct.pack("<Q", following))
