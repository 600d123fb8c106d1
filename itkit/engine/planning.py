"""Make the plan of a run, and refuse what can't run before anything is written."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from itkit.core.errors import LayoutError
from itkit.core.fields import PathRole, marker
from itkit.core.operation import Job, Jobs, Operation, Plan, Unpaired, case_ids
from itkit.core.params import Params
from itkit.core.text import counted, some
from itkit.engine.options import RunOptions
from itkit.engine.places import real_path
from itkit.io.layouts import IMAGE, LABEL, require_destination
from itkit.io.overlooked import advice, look_like_pairs, not_read, note_of_pairs, other_layout, pairs_in_one_folder


def make_plan(operation: Operation[Any], params: Params, options: RunOptions) -> Plan:
    """Return the plan of a run or of its shard.

    Raises
    ------
    ParamsError, LayoutError, MissingExtraError
        When nothing can run, or an output would overwrite an input or another output.
    """
    whole = operation.plan(params)
    _refuse_named_inputs(whole, params)
    plan = _sharded(whole, options)
    plan = replace(plan, notes=(*plan.notes, *notes_of_source(plan, params)))
    if options.prune and plan.is_partial:
        raise LayoutError("--prune needs all cases of the source; drop the option that leaves some out (--only)")
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
    jobs = plan.jobs[index - 1 :: count]
    own = set(case_ids(jobs))
    return replace(plan, jobs=jobs, elsewhere=frozenset(case for case in case_ids(plan.jobs) if case not in own))


def _refuse_lone_files(plan: Plan, options: RunOptions) -> None:
    if options.strict and plan.unpaired:
        names = some(f"{item.path} (no {item.lacks})" for item in plan.unpaired)
        raise LayoutError(f"--strict: {len(plan.unpaired)} files have no partner: {names}")


def _refuse_no_work(params: Params, plan: Plan, options: RunOptions) -> None:
    if not plan.jobs and not (options.shard and options.shard != "1/1") and plan.dest is not None:
        lone = f"; {counted(plan.unpaired, 'file')} without a partner: {_lone(plan.unpaired)}" if plan.unpaired else ""
        deeper = ", or add -r for its sub-folders" if "recursive" in type(params).model_fields else ""
        notes = "".join(f"; {note}" for note in plan.notes)
        where = "".join(advice(folder) for folder in _sources(params) if not plan.unpaired and not notes)
        raise LayoutError(
            f"no volume to work on was found in the source{lone}{notes}{where}; "
            f"give the folder that holds the files{deeper}"
        )


def notes_of_source(plan: Plan, params: Params) -> tuple[str, ...]:
    """Return notes on files that a plan does not read: other formats, and pairs with different names."""
    if not plan.jobs and plan.dest is None:  # nothing is to be read
        return ()
    kinds = (file.kind for job in plan.jobs for file in job.inputs.values())
    first = next(kinds, None)
    if first == "file" and all(kind == "file" for kind in kinds):  # the operation itself finds and names its files
        return ()
    recursive = bool(getattr(params, "recursive", "recursive" not in type(params).model_fields))
    images = {item.case_id: item.path for item in plan.unpaired if item.lacks == LABEL}
    labels = {item.case_id: item.path for item in plan.unpaired if item.lacks == IMAGE}
    has_pairs = bool(plan.unpaired) or any(
        {"image", "label"} <= {file.kind for file in job.inputs.values()} for job in plan.jobs
    )
    alone = () if has_pairs else pairs_in_one_folder(case_ids(plan.jobs))
    layouts = [other_layout(folder) for folder in _sources(params)] if recursive and not has_pairs else []
    read = (
        frozenset() if isinstance(plan.jobs, Jobs) else frozenset(file for job in plan.jobs for file in job.more_files)
    )
    folders = _folders(params, recursive=recursive)
    return (
        *filter(None, layouts),
        *(note for folder in folders for note in not_read(folder, read, recursive=recursive)),
        *note_of_pairs(look_like_pairs(images, labels), one_folder=False),
        *note_of_pairs(alone, one_folder=True),
    )


def _refuse_named_inputs(plan: Plan, params: Params) -> None:
    """Refuse a file to write, named by a parameter, that the run reads."""
    named = _paths(params, "out_file")
    if not named:
        return
    read = [file for job in plan.jobs for file in (*(item.path for item in job.inputs.values()), *job.more_files)]
    taken = {real_path(path) for path in (*read, *_paths(params, "in_file"))}
    for path in named:
        if real_path(path) in taken:
            raise LayoutError(f"{path} is an input and would be overwritten; choose another name")


def _paths(params: Params, role: str) -> list[Path]:
    """Return the paths among the parameters that have a role."""
    roles = {name: marker(field, PathRole) for name, field in type(params).model_fields.items()}
    given = [getattr(params, name) for name, found in roles.items() if found is not None and found.role == role]
    return [path for path in given if path is not None]


def _lone(unpaired: Iterable[Unpaired]) -> str:
    return some((f"{item.path.name} (no {item.lacks})" for item in unpaired), 4)


def _sources(params: Params) -> list[Path]:
    """Return the input folders among the parameters."""
    return [folder for folder in dict.fromkeys(_paths(params, "in_folder")) if folder.is_dir()]


def _folders(params: Params, *, recursive: bool) -> list[Path]:
    """Return the folders whose files are looked at; for a dataset, also its image and label folders."""
    found = []
    for folder in _sources(params):
        inside = [folder / name for name in (IMAGE, LABEL) if (folder / name).is_dir()]
        found += [folder] if recursive else [folder, *inside]
    return found


def _refuse_overwriting(plan: Plan) -> None:
    """Refuse two cases with one id, and an output that is an input or the output of two volumes."""
    ids = case_ids(plan.jobs)
    if len(set(ids)) < len(ids):
        twice = next(case for case, count in Counter(ids).items() if count > 1)
        raise LayoutError(f"two cases of the source share the id {twice!r}; rename or move one of them")
    if not _lie_apart(plan.jobs):
        _refuse_same_paths(plan.jobs)


def _lie_apart(jobs: Sequence[Job]) -> bool:
    """Whether it is plain that no output is another one or an input: each kind has a folder without inputs."""
    shared = jobs.targets if isinstance(jobs, Jobs) else None
    if shared is None and jobs:
        first = next(iter(jobs)).targets
        if all(job.targets is first and job.output_ids is None for job in jobs):
            shared = first
    if shared is not None and not shared:
        return True  # nothing is written
    if shared is None or any("/" in case for case in case_ids(jobs)):
        return False
    folders = [os.path.realpath(target.folder) for target in shared.values()]
    if len({*folders}) < len(folders):
        return False
    for case in case_ids(jobs):
        for target in shared.values():
            target.name(case)  # refuses names that lead out of the folder
    read: dict[str, str] = {}
    for text in _read(jobs):
        folder = os.path.dirname(text)  # noqa: PTH120 - for every file
        if folder not in read:
            read[folder] = os.path.realpath(folder)
        if os.path.islink(text):  # noqa: PTH114 - likewise
            read[text] = os.path.dirname(os.path.realpath(text))  # noqa: PTH120 - likewise
    return not {*folders} & {*read.values()}


def _read(jobs: Sequence[Job]) -> Iterator[str]:
    """Yield the paths of all inputs as text."""
    if isinstance(jobs, Jobs) and jobs.reads is not None:
        for case in jobs.ids:
            yield from jobs.reads(case).values()
        return
    yield from (os.fspath(file.path) for job in jobs for file in job.inputs.values())


def _refuse_same_paths(jobs: Sequence[Job]) -> None:
    outputs = [path for job in jobs for path in job.outputs()]
    if not outputs:
        return
    folders: dict[Path, Path] = {}
    inputs = [file.path for job in jobs for file in job.inputs.values()]
    taken = {real_path(path): "is an input and" for path in inputs}
    for path in outputs:
        real = folders.setdefault(path.parent, real_path(path.parent)) / path.name
        if real in taken:
            raise LayoutError(f"{path} {taken[real]} would be overwritten; choose another destination")
        taken[real] = "is the output of two volumes and"
