"""The plan of a run, and what is refused before anything is written."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from itkit.core.errors import LayoutError
from itkit.core.operation import Operation, Plan
from itkit.core.params import Params
from itkit.engine.options import RunOptions
from itkit.io.layouts import require_destination


def make_plan(operation: Operation[Any], params: Params, options: RunOptions) -> Plan:
    """Return what a run, or its shard, would do.

    Raises
    ------
    ParamsError, LayoutError, MissingExtraError
        When nothing can run, or an output would overwrite an input or another output.
    """
    plan = _sharded(operation.plan(params), options)
    _refuse_lone_files(plan, options)
    _refuse_no_work(params, plan, options)
    _refuse_overwriting(plan)
    if plan.dest is not None:
        require_destination(plan.dest)
    return plan


def _sharded(plan: Plan, options: RunOptions) -> Plan:
    if options.shard is None:
        return plan
    index, count = (int(part) for part in options.shard.split("/"))
    return replace(plan, jobs=plan.jobs[index - 1 :: count])


def _refuse_lone_files(plan: Plan, options: RunOptions) -> None:
    if options.strict and plan.unpaired:
        names = ", ".join(f"{item.path} (no {item.lacks})" for item in plan.unpaired)
        raise LayoutError(f"--strict: {len(plan.unpaired)} files have no partner: {names}")


def _refuse_no_work(params: Params, plan: Plan, options: RunOptions) -> None:
    if not plan.jobs and not (options.shard and options.shard != "1/1") and plan.dest is not None:
        lone = f"; {len(plan.unpaired)} files have no partner" if plan.unpaired else ""
        deeper = ", or add -r for its sub-folders" if "recursive" in type(params).model_fields else ""
        raise LayoutError(
            f"no volume to work on was found in the source{lone}; give the folder that holds the files{deeper}"
        )


def _refuse_overwriting(plan: Plan) -> None:
    if len({job.case_id for job in plan.jobs}) < len(plan.jobs):
        twice = next(case for case, count in Counter(job.case_id for job in plan.jobs).items() if count > 1)
        raise LayoutError(f"two cases of the source share the id {twice!r}; rename or move one of them")
    outputs = [path for job in plan.jobs for path in job.outputs()]
    if not outputs:
        return
    folders: dict[Path, Path] = {}
    taken = {file.path.resolve(): "is an input and" for job in plan.jobs for file in job.inputs.values()}
    for path in outputs:
        real = folders.setdefault(path.parent, path.parent.resolve()) / path.name
        if real in taken:
            raise LayoutError(f"{path} {taken[real]} would be overwritten; choose another destination")
        taken[real] = "is the output of two volumes and"
