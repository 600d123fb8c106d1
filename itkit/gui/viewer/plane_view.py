"""One plane: its picture, cached until something of it changes; crosshair, letters, measured distances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PyQt6 import sip
from PyQt6.QtCore import QPoint, QPointF, QRect, QRectF, QSize, Qt, QTimer, pyqtSignal
from PyQt6.QtGui import (
    QColor,
    QFont,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
    QWheelEvent,
)
from PyQt6.QtWidgets import QSizePolicy, QWidget

from itkit.core.geometry import Triple
from itkit.core.slices import PLANES, Plane
from itkit.gui.viewer.layout import PlaneLayout
from itkit.gui.viewer.pictures import EVERYTHING, holds_point, projection_picture, slice_picture
from itkit.gui.viewer.planes import PlaneMap, Uv, oblique_text
from itkit.gui.viewer.pointing import Pointing, Ruler
from itkit.gui.viewer.scene import Scene

_STILL_MS = 140
_APART_MS = 40
"""Planes are drawn smoothly one after the other, so that the window answers in between."""
_GAP = 8.0
_HANDLE = 0.85
"""Share of the height at which the line between two volumes has its handle."""
CROSS = QColor(255, 210, 60)
SWIPE = QColor(255, 255, 255)
RULER = QColor(110, 231, 160)
_SHADE = QColor(0, 0, 0)
_WHITE = QColor(255, 255, 255)


@dataclass
class Shared:
    """What all planes of a viewer share: zoom, tools, the line between two volumes.

    Parameters
    ----------
    zoom
        How much larger than what fits; 1 shows everything.
    measures
        Whether dragging measures distances.
    swipe
        Share of a plane's width that shows the first of two volumes; 1 shows it alone.
    shows_cross
        Whether the crosshair is drawn.
    """

    zoom: float = 1.0
    measures: bool = False
    swipe: float = 1.0
    shows_cross: bool = True


class PlaneView(QWidget):
    """A plane of one volume, or of two with a line between them.

    While the crosshair moves, a new slice is drawn at once and in the coarseness of the screen; a moment later it is
    drawn smoothly into a picture that is kept. Of a slice that stays, only the crosshair is drawn anew.

    Parameters
    ----------
    plane
        The plane of the patient.
    scene
        What is shown.
    shared
        What all planes share.
    projects
        Whether the largest values along the view are shown, instead of a slice.
    """

    moved = pyqtSignal(object)
    """The crosshair has been moved: to a physical point, mm."""
    windowed = pyqtSignal(float, float)
    """The window is to become darker and wider, in pixels of the mouse."""
    maximised = pyqtSignal()
    swiped = pyqtSignal(float)
    measured = pyqtSignal(object)
    zoomed = pyqtSignal(float)

    def __init__(self, plane: Plane, scene: Scene, shared: Shared, *, projects: bool = False) -> None:
        super().__init__()
        self.plane, self.scene, self.shared, self.projects = plane, scene, shared, projects
        self.other: Scene | None = None
        """The second volume, shown right of the swipe's line."""
        self.rulers: list[Ruler] = []
        self.pointing = Pointing(self)
        self._shift: Uv = (0.0, 0.0)
        self._kept: dict[int, tuple[Any, QImage]] = {}
        """For each volume, its picture and what that depends on."""
        self._passing: dict[int, Any] = {}
        """For each volume, what the picture that is not kept depends on."""
        self._over: Any = None
        """What was drawn over the pictures last."""
        self._cross: QPointF | None = None
        """Where the crosshair was drawn last."""
        self._is_moving = False
        self._still = QTimer(self)
        self._still.setSingleShot(True)
        self._still.setInterval(_STILL_MS + _APART_MS * (PLANES.index(plane) + 3 * projects))
        self._still.timeout.connect(self._sharpen)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setMinimumSize(QSize(120, 100))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        title = "Maximum-intensity projection" if projects else f"{plane.capitalize()} plane"
        self.setAccessibleName(title)
        self.setAccessibleDescription(
            "Arrows move the crosshair, page up and down the slice, Shift in larger steps; F shows this plane alone"
        )
        self.title = title

    # --- where things lie ---------------------------------------------------------------------------------------

    @property
    def map(self) -> PlaneMap | None:
        """How the plane lies in the grid; ``None`` if nothing is shown."""
        return self.scene.maps.get(self.plane)

    @property
    def at(self) -> int:
        """The slice that is shown."""
        return 0 if self.map is None else self.scene.index_zyx[self.map.across]

    def layout_of_slice(self) -> PlaneLayout | None:
        """Return where the slice is drawn; ``None`` if nothing is shown."""
        found = self.map
        if found is None:
            return None
        return PlaneLayout(found, self.at, self.width(), self.height(), self.shared.zoom, self._shift)

    def point_at(self, place: QPointF) -> Triple | None:
        """Return the physical point under a place of the widget, mm."""
        layout = self.layout_of_slice()
        return None if layout is None else layout.point_at(place)

    def place_of(self, point: Triple) -> QPointF:
        """Return where a physical point is drawn."""
        layout = self.layout_of_slice()
        return QPointF() if layout is None else layout.place_of(point)

    # --- what is to be drawn --------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Draw everything anew."""
        self._kept.clear()
        self.update()

    def refresh(self) -> None:
        """Draw what has changed: the crosshair alone, or another slice or look, quickly first."""
        layout = self.layout_of_slice()
        if layout is None:
            self.update()
            return
        shown = [(0, self.scene), *([(1, self.other)] if self._splits() and self.other is not None else [])]
        is_same = all(self._is_kept(number, self._key(layout, scene)) for number, scene in shown)
        if is_same and self._over == self._what_is_over():
            for at in (self._cross, layout.place_of(self.scene.point_xyz)):
                self._update_cross(at)
            return
        if not is_same:
            self._is_moving = True
            self._still.start()
        self.update()

    def _what_is_over(self) -> Any:
        """Return what is drawn over the pictures, the crosshair's place left out."""
        return (self.shared.swipe, id(self.other), self.shared.shows_cross, tuple(self.rulers), self.hasFocus())

    def _sharpen(self) -> None:
        self._is_moving = False
        self.update()

    def _splits(self) -> bool:
        return self.other is not None and self.shared.swipe < 1

    def _key(self, layout: PlaneLayout, scene: Scene) -> Any:
        """Return what the picture of a volume depends on."""
        found = scene.maps.get(self.plane)
        at = None if self.projects or found is None else (layout.at, scene.index_zyx[found.across])
        return (id(scene), at, scene.version, layout.zoom, layout.shift_mm, self.size(), self.devicePixelRatioF())

    def _is_kept(self, number: int, key: Any) -> bool:
        return number in self._kept and self._kept[number][0] == key

    def _update_cross(self, at: QPointF | None) -> None:
        """Draw anew where a crosshair is, or was."""
        if at is not None:
            self.update(0, round(at.y()) - 2, self.width(), 5)
            self.update(round(at.x()) - 2, 0, 5, self.height())

    # --- drawing --------------------------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802 - Qt's name
        """Draw the plane."""
        painter = QPainter(self)
        layout = self.layout_of_slice()
        self._over = self._what_is_over()
        if layout is None:
            painter.fillRect(self.rect(), Qt.GlobalColor.black)
        else:
            self._draw_both(painter, layout)
            self._draw_cross(painter, layout)
            self._draw_rulers(painter, layout)
        if self.hasFocus():
            painter.setPen(QPen(CROSS, 2))
            painter.drawRect(self.rect().adjusted(1, 1, -1, -1))
        painter.end()

    def _draw_both(self, painter: QPainter, layout: PlaneLayout) -> None:
        self._draw_volume(painter, layout, self.scene, 0)
        if self.other is None or not self._splits():
            return
        split = self.width() * self.shared.swipe
        painter.setClipRect(QRectF(split, 0, self.width() - split, self.height()))
        self._draw_volume(painter, layout, self.other, 1)
        painter.setClipping(False)
        painter.setPen(QPen(SWIPE, 2))
        painter.drawLine(QPointF(split, 0), QPointF(split, self.height()))
        painter.setBrush(SWIPE)
        painter.drawEllipse(QPointF(split, self.height() * _HANDLE), 6, 6)
        painter.setBrush(Qt.BrushStyle.NoBrush)

    def _draw_volume(self, painter: QPainter, layout: PlaneLayout, scene: Scene, number: int) -> None:
        """Draw the picture of a volume that is kept; a new one at once while the crosshair moves, else to be kept."""
        key = self._key(layout, scene)
        if not self._is_kept(number, key):
            if self._is_moving and self._passing.get(number) != key:  # drawn twice, it is worth keeping
                self._passing[number] = key
                self._compose(painter, layout, scene, number, is_quick=True)
                return
            ratio = self.devicePixelRatioF()
            picture = QImage(
                QSize(round(self.width() * ratio), round(self.height() * ratio)), QImage.Format.Format_RGB32
            )
            picture.setDevicePixelRatio(ratio)
            own = QPainter(picture)
            self._compose(own, layout, scene, number, is_quick=False)
            own.end()
            self._kept[number] = (key, picture)
        painter.drawImage(QPointF(), self._kept[number][1])

    def _compose(self, painter: QPainter, layout: PlaneLayout, scene: Scene, number: int, *, is_quick: bool) -> None:
        """Draw a volume's slice with its texts; quickly, without more voxels than the widget has points."""
        found = scene.maps.get(self.plane)
        rect = layout.rect if not number or found is None else layout.rect_of(found, scene.index_zyx[found.across])
        rgb = None
        if not number or holds_point(scene, self.plane, self.scene.point_xyz):
            most = (round(rect.height()), round(rect.width())) if is_quick else EVERYTHING
            rgb = (
                projection_picture(scene)
                if self.projects
                else slice_picture(scene, self.plane, self.scene.point_xyz, most)
            )
        if rgb is None:
            painter.fillRect(self.rect(), Qt.GlobalColor.black)
        else:
            for around in _around(self.rect(), rect.toAlignedRect().adjusted(1, 1, -1, -1)):
                painter.fillRect(around, Qt.GlobalColor.black)
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, on=scene.smooths and not is_quick)
            draw_rgb(painter, rect, rgb)
        painter.setFont(self.font())
        self._draw_texts(painter, layout)

    def _draw_cross(self, painter: QPainter, layout: PlaneLayout) -> None:
        self._cross = None
        if not self.shared.shows_cross:
            return
        at, rect = layout.place_of(self.scene.point_xyz), layout.rect
        self._cross = at
        painter.setPen(QPen(CROSS, 1))
        for begin, end in (
            (QPointF(rect.left(), at.y()), QPointF(at.x() - _GAP, at.y())),
            (QPointF(at.x() + _GAP, at.y()), QPointF(rect.right(), at.y())),
            (QPointF(at.x(), rect.top()), QPointF(at.x(), at.y() - _GAP)),
            (QPointF(at.x(), at.y() + _GAP), QPointF(at.x(), rect.bottom())),
        ):
            painter.drawLine(begin, end)

    def _draw_rulers(self, painter: QPainter, layout: PlaneLayout) -> None:
        rulers = [*self.rulers, *([self.pointing.ruler] if self.pointing.ruler is not None else [])]
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for ruler in rulers:
            if ruler.plane != self.plane or ruler.at != layout.at or self.projects:
                continue
            begin, end = layout.place_of(ruler.begin), layout.place_of(ruler.end)
            painter.setPen(QPen(RULER, 2))
            painter.drawLine(begin, end)
            for place in (begin, end):
                painter.drawEllipse(place, 3, 3)
            _draw_text(painter, f"{ruler.length_mm:.1f} mm", end.x() + 8, end.y() - 8, RULER)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=False)

    def _draw_texts(self, painter: QPainter, layout: PlaneLayout) -> None:
        found = layout.plane
        font = QFont(self.font())
        font.setBold(True)
        painter.setFont(font)
        left, right, top, bottom = found.letters
        metrics = painter.fontMetrics()
        high, wide = metrics.height(), metrics.horizontalAdvance
        middle, line = self.width() / 2, self.height() / 2 + high / 3
        _draw_text(painter, left, 8, line, _WHITE)
        _draw_text(painter, right, self.width() - 8 - wide(right), line, _WHITE)
        _draw_text(painter, top, middle - wide(top) / 2, high + 2, _WHITE)
        _draw_text(painter, bottom, middle - wide(bottom) / 2, self.height() - 8, _WHITE)
        painter.setFont(self.font())
        words = "MIP" if self.projects else f"{self.plane.capitalize()} {layout.at + 1}/{found.count}"
        is_narrow = wide(words) + 16 > middle - wide(top)
        _draw_text(painter, words, 8, (2 * high if is_narrow else high) + 2, _WHITE)
        tilt = oblique_text(found.grid)
        if tilt:
            _draw_text(painter, tilt, 8, self.height() - 8 - high, CROSS)

    # --- events ---------------------------------------------------------------------------------------------------

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802 - Qt's name
        """Draw anew."""
        super().resizeEvent(event)
        self.forget()

    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802 - Qt's name
        """Go through slices, or zoom with Ctrl."""
        if event is not None:
            self.pointing.wheel(event)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Begin what the button does."""
        if event is not None:
            self.pointing.press(event)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Go on with what the button began."""
        if event is not None:
            self.pointing.move(event)

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """End what the button began."""
        self.keep(self.pointing.release())

    def keep(self, ruler: Ruler | None) -> None:
        """Keep a distance that was measured."""
        if ruler is not None:
            self.rulers.append(ruler)
            self.measured.emit(ruler)

    def drop_rulers(self) -> None:
        """Forget all distances: another volume is shown."""
        self.rulers.clear()
        self.pointing.drop()

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Show this plane alone, or all again."""
        self.pointing.forget()
        self.maximised.emit()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802 - Qt's name
        """Move by keys: arrows in the plane, page up and down through slices."""
        if event is not None and not self.pointing.key(event):
            super().keyPressEvent(event)

    def pan(self, step: QPointF) -> None:
        """Move the picture, pixels."""
        layout = self.layout_of_slice()
        if layout is not None:
            self._shift = (self._shift[0] + step.x() / layout.scale, self._shift[1] + step.y() / layout.scale)
            self.update()

    def centre(self) -> None:
        """Show the whole slice in the middle."""
        self._shift = (0.0, 0.0)
        self.forget()


def _around(whole: QRect, inner: QRect) -> list[QRect]:
    """Return the parts of a rectangle above, below, left and right of another one."""
    inner = inner.intersected(whole)
    if inner.isEmpty():
        return [whole]
    left, right = whole.left(), whole.right()
    return [
        QRect(QPoint(left, whole.top()), QPoint(right, inner.top() - 1)),
        QRect(QPoint(left, inner.bottom() + 1), QPoint(right, whole.bottom())),
        QRect(QPoint(left, inner.top()), QPoint(inner.left() - 1, inner.bottom())),
        QRect(QPoint(inner.right() + 1, inner.top()), QPoint(right, inner.bottom())),
    ]


def _draw_text(painter: QPainter, text: str, x: float, y: float, colour: QColor) -> None:
    painter.setPen(_SHADE)
    painter.drawText(QPointF(x + 1, y + 1), text)
    painter.setPen(colour)
    painter.drawText(QPointF(x, y), text)


def draw_rgb(painter: QPainter, target: QRectF, rgb: NDArray[np.uint32]) -> None:
    """Draw a picture into a rectangle."""
    rows, columns = rgb.shape
    memory: Any = sip.voidptr(rgb.ctypes.data)  # not held by the image; the array lives as long as this function
    painter.drawImage(target, QImage(memory, columns, rows, 4 * columns, QImage.Format.Format_RGB32))
