"""Plan, execute, report: the one way in which every command runs."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from itkit.core.errors import CaseError, LayoutError, ReadError, WriteError
from itkit.core.files import SERIES_META, STATE_FOLDER
from itkit.core.operation import Collected, Operation, Plan, Record, Report
from itkit.core.params import Params
from itkit.core.version import VERSION
from itkit.engine.actions import Hands
from itkit.engine.carry import carried, there_by_files, there_by_records
from itkit.engine.decisions import Decision, decide, foreign_files, place, relative_path
from itkit.engine.executors import Executor, ProcessExecutor, SerialExecutor
from itkit.engine.manifest import Manifest
from itkit.engine.options import RunOptions
from itkit.engine.progress import EventSink, Summary, case_event, start_event, summary_of
from itkit.engine.resources import available_cores, available_memory
from itkit.engine.stage import Move, Stage, alone, is_unchanged, recover
from itkit.engine.worker import Task, TaskResult, describe_inputs
from itkit.io.layouts import require_destination
from itkit.io.meta import refresh_index, write_json

RUN_FILE = "run.json"


@dataclass(frozen=True)
class RunResult:
    """What a run has done.

    Parameters
    ----------
    records
        One record a case, sorted by case id.
    summary
        Counts, names and the exit code.
    """

    records: tuple[Record, ...]
    summary: Summary

    @property
    def exit_code(self) -> int:
        """0 all done or skipped; 1 some case failed or does not conform; 130 interrupted."""
        return self.summary.exit_code


def execute(
    operation: Operation[Any],
    params: Params,
    options: RunOptions | None = None,
    *,
    on_event: EventSink | None = None,
    confirm: Callable[[str], bool] | None = None,
) -> RunResult:
    """Run an operation over all its cases.

    Parameters
    ----------
    operation, params
        What to do.
    options
        How to run it.
    on_event
        Called with each progress event.
    confirm
        Asked before anything is deleted; without it the answer is no.

    Raises
    ------
    ParamsError, LayoutError, MissingExtraError
        When nothing can run; nothing has been written then.
    """
    options = options or RunOptions()
    if options.dask is not None:  # workers may stand in another folder
        params = params.absolute()
    emit = on_event or (lambda _: None)
    plan = _sharded(operation.plan(params), options)
    _refuse(params, plan, options)
    key = params.content_key(
        operation=operation.name,
        version=operation.version,
        compression=options.compression if plan.dest is not None else None,
        seed=options.seed if operation.is_random else None,
    )
    if plan.dest is None or operation.reads_for(params) == "headers":
        manifest, decisions = None, [Decision(job, "run") for job in plan.jobs]
    else:
        manifest = Manifest(plan.dest, options.shard)
        if not options.dry_run:
            recover(manifest)
        decisions = list(decide(operation, plan, manifest, key, options))
    emit(start_event(operation.name, plan, [d.action for d in decisions], dry_run=options.dry_run))
    session = _Session(operation, params, options, plan, key, emit, available_cores())
    if options.dry_run and not operation.is_inspection:
        return session.dry_run(decisions)
    return session.run(decisions, manifest, confirm)


def _sharded(plan: Plan, options: RunOptions) -> Plan:
    if options.shard is None:
        return plan
    index, count = (int(part) for part in options.shard.split("/"))
    return replace(plan, jobs=plan.jobs[index - 1 :: count])


def _refuse(params: Params, plan: Plan, options: RunOptions) -> None:
    if options.strict and plan.unpaired:
        names = ", ".join(f"{item.path} (no {item.lacks})" for item in plan.unpaired)
        raise LayoutError(f"--strict: {len(plan.unpaired)} files have no partner: {names}")
    if not plan.jobs and not (options.shard and options.shard != "1/1") and plan.dest is not None:
        lone = f"; {len(plan.unpaired)} files have no partner" if plan.unpaired else ""
        deeper = ", or add -r for its sub-folders" if "recursive" in type(params).model_fields else ""
        raise LayoutError(
            f"no volume to work on was found in the source{lone}; give the folder that holds the files{deeper}"
        )
    if len({job.case_id for job in plan.jobs}) < len(plan.jobs):
        twice = next(case for case, count in Counter(job.case_id for job in plan.jobs).items() if count > 1)
        raise LayoutError(f"two cases of the source share the id {twice!r}; rename or move one of them")
    outputs = [path for job in plan.jobs for path in job.outputs()]
    folders: dict[Path, Path] = {}
    taken = (
        {file.path.resolve(): "is an input and" for job in plan.jobs for file in job.inputs.values()} if outputs else {}
    )
    for path in outputs:
        real = folders.setdefault(path.parent, path.parent.resolve()) / path.name
        if real in taken:
            raise LayoutError(f"{path} {taken[real]} would be overwritten; choose another destination")
        taken[real] = "is the output of two volumes and"
    if plan.dest is not None:
        require_destination(plan.dest)


@dataclass(frozen=True, eq=False)
class _Session:
    """One run under way."""

    operation: Operation[Any]
    params: Params
    options: RunOptions
    plan: Plan
    key: str
    emit: EventSink
    cores: int

    def dry_run(self, decisions: Sequence[Decision]) -> RunResult:
        records = []
        for number, decision in enumerate(decisions, 1):
            folders = dict.fromkeys(str(target.folder) for target in decision.job.targets.values())
            outputs = ", ".join([str(path) for path in decision.job.outputs()] or folders)
            sources = ", ".join(str(file.path) for file in decision.job.inputs.values())
            status = "planned" if decision.action == "run" else decision.action
            record = Record(decision.job.case_id, status, decision.message or f"{sources} -> {outputs or 'read only'}")  # type: ignore[arg-type]  # actions are statuses
            records.append(record)
            self.emit(case_event(record, number, len(decisions)))
        return self._end(records, Report(), None, is_dry_run=True)

    def run(
        self, decisions: Sequence[Decision], manifest: Manifest | None, confirm: Callable[[str], bool] | None
    ) -> RunResult:
        stage = None
        executor = self._executor()
        if manifest is not None and any(decision.action == "run" for decision in decisions):
            stage = Stage.open(manifest, self.operation.name)
        with contextlib.closing(stage) if stage is not None else contextlib.nullcontext():
            return self._run(decisions, manifest, stage, executor, confirm)

    def _run(
        self,
        decisions: Sequence[Decision],
        manifest: Manifest | None,
        stage: Stage | None,
        executor: Executor,
        confirm: Callable[[str], bool] | None,
    ) -> RunResult:
        records: list[Record] = []
        interrupted = False
        if stage is not None:
            write_json(stage.manifest.dest / STATE_FOLDER / RUN_FILE, self.describe())
        try:
            for decision in decisions:
                if decision.action != "run":
                    record = Record(
                        decision.job.case_id,
                        decision.action,  # type: ignore[arg-type]  # actions are statuses
                        decision.message,
                        warnings=decision.warnings,
                    )
                    self._note(records, record, len(decisions))
            by_case = {decision.job.case_id: decision for decision in decisions if decision.action == "run"}
            tasks = (self._task(decision, number, stage) for number, decision in enumerate(by_case.values()))
            results = executor.run(tasks if self._is_serial else list(tasks))
            for task, result in results:
                decision = by_case[task.job.case_id]
                record = self._settle(decision, result, stage)
                self._note(records, record, len(decisions))
                if record.status in ("failed", "crashed") and self.options.on_error == "stop":
                    results.close()  # type: ignore[attr-defined]  # executors are generators
                    break
        except KeyboardInterrupt:
            interrupted = True
        return self._end(records, self._collect(records, manifest, confirm), manifest, interrupted=interrupted)

    def describe(self) -> dict[str, Any]:
        """Everything that repeats this run."""
        return {
            "itkit": VERSION,
            "operation": self.operation.name,
            "params": self.params.absolute_values(),
            "options": json.loads(self.options.model_dump_json(exclude_defaults=True, exclude={"dry_run", "config"})),
        }

    @property
    def _is_serial(self) -> bool:
        wanted = self.options.executor
        if self.operation.reads_for(self.params) == "headers":
            return True  # a header costs less than a message to a worker
        return wanted == "serial" or (wanted is None and self.options.dask is None and self._workers() == 1)

    def _workers(self) -> int:
        if self.options.workers is not None:
            return self.options.workers
        return self.cores if self.options.mp or self.options.executor in ("process", "dask") else 1

    def _executor(self) -> Executor:
        budget = self.options.max_memory or int(0.8 * available_memory())
        if self._is_serial:
            return SerialExecutor(budget)
        if self.options.executor == "dask" or self.options.dask is not None:
            from itkit.engine.dask_executor import DaskExecutor  # and what it is made of: other runs start without

            return DaskExecutor(self.options.dask, self._workers(), budget)
        return ProcessExecutor(self._workers(), budget)

    def _task(self, decision: Decision, number: int, stage: Stage | None) -> Task:
        nbytes = 0
        if self.operation.reads_for(self.params) != "headers":
            inputs = describe_inputs(decision.job)
            measure = self.operation.memory
            with contextlib.suppress(CaseError):  # the case itself will say it
                nbytes = measure(inputs, self.params) if measure else 3 * sum(item.nbytes for item in inputs.values())
        return Task(
            self.operation,
            self.params,
            decision.job,
            stage=None if stage is None else stage.folder / str(number),
            compression=self.options.compression,
            seed=self.options.seed,
            threads=self.cores if self._is_serial else 1,
            nbytes=nbytes,
        )

    def _settle(self, decision: Decision, result: TaskResult, stage: Stage | None) -> Record:
        """Turn a result into a record; move its files into place."""
        record = Record(
            decision.job.case_id,
            result.status,  # type: ignore[arg-type]  # the worker's statuses are a part of ours
            result.message or "; ".join(result.reasons),
            key=self.key,
            inputs=decision.inputs,
            facts=result.facts,
            warnings=(*decision.warnings, *result.warnings),
            took_s=round(result.took_s, 3),
        )
        if stage is None:
            return record
        dest = stage.manifest.dest
        old = decision.before.outputs if decision.before else ()
        folders = {place(target.folder) for target in decision.job.targets.values()}
        if decision.job.output_ids is not None:
            folders.add(place(dest))
        stale = [
            place(dest / item["path"])
            for item in old
            if is_unchanged(dest / item["path"], item) and folders & {*place(dest / item["path"]).parents}
        ]
        if record.status == "skipped":  # what an earlier run made of it with other parameters no longer holds
            with contextlib.suppress(WriteError):
                stage.commit(record, [], stale)
            return record
        if record.status != "done":
            with contextlib.suppress(LayoutError):  # on a full disk the summary alone can say it
                stage.manifest.append(self.operation.name, record)
            return record
        outputs = tuple({"path": relative_path(file.final, dest), **file.entry} for file in result.files)
        record = replace(record, outputs=outputs)
        new = {place(file.final) for file in result.files}
        foreign = (
            []
            if self.options.existing == "redo"
            else foreign_files(result, {place(dest / item["path"]): item for item in old})
        )
        if foreign and self._was_made_meanwhile(record, stage.manifest):
            return replace(record, status="skipped", message=f"{record.case_id}: another run has made it", outputs=())
        if foreign:
            message = f"{record.case_id}: {foreign[0].name} exists and was not written by this command; left alone"
            return replace(record, status="left", message=message, outputs=())
        moves = [Move(file.staged, file.final) for file in result.files]
        try:
            stage.commit(record, moves, [path for path in stale if path not in new])
        except WriteError as error:
            return replace(record, status="failed", message=str(error), outputs=())
        return record

    def _was_made_meanwhile(self, record: Record, manifest: Manifest) -> bool:
        """Whether another run of the same command has finished a case since this one was planned."""
        other = manifest.latest_done(self.operation.name).get(record.case_id)
        return (
            other is not None
            and (other.key, other.inputs) == (record.key, record.inputs)
            and all(is_unchanged(manifest.dest / output["path"], output) for output in other.outputs)
        )

    def _note(self, records: list[Record], record: Record, total: int) -> None:
        records.append(record)
        self.emit(case_event(record, len(records), total))

    def _collect(
        self, records: list[Record], manifest: Manifest | None, confirm: Callable[[str], bool] | None
    ) -> Report:
        """Write the index and the operation's sidecars; where that fails, the volumes stand and the report says so."""
        records.sort(key=lambda record: record.case_id)
        with alone(manifest) if manifest is not None else contextlib.nullcontext():
            return self._describe(records, manifest, confirm)

    def _describe(
        self, records: list[Record], manifest: Manifest | None, confirm: Callable[[str], bool] | None
    ) -> Report:
        try:
            standing = manifest.latest_done(self.operation.name) if manifest is not None else {}
            if manifest is not None and (standing or (manifest.dest / SERIES_META).exists()):
                for folder in dict.fromkeys(_index_folders(manifest.dest, self.plan)):
                    refresh_index(folder, _known_entries(standing.values(), manifest.dest, folder))
            options = json.loads(self.options.model_dump_json())
            alike = {case: record for case, record in standing.items() if record.key == self.key}
            everything = Collected(self.plan.dest, tuple(records), alike, self.plan, options)
            report = Report() if self.operation.collect is None else self.operation.collect(self.params, everything)
        except WriteError as error:
            return Report((f"error: {error}",), exit_code=1)

        def entries_of(folder: Path) -> dict[str, Any]:
            dest = self.plan.dest
            return {} if dest is None else _known_entries(standing.values(), dest, folder)

        folders = tuple(_index_folders(self.plan.dest, self.plan)) if self.plan.dest is not None else ()
        if self.plan.carries is not None:
            folders += self.plan.carries.folders
        hands = Hands(self.plan.dest, folders, self.options, self.emit, confirm, entries_of)
        report = hands.do(report)
        more = hands.do(self._carried(records, alike))  # after the report's actions: they decide what is there
        return replace(
            report,
            lines=(*report.lines, *more.lines),
            exit_code=report.exit_code if more.exit_code is None else max(more.exit_code, report.exit_code or 0),
        )

    def _carried(self, records: Sequence[Record], alike: Mapping[str, Record]) -> Report:
        """Ask for the dataset's description where the plan carries it on."""
        carries = self.plan.carries
        if carries is None:
            return Report()
        if self.plan.dest is not None:
            there = there_by_records(alike.values())
        else:
            conforming = frozenset(record.case_id for record in records if record.status == "done")
            there = there_by_files(self.plan.jobs, conforming if self.options.dry_run else None)
        return carried(
            carries,
            there,
            self.operation.name,
            self.params,
            state=None if self.plan.dest is None else self.plan.dest / STATE_FOLDER,
            redo=self.options.existing == "redo",
            dry_run=self.options.dry_run,
        )

    def _end(
        self,
        records: list[Record],
        report: Report,
        manifest: Manifest | None,
        *,
        interrupted: bool = False,
        is_dry_run: bool = False,
    ) -> RunResult:
        details = str(manifest.path) if manifest is not None else ""
        summary = summary_of(
            self.operation, self.plan, records, report, details, interrupted=interrupted, is_dry_run=is_dry_run
        )
        self.emit(summary.event())
        return RunResult(tuple(sorted(records, key=lambda record: record.case_id)), summary)


def _index_folders(dest: Path, plan: Plan) -> Iterator[Path]:
    """Yield the destination, and folders of targets that lie outside it."""
    yield dest
    for job in plan.jobs:
        for target in job.targets.values():
            if dest.absolute() not in (target.folder.absolute(), *target.folder.absolute().parents):
                yield target.folder


def _known_entries(records: Any, dest: Path, folder: Path) -> dict[str, Any]:
    """Index entries of what runs have written below a folder."""
    entries = {}
    for record in records:
        for output in record.outputs:
            if "size" in output:
                names = ("size", "spacing", "origin_xyz", "direction_xyz", "dtype", "classes")
                file = {"bytes": output["bytes"], "mtime_ns": output["mtime_ns"]}
                entries[relative_path(dest / output["path"], folder)] = {
                    **{name: output[name] for name in names},
                    "file": file,
                }
    return entries


__all__ = ["RUN_FILE", "ReadError", "RunResult", "execute"]
