"""Whole-slide images: slides of many formats, tissue masks, tiles, annotations, stitched pyramids.

Positions and sizes are X Y here, as in all slide formats: in micrometres from the slide's upper left corner, or in
pixels of a level. Pixels are ``(Y, X, 3)`` RGB, uint8. It needs the extra ``pathology``.

Examples
--------
::

    with open_slide("slide.svs") as slide:
        tile = slide.read_region(xy_um=(1000, 500), size=(512, 512))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from itkit.core.lazy import lazy_names

if TYPE_CHECKING:
    from itkit.pathology.annotations import Annotation, read_annotations, write_geojson
    from itkit.pathology.pyramid import write_pyramid
    from itkit.pathology.slides import Level, Slide, open_slide
    from itkit.pathology.tile_dataset import TileDataset
    from itkit.pathology.tissue import tissue_mask

__all__ = [
    "Annotation",
    "Level",
    "Slide",
    "TileDataset",
    "open_slide",
    "read_annotations",
    "tissue_mask",
    "write_geojson",
    "write_pyramid",
]

_HOMES = {
    "Annotation": "itkit.pathology.annotations",
    "Level": "itkit.pathology.slides",
    "Slide": "itkit.pathology.slides",
    "TileDataset": "itkit.pathology.tile_dataset",
    "open_slide": "itkit.pathology.slides",
    "read_annotations": "itkit.pathology.annotations",
    "tissue_mask": "itkit.pathology.tissue",
    "write_geojson": "itkit.pathology.annotations",
    "write_pyramid": "itkit.pathology.pyramid",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
