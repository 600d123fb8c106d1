"""Decide what to do with each case: run it, skip it, or leave a file alone that ITKIT did not write."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from itkit.core.errors import LayoutError, ReadError
from itkit.core.files import split_extension
from itkit.core.operation import Job, Plan, Record
from itkit.core.text import counted
from itkit.engine.fingerprint import Fingerprint, file_print, is_copy, is_same, print_of_files
from itkit.engine.foreign import foreign_files, not_to_replace
from itkit.engine.manifest import Manifest
from itkit.engine.options import RunOptions
from itkit.engine.places import place, relative_folder
from itkit.io.formats.headers import UnsupportedHeader, volume_files

_READERS = 8
"""Number of threads that read inputs to compute their digests."""
_MORE = "more_files"


@dataclass(frozen=True)
class Decision:
    """What to do with a job, and the manifest's record of it."""

    job: Job
    action: Literal["run", "skipped", "left"]
    message: str = ""
    before: Record | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def decide(
    plan: Plan, manifest: Manifest, before: Mapping[str, Record], key: str, options: RunOptions
) -> Iterator[Decision]:
    """Decide what to do with every job of a plan, by the manifest and the files in the destination.

    ``before`` has the newest finished record of each case.

    Raises
    ------
    LayoutError
        With ``--existing error``, when an output exists.
    """
    if options.existing == "error":
        standing = [
            path
            for job in plan.jobs
            for path in _expected(job, before.get(job.case_id), manifest.dest)
            if os.path.lexists(path)
        ]
        if standing:
            raise LayoutError(f"--existing error: {len(standing)} outputs exist already, the first is {standing[0]}")
        if before and not any(job.targets for job in plan.jobs):  # all results stand in files for the whole run
            raise LayoutError(
                f"--existing error: {manifest.dest} holds the results of {counted(before, 'case')} already"
            )
    names_of = lru_cache(maxsize=None)(_names_by_case)
    for job, inputs in zip(plan.jobs, _fingerprints(plan.jobs, manifest.dest, options.fingerprint), strict=True):
        record = before.get(job.case_id)
        warnings = tuple(_namesakes(job, record, manifest.dest, names_of))
        if options.existing == "redo":
            yield Decision(job, "run", "", record, inputs, warnings)
            continue
        action, message, replaced = _judge(job, record, manifest.dest, key, inputs, options.fingerprint)
        notes = tuple(f"{path.name} was no whole file and is made again" for path in replaced)
        yield Decision(job, action, message, record, inputs, (*warnings, *notes))


def _names_by_case(folder: Path) -> Mapping[str, Sequence[str]]:
    """Return the volume files of a folder, by case id."""
    found: dict[str, list[str]] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        parts = split_extension(path.name)
        if parts is not None:
            found.setdefault(parts[0], []).append(path.name)
    return found


def _namesakes(
    job: Job, record: Record | None, dest: Path, names_of: Callable[[Path], Mapping[str, Sequence[str]]]
) -> Iterator[str]:
    """Warn about files by somebody else that have the same case id as an output, but another extension."""
    ours = {place(dest / output["path"]) for output in record.outputs} if record else set()
    for path in job.outputs():
        parts = split_extension(path.name)
        for name in names_of(path.parent).get(parts[0], ()) if parts else ():
            if name != path.name and place(path.with_name(name)) not in ours:
                yield f"{name} lies beside {path.name}: two files of one case, which is refused as input; remove one"


def _fingerprints(jobs: Sequence[Job], dest: Path, how: Fingerprint) -> Iterator[dict[str, Any]]:
    """Yield the fingerprint of each job; several threads read the contents of files."""
    if how == "stat":
        yield from (_fingerprint(job, dest, how) for job in jobs)
        return
    from concurrent.futures import ThreadPoolExecutor  # only here: other runs start without

    with ThreadPoolExecutor(_READERS) as readers:
        yield from readers.map(lambda job: _fingerprint(job, dest, how), jobs)


def _fingerprint(job: Job, dest: Path, how: Fingerprint) -> dict[str, Any]:
    """Return what a result depends on beside the parameters: its input files, and the folders of its outputs."""
    stamps: dict[str, Any] = {}
    for name, file in job.inputs.items():
        try:
            stamps[name] = {
                "file": file.path.name,
                "parts": [file_print(part, how) for part in volume_files(file.path)],
            }
        except (OSError, ReadError, UnsupportedHeader):
            stamps[name] = {"file": file.path.name}
    stamps["targets"] = {name: relative_folder(target.folder, dest) for name, target in job.targets.items()}
    if job.stamp:
        stamps["stamp"] = job.stamp
    if job.more_files:
        stamps["more_files"] = print_of_files(job.more_files, how)
    return stamps


def is_same_input(known: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether what a record was made from is what a job has now, by all that both know of it.

    Examples
    --------
    >>> known = {"image": {"file": "a.mha", "parts": [{"bytes": 9, "mtime_ns": 1}]}}
    >>> now = {"image": {"file": "a.mha", "parts": [{"bytes": 9, "mtime_ns": 1, "ctime_ns": 1, "inode": 7}]}}
    >>> is_same_input(known, now), is_same_input(now, {"image": {"file": "b.mha", "parts": now["image"]["parts"]}})
    (True, False)
    """
    if known.keys() - {_MORE} != now.keys() - {_MORE}:
        return False
    more, files = known.get(_MORE, {}), now.get(_MORE, {})
    by_content = "content" in more and "content" in files
    if by_content or more.keys() & files.keys():
        name = "content" if by_content else "stat"
        if more.get(name) != files.get(name):
            return False
    return all(
        (by_content and name == "stamp") or _is_same_item(known[name], value)
        for name, value in now.items()
        if name != _MORE
    )


def _is_same_item(known: Any, now: Any) -> bool:
    if not (isinstance(known, Mapping) and isinstance(now, Mapping) and {*known, *now} == {"file", "parts"}):
        return bool(known == now)
    old, new = known.get("parts", ()), now.get("parts", ())
    return known["file"] == now["file"] and len(old) == len(new) and all(map(is_same, old, new))


def _expected(job: Job, record: Record | None, dest: Path) -> list[Path]:
    recorded = [place(dest / output["path"]) for output in record.outputs] if record else []
    return recorded or [place(path) for path in job.outputs()]


def _judge(
    job: Job, record: Record | None, dest: Path, key: str, inputs: Mapping[str, Any], how: Fingerprint
) -> tuple[Literal["run", "skipped", "left"], str, Sequence[Path]]:
    """Return what to do, the message, and the files that are replaced although they are not as ITKIT wrote them."""
    ours = {place(dest / output["path"]): output for output in record.outputs} if record else {}
    present = [path for path in dict.fromkeys([*ours, *_expected(job, None, dest)]) if os.path.lexists(path)]
    foreign = foreign_files(present, ours, how)
    kept = not_to_replace(foreign, ours)
    if kept:
        return "left", f"{job.case_id}: {_why_left(kept[0], ours)}; left alone", ()
    if record is None or foreign or not ours.keys() <= set(present):
        return "run", "", foreign
    if record.key != key or not is_same_input(record.inputs, inputs):
        return "run", "", ()
    return "skipped", "", ()


def _why_left(path: Path, ours: Mapping[Path, Any]) -> str:
    if path in ours and is_copy(path, ours[path]):
        return (
            f"{path.name} is a copy, or got other rights, since it was written (--fingerprint content compares bytes)"
        )
    return f"{path.name} was not written by this command, or was edited since"
