"""The queue of jobs for windows: changes arrive in the window's thread, gathered so that they never flood it."""

from __future__ import annotations

import threading

from PyQt6.QtCore import QObject, Qt, QTimer, pyqtSignal

from itkit.forms.jobs import Event
from itkit.forms.queue import Job, JobQueue

_PAUSE_MS = 50


class Jobs(QObject):
    """The jobs of the program."""

    changed = pyqtSignal(object)
    """A job has changed."""
    _woken = pyqtSignal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._lock = threading.Lock()
        self._dirty: dict[int, Job] = {}
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE_MS)
        self._timer.timeout.connect(self._tell)
        self._woken.connect(self._wait, type=Qt.ConnectionType.QueuedConnection)  # type: ignore[call-arg]  # PyQt takes it
        self.queue = JobQueue(on_change=self._note)

    def _note(self, job: Job, event: Event | str | None) -> None:
        del event
        with self._lock:
            is_first = not self._dirty
            self._dirty[job.id] = job
        if is_first:
            self._woken.emit()

    def _wait(self) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _tell(self) -> None:
        with self._lock:
            jobs, self._dirty = list(self._dirty.values()), {}
        for job in jobs:
            self.changed.emit(job)
