"""Cases on a Dask cluster: one that the run starts for itself, or one that runs already and sees the same files.

Dask repeats on its own what a dead worker was at, again and again, whatever killed it. A task therefore leaves a mark
with the scheduler when it begins: one that finds its mark set has cost a worker its life, and says so instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
import uuid
from collections import Counter, deque
from concurrent import futures
from dataclasses import dataclass, field, replace
from importlib import import_module
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from itkit.core.errors import ParamsError, ResourceError
from itkit.core.extras import require
from itkit.core.version import VERSION
from itkit.engine.executors import next_that_fits, too_large
from itkit.engine.lanes import thread_pool
from itkit.engine.resources import BASE_BYTES, available_cores
from itkit.engine.worker import Task, TaskResult, run_task
from itkit.kernels.buffers import keep_freed_memory, reuse_buffers, reused_buffers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    Future = Any
    Client = Any

CONNECT_S = 10.0
"""How long a scheduler may take to answer."""
CLOSE_S = 5.0
"""How long the end of our own cluster may take."""
NO_WORKER_S = 300.0
"""How long a run waits for a worker where a cluster has none."""
_SPARE = 2
"""Tasks beyond the threads of a running cluster, for a thread that gets free; workers of our own have none: a result
that waits to be fetched is lost when the next task kills its worker."""
_LOOK_S = 0.5
_UNANSWERED = (OSError, asyncio.TimeoutError, asyncio.CancelledError, futures.CancelledError)
"""What a scheduler's silence or end raises."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Errand:
    """What goes to a worker beside its task."""

    mark: str
    sharers: int
    """Tasks that may share the cores of the worker's machine."""
    is_own: bool
    """Whether the worker does nothing but this run."""
    version: str = field(default_factory=lambda: VERSION)


class DaskExecutor:
    """Cases on a Dask cluster: that of a scheduler's address, or one of worker processes on this machine."""

    def __init__(self, address: str | None, workers: int, budget: int) -> None:
        self._distributed = require("distributed", extra="dask", why="--executor dask")
        self._address = address
        self._workers = workers
        self._budget = budget if address is None else None
        if address is not None:
            with _silence():
                _require_scheduler(address)

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, TaskResult]]:
        """Yield each task with its result; a case whose worker dies is tried once more, alone."""
        waiting = deque(tasks)
        if not waiting:
            return
        workers = max(1, min(self._workers, len(waiting)))
        with _silence(), self._client(self._address) if self._address else self._own_cluster(workers) as client:
            yield from _Run(self._distributed, client, waiting, workers, self._budget).results()

    def _client(self, address: str) -> Client:
        try:
            return self._distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, asyncio.TimeoutError) as error:
            raise _unreachable(address, error) from error

    @contextlib.contextmanager
    def _own_cluster(self, workers: int) -> Iterator[Client]:
        """Start workers, one process each, that live as long as the block; what they are at when it ends is cut off."""
        import dask

        with (
            tempfile.TemporaryDirectory(prefix="itkit-dask-", ignore_cleanup_errors=True) as scratch,
            dask.config.set(
                {
                    "distributed.nanny.pre-spawn-environ": {},  # it would stay in this process
                    "distributed.comm.timeouts.connect": f"{CONNECT_S:g}s",  # to fetch what a dead worker has
                }
            ),
        ):
            try:
                with _no_interruption():
                    cluster = self._distributed.LocalCluster(
                        n_workers=workers,
                        threads_per_worker=1,
                        scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},  # None is port 8787
                        memory_limit=0,  # cases are admitted by memory: nobody is to stop or kill a worker for it
                        local_directory=scratch,
                        silence_logs=logging.CRITICAL,
                        preload=__name__,
                    )
            except (OSError, RuntimeError, asyncio.TimeoutError) as error:
                raise ResourceError(f"--executor dask: its workers can't be started ({error})") from error
            try:
                with self._client(cluster.scheduler_address) as client:
                    yield client
            except BaseException:
                _kill_workers(cluster)
                raise
            finally:
                with contextlib.suppress(asyncio.TimeoutError):  # Dask before 2026 may wait for a killed one forever
                    cluster.close(timeout=CLOSE_S)


def _require_scheduler(address: str) -> None:
    """Make sure that a scheduler answers: a client that finds none can't be closed without noise."""
    comms: Any = import_module("distributed.comm")
    security: Any = import_module("distributed.security").Security()

    async def knock() -> None:
        comm = await comms.connect(address, timeout=CONNECT_S, **security.get_connection_args("client"))
        await comm.close()

    try:
        with thread_pool(1) as pool:  # this thread may run a loop of its own
            pool.submit(asyncio.run, knock()).result()
    except (OSError, ValueError, RuntimeError, asyncio.TimeoutError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> ParamsError:
    reason = " ".join(str(error).split()) or "no answer"
    return ParamsError(f"--dask {address}: no Dask scheduler can be reached there ({reason})")


class _Run:
    """One run's tasks on a cluster."""

    def __init__(
        self, distributed: Any, client: Client, waiting: deque[Task], workers: int, budget: int | None
    ) -> None:
        self.distributed = distributed
        self.client = client
        self.waiting = waiting
        self.workers = workers
        self.budget = budget
        self.suspects: deque[Task] = deque()
        self.running: dict[Future, tuple[Task, str]] = {}
        self.fatal: list[str] = []
        """Marks of tasks that workers died of."""
        self.name = uuid.uuid4().hex
        self.threads: dict[str, int] = {}
        self.next_look = 0.0
        self.seen = time.monotonic()
        """When there was a worker last."""
        self.has_warned = False

    def results(self) -> Iterator[tuple[Task, TaskResult]]:
        """Hand out tasks as threads and memory allow, and yield what ends."""
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
        if self.client.status == "running":
            self.client.cancel([*self.running], force=True)
            for mark in self.fatal:
                self.distributed.Event(mark, client=self.client).clear()

    def _threads(self) -> dict[str, int] | None:
        """Return the threads of each worker, a moment old at most; ``None`` where no scheduler answers."""
        if self.client.status != "running":
            return None
        if time.monotonic() >= self.next_look:
            try:
                self.threads = self.client.nthreads()
            except _UNANSWERED:
                return None
            self.next_look = time.monotonic() + _LOOK_S
        return self.threads

    def _hand_out(self, threads: Mapping[str, int]) -> Iterator[tuple[Task, TaskResult]]:
        limit = self.workers if self.budget is not None else sum(threads.values()) + _SPARE
        while len(self.running) < limit:
            used = [task for task, _ in self.running.values()]
            task = next_that_fits(self.waiting, used, self.budget) if self.waiting else None
            if task is None and not self.running and self.suspects:
                task = self.suspects.popleft()
            if task is None:
                return
            if self.budget is not None and task.nbytes + 2 * BASE_BYTES > self.budget:
                yield task, too_large(task, self.budget)
                continue
            mark = f"{task.operation.name}-{self.name}-{task.job.case_id}{'-again' if task.is_retry else ''}"
            errand = _Errand(mark, self._sharers(threads), is_own=self.budget is not None)
            future = self.client.submit(run_errand, task, errand, key=mark)
            self.running[future] = task, mark

    def _sharers(self, threads: Mapping[str, int]) -> int:
        if self.budget is not None:
            return min(self.workers, len(self.waiting) + len(self.running) + 1)
        machines: Counter[str] = Counter()
        for address, count in threads.items():
            machines[address.rpartition(":")[0]] += count
        return max(machines.values(), default=sys.maxsize)  # one thread, where nobody knows who will do it

    def _gather(self) -> Iterator[tuple[Task, TaskResult]]:
        if not self.running:
            return
        with contextlib.suppress(*_UNANSWERED), self.client.as_current():
            self.distributed.wait([*self.running], timeout=_LOOK_S, return_when="FIRST_COMPLETED")
        for future in [future for future in self.running if future.done()]:
            task, mark = self.running.pop(future)
            result = self._result(future, task)
            future.release()  # or Dask would do it once more when the worker that keeps the result dies
            if result is None:
                self.fatal.append(mark)
            if result is None and not task.is_retry:
                self.suspects.append(replace(task, is_retry=True))
            else:
                message = "its Dask worker died twice (killed, or out of memory; see the worker's log)"
                yield task, result or TaskResult("failed", f"{task.job.case_id}: {message}")

    def _result(self, future: Future, task: Task) -> TaskResult | None:
        """Return a task's result, or ``None`` where its worker died."""
        case = task.job.case_id
        try:
            error = future.exception()
            if error is None:
                result: TaskResult | None = future.result()
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
        """Say why no task will end any more, if so."""
        if threads is None:
            return "the Dask scheduler has gone"
        now = time.monotonic()
        if threads:
            self.seen, self.has_warned = now, False
        elif now - self.seen > NO_WORKER_S:
            return f"the Dask cluster has had no worker for {NO_WORKER_S:g} s"
        elif not self.has_warned:
            self.has_warned = True
            _log.warning("the Dask cluster has no worker; waiting for one")
        return None

    def _give_up(self, reason: str) -> Iterator[tuple[Task, TaskResult]]:
        tasks = [*(task for task, _ in self.running.values()), *self.suspects, *self.waiting]
        for task in tasks:
            yield task, TaskResult("failed", f"{task.job.case_id}: {reason}")


def run_errand(task: Task, errand: _Errand) -> TaskResult | None:
    """Do one case on a Dask worker; ``None`` when an earlier worker died of it."""
    distributed: Any = import_module("distributed")
    case = task.job.case_id
    if errand.version != VERSION:
        message = f"the Dask worker on {socket.gethostname()} has itkit {VERSION}, this is {errand.version}"
        return TaskResult("failed", f"{case}: {message}; install the same on both")
    run_folder = None if task.stage is None else task.stage.parent
    if run_folder is not None and not _is_open(run_folder):
        message = f"the Dask worker on {socket.gethostname()} does not see the destination ({run_folder} is not there)"
        return TaskResult("failed", f"{case}: {message}; put it on a file system that all workers share")
    begun = distributed.Event(errand.mark)
    if begun.is_set():
        return None
    begun.set()
    task = replace(task, threads=max(1, available_cores() // errand.sharers))
    with contextlib.nullcontext() if errand.is_own else reused_buffers():
        result = run_task(task)
    begun.clear()
    if run_folder is not None and not _is_open(run_folder):  # the run has ended meanwhile: nobody wants the files
        shutil.rmtree(run_folder, ignore_errors=True)
    return result


def _is_open(run_folder: Path) -> bool:
    return (run_folder / "lock").exists()


def dask_setup(worker: object) -> None:
    """Prepare a worker of our own: Dask calls this in each one that it starts with this module as its preload."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run decides what Ctrl-C stops
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    reuse_buffers()
    keep_freed_memory()


@contextlib.contextmanager
def _no_interruption() -> Iterator[None]:
    """Let Ctrl-C wait until the block ends: Dask can't tidy up half a cluster.

    Threads that begin in the block, and the workers that they start then or later, never hear of it.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # its start would let the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill_workers(cluster: Any) -> None:
    """End workers whatever they are at: Dask would wait some seconds for them, and nobody wants what they have left."""
    for nanny in cluster.workers.values():
        nanny.auto_restart = False
        with contextlib.suppress(OSError, TypeError):  # it has none at the moment
            os.kill(nanny.pid, getattr(signal, "SIGKILL", signal.SIGTERM))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep Dask's own reports off the terminal: what they tell is said by case."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in ("distributed", "tornado")]
    loggers = [logging.getLogger(name) for name in {*names, "asyncio"}]
    levels = [logger.level for logger in loggers]
    for logger, level in zip(loggers, levels, strict=True):
        if level != logging.NOTSET or logger.name == "asyncio":
            logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
