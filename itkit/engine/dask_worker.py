"""Functions that run in a Dask worker: its preparation, and one task at a time."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import sys
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from itkit.core.version import VERSION
from itkit.engine.resources import available_cores
from itkit.engine.worker import Task, TaskResult, prepare_process, run_task
from itkit.kernels.buffers import reused_buffers

if TYPE_CHECKING:
    from pathlib import Path

MEMORY = "MEMORY"
"""Resource by which a worker states how many bytes cases may take: ``dask worker --resources MEMORY=64e9``."""


@dataclass(frozen=True)
class Errand:
    """What a worker needs to know beside its task."""

    mark: str
    sharers: int
    """Number of tasks that may share the cores of the worker's machine."""
    is_own: bool
    """Whether this run started the worker."""
    version: str = field(default_factory=lambda: VERSION)


def run_errand(task: Task, errand: Errand) -> TaskResult | None:
    """Do one case on a Dask worker; return ``None`` if the case has already killed a worker."""
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
    if run_folder is not None and not _is_open(run_folder):  # the run has ended meanwhile: remove the files
        shutil.rmtree(run_folder, ignore_errors=True)
    return result


def _is_open(run_folder: Path) -> bool:
    return (run_folder / "lock").exists()


def dask_setup(worker: object) -> None:
    """Prepare a worker of our own; Dask calls this function in workers that preload this module."""
    del worker
    prepare_process()
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
