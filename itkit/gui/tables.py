"""Tables of cases: of a plan, and of a run while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PyQt6.QtCore import QAbstractTableModel, QModelIndex, QRectF, QSortFilterProxyModel, Qt, pyqtSignal
from PyQt6.QtGui import QKeyEvent, QPainter
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from itkit.forms.progress import CaseRow, RunView
from itkit.forms.queue import Job
from itkit.gui.texts import tip
from itkit.gui.theme import colour

SORT = Qt.ItemDataRole.UserRole
SHARE = Qt.ItemDataRole.UserRole + 1
_Column = tuple[str, Callable[[CaseRow], Any], Callable[[CaseRow], Any]]
_WORDS = {
    "planned": "would be made",
    "skipped": "stays",
    "left": "left alone",
    "nonconforming": "does not conform",
    "crashed": "crashed: a fault of ITKIT",
}


def status_text(row: CaseRow) -> str:
    """Return a case's status in words."""
    return _WORDS.get(row.status, row.status)


def _message(row: CaseRow) -> str:
    """Return what is said of a case, without its name, which stands beside it."""
    return "; ".join(filter(None, [row.message.removeprefix(f"{row.case}: "), *row.warnings]))


def _names(paths: tuple[str, ...]) -> str:
    return "\n".join(f"{Path(path).parent.name}/{Path(path).name}" for path in paths)


def _said(row: CaseRow) -> str:
    return "" if row.status in ("planned", "skipped") and " -> " in row.message else _message(row)


RUN_COLUMNS: tuple[_Column, ...] = (
    ("Case", lambda row: row.case, lambda row: row.case),
    ("Status", status_text, status_text),
    ("Message", _message, _message),
    ("Seconds", lambda row: f"{row.seconds:.2f}" if row.seconds else "", lambda row: row.seconds),
)
PLAN_COLUMNS: tuple[_Column, ...] = (
    ("Case", lambda row: row.case, lambda row: row.case),
    ("Action", status_text, status_text),
    ("Reads", lambda row: _names(row.inputs), lambda row: row.inputs),
    ("Writes", lambda row: _names(row.outputs), lambda row: row.outputs),
    ("Message", _said, _said),
)


_WIDE = ("Message", "Reads", "Writes")
"""Columns that share the room that is left."""
_MOST_FILES = 3
"""Files of a case for which a row has room."""


class CaseModel(QAbstractTableModel):
    """The cases of a job; new events change rows, they do not build the table anew."""

    grown = pyqtSignal()
    """There are more rows."""

    def __init__(self, columns: tuple[_Column, ...], parent: QWidget) -> None:
        super().__init__(parent)
        self.columns = columns
        self.job: Job | None = None
        self.rows: list[CaseRow] = []
        self._place: dict[str, int] = {}
        self._seen = 0

    def follow(self, job: Job | None) -> None:
        """Show the cases of another job."""
        self.beginResetModel()
        self.job, self.rows, self._place, self._seen = job, [], {}, 0
        self.endResetModel()
        self.update()

    def update(self) -> None:
        """Take in what the job has told since the last time."""
        if self.job is None:
            return
        with self.job.lock:
            events, self._seen = self.job.events[self._seen :], len(self.job.events)
            names = dict.fromkeys(_cases_in(events, self.job.view))
            rows = [self.job.view.cases[name] for name in names if name in self.job.view.cases]
        new = [row for row in rows if row.case not in self._place]
        for row in rows:
            place = self._place.get(row.case)
            if place is not None:
                self.rows[place] = row
                self.dataChanged.emit(self.index(place, 0), self.index(place, len(self.columns) - 1))
        if new:
            first = len(self.rows)
            self.beginInsertRows(QModelIndex(), first, first + len(new) - 1)
            self._place |= {row.case: first + number for number, row in enumerate(new)}
            self.rows += new
            self.endInsertRows()
            self.grown.emit()

    def tick(self) -> None:
        """Draw the rows of running cases anew."""
        for place, row in enumerate(self.rows):
            if row.status == "running":
                self.dataChanged.emit(self.index(place, 1), self.index(place, 1))

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and form
        """Return the number of cases."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and form
        """Return the number of columns."""
        return 0 if parent.isValid() else len(self.columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:  # noqa: N802 - Qt's name
        """Return a column's title."""
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return self.columns[section][0]
        return None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Return what a cell shows."""
        row = self.rows[index.row()]
        _, shown, key = self.columns[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return shown(row)
        if role == SORT:
            return key(row)
        if role == Qt.ItemDataRole.ToolTipRole:
            paths = [*row.inputs, *(f"-> {path}" for path in row.outputs)]
            return tip("\n".join(filter(None, [str(shown(row)), *paths])))
        if role == Qt.ItemDataRole.ForegroundRole and row.is_bad:
            return colour("bad")
        if role == SHARE and index.column() == 1 and row.status == "running":
            return self._share(row)
        return None

    def _share(self, row: CaseRow) -> float:
        """Guess how far a running case is, by the mean time of those that have ended."""
        view = self.job.view if self.job is not None else RunView()
        begun = view.begun.get(row.case)
        times = [one.seconds for one in self.rows if one.seconds][-20:]
        if begun is None or not times:
            return 0.0
        return min(0.95, (time.monotonic() - begun) / (sum(times) / len(times)))


def _cases_in(events: list[dict[str, Any]], view: RunView) -> list[str]:
    names: list[str] = []
    for event in events:
        if event["event"] == "start":
            names += [name for name, row in view.cases.items() if row.status == "unpaired"]
        elif event["event"] == "summary":
            names += [name for name, row in view.cases.items() if row.status == "stopped"]
        elif isinstance(event.get("case"), str):
            names.append(event["case"])
    return names


class _Bar(QStyledItemDelegate):
    """Draws a bar under the status of a running case."""

    def paint(self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Draw the cell."""
        share = index.data(SHARE)
        if painter is not None and share is not None:
            rect = QRectF(option.rect).adjusted(1, 1, -1, -1)
            painter.fillRect(
                QRectF(rect.x(), rect.y(), rect.width() * float(share), rect.height()), colour("accent-soft")
            )
        super().paint(painter, option, index)


class CaseTable(QTableView):
    """A table of cases that can be sorted and searched; a double click, or Enter, opens the case."""

    opened = pyqtSignal(object)
    """The row of a case."""
    told = pyqtSignal(str)
    """All that is said of the chosen case, or of the first one that somebody should look at."""

    def __init__(self, name: str, columns: tuple[_Column, ...]) -> None:
        super().__init__()
        self.setObjectName(name)
        self.cases = CaseModel(columns, self)
        self.proxy = QSortFilterProxyModel(self)
        self.proxy.setSourceModel(self.cases)
        self.proxy.setSortRole(SORT)
        self.proxy.setFilterKeyColumn(-1)
        self.proxy.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.setModel(self.proxy)
        self.setItemDelegateForColumn(1, _Bar(self))
        self.setSortingEnabled(True)
        self.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setAlternatingRowColors(True)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        head, side = self.horizontalHeader(), self.verticalHeader()
        if head is not None:
            head.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
            head.setMinimumSectionSize(78)
            for column, (title, _, _) in enumerate(columns):
                is_wide = title in _WIDE
                head.setSectionResizeMode(
                    column, QHeaderView.ResizeMode.Stretch if is_wide else QHeaderView.ResizeMode.Interactive
                )
                head.resizeSection(column, {"Action": 110, "Case": 100}.get(title, 80))
        if side is not None:
            side.hide()
        self.doubleClicked.connect(self._open)
        self.cases.grown.connect(self._arrange)
        choice = self.selectionModel()
        if choice is not None:
            choice.currentRowChanged.connect(lambda *_: self.tell())

    def _arrange(self) -> None:
        """Give each row room for its files, and no room to messages if there are none."""
        titles = [title for title, _, _ in self.cases.columns]
        if "Reads" not in titles:
            return
        files = max((len(paths) for row in self.cases.rows[:200] for paths in (row.inputs, row.outputs)), default=1)
        side = self.verticalHeader()
        if side is not None:
            side.setDefaultSectionSize(self.fontMetrics().height() * min(max(files, 1), _MOST_FILES) + 12)
        is_said = any(map(_said, self.cases.rows))
        self.setColumnHidden(titles.index("Message"), not is_said)

    def tell(self) -> None:
        """Tell what is said of the chosen case, or of the first bad one."""
        index = self.currentIndex()
        row = self.cases.rows[self.proxy.mapToSource(index).row()] if index.isValid() else None
        if row is None:
            row = next((one for one in self.cases.rows if one.is_bad), None)
        said = "" if row is None else _said(row)
        self.told.emit(f"{row.case}: {said}" if row is not None and said else "")

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802 - Qt's name
        """Open the case on Enter."""
        if event is not None and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentIndex().isValid():
            self._open(self.currentIndex())
            return
        super().keyPressEvent(event)

    def _open(self, index: QModelIndex) -> None:
        self.opened.emit(self.cases.rows[self.proxy.mapToSource(index).row()])
