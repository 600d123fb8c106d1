"""Where the slices of a plane are drawn in a widget: from millimetres of the patient to pixels and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from PyQt6.QtCore import QPointF, QRectF

from itkit.core.geometry import Triple
from itkit.gui.viewer.planes import PlaneMap, Uv

_MARGIN = 4


@dataclass(frozen=True)
class PlaneLayout:
    """A slice in a widget.

    Parameters
    ----------
    plane
        How the plane lies in the grid.
    at
        The slice.
    width, height
        Those of the widget, pixels.
    zoom
        How much larger than what fits; 1 shows the whole slice.
    shift_mm
        How far the slice is moved from the middle, to the right and down.
    """

    plane: PlaneMap
    at: int
    width: int
    height: int
    zoom: float = 1.0
    shift_mm: Uv = (0.0, 0.0)

    @cached_property
    def scale(self) -> float:
        """Pixels a mm."""
        high, wide = self.plane.extent_mm
        room_w, room_h = max(10, self.width - 2 * _MARGIN), max(10, self.height - 2 * _MARGIN)
        return min(room_w / wide, room_h / high) * self.zoom

    @cached_property
    def origin(self) -> QPointF:
        """Where the corner of the slice is drawn, pixels."""
        scale = self.scale
        high, wide = self.plane.extent_mm
        return QPointF(
            self.width / 2 - wide * scale / 2 + self.shift_mm[0] * scale,
            self.height / 2 - high * scale / 2 + self.shift_mm[1] * scale,
        )

    @cached_property
    def rect(self) -> QRectF:
        """Where the slice is drawn, pixels."""
        scale, origin = self.scale, self.origin
        high, wide = self.plane.extent_mm
        return QRectF(origin.x(), origin.y(), wide * scale, high * scale)

    def rect_of(self, other: PlaneMap, at: int) -> QRectF:
        """Return where a slice of another grid is drawn: at the same place of the patient, pixels."""
        scale, origin = self.scale, self.origin
        left, top = other.corner(at)
        own_left, own_top = self.plane.corner(self.at)
        high, wide = other.extent_mm
        return QRectF(
            origin.x() + (left - own_left) * scale, origin.y() + (top - own_top) * scale, wide * scale, high * scale
        )

    def point_at(self, place: QPointF) -> Triple:
        """Return the physical point under a place of the widget, mm."""
        scale, origin = self.scale, self.origin
        index = self.plane.index((place.x() - origin.x()) / scale, (place.y() - origin.y()) / scale, self.at)
        return self.plane.grid.point_xyz(index)

    def place_of(self, point: Triple) -> QPointF:
        """Return where a physical point is drawn, pixels."""
        right, below = self.plane.offset(self.plane.grid.index_zyx(point))
        scale, origin = self.scale, self.origin
        return QPointF(origin.x() + right * scale, origin.y() + below * scale)
