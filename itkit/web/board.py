"""The jobs of a server: those that run, those that ended, also before it was started."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from itkit.core.bounded import parse_json, read_bounded, read_lines
from itkit.core.errors import ItkitError, TooManyError
from itkit.forms.command import Command
from itkit.forms.progress import RunView
from itkit.forms.queue import Job, JobQueue
from itkit.io.disk import write_text
from itkit.io.json_files import json_line, write_json
from itkit.serving.paths import Root
from itkit.web.found import runs_below

MOST_ACTIVE = 50
_MOST_PLANS = 4
_MOST_KEPT = 200
_MOST_EVENT_BYTES = 32 << 20
_LOG_LINES = 2000


@dataclass
class Past:
    """A job that ended before this server was started: what was kept of it."""

    id: str
    facts: dict[str, Any]
    events: list[dict[str, Any]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def view(self) -> RunView:
        """Return what its events amount to."""
        view = RunView()
        for event in self.events:
            view.add(event)
        return view


class Board:
    """All jobs that a server knows, by id.

    Parameters
    ----------
    root
        The folder below which they work.
    at_once
        How many run at once.
    state
        Folder where ended jobs are kept; by default one of this user for this root. Without one that can be written,
        only manifests remember them.
    """

    def __init__(self, root: Root, *, at_once: int = 1, state: Path | None = None) -> None:
        self.root = root
        self.changes = Changes()
        self._state = _state_folder(root) if state is None else state
        self._ids: dict[int, str] = {}
        self._requests: dict[int, dict[str, Any]] = {}
        self._past: dict[str, Past] = {}
        self._lock = threading.RLock()
        self._queue = JobQueue(at_once=at_once, on_change=self._changed)
        self._remember()
        self._search = threading.Thread(target=self._find_runs, daemon=True)
        self._search.start()

    def add(
        self,
        command: Command,
        *,
        plan: bool = False,
        params: Mapping[str, Any],
        options: Mapping[str, Any],
        after: str = "",
    ) -> str:
        """Add a job, one that waits for the end of another one if ``after`` names it; return its id.

        Raises
        ------
        TooManyError
            When too many are waiting or running.
        """
        with self._lock:
            active = self._queue.active()
            if len(active) >= MOST_ACTIVE or (plan and sum(job.is_plan for job in active) >= _MOST_PLANS):
                raise TooManyError(f"{len(active)} jobs wait or run; try again when one has ended, or stop one")
            before = self.find(after) if after else None
            before = before if isinstance(before, Job) else None
            job = self._queue.add(command, plan=plan, folder=self.root.folder, after=before)
            self._requests[job.id] = {"params": dict(params), "options": dict(options)}
            self._save(job)
            return self._id_of(job)

    def require_room(self, count: int) -> None:
        """Refuse a chain of which a part alone could be added.

        Raises
        ------
        TooManyError
            When it would make more jobs than may wait or run.
        """
        active = len(self._queue.active())
        if active + count > MOST_ACTIVE:
            raise TooManyError(f"{active} jobs wait or run, and {count} are to be added; {MOST_ACTIVE} are the most")

    def find(self, name: str) -> Job | Past | None:
        """Return a job by its id."""
        with self._lock:
            number = next((number for number, known in self._ids.items() if known == name), None)
            return self._past.get(name) if number is None else self._queue.jobs.get(number)

    def all(self) -> list[dict[str, Any]]:
        """Return the facts of all jobs, the newest first; plans are left out."""
        with self._lock:
            own = [self.facts(job) for job in list(self._queue.jobs.values()) if not job.is_plan]
            known = {item["job"] for item in own}
            past = [item.facts for item in self._past.values() if item.id not in known]
        return sorted([*own, *past], key=lambda item: item["added"], reverse=True)

    def facts(self, job: Job | Past) -> dict[str, Any]:
        """Return the state of a job as values that JSON can hold."""
        if isinstance(job, Past):
            return job.facts
        request = self._requests.get(job.id, {"params": {}, "options": {}})
        return {**job.as_json(), "job": self._id_of(job), **request}

    def stop(self, job: Job | Past) -> None:
        """Stop a job; one that has ended stays as it is."""
        if isinstance(job, Job):
            self._queue.stop(job)

    def close(self) -> None:
        """Stop all jobs as Ctrl-C would, and wait for their ends."""
        self._queue.close()

    def _id_of(self, job: Job) -> str:
        with self._lock:
            if job.id not in self._ids:
                stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(job.added))
                self._ids[job.id] = f"{stamp}-{secrets.token_hex(3)}"
            return self._ids[job.id]

    def _changed(self, job: Job, what: object) -> None:
        if what is None and not job.is_plan:
            with self._lock:  # `add` has to note the request first
                self._save(job)
        self.changes.notify(self._id_of(job))

    def _save(self, job: Job) -> None:
        """Write a job down, at its start and at its end; its events at the end."""
        if self._state is None or job.is_plan or job.state in ("waiting", "stopping"):
            return
        path = self._state / f"{self._id_of(job)}.json"
        with contextlib.suppress(ItkitError, OSError):  # a full disk: the manifest still tells
            with job.lock:
                lines, log = list(map(json_line, job.events)), job.log[-_LOG_LINES:]
            if job.is_over and sum(map(len, lines)) <= _MOST_EVENT_BYTES:
                write_text(path.with_suffix(".jsonl"), "".join(f"{line}\n" for line in lines))
            write_json(path, {**self.facts(job), "log": log})

    def _remember(self) -> None:
        """Read what earlier servers have written down; the oldest is forgotten."""
        if self._state is None:
            return
        paths = sorted(self._state.glob("*.json"), reverse=True)
        for path in paths[_MOST_KEPT:]:
            with contextlib.suppress(OSError):
                path.with_suffix(".jsonl").unlink(missing_ok=True)
                path.unlink()
        for path in paths[:_MOST_KEPT]:
            past = _past_in(path)
            if past is not None:
                self._past[past.id] = past

    def _find_runs(self) -> None:
        """Add runs that only manifests tell of, e.g. those of the command line."""
        with self._lock:
            known = {(item.facts["dest"], item.facts["operation"]) for item in self._past.values()}
        for run in runs_below(self.root.folder):
            if (run.dest, run.operation) in known:
                continue
            past = Past(run.id, run.facts(), run.events())
            with self._lock:
                self._past.setdefault(past.id, past)

    def wait_for_search(self) -> None:
        """Wait until the manifests below the root have been looked for."""
        self._search.join()


def _past_in(path: Path) -> Past | None:
    try:
        facts = parse_json(read_bounded(path))
        events = [parse_json(line) for line in read_lines(path.with_suffix(".jsonl"))]
    except FileNotFoundError:
        events = []
    except (OSError, ValueError):
        return None
    if not isinstance(facts, dict) or not {"job", "operation", "state", "added", "dest"} <= facts.keys():
        return None
    if facts["state"] == "running":
        facts |= {"state": "stopped", "message": "the server ended before this job; run it again to go on"}
    log = [str(line) for line in facts.pop("log", [])]
    return Past(path.stem, {**facts, "job": path.stem}, [event for event in events if isinstance(event, dict)], log)


def _state_folder(root: Root) -> Path | None:
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    folder = base / "itkit" / "web" / hashlib.sha256(os.fsencode(root.folder)).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


class Changes:
    """Wakes coroutines when threads say that something has changed."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = {}
        self._lock = threading.Lock()

    def notify(self, name: str) -> None:
        """Wake all that wait for a name; any thread may call it."""
        with self._lock:
            waiting = list(self._waiting.get(name, ()))
        for loop, event in waiting:
            with contextlib.suppress(RuntimeError):  # its loop has ended meanwhile
                loop.call_soon_threadsafe(event.set)

    @contextlib.contextmanager
    def watch(self, name: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set at each change, to be cleared by the one who waits."""
        entry = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiting.setdefault(name, set()).add(entry)
        try:
            yield entry[1]
        finally:
            with self._lock:
                self._waiting[name].discard(entry)
                if not self._waiting[name]:
                    del self._waiting[name]


def lines_of(job: Job | Past, events_from: int, log_from: int) -> tuple[Sequence[Mapping[str, Any]], Sequence[str]]:
    """Return the events and lines of a job from given numbers on."""
    if isinstance(job, Past):
        return job.events[events_from:], job.log[log_from:]
    with job.lock:
        return job.events[events_from:], job.log[log_from:]


def is_over(job: Job | Past) -> bool:
    """Return whether a job has ended."""
    return isinstance(job, Past) or job.is_over
