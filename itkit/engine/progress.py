"""Events of a run, and its summary. Terminals, pages and logs are made from these alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itkit.core.ended import counts_of, notable
from itkit.core.operation import Job, Operation, Plan, Record, Report
from itkit.core.text import some

Event = Mapping[str, Any]
EventSink = Callable[[Event], None]
EVENTS = "ITKIT_EVENTS"
"""Environment variable: with ``begin``, the JSON lines of a run also say when the work on each case begins."""

_WORDS = {
    "planned": "would be done",
    "done": "done",
    "skipped": "skipped",
    "left": "left alone",
    "nonconforming": "nonconforming",
    "failed": "failed",
    "crashed": "crashed (a fault of ITKIT; please report it)",
}
_NAMED = ("failed", "crashed", "left", "nonconforming")


def start_event(operation: str, plan: Plan, to_do: int, *, dry_run: bool) -> Event:
    """Return the event that opens a run."""
    return {
        "event": "start",
        "operation": operation,
        "total": len(plan.jobs),
        "to_do": to_do,
        "unpaired": [{"case": item.case_id, "path": str(item.path), "lacks": item.lacks} for item in plan.unpaired],
        "notes": list(plan.notes),
        "dest": None if plan.dest is None else str(plan.dest),
        "dry_run": dry_run,
    }


def begin_event(job: Job) -> Event:
    """Return the event of one case whose work begins."""
    return {"event": "begin", "case": job.case_id, "inputs": [str(file.path) for file in job.inputs.values()]}


def case_event(record: Record, number: int, total: int, job: Job | None = None, outputs: Sequence[Path] = ()) -> Event:
    """Return the event of one case that has ended, with the files that it read and wrote, or would write."""
    return {
        "event": "case",
        "case": record.case_id,
        "status": record.status,
        "message": record.message,
        "warnings": list(record.warnings),
        "seconds": record.took_s,
        "number": number,
        "total": total,
        "inputs": [] if job is None else [str(file.path) for file in job.inputs.values()],
        "outputs": [str(path) for path in outputs],
    }


def action_event(action: str, path: Path, final: Path | None = None) -> Event:
    """Return the event for a volume that was copied or linked to its final path, or a file that was deleted."""
    return {"event": "action", "action": action, "path": str(path), "final": None if final is None else str(final)}


@dataclass(frozen=True)
class Summary:
    """The result of a run: counts, names and exit code."""

    operation: str
    counts: Mapping[str, int]
    names: Mapping[str, tuple[str, ...]]
    unpaired: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    manifest: str = ""
    interrupted: bool = False
    exit_code: int = 0
    done_word: str = "done"
    gone: tuple[str, ...] = ()
    """Cases that stand in the destination and are no longer made from the source."""
    warned: tuple[str, ...] = ()
    """Cases with warnings."""

    def text(self) -> str:
        """Return the last line that a run prints."""
        words = {**_WORDS, "done": self.done_word}
        parts = [f"{count} {words[status]}{self._named(status)}" for status, count in self.counts.items()]
        if self.warned:
            parts.append(f"{len(self.warned)} with warnings ({some(self.warned)})")
        if self.unpaired:
            parts.append(f"{len(self.unpaired)} unpaired ({some(self.unpaired)})")
        if self.gone:
            parts.append(f"{len(self.gone)} no longer made from the source ({some(self.gone)})")
        line = ", ".join(parts) or "nothing to do"
        if self.interrupted:
            line = f"interrupted: {line}; the same command goes on from here"
        return f"{line}; details: {self.manifest}" if self.manifest else line

    def _named(self, status: str) -> str:
        return f" ({some(self.names[status])})" if status in self.names and status != "crashed" else ""

    def event(self) -> Event:
        """Return the event that closes a run."""
        return {
            "event": "summary",
            "operation": self.operation,
            "counts": dict(self.counts),
            "names": {status: list(names) for status, names in self.names.items()},
            "unpaired": list(self.unpaired),
            "gone": list(self.gone),
            "warned": list(self.warned),
            "lines": list(self.lines),
            "manifest": self.manifest,
            "interrupted": self.interrupted,
            "exit_code": self.exit_code,
            "text": self.text(),
        }


def joined_summaries(operation: str, parts: Mapping[str, Event], exit_code: int) -> Event:
    """Return one summary of several operations on the same cases, of which each works on what the one before has made.

    Parameters
    ----------
    operation
        What runs them.
    parts
        The summary event of each, by what it did.
    exit_code
        That of the whole.
    """
    *earlier, last = parts.values()
    counts, names = dict(last["counts"]), {status: list(cases) for status, cases in last["names"].items()}
    for part in earlier:  # its other cases come again
        for status in ("failed", "crashed"):
            if part["counts"].get(status):
                counts[status] = counts.get(status, 0) + part["counts"][status]
                names[status] = [*part["names"].get(status, ()), *names.get(status, ())]
    several = {
        key: list(dict.fromkeys(one for part in parts.values() for one in part[key]))
        for key in ("unpaired", "gone", "warned", "lines")
    }
    return {
        **last,
        **several,
        "operation": operation,
        "counts": counts,
        "names": names,
        "exit_code": exit_code,
        "text": "; ".join(f"{what}: {part['text']}" for what, part in parts.items()),
    }


def summary_of(
    operation: Operation[Any],
    plan: Plan,
    records: Sequence[Record],
    report: Report,
    manifest: str,
    *,
    interrupted: bool,
    is_dry_run: bool,
) -> Summary:
    """Count the cases by status, and return the summary of a run."""
    found = Counter(counts_of(records))
    cases: dict[str, list[str]] = {}
    warned: list[str] = []
    for record in notable(records):
        status = record.status
        if status in _NAMED or (status == "skipped" and record.message):
            cases.setdefault(status, []).append(record.case_id)
        if record.warnings:
            warned.append(record.case_id)
    always = () if is_dry_run else ("done",)
    counts = {status: found[status] for status in _WORDS if found[status] or status in always}
    if not is_dry_run and plan.dest is not None:
        counts = {
            status: found[status] for status in _WORDS if found[status] or status in ("done", "skipped", "failed")
        }
    names = {status: tuple(cases[status]) for status in (*_NAMED, "skipped") if status in cases}
    bad = found["failed"] + found["crashed"] + found["nonconforming"]
    code = 1 if bad else 0
    if report.exit_code is not None:
        code = report.exit_code
    return Summary(
        operation.name,
        counts,
        names,
        tuple(dict.fromkeys(item.case_id for item in plan.unpaired)),  # a case may have several lone files
        report.lines,
        manifest,
        interrupted,
        130 if interrupted else code,
        "conforming" if operation.is_inspection else "done",
        warned=tuple(warned),
    )
