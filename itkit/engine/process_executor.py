"""Run several cases at once, each in its own worker process, so that a dying process costs no other case."""

from __future__ import annotations

import signal
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from itkit.engine.executors import OnBegin, Results, Waiting, is_small, no_event, too_large
from itkit.engine.pool import UNSENDABLE, Worker, WorkerDied, ready
from itkit.engine.resources import BASE_BYTES, available_cores
from itkit.engine.worker import TOO_LARGE, Task, TaskResult, prepare_process
from itkit.io.disk import os_reason

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

_STARTS_THREADS = ("torch", "cupy", "tensorflow", "PyQt6.QtCore", "PySide6.QtCore")
"""Modules that start threads which `threading` does not count."""
_BATCH_S = 0.2
"""Time for which small tasks are sent to a worker at once.

A message costs a tenth of a millisecond; waiting for the disk costs as much for many files as for a few.
"""
_MOST_IN_BATCH = 64
_PATIENCE_S = 0.03
"""Time for which results are kept back while more of them come in."""
_MOST_FILES = 4096
"""Files of results that are kept back: what is known of each of them lies in memory."""


class ProcessExecutor:
    """Runs several cases at once; a case whose worker dies is tried once more, alone."""

    def __init__(self, workers: int, budget: int, on_begin: OnBegin = no_event) -> None:
        self.workers = workers
        self.budget = budget
        self.on_begin = on_begin

    def run(self, tasks: Iterable[Task]) -> Iterator[Results]:
        """Yield the tasks with their results."""
        waiting = Waiting(tasks)
        if waiting:
            yield from _Run(self, waiting).results()


class _Run:
    """The tasks of a run that wait, run and have ended, and the workers."""

    def __init__(self, executor: ProcessExecutor, waiting: Waiting) -> None:
        self.budget, self.on_begin, self.waiting = executor.budget, executor.on_begin, waiting
        self.workers = max(1, waiting.at_least(executor.workers))
        self.cores = available_cores()
        self.context = _context(waiting.first().operation.case.__module__)
        self.pace = _Pace()
        self.suspects: deque[Task] = deque()
        """Tasks at which a worker died."""
        self.idle: list[Worker] = []
        self.running: dict[Worker, deque[Task]] = {}
        self.ended: list[tuple[Task, TaskResult]] = []
        self.is_due = True
        """Whether those who wait for results get them now; till then, more of them may be handled together."""

    def results(self) -> Iterator[Results]:
        """Yield tasks that ended together; workers have their next cases already, so none waits meanwhile."""
        finished = False
        try:
            while self.waiting or self.running or self.suspects or self.ended:
                while len(self.running) < self.workers and (task := self._next()) is not None:
                    self._start(task)
                if self.ended and self.is_due:
                    ended, self.ended = self.ended, []
                    yield ended
                found = ready(self.running, _PATIENCE_S if self.ended else None) if self.running else []
                self.is_due = not found
                for worker in found:
                    self._take(worker)
                if sum(len(result.files) for _, result in self.ended) > _MOST_FILES:
                    self.is_due = True
            finished = True
        finally:
            for worker in (*self.idle, *self.running):
                worker.dismiss(at_once=not finished)
            for worker in (*self.idle, *self.running):
                worker.join()

    def _next(self) -> Task | None:
        task = self.waiting.take([max(queue, key=_need) for queue in self.running.values()], self.budget)
        if task is None and not self.running and self.suspects:
            return self.suspects.popleft()
        return task

    def _start(self, task: Task) -> None:
        """Give a task to a worker and, if it is small, others with it."""
        if task.nbytes + 2 * BASE_BYTES > self.budget:
            self.ended.append((task, too_large(task, self.budget)))
            return
        threads = max(1, self.cores // self._sharers())
        try:
            worker = self.idle.pop() if self.idle else Worker(self.context, _start_worker)
        except OSError as error:
            if self.running:  # go on with those that there are
                self.waiting.put_back(task)
                self.workers = len(self.running)
            else:
                self._fail(task, f"no worker process can be started ({os_reason(error)})")
            return
        batch = [task]
        if is_small(task):
            batch += self.waiting.take_small(min(self.pace.batch(), self.waiting.share(self.workers)) - 1)
        self.running[worker] = deque(batch)
        try:
            alone = len(batch) == 1
            worker.give(*(replace(one, threads=threads, flushes=alone) for one in batch))
        except UNSENDABLE as error:  # none was sent
            del self.running[worker]
            self.idle.append(worker)
            self.pace.go_alone(len(batch))
            if alone:
                self._fail(task, f"can't be sent to a worker process ({error})")
            else:
                self.waiting.put_back(*batch)
        else:
            self.on_begin(task)

    def _sharers(self) -> int:
        """Return how many workers share the cores when one more has started."""
        return min(self.workers, self.waiting.at_least(self.workers) + len(self.running) + 1)

    def _take(self, worker: Worker) -> None:
        """Take the next result of a worker, or what its death leaves."""
        queue = self.running[worker]
        task = queue[0]
        try:
            result = worker.take()
        except WorkerDied as death:
            del self.running[worker]
            self.is_due = True
            worker.join()
            self.waiting.put_back(*list(queue)[1:])  # they had not begun
            if task.is_retry:
                self._fail(task, _death(death))
            else:
                self.suspects.append(replace(task, is_retry=True))
            return
        queue.popleft()
        if queue:
            self.on_begin(queue[0])
        else:
            self.idle.append(worker)
            del self.running[worker]
            self.is_due = True
        if result.status == TOO_LARGE:
            self.waiting.put_back(replace(task, nbytes=result.needs_bytes, needs=None))
            return
        self.ended.append((task, result))
        if is_small(task):
            self.pace.note(result.took_s)

    def _fail(self, task: Task, reason: str) -> None:
        self.ended.append((task, TaskResult("failed", f"{task.job.case_id}: {reason}")))


def _need(task: Task) -> int:
    return task.nbytes


class _Pace:
    """How long small tasks take, and how many of them are sent at once."""

    def __init__(self) -> None:
        self._usual_s = _BATCH_S
        self._alone = 0

    def go_alone(self, number: int) -> None:
        """Send the next tasks one by one, for one of them can't be sent."""
        self._alone = max(self._alone, number)

    def note(self, took_s: float) -> None:
        """Learn from a task."""
        self._usual_s += (took_s - self._usual_s) / 4

    def batch(self) -> int:
        """Return how many tasks to send at once now."""
        if self._alone:
            self._alone -= 1
            return 1
        return max(1, min(_MOST_IN_BATCH, int(_BATCH_S / max(self._usual_s, 1e-6))))


def _death(death: WorkerDied) -> str:
    code = death.code
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        cause = "; most often the system was out of memory" if -code == signal.SIGKILL else ""
        return f"its worker process was killed twice ({name}{cause})"
    return f"its worker process died twice ({death})"


def _context(operation_module: str) -> BaseContext:
    """Return how to start workers: fork this process if it has one thread, else a clean server; elsewhere spawn.

    A fork while another thread holds a lock would leave the lock taken forever. The server must import everything once
    more, which takes as long as one or two CT cases.
    """
    import multiprocessing

    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    modules = [operation_module, "itkit.io.sitk_toolkit", "itkit.kernels"]
    if threading.active_count() == 1 and sys.modules.keys().isdisjoint(_STARTS_THREADS):
        for module in modules:
            import_module(module)
        return multiprocessing.get_context("fork")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["itkit.engine.pool", *modules])
    return context


def _start_worker() -> None:
    prepare_process()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
