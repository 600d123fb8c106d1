"""Pictures as SVG files: slices of real volumes with captions, arrows and boxes over them.

They are drawn on a dark ground, so that they look the same on light and dark pages, and hold no link to any other file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.geometry import Triple
from itkit.core.slices import Plane
from itkit.core.thumbnail import png_uri
from itkit.core.volume import Volume
from itkit.report.pictures import Overlay, slice_picture
from itkit.report.windows import Window

GROUND, INK, FAINT, ACCENT = "#12161c", "#f2f4f7", "#9aa4b2", "#ffb454"
SOFT_TISSUE = Window(-160, 240, "HU")
WIDTH = 640
"""All pictures have this width, so that their texts have one size, also on a phone."""
TEXT = 20
"""Height of a text; at 340 pixels, the width of a phone's column, this is 11."""


@dataclass
class Drawing:
    """A picture that grows: each method adds one thing; places are in pixels from the upper left corner."""

    height: float
    parts: list[str] = field(default_factory=list)

    def image(self, rgb: NDArray[np.uint8], left: float, top: float, width: float, *, crisp: bool = False) -> float:
        """Lay a picture; return its height. ``crisp`` shows its pixels as squares."""
        height = width * rgb.shape[0] / rgb.shape[1]
        style = ' style="image-rendering:pixelated"' if crisp else ""
        place = f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
        self.parts.append(f'<image {place} preserveAspectRatio="none" href="{png_uri(rgb)}"{style}/>')
        return height

    def text(
        self,
        words: str,
        x: float,
        y: float,
        *,
        anchor: str = "start",
        colour: str = INK,
        size: float = TEXT,
        bold: bool = False,
    ) -> None:
        """Write words; ``y`` is their base line."""
        weight = ' font-weight="600"' if bold else ""
        place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}"'
        self.parts.append(f"<text {place}{weight}>{escape(words)}</text>")

    def line(self, x1: float, y1: float, x2: float, y2: float, *, colour: str = ACCENT, width: float = 3) -> None:
        """Draw a line."""
        place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        self.parts.append(f'<line {place} stroke="{colour}" stroke-width="{width}" stroke-linecap="round"/>')

    def arrow(self, x1: float, y1: float, x2: float, y2: float, *, colour: str = ACCENT) -> None:
        """Draw an arrow to the second point."""
        along = np.array([x2 - x1, y2 - y1]) / (np.hypot(x2 - x1, y2 - y1) or 1)
        across = np.array([-along[1], along[0]])
        tip, foot = np.array([x2, y2]), np.array([x2, y2]) - 13 * along
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in (tip, foot + 7 * across, foot - 7 * across))
        self.line(x1, y1, float(foot[0]), float(foot[1]), colour=colour)
        self.parts.append(f'<polygon points="{corners}" fill="{colour}"/>')

    def box(
        self,
        left: float,
        top: float,
        width: float,
        height: float,
        *,
        colour: str = ACCENT,
        fill: str = "none",
        line: float = 2,
    ) -> None:
        """Draw a rectangle."""
        place = f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
        self.parts.append(f'<rect {place} fill="{fill}" stroke="{colour}" stroke-width="{line}"/>')

    def dot(self, x: float, y: float, *, radius: float = 4, colour: str = ACCENT) -> None:
        """Draw a filled circle."""
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>')

    def svg(self) -> str:
        """Return the picture's file."""
        size = f'viewBox="0 0 {WIDTH} {self.height:.0f}" width="{WIDTH}" height="{self.height:.0f}"'
        ground = f'<rect width="{WIDTH}" height="{self.height:.0f}" rx="10" fill="{GROUND}"/>'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif">'
        return "\n".join([head, ground, *self.parts, "</svg>\n"])


@dataclass(frozen=True, eq=False)
class Panel:
    """A picture with a caption; ``letters`` stand at its left, right, top and bottom."""

    caption: str
    rgb: NDArray[np.uint8]
    letters: str = ""
    crisp: bool = False


def view(
    caption: str,
    image: Volume | None,
    overlays: Sequence[Overlay] = (),
    *,
    plane: Plane = "coronal",
    at_xyz: Triple,
    window: Window | None = SOFT_TISSUE,
    mm_per_pixel: float = 1.0,
) -> Panel:
    """Return a panel of one slice through a physical point, in the radiological view."""
    drawn = slice_picture(image, list(overlays), plane, at_xyz, window, mm_per_pixel=mm_per_pixel)
    return Panel(caption, drawn.rgb, drawn.letters)


def voxels(caption: str, plane: NDArray[Any], window: Window = SOFT_TISSUE) -> Panel:
    """Return a panel of one plane of an array as it lies in memory: its first row is on top."""
    grey = np.clip((plane.astype(np.float64) - window.low) / (window.high - window.low), 0, 1) * 255
    return Panel(caption, np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=2), "", crisp=True)


def row_of(panels: Sequence[Panel]) -> str:
    """Return a picture of panels side by side, all at one scale."""
    gap, head = 14.0, 40.0
    pixels = sum(panel.rgb.shape[1] for panel in panels)
    scale = (WIDTH - gap * (len(panels) + 1)) / pixels
    tallest = max(panel.rgb.shape[0] for panel in panels) * scale
    drawing = Drawing(head + tallest + gap)
    left = gap
    for panel in panels:
        height, width = (scale * side for side in panel.rgb.shape[:2])
        top = head + (tallest - height) / 2
        drawing.image(panel.rgb, left, top, width, crisp=panel.crisp)
        drawing.text(panel.caption, left, 27, size=TEXT if len(panels) < 3 else TEXT - 2)
        for letter, (x, y, anchor) in zip(
            panel.letters,
            (
                (left + 5, top + height / 2, "start"),
                (left + width - 5, top + height / 2, "end"),
                (left + width / 2, top + TEXT, "middle"),
                (left + width / 2, top + height - 6, "middle"),
            ),
            strict=False,
        ):
            drawing.text(letter, x, y, anchor=anchor, colour=ACCENT, size=16)
        left += width + gap
    return drawing.svg()


def write(text: str, path: Path) -> None:
    """Write a text file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
