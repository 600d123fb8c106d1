"""Turn a worker's result into a record, and move its files to their final names."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path

from itkit.core.errors import LayoutError, WriteError
from itkit.core.operation import Record
from itkit.engine.decisions import Decision, is_same_input
from itkit.engine.fingerprint import Fingerprint, is_unchanged
from itkit.engine.foreign import foreign_files, not_to_replace
from itkit.engine.places import place, relative_path
from itkit.engine.session import Session
from itkit.engine.stage import Move, Stage
from itkit.engine.worker import TaskResult


def settle(session: Session, decision: Decision, result: TaskResult, stage: Stage | None) -> Record:
    """Turn a result into a record; rename its files to their final names, and remove the case's earlier outputs."""
    record = Record(
        decision.job.case_id,
        result.status,  # type: ignore[arg-type]  # the worker's statuses are a part of ours
        result.message or "; ".join(result.reasons),
        key=session.key,
        inputs=decision.inputs,
        facts=result.facts,
        warnings=(*decision.warnings, *result.warnings),
        took_s=round(result.took_s, 3),
    )
    how = session.options.fingerprint
    if stage is None:
        return record
    if record.status == "skipped":  # outputs of an earlier run with other parameters are no longer valid
        with contextlib.suppress(WriteError):
            stage.commit(record, [], _stale_files(decision, stage.manifest.dest, how))
        return record
    if record.status != "done":
        with contextlib.suppress(LayoutError):  # on a full disk, only the summary can report it
            stage.manifest.append(stage.operation, record)
        return record
    return _commit(session, decision, result, record, stage)


def _stale_files(decision: Decision, dest: Path, how: Fingerprint) -> list[Path]:
    """Return the earlier outputs of a case, except those that were edited or lie where this run does not write.

    A volume that the case no longer has, such as a label that was withdrawn, may lie anywhere in the destination.
    """
    targets = decision.job.targets
    folders = {place(target.folder) for target in targets.values()}
    if decision.job.output_ids is not None:
        folders.add(place(dest))
    return [
        path
        for item in (decision.before.outputs if decision.before else ())
        for path in [place(dest / item["path"])]
        if is_unchanged(path, item, how)
        and (folders | ({place(dest)} if item.get("name", "") not in {"", *targets} else set())) & {*path.parents}
    ]


def _commit(session: Session, decision: Decision, result: TaskResult, record: Record, stage: Stage) -> Record:
    dest, how = stage.manifest.dest, session.options.fingerprint
    stale = _stale_files(decision, dest, how)
    record = replace(
        record, outputs=tuple({"path": relative_path(file.final, dest), **file.entry} for file in result.files)
    )
    if session.options.existing != "redo":
        ours = {place(dest / item["path"]): item for item in (decision.before.outputs if decision.before else ())}
        present = [place(file.final) for file in result.files if os.path.lexists(file.final)]
        foreign = not_to_replace(foreign_files(present, ours, how), ours)
        if foreign and _was_made_meanwhile(record, stage, how):
            message = f"{record.case_id}: another run has made it"
            return replace(record, status="skipped", message=message, outputs=())
        if foreign:
            message = f"{record.case_id}: {foreign[0].name} exists and was not written by this command; left alone"
            return replace(record, status="left", message=message, outputs=())
    new = {place(file.final) for file in result.files}
    try:
        moves = [Move(file.staged, file.final) for file in result.files]
        return stage.commit(record, moves, [path for path in stale if path not in new])
    except WriteError as error:
        return replace(record, status="failed", message=str(error), outputs=())


def _was_made_meanwhile(record: Record, stage: Stage, how: Fingerprint) -> bool:
    """Whether another run of the same command has finished the case since this run was planned."""
    manifest = stage.manifest
    other = manifest.latest_done(stage.operation).get(record.case_id)
    return (
        other is not None
        and other.key == record.key
        and is_same_input(other.inputs, record.inputs)
        and all(is_unchanged(manifest.dest / output["path"], output, how) for output in other.outputs)
    )
