"""The page of trainings: the curves and pictures of a run, while ``itkit train`` writes them into its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PyQt6.QtCore import QSize, Qt, QTimer, pyqtSignal
from PyQt6.QtGui import QIcon, QPixmap, QResizeEvent
from PyQt6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from itkit.forms.pages import Page
from itkit.forms.trainings import DICE, LOSS, RunLog, curves_of, pictures_in, state_of
from itkit.gui import settings
from itkit.gui.curves import CurvePlot
from itkit.gui.fields import PathLine, pick_path
from itkit.gui.icons import dress
from itkit.gui.texts import plain_label, tip
from itkit.gui.theme import GAP

_LOOK_MS = 1000


class Picture(QLabel):
    """A picture in the size that its place allows, never larger than it is; a text as long as there is none."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setWordWrap(True)
        self.setProperty("role", "muted")
        self.setMinimumSize(QSize(120, 80))
        self._whole = QPixmap()

    def show_file(self, path: str) -> None:
        """Show a picture file."""
        self._whole = QPixmap(path)
        self._fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802 - Qt's name
        """Fit the picture anew."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        if self._whole.isNull():
            return
        ratio = self.devicePixelRatioF()
        room = (self.size() * ratio).boundedTo(self._whole.size() * max(1.0, ratio))
        fitted = self._whole.scaled(
            room, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
        )
        fitted.setDevicePixelRatio(ratio)
        self.setPixmap(fitted)


class TrainPage(QWidget):
    """Watches the folder of a run, and leads to the commands of a training."""

    command_opened = pyqtSignal(str)
    """The name of a command whose page is wanted."""

    def __init__(self, commands: Sequence[Page] = ()) -> None:
        super().__init__()
        self.log: RunLog | None = None
        self.folder: Path | None = None
        self._pictures: dict[Path, int] = {}
        title = plain_label("Training", name="title")
        self.line = PathLine()
        self.line.setObjectName("run_folder")
        self.line.setAccessibleName("Folder of a run")
        self.line.setPlaceholderText("Choose or drop the folder of a run of itkit train")
        self.line.editingFinished.connect(lambda: self.watch(Path(self.line.text())) if self.line.text() else None)
        choose = QPushButton("Folder …")
        dress(choose, "folder")
        choose.clicked.connect(self._choose)
        self.state = plain_label(
            "Its curves and pictures stand here while it trains; nothing is changed.",
            role="muted",
            name="train_state",
            wraps=True,
        )
        self.loss, self.dice = CurvePlot(LOSS), CurvePlot(DICE)
        self.list = QListWidget()
        self.list.setObjectName("overlays_list")
        self.list.setAccessibleName("Pictures of validation cases")
        self.list.setIconSize(QSize(96, 64))
        self.list.setMinimumWidth(150)
        self.list.currentItemChanged.connect(self._show_picture)
        self.picture = Picture("No picture yet: itkit train draws some after a validation.")
        links = QHBoxLayout()
        for page in commands:
            button = QPushButton(f"{page.title} …")
            button.setToolTip(tip(page.summary))
            button.setObjectName(f"open_{page.title.lower()}")
            button.clicked.connect(lambda _=False, name=page.name: self.command_opened.emit(name))
            links.addWidget(button)
        links.addStretch()
        row = QHBoxLayout()
        row.addWidget(self.line, 1)
        row.addWidget(choose)
        curves = QWidget()
        both = QHBoxLayout(curves)
        both.setContentsMargins(0, 0, 0, 0)
        both.addWidget(self.loss, 1)
        both.addWidget(self.dice, 1)
        below = QSplitter()
        below.addWidget(self.list)
        below.addWidget(self.picture)
        below.setStretchFactor(1, 1)
        below.setChildrenCollapsible(False)
        parts = QSplitter(Qt.Orientation.Vertical)
        parts.setChildrenCollapsible(False)
        parts.addWidget(curves)
        parts.addWidget(below)
        box = QVBoxLayout(self)
        box.setContentsMargins(2 * GAP, 2 * GAP, 2 * GAP, 2 * GAP)
        for widget in (title, self.state):
            box.addWidget(widget)
        box.addLayout(links)
        box.addLayout(row)
        box.addWidget(parts, 1)
        self._clock = QTimer(self)
        self._clock.setInterval(_LOOK_MS)
        self._clock.timeout.connect(self.look)

    def _choose(self) -> None:
        path = pick_path(self, "Folder of a run", self.line.text(), file=False)
        if path:
            self.watch(Path(path))

    def watch(self, folder: Path) -> None:
        """Watch the folder of a run."""
        self.folder, self.log = folder, RunLog(folder)
        self._pictures = {}
        self.list.clear()
        self.line.setText(str(folder))
        settings.remember_paths(folder)
        for plot in (self.loss, self.dice):
            plot.show_curves({})
        self.look()
        self._clock.start()

    def look(self) -> None:
        """Look for what is new in the folder."""
        if self.log is None or self.folder is None:
            return
        if not self.folder.is_dir():
            self.state.setText(f"{self.folder} is not a folder.")
            return
        if self.log.update():
            curves = curves_of(self.log.history)
            for plot in (self.loss, self.dice):
                plot.show_curves(curves[plot.title])
        self.state.setText(state_of(self.folder.name, self.log.history))
        self._look_for_pictures(self.folder)

    def _look_for_pictures(self, folder: Path) -> None:
        for path, stamp in pictures_in(folder).items():
            if self._pictures.get(path) == stamp:
                continue
            item = next((one for one in self._items() if one.data(Qt.ItemDataRole.UserRole) == str(path)), None)
            if item is None:
                item = QListWidgetItem(path.stem)
                item.setData(Qt.ItemDataRole.UserRole, str(path))
                self.list.addItem(item)
            item.setIcon(QIcon(str(path)))
            self._pictures[path] = stamp
            if self.list.currentRow() < 0:
                self.list.setCurrentRow(0)
            elif item is self.list.currentItem():
                self._show_picture(item)

    def _items(self) -> list[QListWidgetItem]:
        return [item for row in range(self.list.count()) if (item := self.list.item(row)) is not None]

    def _show_picture(self, item: QListWidgetItem | None) -> None:
        if item is not None:
            self.picture.show_file(item.data(Qt.ItemDataRole.UserRole))
            self.picture.setAccessibleName(f"Picture of {item.text()}")
