"""One run: what it was told, and where its cases run."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from itkit.core.errors import CaseError
from itkit.core.operation import Operation, Plan
from itkit.core.params import Params
from itkit.core.version import VERSION
from itkit.engine.decisions import Decision
from itkit.engine.executors import Executor, ProcessExecutor, SerialExecutor
from itkit.engine.manifest import Manifest
from itkit.engine.options import RunOptions
from itkit.engine.progress import EventSink
from itkit.engine.resources import available_memory
from itkit.engine.stage import Stage
from itkit.engine.worker import Task, describe_inputs


@dataclass(frozen=True, eq=False)
class Session:
    """One run.

    Parameters
    ----------
    operation, params, options, plan
        What to do, and how.
    key
        Digest of the parameters and options that decide the results.
    manifest
        What the destination says is done; ``None`` for a run that writes no volume.
    cores
        How many cores the run may use.
    emit
        Called with each progress event.
    confirm
        Asked before anything is deleted; without it the answer is no.
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

    def describe(self) -> dict[str, Any]:
        """Return everything that repeats this run."""
        return {
            "itkit": VERSION,
            "operation": self.operation.name,
            "params": self.params.absolute_values(),
            "options": json.loads(self.options.model_dump_json(exclude_defaults=True, exclude={"dry_run", "config"})),
        }

    @property
    def reads_headers_alone(self) -> bool:
        """Whether no voxels are read."""
        return self.operation.reads_for(self.params) == "headers"

    @property
    def is_serial(self) -> bool:
        """Whether cases run in this process, one after the other."""
        wanted = self.options.executor
        if self.reads_headers_alone:
            return True  # a header costs less than a message to a worker
        return wanted == "serial" or (wanted is None and self.options.dask is None and self._workers() == 1)

    def _workers(self) -> int:
        if self.options.workers is not None:
            return self.options.workers
        return self.cores if self.options.mp or self.options.executor in ("process", "dask") else 1

    def executor(self) -> Executor:
        """Return what runs the cases."""
        budget = self.options.max_memory or int(0.8 * available_memory())
        if self.is_serial:
            return SerialExecutor(budget)
        if self.options.executor == "dask" or self.options.dask is not None:
            from itkit.engine.dask_executor import DaskExecutor  # and what it is made of: other runs start without

            return DaskExecutor(self.options.dask, self._workers(), budget)
        return ProcessExecutor(self._workers(), budget)

    def task(self, decision: Decision, number: int, stage: Stage | None) -> Task:
        """Return a job with all that a worker needs to do it."""
        return Task(
            self.operation,
            self.params,
            decision.job,
            stage=None if stage is None else stage.folder / str(number),
            compression=self.options.compression,
            fingerprint=self.options.fingerprint,
            seed=self.options.seed,
            threads=self.cores if self.is_serial else 1,
            nbytes=0 if self.reads_headers_alone else self._needed_bytes(decision),
        )

    def _needed_bytes(self, decision: Decision) -> int:
        inputs = describe_inputs(decision.job)
        measure = self.operation.memory
        with contextlib.suppress(CaseError):  # the case itself will say it
            return measure(inputs, self.params) if measure else 3 * sum(item.nbytes for item in inputs.values())
        return 0
