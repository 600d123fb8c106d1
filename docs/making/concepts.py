"""Pictures of the concept pages, drawn from the CT that comes with ITKIT."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

import itkit
from itkit.cli.demo import torso
from itkit.core.geometry import Triple
from itkit.core.slices import PLANES, plane_slice
from itkit.core.volume import Volume
from itkit.report.pictures import Overlay, busiest_point, nearest_voxel
from making.drawing import ACCENT, FAINT, GROUND, INK, SOFT_TISSUE, Drawing, row_of, view, voxels
from making.worked import ORGANS

WHITE = (255, 255, 255)
RIGHT_KIDNEY = 2


def axis_order() -> str:
    """Draw one voxel of the CT with its index, and its physical point."""
    image, label = torso()
    at = busiest_point(label, [RIGHT_KIDNEY])
    z, y, x = nearest_voxel(image.geometry, at)
    point = image.geometry.point_xyz((z, y, x))
    panel = view("", image, [Overlay(label, classes=[RIGHT_KIDNEY], fill=0.2)], at_xyz=at)
    rows, columns = panel.rgb.shape[:2]
    width = 340.0
    drawing = Drawing(14 + width * rows / columns + 50)
    height = drawing.image(panel.rgb, 44, 14, width)
    drawing.dot(44 + width * _share(image, "x", x), 14 + height * _share(image, "z", z), radius=6)
    ends = (14 + height, 14.0) if _runs(image, "z") else (14.0, 14 + height)
    drawing.arrow(26, ends[0], 26, ends[1])
    drawing.text("z", 6, 14 + height / 2, colour=ACCENT, bold=True)
    ends = (44 + width, 44.0) if _runs(image, "x") else (44.0, 44 + width)
    drawing.arrow(ends[0], 14 + height + 18, ends[1], 14 + height + 18)
    drawing.text("x", 44 + width / 2, 14 + height + 44, colour=ACCENT, bold=True)
    left = 44 + width + 22
    lines = (
        ("an index: Z Y X", INK, True),
        (f"array_zyx[{z}, {y}, {x}]", ACCENT, False),
        (f"= {image.array_zyx[z, y, x]} HU", ACCENT, False),
        ("", INK, False),
        ("a point: X Y Z, mm", INK, True),
        ("point_xyz =", ACCENT, False),
        (f"({', '.join(f'{value:.0f}' for value in point)})", ACCENT, False),
        ("", INK, False),
        (f"axes point to {image.geometry.orientation}", FAINT, False),
        ("y: towards you", FAINT, False),
    )
    for number, (words, colour, is_bold) in enumerate(lines):
        drawing.text(words, left, 50 + 29 * number, colour=colour, bold=is_bold)
    return drawing.svg()


def _runs(volume: Volume, axis: str) -> bool:
    """Return whether an index grows upwards (z) or to the left (x) in the coronal picture."""
    places = _places(volume, axis)
    return bool(places[0, 0] > places[-1, 0]) if axis == "z" else bool(places[0, 0] > places[0, -1])


def _places(volume: Volume, axis: str) -> NDArray[np.int64]:
    """Return the index along an axis of each pixel of the coronal slice."""
    index = np.indices(volume.geometry.size_zyx)["zyx".index(axis)]
    size_z, size_y, size_x = volume.geometry.size_zyx
    return plane_slice(index, volume.geometry, "coronal", (size_z // 2, size_y // 2, size_x // 2)).values


def _share(volume: Volume, axis: str, index: int) -> float:
    """Return where the centre of a voxel lies along an axis of the coronal picture, as a share of it."""
    size = volume.geometry.size_zyx["zyx".index(axis)]
    return ((size - 1 - index if _runs(volume, axis) else index) + 0.5) / size


def orientation() -> str:
    """Draw the middle plane of the array in memory, in three orientations."""
    image, _ = torso()
    panels = []
    for code in ("LPS", "RAI", "SAR"):
        turned = itkit.orient(image, code)
        middle = turned.geometry.size_zyx[0] // 2
        panels.append(voxels(f"{code}: array[{middle}]", turned.array_zyx[middle]))
    return row_of(panels)


def resampling() -> str:
    """Draw a row of voxels through the spine, and on three times the spacing: extent kept, origin kept."""
    image, label = torso()
    z, y, x = nearest_voxel(image.geometry, busiest_point(label, ORGANS))
    line = image.array_zyx[z, y, x : x + 15].astype(float)
    drawing = Drawing(392)
    left, pixel = 80.0, 32.0
    rows = (
        ("15 voxels of 3 mm, from the CT", left, pixel, line),
        ("9 mm, extent kept: the boxes end together", left, 3 * pixel, line.reshape(5, 3).mean(axis=1)),
        ("9 mm, origin kept: 3 mm too far to the left", left - pixel, 3 * pixel, line[::3]),
    )
    for number, (words, start, width, values) in enumerate(rows):
        top = 52 + 120 * number
        drawing.text(words, left + 8, top - 12)
        for place, value in enumerate(values):
            grey = int(np.clip((value - SOFT_TISSUE.low) / (SOFT_TISSUE.high - SOFT_TISSUE.low), 0, 1) * 255)
            corner = start + place * width
            drawing.box(corner, top, width, 56, colour=GROUND, fill=f"rgb({grey},{grey},{grey})")
            drawing.dot(corner + width / 2, top + 28)
    for edge in (left, left + 15 * pixel):
        drawing.line(edge, 44, edge, 360, width=2)
    drawing.text("the box of the CT, 45 mm", left + 7.5 * pixel, 381, anchor="middle", colour=ACCENT)
    return drawing.svg()


def resampling_ct() -> str:
    """Draw organs on fine and coarse voxels, with the outlines of the fine labels on both."""
    image, label = torso()
    at = busiest_point(label, ORGANS)
    grid = itkit.resampled_grid(image.geometry, size_zyx=(28, 25, 30))
    outlines = Overlay(label, colour=WHITE, fill=0, classes=ORGANS)
    new = itkit.resample(label, grid)
    return row_of(
        [
            view("voxels of 3 mm", image, [Overlay(label, classes=ORGANS), outlines], at_xyz=at),
            view("of 12 mm", itkit.resample(image, grid), [Overlay(new, classes=ORGANS), outlines], at_xyz=at),
        ]
    )


def resume() -> str:
    """Draw what lies in a destination while a run works, after a kill, and after the same command again."""
    image, _ = torso()
    pictures = _thumbnails(image)
    drawing = Drawing(430)
    rows = (
        ("the run works: 3 cases are settled, 2 in work", "done done done work work wait wait wait"),
        ("killed: what was settled is whole, nothing else is there", "done done done none none none none none"),
        ("the same command: 3 skipped, 5 made", "skip skip skip done done done done done"),
    )
    for number, (words, states) in enumerate(rows):
        top = 54 + 136 * number
        drawing.text(words, 16, top - 14)
        for place, state in enumerate(states.split()):
            left = 16 + 76.5 * place
            if state in ("done", "skip"):
                drawing.image(pictures[place], left, top, 70)
                drawing.box(left, top, 70, 70, colour=ACCENT if state == "done" else FAINT, line=3)
            elif state == "work":
                drawing.box(left, top, 70, 70, colour=FAINT, line=1)
                drawing.text("hidden", left + 35, top + 40, anchor="middle", colour=FAINT, size=16)
            else:
                drawing.box(left, top, 70, 70, colour="#39424e", line=1)
            under = {"done": "whole", "skip": "skipped"}.get(state, "")
            drawing.text(under, left + 35, top + 88, anchor="middle", colour=FAINT, size=15)
    return drawing.svg()


def _thumbnails(image: Volume) -> list[NDArray[np.uint8]]:
    """Return eight square pictures of different slices."""
    size_z, size_y, size_x = image.geometry.size_zyx
    found = []
    for number in range(8):
        at: Triple = image.geometry.point_xyz(((number + 1) * size_z / 9, size_y / 2, size_x / 2))
        rgb = view("", image, plane="axial", at_xyz=at, mm_per_pixel=4).rgb
        side = min(rgb.shape[:2])
        top, left = ((length - side) // 2 for length in rgb.shape[:2])
        found.append(np.ascontiguousarray(rgb[top : top + side, left : left + side]))
    return found


def home() -> str:
    """Draw the CT with all its classes in three planes."""
    image, label = torso()
    at = busiest_point(label, ORGANS)
    return row_of([view(plane, image, [Overlay(label)], plane=plane, at_xyz=at) for plane in PLANES])


PICTURES: Mapping[str, Callable[[], str]] = {
    "home": home,
    "axis-order": axis_order,
    "orientation": orientation,
    "resampling": resampling,
    "resampling-ct": resampling_ct,
    "resume": resume,
}
"""Pictures below ``docs/images/made``, by name."""


def names() -> set[str]:
    """Return the pictures' paths below ``docs``."""
    return {f"images/made/{name}.svg" for name in PICTURES}
