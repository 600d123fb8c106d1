"""Write ``dataset.json`` for the cases that an operation has made from a dataset with a description."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from itkit.core.bounded import read_bounded
from itkit.core.files import DATASET_META
from itkit.core.operation import Carry, Job, Record, Report
from itkit.core.params import Params
from itkit.io.dataset_meta import read_dataset_meta
from itkit.io.json_files import json_text, read_json, write_json
from itkit.io.layouts import LABEL

_WRITTEN = "written.json"
"""File in the state folder with the digests of the descriptions that ITKIT has written."""
_KEPT = 4
"""Digests of earlier descriptions that count as ours: a full disk may have kept the latest ones from being written."""


@dataclass(frozen=True)
class There:
    """Cases of a destination: the source case of each, and which of them have a label."""

    origins: Mapping[str, str]
    labelled: frozenset[str]


def there_by_records(records: Iterable[Record]) -> There:
    """Return the cases that records of finished cases name as their outputs."""
    origins: dict[str, str] = {}
    labelled = set()
    for record in records:
        for output in record.outputs:
            case = str(output.get("case", record.case_id))
            origins[case] = record.case_id
            if output.get("name") == LABEL:
                labelled.add(case)
    return There(origins, frozenset(labelled))


def there_by_files(jobs: Iterable[Job], names: frozenset[str] | None) -> There:
    """Return the cases whose files exist at their targets; if ``names`` is given (in a dry run), the cases named."""

    def is_there(job: Job) -> bool:
        return job.case_id in names if names is not None else all(map(os.path.lexists, job.outputs()))

    found = {job.case_id: job for job in jobs if job.targets and is_there(job)}
    return There({case: case for case in found}, frozenset(case for case, job in found.items() if LABEL in job.targets))


def carried(
    carry: Carry, there: There, operation: str, params: Params, *, state: Path | None, redo: bool, dry_run: bool
) -> Report:
    """Return a report that writes the description of the destination's cases; leave alone a file by somebody else.

    Parameters
    ----------
    carry
        The source's description, and the folders to write it to.
    there
        The cases in the destination.
    operation, params
        The operation and its parameters, for the history.
    state
        State folder of the destination, which holds digests of what ITKIT has written; ``None`` for a run without one.
    redo
        Whether to replace files that ITKIT has not written.
    dry_run
        Whether nothing may be written.
    """
    if not there.origins:
        return Report()
    meta = carry.meta if carry.change is None else carry.change(carry.meta)
    meta = meta.restricted(there.origins, there.labelled).after(operation, params.absolute_values())
    try:
        text = json_text(dict(meta.values))
    except (ValueError, RecursionError) as error:
        return Report((f"warning: {DATASET_META} of the source can't be carried on: {error}",))
    digest = _digest(text.encode(errors="backslashreplace"))
    lines, files = [], {}
    for folder in carry.folders:
        path = folder.absolute() / DATASET_META
        if redo or _is_ours(path, operation, state):
            files[path] = text
        else:
            lines.append(f"{path} was not written by this command, or was edited since; left alone")
    if state is not None and files and not dry_run:
        _remember(state, {_key(path, state): digest for path in files})
    return Report(tuple(lines), files=files)


def edited(path: Path, state: Path) -> bool:
    """Return whether a description that ITKIT wrote is no longer as it was written."""
    known = _remembered(state).get(_key(path, state), ())
    with contextlib.suppress(OSError, ValueError):
        return bool(known) and os.path.lexists(path) and _digest(read_bounded(path)) not in known
    return True


def remember(path: Path, text: str, state: Path) -> None:
    """Note what a description is to hold, before it is written."""
    _remember(state, {_key(path, state): _digest(text.encode(errors="backslashreplace"))})


def _is_ours(path: Path, operation: str, state: Path | None) -> bool:
    """Whether a description may be replaced: it does not exist, or it is still as this operation wrote it."""
    if not os.path.lexists(path):
        return True
    if state is not None:
        with contextlib.suppress(OSError, ValueError):
            return _digest(read_bounded(path)) in _remembered(state).get(_key(path, state), ())
        return False
    with contextlib.suppress(ValueError):
        history = read_dataset_meta(path).history
        return bool(history) and history[-1].get("operation") == operation
    return False


def _key(path: Path, state: Path) -> str:
    """Return a file's path relative to the state folder, so that a destination can be moved."""
    return Path(os.path.relpath(path, state.absolute())).as_posix()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _remembered(state: Path) -> dict[str, list[str]]:
    value = read_json(state / _WRITTEN)
    known = value if isinstance(value, dict) else {}
    return {path: digests for path, digests in known.items() if isinstance(digests, list)}


def _remember(state: Path, digests: Mapping[str, str]) -> None:
    """Note digests before the files are written; earlier ones are kept too, in case runs are cut off first."""
    if state.is_dir():
        known = _remembered(state)
        new = {path: [*dict.fromkeys([*known.get(path, ())[-_KEPT:], digest])] for path, digest in digests.items()}
        write_json(state / _WRITTEN, {**known, **new})
