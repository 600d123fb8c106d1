"""Mouse and keys on a plane: crosshair, window, zoom, distances, and the line between two volumes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from PyQt6.QtCore import QPointF, Qt
from PyQt6.QtGui import QKeyEvent, QMouseEvent, QWheelEvent

from itkit.core.geometry import Triple
from itkit.core.slices import Plane
from itkit.gui.viewer.planes import PlaneMap, inside

if TYPE_CHECKING:
    from itkit.gui.viewer.plane_view import PlaneView

_ZOOM_STEP = 1.2
_MOST_ZOOM = 40.0
_NEAR = 8


@dataclass(frozen=True)
class Ruler:
    """A measured distance: two points of the patient, mm, in one slice of a plane."""

    plane: Plane
    at: int
    begin: Triple
    end: Triple

    @property
    def length_mm(self) -> float:
        """The distance, mm."""
        return math.dist(self.begin, self.end)


class Pointing:
    """What the mouse and the keys do on a plane."""

    def __init__(self, view: PlaneView) -> None:
        self.view = view
        self.ruler: Ruler | None = None
        """The distance that is being measured."""
        self._drag: tuple[str, QPointF] | None = None

    def step(self, slices: int) -> None:
        """Go some slices up or down."""
        found = self.view.map
        if found is None or self.view.projects:
            return
        index = list(self.view.scene.index_zyx)
        index[found.across] += slices
        self._go(found, index)

    def _go(self, found: PlaneMap, index: list[int] | list[float]) -> None:
        self.view.moved.emit(found.grid.point_xyz(inside((index[0], index[1], index[2]), found.grid)))

    def wheel(self, event: QWheelEvent) -> None:
        """Go through slices, or zoom with Ctrl."""
        notches = event.angleDelta().y() / 120 or math.copysign(1, event.pixelDelta().y() or 1)
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.view.zoomed.emit(min(max(self.view.shared.zoom * _ZOOM_STEP**notches, 1.0), _MOST_ZOOM))
        else:
            self.step(-round(notches) or -int(math.copysign(1, notches)))
        event.accept()

    def press(self, event: QMouseEvent) -> None:
        """Begin to move the crosshair, the window, the picture, the line of the swipe, or to measure."""
        view, place = self.view, event.position()
        ctrl = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        if event.button() == Qt.MouseButton.RightButton:
            kind = "window"
        elif event.button() == Qt.MouseButton.MiddleButton or ctrl:
            kind = "pan"
        elif view.other is not None and abs(place.x() - view.width() * view.shared.swipe) < _NEAR:
            kind = "swipe"
        else:
            kind = "measure" if view.shared.measures and not view.projects else "cross"
        self._drag = (kind, place)
        point = view.point_at(place)
        if kind == "measure" and point is not None:
            self.ruler = Ruler(view.plane, view.at, point, point)
        self._move_to(place)

    def move(self, event: QMouseEvent) -> None:
        """Go on with what the button began."""
        if self._drag is not None:
            self._move_to(event.position())

    def _move_to(self, place: QPointF) -> None:
        if self._drag is None:
            return
        view, (kind, before) = self.view, self._drag
        step = place - before
        self._drag = (kind, place)
        actions: dict[str, Callable[[], object]] = {
            "cross": lambda: self._move_cross(place),
            "window": lambda: view.windowed.emit(step.x(), step.y()),
            "pan": lambda: view.pan(step),
            "swipe": lambda: view.swiped.emit(min(max(place.x() / max(1, view.width()), 0.0), 0.999)),
            "measure": lambda: self.stretch(place),
        }
        actions[kind]()

    def _move_cross(self, place: QPointF) -> None:
        found, point = self.view.map, self.view.point_at(place)
        if found is None or point is None:
            return
        index = list(found.grid.index_zyx(point))
        if self.view.projects:
            index[found.across] = self.view.scene.index_zyx[found.across]
        self._go(found, index)

    def stretch(self, place: QPointF) -> None:
        """Let the distance that is being measured end at a place."""
        point = self.view.point_at(place)
        if self.ruler is not None and point is not None:
            self.ruler = Ruler(self.view.plane, self.ruler.at, self.ruler.begin, point)
            self.view.update()

    def release(self) -> Ruler | None:
        """End what the button began; return the distance that was measured."""
        measured = self.ruler
        self.ruler, self._drag = None, None
        return measured if measured is not None and measured.length_mm > 0 else None

    def forget(self) -> None:
        """Let go of what the button began."""
        self._drag = None

    def drop(self) -> None:
        """Let go of a distance that has no end yet."""
        self.ruler, self._drag = None, None

    def key(self, event: QKeyEvent) -> bool:
        """Move by keys, arrows in the plane, page up and down through slices; return whether the key is one of ours.

        Enter begins and ends a distance at the crosshair; F shows the plane alone.
        """
        found = self.view.map
        if found is None:
            return True
        if event.key() == Qt.Key.Key_F and not event.modifiers():
            self.view.maximised.emit()
            return True
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            return self._measure_by_key()
        far = 10 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1
        if event.key() in (Qt.Key.Key_PageUp, Qt.Key.Key_PageDown):
            self.step(far if event.key() == Qt.Key.Key_PageUp else -far)
            return True
        moves = {
            Qt.Key.Key_Left: (found.column_axis, -1 if not found.flips_columns else 1),
            Qt.Key.Key_Right: (found.column_axis, 1 if not found.flips_columns else -1),
            Qt.Key.Key_Up: (found.row_axis, -1 if not found.flips_rows else 1),
            Qt.Key.Key_Down: (found.row_axis, 1 if not found.flips_rows else -1),
        }
        move = moves.get(Qt.Key(event.key()))
        if move is None:
            return False
        index = list(self.view.scene.index_zyx)
        index[move[0]] += move[1] * far
        self._go(found, index)
        if self._drag is None and self.ruler is not None:
            self.ruler = replace(self.ruler, end=self.view.scene.point_xyz)
            self.view.update()
        return True

    def _measure_by_key(self) -> bool:
        """Begin a distance at the crosshair, or end it there."""
        view = self.view
        if not view.shared.measures or view.projects:
            return False
        point = view.scene.point_xyz
        if self.ruler is None or self.ruler.at != view.at:
            self.ruler = Ruler(view.plane, view.at, point, point)
        else:
            view.keep(self.release())
        view.update()
        return True
