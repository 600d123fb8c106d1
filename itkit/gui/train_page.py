"""The page of trainings: the curves and pictures of a run, while ``itkit train`` writes them into its folder."""

from __future__ import annotations

from pathlib import Path

from PyQt6.QtCore import QSize, Qt, QTimer
from PyQt6.QtGui import QIcon, QPixmap
from PyQt6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QScrollArea,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from itkit.gui import settings
from itkit.gui.curves import CurvePlot
from itkit.gui.fields import PathLine, pick_path
from itkit.gui.icons import dress
from itkit.gui.theme import GAP
from itkit.training.history import METRICS_JSONL, History, add, parse_line

_LOOK_MS = 1000
_PICTURES = "overlays"
_MOST_BYTES = 1 << 24
_MEAN_OF = 25


class RunLog:
    """The log of a run, read on from where it was left."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / METRICS_JSONL
        self.history = History()
        self._at = 0

    def update(self) -> bool:
        """Read what has been added; return whether there is anything new. A log that was begun anew is read anew."""
        try:
            size = self.path.stat().st_size
            if size < self._at:
                self.history, self._at = History(), 0
            if size == self._at:
                return False
            with self.path.open("rb") as file:
                file.seek(self._at)
                data = file.read(_MOST_BYTES)
        except OSError:
            return False
        whole = data.rfind(b"\n") + 1
        self._at += whole
        for line in data[:whole].decode("utf-8", "replace").splitlines():
            add(self.history, parse_line(line))
        return whole > 0


class TrainPage(QWidget):
    """Watches the folder of a run."""

    def __init__(self) -> None:
        super().__init__()
        self.log: RunLog | None = None
        self.folder: Path | None = None
        self._pictures: dict[Path, int] = {}
        title = QLabel("Training")
        title.setObjectName("title")
        self.line = PathLine()
        self.line.setObjectName("run_folder")
        self.line.setAccessibleName("Folder of a run")
        self.line.setPlaceholderText("Choose or drop the folder of a run of itkit train")
        self.line.editingFinished.connect(lambda: self.watch(Path(self.line.text())) if self.line.text() else None)
        choose = QPushButton("Folder …")
        dress(choose, "folder")
        choose.clicked.connect(self._choose)
        self.state = QLabel("Its curves and pictures stand here while it trains; nothing is changed.")
        self.state.setObjectName("train_state")
        self.state.setProperty("role", "muted")
        self.state.setWordWrap(True)
        self.loss, self.dice = CurvePlot("Loss by step"), CurvePlot("Dice of the validation by step")
        self.list = QListWidget()
        self.list.setObjectName("overlays_list")
        self.list.setAccessibleName("Pictures of validation cases")
        self.list.setIconSize(QSize(96, 64))
        self.list.setMinimumWidth(150)
        self.list.currentItemChanged.connect(self._show_picture)
        self.picture = QLabel("No picture yet: itkit train draws some after a validation.")
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.picture.setWordWrap(True)
        self.picture.setProperty("role", "muted")
        row = QHBoxLayout()
        row.addWidget(self.line, 1)
        row.addWidget(choose)
        curves = QWidget()
        both = QHBoxLayout(curves)
        both.setContentsMargins(0, 0, 0, 0)
        both.addWidget(self.loss, 1)
        both.addWidget(self.dice, 1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(self.picture)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        below = QSplitter()
        below.addWidget(self.list)
        below.addWidget(area)
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
            self._show_curves(self.log.history)
        elif not self.log.history.steps:
            self.state.setText(f"{self.folder.name}: nothing has been logged yet; {METRICS_JSONL} is waited for.")
        self._look_for_pictures(self.folder / _PICTURES)

    def _show_curves(self, history: History) -> None:
        losses = [(float(one.step), one.train_loss) for one in history.steps]
        mean = [
            (losses[at][0], sum(loss for _, loss in losses[max(0, at - _MEAN_OF + 1) : at + 1]) / min(at + 1, _MEAN_OF))
            for at in range(len(losses))
        ]
        self.loss.show_curves(
            {f"mean of {_MEAN_OF}": mean, "each": losses} if len(losses) > _MEAN_OF else {"each": losses}
        )
        curves = {"mean": [(float(one.step), one.val_dice) for one in history.validations]}
        for name in dict.fromkeys(name for one in history.validations for name in one.classes):
            found = [(float(one.step), one.classes.get(name, {}).get("dice")) for one in history.validations]
            curves[name] = [(step, value) for step, value in found if value is not None]
        self.dice.show_curves(curves)
        parts = []
        if history.steps:
            last = history.steps[-1]
            parts.append(f"step {last.step}, epoch {last.epoch}, loss {last.train_loss:.4g}")
        if history.best is not None:
            parts.append(f"best Dice {history.best.val_dice:.4f} after step {history.best.step}")
        name = "" if self.folder is None else f"{self.folder.name}: "
        self.state.setText(name + "; ".join(parts))

    def _look_for_pictures(self, folder: Path) -> None:
        try:
            files = {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*.png"))}
        except OSError:
            return
        for path, stamp in files.items():
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
            self.picture.setPixmap(QPixmap(item.data(Qt.ItemDataRole.UserRole)))
