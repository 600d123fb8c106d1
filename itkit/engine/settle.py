"""Turn the results of workers into records, and move their files to their final names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from itkit.core.errors import LayoutError
from itkit.core.operation import Record
from itkit.engine.decisions import Decision, OtherRuns, is_same_input
from itkit.engine.fingerprint import Fingerprint, is_unchanged
from itkit.engine.foreign import foreign_files, not_to_replace
from itkit.engine.journal import Commit, Move
from itkit.engine.places import place, relative_place
from itkit.engine.session import Session
from itkit.engine.stage import Stage, alone_with_cases
from itkit.engine.worker import Task, TaskResult


@dataclass(frozen=True)
class EndedCase:
    """A case on which the work has ended."""

    decision: Decision
    task: Task
    result: TaskResult


def settle(session: Session, ended: Sequence[EndedCase], stage: Stage | None) -> list[Record]:
    """Turn results of cases that ended together into records.

    Their files are renamed to their final names, and the earlier outputs of the cases are removed.
    """
    records = [_record(session, case.decision, case.result) for case in ended]
    if stage is None:
        return records
    with alone_with_cases(stage.manifest):
        for group in _apart(ended, stage.manifest.dest):
            _settle(session, ended, group, records, stage)
    return records


def _apart(ended: Sequence[EndedCase], dest: Path) -> list[list[int]]:
    """Return the numbers of cases in groups in which none has a file of another one: the later has to see the earlier.

    A file is one that the case writes, or an earlier output that may go.
    """
    if len(ended) == 1:
        return [[0]]
    groups: list[list[int]] = [[]]
    taken: set[str] = set()
    for number, case in enumerate(ended):
        files = {file.final for file in case.result.files}
        if case.decision.before is not None:
            files |= {str(place(dest / item["path"])) for item in case.decision.before.outputs}
        if not taken.isdisjoint(files):
            groups.append([])
            taken = set()
        groups[-1].append(number)
        taken |= files
    return groups


def _settle(
    session: Session, ended: Sequence[EndedCase], numbers: Sequence[int], records: list[Record], stage: Stage
) -> None:
    """Settle some of the cases; their records are replaced by those that say what became of them."""
    commits: dict[int, Commit] = {}
    others = OtherRuns(stage.manifest, stage.operation, waits=False)  # `settle` keeps them waiting
    for number in numbers:
        case = ended[number]
        if records[number].status == "skipped":  # outputs of an earlier run with other parameters are not valid now
            stale = _stale_files(case.decision, stage.manifest.dest, session.options.fingerprint)
            commits[number] = Commit(records[number], stale=stale)
        elif records[number].status == "done":
            found = _commit(session, case, records[number], stage, others)
            if isinstance(found, Commit):
                commits[number] = found
            else:
                records[number] = found
    failed = [records[number] for number in numbers if records[number].status not in ("done", "skipped", "left")]
    if failed:
        with contextlib.suppress(LayoutError):  # on a full disk, only the summary can report it
            stage.manifest.append(stage.operation, *failed)
    for number, made in zip(commits, stage.commit([*commits.values()]), strict=True):
        if isinstance(made, Record):
            records[number] = made
            stage.take_back(commits[number])
        elif records[number].status == "done":
            records[number] = replace(records[number], status="failed", message=str(made), outputs=())


def _record(session: Session, decision: Decision, result: TaskResult) -> Record:
    return Record(
        decision.job.case_id,
        result.status,  # type: ignore[arg-type]  # the worker's statuses are a part of ours
        result.message or "; ".join(result.reasons),
        key=session.key,
        inputs=session.prints(decision, result),
        facts=result.facts,
        warnings=(*decision.warnings, *result.warnings),
        took_s=round(result.took_s, 3),
    )


def _stale_files(decision: Decision, dest: Path, how: Fingerprint) -> list[Path]:
    """Return the earlier outputs of a case, except those that were edited or lie where this run does not write.

    A volume that the case no longer has, such as a label that was withdrawn, may lie anywhere in the destination.
    """
    if decision.before is None:
        return []
    targets = decision.job.targets
    folders = {place(target.folder) for target in targets.values()}
    if decision.job.output_ids is not None:
        folders.add(place(dest))
    return [
        path
        for item in decision.before.outputs
        for path in [place(dest / item["path"])]
        if is_unchanged(path, item, how)
        and (folders | ({place(dest)} if item.get("name", "") not in {"", *targets} else set())) & {*path.parents}
    ]


def _commit(session: Session, case: EndedCase, record: Record, stage: Stage, others: OtherRuns) -> Commit | Record:
    """Return what is to be moved for a case, or its record if other files stand in the way."""
    decision, result = case.decision, case.result
    dest, how = stage.manifest.dest, session.options.fingerprint
    stale = _stale_files(decision, dest, how)
    at = stage.manifest.at
    record = replace(
        record, outputs=tuple({"path": relative_place(file.final, at), **file.entry} for file in result.files)
    )
    if session.options.existing != "redo":
        ours = {place(dest / item["path"]): item for item in (decision.before.outputs if decision.before else ())}
        present = [Path(file.final) for file in result.files if os.path.lexists(file.final)]
        foreign = not_to_replace(foreign_files(present, ours, how), ours)
        if foreign and _was_made_meanwhile(record, others, stage.manifest.dest, how):
            message = f"{record.case_id}: another run has made it"
            return replace(record, status="skipped", message=message, outputs=())
        if foreign:
            message = f"{record.case_id}: {foreign[0].name} exists and was not written by this command; left alone"
            return replace(record, status="left", message=message, outputs=())
    new = {file.final for file in result.files} if stale else set()
    moves = [Move(file.staged, file.final) for file in result.files]
    late = [path for path in stale if str(path) not in new]
    return Commit(record, moves, late, is_flushed=result.is_flushed, folder=case.task.stage)


def _was_made_meanwhile(record: Record, others: OtherRuns, dest: Path, how: Fingerprint) -> bool:
    """Whether another run of the same command has finished the case since this run was planned."""
    other = others.record(record.case_id)
    return (
        other is not None
        and other.key == record.key
        and is_same_input(other.inputs, record.inputs)
        and all(is_unchanged(dest / output["path"], output, how) for output in other.outputs)
    )
