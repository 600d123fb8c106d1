"""Decide what to do with each case: run it, skip it, or leave a file alone that ITKIT did not write."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from itkit.core.errors import LayoutError
from itkit.core.files import split_extension
from itkit.core.operation import Job, Plan, Record, case_ids
from itkit.core.packed import Packed
from itkit.core.text import counted
from itkit.engine.fingerprint import Fingerprint, is_copy, is_same, is_unchanged
from itkit.engine.foreign import reads_whole
from itkit.engine.manifest import Manifest
from itkit.engine.options import RunOptions
from itkit.engine.places import Outputs, place, placed
from itkit.engine.prints import Prints
from itkit.engine.stage import alone_with_cases
from itkit.engine.unchanged import glance_at

_READERS = 8
"""Number of threads that read inputs to compute their digests."""
_AT_ONCE = 64
_MORE = "more_files"
_ACTIONS: tuple[Literal["run", "skipped", "left"], ...] = ("run", "skipped", "left")
_CODES: tuple[Literal["run", "skipped", "left"], ...] = (*_ACTIONS, "skipped", "run")
_PLAIN, _BARE = len(_ACTIONS), len(_ACTIONS) + 1
"""Codes of a case that is skipped, and of one that is run, of which there is nothing more to say."""
Plain = Literal["run", "skipped"]
"""What to do with a case of which there is nothing more to say; who reads it notes what it is made from."""


@dataclass(frozen=True)
class Decision:
    """What to do with a job, and the manifest's record of it; `Decisions.with_record` adds it to those to run."""

    job: Job
    action: Literal["run", "skipped", "left"]
    message: str = ""
    before: Record | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """The fingerprint of what it is made from; empty if who reads the case makes it."""
    warnings: tuple[str, ...] = ()


class Decisions:
    """The decisions of a run, compactly: those to run with what is needed for it, of the others what is to be said.

    Parameters
    ----------
    jobs
        All jobs.
    before
        The newest finished record of each case.
    found
        The decision on each job, in order.
    """

    def __init__(self, jobs: Sequence[Job], before: Mapping[str, Record], found: Iterable[Decision | Plain]) -> None:
        self._jobs, self._before = jobs, before
        self._actions = bytearray()
        self._said: Packed[tuple[str, dict[str, Any], tuple[str, ...]]] = Packed()
        for item in found:
            if isinstance(item, str):
                self._actions.append(_PLAIN if item == "skipped" else _BARE)
                continue
            plain = item.action == "skipped" and not (item.message or item.warnings)
            self._actions.append(_PLAIN if plain else _ACTIONS.index(item.action))
            if not plain:
                inputs = dict(item.inputs) if item.action == "run" else {}
                self._said.append((item.message, inputs, item.warnings))

    @classmethod
    def to_run_all(cls, jobs: Sequence[Job]) -> Decisions:
        """Return the decisions to run all cases."""
        made = cls(jobs, {}, ())
        made._actions = bytearray([_BARE]) * len(jobs)
        return made

    def __len__(self) -> int:
        return len(self._actions)

    @property
    def to_run(self) -> int:
        """Number of cases to run."""
        return self._actions.count(_ACTIONS.index("run")) + self._actions.count(_BARE)

    def __iter__(self) -> Iterator[Decision]:
        return self._each(*range(_BARE + 1))

    def running(self) -> Iterator[Decision]:
        """Yield the decisions on the cases to run."""
        return self._each(_ACTIONS.index("run"), _BARE)

    def _each(self, *codes: int) -> Iterator[Decision]:
        said = iter(self._said)
        for number, code in enumerate(self._actions):
            message, inputs, warnings = next(said) if code < _PLAIN else ("", {}, ())
            if code not in codes:
                continue
            yield Decision(self._jobs[number], _CODES[code], message, None, inputs, warnings)

    def with_record(self, decision: Decision) -> Decision:
        """Return a decision with the manifest's record, which may be large: it is read when it is needed."""
        return replace(decision, before=self._before.get(decision.job.case_id))

    def others(self) -> Iterator[tuple[int, Record]]:
        """Yield the numbers and the records of the cases that are not run."""
        ids, said = case_ids(self._jobs), iter(self._said)
        for number, (case, code) in enumerate(zip(ids, self._actions, strict=True)):
            message, _, warnings = next(said) if code < _PLAIN else ("", {}, ())
            action = _CODES[code]
            if action != "run":
                yield number, Record(case, action, message, warnings=warnings)


def decide(
    plan: Plan, manifest: Manifest, operation: str, before: Mapping[str, Record], key: str, options: RunOptions
) -> Iterator[Decision | Plain]:
    """Decide what to do with every job of a plan, by the manifest and the files in the destination.

    A case of which there is no more to say is one word. ``before`` has the newest finished record of each case of the
    operation.

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
    look = _Look(manifest, options.fingerprint)
    others = OtherRuns(manifest, operation, waits=not options.dry_run)

    def decided(job: Job, inputs: Mapping[str, Any]) -> Decision:
        record = before.get(job.case_id)
        ours = {} if record is None else look.ours(record)
        expected = look.outputs.of(job)
        warnings = tuple(look.namesakes(expected, ours))
        if options.existing == "redo":
            return Decision(job, "run", "", record, inputs, warnings)
        action, message, replaced = look.judge(job, record, ours, expected, key, inputs)
        if action == "left" and (newer := others.record(job.case_id)) not in (None, record):
            record = newer
            action, message, replaced = look.judge(job, record, look.ours(newer), expected, key, inputs)
        notes = tuple(f"{os.path.basename(path)} was no whole file and is made again" for path in replaced)  # noqa: PTH119
        return Decision(job, action, message, record, inputs, (*warnings, *notes))

    if options.fingerprint == "content":
        yield from (decided(job, inputs) for job, inputs in look.fingerprints(plan.jobs))
        return
    glance = glance_at(plan.jobs, before, key, manifest.at, options, look.prints, look.others)
    for number, case in enumerate(case_ids(plan.jobs)):
        action = None if glance is None else glance.action(case)
        if action is None:
            job = plan.jobs[number]
            yield decided(job, look.prints.of(job, before.get(case)))
        else:
            yield action


class OtherRuns:
    """What runs at the same time have finished since this one has read the manifest; it is read again when it grows.

    ``waits``: for a run that is moving files now; not to be asked for by who keeps the others waiting.
    """

    def __init__(self, manifest: Manifest, operation: str, *, waits: bool) -> None:
        self._manifest, self._operation, self._waits = manifest, operation, waits
        self._sizes: Mapping[Path, int] = {}
        self._records: Mapping[str, Record] = {}

    def record(self, case: str) -> Record | None:
        """Return the newest finished record of a case."""
        with alone_with_cases(self._manifest) if self._waits else nullcontext():
            sizes = self._manifest.sizes()
            if sizes != self._sizes:
                self._sizes, self._records = sizes, self._manifest.latest_done(self._operation)
        return self._records.get(case)


class _Look:
    """Looks at the files of jobs: each at most once, without a path object for it."""

    def __init__(self, manifest: Manifest, how: Fingerprint) -> None:
        self._at, self._how = manifest.at, how
        self.prints = Prints(manifest.dest, how)
        self.outputs = Outputs()
        self.others = lru_cache(maxsize=None)(_others)

    def ours(self, record: Record) -> dict[str, Mapping[str, Any]]:
        """Return a record's outputs by place."""
        return {placed(output["path"], self._at): output for output in record.outputs}

    def namesakes(self, expected: Sequence[str], ours: Mapping[str, Any]) -> Iterator[str]:
        """Warn about files by somebody else that have the same case id as an output, but another extension."""
        for path in expected:
            folder, _, name = path.rpartition(os.sep)
            parts = split_extension(name)
            others = self.others(folder, parts[1]) if parts else {}
            for other in others.get(parts[0], ()) if others and parts else ():
                if f"{folder}{os.sep}{other}" not in ours:
                    yield (f"{other} lies beside {name}: two files of one case, which is refused as input; remove one")

    def fingerprints(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, dict[str, Any]]]:
        """Yield each job with its fingerprint; several threads read the contents of files."""
        from concurrent.futures import ThreadPoolExecutor  # only here: other runs start without

        with ThreadPoolExecutor(_READERS) as readers:
            for batch in _batches(jobs, _AT_ONCE):
                yield from zip(batch, readers.map(self.prints.of, batch), strict=True)

    def judge(
        self,
        job: Job,
        record: Record | None,
        ours: Mapping[str, Any],
        expected: Sequence[str],
        key: str,
        inputs: Mapping[str, Any],
    ) -> tuple[Literal["run", "skipped", "left"], str, Sequence[str]]:
        """Return what to do, the message, and the files that are replaced although they are not as we wrote them."""
        present, foreign = set(), []
        for path in dict.fromkeys([*ours, *expected]):
            try:
                status = os.stat(path)  # noqa: PTH116 - called for thousands of files
            except (OSError, ValueError):  # a name with a zero byte is that of no file
                if not os.path.lexists(path):
                    continue
                status = None
            present.add(path)
            if status is None or path not in ours or not is_unchanged(path, ours[path], self._how, status):
                foreign.append(path)
        kept = [path for path in foreign if path not in ours or reads_whole(Path(path))]
        if kept:
            return "left", f"{job.case_id}: {_why_left(kept[0], ours)}; left alone", ()
        if record is None or foreign or not ours.keys() <= present:
            return "run", "", foreign
        if record.key != key or not is_same_input(record.inputs, inputs):
            return "run", "", ()
        return "skipped", "", ()


def _batches(jobs: Iterable[Job], size: int) -> Iterator[list[Job]]:
    iterator = iter(jobs)
    while batch := list(islice(iterator, size)):
        yield batch


def _others(folder: str, extension: str) -> Mapping[str, Sequence[str]]:
    """Return the volume files of a folder that have another extension, by case id."""
    found: dict[str, list[str]] = {}
    for name in os.listdir(folder) if os.path.isdir(folder) else ():  # noqa: PTH112, PTH208 - a folder of thousands
        parts = split_extension(name)
        if parts is not None and parts[1] != extension:
            found.setdefault(parts[0], []).append(name)
    return found


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
    if known is now:
        return True
    if not (isinstance(known, Mapping) and isinstance(now, Mapping) and {*known, *now} == {"file", "parts"}):
        return bool(known == now)
    old, new = known.get("parts", ()), now.get("parts", ())
    return known.get("file") == now.get("file") and len(old) == len(new) and all(map(is_same, old, new))


def _expected(job: Job, record: Record | None, dest: Path) -> list[Path]:
    recorded = [place(dest / output["path"]) for output in record.outputs] if record else []
    return recorded or [place(path) for path in job.outputs()]


def _why_left(path: str, ours: Mapping[str, Any]) -> str:
    name = os.path.basename(path)  # noqa: PTH119 - a path is a text here
    if path in ours and is_copy(path, ours[path]):
        return f"{name} is a copy, or got other rights, since it was written (--fingerprint content compares bytes)"
    return f"{name} was not written by this command, or was edited since"
