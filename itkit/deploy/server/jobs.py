"""Jobs: one at a time on a device, the others wait in a queue with a limit; what is over vanishes after a while."""

from __future__ import annotations

import queue
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from itkit.core.errors import FullError, ItkitError, ResourceError, WriteError

State = Literal["waiting", "running", "done", "failed", "cancelled"]
Cause = Literal["image", "room", "fault"]
"""Why a job has failed: its image, too little memory or disk, or a fault of the server."""
OVER: tuple[State, ...] = ("done", "failed", "cancelled")
KEPT_S = 900.0
"""Seconds for which the result of a job waits to be fetched."""
_SWEEP_S = 10.0


class Cancelled(Exception):  # noqa: N818 - it never leaves the worker
    """A client does not want the answer any more."""


@dataclass(eq=False)
class Job:
    """One image that is to be segmented.

    Attributes
    ----------
    model
        Name of the network.
    folder
        Its folder, which vanishes with it.
    work
        What is done; it gets the job, calls `advance`, and returns the result's file and facts about it.
    id
        Random name: who does not know it finds no job.
    state, share, message, cause
        How it stands: finished part from 0 to 1, and the reason of a failure.
    result
        File of the label map.
    facts
        What is told about the result.
    version
        Number that rises with every change.
    """

    model: str
    folder: Path
    work: Callable[[Job], tuple[Path, Mapping[str, Any]]]
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    state: State = "waiting"
    share: float = 0.0
    message: str = ""
    cause: Cause = "image"
    result: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    version: int = 0
    created: float = field(default_factory=time.time)
    ended: float | None = None
    is_unwanted: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in OVER

    def advance(self, share: float) -> None:
        """Note which part is finished.

        Raises
        ------
        Cancelled
            When nobody wants the answer any more.
        """
        if self.is_unwanted:
            raise Cancelled
        if share - self.share >= 0.005 or share >= 1:
            self.share = min(1.0, share)
            self.version += 1

    def to_json(self, waiting: int | None = None) -> dict[str, Any]:
        """Return how it stands, for clients."""
        values: dict[str, Any] = {
            "job": self.id,
            "model": self.model,
            "state": self.state,
            "progress": round(self.share, 3),
            "message": self.message,
            **self.facts,
        }
        return values if waiting is None else {**values, "before": waiting}


class Desk:
    """Takes jobs, and does one after the other.

    Parameters
    ----------
    most_waiting
        How many jobs may wait.
    kept_s
        Seconds for which results wait to be fetched.
    """

    def __init__(self, most_waiting: int = 16, kept_s: float = KEPT_S) -> None:
        self._queue: queue.Queue[Job | None] = queue.Queue()
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._most_waiting, self._kept_s = most_waiting, kept_s
        self._is_closed = threading.Event()
        self._worker = threading.Thread(target=self._work, name="itkit-serve", daemon=True)
        self._sweeper = threading.Thread(target=self._sweep, name="itkit-sweep", daemon=True)
        self._worker.start()
        self._sweeper.start()

    def require_room(self) -> None:
        """Raise an error if the queue is full.

        Raises
        ------
        FullError
            When it is.
        """
        with self._lock:
            waiting = sum(job.state == "waiting" for job in self._jobs.values())
        if waiting >= self._most_waiting:
            raise FullError(f"{waiting} jobs are waiting already; try again later")

    def add(self, job: Job) -> Job:
        """Put a job into the queue.

        Raises
        ------
        FullError
            When the queue is full.
        """
        self.require_room()
        with self._lock:
            self._jobs[job.id] = job
        self._queue.put(job)
        return job

    def find(self, name: str) -> Job | None:
        """Return a job by its id."""
        with self._lock:
            return self._jobs.get(name)

    def counts(self) -> dict[str, int]:
        """Return how many jobs wait and run."""
        with self._lock:
            states = [job.state for job in self._jobs.values()]
        return {"waiting": states.count("waiting"), "running": states.count("running")}

    def before(self, job: Job) -> int:
        """Return how many jobs come before one that waits."""
        with self._lock:
            others = [one for one in self._jobs.values() if not one.is_over and one.created < job.created]
        return len(others)

    def cancel(self, job: Job) -> None:
        """Tell that nobody wants a job's answer: it ends after its present window, or never begins."""
        with self._lock:
            job.is_unwanted = True
            if job.state == "waiting":
                self._end(job, "cancelled")

    def forget(self, job: Job) -> None:
        """Remove a job that is over, and its files; one that is not is cancelled."""
        self.cancel(job)
        if job.is_over:
            with self._lock:
                self._jobs.pop(job.id, None)
            shutil.rmtree(job.folder, ignore_errors=True)

    @property
    def is_ending(self) -> bool:
        """Whether the server is being ended."""
        return self._is_closed.is_set()

    def end(self) -> None:
        """Cancel everything; who waits for a job hears of it."""
        self._is_closed.set()
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            self.cancel(job)

    def close(self) -> None:
        """Cancel everything, and wait for the job that runs to notice."""
        self.end()
        self._queue.put(None)
        self._worker.join(30)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            with self._lock:
                if job.is_over:
                    continue
                job.state = "running"
                job.version += 1
            self._do(job)
            if job.is_unwanted:
                self.forget(job)

    def _do(self, job: Job) -> None:
        state: State = "failed"
        cause: Cause = "room"
        try:
            result, facts = job.work(job)
        except Cancelled:
            state, message = "cancelled", ""
        except ItkitError as error:
            cause, message = "room" if isinstance(error, ResourceError | WriteError) else "image", str(error)
        except MemoryError:
            message = "the server has too little memory for this image"
        except OSError as error:
            message = f"the server can't store the image or its result ({error.strerror or error})"
        except Exception as error:  # noqa: BLE001 - the server goes on; what is wrong is told
            cause, message = "fault", f"the server has failed: {type(error).__name__}: {error}"[:500]
        else:
            with self._lock:
                job.result, job.facts, job.share = result, facts, 1.0
                self._end(job, "cancelled" if job.is_unwanted else "done")
            return
        shutil.rmtree(job.folder, ignore_errors=True)
        with self._lock:
            job.message = re.sub(rf"{re.escape(str(job.folder))}/(\w+/)?", "", message)  # paths are the server's own
            job.cause = cause
            self._end(job, state)

    def _end(self, job: Job, state: State) -> None:
        job.state, job.ended = state, time.monotonic()
        job.version += 1

    def _sweep(self) -> None:
        while not self._is_closed.wait(min(_SWEEP_S, self._kept_s / 4 or 0.01)):
            now = time.monotonic()
            with self._lock:
                old = [job for job in self._jobs.values() if job.ended is not None and now - job.ended > self._kept_s]
            for job in old:
                self.forget(job)
