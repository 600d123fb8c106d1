"""Tiles of slides for torch: what ``itk_wsi tile`` wrote, with labels from masks of the same slides, if any."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.bounded import read_table_text
from itkit.core.errors import LayoutError, ReadError
from itkit.core.extras import require, require_torch
from itkit.core.files import is_inner_name
from itkit.io.meta import read_json
from itkit.pathology.scaling import require_equal_scale
from itkit.pathology.slides import open_slide
from itkit.pathology.tiling import META, TABLE


@dataclass(frozen=True)
class TileRecord:
    """A tile: its slide, its file, its upper left corner in pixels of its resolution (X Y), µm per pixel, its size."""

    slide: str
    file: Path
    x: int
    y: int
    mpp: float
    size_xy: tuple[int, int]


class TileDataset:
    """A map-style dataset of tiles, for ``torch.utils.data.DataLoader``.

    An item is a dict: ``image`` ``(3, Y, X)`` float32, 0 to 1; ``label`` ``(Y, X)`` int64 if there are masks;
    ``slide``, ``x_px`` and ``y_px``.

    Parameters
    ----------
    tiles
        Folder that ``itk_wsi tile`` wrote, with a folder for each slide.
    masks
        Folder that ``itk_wsi mask`` wrote at the same resolution: one mask for each slide.
    transform
        Called with the item; returns the item to use.

    Raises
    ------
    LayoutError
        When there is no table of tiles, or a slide has no mask.
    """

    def __init__(
        self,
        tiles: str | Path,
        masks: str | Path | None = None,
        transform: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        require_torch("a dataset of tiles")
        root = Path(tiles)
        tables = sorted(root.glob(f"*/{TABLE}"))
        if not tables:
            raise LayoutError(f"{root}: no folder holds {TABLE}, which itk_wsi tile writes")
        self.records = tuple(record for table in tables for record in read_table(table.parent))
        self.masks = None if masks is None else Path(masks)
        self.transform = transform
        if self.masks is not None:
            slides = sorted({record.slide for record in self.records})
            missing = [slide for slide in slides if not self._mask_path(slide).is_file()]
            if missing:
                raise LayoutError(f"{self.masks}: no mask for the slide {missing[0]} ({len(missing)} slides have none)")

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, number: int) -> dict[str, Any]:
        torch = require_torch("a dataset of tiles")
        record = self.records[number]
        pixels = read_tile(record.file)
        item: dict[str, Any] = {
            "image": torch.from_numpy(np.moveaxis(pixels, 2, 0).astype(np.float32) / 255),
            "slide": record.slide,
            "x_px": record.x,
            "y_px": record.y,
        }
        if self.masks is not None:
            with open_slide(self._mask_path(record.slide)) as mask:
                require_equal_scale(mask, record.mpp, record.slide)
                label = mask.read_region(level_px=(record.x, record.y), size=record.size_xy, outside=0)[..., 0]
            item["label"] = torch.from_numpy(label.astype(np.int64))
        return item if self.transform is None else self.transform(item)

    def _mask_path(self, slide: str) -> Path:
        assert self.masks is not None
        return self.masks / f"{slide}.ome.tif"


def read_table(folder: Path) -> list[TileRecord]:
    """Return the tiles of a slide that lie in files.

    Raises
    ------
    ReadError
        When the table is damaged, or names a file outside the folder.
    """
    meta = read_json(folder / META)
    found = []
    for number, row in enumerate(csv.DictReader(io.StringIO(read_table_text(folder / TABLE))), 2):
        try:
            mpp, side = float(meta["mpp"]), int(meta["tile_px"])
            x, y = round(float(row["x_um"]) / mpp), round(float(row["y_um"]) / mpp)
            name = row["file"]
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise ReadError(f"{folder.name}: {TABLE}: line {number} is damaged ({error})") from error
        if not is_inner_name(name):
            raise ReadError(f"{folder.name}: {TABLE}: line {number}: {name!r} lies outside the folder")
        found.append(TileRecord(folder.name, folder / name, x, y, mpp, (side, side)))
    return found


def read_tile(file: Path) -> NDArray[np.uint8]:
    """Read a tile ``(Y, X, 3)``: a picture, or a number in a store (``tiles.zarr.zip/7``).

    Raises
    ------
    ReadError
        When it can't be read.
    """
    if file.parent.name.endswith(".zarr.zip"):
        zarr = require("zarr", extra="fast", why="a store of tiles")
        store = zarr.storage.ZipStore(file.parent, mode="r")
        try:
            return np.asarray(zarr.open_array(store, mode="r")[int(file.name)])
        finally:
            store.close()
    image = require("PIL.Image", extra="pathology", why="reading tiles")
    try:
        with image.open(file, formats=("PNG", "JPEG")) as opened:
            return np.asarray(opened.convert("RGB"))
    except (OSError, ValueError) as error:
        raise ReadError(f"{file}: can't be read ({error})") from error
