"""What a window shows of a run, gathered from its events: a row for each case, how much is done, and the time left."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

ENDED = ("done", "skipped", "left", "failed", "crashed", "nonconforming", "planned")
BAD = ("failed", "crashed", "nonconforming", "unpaired")


@dataclass(frozen=True)
class CaseRow:
    """A case as a table shows it.

    Parameters
    ----------
    case, status, message
        Its id; ``running``, ``unpaired``, or the status with which it ended; what is said of it.
    warnings
        What else is said of it.
    seconds
        How long it took; 0 if that is not known.
    inputs, outputs
        Paths of its files, as far as the run names them.
    """

    case: str
    status: str
    message: str = ""
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @property
    def is_bad(self) -> bool:
        """Whether somebody should look at it."""
        return self.status in BAD

    def as_json(self) -> dict[str, Any]:
        """Return the row as values that JSON can hold."""
        return asdict(self)


@dataclass
class RunView:
    """The state of a run, by its events so far.

    Examples
    --------
    >>> view = RunView()
    >>> view.add({"event": "start", "operation": "itk_orient", "total": 2, "to_do": 2, "unpaired": [], "notes": []})
    >>> view.add({"event": "begin", "case": "a"})
    >>> view.add({"event": "case", "case": "a", "status": "done", "seconds": 1.5, "number": 1, "total": 2})
    >>> view.ended, view.total, view.cases["a"].status
    (1, 2, 'done')
    """

    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    operation: str = ""
    is_plan: bool = False
    total: int = 0
    to_do: int = 0
    dest: str = ""
    notes: list[str] = field(default_factory=list)
    cases: dict[str, CaseRow] = field(default_factory=dict)
    summary: Mapping[str, Any] | None = None
    started: float | None = None
    begun: dict[str, float] = field(default_factory=dict)
    """When each running case began."""
    ended: int = 0
    worked: int = 0
    """How many of the ended cases took work."""
    unit: str = "case"
    """What is counted: cases, or the steps of a training."""
    doing: str = ""
    """What a training does now."""
    told_left_s: float | None = None
    """The time left as the command itself tells it, s."""

    def add(self, event: Mapping[str, Any]) -> None:
        """Take in an event; one of an unknown kind or form is left out."""
        handlers = {
            "start": self._start,
            "begin": self._begin,
            "case": self._case,
            "prepared": self._prepared,
            "step": self._step,
            "volume": self._volume,
            "note": self._note,
            "summary": self._end,
        }
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):  # somebody else's line, not an event
            handlers[event["event"]](event)

    def _start(self, event: Mapping[str, Any]) -> None:
        self.operation, self.total, self.to_do = event["operation"], event["total"], event["to_do"]
        self.is_plan, self.dest = bool(event.get("dry_run")), event.get("dest") or ""
        self.notes += event["notes"]
        self.unit = "case" if "unpaired" in event else "step"
        self.started, self.summary, self.told_left_s = self.clock(), None, None  # a tool may run two operations
        self.ended = self.worked = 0
        for item in event.get("unpaired", ()):
            row = CaseRow(item["case"], "unpaired", f"has no {item['lacks']}", inputs=(item["path"],))
            self.cases[item["case"]] = row

    def _begin(self, event: Mapping[str, Any]) -> None:
        self.begun[event["case"]] = self.clock()
        self.cases[event["case"]] = CaseRow(event["case"], "running", inputs=tuple(event.get("inputs", ())))

    def _case(self, event: Mapping[str, Any]) -> None:
        begun = self.begun.pop(event["case"], None)
        seconds = float(event.get("seconds") or 0.0)
        self.ended += 1
        self.worked += begun is not None or seconds > 0
        self.cases[event["case"]] = CaseRow(
            event["case"],
            event["status"],
            event.get("message") or "",
            tuple(event.get("warnings", ())),
            seconds,
            tuple(event.get("inputs", ())),
            tuple(event.get("outputs", ())),
        )

    def _prepared(self, event: Mapping[str, Any]) -> None:
        self.doing = f"preparing case {event['number']} of {event['total']}"

    def _step(self, event: Mapping[str, Any]) -> None:
        self.ended, self.told_left_s = int(event["step"]), event.get("seconds_left")
        self.doing = f"epoch {event['epoch']}, loss {event['train_loss']:.4g}"

    def _volume(self, event: Mapping[str, Any]) -> None:
        self.doing = f"validating volume {event['number']} of {event['total']}"

    def _note(self, event: Mapping[str, Any]) -> None:
        self.notes.append(str(event["text"]))

    def _end(self, event: Mapping[str, Any]) -> None:
        self.summary, self.doing = event, ""
        for case in list(self.begun):
            self.cases[case] = replace(self.cases[case], status="stopped")
        self.begun.clear()

    @property
    def share(self) -> float:
        """The share of the cases that have ended, 0 to 1."""
        return min(1.0, self.ended / self.total) if self.total else 0.0

    @property
    def counts(self) -> dict[str, int]:
        """How many cases have each status."""
        found: dict[str, int] = {}
        for row in self.cases.values():
            found[row.status] = found.get(row.status, 0) + 1
        return found

    def left_s(self) -> float | None:
        """Return the time left in s, by the cases that took work so far; ``None`` as long as nobody can tell."""
        if self.told_left_s is not None and self.summary is None:
            return self.told_left_s
        left = self.total - self.ended
        if self.started is None or self.summary is not None or not self.worked or left <= 0:
            return None
        per_case = (self.clock() - self.started) / self.worked
        running = sum(min(per_case, self.clock() - begun) for begun in self.begun.values())
        return max(0.0, per_case * left - running / max(1, len(self.begun)))

    def rows(self) -> Iterable[CaseRow]:
        """Return the rows, in the order in which the cases were named first."""
        return self.cases.values()


def time_in_words(seconds: float | None) -> str:
    """Return a time as people read it.

    Examples
    --------
    >>> time_in_words(4.2), time_in_words(75), time_in_words(7260), time_in_words(None)
    ('4 s', '1 min 15 s', '2 h 1 min', '')
    """
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
