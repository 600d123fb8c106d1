"""``itk_wsi stitch``: tiles, or predictions for tiles, to pyramids; in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.errors import CaseError, ReadError
from itkit.core.files import VOLUME_EXTENSIONS, Compression
from itkit.core.operation import Collected, Context, InputFile, Job, Outcome, Place, Plan, Report, Target, Written
from itkit.core.text import some
from itkit.core.volume import Case
from itkit.io.layouts import require_destination, require_folder
from itkit.io.sitk_toolkit import read_volume
from itkit.pathology.finding import PYRAMID
from itkit.pathology.params import WsiParams
from itkit.pathology.pyramid import PixelKind, write_pyramid
from itkit.pathology.tile_table import META, STORE, TABLE, read_picture, read_tile_table, tile_folders
from itkit.process.common import stamp_of

_PYRAMID = "pyramid"
_BLOCK = 512
"""Pixels along a side of the squares by which tiles are looked up."""
_KEPT_TILES = 64
_KEPT_BYTES = 256 << 20
"""Bytes of the tiles that are kept for the next piece."""
_BESIDE = "predictions"
"""A folder of this name beside a slide's table holds predictions, if no other is given."""
_PREDICTIONS = (".png", ".npy", *VOLUME_EXTENSIONS)
_MOST_SCORES = 255


@dataclass(frozen=True)
class Placed:
    """A tile's file, and its upper left corner in pixels of the result."""

    file: Path
    x: int
    y: int


@dataclass(frozen=True)
class Mosaic:
    """What is stitched: tiles on a canvas.

    Parameters
    ----------
    tiles
        Where each lies.
    side_xy
        Width and height of a tile, pixels.
    size_xy
        Width and height of the result, pixels.
    mpp
        Micrometres per pixel.
    kind
        ``image`` for RGB tiles, ``mask`` for classes or scores.
    """

    tiles: tuple[Placed, ...]
    side_xy: tuple[int, int]
    size_xy: tuple[int, int]
    mpp: float
    kind: PixelKind


def plan(params: WsiParams) -> Plan:
    """List the slides whose tiles lie in the source: a folder with a table for each."""
    assert params.dest is not None
    source = require_folder(params.source)
    require_destination(params.dest, source, *(() if params.predictions is None else (params.predictions,)))
    jobs = []
    for folder in tile_folders(source):
        predictions = _predictions_of(folder, params.predictions)
        files = sorted((predictions or folder / "tiles").glob("*"))
        inputs = {"table": InputFile(folder / TABLE, "file"), "meta": InputFile(folder / META, "file")}
        jobs.append(
            Job(
                folder.name,
                inputs,
                {_PYRAMID: Target(params.dest, PYRAMID, "label" if predictions else "image")},
                details=(folder, predictions),
                stamp=stamp_of(files),
                more_files=tuple(files),
            )
        )
    return Plan(tuple(jobs), (), params.dest)


def _predictions_of(folder: Path, given: Path | None) -> Path | None:
    """Return the folder with a slide's predictions; ``None``: its tiles themselves are stitched."""
    if given is not None:
        return given / folder.name if (given / folder.name).is_dir() else given
    return folder / _BESIDE if (folder / _BESIDE).is_dir() else None


def stitch_case(case: Case, params: WsiParams, context: Context) -> Outcome:
    """Stitch the tiles of a slide."""
    del context
    folder, predictions = case.details
    mosaic, missing = read_mosaic(folder, predictions)
    warnings = [f"{len(missing)} tiles have no prediction: {some(missing, 5)}"] if missing else []
    facts = {"size_px": list(mosaic.size_xy), "mpp": mosaic.mpp, "tiles": len(mosaic.tiles), "kind": mosaic.kind}
    batch = partial(_write, case.id, mosaic, params.quality)
    return Outcome(batches=(batch,), facts=facts, warnings=warnings)


def read_mosaic(folder: Path, predictions: Path | None) -> tuple[Mosaic, list[str]]:
    """Read where the tiles of a slide lie, from ``tiles.csv`` and ``tiles_meta.json``.

    Returns
    -------
    Mosaic
        The tiles that have a file.
    list
        Names of the tiles that have no prediction.

    Raises
    ------
    ReadError
        When the table is damaged, names a file outside the folder, or no tile has a file.
    """
    table = read_tile_table(folder)
    tiles, missing = [], []
    for tile in table.tiles:
        if tile.name.startswith(f"{STORE}/"):
            raise ReadError(
                f"{folder.name}: its tiles lie in {STORE}, from which nothing is stitched; make them with --tiles png, "
                "jpeg or dataset"
            )
        file = folder / tile.name if predictions is None else _prediction(predictions, Path(tile.name).stem)
        if file is None or not file.is_file():
            missing.append(tile.name)
        else:
            tiles.append(Placed(file, tile.x, tile.y))
    if not tiles:
        raise ReadError(f"{folder.name}: no tile of {TABLE} has a file in {predictions or folder / 'tiles'}")
    if missing and predictions is None:
        raise ReadError(f"{folder.name}: {len(missing)} tiles of {TABLE} are gone: {some(missing, 5)}")
    kind: PixelKind = "image" if predictions is None and not _has_classes(tiles[0].file) else "mask"
    return Mosaic(tuple(tiles), (table.side, table.side), table.size_xy, table.mpp, kind), missing


def _has_classes(file: Path) -> bool:
    """Return whether a picture has one value a pixel: classes in a tile's place, for tiles have three."""
    return file.suffix.lower() == ".png" and read_picture(file, None).ndim == 2


def _prediction(folder: Path, stem: str) -> Path | None:
    return next((file for ending in _PREDICTIONS if (file := folder / f"{stem}{ending}").is_file()), None)


def _write(case_id: str, mosaic: Mosaic, quality: int, place: Place, compression: Compression) -> list[Written]:
    del compression
    stitched = Stitched(mosaic)
    path = place(_PYRAMID, case_id)
    write_pyramid(
        path, mosaic.size_xy, stitched.piece, mpp_xy=(mosaic.mpp, mosaic.mpp), kind=mosaic.kind, quality=quality
    )
    return [Written(_PYRAMID, case_id)]


class Stitched:
    """Pieces of a mosaic.

    Where tiles overlap, a pixel comes from the tile whose centre is nearest; scores are added up, and the class with
    the largest sum stays. What no tile covers is white, or 0.
    """

    def __init__(self, mosaic: Mosaic) -> None:
        self._mosaic = mosaic
        self._blocks: dict[tuple[int, int], list[Placed]] = {}
        width, height = mosaic.side_xy
        for tile in mosaic.tiles:
            for row in range(tile.y // _BLOCK, (tile.y + height - 1) // _BLOCK + 1):
                for column in range(tile.x // _BLOCK, (tile.x + width - 1) // _BLOCK + 1):
                    self._blocks.setdefault((row, column), []).append(tile)
        self._kept: dict[Path, NDArray[Any]] = {}

    def piece(self, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return the pixels of a box: ``(height, width, 3)`` RGB, or ``(height, width)`` classes."""
        tiles = self._near(left, top, width, height)
        bands = (3,) if self._mosaic.kind == "image" else ()
        result = np.full((height, width, *bands), 255 if bands else 0, np.uint8)
        best = np.full((height, width), np.inf)
        sums: NDArray[np.float32] | None = None
        side_x, side_y = self._mosaic.side_xy
        for tile in tiles:
            x0, x1 = max(tile.x, left), min(tile.x + side_x, left + width)
            y0, y1 = max(tile.y, top), min(tile.y + side_y, top + height)
            if x1 <= x0 or y1 <= y0:
                continue
            here = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
            there = (slice(y0 - tile.y, y1 - tile.y), slice(x0 - tile.x, x1 - tile.x))
            pixels = self._read(tile.file)
            if pixels.dtype.kind == "f":
                sums = np.zeros((len(pixels), height, width), np.float32) if sums is None else sums
                if len(sums) != len(pixels):
                    raise CaseError(
                        f"{tile.file.name}: {len(pixels)} scores a pixel; the tiles before have {len(sums)}"
                    )
                sums[:, here[0], here[1]] += pixels[:, there[0], there[1]]
                continue
            rows = np.abs(np.arange(y0, y1) + 0.5 - (tile.y + side_y / 2))[:, None]
            columns = np.abs(np.arange(x0, x1) + 0.5 - (tile.x + side_x / 2))[None]
            distance = rows**2 + columns**2
            is_nearer = distance < best[here]
            best[here][is_nearer] = distance[is_nearer]
            result[here][is_nearer] = pixels[there][is_nearer]
        if sums is not None:
            classes = sums.argmax(axis=0).astype(np.uint8)
            result[sums.any(axis=0)] = classes[sums.any(axis=0)]
        return result

    def _read(self, file: Path) -> NDArray[Any]:
        """Read a tile, or return it if it was read lately."""
        pixels = self._kept.pop(file, None)
        pixels = _read_tile(self._mosaic, file) if pixels is None else pixels
        most = max(1, min(_KEPT_TILES, _KEPT_BYTES // pixels.nbytes))
        while len(self._kept) >= most:
            del self._kept[next(iter(self._kept))]
        self._kept[file] = pixels
        return pixels

    def _near(self, left: int, top: int, width: int, height: int) -> Sequence[Placed]:
        found: dict[Placed, None] = {}
        for row in range(top // _BLOCK, (top + height - 1) // _BLOCK + 1):
            for column in range(left // _BLOCK, (left + width - 1) // _BLOCK + 1):
                found.update(dict.fromkeys(self._blocks.get((row, column), ())))
        return list(found)


def _read_tile(mosaic: Mosaic, file: Path) -> NDArray[Any]:
    """Read a tile: RGB, classes, or scores ``(K, Y, X)``.

    Raises
    ------
    ReadError
        When it can't be read, or has another size than the table says.
    """
    width, height = mosaic.side_xy
    try:
        if file.suffix == ".npy":
            pixels = np.load(file, allow_pickle=False, mmap_mode="r")
            is_right = pixels.ndim == 3 and pixels.shape[1:] == (height, width) and pixels.dtype.kind == "f"
            is_right = is_right and 1 <= len(pixels) <= _MOST_SCORES
            pixels = np.asarray(pixels, np.float32) if is_right else pixels
            if is_right and not np.isfinite(pixels).all():
                raise ReadError(f"{file.name}: scores that are no finite numbers")
        elif file.suffix.lower() not in (".png", ".jpg"):
            pixels = read_volume(file, "label").array_zyx[0]
            is_right = pixels.shape == (height, width) and pixels.min() >= 0 and pixels.max() <= 255
            pixels = pixels.astype(np.uint8) if is_right else pixels
        else:
            pixels = read_picture(file, "RGB" if mosaic.kind == "image" else None)
            wanted = (height, width, 3) if mosaic.kind == "image" else (height, width)
            is_right = pixels.shape == wanted and pixels.dtype == np.uint8
    except (OSError, ValueError, EOFError) as error:
        raise ReadError(f"{file.name}: can't be read ({error})") from error
    if not is_right:
        raise ReadError(
            f"{file.name}: shape {pixels.shape} of {pixels.dtype}; expected {height} x {width} pixels of "
            + ("RGB" if mosaic.kind == "image" else "classes (8 bits), or scores (K, Y, X) of floats")
        )
    return np.asarray(pixels)


def collect(params: WsiParams, run: Collected) -> Report:
    """Return ``stitch_meta.json``: size and resolution of every pyramid."""
    del params
    cases = {name: dict(record.facts) for name, record in sorted(run.all_records.items())}
    return Report((f"{len(cases)} pyramids",), files={Path("stitch_meta.json"): cases})
