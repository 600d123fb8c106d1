"""Worker processes, each with its own pipe through which it receives tasks and sends results.

A result or the death of a worker wakes the waiting process at once, without polling. No threads are involved, so
workers can be forked at any time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import traceback
from multiprocessing.connection import wait
from pickle import PicklingError
from typing import TYPE_CHECKING, Any

from itkit.engine.worker import Task, TaskResult, run_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess

UNSENDABLE = (PicklingError, AttributeError, TypeError)
"""What `Worker.give` raises for a task that can't be pickled."""
_PATIENCE_S = 10
_INTERRUPTS = {signal.SIGINT, signal.SIGTERM}


class WorkerDied(Exception):  # noqa: N818 - a worker's end is not always an error
    """A worker has ended without a result; ``code`` is its exit code, below 0 the signal that killed it."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


class Worker:
    """One worker process; it calls ``prepare`` first.

    Raises
    ------
    OSError
        When the system starts no process, or has no file descriptor left.
    """

    def __init__(self, context: BaseContext, prepare: Callable[[], None]) -> None:
        self.pipe, theirs = context.Pipe()
        make: Any = context  # typeshed leaves `Process` out of what all contexts have
        parent = os.getpid() if make.get_start_method() == "fork" else None
        self._process: BaseProcess = make.Process(target=_serve, args=(theirs, prepare, parent), daemon=True)
        try:
            with _no_interrupts():
                self._process.start()
        except OSError:
            self.pipe.close()
            raise
        finally:
            theirs.close()  # now only the worker holds this end, so its death closes the pipe

    def give(self, *tasks: Task) -> None:
        """Send tasks to an idle worker; it does them in turn, and sends each result as soon as it has it.

        Raises
        ------
        UNSENDABLE
            When a task can't be sent; then none was.
        """
        with contextlib.suppress(OSError):  # the worker is dead: `take` will raise
            self.pipe.send(tasks)

    def take(self) -> TaskResult:
        """Wait for the next result.

        Raises
        ------
        WorkerDied
            When the worker has died, so that there will be no result. It died at the first task without one.
        """
        try:
            result: TaskResult = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join(_PATIENCE_S)
            raise WorkerDied(self._process.exitcode) from None
        return result

    def dismiss(self, *, at_once: bool) -> None:
        """Tell the worker to end, after its present task or ``at_once``."""
        if at_once:
            self._process.terminate()
        else:
            with contextlib.suppress(OSError):
                self.pipe.send(None)

    def join(self) -> None:
        """Wait for the end of a dismissed worker."""
        self._process.join(_PATIENCE_S)
        if self._process.is_alive():
            self._process.kill()
        self.pipe.close()


def ready(workers: Iterable[Worker], patience_s: float | None = None) -> list[Worker]:
    """Wait until at least one worker has a result or has died, or for some seconds; return all such workers."""
    by_pipe = {worker.pipe: worker for worker in workers}
    return [by_pipe[pipe] for pipe in wait(by_pipe, patience_s)]  # type: ignore[index]  # they are pipes, as given


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """Let signals wait while the block runs: a new process must not meet them before it has set its own handlers."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, prepare: Callable[[], None], parent: int | None) -> None:
    prepare()
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)
    if parent is not None and os.getppid() != parent:
        return  # the parent died before this process could ask to die with it; the pipe would never close
    with contextlib.suppress(EOFError):
        while (tasks := pipe.recv()) is not None:
            for task in tasks:
                result = run_task(task)
                try:
                    pipe.send(result)
                except Exception:  # noqa: BLE001 - facts that can't be pickled are a bug of the operation, shown as such
                    pipe.send(TaskResult("crashed", traceback.format_exc()))
