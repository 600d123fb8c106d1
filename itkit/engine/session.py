"""One run: its parameters and options, and the executor of its cases."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from itkit.core.operation import Operation, Plan
from itkit.core.params import Params
from itkit.core.version import VERSION
from itkit.engine.decisions import Decision
from itkit.engine.executors import Executor, OnBegin, Results, SerialExecutor
from itkit.engine.gone import Gone
from itkit.engine.manifest import Manifest
from itkit.engine.needs import SMALL_FILES_BYTES, SMALL_TASK_BYTES, Needs
from itkit.engine.options import RunOptions
from itkit.engine.prints import Prints
from itkit.engine.progress import EventSink, begin_event
from itkit.engine.resources import available_memory
from itkit.engine.stage import Stage
from itkit.engine.worker import Task, TaskResult
from itkit.io.seen import Seen


@dataclass(frozen=True, eq=False)
class Session:
    """One run.

    Parameters
    ----------
    operation, params, options, plan
        The operation, its parameters, the run options and the plan.
    key
        Digest of the parameters and options on which the results depend.
    manifest
        Manifest of the destination; ``None`` for a run that writes no volumes.
    cores
        Number of cores that the run may use.
    emit
        Called with each progress event.
    confirm
        Function that asks the user before anything is deleted; without it nothing is deleted.
    was_here
        Whether the command has finished cases in the destination before this run.
    gone
        Cases that stand in the destination and are not made any more.
    on_begin
        Called with an event when the work on a case begins.
    is_brief
        Whether the events of cases need not name files.
    seen
        What is known of the headers of a run that needs nothing else.
    warnings
        What is wrong with the manifest.
    """

    operation: Operation[Any]
    params: Params
    options: RunOptions
    plan: Plan
    key: str
    manifest: Manifest | None
    cores: int
    emit: EventSink
    confirm: Callable[[str], bool] | None = None
    was_here: bool = False
    gone: tuple[Gone, ...] = ()
    on_begin: EventSink | None = None
    is_brief: bool = False
    seen: Seen | None = None
    warnings: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return everything that is needed to repeat this run."""
        return {
            "itkit": VERSION,
            "operation": self.operation.name,
            "params": self.params.absolute_values(),
            "options": json.loads(self.options.model_dump_json(exclude_defaults=True, exclude={"dry_run", "config"})),
        }

    @property
    def reads_headers_alone(self) -> bool:
        """Whether the run reads only headers and no voxels."""
        return self.operation.reads_for(self.params) == "headers"

    @property
    def is_serial(self) -> bool:
        """Whether cases run in this process, one after the other."""
        wanted = self.options.executor
        if self.reads_headers_alone:
            return True  # reading a header costs less than a message to a worker
        return wanted == "serial" or (wanted is None and self.options.dask is None and self._workers() == 1)

    @cached_property
    def _uses_processes(self) -> bool:
        return not self.is_serial and not self.options.uses_dask

    def _workers(self) -> int:
        if self.options.workers is not None:
            return self.options.workers
        return self.cores if self.options.mp or self.options.executor in ("process", "dask") else 1

    def executor(self) -> Executor:
        """Return the executor that runs the cases."""
        budget = self._budget()
        if self.is_serial:
            return SerialExecutor(budget, self._begin)
        if self._uses_processes:
            return _Processes(self._workers(), budget, self._begin)
        from itkit.engine.dask_executor import DaskExecutor  # other runs don't need its imports

        return DaskExecutor(self.options.dask, self._workers(), budget)

    def _begin(self, task: Task) -> None:
        if self.on_begin is not None and not self.reads_headers_alone:  # a header is read before anybody could look
            self.on_begin(begin_event(task.job))

    def _budget(self) -> int:
        return self.options.max_memory or int(0.8 * available_memory())

    def task(self, decision: Decision, stage: Stage | None) -> Task:
        """Return the task of a job, with everything that a worker needs to do it.

        A case of tiny files is measured by the worker process that reads them: it costs more than a message.
        """
        job, needs = decision.job, None
        if self.reads_headers_alone:
            nbytes = 0
        elif self._uses_processes and not job.sizes and _has_tiny_files(decision):
            nbytes, needs = SMALL_TASK_BYTES, self._needs
        else:
            nbytes = self._needs.of(self.operation, self.params, job)
        return Task(
            self.operation,
            self.params,
            job,
            stage=None if stage is None else stage.folder_of_case(),
            compression=self.options.compression,
            fingerprint=self.options.fingerprint,
            seed=self.options.seed,
            threads=self.cores if self.is_serial else 1,
            nbytes=nbytes,
            needs=needs,
            prints=self.manifest is not None and not decision.inputs,
        )

    def prints(self, decision: Decision, result: TaskResult) -> Mapping[str, Any]:
        """Return the fingerprint of what a case was made from, or of what is there now where nothing was made."""
        if decision.inputs or self.manifest is None:
            return decision.inputs
        if result.prints is None:
            return self._prints.of(decision.job)
        return self._prints.with_folders(result.prints, decision.job.targets)

    @cached_property
    def _prints(self) -> Prints:
        assert self.manifest is not None
        return Prints(self.manifest.dest, self.options.fingerprint)

    @cached_property
    def _needs(self) -> Needs:
        return Needs(self.cores if self.is_serial else 1 + self.cores // self._workers(), self._budget())


def _has_tiny_files(decision: Decision) -> bool:
    """Whether the files of a case are tiny together; their sizes are known from its fingerprint, if it has one."""
    inputs = decision.job.inputs
    try:
        if decision.inputs:
            sizes: list[int] = [part["bytes"] for name in inputs for part in decision.inputs[name]["parts"]]
        else:
            sizes = [os.stat(file.path).st_size for file in inputs.values()]  # noqa: PTH116 - called for thousands of files
    except (OSError, ValueError, KeyError):  # a file can't be read: the case will fail with this error
        return False
    return sum(sizes) <= SMALL_FILES_BYTES


@dataclass(frozen=True)
class _Processes:
    """Worker processes, imported when cases are to be run: an interrupt of that import is one of the run."""

    workers: int
    budget: int
    on_begin: OnBegin

    def run(self, tasks: Iterable[Task]) -> Iterator[Results]:
        from itkit.engine.process_executor import ProcessExecutor  # and multiprocessing

        return ProcessExecutor(self.workers, self.budget, self.on_begin).run(tasks)
