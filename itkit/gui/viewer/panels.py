"""The panels beside the planes: window, classes, and the geometry of what is shown with differences marked."""

from __future__ import annotations

import math
from collections.abc import Callable

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtGui import QColor, QIcon, QPixmap
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QColorDialog,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QSlider,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.gui.texts import plain_label, tip
from itkit.gui.theme import GAP, colour
from itkit.gui.viewer.planes import oblique_text
from itkit.gui.viewer.scene import OWN_WINDOW, Scene
from itkit.kernels.statistics import finite_summary
from itkit.report.windows import CT_WINDOWS, Window, window_of

_CLASS = Qt.ItemDataRole.UserRole
_SIDE = 14
_SIGNIFICANT = 6
_WINDOWS = {"all": "all values", **{key: window.name for key, window in CT_WINDOWS.items()}}
"""Names of the windows that the list has, by its keys."""


class WindowPanel(QWidget):
    """Presets of the window, and its level and width."""

    chosen = pyqtSignal(object)

    def __init__(self) -> None:
        super().__init__()
        self.scene: Scene | None = None
        self.box = QComboBox()
        self.box.setObjectName("window_preset")
        self.box.setAccessibleName("Window preset")
        self.box.addItem("Automatic", "auto")
        for name in CT_WINDOWS:
            self.box.addItem(name.capitalize(), name)
        self.box.addItem("Smallest to largest value", "all")
        self.box.setPlaceholderText(OWN_WINDOW.capitalize())
        self.box.activated.connect(lambda _: self._choose())
        self.text = plain_label(role="muted", wraps=True)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.box)
        box.addWidget(self.text)

    def _choose(self) -> None:
        scene = self.scene
        if scene is None or scene.image is None:
            return
        name = self.box.currentData()
        if name == "auto":
            self.chosen.emit(window_of(scene.image, scene.label if scene.label_fits else None))
        elif name == "all":
            found = finite_summary(scene.image.array_zyx)
            if math.isfinite(found.minimum):  # else there is no finite value
                self.chosen.emit(Window(float(found.minimum), float(found.maximum), _WINDOWS["all"]))
        else:
            self.chosen.emit(CT_WINDOWS[name])

    def show_window(self, scene: Scene) -> None:
        """Show the present window."""
        self.scene = scene
        low, high, name = scene.window
        level, width = (low + high) / 2, high - low
        if name == OWN_WINDOW:
            self.box.setCurrentIndex(-1)
        elif self.box.currentIndex() < 0 or name != _WINDOWS.get(self.box.currentData(), name):  # another case
            self.box.setCurrentIndex(self.box.findData("auto"))
        self.text.setText(f"{name}: level {level:.5g}, width {width:.5g}" if scene.image is not None else "No image")


class ClassPanel(QWidget):
    """The classes of the label map: visible or not, colour, name, volume; and how they are drawn."""

    changed = pyqtSignal()

    def __init__(self) -> None:
        super().__init__()
        self.scene: Scene | None = None
        self._is_filling = False
        self.visible = QCheckBox("Show labels")
        self.visible.setChecked(True)
        self.visible.setToolTip("Show or hide labels (space)")
        self.visible.toggled.connect(self._toggle)
        self.kind = QComboBox()
        self.kind.setAccessibleName("How labels are drawn")
        self.kind.addItems(["Filled", "Outlined"])
        self.kind.currentIndexChanged.connect(lambda at: self._style(outlined=at == 1))
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(5, 100)
        self.opacity.setValue(35)
        self.opacity.setAccessibleName("Opacity of labels, percent")
        self.opacity.setToolTip("Opacity")
        self.opacity.valueChanged.connect(lambda value: self._style(opacity=value / 100))
        self.list = QListWidget()
        self.list.setObjectName("classes")
        self.list.setAccessibleName("Classes: space shows or hides one, Enter chooses its colour")
        self.list.setMinimumHeight(90)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.itemChanged.connect(self._tick)
        self.list.itemActivated.connect(self._recolour)
        self.nothing = plain_label("No label map is shown.", role="muted", wraps=True)
        self.nothing.setAlignment(Qt.AlignmentFlag.AlignTop)
        row = QHBoxLayout()
        row.addWidget(self.kind)
        row.addWidget(self.opacity, 1)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.visible)
        box.addLayout(row)
        box.addWidget(self.nothing)
        box.addWidget(self.list, 1)

    def show_scene(self, scene: Scene) -> None:
        """Show the classes of a case."""
        self.scene = scene
        self._is_filling = True
        self.list.clear()
        for value, count in sorted(scene.counts.items()):
            if value == 0 or scene.label is None:
                continue
            ml = count * scene.label.geometry.voxel_ml
            item = QListWidgetItem(f"{scene.style.name(value)}  ({value})   {ml:.4g} ml")
            item.setToolTip(tip(item.text()))
            item.setData(_CLASS, value)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Unchecked if value in scene.style.hidden else Qt.CheckState.Checked)
            item.setIcon(_swatch(scene.style.colour(value)))
            self.list.addItem(item)
        self._is_filling = False
        has_classes = self.list.count() > 0
        for widget in (self.list, self.visible, self.kind, self.opacity):
            widget.setVisible(has_classes)
        self.nothing.setVisible(not has_classes)

    def toggle(self) -> None:
        """Show or hide all labels."""
        self.visible.toggle()

    def _toggle(self, on: bool) -> None:
        if self.scene is not None:
            self.scene.shows_label = on
            self.scene.changed()
            self.changed.emit()

    def _style(self, **changes: object) -> None:
        if self.scene is not None:
            self.scene.set_style(**changes)
            self.changed.emit()

    def _tick(self, item: QListWidgetItem) -> None:
        if self._is_filling or self.scene is None:
            return
        items = [found for row in range(self.list.count()) if (found := self.list.item(row)) is not None]
        hidden = frozenset(one.data(_CLASS) for one in items if one.checkState() == Qt.CheckState.Unchecked)
        self._style(hidden=hidden)

    def _recolour(self, item: QListWidgetItem) -> None:
        if self.scene is None:
            return
        value = item.data(_CLASS)
        chosen = QColorDialog.getColor(QColor(*self.scene.style.colour(value)), self, "Colour of the class")
        if chosen.isValid():
            rgb = (chosen.red(), chosen.green(), chosen.blue())
            self._style(colours={**self.scene.style.colours, value: rgb})
            self._is_filling = True
            item.setIcon(_swatch(rgb))
            self._is_filling = False


def _swatch(rgb: tuple[int, int, int]) -> QIcon:
    pixmap = QPixmap(_SIDE, _SIDE)
    pixmap.fill(QColor(*rgb))
    return QIcon(pixmap)


def _numbers(values: tuple[float, ...], separator: str = " ") -> str:
    return separator.join(f"{value:.{_SIGNIFICANT}g}" for value in values)


_ROWS: tuple[tuple[str, Callable[[Geometry], str]], ...] = (
    ("Size ZYX", lambda grid: _numbers(grid.size_zyx)),
    ("Spacing ZYX, mm", lambda grid: _numbers(grid.spacing_zyx)),
    ("Extent ZYX, mm", lambda grid: _numbers(grid.extent_zyx)),
    ("Origin XYZ, mm", lambda grid: _numbers(grid.origin_xyz, "\n")),  # long numbers
    ("Axes to", lambda grid: f"{grid.orientation} {oblique_text(grid)}".strip()),
    ("Direction", lambda grid: "\n".join(_numbers(grid.direction_xyz[at : at + 3]) for at in (0, 3, 6))),
)


class GeometryPanel(QTableWidget):
    """The grids of the volumes that are shown; what differs from the first is marked."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("geometry")
        self.setAccessibleName("Geometry; differences are marked")
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setTabKeyNavigation(False)
        self.setWordWrap(True)

    def show_volumes(self, volumes: dict[str, Volume]) -> None:
        """Show the grids of volumes by name."""
        columns: dict[tuple[str, ...], list[str]] = {}
        for name, volume in volumes.items():  # volumes on one grid share a column
            columns.setdefault(tuple(text(volume.geometry) for _, text in _ROWS), []).append(name)
        self.setColumnCount(len(columns))
        self.setHorizontalHeaderLabels(["\n".join(names) for names in columns.values()])
        rows = [*(name for name, _ in _ROWS), "Type"]
        self.setRowCount(len(rows) if columns else 0)
        self.setVerticalHeaderLabels(rows)
        own = next(iter(columns), ())
        for column, (texts, names) in enumerate(columns.items()):
            for row, text in enumerate([*texts, ", ".join(str(volumes[name].dtype) for name in names)]):
                item = QTableWidgetItem(text)
                if row < len(own) and text != own[row]:
                    item.setForeground(colour("bad"))
                    font = item.font()
                    font.setBold(True)
                    item.setFont(font)
                    item.setToolTip("differs from the first volume")
                self.setItem(row, column, item)
        head, side = self.horizontalHeader(), self.verticalHeader()
        if head is not None:
            few = QHeaderView.ResizeMode.Stretch if len(columns) <= 2 else QHeaderView.ResizeMode.ResizeToContents
            head.setSectionResizeMode(few)
        if side is not None:
            side.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)

    def differences(self) -> list[str]:
        """Return the names of the rows in which a volume differs from the first."""
        found = []
        for row in range(self.rowCount()):
            items = [self.item(row, column) for column in range(self.columnCount())]
            head = self.verticalHeaderItem(row)
            if head is not None and any(item is not None and item.font().bold() for item in items):
                found.append(head.text())
        return found


def heading(text: str) -> QLabel:
    """Return a heading of a panel."""
    label = plain_label(text, name="heading")
    label.setContentsMargins(0, GAP, 0, 0)
    return label
