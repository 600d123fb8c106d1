"""Where tiles lie: the table and the facts that ``itk_wsi tile`` writes for each slide, and the tiles' pictures."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from itkit.core.bounded import read_table_text
from itkit.core.errors import LayoutError, ReadError
from itkit.core.extras import require
from itkit.core.files import is_inner_name
from itkit.io.json_files import read_json
from itkit.pathology.limits import LONGEST_TILE

TABLE, META = "tiles.csv", "tiles_meta.json"
COLUMNS = ("file", "x_um", "y_um", "x_px0", "y_px0", "width_px", "height_px", "mpp", "tissue")
STORE = "tiles.zarr.zip"
_LONGEST = 1 << 20
"""Pixels along a side of a slide; scanners make at most a few 100,000."""
_MOST_PIXELS = 1 << 24


@dataclass(frozen=True)
class PlacedTile:
    """A tile: its name in the table, and its upper left corner in pixels of its resolution, X Y."""

    name: str
    x: int
    y: int


@dataclass(frozen=True)
class TileTable:
    """The tiles of a slide.

    Parameters
    ----------
    folder
        Folder of the slide; a tile's name is relative to it.
    tiles
        Its tiles, in the order of the table.
    side
        Pixels along a side of a tile.
    size_xy
        Width and height of the slide in the tiles' resolution, pixels.
    mpp
        Micrometres per pixel.
    """

    folder: Path
    tiles: tuple[PlacedTile, ...]
    side: int
    size_xy: tuple[int, int]
    mpp: float


def tile_folders(source: Path) -> list[Path]:
    """Return the folders of slides that hold a table: the source itself, or those in it.

    Raises
    ------
    LayoutError
        When there is none.
    """
    folders = [source] if (source / TABLE).is_file() else sorted(path.parent for path in source.glob(f"*/{TABLE}"))
    if not folders:
        raise LayoutError(f"{source}: no folder holds {TABLE}, which itk_wsi tile writes")
    return folders


def read_tile_table(folder: Path) -> TileTable:
    """Read ``tiles.csv`` and ``tiles_meta.json`` of a slide.

    Raises
    ------
    ReadError
        When one is damaged, a size is impossible, or a tile lies outside the slide or its file outside the folder.
    """
    meta = read_json(folder / META)
    try:
        rows = list(csv.DictReader(io.StringIO(read_table_text(folder / TABLE))))
        size = (int(meta["size_px"][0]), int(meta["size_px"][1]))
        mpp, px0 = float(meta["mpp"]), float(meta["px0_per_px"])
        side = int(meta["tile_px"])
    except (KeyError, TypeError, ValueError, IndexError, OSError, ArithmeticError, csv.Error) as error:
        raise ReadError(f"{folder.name}: {TABLE} or {META} is damaged ({error})") from error
    is_sane = all(0 < value <= _LONGEST for value in size) and 0 < side <= LONGEST_TILE
    if not (is_sane and math.isfinite(mpp) and mpp > 0 and px0 > 0):
        raise ReadError(f"{folder.name}: {META} holds an impossible size or resolution")
    tiles = []
    for number, row in enumerate(rows, 2):
        try:
            name = row["file"]
            x, y = round(float(row["x_um"]) / mpp), round(float(row["y_um"]) / mpp)
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise ReadError(f"{folder.name}: {TABLE}: line {number} is damaged ({error})") from error
        if not (-side < x < size[0] and -side < y < size[1]):
            raise ReadError(f"{folder.name}: {TABLE}: line {number}: the tile lies outside the slide's {size} pixels")
        if not is_inner_name(name):
            raise ReadError(f"{folder.name}: {TABLE}: line {number}: {name!r} is no file of this folder")
        tiles.append(PlacedTile(name, x, y))
    return TileTable(folder, tuple(tiles), side, size, mpp)


def read_picture(file: Path, mode: str | None = "RGB") -> NDArray[np.uint8]:
    """Read the picture of a tile.

    Parameters
    ----------
    file
        A PNG or JPEG file.
    mode
        Pillow's mode, e.g. ``RGB`` for ``(Y, X, 3)``; ``None`` for the file's own.

    Raises
    ------
    ReadError
        When it can't be read, or is too large for a tile.
    """
    image = require("PIL.Image", extra="pathology", why="reading tiles")
    try:
        with image.open(file, formats=("PNG", "JPEG")) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                raise ReadError(f"{file.name}: {opened.width} x {opened.height} pixels are no tile")
            return np.asarray(opened if mode is None else opened.convert(mode))
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise ReadError(f"{file.name}: can't be read ({error})") from error
