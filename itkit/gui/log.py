"""What a job says to people: its own lines, and what its events tell; searched, and saved as a text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PyQt6.QtCore import pyqtSignal
from PyQt6.QtGui import QTextDocument
from PyQt6.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from itkit.core.errors import ItkitError
from itkit.forms.progress import BAD
from itkit.forms.queue import Job
from itkit.gui.theme import GAP
from itkit.io.disk import write_text

_MOST_LINES = 20_000


def lines_of(event: dict[str, Any]) -> Iterator[str]:
    """Yield what an event tells people."""
    kind = event["event"]
    if kind == "start":
        yield from (f"note: {note}" for note in event.get("notes", ()))
        yield from (f"unpaired: {item['path']} has no {item['lacks']}" for item in event.get("unpaired", ()))
    elif kind == "case":
        yield from (f"warning: {event['case']}: {warning}" for warning in event.get("warnings", ()))
        if event["status"] in BAD or (event["status"] == "left" and event["message"]):
            yield f"{event['status']}: {event['message']}"
    elif kind == "note":
        yield str(event.get("text", ""))
    elif kind == "validation":
        yield f"step {event['step']}: mean Dice {event['val_dice']:.4f}"
    elif kind == "action":
        yield f"{event['action']}: {event['path']}" + (f" -> {event['final']}" if event.get("final") else "")
    elif kind == "summary":
        yield from event.get("lines", ())


class Log(QWidget):
    """The lines of a job."""

    failed = pyqtSignal(str)
    """Why they could not be saved."""

    def __init__(self) -> None:
        super().__init__()
        self.job: Job | None = None
        self._seen = (0, 0)
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setMaximumBlockCount(_MOST_LINES)
        self.text.setAccessibleName("Log")
        self.text.setPlaceholderText("What the job says stands here.")
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search the log")
        self.search.setClearButtonEnabled(True)
        self.search.setAccessibleName("Search the log")
        self.search.returnPressed.connect(self.find_next)
        following = QPushButton("Next")
        following.clicked.connect(self.find_next)
        save = QPushButton("Save …")
        save.clicked.connect(self._save)
        row = QHBoxLayout()
        row.setSpacing(GAP)
        for widget in (self.search, following, save):
            row.addWidget(widget)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, GAP, 0, 0)
        box.addLayout(row)
        box.addWidget(self.text)

    def follow(self, job: Job | None) -> None:
        """Show the lines of another job."""
        self.job, self._seen = job, (0, 0)
        self.text.clear()
        self.update_lines()

    def update_lines(self) -> None:
        """Add what the job has said since the last time."""
        if self.job is None:
            return
        with self.job.lock:
            dropped = self.job.dropped
            events, lines = self.job.events[self._seen[0] :], self.job.log[max(0, self._seen[1] - dropped) :]
            self._seen = (len(self.job.events), len(self.job.log) + dropped)
        told = [line for event in events for line in lines_of(event)]
        if told or lines:
            self.text.appendPlainText("\n".join([*told, *lines]))

    def find_next(self) -> bool:
        """Go to the next place of the searched text, from the top after the last one."""
        words = self.search.text()
        if not words:
            return False
        if self.text.find(words):
            return True
        cursor = self.text.textCursor()
        cursor.movePosition(cursor.MoveOperation.Start)
        self.text.setTextCursor(cursor)
        return self.text.find(words, QTextDocument.FindFlag(0))

    def _save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save the log", "itkit.log", "Text (*.log *.txt)")
        if path:
            self.save(Path(path))

    def save(self, path: Path) -> None:
        """Write the lines into a file, or say why that failed."""
        try:
            write_text(path, self.text.toPlainText() + "\n")
        except (ItkitError, OSError) as error:
            self.failed.emit(f"Not saved: {error}")
