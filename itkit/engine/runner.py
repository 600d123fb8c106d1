"""Plan, execute and report; every command runs in this way."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path
from typing import Any

from itkit.core.ended import Ended, is_notable
from itkit.core.files import STATE_FOLDER
from itkit.core.operation import FAILED, Job, Operation, Record, Report
from itkit.core.params import Params
from itkit.engine.collect import collect, own_folders
from itkit.engine.decisions import Decision, Decisions, decide
from itkit.engine.executors import Executor
from itkit.engine.glance import at_a_glance
from itkit.engine.gone import Gone, Pruned, describe, find_gone, prune
from itkit.engine.manifest import Manifest
from itkit.engine.options import RunOptions
from itkit.engine.planning import make_plan
from itkit.engine.progress import EventSink, Summary, case_event, start_event, summary_of
from itkit.engine.records import Records
from itkit.engine.resources import available_cores
from itkit.engine.session import Session
from itkit.engine.settle import EndedCase, settle
from itkit.engine.stage import Stage, alone, recover
from itkit.engine.worker import Task
from itkit.io.json_files import write_json
from itkit.io.seen import Seen

RUN_FILE = "run.json"
_GLANCE_S = 0.05
"""Time between two events of cases of which there is nothing to say, where people watch."""


@dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Parameters
    ----------
    records
        One record for each case, sorted by case id.
    summary
        Counts, names and the exit code.
    """

    records: Sequence[Record]
    summary: Summary

    @property
    def exit_code(self) -> int:
        """0: all cases done or skipped; 1: some failed or do not conform; 130: the run was interrupted."""
        return self.summary.exit_code


def execute(
    operation: Operation[Any],
    params: Params,
    options: RunOptions | None = None,
    *,
    on_event: EventSink | None = None,
    on_begin: EventSink | None = None,
    is_brief: bool = False,
    confirm: Callable[[str], bool] | None = None,
) -> RunResult:
    """Run an operation over all its cases.

    Parameters
    ----------
    operation, params
        The operation and its parameters.
    options
        The options of the run.
    on_event
        Called with each progress event.
    on_begin
        Called with an event when the work on a case begins; not by clusters, and not where only headers are read.
    is_brief
        Whether the events of cases need not name files.
    confirm
        Function that asks the user before anything is deleted; without it nothing is deleted.

    Raises
    ------
    ParamsError, LayoutError, MissingExtraError
        When nothing can run; then nothing has been written.
    """
    options = options or RunOptions()
    if options.dask is not None:  # workers may have another working directory
        params = params.absolute()
    emit = on_event or (lambda _: None)
    plan = make_plan(operation, params, options)
    key = params.content_key(
        operation=operation.name,
        version=operation.version,
        compression=options.compression if plan.dest is not None else None,
        seed=options.seed if operation.is_random else None,
    )
    gone: tuple[Gone, ...] = ()
    before: Records | dict[str, Record] = {}
    if plan.dest is None or operation.reads_for(params) == "headers":
        manifest, decisions = None, Decisions.to_run_all(plan.jobs)
    else:
        manifest = Manifest(plan.dest, options.shard)
        if not options.dry_run:
            recover(manifest, own_folders(plan.dest, plan))
        before = manifest.latest_done(operation.name)
        gone = find_gone(before, plan, plan.dest)
        decisions = Decisions(plan.jobs, before, decide(plan, manifest, operation.name, before, key, options))
    emit(start_event(operation.name, plan, decisions.to_run, dry_run=options.dry_run))
    session = Session(
        operation,
        params,
        options,
        plan,
        key,
        manifest,
        available_cores(),
        emit,
        confirm,
        bool(before),
        gone,
        on_begin,
        is_brief or on_event is None,
        Seen(plan.index) if plan.index is not None and operation.reads_for(params) == "headers" else None,
        before.damage() if isinstance(before, Records) else (),
    )
    only_says = operation.is_inspection or (plan.dest is None and not plan.jobs)  # a dry run says it all the same
    if options.dry_run and not only_says:
        return _dry_run(session, decisions)
    with contextlib.closing(session.seen) if session.seen is not None else contextlib.nullcontext():
        return _run(session, decisions)


def _dry_run(session: Session, decisions: Decisions) -> RunResult:
    notes = _Notes(session, len(decisions))
    for decision in decisions:
        folders = dict.fromkeys(str(target.folder) for target in decision.job.targets.values())
        outputs = ", ".join([str(path) for path in decision.job.outputs()] or folders)
        sources = ", ".join(str(file.path) for file in decision.job.inputs.values())
        status = "planned" if decision.action == "run" else decision.action
        message = decision.message or f"{sources} -> {outputs or 'read only'}"
        notes.add(Record(decision.job.case_id, status, message), decision.job)
    gone = _settle_gone(session, is_dry_run=True)
    files = f"planned: for all cases -> {', '.join(map(str, session.plan.writes))}"
    lines = (*session.warnings, *gone.lines, *([files] if session.plan.writes else []))
    return _end(session, notes.in_order(), Report(lines), gone.staying, is_dry_run=True)


def _run(session: Session, decisions: Decisions) -> RunResult:
    stage = None
    executor = session.executor()
    if session.manifest is not None and decisions.to_run:
        folders = own_folders(session.manifest.dest, session.plan)
        stage = Stage.open(session.manifest, session.operation.name, folders)
    with contextlib.closing(stage) if stage is not None else contextlib.nullcontext():
        notes = _Notes(session, len(decisions))
        if stage is not None:
            write_json(stage.manifest.dest / STATE_FOLDER / RUN_FILE, session.describe())
        interrupted = False
        try:
            _do_cases(session, decisions, stage, executor, notes)
        except KeyboardInterrupt:
            interrupted = True
            if stage is not None:
                stage.finish()
        gone = _settle_gone(session, interrupted=interrupted)
        records = notes.in_order()
        report = collect(session, records)
        report = replace(report, lines=(*session.warnings, *gone.lines, *report.lines))
        if session.manifest is not None:
            session.manifest.tidy()
        return _end(session, records, report, gone.staying, interrupted=interrupted)


def _settle_gone(session: Session, *, interrupted: bool = False, is_dry_run: bool = False) -> Pruned:
    """Name the cases that are not made any more, or remove their files where that was asked for."""
    manifest, options = session.manifest, session.options
    if manifest is None or not options.prune or interrupted:
        return Pruned(describe(session.gone), tuple(item.record.case_id for item in session.gone))
    folders = own_folders(manifest.dest, session.plan)
    with contextlib.nullcontext() if is_dry_run else alone(manifest):
        return prune(
            session.gone,
            manifest,
            session.operation.name,
            folders,
            how=options.fingerprint,
            emit=session.emit,
            dry_run=is_dry_run,
        )


def _do_cases(session: Session, decisions: Decisions, stage: Stage | None, executor: Executor, notes: _Notes) -> None:
    flying: dict[str, Decision] = {}

    def done(record: Record, number: int) -> None:
        notes.add(record, None if session.is_brief else session.plan.jobs[number])

    for number, record in decisions.others():
        done(record, number)
    running = decisions.running() if session.seen is None else at_a_glance(session, decisions, session.seen, done)

    def tasks() -> Iterator[Task]:
        for decision in running:
            flying[decision.job.case_id] = decision
            yield session.task(decision, stage)

    results = executor.run(tasks())
    for group in results:
        taken = [(decisions.with_record(flying.pop(task.job.case_id)), task, result) for task, result in group]
        records = settle(session, list(starmap(EndedCase, taken)), stage)
        for record, (task, _) in zip(records, group, strict=True):
            notes.add(record, None if session.is_brief else task.job)
        if session.options.on_error == "stop" and any(record.status in FAILED for record in records):
            results.close()  # type: ignore[attr-defined]  # executors are generators
            break


class _Notes:
    """The records of the cases that have ended; emits an event for each, or for people as often as they can look."""

    def __init__(self, session: Session, total: int) -> None:
        self._records = Ended()
        self._session = session
        self._total = total
        self._held: Record | None = None
        self._next_s = 0.0

    def add(self, record: Record, job: Job | None) -> None:
        self._records.add(record)
        if self._session.is_brief and not is_notable(record):
            now_s = time.monotonic()
            if now_s < self._next_s:
                self._held = record
                return
            self._next_s = now_s + _GLANCE_S
        self._tell(record, job)

    def _tell(self, record: Record, job: Job | None = None) -> None:
        self._held = None
        self._session.emit(case_event(record, len(self._records), self._total, job, self._outputs(record, job)))

    def _outputs(self, record: Record, job: Job | None) -> Sequence[Path]:
        dest = self._session.plan.dest
        if job is None:
            return ()
        made = [dest / output["path"] for output in record.outputs] if dest is not None else []
        return made or (job.outputs() if record.status in ("planned", "skipped", "left") else [])

    def in_order(self) -> Sequence[Record]:
        """Return the records in order of their cases; none can be added afterwards."""
        if self._held is not None:
            self._tell(self._held)
        return self._records


def _end(
    session: Session,
    records: Sequence[Record],
    report: Report,
    gone: Sequence[str] = (),
    *,
    interrupted: bool = False,
    is_dry_run: bool = False,
) -> RunResult:
    manifest = session.manifest if not is_dry_run else None
    details = str(manifest.path) if manifest is not None else ""
    summary = summary_of(
        session.operation, session.plan, records, report, details, interrupted=interrupted, is_dry_run=is_dry_run
    )
    summary = replace(summary, gone=tuple(gone))
    session.emit(summary.event())
    return RunResult(records, summary)
