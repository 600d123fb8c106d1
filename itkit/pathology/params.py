"""The parameters of ``itk_wsi``; each mode uses some of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from itkit.core.fields import Bounds, Group, OnlyWith, PathRole, Pattern, Positional, Short, Unit, Unkeyed
from itkit.core.params import Params

_TILE, _SCALED = OnlyWith(mode="tile"), OnlyWith(mode=("tile", "mask"))
_NAMED = OnlyWith(mode=("mask", "annotate"))
_JUDGES = "check"


class WsiParams(Params):
    """Cut whole slides into tiles, paint annotations, stitch pyramids, check slides, remove patients' names."""

    mode: Annotated[Literal["tile", "mask", "stitch", "check", "deidentify", "annotate"], Positional()]
    """tile: slides to tiles with a table; mask: annotations (QuPath's GeoJSON, ASAP's or ImageScope's XML) to label
    masks; stitch: tiles or predictions beside their tables to pyramids; check: find slides with unreadable levels,
    without a resolution, or with images that may show a name; deidentify: copies without these; annotate: label masks
    to GeoJSON."""
    source: Annotated[Path, PathRole("in_folder"), Positional("source")]
    """Folder of slides, or one slide; for stitch the folder that tile wrote, for annotate the one that mask wrote."""
    annotations: Annotated[Path | None, PathRole("in_folder"), Positional("annotations"), OnlyWith(mode="mask")] = None
    """Folder of annotations, named like the slides."""
    dest: Annotated[Path | None, PathRole("out_folder"), Positional("dest")] = None
    """Folder to write; check writes none."""
    recursive: Annotated[bool, Short("-r"), Unkeyed()] = False
    """Search sub-folders."""
    tile_um: Annotated[float, Bounds(above=0), Unit("µm"), _TILE, Group("Tiles")] = 256.0
    """Side of a tile; with --mpp it gives the pixels of a tile: 256 µm at 0.5 are 512 pixels."""
    mpp: Annotated[float, Bounds(above=0), Unit("µm/pixel"), _SCALED, Group("Tiles")] = 0.5
    """Resolution of tiles or masks. A level within 1 % is taken as it is; else the next finer one is resampled."""
    overlap: Annotated[float, Field(ge=0, lt=1), _TILE, Group("Tiles")] = 0.0
    """Part of a tile that the next one covers again (0 to below 1)."""
    tissue_min: Annotated[float, Field(ge=0, le=1), _TILE, Group("Tiles")] = 0.5
    """Keep a tile if at least this part of it is tissue (0 to 1); 0 keeps all."""
    edge: Annotated[Literal["pad", "drop"], _TILE, Group("Tiles")] = "pad"
    """Tiles that reach beyond the slide are filled with white, or left out."""
    tiles: Annotated[Literal["png", "jpeg", "store", "dataset"], _TILE, Group("Output")] = "png"
    """One file per tile; one chunked store per slide (Zarr in a zip file, with an array of all tiles); or a dataset
    (image/ and, with --masks, label/) that itkit train and itk_infer take."""
    masks: Annotated[Path | None, PathRole("in_folder"), _TILE, OnlyWith(tiles="dataset"), Group("Output")] = None
    """Folder that mask wrote at the same resolution: the labels of a dataset of tiles."""
    quality: Annotated[int, Field(ge=1, le=100), OnlyWith(mode=("tile", "stitch")), Group("Output")] = 90
    """Quality of JPEG, 1 to 100; masks never use it."""
    predictions: Annotated[Path | None, PathRole("in_folder"), OnlyWith(mode="stitch")] = None
    """Folder with a folder per slide, or one for all, with a file per tile of the same name: .png or a volume with
    classes (of itk_infer), or .npy with scores (K, Y, X); by default the folder predictions beside a slide's table, or
    else the tiles themselves are stitched."""
    labels: Annotated[tuple[Annotated[str, Pattern(r"^\d+=.*\S")], ...], _NAMED] = ()
    """Value of each class, e.g. 1=tumour 2=stroma; regions of other classes are left out and named. By default classes
    are numbered in the order of their names."""
    slide_mpp: Annotated[Annotated[float, Bounds(above=0), Unit("µm/pixel")] | None, Group("Slides")] = None
    """Resolution of level 0 of slides whose files do not tell it."""
    mpp_table: Annotated[Path | None, PathRole("in_file"), Group("Slides")] = None
    """CSV file with the columns slide and mpp: the resolution of single slides."""

    @model_validator(mode="before")
    @classmethod
    def _two_folders(cls, values: Any) -> Any:
        """Take the second folder as the destination where a mode has no annotations."""
        if isinstance(values, Mapping) and values.get("mode") != "mask" and not values.get("dest"):
            rest = {name: value for name, value in values.items() if name not in ("annotations", "dest")}
            return {**rest, "dest": values.get("annotations")}
        return values

    @model_validator(mode="after")
    def _has_pixels(self) -> Self:
        if self.mode == "tile" and self.tile_um < self.mpp:
            raise ValueError(f"--tile-um: {self.tile_um:g} µm are less than a pixel of --mpp {self.mpp:g}")
        return self

    @model_validator(mode="after")
    def _has_folders(self) -> Self:
        if self.mode == "mask" and (self.annotations is None or self.dest is None):
            raise ValueError("mask needs three folders: slides, annotations and dest")
        if self.mode != _JUDGES and self.dest is None:
            raise ValueError(f"{self.mode} needs a folder to write: dest")
        if self.mode == _JUDGES and self.dest is not None:
            raise ValueError("check writes nothing; drop dest")
        return self
