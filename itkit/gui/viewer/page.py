"""The viewer's page: cases on the left, planes in the middle, window, classes and geometry on the right."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from PyQt6.QtCore import QSize, Qt, QTimer
from PyQt6.QtGui import QKeyEvent
from PyQt6.QtWidgets import (
    QButtonGroup,
    QFileDialog,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QSplitter,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from itkit.core.geometry import Triple
from itkit.core.text import counted
from itkit.core.volume import Volume
from itkit.gui import settings
from itkit.gui.fields import pick_path
from itkit.gui.icons import dress
from itkit.gui.texts import plain_label
from itkit.gui.theme import GAP
from itkit.gui.viewer.case_list import CaseList
from itkit.gui.viewer.loader import Loader
from itkit.gui.viewer.opening import CaseFiles, Loaded, Opened, names_at
from itkit.gui.viewer.panels import ClassPanel, GeometryPanel, WindowPanel, heading
from itkit.gui.viewer.plane_view import Shared
from itkit.gui.viewer.planes import index_text, oblique_text, point_text
from itkit.gui.viewer.scene import Scene
from itkit.gui.viewer.views import Views
from itkit.report.windows import Window

_MOST_PICTURES = 200
_READOUT_MS = 80
_SWIPE_STEP, _MOST_SWIPE = 0.05, 0.999
MODES = ("One", "Side by side", "Swipe")


class ViewerPage(QWidget):
    """The viewer."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = Shared()
        self.scene, self.other_scene = Scene(), Scene()
        self.loaded: Loaded | None = None
        self.other: Loaded | None = None
        self.cases: tuple[CaseFiles, ...] = ()
        self._wanted: str = "first"
        self._after: CaseFiles | None = None
        self._shown_number = -1
        self._note = ""
        """What is said of the path that was opened."""
        self.loader, self.other_loader = Loader(self), Loader(self)
        self.views, self.other_views = Views(self.scene, self.shared), Views(self.other_scene, self.shared)
        self._readout_clock = QTimer(self)
        self._readout_clock.setSingleShot(True)
        self._readout_clock.setInterval(_READOUT_MS)
        self._readout_clock.timeout.connect(self._show_readout)
        self._build()
        self._connect()
        self._show_mode()
        self._show_state()

    # --- building ---------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.tools = QHBoxLayout()
        self.tools.setSpacing(GAP // 2)
        for name, text, tip, act in (
            ("open", "File …", "Open a volume file", lambda: self._ask(file=True)),
            ("folder", "Folder …", "Open a dataset, a case, or a DICOM series", lambda: self._ask(file=False)),
            ("add", "Labels …", "Draw a label map, or what a model predicted, over the image", self._ask_labels),
            ("swipe", "Compare …", "Open a second volume beside the first: before and after", self._ask_other),
        ):
            button = QPushButton(text)
            dress(button, name)
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, act=act: act())
            self.tools.addWidget(button)
        self.modes = QButtonGroup(self)
        for number, text in enumerate(MODES):
            button_mode = QToolButton()
            button_mode.setText(text)
            button_mode.setCheckable(True)
            button_mode.setChecked(number == 0)
            self.modes.addButton(button_mode, number)
            self.tools.addWidget(button_mode)
        self.tools.addStretch()
        self.measure = self._tool("measure", "Measure a distance by dragging (M)", checkable=True)
        self.measure.toggled.connect(self._set_measuring)
        self.reset = self._tool("eye", "Whole slices, middle of the classes (R)")
        self.reset.clicked.connect(self.go_home)
        self.camera = self._tool("camera", "Save a screenshot (Ctrl+P)")
        self.camera.clicked.connect(lambda: self.screenshot())
        self.list = CaseList()
        self.empty = plain_label(
            "Open a volume (.nii.gz, .mha, .mhd, .nrrd), a dataset with image/ and label/, or the folder of a DICOM "
            "series.\n\nYou may also drop it here."
        )
        self.empty.setObjectName("empty")
        self.empty.setWordWrap(True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.message = plain_label(name="viewer_message", wraps=True)
        self.readout = plain_label(name="readout", wraps=True, copies=True)
        self.readout.setAccessibleName("Under the crosshair")
        self.window_panel, self.class_panel, self.geometry_panel = WindowPanel(), ClassPanel(), GeometryPanel()
        side = QWidget()
        side.setObjectName("form")
        panel = QVBoxLayout(side)
        panel.setContentsMargins(GAP, 0, GAP, GAP)
        parts: tuple[tuple[str, QWidget, int], ...] = (
            ("Crosshair", self.readout, 0),
            ("Window", self.window_panel, 0),
            ("Labels", self.class_panel, 3),
            ("Geometry", self.geometry_panel, 2),
        )
        for text, widget, stretch in parts:
            panel.addWidget(heading(text))
            panel.addWidget(widget, stretch)
        self.geometry_panel.setMinimumHeight(270)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(side)
        area.setMinimumWidth(230)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.side = area
        both = QWidget()
        self.both = QHBoxLayout(both)
        self.both.setContentsMargins(0, 0, 0, 0)
        self.both.setSpacing(2)
        self.both.addWidget(self.views, 1)
        self.both.addWidget(self.other_views, 1)
        middle = QWidget()
        box = QVBoxLayout(middle)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.empty, 1)
        box.addWidget(both, 1)
        self._both = both
        splitter = QSplitter()
        splitter.setChildrenCollapsible(False)
        splitter.setHandleWidth(GAP // 2)
        for number, one in enumerate((self.list, middle, area)):
            splitter.addWidget(one)
            splitter.setStretchFactor(number, 1 if one is middle else 0)
        splitter.setSizes([150, 780, 330])
        self.splitter = splitter
        page = QVBoxLayout(self)
        page.setContentsMargins(GAP, GAP, GAP, GAP)
        page.addLayout(self.tools)
        page.addWidget(self.message)
        page.addWidget(splitter, 1)

    def _tool(self, name: str, text: str, *, checkable: bool = False) -> QToolButton:
        button = QToolButton()
        dress(button, name)
        button.setIconSize(QSize(20, 20))
        button.setToolTip(text)
        button.setAccessibleName(text)
        button.setCheckable(checkable)
        self.tools.addWidget(button)
        return button

    def _connect(self) -> None:
        self.list.currentRowChanged.connect(self._choose)
        self.modes.idToggled.connect(lambda _, on: self._show_mode() if on else None)
        self.window_panel.chosen.connect(self.set_window)
        self.class_panel.changed.connect(self._restyle)
        for views in (self.views, self.other_views):
            for view in views.planes:
                view.moved.connect(self.go_to)
                view.windowed.connect(self._drag_window)
                view.swiped.connect(self._swipe)
                view.zoomed.connect(self._zoom)
        for number, pair in enumerate(zip(self.views.planes, self.other_views.planes, strict=True)):
            for view in pair:
                view.maximised.connect(lambda number=number: self._maximise(number))
        for loader in (self.loader, self.other_loader):
            loader.failed.connect(self._fail)
        self.loader.found.connect(self._take_found)
        self.loader.previewed.connect(self._preview)
        self.loader.loaded.connect(self._take)
        self.loader.projected.connect(self._project)
        self.loader.turned.connect(self._turn)
        self.loader.pictured.connect(self._picture)
        self.other_loader.found.connect(self._take_other_found)
        self.other_loader.loaded.connect(self._take_other)
        self.other_loader.projected.connect(self._project_other)

    # --- opening ----------------------------------------------------------------------------------------------------

    def _ask(self, *, file: bool) -> None:
        path = pick_path(self, "Open", file=file)
        if path:
            self.open_path(Path(path))

    def _ask_other(self) -> None:
        path = pick_path(self, "Compare with", file=True)
        if path:
            self.compare_with(Path(path))

    def _ask_labels(self) -> None:
        if self.loaded is None or self.loaded.files.path is None:
            self._say("Open an image first.")
            return
        path = pick_path(self, "Labels", str(self.loaded.files.path.parent), file=True)
        if path:
            self.show_labels(Path(path))

    def show_labels(self, path: Path) -> None:
        """Draw another label map over the image that is open, e.g. what a model predicted."""
        if self.loaded is None or self.loaded.files.image is None:
            self._say("Open an image first.", bad=True)
            return
        self._say(f"Reading {path.name} …")
        files = self.loaded.files
        self.loader.read(replace(files, label=path, names=files.names or names_at(path)))

    def open_path(self, path: Path) -> None:
        """Open a file, a case, a dataset, or the folder of a DICOM series, in the background."""
        settings.remember_paths(path)
        self._after = None
        self._say(f"Looking at {path} …")
        self.loader.look(path)

    def open_case(self, before: CaseFiles, after: CaseFiles | None = None) -> None:
        """Open a case; with ``after``, also what was made of it, beside it."""
        self._after = after
        self._set_cases(Opened((before,)))

    def compare_with(self, path: Path) -> None:
        """Open a second volume beside the first."""
        self._say(f"Looking at {path} …")
        self.other_loader.look(path)

    def _take_found(self, number: int, opened: Opened) -> None:
        if number == self.loader.request:
            self._set_cases(opened)

    def _set_cases(self, opened: Opened) -> None:
        self.cases = opened.cases
        self.list.show_cases(opened.cases)
        self._note = opened.note
        if len(opened.cases) > 1:
            self.loader.picture(opened.cases[:_MOST_PICTURES])
        self.list.setCurrentRow(opened.first)

    def _choose(self, row: int) -> None:
        if not 0 <= row < len(self.cases):
            return
        case = self.cases[row]
        self._say(f"Reading {case.name} …")
        self.other = None
        self.modes.buttons()[0].setChecked(True)
        self.loader.read(case)
        if self._after is not None:
            self.other_loader.read(self._after)

    def _preview(self, number: int, middle: Volume, grid: object) -> None:
        if number != self.loader.reading or self._shown_number == number:
            return
        self.scene.preview(middle, grid)  # type: ignore[arg-type]
        self._show_state()
        self._redraw()

    def _take(self, number: int, loaded: Loaded) -> None:
        if number != self.loader.reading:
            return
        self._shown_number = number
        self.loaded = loaded
        for view in self.views.planes:
            view.drop_rulers()
        self.scene.show(loaded)
        self._link()
        if number == self.loader.request:  # else another path is looked at, or could not be opened
            self._say("; ".join(filter(None, (self._note, loaded.note))))
        self._show_state()
        self._redraw()

    def _project(self, number: int, most: object) -> None:
        if number == self._shown_number:
            self.scene.set_mip(most)  # type: ignore[arg-type]
            self._redraw()

    def _turn(self, number: int, volumes: object) -> None:
        if number == self._shown_number:
            self.scene.set_turned(volumes)  # type: ignore[arg-type]

    def _picture(self, _: int, at: int, rgb: object) -> None:
        self.list.show_picture(at, rgb)

    def _take_other_found(self, number: int, opened: Opened) -> None:
        if number == self.other_loader.request:
            case = opened.cases[opened.first]
            self._say(f"Reading {case.name} …")
            self.other_loader.read(case)

    def _take_other(self, number: int, loaded: Loaded) -> None:
        if number != self.other_loader.reading:
            return
        self.other = loaded
        for view in self.other_views.planes:
            view.drop_rulers()
        self.other_scene.show(loaded, keeps_point=True)
        self._link()
        self._say(loaded.note)
        self.modes.buttons()[1].setChecked(True)
        self._show_mode()
        self._show_state()

    def _link(self) -> None:
        """Show the second volume at the point and in the window of the first."""
        if self.other is not None and not self.scene.is_empty:
            self.other_scene.move_to(self.scene.point_xyz)
            if self.scene.image is not None and self.other.image is not None:
                self.other_scene.set_window(self.scene.window)

    def _project_other(self, number: int, most: object) -> None:
        if number == self.other_loader.reading:
            self.other_scene.set_mip(most)  # type: ignore[arg-type]
            self._redraw()

    def _fail(self, number: int, message: str) -> None:
        loaders = (self.loader, self.other_loader)
        if any(number in (one.request, one.reading) for one in loaders):
            self._say(message, bad=True)

    def _say(self, text: str, *, bad: bool = False) -> None:
        self.message.setText(text)
        self.message.setProperty("role", "bad" if bad else "muted")
        style = self.message.style()
        if style is not None:
            style.polish(self.message)
        self.message.setVisible(bool(text))

    # --- showing ----------------------------------------------------------------------------------------------------

    def _show_mode(self) -> None:
        mode = self.modes.checkedId()
        has_other = self.other is not None
        for button in self.modes.buttons()[1:]:
            button.setEnabled(has_other)
            button.setToolTip("" if has_other else "Open a second volume with Compare first")
        self.other_views.setVisible(has_other and mode == 1)
        for views in (self.views, self.other_views):
            views.arrange(as_column=has_other and mode == 1)
        self.shared.swipe = 0.5 if has_other and mode == 2 else 1.0
        for view in self.views.planes:
            view.other = self.other_scene if has_other and mode == 2 else None
        self._redraw()

    def _show_state(self) -> None:
        is_empty = self.scene.is_empty
        self.empty.setVisible(is_empty)
        self._both.setVisible(not is_empty)
        self.side.setVisible(not is_empty)
        if self.list.count() <= 1:
            self.list.hide()
        self.window_panel.show_window(self.scene)
        self.class_panel.show_scene(self._labelled())
        self.geometry_panel.show_volumes(self.volumes())
        self._show_readout()

    def volumes(self) -> dict[str, Volume]:
        """Return the volumes that are shown, by name."""
        found = {"image": self.scene.image, "label": self.scene.label}
        if self.other is not None:
            found |= {"image 2": self.other.image, "label 2": self.other.label}
        return {name: volume for name, volume in found.items() if volume is not None}

    def _show_readout(self) -> None:
        scene = self.scene
        if scene.grid is None:
            self.readout.setText("Nothing is open.")
            return
        value, number = scene.value(), scene.class_value()
        lines = [index_text(scene.index_zyx), point_text(scene.point_xyz)]
        lines.append("value " + ("none" if value is None or not math.isfinite(value) else f"{value:g}"))
        if number is not None:
            lines.append(f"class {number}: {scene.style.name(number)}")
        if self.other is not None:
            other = self.other_scene.value()
            lines.append("second value " + ("none" if other is None else f"{other:g}"))
        tilt = oblique_text(scene.grid)
        self.readout.setText("\n".join([*lines, *([f"The grid is {tilt}."] if tilt else [])]))

    def _redraw(self) -> None:
        for views in (self.views, self.other_views):
            views.refresh()

    def go_to(self, point: Triple) -> None:
        """Move the crosshair to a physical point, mm, in all planes."""
        self.scene.move_to(point)
        self.other_scene.move_to(point)
        self._redraw()
        if not self._readout_clock.isActive():  # a text lays the panel out anew, which takes as long as a picture
            self._readout_clock.start()

    def go_home(self) -> None:
        """Show whole slices where the classes are, or in the middle."""
        self.scene.go_home()
        self.shared.zoom = 1.0
        for views in (self.views, self.other_views):
            for view in views.planes:
                view.centre()
        self.go_to(self.scene.point_xyz)

    def set_window(self, window: Window) -> None:
        """Show other values as black and white, in both volumes."""
        self.scene.set_window(window)
        if self.other is not None:
            self.other_scene.set_window(window)
        self.window_panel.show_window(self.scene)
        self._redraw()

    def _drag_window(self, right: float, down: float) -> None:
        self.scene.drag_window(right, down)
        self.set_window(self.scene.window)

    def _labelled(self) -> Scene:
        """Return whose classes the panel shows: those of the second volume, if it alone has labels."""
        alone = self.other is not None and self.scene.label is None and self.other_scene.label is not None
        return self.other_scene if alone else self.scene

    def _restyle(self) -> None:
        if self.other is not None:
            own = self._labelled()
            rest = self.scene if own is self.other_scene else self.other_scene
            rest.shows_label = own.shows_label
            style = own.style
            rest.set_style(hidden=style.hidden, opacity=style.opacity, outlined=style.outlined, colours=style.colours)
        self._redraw()

    def _maximise(self, number: int) -> None:
        """Show a plane alone, of both volumes, or all again."""
        for views in (self.views, self.other_views):
            views.maximise(views.planes[number])

    def _swipe(self, share: float) -> None:
        self.shared.swipe = share
        self._redraw()

    def _zoom(self, zoom: float) -> None:
        self.shared.zoom = zoom
        self._redraw()

    def _set_measuring(self, on: bool) -> None:
        self.shared.measures = on
        if not on:  # arrows move the crosshair alone again
            for view in (*self.views.planes, *self.other_views.planes):
                view.pointing.drop()
            self._redraw()

    def screenshot(self, path: Path | None = None) -> Path | None:
        """Save what the planes show as PNG; ask for the place if none is given."""
        if path is None:
            name, _ = QFileDialog.getSaveFileName(self, "Save a screenshot", "itkit.png", "PNG (*.png)")
            if not name:
                return None
            path = Path(name)
        if not self._both.grab().save(str(path), "PNG"):
            self._say(f"{path}: can't be written", bad=True)
            return None
        self._say(f"Saved: {path}")
        return path

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802 - Qt's name
        """Tools by key."""
        if event is None:
            return
        if event.key() == Qt.Key.Key_P and event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.screenshot()
        elif event.key() == Qt.Key.Key_Space:
            self.class_panel.toggle()
        elif event.key() == Qt.Key.Key_M:
            self.measure.toggle()
        elif event.key() in (Qt.Key.Key_BracketLeft, Qt.Key.Key_BracketRight) and self.modes.checkedId() == 2:
            step = -_SWIPE_STEP if event.key() == Qt.Key.Key_BracketLeft else _SWIPE_STEP
            self._swipe(min(max(self.shared.swipe + step, 0.0), _MOST_SWIPE))
        elif event.key() == Qt.Key.Key_R:
            self.go_home()
        elif event.key() in (Qt.Key.Key_Plus, Qt.Key.Key_Equal, Qt.Key.Key_Minus):
            step = 1 / 1.2 if event.key() == Qt.Key.Key_Minus else 1.2
            self._zoom(max(1.0, self.shared.zoom * step))
        else:
            super().keyPressEvent(event)

    def close_files(self) -> None:
        """Read nothing more."""
        self.loader.close()
        self.other_loader.close()

    def summary(self) -> str:
        """Return what is shown, in a line."""
        return ", ".join([counted(self.cases, "case"), *(repr(volume) for volume in self.volumes().values())])
