"""Tiles of slides for torch: what ``itk_wsi tile`` wrote, with labels from masks of the same slides, if any."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.errors import LayoutError
from itkit.core.extras import require, require_torch
from itkit.pathology.finding import mask_of
from itkit.pathology.scaling import require_equal_scale
from itkit.pathology.slides import Slide, open_slide
from itkit.pathology.tile_table import STORE, read_picture, read_tile_table, tile_folders

_MOST_OPEN = 16
"""Masks that a process keeps open; each holds a file descriptor and libvips' cache."""


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
        self.records = tuple(record for folder in tile_folders(root) for record in _records_of(folder))
        self.masks = None if masks is None else Path(masks)
        self.transform = transform
        self._open = _OpenMasks()
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
            mask = self._open.mask(self._mask_path(record.slide), record)
            label = mask.read_region(level_px=(record.x, record.y), size=record.size_xy, outside=0)[..., 0]
            item["label"] = torch.from_numpy(label.astype(np.int64))
        return item if self.transform is None else self.transform(item)

    def _mask_path(self, slide: str) -> Path:
        assert self.masks is not None
        return mask_of(self.masks, slide)


class _OpenMasks:
    """The masks that a process has open: those that were read last.

    A worker process of a loader opens its own: neither copies nor forked processes read from what another one has open.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._masks: dict[Path, tuple[Slide, float]] = {}

    def __reduce__(self) -> tuple[type[_OpenMasks], tuple[()]]:
        return _OpenMasks, ()

    def mask(self, path: Path, record: TileRecord) -> Slide:
        """Return the mask of a tile's slide, open.

        Raises
        ------
        ReadError
            When it can't be read, or has another resolution than the tile.
        """
        if self._process != os.getpid():
            self._process, self._masks = os.getpid(), {}
        mask, checked = self._masks.pop(path, (None, 0.0))
        mask = open_slide(path) if mask is None else mask
        if checked != record.mpp:
            require_equal_scale(mask, record.mpp, record.slide)
        while len(self._masks) >= _MOST_OPEN:
            self._masks.pop(next(iter(self._masks)))[0].close()
        self._masks[path] = (mask, record.mpp)
        return mask


def _records_of(folder: Path) -> list[TileRecord]:
    table = read_tile_table(folder)
    size = (table.side, table.side)
    return [TileRecord(folder.name, folder / tile.name, tile.x, tile.y, table.mpp, size) for tile in table.tiles]


def read_tile(file: Path) -> NDArray[np.uint8]:
    """Read a tile ``(Y, X, 3)``: a picture, or a number in a store (``tiles.zarr.zip/7``).

    Raises
    ------
    ReadError
        When it can't be read.
    """
    if file.parent.name == STORE:
        zarr = require("zarr", extra="fast", why="a store of tiles")
        store = zarr.storage.ZipStore(file.parent, mode="r")
        try:
            return np.asarray(zarr.open_array(store, mode="r")[int(file.name)])
        finally:
            store.close()
    return read_picture(file)
