"""``itk_wsi tile``: slides to tiles of a physical size, with a table of where each lies."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.errors import CaseError, WriteError
from itkit.core.extras import require
from itkit.core.files import DATASET_META, Compression
from itkit.core.geometry import Geometry
from itkit.core.operation import Collected, Context, Job, Outcome, Place, Plan, Report, Target, Written
from itkit.core.text import csv_text
from itkit.core.thumbnail import png
from itkit.core.volume import Case, Volume
from itkit.io.json_files import read_json
from itkit.io.layouts import IMAGE, LABEL
from itkit.pathology.finding import MASK_META, mask_of
from itkit.pathology.limits import LONGEST_TILE
from itkit.pathology.params import WsiParams
from itkit.pathology.planning import SlideFacts, slide_jobs
from itkit.pathology.scaling import Scale, read_scaled, require_equal_scale, scale_for, size_at
from itkit.pathology.slides import Slide, open_slide
from itkit.pathology.tile_table import COLUMNS, META, STORE
from itkit.pathology.tissue import Tissue, find_tissue
from itkit.process.common import stamp_of
from itkit.report.pictures import outline

_TILE, _TABLE, _META, _PREVIEW, _STORE = "tile", "table", "meta", "preview", "store"
_ENDINGS = {"png": ".png", "jpeg": ".jpg"}
_BORDER = (0, 110, 230)
_MOST_TILES = 1 << 22
"""Tiles of a slide that are looked at; 256 pixels of 100,000 x 100,000 with an overlap of 0.8 are 4 million."""
_MOST_OVER = 32
"""How many tiles of a row may cover a pixel: an overlap of 0.97."""


@dataclass(frozen=True)
class TilePlace:
    """Where a tile lies: its upper left corner in pixels of the tile's resolution, X Y, and its part of tissue."""

    x: int
    y: int
    tissue: float


def tile_places(
    slide: Slide, scale: Scale, pixels: int, overlap: float, *, edge: str, tissue: Tissue | None, least: float
) -> Iterator[TilePlace]:
    """Yield the tiles of a slide row by row: those on a regular grid from the upper left corner with enough tissue.

    Parameters
    ----------
    slide, scale
        The slide, and how it is read.
    pixels
        Side of a tile.
    overlap
        Part of a tile that the next one covers again, 0 to below 1.
    edge
        ``pad``: the last tiles may reach beyond the slide; ``drop``: none does.
    tissue, least
        The slide's tissue, and the least part of a tile that must be tissue; without a mask all are kept.
    """
    width, height = size_at(slide, scale)
    step = step_of(pixels, overlap)
    side = pixels * scale.mpp
    for y in range(0, height, step):
        for x in range(0, width, step):
            if edge == "drop" and (x + pixels > width or y + pixels > height):
                continue
            share = 1.0 if tissue is None else tissue.share(x * scale.mpp, y * scale.mpp, side, side)
            if share >= least:
                yield TilePlace(x, y, share)


def step_of(pixels: int, overlap: float) -> int:
    """Return how far apart tiles lie, pixels."""
    return max(1, round(pixels * (1 - overlap)))


def _side(slide: Slide, scale: Scale, params: WsiParams) -> int:
    """Return the side of a tile in pixels.

    Raises
    ------
    CaseError
        When a tile does not fit into memory, or a slide has too many, or they lie too close to have names of their own.
    """
    pixels = max(1, round(params.tile_um / params.mpp))
    below = math.ceil(pixels * max(1.0, scale.factor))
    if below > LONGEST_TILE:
        raise CaseError(
            f"a tile covers {below} x {below} pixels; at most {LONGEST_TILE} along a side: give a smaller --tile-um"
        )
    step = step_of(pixels, params.overlap)
    count = math.prod(math.ceil(length / step) for length in size_at(slide, scale))
    advice = "give a larger --tile-um or a smaller --overlap"
    if pixels > _MOST_OVER * step:
        over = pixels // step
        raise CaseError(f"tiles of {pixels} pixels, {step} apart: {over}² cover each pixel; give a smaller --overlap")
    if count > _MOST_TILES:
        raise CaseError(f"{count} tiles, {step} pixels apart; at most {_MOST_TILES} in a slide: {advice}")
    if step * scale.factor * slide.levels[scale.level].downsample < 1:
        raise CaseError(f"tiles lie less than a pixel of the finest level apart: {advice}, or a larger --mpp")
    return pixels


def plan(params: WsiParams) -> Plan:
    """List the slides."""
    assert params.dest is not None
    dest = params.dest
    if params.tiles == "store":
        require("zarr", extra="fast", why="a store of tiles")
    found = slide_jobs(params, lambda slide: _targets(dest / slide, params))
    if params.masks is None:
        return found
    masks = params.masks
    jobs = [_with_mask(job, mask_of(masks, job.case_id)) for job in found.jobs]
    return replace(found, jobs=tuple(jobs))


def _with_mask(job: Job, mask: Path) -> Job:
    """Return a job that is done anew when its mask is another one."""
    return (
        replace(job, stamp=f"{job.stamp} {stamp_of([mask])}", more_files=(*job.more_files, mask))
        if mask.is_file()
        else job
    )


def _targets(folder: Path, params: WsiParams) -> dict[str, Target]:
    tiles: dict[str, Target]
    if params.tiles == "store":
        tiles = {_STORE: Target(folder, ".zarr.zip", "image")}
    elif params.tiles == "dataset":
        root = folder.parent
        tiles = {IMAGE: Target(root / IMAGE, ".mha", "image"), LABEL: Target(root / LABEL, ".mha", "label")}
    else:
        tiles = {_TILE: Target(folder / "tiles", _ENDINGS[params.tiles], "image")}
    return {
        **tiles,
        _PREVIEW: Target(folder, ".png", "image"),
        _META: Target(folder, ".json", "image"),
        _TABLE: Target(folder, ".csv", "image"),
    }


def tile_case(case: Case, params: WsiParams, context: Context) -> Outcome:
    """Cut a slide into tiles."""
    del context
    facts: SlideFacts = case.details
    with facts.open() as slide:
        scale = scale_for(slide, params.mpp)
        pixels = _side(slide, scale, params)
        tissue = find_tissue(slide)
        places = list(
            tile_places(slide, scale, pixels, params.overlap, edge=params.edge, tissue=tissue, least=params.tissue_min)
        )
        size = size_at(slide, scale)
        px0 = scale.factor * slide.levels[scale.level].downsample
    meta = {
        "slide": facts.path.name,
        "read": scale.text(),
        "mpp": scale.mpp,
        "px0_per_px": px0,
        "size_px": list(size),
        "tile_px": pixels,
        "tiles": len(places),
        "tissue_threshold": round(tissue.threshold, 4),
        "tissue_mm2": round(float(np.count_nonzero(tissue.mask)) * tissue.mpp**2 / 1e6, 3),
        "edge": params.edge,
    }
    warnings = []
    if not places:
        warnings.append(f"no tile has at least {params.tissue_min:g} of tissue")
    if scale.factor < 1:
        warnings.append(f"the finest level has {scale.factor * scale.mpp:.4g} µm per pixel: tiles are enlarged")
    found = TiledSlide(case.id, facts, scale, tuple(places), pixels, px0, params)
    cases = found.volumes() if params.tiles == "dataset" else ()
    batch = partial(_write, found, tissue, meta)
    return Outcome(cases, batches=(batch,), facts=meta, warnings=warnings)


@dataclass(frozen=True)
class TiledSlide:
    """A slide and its tiles.

    Parameters
    ----------
    slide_id, facts
        The slide.
    scale, places, pixels
        How it is read, where its tiles lie, and their side.
    px0
        Pixels of level 0 for a pixel of a tile.
    params
        What was asked for.
    """

    slide_id: str
    facts: SlideFacts
    scale: Scale
    places: tuple[TilePlace, ...]
    pixels: int
    px0: float
    params: WsiParams

    def names(self) -> list[str]:
        """Return the name of each tile: its corner in pixels of level 0, behind the slide's name in a dataset."""
        start = f"{self.slide_id}_" if self.params.tiles == "dataset" else ""
        return [f"{start}x{round(tile.x * self.px0):06d}_y{round(tile.y * self.px0):06d}" for tile in self.places]

    def file_of(self, number: int, name: str) -> str:
        """Return the file of a tile, as the table names it."""
        if self.params.tiles == "store":
            return f"{STORE}/{number}"
        if self.params.tiles == "dataset":
            return f"{IMAGE}/{name}.mha"
        return f"tiles/{name}{_ENDINGS[self.params.tiles]}"

    def pictures(self) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Yield the name and the pixels of each tile."""
        size = (self.pixels, self.pixels)
        with self.facts.open() as slide:
            for name, tile in zip(self.names(), self.places, strict=True):
                yield name, read_scaled(slide, self.scale, (tile.x, tile.y), size)

    def volumes(self) -> Iterator[Case]:
        """Yield each tile as a case: an image of one plane with three values per voxel, and its label, if any.

        Raises
        ------
        CaseError
            When there is no mask of the slide, or it has another resolution.
        """
        with contextlib.ExitStack() as opened:
            mask = self._mask(opened)
            spacing = self.scale.mpp / 1000
            for (name, pixels), tile in zip(self.pictures(), self.places, strict=True):
                origin = (tile.x * spacing, tile.y * spacing, 0.0)
                grid = Geometry((1, self.pixels, self.pixels), (spacing, spacing, spacing), origin)
                volumes = {IMAGE: Volume(pixels[None], grid)}
                if mask is not None:
                    size = (self.pixels, self.pixels)
                    classes = mask.read_region(level_px=(tile.x, tile.y), size=size, outside=0)[..., 0]
                    volumes[LABEL] = Volume(np.ascontiguousarray(classes[None]), grid, "label")
                yield Case(name, volumes)

    def _mask(self, opened: contextlib.ExitStack) -> Slide | None:
        if self.params.masks is None:
            return None
        path = mask_of(self.params.masks, self.slide_id)
        if not path.is_file():
            raise CaseError(f"{self.slide_id}: no mask {path}")
        mask = opened.enter_context(open_slide(path))
        require_equal_scale(mask, self.scale.mpp, self.slide_id)
        return mask


def _write(
    found: TiledSlide, tissue: Tissue, meta: Mapping[str, Any], place: Place, compression: Compression
) -> list[Written]:
    """Write tiles, table, facts and the preview of a slide."""
    del compression
    params, scale, pixels = found.params, found.scale, found.pixels
    written: list[Written] = []
    if params.tiles == "store":
        written = _write_store(found.pictures(), len(found.places), pixels, place)
    elif params.tiles != "dataset":
        written = [_write_tile(name, tile, params, place) for name, tile in found.pictures()]
    rows = [
        (
            found.file_of(number, name),
            f"{tile.x * scale.mpp:.3f}",
            f"{tile.y * scale.mpp:.3f}",
            round(tile.x * found.px0),
            round(tile.y * found.px0),
            pixels,
            pixels,
            f"{scale.mpp:.6g}",
            f"{tile.tissue:.4f}",
        )
        for number, (name, tile) in enumerate(zip(found.names(), found.places, strict=True))
    ]
    place(_PREVIEW, "tissue").write_bytes(png(_preview(tissue, found.places, pixels * scale.mpp, scale.mpp)))
    place(_META, "tiles_meta").write_text(json.dumps(meta, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    place(_TABLE, "tiles").write_text(csv_text([COLUMNS, *rows]), encoding="utf-8")
    return [*written, Written(_PREVIEW, "tissue"), Written(_META, "tiles_meta"), Written(_TABLE, "tiles")]


def _write_tile(name: str, tile: NDArray[np.uint8], params: WsiParams, place: Place) -> Written:
    image = require("PIL.Image", extra="pathology", why="writing tiles").fromarray(tile)
    options: dict[str, Any] = (
        {"format": "PNG", "compress_level": 1}
        if params.tiles == "png"
        else {"format": "JPEG", "quality": params.quality, "subsampling": 0}
    )
    image.save(place(_TILE, name), **options)
    return Written(_TILE, name)


def _write_store(
    tiles: Iterator[tuple[str, NDArray[np.uint8]]], count: int, pixels: int, place: Place
) -> list[Written]:
    zarr = require("zarr", extra="fast", why="a store of tiles")
    path = place(_STORE, "tiles")
    store = zarr.storage.ZipStore(path, mode="w")
    try:
        shape = (count, pixels, pixels, 3)
        array = zarr.create_array(store, shape=shape, chunks=(1, *shape[1:]), dtype="uint8", fill_value=255)
        for number, (_, tile) in enumerate(tiles):
            array[number] = tile
    finally:
        store.close()
    if not path.is_file():
        raise WriteError(f"{path.name}: the store was not written")
    return [Written(_STORE, "tiles")]


def _preview(tissue: Tissue, places: Sequence[TilePlace], side_um: float, mpp: float) -> NDArray[np.uint8]:
    """Return the overview of a slide with the outline of its tissue; what no kept tile covers is pale."""
    picture: NDArray[np.uint8] = tissue.picture.copy()
    covered = np.zeros(tissue.mask.shape, bool)
    for tile in places:
        top, left = round(tile.y * mpp / tissue.mpp), round(tile.x * mpp / tissue.mpp)
        length = max(1, round(side_um / tissue.mpp))
        covered[top : top + length, left : left + length] = True
    picture[~covered] = 128 + picture[~covered] // 2
    picture[outline(tissue.mask.astype(np.uint8))] = _BORDER
    return picture


def collect(params: WsiParams, run: Collected) -> Report:
    """Return ``tiles_meta.json``, the facts of every slide, and the description of a dataset."""
    cases = {name: dict(record.facts) for name, record in sorted(run.all_records.items())}
    total = sum(facts.get("tiles", 0) for facts in cases.values())
    files: dict[Path, Any] = {Path(META): cases}
    if params.tiles == "dataset":
        files[Path(DATASET_META)] = _description(params)
    return Report((f"{total} tiles of {len(cases)} slides",), files=files)


def _description(params: WsiParams) -> dict[str, Any]:
    described: dict[str, Any] = {"name": params.source.absolute().name, "channels": ["red", "green", "blue"]}
    path = None if params.masks is None else params.masks / MASK_META
    meta = read_json(path) if path is not None and path.is_file() else {}
    labels: dict[str, str] = {}
    for entry in meta.values() if isinstance(meta, dict) else ():
        found = entry.get("labels") if isinstance(entry, dict) else None
        labels |= {str(value): str(name) for value, name in found.items()} if isinstance(found, dict) else {}
    return {**described, "labels": {"0": "background", **labels}} if labels else described
