"""Jobs: commands that run one after the other, with everything that a window shows of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from itkit.forms.command import Command
from itkit.forms.jobs import GRACE_S, Child, Event
from itkit.forms.progress import RunView

State = Literal["waiting", "running", "stopping", "done", "failed", "stopped"]
_MOST_LINES = 20_000
INTERRUPTED = 130
_MAY_GO_ON = (0, 1)
"""Exit codes after which the next step of a chain is run: 1 means that some cases failed or do not conform."""


@dataclass
class Job:
    """A command in the queue, with its events and lines so far; read it under its ``lock``.

    Parameters
    ----------
    id, command, is_plan, folder
        Its number, what it runs, whether as a dry run, and the folder in which its relative paths are meant.
    state
        ``done`` and ``failed`` by the exit code; ``stopped`` if somebody stopped it.
    events, log, view
        What it has told: to programs, to people, and gathered.
    dropped
        How many of the first lines are no longer kept.
    message
        Why it could not start.
    after
        The job before it in a chain: it waits for its end, and is not run if that ended early.
    """

    id: int
    command: Command
    is_plan: bool = False
    folder: Path | None = None
    state: State = "waiting"
    events: list[Event] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    dropped: int = 0
    view: RunView = field(default_factory=RunView)
    exit_code: int | None = None
    message: str = ""
    after: Job | None = field(default=None, repr=False)
    added: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    child: Child | None = field(default=None, repr=False)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in ("done", "failed", "stopped")

    @property
    def may_go_on(self) -> bool:
        """Whether a job that needs its result can be run."""
        return self.state != "stopped" and self.exit_code in _MAY_GO_ON

    def as_json(self) -> dict[str, Any]:
        """Return its state as values that JSON can hold, without events, lines and secrets."""
        with self.lock:
            summary = self.view.summary
            return {
                "job": self.id,
                "operation": self.command.name,
                "command": self.command.text,
                "plan": self.is_plan,
                "state": self.state,
                "exit_code": self.exit_code,
                "message": self.message or ("" if summary is None else summary["text"]),
                "total": self.view.total,
                "ended": self.view.ended,
                "unit": self.view.unit,
                "doing": self.view.doing,
                "left_s": self.view.left_s(),
                "counts": self.view.counts,
                "dest": self.view.dest,
                "added": self.added,
                "started": self.started,
                "finished": self.ended,
            }


class JobQueue:
    """Runs jobs in the order in which they were added, at most ``at_once`` at a time; plans do not wait for runs.

    Parameters
    ----------
    at_once
        How many jobs run at once.
    on_change
        Called with a job and an event, a line, or ``None`` when its state changes; from threads of the jobs.
    most
        How many ended jobs are remembered.
    """

    def __init__(
        self,
        *,
        at_once: int = 1,
        on_change: Callable[[Job, Event | str | None], None] = lambda *_: None,
        most: int = 200,
    ) -> None:
        self.jobs: dict[int, Job] = {}
        self._at_once, self._on_change, self._most = at_once, on_change, most
        self._lock = threading.RLock()
        self._number = 0
        self._is_closed = False

    def add(self, command: Command, *, plan: bool = False, folder: Path | None = None, after: Job | None = None) -> Job:
        """Add a job, and start it if its turn has come; one that follows another one waits for it."""
        with self._lock:
            self._number += 1
            job = Job(self._number, command, plan, folder, after=after)
            self.jobs[job.id] = job
            self._forget()
        self._on_change(job, None)
        self._start_next()
        return job

    def stop(self, job: Job, *, grace_s: float = GRACE_S) -> None:
        """Stop a job: one that waits never starts, one that runs ends as after Ctrl-C."""
        with self._lock, job.lock:
            if job.is_over or job.state == "stopping":
                return
            if job.child is None:
                job.state, job.ended = "stopped", time.time()
            else:
                job.state = "stopping"
                job.child.stop(grace_s=grace_s)
        self._on_change(job, None)
        self._start_next()

    def refuse_more(self) -> None:
        """Start no other job from now on."""
        self._is_closed = True

    def close(self, *, grace_s: float = GRACE_S) -> bool:
        """Stop all jobs, start no other, and wait for the end of all; return whether none is left."""
        self.refuse_more()
        for job in self.active():
            self.stop(job, grace_s=grace_s)
        until = time.monotonic() + grace_s + 10
        return all(
            job.child is None or job.child.wait(max(0.1, until - time.monotonic())) is not None
            for job in list(self.jobs.values())
        )

    def active(self) -> list[Job]:
        """Return the jobs that have not ended."""
        with self._lock:
            return [job for job in self.jobs.values() if not job.is_over]

    def move(self, job: Job, places: int) -> None:
        """Move a waiting job up (``places`` below 0) or down among the waiting ones."""
        with self._lock:
            waiting = [one for one in self.jobs.values() if one.state == "waiting"]
            if job not in waiting:
                return
            at = waiting.index(job)
            waiting.insert(max(0, at + places), waiting.pop(at))
            rest = {number: one for number, one in self.jobs.items() if one.state != "waiting"}
            self.jobs = {**rest, **{one.id: one for one in waiting}}
        self._on_change(job, None)

    def _forget(self) -> None:
        over = [number for number, job in self.jobs.items() if job.is_over]
        for number in over[: max(0, len(over) - self._most)]:
            del self.jobs[number]

    def _start_next(self) -> None:
        while True:
            self._leave_out()
            with self._lock:
                running = sum(
                    job.child is not None and not job.is_over and not job.is_plan for job in self.jobs.values()
                )
                job = next(
                    (
                        job
                        for job in self.jobs.values()
                        if job.state == "waiting"
                        and (job.is_plan or running < self._at_once)
                        and (job.after is None or job.after.is_over)
                    ),
                    None,
                )
                if job is None or self._is_closed:
                    return
                self._start(job)
            self._on_change(job, None)

    def _leave_out(self) -> None:
        """End the jobs that wait for what will not be there."""
        left: list[Job] = []
        with self._lock:
            for job in self.jobs.values():
                before = job.after
                if job.state == "waiting" and before is not None and before.is_over and not before.may_go_on:
                    job.state, job.ended = "stopped", time.time()
                    job.message = f"not run, since {before.command.name} before it ended early"
                    left.append(job)
        for job in left:
            self._on_change(job, None)
        if left:  # what waits for one of these is left out, too
            self._leave_out()

    def _start(self, job: Job) -> None:
        with job.lock:
            job.started = time.time()
            try:
                job.child = Child(
                    job.command,
                    plan=job.is_plan,
                    folder=job.folder,
                    on_event=lambda event: self._event(job, event),
                    on_text=lambda text: self._text(job, text),
                    on_end=lambda code: self._end(job, code),
                )
                job.state = "running"
            except OSError as error:
                job.state, job.ended = "failed", time.time()
                job.message = f"{job.command.name}: can't be started ({error.strerror or error})"

    def _event(self, job: Job, event: Event) -> None:
        with job.lock:
            job.events.append(event)
            job.view.add(event)
        self._on_change(job, event)

    def _text(self, job: Job, text: str) -> None:
        with job.lock:
            job.log.append(text)
            extra = max(0, len(job.log) - _MOST_LINES)
            del job.log[:extra]
            job.dropped += extra
        self._on_change(job, text)

    def _end(self, job: Job, code: int) -> None:
        with job.lock:
            job.exit_code, job.ended = code, time.time()
            was_stopped = job.state == "stopping" or code == INTERRUPTED
            job.state = "stopped" if was_stopped else "done" if code == 0 else "failed"
            if job.view.summary is None:
                job.message = next((line for line in reversed(job.log) if "error:" in line), job.message)
        self._on_change(job, None)
        self._start_next()
