"""Worker processes, each at the far end of a pipe of its own: it takes a task and sends the result.

A result or a death wakes whoever waits at once: nothing polls, and no thread stands between, so that workers can be
forked at any time.
"""

from __future__ import annotations

import contextlib
import os
import traceback
from multiprocessing.connection import wait
from pickle import PicklingError
from typing import TYPE_CHECKING, Any

from itkit.engine.worker import Task, TaskResult, run_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from multiprocessing.connection import Connection
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess

UNSENDABLE = (PicklingError, AttributeError, TypeError)
"""What `Worker.give` raises for a task that can't be pickled."""
_PATIENCE_S = 10


class WorkerDied(Exception):  # noqa: N818 - it tells of an end, which is not always an error
    """A worker has ended without a result; ``code`` is its exit code, below 0 the signal that killed it."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


class Worker:
    """One worker process, which begins with ``prepare``."""

    def __init__(self, context: BaseContext, prepare: Callable[[], None]) -> None:
        self.pipe, theirs = context.Pipe()
        make: Any = context  # typeshed leaves `Process` out of what all contexts have
        parent = os.getpid() if make.get_start_method() == "fork" else None
        self._process: BaseProcess = make.Process(target=_serve, args=(theirs, prepare, parent), daemon=True)
        self._process.start()
        theirs.close()  # the worker has the only other one: its death closes the pipe

    def give(self, task: Task) -> None:
        """Let the worker, which has nothing to do, do a task.

        Raises
        ------
        UNSENDABLE
            When the task can't be sent.
        """
        with contextlib.suppress(OSError):  # dead already: `take` tells
            self.pipe.send(task)

    def take(self) -> TaskResult:
        """Wait for the result of the task.

        Raises
        ------
        WorkerDied
            When there will be none.
        """
        try:
            result: TaskResult = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join(_PATIENCE_S)
            raise WorkerDied(self._process.exitcode) from None
        return result

    def dismiss(self, *, at_once: bool) -> None:
        """Tell the worker to end: when it has nothing to do, or ``at_once``."""
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


def ready(workers: Iterable[Worker]) -> list[Worker]:
    """Wait until `Worker.take` of some workers would not wait, and return these."""
    by_pipe = {worker.pipe: worker for worker in workers}
    return [by_pipe[pipe] for pipe in wait(by_pipe)]  # type: ignore[index]  # they are pipes, as given


def _serve(pipe: Connection, prepare: Callable[[], None], parent: int | None) -> None:
    prepare()
    if parent is not None and os.getppid() != parent:
        return  # it died before this process could ask to die with it, and would be waited for in vain
    with contextlib.suppress(EOFError):
        while (task := pipe.recv()) is not None:
            result = run_task(task)
            try:
                pipe.send(result)
            except Exception:  # noqa: BLE001 - an operation's facts that can't be sent are its fault, shown as one
                pipe.send(TaskResult("crashed", traceback.format_exc()))
