"""Run cases on a Dask cluster: one that the run starts itself, or a running one that sees the same files.

When a worker dies, Dask repeats its task again and again, even if the task killed it. A task therefore sets a mark on
the scheduler when it begins. If a task finds its mark already set, an earlier worker died of it, and it returns
``None`` instead of running.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
import uuid
from collections import Counter, deque
from concurrent import futures
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from itkit.engine.dask_cluster import connect, distributed, own_cluster, require_scheduler, silence
from itkit.engine.dask_worker import MEMORY, Errand, run_errand
from itkit.engine.executors import Waiting, too_large
from itkit.engine.resources import BASE_BYTES, format_bytes
from itkit.engine.worker import Task, TaskResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from itkit.engine.executors import Results

    Future = Any
    Client = Any

NO_WORKER_S = 300.0
"""How long a run waits for a worker while the cluster has none."""
ANSWER_S = 120.0
"""How long a run waits for an answer of a scheduler that is there but silent: it hangs, or its machine has gone."""
_SPARE = 2
"""Tasks that a running cluster gets beyond its number of threads, so that a free thread has a task at once. Workers of
our own get none: if a task kills its worker, a result that still waits there to be fetched is lost."""
_LOOK_S = 0.5
_UNANSWERED = (OSError, asyncio.TimeoutError, asyncio.CancelledError, futures.CancelledError)
"""Errors that are raised when a scheduler does not answer or has ended."""
_log = logging.getLogger(__name__)


class DaskExecutor:
    """Runs cases on the Dask cluster at a scheduler's address, or on worker processes of this machine."""

    def __init__(self, address: str | None, workers: int, budget: int) -> None:
        self._distributed = distributed()
        self._address = address
        self._workers = workers
        self._budget = budget if address is None else None
        if address is not None:
            with silence():
                require_scheduler(address)

    def run(self, tasks: Iterable[Task]) -> Iterator[Results]:
        """Yield each task with its result; a case whose worker dies is tried once more, alone."""
        waiting = Waiting(tasks)
        if not waiting:
            return
        workers = max(1, waiting.at_least(self._workers))
        with silence(), connect(self._address) if self._address else own_cluster(workers) as client:
            for result in _Run(self._distributed, client, waiting, workers, self._budget).results():
                yield [result]


class _Run:
    """One run's tasks on a cluster."""

    def __init__(self, distributed: Any, client: Client, waiting: Waiting, workers: int, budget: int | None) -> None:
        self.distributed = distributed
        self.client = client
        self.waiting = waiting
        self.workers = workers
        self.budget = budget
        self.suspects: deque[Task] = deque()
        self.running: dict[Future, tuple[Task, str]] = {}
        self.fatal: list[str] = []
        """Marks of tasks that killed their workers."""
        self.name = uuid.uuid4().hex
        self.threads: dict[str, int] = {}
        self.memory: list[float] = []
        """Bytes of memory of each worker; empty unless every worker states its own as a resource."""
        self.next_look = 0.0
        self.seen = time.monotonic()
        """Last time at which the cluster had a worker."""
        self.has_warned = False
        self.is_silent = False
        """Whether the scheduler has not answered; it would not answer to what else it is asked either."""

    def results(self) -> Iterator[tuple[Task, TaskResult]]:
        """Submit tasks as threads and memory allow, and yield results."""
        try:
            while self.waiting or self.running or self.suspects:
                threads = self._threads()
                lost = self._lost(threads)
                if lost is not None:
                    yield from self._give_up(lost)
                    return
                yield from self._hand_out(threads or {})
                yield from self._gather()
        finally:
            with contextlib.suppress(*_UNANSWERED):
                self._leave()

    def _leave(self) -> None:
        if self.client.status == "running" and not self.is_silent:
            self.client.cancel([*self.running], force=True)
            for mark in self.fatal:
                self.distributed.Event(mark, client=self.client).clear()

    def _threads(self) -> dict[str, int] | None:
        """Return the number of threads of each worker, at most a moment old; ``None`` if no scheduler answers."""
        if self.client.status != "running":
            return None
        if time.monotonic() >= self.next_look:
            try:
                found = self.client.sync(self.client.scheduler.identity, callback_timeout=ANSWER_S)
            except _UNANSWERED:
                self.is_silent = True
                return None
            workers = found["workers"]
            self.threads = {address: worker["nthreads"] for address, worker in workers.items()}
            stated = [worker.get("resources", {}).get(MEMORY) for worker in workers.values()]
            self.memory = stated if self.budget is None and all(stated) else []
            self.next_look = time.monotonic() + _LOOK_S
        return self.threads

    def _hand_out(self, threads: Mapping[str, int]) -> Iterator[tuple[Task, TaskResult]]:
        limit = self.workers if self.budget is not None else sum(threads.values()) + _SPARE
        while len(self.running) < limit:
            used = [task for task, _ in self.running.values()]
            task = self.waiting.take(used, self.budget)
            if task is None and not self.running and self.suspects:
                task = self.suspects.popleft()
            if task is None:
                return
            if self.budget is not None and task.nbytes + 2 * BASE_BYTES > self.budget:
                yield task, too_large(task, self.budget)
                continue
            most = max(self.memory, default=0)
            if most and task.nbytes + BASE_BYTES > most:
                yield task, TaskResult("failed", f"{task.job.case_id}: {_no_worker(task, most)}")
                continue
            mark = f"{task.operation.name}-{self.name}-{task.job.case_id}{'-again' if task.is_retry else ''}"
            errand = Errand(mark, self._sharers(threads), is_own=self.budget is not None)
            needed = {MEMORY: task.nbytes + BASE_BYTES} if most else None
            future = self.client.submit(run_errand, task, errand, key=mark, resources=needed)
            self.running[future] = task, mark

    def _sharers(self, threads: Mapping[str, int]) -> int:
        if self.budget is not None:
            return min(self.workers, self.waiting.at_least(self.workers) + len(self.running) + 1)
        machines: Counter[str] = Counter()
        for address, count in threads.items():
            machines[address.rpartition(":")[0]] += count
        return max(machines.values(), default=sys.maxsize)  # without workers yet: each task gets one thread

    def _gather(self) -> Iterator[tuple[Task, TaskResult]]:
        if not self.running:
            return
        with contextlib.suppress(*_UNANSWERED), self.client.as_current():
            self.distributed.wait([*self.running], timeout=_LOOK_S, return_when="FIRST_COMPLETED")
        for future in [future for future in self.running if future.done()]:
            task, mark = self.running.pop(future)
            result = self._result(future, task)
            future.release()  # otherwise Dask would repeat the task if the worker that keeps the result dies
            if result is None:
                self.fatal.append(mark)
            if result is None and not task.is_retry:
                self.suspects.append(replace(task, is_retry=True))
            else:
                message = "its Dask worker died twice (killed, or out of memory; see the worker's log)"
                yield task, result or TaskResult("failed", f"{task.job.case_id}: {message}")

    def _result(self, future: Future, task: Task) -> TaskResult | None:
        """Return a task's result, or ``None`` if its worker died."""
        case = task.job.case_id
        try:
            error = future.exception()
            if error is None:
                result: TaskResult | None = future.result(timeout=ANSWER_S)
                return result
        except _UNANSWERED:
            return TaskResult("failed", f"{case}: the Dask scheduler has cancelled it, or has gone")
        if isinstance(error, self.distributed.scheduler.KilledWorker):
            return None
        error = getattr(error, "__cause__", None) or error
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        message = f"the Dask cluster can't run it ({reason}); scheduler and workers need the same packages as this run"
        return TaskResult("failed", f"{case}: {message}")

    def _lost(self, threads: Mapping[str, int] | None) -> str | None:
        """Return why no more results can come; ``None`` as long as they can."""
        if threads is None:
            return "the Dask scheduler has gone"
        now = time.monotonic()
        if threads:
            self.seen, self.has_warned = now, False
        elif not self.has_warned:
            self.has_warned = True
            _log.warning("the Dask cluster has no worker; waiting for one")
        elif now - self.seen > NO_WORKER_S:
            return f"the Dask cluster has had no worker for {NO_WORKER_S:g} s"
        return None

    def _give_up(self, reason: str) -> Iterator[tuple[Task, TaskResult]]:
        for task in chain([task for task, _ in self.running.values()], self.suspects, self.waiting.rest()):
            yield task, TaskResult("failed", f"{task.job.case_id}: {reason}")


def _no_worker(task: Task, most: float) -> str:
    return (
        f"needs about {format_bytes(task.nbytes + BASE_BYTES)} of memory; a worker of the Dask cluster has at most "
        f"{format_bytes(most)}; start one with more (dask worker --resources {MEMORY}=BYTES)"
    )
