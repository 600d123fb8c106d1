"""One plane: its picture, cached until something of it changes; crosshair, letters, measured distances; the mouse."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PyQt6.QtCore import QPointF, QRectF, QSize, Qt, QTimer, pyqtSignal
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
from itkit.core.slices import Plane
from itkit.core.volume import Volume
from itkit.gui.viewer.planes import PlaneMap, Uv, inside, oblique_text
from itkit.gui.viewer.scene import Scene
from itkit.gui.viewer.slices import class_slice, coloured, grey_slice

_STILL_MS = 140
_MARGIN = 4
_ZOOM_STEP = 1.2
_MOST_ZOOM = 40.0
CROSS = QColor(255, 210, 60)
RULER = QColor(110, 231, 160)
_SHADE = QColor(0, 0, 0)


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


@dataclass
class Shared:
    """What all planes of a viewer share: zoom in pixels a mm (0: as large as fits), place, tools.

    Parameters
    ----------
    zoom
        How much larger than what fits; 1 shows everything.
    shift_mm
        By how much each plane is moved, mm.
    measures
        Whether dragging measures distances.
    swipe
        Share of a plane's width that shows the first of two volumes; 1 shows it alone.
    """

    zoom: float = 1.0
    measures: bool = False
    swipe: float = 1.0
    shows_cross: bool = True


class PlaneView(QWidget):
    """A plane of one volume, or of two with a line between them.

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
        self._shift: Uv = (0.0, 0.0)
        self._cache: dict[Any, QImage] = {}
        self._keys: dict[int, Any] = {}
        self._is_moving = False
        self._drag: tuple[str, QPointF] | None = None
        self._ruler: Ruler | None = None
        self._still = QTimer(self)
        self._still.setSingleShot(True)
        self._still.setInterval(_STILL_MS)
        self._still.timeout.connect(self._sharpen)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setMinimumSize(QSize(120, 100))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        title = "Maximum-intensity projection" if projects else f"{plane.capitalize()} plane"
        self.setAccessibleName(title)
        self.setAccessibleDescription("Arrows and wheel move through slices; hold Shift for larger steps")
        self.title = title

    # --- where things lie ---------------------------------------------------------------------------------------

    def _map(self, scene: Scene) -> PlaneMap | None:
        return scene.maps.get(self.plane)

    def _at(self, scene: Scene) -> int:
        found = self._map(scene)
        return 0 if found is None else scene.index_zyx[found.across]

    def _scale(self) -> float:
        """Pixels a mm."""
        found = self._map(self.scene)
        if found is None:
            return 1.0
        height, width = found.extent_mm
        room_w, room_h = max(10, self.width() - 2 * _MARGIN), max(10, self.height() - 2 * _MARGIN)
        return min(room_w / width, room_h / height) * self.shared.zoom

    def _origin(self) -> QPointF:
        """Where the corner of the first volume's slice is drawn, pixels."""
        found = self._map(self.scene)
        if found is None:
            return QPointF()
        scale = self._scale()
        height, width = found.extent_mm
        return QPointF(
            self.width() / 2 - width * scale / 2 + self._shift[0] * scale,
            self.height() / 2 - height * scale / 2 + self._shift[1] * scale,
        )

    def _rect(self, scene: Scene) -> QRectF:
        """Return where a volume's slice is drawn; that of a second volume stands where the patient's point is."""
        found, own = self._map(scene), self._map(self.scene)
        if found is None or own is None:
            return QRectF()
        scale, origin = self._scale(), self._origin()
        height, width = found.extent_mm
        if scene is self.scene:
            return QRectF(origin.x(), origin.y(), width * scale, height * scale)
        left, top = found.corner(self._at(scene))
        own_left, own_top = own.corner(self._at(self.scene))
        return QRectF(
            origin.x() + (left - own_left) * scale, origin.y() + (top - own_top) * scale, width * scale, height * scale
        )

    def point_at(self, place: QPointF) -> Triple | None:
        """Return the physical point under a place of the widget, mm."""
        found = self._map(self.scene)
        if found is None:
            return None
        scale, origin = self._scale(), self._origin()
        right, below = (place.x() - origin.x()) / scale, (place.y() - origin.y()) / scale
        index = found.index(right, below, self._at(self.scene))
        return found.grid.point_xyz(index)

    def place_of(self, point: Triple) -> QPointF:
        """Return where a physical point is drawn."""
        found = self._map(self.scene)
        if found is None:
            return QPointF()
        right, below = found.offset(found.grid.index_zyx(point))
        scale, origin = self._scale(), self._origin()
        return QPointF(origin.x() + right * scale, origin.y() + below * scale)

    # --- drawing --------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Draw everything anew."""
        self._cache.clear()
        self._keys.clear()
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802 - Qt's name
        """Draw the plane."""
        painter = QPainter(self)
        if self._map(self.scene) is None:
            painter.fillRect(self.rect(), Qt.GlobalColor.black)
        else:
            self._draw_both(painter)
            self._draw_cross(painter)
            self._draw_rulers(painter)
        if self.hasFocus():
            painter.setPen(QPen(CROSS, 2))
            painter.drawRect(self.rect().adjusted(1, 1, -1, -1))
        painter.end()

    def _draw_both(self, painter: QPainter) -> None:
        painter.drawImage(QPointF(), self._picture(self.scene, 0))
        if self.other is None or self.shared.swipe >= 1:
            return
        split = self.width() * self.shared.swipe
        painter.setClipRect(QRectF(split, 0, self.width() - split, self.height()))
        painter.drawImage(QPointF(), self._picture(self.other, 1))
        painter.setClipping(False)
        painter.setPen(QPen(CROSS, 2))
        painter.drawLine(QPointF(split, 0), QPointF(split, self.height()))

    def _picture(self, scene: Scene, number: int) -> QImage:
        """Return the picture of a volume's slice with its texts, as large as the widget; drawn only if it is new."""
        rect, ratio = self._rect(scene), self.devicePixelRatioF()
        at = None if self.projects else (self._at(scene), self._at(self.scene))
        place = (rect.x(), rect.y(), rect.width(), rect.height(), self.width(), self.height())
        key = (id(scene), at, scene.version, place, ratio, self._is_moving)
        if self._keys.get(number) != key:
            self._cache[number] = self._composed(scene, rect, ratio, number)
            self._keys[number] = key
        return self._cache[number]

    def _holds_point(self, scene: Scene) -> bool:
        """Whether a second volume has a slice at the present point."""
        found = self._map(scene)
        if found is None:
            return False
        at = scene.grid.index_zyx(self.scene.point_xyz)[found.across] if scene.grid is not None else -1
        return -0.5 <= at <= found.count - 0.5

    def _composed(self, scene: Scene, rect: QRectF, ratio: float, number: int) -> QImage:
        size = QSize(round(self.width() * ratio), round(self.height() * ratio))
        picture = QImage(size, QImage.Format.Format_RGB32)
        picture.setDevicePixelRatio(ratio)
        picture.fill(Qt.GlobalColor.black)
        painter = QPainter(picture)
        if not number or self._holds_point(scene):
            rgb = self._rgb(scene, (round(rect.height() * ratio), round(rect.width() * ratio)))
            if rgb is not None:
                smooths = scene.smooths and not self._is_moving
                painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, on=smooths)
                draw_rgb(painter, rect, rgb)
        painter.setFont(self.font())
        self._draw_texts(painter)
        painter.end()
        return picture

    def _rgb(self, scene: Scene, shown: tuple[int, int]) -> NDArray[np.uint32] | None:
        """Return a slice in colours: of one that has more rows than are shown, every n-th while it moves."""
        most = shown if self._is_moving else (1 << 30, 1 << 30)
        if self.projects:
            return (
                None if scene.mip is None or scene.grey is None else coloured(scene.grey(scene.mip), None, scene.table)
            )
        grey = self._grey(scene, most)
        places = self._classes(scene, most) if scene.shows_label else None
        return None if grey is None and places is None else coloured(grey, places, scene.table)

    def _grey(self, scene: Scene, most: tuple[int, int]) -> NDArray[np.uint8] | None:
        found = self._map(scene)
        if scene.image is None or scene.grey is None or found is None:
            return None
        at = self._slice_of(scene.image)
        if PlaneMap.of(scene.image.geometry, self.plane).shape != found.shape:  # a slice of a file that is being read
            return None
        return (
            None
            if at is None
            else grey_slice(scene.quick(scene.image, found.across), self.plane, at, found.across, scene.grey, most)
        )

    def _classes(self, scene: Scene, most: tuple[int, int]) -> NDArray[np.uint8] | None:
        label = scene.label
        if label is None or scene.classes is None:
            return None
        at = self._slice_of(label)
        own = PlaneMap.of(label.geometry, self.plane)
        if at is None or not scene.label_fits:
            return None
        return class_slice(scene.quick(label, own.across), self.plane, at, own.across, scene.classes, scene.style, most)

    def _slice_of(self, volume: Volume) -> int | None:
        own = PlaneMap.of(volume.geometry, self.plane)
        at = math.floor(volume.geometry.index_zyx(self.scene.point_xyz)[own.across] + 0.5)
        return at if 0 <= at < own.count else None

    def _draw_cross(self, painter: QPainter) -> None:
        if not self.shared.shows_cross:
            return
        at = self.place_of(self.scene.point_xyz)
        rect = self._rect(self.scene)
        painter.setPen(QPen(CROSS, 1))
        gap = 8.0
        for begin, end in (
            (QPointF(rect.left(), at.y()), QPointF(at.x() - gap, at.y())),
            (QPointF(at.x() + gap, at.y()), QPointF(rect.right(), at.y())),
            (QPointF(at.x(), rect.top()), QPointF(at.x(), at.y() - gap)),
            (QPointF(at.x(), at.y() + gap), QPointF(at.x(), rect.bottom())),
        ):
            painter.drawLine(begin, end)

    def _draw_rulers(self, painter: QPainter) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        rulers = [*self.rulers, *([self._ruler] if self._ruler is not None else [])]
        for ruler in rulers:
            if ruler.plane != self.plane or ruler.at != self._at(self.scene) or self.projects:
                continue
            begin, end = self.place_of(ruler.begin), self.place_of(ruler.end)
            painter.setPen(QPen(RULER, 2))
            painter.drawLine(begin, end)
            for place in (begin, end):
                painter.drawEllipse(place, 3, 3)
            self._text(painter, f"{ruler.length_mm:.1f} mm", end.x() + 8, end.y() - 8, RULER)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=False)

    def _draw_texts(self, painter: QPainter) -> None:
        found = self._map(self.scene)
        if found is None:
            return
        font = QFont(self.font())
        font.setBold(True)
        painter.setFont(font)
        left, right, top, bottom = found.letters
        metrics = painter.fontMetrics()
        height = metrics.height()
        white = QColor(255, 255, 255)
        self._text(painter, left, 8, self.height() / 2 + height / 3, white)
        self._text(
            painter, right, self.width() - 8 - metrics.horizontalAdvance(right), self.height() / 2 + height / 3, white
        )
        self._text(painter, top, self.width() / 2 - metrics.horizontalAdvance(top) / 2, height + 2, white)
        self._text(painter, bottom, self.width() / 2 - metrics.horizontalAdvance(bottom) / 2, self.height() - 8, white)
        painter.setFont(self.font())
        words = "MIP" if self.projects else f"{self.plane.capitalize()} {self._at(self.scene) + 1}/{found.count}"
        is_narrow = metrics.horizontalAdvance(words) + 16 > self.width() / 2 - metrics.horizontalAdvance(top)
        self._text(painter, words, 8, (2 * height if is_narrow else height) + 2, white)
        tilt = oblique_text(found.grid)
        if tilt:
            self._text(painter, tilt, 8, self.height() - 8 - height, CROSS)

    def _text(self, painter: QPainter, text: str, x: float, y: float, colour: QColor) -> None:
        painter.setPen(_SHADE)
        painter.drawText(QPointF(x + 1, y + 1), text)
        painter.setPen(colour)
        painter.drawText(QPointF(x, y), text)

    # --- moving ---------------------------------------------------------------------------------------------------

    def begin_moving(self) -> None:
        """Draw quickly for a moment, of large slices every n-th voxel."""
        self._is_moving = True
        self._still.start()

    def _sharpen(self) -> None:
        self._is_moving = False
        self.update()

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802 - Qt's name
        """Draw anew."""
        super().resizeEvent(event)
        self.forget()

    def step(self, slices: int) -> None:
        """Go some slices up or down."""
        found = self._map(self.scene)
        if found is None or self.projects:
            return
        index = list(self.scene.index_zyx)
        index[found.across] = min(max(index[found.across] + slices, 0), found.count - 1)
        self.moved.emit(found.grid.point_xyz((index[0], index[1], index[2])))

    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802 - Qt's name
        """Go through slices, or zoom with Ctrl."""
        if event is None:
            return
        notches = event.angleDelta().y() / 120 or math.copysign(1, event.pixelDelta().y() or 1)
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.zoomed.emit(min(max(self.shared.zoom * _ZOOM_STEP**notches, 1.0), _MOST_ZOOM))
        else:
            self.step(-round(notches) or -int(math.copysign(1, notches)))
        event.accept()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Begin to move the crosshair, the window, the picture, the line of the swipe, or to measure."""
        if event is None:
            return
        place = event.position()
        ctrl = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        if event.button() == Qt.MouseButton.RightButton:
            kind = "window"
        elif event.button() == Qt.MouseButton.MiddleButton or ctrl:
            kind = "pan"
        elif self.other is not None and abs(place.x() - self.width() * self.shared.swipe) < 8:
            kind = "swipe"
        else:
            kind = "measure" if self.shared.measures and not self.projects else "cross"
        self._drag = (kind, place)
        if kind == "measure" and (point := self.point_at(place)) is not None:
            self._ruler = Ruler(self.plane, self._at(self.scene), point, point)
        self._move_to(place)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Go on with what the button began."""
        if event is not None and self._drag is not None:
            self._move_to(event.position())

    def _move_to(self, place: QPointF) -> None:
        if self._drag is None:
            return
        kind, before = self._drag
        step = place - before
        self._drag = (kind, place)
        actions: dict[str, Callable[[], object]] = {
            "cross": lambda: self._move_cross(place),
            "window": lambda: self.windowed.emit(step.x(), step.y()),
            "pan": lambda: self._pan(step),
            "swipe": lambda: self.swiped.emit(min(max(place.x() / max(1, self.width()), 0.0), 0.999)),
            "measure": lambda: self._stretch(place),
        }
        actions[kind]()

    def _move_cross(self, place: QPointF) -> None:
        point = self.point_at(place)
        found = self._map(self.scene)
        if point is None or found is None:
            return
        index = found.grid.index_zyx(point)
        if self.projects:
            at = list(index)
            at[found.across] = self.scene.index_zyx[found.across]
            index = (at[0], at[1], at[2])
        self.moved.emit(found.grid.point_xyz(inside(index, found.grid)))

    def _pan(self, step: QPointF) -> None:
        scale = self._scale()
        self._shift = (self._shift[0] + step.x() / scale, self._shift[1] + step.y() / scale)
        self.update()

    def _stretch(self, place: QPointF) -> None:
        point = self.point_at(place)
        if self._ruler is not None and point is not None:
            self._ruler = Ruler(self.plane, self._ruler.at, self._ruler.begin, point)
            self.update()

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """End what the button began."""
        if self._ruler is not None and self._ruler.length_mm > 0:
            self.rulers.append(self._ruler)
            self.measured.emit(self._ruler)
        self._ruler, self._drag = None, None

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Show this plane alone, or all again."""
        self._drag = None
        self.maximised.emit()

    def centre(self) -> None:
        """Show the whole slice in the middle."""
        self._shift = (0.0, 0.0)
        self.forget()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802 - Qt's name
        """Move by keys: arrows in the plane, page up and down through slices."""
        found = self._map(self.scene)
        if event is None or found is None:
            return
        far = 10 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1
        if event.key() in (Qt.Key.Key_PageUp, Qt.Key.Key_PageDown):
            self.step(far if event.key() == Qt.Key.Key_PageUp else -far)
            return
        moves = {
            Qt.Key.Key_Left: (found.column_axis, -1 if not found.flips_columns else 1),
            Qt.Key.Key_Right: (found.column_axis, 1 if not found.flips_columns else -1),
            Qt.Key.Key_Up: (found.row_axis, -1 if not found.flips_rows else 1),
            Qt.Key.Key_Down: (found.row_axis, 1 if not found.flips_rows else -1),
        }
        move = moves.get(Qt.Key(event.key()))
        if move is None:
            super().keyPressEvent(event)
            return
        index = list(self.scene.index_zyx)
        index[move[0]] += move[1] * far
        self.moved.emit(found.grid.point_xyz(inside((index[0], index[1], index[2]), found.grid)))


def draw_rgb(painter: QPainter, target: QRectF, rgb: NDArray[np.uint32]) -> None:
    """Draw a picture into a rectangle."""
    rows, columns = rgb.shape
    data = rgb.tobytes()  # the image does not hold the memory: it lives as long as this function
    painter.drawImage(target, QImage(data, columns, rows, 4 * columns, QImage.Format.Format_RGB32))
