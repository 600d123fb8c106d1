"""One case, from files to staged files: what runs in a worker process."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itkit.core.errors import CaseError, CaseSkipped, ItkitError
from itkit.core.operation import CaseInput, Context, Job, Operation, Outcome
from itkit.core.params import Params
from itkit.core.volume import Case, Geometry, Kind, Volume
from itkit.io.inspect import read_any_header, require_single_volume
from itkit.io.meta import file_stamp

if TYPE_CHECKING:
    from itkit.io.sitk_toolkit import Compression


@dataclass(frozen=True, eq=False)
class Task:
    """A job with everything a worker needs to do it."""

    operation: Operation[Any]
    params: Params
    job: Job
    stage: Path | None = None
    compression: Compression = "fast"
    seed: int = 0
    threads: int = 1
    nbytes: int = 0
    is_retry: bool = False


@dataclass(frozen=True)
class StagedFile:
    """A complete file in the staging folder, its final path and what it holds."""

    staged: Path
    final: Path
    entry: Mapping[str, Any]


@dataclass(frozen=True)
class TaskResult:
    """What became of a task."""

    status: str
    message: str = ""
    files: tuple[StagedFile, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    took_s: float = 0.0


def reads_of(operation: Operation[Any], params: Params) -> str:
    """Return what an operation reads of each input: ``voxels`` or ``headers``."""
    return operation.reads if isinstance(operation.reads, str) else operation.reads(params)


def run_task(task: Task) -> TaskResult:
    """Do one case; every failure becomes a result, a fault of ours a ``crashed`` one with its traceback."""
    start = time.perf_counter()
    try:
        case, warnings = read_case(task)
        context = Context(task.threads, task.seed, task.job.case_id)
        outcome = task.operation.case(case, task.params, context)
        files = write_outcome(outcome, task) if task.stage is not None else ()
        return TaskResult(
            "nonconforming" if outcome.reasons else "done",
            files=files,
            facts=dict(outcome.facts),
            warnings=(*warnings, *outcome.warnings),
            reasons=outcome.reasons,
            took_s=time.perf_counter() - start,
        )
    except CaseSkipped as reason:
        return TaskResult("skipped", _with_case(task.job.case_id, str(reason)), took_s=time.perf_counter() - start)
    except MemoryError:
        message = f"{task.job.case_id}: not enough memory; give it more, or fewer workers"
        return TaskResult("failed", message, took_s=time.perf_counter() - start)
    except ItkitError as error:
        return TaskResult("failed", _with_case(task.job.case_id, str(error)), took_s=time.perf_counter() - start)
    except Exception:  # noqa: BLE001 - a fault of ours must not stop the other cases; it is shown as one
        return TaskResult("crashed", traceback.format_exc(), took_s=time.perf_counter() - start)


def _with_case(case_id: str, message: str) -> str:
    return message if message.startswith(f"{case_id}:") else f"{case_id}: {message}"


def read_case(task: Task) -> tuple[Case, tuple[str, ...]]:
    """Read what an operation needs of a case, and collect what the headers warn of.

    Raises
    ------
    CaseError
        When a file can't be read.
    """
    headers_only = reads_of(task.operation, task.params) == "headers"
    volumes: dict[str, Volume] = {}
    grids: dict[str, Geometry] = {}
    warnings: list[str] = []
    problems: list[str] = []
    for name, file in task.job.inputs.items():
        if file.kind == "file":
            continue
        kind: Kind = "label" if file.kind == "label" else "image"
        try:
            if headers_only or file.kind == "grid":
                header = read_any_header(file.path)
                require_single_volume(header, file.path)
                grids[name] = header.geometry
            else:
                from itkit.io.sitk_toolkit import read_with_header  # numpy with it; headers alone start without

                volumes[name], header = read_with_header(file.path, kind, threads=task.threads)
        except CaseError as error:
            if not task.operation.is_tolerant:
                raise
            problems.append(str(error))
        else:
            warnings += [f"{file.path.name}: {text}" for text in header.warnings]
    return Case(task.job.case_id, volumes, grids, tuple(problems), task.job.details), tuple(warnings)


def write_outcome(outcome: Outcome, task: Task) -> tuple[StagedFile, ...]:
    """Write all volumes of an outcome below the staging folder.

    Raises
    ------
    WriteError
        When a file can't be written.
    """
    from itkit.io.sitk_toolkit import stage_volume
    from itkit.kernels import label_counts

    assert task.stage is not None
    files: list[StagedFile] = []
    for case in outcome.cases:
        for name, volume in case.volumes.items():
            target = task.job.targets[name]
            final = target.path(case.id)
            folder = task.stage / name
            folder.mkdir(parents=True, exist_ok=True)
            staged = stage_volume(volume, folder / final.name, compression=task.compression, threads=task.threads)
            grid = volume.geometry
            entry = {
                "name": name,
                "case": case.id,
                "size": list(grid.size_zyx),
                "spacing": list(grid.spacing_zyx),
                "origin_xyz": list(grid.origin_xyz),
                "direction_xyz": list(grid.direction_xyz),
                "dtype": volume.dtype.name,
                "classes": list(label_counts(volume.array_zyx)) if volume.kind == "label" else None,
            }
            for part in staged:
                is_header = part is staged[-1]
                files.append(
                    StagedFile(part, final.parent / part.name, {**(entry if is_header else {}), **file_stamp(part)})
                )
    return tuple(files)


def describe_inputs(job: Job) -> dict[str, CaseInput]:
    """Return what the headers of a job's inputs tell; an unreadable one is left out (the case itself will say so)."""
    found = {}
    for name, file in job.inputs.items():
        try:
            header = read_any_header(file.path)
        except ItkitError:
            continue
        found[name] = CaseInput(header.geometry, header.dtype, 0 if file.kind == "grid" else header.size_bytes)
    return found
