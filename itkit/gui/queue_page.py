"""All jobs of the program: what runs, what waits, and how the others ended."""

from __future__ import annotations

import time

from PyQt6.QtCore import Qt, QTimer, pyqtSignal
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from itkit.forms.progress import time_in_words
from itkit.forms.queue import Job
from itkit.gui.bridge import Jobs
from itkit.gui.operation_page import state_text
from itkit.gui.texts import plain_label, tip
from itkit.gui.theme import GAP, colour

_COLUMNS = ("Job", "Command", "State", "Progress", "Time")


class QueuePage(QWidget):
    """The table of jobs."""

    opened = pyqtSignal(object)
    """A job that the user wants to see."""

    def __init__(self, jobs: Jobs) -> None:
        super().__init__()
        self.jobs = jobs
        title = plain_label("Queue", name="title")
        self.about = plain_label(role="muted", wraps=True)
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setObjectName("jobs")
        self.table.setAccessibleName("Jobs")
        self.table.setHorizontalHeaderLabels(list(_COLUMNS))
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setAlternatingRowColors(True)
        self.table.setShowGrid(False)
        self.table.setTabKeyNavigation(False)
        head, side = self.table.horizontalHeader(), self.table.verticalHeader()
        if head is not None:
            head.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
            head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            head.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        if side is not None:
            side.hide()
        self.table.cellDoubleClicked.connect(lambda row, _: self._open(row))
        row = QHBoxLayout()
        for text, act in (
            ("Open", self._open_chosen),
            ("Earlier", lambda: self._move(-1)),
            ("Later", lambda: self._move(1)),
            ("Stop", self._stop),
        ):
            button = QPushButton(text)
            button.clicked.connect(act)
            row.addWidget(button)
        row.addStretch()
        box = QVBoxLayout(self)
        box.setContentsMargins(2 * GAP, 2 * GAP, 2 * GAP, 2 * GAP)
        box.addWidget(title)
        box.addWidget(self.about)
        box.addWidget(self.table, 1)
        box.addLayout(row)
        self._shown: list[Job] = []
        jobs.changed.connect(lambda _: self._fill())
        self._clock = QTimer(self)
        self._clock.setInterval(1000)
        self._clock.timeout.connect(self._fill)
        self._fill()

    def _fill(self) -> None:
        if not self.jobs.queue.active():
            self._clock.stop()
        elif not self._clock.isActive():
            self._clock.start()
        chosen = self._chosen()
        self._shown = list(self.jobs.queue.jobs.values())[::-1]
        waiting = sum(job.state == "waiting" for job in self._shown)
        self.about.setText(
            f"Jobs run one after the other; {waiting or 'none'} waiting."
            if self._shown
            else "No job yet: start one on the Jobs page."
        )
        self.table.setRowCount(len(self._shown))
        for row, job in enumerate(self._shown):
            with job.lock:
                took = ((job.ended or time.time()) - job.started) if job.started else None
                cells = (
                    str(job.id),
                    job.command.text + (" --dry-run" if job.is_plan else ""),
                    job.state,
                    f"{job.view.ended} of {job.view.total}" if job.view.total else "",
                    time_in_words(took),
                )
                said = tip(state_text(job))
            for column, text in enumerate(cells):
                item = self.table.item(row, column)
                if item is None:
                    item = QTableWidgetItem()
                    self.table.setItem(row, column, item)
                item.setText(text)
                item.setToolTip(said)
                item.setForeground(colour("bad" if job.state == "failed" else "ink"))
        if chosen in self._shown:
            self.table.selectRow(self._shown.index(chosen))

    def _chosen(self) -> Job | None:
        row = self.table.currentRow()
        return self._shown[row] if 0 <= row < len(getattr(self, "_shown", ())) else None

    def _open(self, row: int) -> None:
        if row < len(self._shown):
            self.opened.emit(self._shown[row])

    def _open_chosen(self) -> None:
        job = self._chosen()
        if job is not None:
            self.opened.emit(job)

    def _move(self, places: int) -> None:
        job = self._chosen()
        if job is not None:
            self.jobs.queue.move(job, places)

    def _stop(self) -> None:
        job = self._chosen()
        if job is not None:
            self.jobs.queue.stop(job)
