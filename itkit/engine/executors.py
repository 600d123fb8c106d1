"""Executors that run cases in this process or in worker processes; see `itkit.engine.dask_executor` for clusters.

An executor takes tasks and yields them with their results in any order: one task, or several small ones that ended
together. It starts a task when its memory fits.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from itkit.engine.lanes import thread_pool
from itkit.engine.resources import BASE_BYTES, available_cores, format_bytes
from itkit.engine.worker import ReadCase, Task, TaskResult, prepare_process, read_case, run_task
from itkit.io.disk import os_reason
from itkit.kernels.buffers import reused_buffers

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor
    from multiprocessing.context import BaseContext

    from itkit.engine.pool import Worker, WorkerDied

_STARTS_THREADS = ("torch", "cupy", "tensorflow", "PyQt6.QtCore", "PySide6.QtCore")
"""Modules that start threads which `threading` does not count."""

_AHEAD = 64
"""Tasks that are made before a worker is free."""
_SMALL_TASK_BYTES = 1 << 20
_BATCH_S = 0.03
"""Time for which small tasks are sent to a worker at once: a message costs a tenth of a millisecond."""
_MOST_IN_BATCH = 16


OnBegin = Callable[[Task], None]
"""Called when the work on a task begins."""

Results = Sequence[tuple[Task, TaskResult]]
"""Tasks that ended together, each with its result."""


def _ignore(task: Task) -> None:
    """Do nothing."""


class Executor(Protocol):
    """Runs tasks; closing the iterator early stops the running tasks."""

    def run(self, tasks: Iterable[Task]) -> Iterator[Results]:
        """Yield the tasks with their results."""
        ...


def too_large(task: Task, budget: int) -> TaskResult:
    """Return the failure of a case that does not fit into memory even alone."""
    case = task.job.case_id
    return TaskResult(
        "failed",
        f"{case}: needs about {format_bytes(task.nbytes + 2 * BASE_BYTES)} of memory; "
        f"this run may use {format_bytes(budget)}; raise --max-memory",
    )


def next_that_fits(waiting: deque[Task], running: Collection[Task], budget: int | None) -> Task | None:
    """Take the first waiting task whose memory fits beside the running tasks; if none runs, the first waiting task."""
    used = sum(task.nbytes + BASE_BYTES for task in running) + BASE_BYTES
    for task in waiting:
        if not running or budget is None or used + task.nbytes + BASE_BYTES <= budget:
            waiting.remove(task)
            return task
    return None


def is_small(task: Task) -> bool:
    """Whether a task needs so little memory that others may wait for the same worker; 0 is not known."""
    return 0 < task.nbytes <= _SMALL_TASK_BYTES and not task.is_retry


class Waiting:
    """Tasks that wait: a window of them is made ahead, so that a small one may pass a large one."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks = iter(tasks)
        self._window: deque[Task] = deque()
        self._has_more = True

    def _fill(self) -> None:
        while self._has_more and len(self._window) < _AHEAD:
            task = next(self._tasks, None)
            if task is None:
                self._has_more = False
            else:
                self._window.append(task)

    def __bool__(self) -> bool:
        self._fill()
        return bool(self._window)

    def at_least(self, most: int) -> int:
        """Return how many tasks wait, or ``most`` if there are more."""
        self._fill()
        return most if self._has_more else min(most, len(self._window))

    def first(self) -> Task:
        """Return the first task; it stays."""
        self._fill()
        return self._window[0]

    def take(self, running: Collection[Task], budget: int | None) -> Task | None:
        """Take the first task that `next_that_fits` finds."""
        self._fill()
        return next_that_fits(self._window, running, budget)

    def take_small(self, most: int) -> list[Task]:
        """Take up to some tasks from the front, as long as they are small (`is_small`)."""
        self._fill()
        found: list[Task] = []
        while len(found) < most and self._window and is_small(self._window[0]):
            found.append(self._window.popleft())
        return found

    def put_back(self, *tasks: Task) -> None:
        """Put tasks back to the front."""
        self._window.extendleft(reversed(tasks))

    def rest(self) -> Iterator[Task]:
        """Take all tasks."""
        while self:
            yield self._window.popleft()


class SerialExecutor:
    """Runs one case at a time in this process, on all cores; if memory allows, half of them read the next case."""

    def __init__(self, budget: int, on_begin: OnBegin = _ignore) -> None:
        self.budget = budget
        self.on_begin = on_begin

    def run(self, tasks: Iterable[Task]) -> Iterator[Results]:
        """Yield each task with its result."""
        ahead: Future[ReadCase] | None = None
        reader: ThreadPoolExecutor | None = None
        with contextlib.ExitStack() as stack:
            stack.enter_context(reused_buffers())
            for task, following in _with_next(tasks):
                read, ahead, share = ahead, None, task
                if task.nbytes + BASE_BYTES > self.budget:
                    yield [(task, too_large(task, self.budget))]
                    continue
                if task.threads > 1 and following is not None and self._fit(task, following):
                    reader = reader or stack.enter_context(_reader())
                    ahead = reader.submit(read_case, following, task.threads // 2)
                    share = replace(task, threads=task.threads - task.threads // 2)
                self.on_begin(task)
                result = run_task(share, None if read is None else read.result)
                read = None  # frees the voxels
                yield [(task, result)]

    def _fit(self, task: Task, following: Task) -> bool:
        """Whether the next case has voxels to read, and fits into memory beside this one."""
        return 0 < following.nbytes <= self.budget - task.nbytes - BASE_BYTES


def _reader() -> ThreadPoolExecutor:
    """Return a thread that reads; what it needs is imported before.

    An interrupt may leave Python's lock of imports with the main thread: it would wait for a thread that imports, and
    that one for the lock.
    """
    import itkit.io.sitk_toolkit  # noqa: F401

    return thread_pool(1)


def _with_next(tasks: Iterable[Task]) -> Iterator[tuple[Task, Task | None]]:
    """Yield each task with the one after it."""
    iterator = iter(tasks)
    task = next(iterator, None)
    while task is not None:
        following = next(iterator, None)
        yield task, following
        task = following


class ProcessExecutor:
    """Runs several cases at once, each in its own worker process, so that a dying process costs no other case."""

    def __init__(self, workers: int, budget: int, on_begin: OnBegin = _ignore) -> None:
        self.workers = workers
        self.budget = budget
        self.on_begin = on_begin

    def run(self, tasks: Iterable[Task]) -> Iterator[Results]:
        """Yield the tasks with their results; a case whose worker dies is tried once more, alone."""
        from itkit.engine.pool import UNSENDABLE, Worker, WorkerDied, ready  # multiprocessing with it

        waiting = Waiting(tasks)
        if not waiting:
            return
        suspects: deque[Task] = deque()
        idle: list[Worker] = []
        running: dict[Worker, deque[Task]] = {}
        pace = _Pace()
        ended: list[tuple[Task, TaskResult]] = []
        workers = max(1, waiting.at_least(self.workers))
        context = _context(waiting.first().operation.case.__module__)
        finished, is_due, cores = False, True, available_cores()
        try:
            while waiting or running or suspects or ended:
                while len(running) < workers:
                    task = waiting.take([max(queue, key=_need) for queue in running.values()], self.budget)
                    if task is None and not running and suspects:
                        task = suspects.popleft()
                    if task is None:
                        break
                    if task.nbytes + 2 * BASE_BYTES > self.budget:
                        ended.append((task, too_large(task, self.budget)))
                        continue
                    threads = max(1, cores // min(workers, waiting.at_least(workers) + len(running) + 1))
                    try:
                        worker = idle.pop() if idle else Worker(context, _start_worker)
                    except OSError as error:
                        if running:  # go on with those that there are
                            waiting.put_back(task)
                            workers = len(running)
                            break
                        message = f"{task.job.case_id}: no worker process can be started ({os_reason(error)})"
                        ended.append((task, TaskResult("failed", message)))
                        continue
                    batch = [task]
                    if is_small(task):
                        share = waiting.at_least(_AHEAD) // workers
                        batch += waiting.take_small(min(pace.batch(), share) - 1)
                    running[worker] = deque(batch)
                    try:
                        alone = len(batch) == 1
                        worker.give(*(replace(one, threads=threads, flushes=alone) for one in batch))
                    except UNSENDABLE as error:  # none was sent
                        del running[worker]
                        idle.append(worker)
                        pace.go_alone(len(batch))
                        if len(batch) > 1:
                            waiting.put_back(*batch)
                            continue
                        message = f"{task.job.case_id}: can't be sent to a worker process ({error})"
                        ended.append((task, TaskResult("failed", message)))
                    else:
                        self.on_begin(task)
                if ended and is_due:  # workers already have their next cases, so none waits while results are handled
                    yield ended
                    ended = []
                found = ready(running, _BATCH_S if ended else None) if running else []
                is_due = not found
                for worker in found:
                    queue = running[worker]
                    task = queue[0]
                    try:
                        result = worker.take()
                        queue.popleft()
                        ended.append((task, result))
                        if queue:
                            self.on_begin(queue[0])
                        else:
                            idle.append(worker)
                            del running[worker]
                            is_due = True
                        if is_small(task):
                            pace.note(result.took_s)
                    except WorkerDied as death:
                        del running[worker]
                        is_due = True
                        worker.join()
                        waiting.put_back(*list(queue)[1:])  # they had not begun
                        if task.is_retry:
                            ended.append((task, TaskResult("failed", f"{task.job.case_id}: {_death(death)}")))
                        else:
                            suspects.append(replace(task, is_retry=True))
            finished = True
        finally:
            for worker in (*idle, *running):
                worker.dismiss(at_once=not finished)
            for worker in (*idle, *running):
                worker.join()


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
