"""Cases that stand in a destination though a run does not make them any more: deleted, renamed, label withdrawn."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from itkit.core.operation import Plan, Record, case_ids
from itkit.core.text import counted, some
from itkit.engine.fingerprint import Fingerprint, is_unchanged
from itkit.engine.manifest import Manifest
from itkit.engine.places import leads_inside, place
from itkit.engine.progress import EventSink, action_event
from itkit.engine.records import Records
from itkit.io.transfer import delete_file


@dataclass(frozen=True)
class Gone:
    """A case of the destination that no job makes any more, and its files that are still there."""

    record: Record
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Pruned:
    """What became of the cases that are gone: what to tell, and the cases that still have files."""

    lines: tuple[str, ...]
    staying: tuple[str, ...]


def find_gone(before: Mapping[str, Record], plan: Plan, dest: Path) -> tuple[Gone, ...]:
    """Return the finished cases that a plan does not make, as far as files of theirs are there.

    Parameters
    ----------
    before
        The newest finished record of each case.
    plan
        What is made; another shard's cases count.
    dest
        The destination.
    """
    if plan.is_partial:
        return ()
    made = {*case_ids(plan.jobs), *plan.elsewhere}
    cases = [case for case in before if case not in made]
    if not cases:
        return ()
    gone = [record for case in sorted(cases) if (record := before.get(case)) is not None]
    stays = (before.get(case) for case in before.keys() & made)  # a damaged line is none
    standing = {place(dest / output["path"]) for record in stays if record is not None for output in record.outputs}
    standing.update(place(path) for job in plan.jobs for path in job.outputs())
    found = []
    for record in gone:
        paths = (place(dest / output["path"]) for output in record.outputs)
        files = tuple(path for path in paths if path not in standing and os.path.lexists(path))
        if files:
            found.append(Gone(record, files))
    return tuple(found)


def describe(gone: Sequence[Gone]) -> tuple[str, ...]:
    """Return the line that names the cases, and what removes their files; none where there is no such case."""
    if not gone:
        return ()
    names = some(f"{item.record.case_id} ({counted(item.files, 'file')})" for item in gone)
    return (
        f"warning: {counted(gone, 'case')} of the destination {'is' if len(gone) == 1 else 'are'} no longer made from "
        f"the source: {names}; --prune removes what is still as it was written",
    )


def prune(
    gone: Sequence[Gone],
    manifest: Manifest,
    operation: str,
    folders: Sequence[Path],
    *,
    how: Fingerprint,
    emit: EventSink,
    dry_run: bool,
) -> Pruned:
    """Remove the files of cases that are gone; those that were edited since, or lie elsewhere, are left and named.

    Parameters
    ----------
    gone
        The cases.
    manifest, operation
        Where it is noted that they are gone.
    folders
        Folders in which the run may write.
    how
        What tells that a file is the one that was written.
    emit
        Called with an event for each file.
    dry_run
        Whether to say what would be removed, and to touch nothing.
    """
    lines: list[str] = []
    staying: list[str] = []
    removed = 0
    for item in gone:
        record = item.record
        known = {place(manifest.dest / output["path"]): output for output in record.outputs}
        left = []
        for path in item.files:
            inside = leads_inside(path, folders)
            if not inside or not is_unchanged(path, known[path], how):
                why = "was edited since it was written" if inside else "lies outside the destination"
                lines.append(f"left: {path} {why}")
                left.append(path)
            elif dry_run:
                lines.append(f"would delete {path}")
            elif failed := delete_file(path):
                lines += failed
                left.append(path)
            else:
                removed += 1
                emit(action_event("delete", path))
        if left or dry_run:
            staying.append(record.case_id)
        else:
            note = Record(record.case_id, "skipped", "no longer made from the source; removed", key=record.key)
            manifest.append(operation, note)
        if not dry_run:
            _remove_empty({path.parent for path in item.files}, folders)
    names = some(item.record.case_id for item in gone if item.record.case_id not in staying)
    if removed:
        lines.append(f"deleted {counted(removed, 'file')} of cases that are no longer made from the source: {names}")
    return Pruned(tuple(lines), tuple(staying))


def _remove_empty(parents: set[Path], roots: Sequence[Path]) -> None:
    """Remove folders that hold nothing any more, up to the folders in which the run writes."""
    for folder in parents:
        with contextlib.suppress(OSError):
            while leads_inside(folder, roots):
                folder.rmdir()
                folder = folder.parent


def there(records: Mapping[str, Record], made: Iterable[Record], plan: Plan, dest: Path) -> Mapping[str, Record]:
    """Return the records whose files are there: a run has just seen those that it made or skipped.

    Parameters
    ----------
    records
        The newest finished record of each case.
    made
        The records of this run.
    plan, dest
        What was planned, and for where.
    """
    sure = set(plan.elsewhere)
    others: set[str] = set()
    for record in made:
        (sure if record.status in ("done", "skipped") else others).add(record.case_id)

    def stands(case: str) -> bool:
        if case in sure or (plan.is_partial and case not in others):
            return True
        record = records.get(case)
        return (
            record is not None
            and bool(record.outputs)
            and all(os.path.lexists(dest / output["path"]) for output in record.outputs)
        )

    kept = [case for case in records if stands(case)]
    return records.only(kept) if isinstance(records, Records) else {case: records[case] for case in kept}
