"""What is to happen to each case: run it, skip it, or leave somebody's file alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from itkit.core.errors import ItkitError, LayoutError, ReadError
from itkit.core.files import split_extension
from itkit.core.operation import Job, Operation, Plan, Record
from itkit.engine.manifest import Manifest
from itkit.engine.options import RunOptions
from itkit.engine.stage import is_unchanged
from itkit.engine.worker import TaskResult
from itkit.io.formats.headers import UnsupportedHeader, unit_files
from itkit.io.formats.inspect import read_any_header
from itkit.io.meta import file_stamp


@dataclass(frozen=True)
class Decision:
    """What is to happen to a job, and the record that already stands for it."""

    job: Job
    action: str  # "run", "skipped", "left"
    message: str = ""
    before: Record | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def decide(
    operation: Operation[Any], plan: Plan, manifest: Manifest, key: str, options: RunOptions
) -> Iterator[Decision]:
    """Decide every job of a plan by what the manifest says and what stands in the destination.

    Raises
    ------
    LayoutError
        With ``--existing error``, when an output exists.
    """
    before = manifest.latest_done(operation.name)
    if options.existing == "error":
        standing = [
            path
            for job in plan.jobs
            for path in _expected(job, before.get(job.case_id), manifest.dest)
            if path.exists()
        ]
        if standing:
            raise LayoutError(f"--existing error: {len(standing)} outputs exist already, the first is {standing[0]}")
    names_of = lru_cache(maxsize=None)(_names_by_case)
    for job in plan.jobs:
        record = before.get(job.case_id)
        inputs = _fingerprint(job, manifest.dest)
        warnings = tuple(_namesakes(job, record, manifest.dest, names_of))
        if options.existing == "redo":
            yield Decision(job, "run", "", record, inputs, warnings)
            continue
        action, message, replaced = _judge(job, record, manifest.dest, key, inputs)
        notes = tuple(f"{path.name} was no whole file and is made again" for path in replaced)
        yield Decision(job, action, message, record, inputs, (*warnings, *notes))


def _names_by_case(folder: Path) -> Mapping[str, Sequence[str]]:
    """Volume files of a folder by the case that they are of."""
    found: dict[str, list[str]] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        parts = split_extension(path.name)
        if parts is not None:
            found.setdefault(parts[0], []).append(path.name)
    return found


def _namesakes(
    job: Job, record: Record | None, dest: Path, names_of: Callable[[Path], Mapping[str, Sequence[str]]]
) -> Iterator[str]:
    """Say which files make two of one case with what a job writes, and are not ours to remove."""
    ours = {place(dest / output["path"]) for output in record.outputs} if record else set()
    for path in job.outputs():
        parts = split_extension(path.name)
        for name in names_of(path.parent).get(parts[0], ()) if parts else ():
            if name != path.name and place(path.with_name(name)) not in ours:
                yield f"{name} lies beside {path.name}: two files of one case, which is refused as input; remove one"


def _fingerprint(job: Job, dest: Path) -> dict[str, Any]:
    """Return what a result depends on beside parameters: the input files, and where its outputs go."""
    stamps: dict[str, Any] = {}
    for name, file in job.inputs.items():
        try:
            parts = unit_files(file.path) if file.path.suffix.lower() in (".mhd", ".nhdr") else (file.path,)
            stamps[name] = {"file": file.path.name, "parts": [file_stamp(part) for part in parts]}
        except (OSError, ReadError, UnsupportedHeader):
            stamps[name] = {"file": file.path.name}
    stamps["targets"] = {name: relative_folder(target.folder, dest) for name, target in job.targets.items()}
    return {**stamps, "stamp": job.stamp} if job.stamp else stamps


def _expected(job: Job, record: Record | None, dest: Path) -> list[Path]:
    recorded = [place(dest / output["path"]) for output in record.outputs] if record else []
    return recorded or [place(path) for path in job.outputs()]


def place(path: Path) -> Path:
    """Return a path in the one form in which paths are compared: absolute, without ``..``; links stay."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps "..", Path.resolve follows links


def _judge(
    job: Job, record: Record | None, dest: Path, key: str, inputs: Mapping[str, Any]
) -> tuple[str, str, Sequence[Path]]:
    """Return what is to happen, what to say, and files that are replaced though they were not as we wrote them."""
    ours = {place(dest / output["path"]): output for output in record.outputs} if record else {}
    present = [path for path in dict.fromkeys([*ours, *_expected(job, None, dest)]) if path.exists()]
    foreign = _foreign(present, ours)
    whole = [path for path in foreign if _reads_whole(path)]
    if whole:
        return (
            "left",
            f"{job.case_id}: {whole[0].name} was not written by this command, or was edited since; left alone",
            (),
        )
    if record is None or foreign or not ours.keys() <= set(present):
        return "run", "", foreign
    if record.key != key or record.inputs != inputs:
        return "run", "", ()
    return "skipped", "", ()


def foreign_files(result: TaskResult, ours: Mapping[Path, Any]) -> list[Path]:
    """Return files in the way of a result that we did not write, or that were edited since, and that read whole."""
    present = [place(file.final) for file in result.files if file.final.exists()]
    return [path for path in _foreign(present, ours) if _reads_whole(path)]


def _foreign(present: Iterable[Path], ours: Mapping[Path, Any]) -> list[Path]:
    return [path for path in present if path not in ours or not is_unchanged(path, ours[path])]


def _reads_whole(path: Path) -> bool:
    """Whether a file is somebody's work: it reads whole, or can't be judged; truncated and damaged ones are not."""
    from itkit.io.formats.store import opens_whole, store_kind
    from itkit.io.sitk_toolkit import read_volume  # numpy with it: a run that finds no such file starts without

    if store_kind(path) is not None:
        return opens_whole(path)
    if split_extension(path.name) is None:  # a data file: its header tells
        stem = path.name.split(".raw")[0].split(".zraw")[0]
        headers = [path.with_name(stem + suffix) for suffix in (".mhd", ".nhdr")]
        return any(header.exists() and _reads_whole(header) for header in headers)
    if not os.access(path, os.R_OK):
        return True
    try:
        header = read_any_header(path)
        if header.ndim == 3:
            read_volume(path, channels=True)
    except ItkitError:
        return False
    return True


def relative_path(path: Path, dest: Path) -> str:
    """Return a file's path relative to the destination, with ``..`` where it lies beside it."""
    folder = relative_folder(path.parent, dest)
    return path.name if folder == "." else f"{folder}/{path.name}"


def relative_folder(folder: Path, dest: Path) -> str:
    """Return a folder's path relative to the destination, ``.`` for itself."""
    return _relative(str(folder.absolute()), str(dest.absolute()))


@lru_cache
def _relative(folder: str, dest: str) -> str:
    return Path(os.path.relpath(folder, dest)).as_posix()
