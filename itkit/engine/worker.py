"""Process one case from its files to staged files; this runs in a worker process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from itkit.core.errors import ArgumentError, CaseError, CaseSkipped, ItkitError, ReadError
from itkit.core.geometry import Geometry
from itkit.core.operation import Batch, Context, Job, Operation, Outcome
from itkit.core.params import Params
from itkit.core.volume import Case, Kind, Volume, VolumesOnDemand
from itkit.engine.fingerprint import digest_of
from itkit.engine.lanes import Lanes
from itkit.engine.needs import SMALL_BYTES, SMALL_TASK_BYTES, Needs
from itkit.engine.places import placed
from itkit.engine.prints import print_before_reading
from itkit.io.disk import os_reason, sync_files, writing
from itkit.io.formats.inspect import read_any_header, require_components, require_single_volume
from itkit.io.json_files import json_line
from itkit.io.meta import file_stamp, volume_entry
from itkit.kernels.buffers import keep_freed_memory, reuse_buffers

if TYPE_CHECKING:
    from itkit.core.files import Compression
    from itkit.engine.fingerprint import Fingerprint


@dataclass(frozen=True, eq=False)
class Task:
    """A job, with everything that a worker needs to do it."""

    operation: Operation[Any]
    params: Params
    job: Job
    stage: Path | None = None
    compression: Compression = "fast"
    fingerprint: Fingerprint = "stat"
    seed: int = 0
    threads: int = 1
    nbytes: int = 0
    needs: Needs | None = None
    """Tells the worker how much memory the case needs, where nobody has read its headers yet."""
    is_retry: bool = False
    prints: bool = False
    """Whether who reads the case notes what its files are like then; else the run has done so before."""
    flushes: bool = True
    """Whether the worker flushes the case's files to disk; else who takes its result does, for many cases at once."""


@dataclass(frozen=True)
class StagedFile:
    """A complete file in the staging folder, with its final place (`itkit.engine.places`) and its manifest entry."""

    staged: str
    final: str
    entry: Mapping[str, Any]


@dataclass(frozen=True)
class TaskResult:
    """The result of a task."""

    status: str
    message: str = ""
    files: tuple[StagedFile, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    prints: Mapping[str, Any] | None = None
    """Fingerprint of each input file, if the task has asked for them and the case could be read."""
    warnings: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    took_s: float = 0.0
    is_flushed: bool = True
    """Whether the files are on disk, or only in the system's memory."""
    needs_bytes: int = 0
    """What a case with the status `TOO_LARGE` needs."""


TOO_LARGE = "too large"
"""Status of a case that was taken for a small one; nothing has been done."""


def prepare_process() -> None:
    """Prepare a worker process: it ignores Ctrl-C, and keeps freed memory for its next case."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process decides what Ctrl-C stops
    reuse_buffers()
    keep_freed_memory()


class ReadCase(NamedTuple):
    """A case, the warnings of its headers, and the fingerprints of its files, if they were asked for."""

    case: Case
    warnings: tuple[str, ...]
    prints: Mapping[str, Any] | None = None


def run_task(task: Task, read: Callable[[], ReadCase] | None = None) -> TaskResult:
    """Do one case; every failure becomes a result, and a bug becomes a ``crashed`` result with its traceback.

    ``read`` returns the case if it has been read ahead.
    """
    start = time.perf_counter()
    try:
        if task.needs is not None:
            task = replace(task, nbytes=task.needs.of(task.operation, task.params, task.job), needs=None)
            if task.nbytes > SMALL_TASK_BYTES:
                return TaskResult(TOO_LARGE, needs_bytes=task.nbytes)
        case, warnings, prints = read_case(task) if read is None else read()
        context = Context(task.threads, task.seed, task.job.case_id, task.nbytes or None)
        outcome = task.operation.case(case, task.params, context)
        files = write_outcome(outcome, task) if task.stage is not None else ()
        late = outcome.late_warnings() if outcome.late_warnings is not None else ()
        json_line(dict(outcome.facts))  # what the manifest can't hold is a fault of this case, not of the run
        return TaskResult(
            "nonconforming" if outcome.reasons else "done",
            files=files,
            facts=dict(outcome.facts),
            prints=prints,
            warnings=(*warnings, *outcome.warnings, *late),
            reasons=outcome.reasons,
            took_s=time.perf_counter() - start,
            is_flushed=task.flushes,
        )
    except CaseSkipped as reason:
        return TaskResult("skipped", _with_case(task.job.case_id, str(reason)), took_s=time.perf_counter() - start)
    except MemoryError:
        message = f"{task.job.case_id}: not enough memory; give it more, or fewer workers"
        return TaskResult("failed", message, took_s=time.perf_counter() - start)
    except OSError as error:  # the system refuses: no file descriptor is left, the temporary folder is full
        took_s = time.perf_counter() - start
        return TaskResult("failed", f"{task.job.case_id}: {os_reason(error)}", took_s=took_s)
    except Exception as error:  # noqa: BLE001 - a bug must not stop the other cases; it is shown as ``crashed``
        took_s = time.perf_counter() - start
        if isinstance(error, ItkitError) and not isinstance(error, ArgumentError):
            return TaskResult("failed", _with_case(task.job.case_id, str(error)), took_s=took_s)
        import traceback

        return TaskResult("crashed", traceback.format_exc(), took_s=took_s)


def _with_case(case_id: str, message: str) -> str:
    return message if message.startswith(f"{case_id}:") else f"{case_id}: {message}"


def read_case(task: Task, threads: int | None = None) -> ReadCase:
    """Read what an operation needs of a case, and collect the warnings of the headers.

    ``threads`` replaces the task's number of threads.

    Raises
    ------
    CaseError
        When a file can't be read.
    """
    reads = task.operation.reads_for(task.params)
    headers_only = reads == "headers"
    on_demand = reads == "in turn" or (reads == "one by one" and task.threads == 1)  # more threads read ahead
    volumes: dict[str, Volume] = {}
    makers: dict[str, Callable[[], Volume]] = {}
    grids: dict[str, Geometry] = {}
    warnings: list[str] = []
    problems: list[str] = [task.job.problem] if task.job.problem else []
    if problems and not task.operation.is_inspection:
        raise ReadError(task.job.problem)
    prints = {name: print_before_reading(file.path) for name, file in task.job.inputs.items()} if task.prints else None
    for name, file in task.job.inputs.items():
        if file.kind == "file":
            continue
        kind: Kind = "label" if file.kind == "label" else "image"
        channels = file.components != (1,)
        try:
            if headers_only or on_demand or file.kind == "grid":
                header = read_any_header(file.path)
                require_single_volume(header, file.path, channels=channels)
                grids[name] = header.geometry
            else:
                from itkit.io.sitk_toolkit import read_with_header  # imports numpy, which headers alone don't need

                volumes[name], header = read_with_header(
                    file.path, kind, threads=threads or task.threads, channels=channels
                )
            if channels:
                require_components(header, file.path, file.components)
            if on_demand and file.kind != "grid":
                from itkit.io.sitk_toolkit import read_volume

                makers[name] = partial(read_volume, file.path, kind, channels=channels)
        except CaseError as error:
            if not task.operation.is_inspection:
                raise
            problems.append(str(error))
        else:
            place = f"{file.path.parent.name}/{file.path.name}"  # an image and its label may have the same name
            warnings += [f"{place}: {text}" for text in header.warnings]
    found = VolumesOnDemand(makers) if makers else volumes
    case = Case(task.job.case_id, found, grids, tuple(problems), task.job.details)
    return ReadCase(case, tuple(warnings), prints)


def write_outcome(outcome: Outcome, task: Task) -> tuple[StagedFile, ...]:
    """Write all volumes and batches of an outcome below the staging folder, and flush them to disk if the task says so.

    Small files are written in threads, large ones are compressed in threads.

    Raises
    ------
    WriteError
        When a file can't be written.
    """
    from itkit.io.sitk_toolkit import stage_volume

    def write_volume(name: str, case_id: str, volume: Volume, threads: int) -> tuple[StagedFile, ...]:
        with writing(task.job.case_id):
            path = Path(_place(task, name, case_id))
            parts = stage_volume(volume, path, compression=task.compression, threads=threads, sync=False)
            entry = volume_entry(name, case_id, volume)
            return tuple(_staged(task, name, case_id, part, entry if part is parts[-1] else {}) for part in parts)

    def write_case(case: Case, lanes: Lanes[tuple[StagedFile, ...]]) -> None:
        for name, volume in case.volumes.items():
            if volume.array_zyx.nbytes < SMALL_BYTES:
                lanes.add(partial(write_volume, name, case.id, volume, 1))
            else:
                lanes.done(write_volume(name, case.id, volume, task.threads))
            del volume  # before the next one is made

    def write_batch(batch: Batch) -> tuple[StagedFile, ...]:
        with writing(task.job.case_id):
            return tuple(
                _staged(task, file.target, file.case_id, _place(task, file.target, file.case_id), file.entry)
                for file in batch(lambda target, case_id: Path(_place(task, target, case_id)), task.compression)
            )

    with Lanes[tuple[StagedFile, ...]](task.threads) as lanes:
        for case in outcome.cases:
            write_case(case, lanes)
            del case  # before the next one is made
        batches = iter(outcome.batches)
        head = tuple(islice(batches, 2))
        if len(head) == 1:  # it may take hours, and only the main thread can be interrupted
            lanes.done(write_batch(head[0]))
        else:
            for batch in chain(head, batches):
                lanes.add(partial(write_batch, batch))
        files = tuple(file for group in lanes.results() for file in group)
    if task.flushes:
        with writing(task.job.case_id):
            sync_files([file.staged for file in files])
    return files


def _place(task: Task, name: str, case_id: str) -> str:
    """Return the path where a file is staged, and make its folder."""
    assert task.stage is not None
    number = [*task.job.targets].index(name)  # and not the name, which may hold a channel's: a stranger's text
    return _made(task.stage, number) + os.path.basename(task.job.targets[name].name(case_id))  # noqa: PTH119


@lru_cache(maxsize=1024)
def _made(stage: Path, number: int) -> str:
    """Return a folder of a case's staging folder, which may have been that of an earlier case; it is made once."""
    folder = stage / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    return f"{folder}{os.sep}"


def _staged(task: Task, name: str, case_id: str, path: str | Path, entry: Mapping[str, Any]) -> StagedFile:
    staged, target = os.fspath(path), task.job.targets[name]
    folder, _, _ = placed(target.name(case_id), os.fspath(target.folder)).rpartition(os.sep)
    final = f"{folder}{os.sep}{os.path.basename(staged)}"  # noqa: PTH119 - a volume may have several files
    digest = {"sha256": digest_of(staged)} if task.fingerprint == "content" else {}
    return StagedFile(staged, final, {**entry, **file_stamp(staged), **digest})
