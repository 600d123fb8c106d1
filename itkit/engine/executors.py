"""Executors: what they share, and the one that runs cases in this process.

See `itkit.engine.process_executor` for worker processes and `itkit.engine.dask_executor` for clusters.

An executor takes tasks and yields them with their results in any order: one task, or several small ones that ended
together. It starts a task when its memory fits.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from itkit.engine.lanes import thread_pool
from itkit.engine.needs import SMALL_TASK_BYTES
from itkit.engine.resources import BASE_BYTES, format_bytes
from itkit.engine.worker import ReadCase, Task, TaskResult, read_case, run_task
from itkit.kernels.buffers import reused_buffers

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_AHEAD, _LARGE_AHEAD = 256, 64
"""Tasks that are made before a worker is free; fewer where they are large, for their headers are read then."""


OnBegin = Callable[[Task], None]
"""Called when the work on a task begins."""

Results = Sequence[tuple[Task, TaskResult]]
"""Tasks that ended together, each with its result."""


def no_event(task: Task) -> None:
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
    return 0 < task.nbytes <= SMALL_TASK_BYTES and not task.is_retry


class Waiting:
    """Tasks that wait: a window of them is made ahead, so that a small one may pass a large one."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks = iter(tasks)
        self._window: deque[Task] = deque()
        self._has_more = True

    def _fill(self) -> None:
        while self._has_more and len(self._window) < self._most_ahead():
            task = next(self._tasks, None)
            if task is None:
                self._has_more = False
            else:
                self._window.append(task)

    def _most_ahead(self) -> int:
        return _AHEAD if not self._window or is_small(self._window[-1]) else _LARGE_AHEAD

    def __bool__(self) -> bool:
        self._fill()
        return bool(self._window)

    def at_least(self, most: int) -> int:
        """Return how many tasks wait, or ``most`` if there are more."""
        self._fill()
        return most if self._has_more else min(most, len(self._window))

    def share(self, workers: int) -> int:
        """Return how many small tasks a worker may take at once, so that there are some for the others."""
        self._fill()
        return _AHEAD if self._has_more else len(self._window) // workers

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

    def __init__(self, budget: int, on_begin: OnBegin = no_event) -> None:
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
