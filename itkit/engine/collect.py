"""The end of a run: write the indexes of its folders, and do what the operation's `collect` asks for."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from itkit.core.ended import notable
from itkit.core.errors import WriteError
from itkit.core.files import DATASET_META, SERIES_META, STATE_FOLDER
from itkit.core.operation import FAILED, Collected, Plan, Record, Report, target_folders
from itkit.engine.actions import Hands
from itkit.engine.carry import carried, edited, remember, there_by_files, there_by_records
from itkit.engine.gone import there
from itkit.engine.index_lines import LinesOfRuns
from itkit.engine.lines import BROKEN
from itkit.engine.places import relative_path
from itkit.engine.records import Records
from itkit.engine.session import Session
from itkit.engine.stage import alone
from itkit.io.json_files import json_text, read_json, write_json
from itkit.io.meta import KnownLines, refresh_index

_DESCRIPTIONS = "descriptions.json"
"""File of the state folder that names the files that describe runs, as far as we have written them."""


def collect(session: Session, records: Sequence[Record]) -> Report:
    """Write the indexes and what the operation asks for; if that fails, the report says so, and the volumes remain."""
    with alone(session.manifest) if session.manifest is not None else contextlib.nullcontext():
        return _collect(session, records)


def _collect(session: Session, records: Sequence[Record]) -> Report:
    manifest, operation, plan = session.manifest, session.operation, session.plan
    folders = () if plan.dest is None else written_folders(plan.dest, plan)
    try:
        standing = manifest.latest_done(operation.name) if manifest is not None else {}
        if manifest is not None:
            standing = there(standing, records, plan, manifest.dest)
        writes_volumes = any(record.outputs for record in standing.values())
        if manifest is not None and (writes_volumes or (manifest.dest / SERIES_META).exists()):
            for folder in folders:
                refresh_index(folder, LinesOfRuns(standing, manifest.dest, folder))
        options = json.loads(session.options.model_dump_json())
        failed = _failed(session, records)
        alike = _alike(standing, records, session.key, failed)
        everything = Collected(plan.dest, records, alike, plan, options, failed)
        report = _asked_for(session, everything)
    except WriteError as error:
        return Report((f"error: {error}",), exit_code=1)

    def lines_of(folder: Path) -> KnownLines | None:
        return None if plan.dest is None else LinesOfRuns(standing, plan.dest, folder)

    if plan.carries is not None:
        folders += plan.carries.folders
    own = folders if plan.dest is None else (*folders, *own_folders(plan.dest, plan))
    hands = Hands(plan.dest, own, session.options, session.emit, session.confirm, lines_of, session.seen)
    try:
        report = hands.do(_sparing(session, report))
        more = hands.do(_carried(session, records, alike))  # after the report's actions: they decide what is there
    except WriteError as error:
        return replace(report, lines=(*report.lines, f"error: {error}"), exit_code=max(1, report.exit_code or 0))
    return replace(
        report,
        lines=(*report.lines, *more.lines),
        exit_code=report.exit_code if more.exit_code is None else max(more.exit_code, report.exit_code or 0),
    )


def _asked_for(session: Session, everything: Collected) -> Report:
    """Return what the operation asks for.

    Raises
    ------
    WriteError
        When it can't be made of what the manifest says of earlier runs' cases, which may have been edited.
    """
    if session.operation.collect is None:
        return Report()
    try:
        return session.operation.collect(session.params, everything)
    except (*BROKEN, IndexError) as error:
        made = sum(record.status == "done" for record in everything.records)
        if session.manifest is None or len(everything.all_records) <= made:
            raise  # all is of this run
        raise WriteError(
            f"{session.manifest.path}: what it says of earlier cases can't be used ({type(error).__name__}: {error}); "
            "--existing redo makes them again"
        ) from error


def _failed(session: Session, records: Sequence[Record]) -> dict[str, Record]:
    """Return the record of each case that failed: of this run, and what manifests say of other shards' cases."""
    failed = {record.case_id: record for record in notable(records) if record.status in FAILED}
    if session.manifest is not None and session.plan.elsewhere:
        others = session.manifest.latest_failed(session.operation.name)
        failed |= {
            case: record
            for case, record in others.items()
            if case in session.plan.elsewhere and record.key == session.key
        }
    return dict(sorted(failed.items()))


def _alike(
    standing: Mapping[str, Record], records: Sequence[Record], key: str, failed: Mapping[str, Record]
) -> Mapping[str, Record]:
    """Return the finished cases that were made with the run's parameters; those that have failed since have files."""
    if not isinstance(standing, Records):
        return {}
    known = {record.case_id for record in records if record.status in ("done", "skipped") and not record.message}

    def is_alike(case: str) -> bool:
        if case in known and case not in failed:
            return True
        record = standing.get(case)
        return record is not None and record.key == key and (bool(record.outputs) or case not in failed)

    return standing.only(case for case in standing if is_alike(case))


def _sparing(session: Session, report: Report) -> Report:
    """Leave out files that stood in the destination before this command first worked there, and name them.

    A ``dataset.json`` that was edited since it was written is left out, too.
    """
    manifest = session.manifest
    if manifest is None or not report.files:
        return report
    state = manifest.dest / STATE_FOLDER
    noted = read_json(state / _DESCRIPTIONS)
    is_noted = isinstance(noted, list) and all(isinstance(name, str) for name in noted)
    known = set(noted) if is_noted else set()
    names = {path: relative_path(manifest.dest / path, manifest.dest) for path in report.files}
    kept = [
        path
        for path, name in names.items()
        if not (session.options.existing == "redo" or name in known or (session.was_here and not is_noted))
        and os.path.lexists(manifest.dest / path)
    ]
    notes = [
        f"{manifest.dest / path} was not written by this command; left alone (--existing redo replaces it)"
        for path in kept
    ]
    described = {path: manifest.dest.absolute() / path for path in names if path.name == DATASET_META}
    changed = [path for path in described if path not in kept and edited(described[path], state)]
    if session.options.existing != "redo":
        kept += changed
        notes += [
            f"{manifest.dest / path} was edited since this command wrote it; left alone (--existing redo replaces it)"
            for path in changed
        ]
    files = {path: content for path, content in report.files.items() if path not in kept}
    write_json(state / _DESCRIPTIONS, sorted(known | {names[path] for path in files}))
    for path in files.keys() & described.keys():
        content = files[path]
        remember(described[path], content if isinstance(content, str) else json_text(content), state)
    return replace(report, lines=(*report.lines, *notes), files=files)


def _carried(session: Session, records: Sequence[Record], alike: Mapping[str, Record]) -> Report:
    """Return a report that writes the dataset's description, if the plan asks for it."""
    plan, options = session.plan, session.options
    if plan.carries is None:
        return Report()
    if plan.dest is not None:
        there = there_by_records(alike.values())
    else:
        conforming = frozenset(record.case_id for record in records if record.status == "done")
        there = there_by_files(plan.jobs, conforming if options.dry_run else None)
    return carried(
        plan.carries,
        there,
        session.operation.name,
        session.params,
        state=None if plan.dest is None else plan.dest / STATE_FOLDER,
        redo=options.existing == "redo",
        dry_run=options.dry_run,
    )


def written_folders(dest: Path, plan: Plan) -> tuple[Path, ...]:
    """Return the destination, and the target folders that lie outside it."""
    at = dest.absolute()
    others = [folder for folder in target_folders(plan.jobs) if at not in (there := folder.absolute(), *there.parents)]
    return tuple(dict.fromkeys([dest, *others]))


def own_folders(dest: Path, plan: Plan) -> tuple[Path, ...]:
    """Return the folders in which a run writes: the destination and all target folders, which may be links."""
    return tuple(dict.fromkeys([dest, *target_folders(plan.jobs)]))
