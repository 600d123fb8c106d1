"""The page of a command that makes volumes: what became of all cases, and pictures of those that tell most."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from itkit.core.errors import ItkitError
from itkit.core.operation import Collected, Job, Record
from itkit.core.text import counted, some
from itkit.core.volume import Kind, Volume, is_image
from itkit.io.layouts import LABEL
from itkit.io.sitk_toolkit import read_volume
from itkit.process.body import first_channel
from itkit.report.pages import Cell, Html, Section, TableCell, cards, element, page, table, tiles

MOST_PICTURES = 6
"""Number of cases that a page shows in pictures."""


@dataclass(frozen=True)
class Result:
    """A finished case: what the run says of it, and where its volumes lie."""

    record: Record
    job: Job

    @property
    def name(self) -> str:
        """The id of the case."""
        return self.record.case_id

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the command found."""
        return self.record.facts

    def given(self, name: str = "") -> Volume | None:
        """Read a volume that the case began with, by name; without one, the first channel of its image."""
        found = name or next(filter(is_image, self.job.inputs), "")
        if found not in self.job.inputs:
            return None
        file = self.job.inputs[found]
        kind: Kind = "label" if file.kind == "label" else "image"
        return first_channel(read_volume(file.path, kind, channels=file.components != (1,)))

    def made(self, name: str = "") -> Volume | None:
        """Read a volume that was made, by name; without one, the first channel of the image."""
        found = name or next(filter(is_image, self.job.targets), "")
        if found not in self.job.targets:
            return None
        target = self.job.targets[found]
        kind: Kind = "label" if found == LABEL else "image"
        return first_channel(read_volume(target.path(self.name), kind, channels=kind == "image"))


def results_of(run: Collected) -> list[Result]:
    """Return the finished cases whose source is still there."""
    jobs = {job.case_id: job for job in run.plan.jobs}
    return [Result(record, jobs[case]) for case, record in sorted(run.all_records.items()) if case in jobs]


def result_page(
    title: str,
    intro: Cell,
    run: Collected,
    *,
    numbers: Mapping[str, Cell],
    key: Html,
    overview: Iterable[Cell],
    head: Sequence[str],
    row: Callable[[Result], Sequence[TableCell]],
    draw: Callable[[Result], Iterator[Cell]],
    order: Callable[[Result], Any],
) -> str:
    """Return the page.

    Parameters
    ----------
    title, intro
        Title, and the line below it.
    run
        The run.
    numbers
        The few numbers that matter most, by name; failed cases and warnings are added.
    key
        What the colours of the pictures mean.
    overview
        Plots and notes about all cases.
    head, row
        The table of cases: names of the columns after the first one, and the cells of a case.
    draw
        Draws a case.
    order
        Sort key of the cases that are shown in pictures, the most telling first; those with warnings come before.
    """
    results = results_of(run)
    failed = list(run.failed.values())
    warned = [result for result in results if result.record.warnings]
    told: dict[str, Cell] = {
        "cases": str(len(results)),
        **numbers,
        "cases with warnings": str(len(warned)),
        "failed": str(len(failed)),
    }
    bad = [name for name in ("cases with warnings", "failed") if told[name] != "0"]
    parts: list[Cell | Section] = [tiles(told, bad=bad)]
    faults = list(_faults(failed, warned, run))
    if faults:
        parts.append(Section("To look at", faults))
    chosen = sorted(results, key=lambda result: (not result.record.warnings, order(result), result.name))
    pictures = [cell for result in chosen[:MOST_PICTURES] for cell in _drawn(result, draw)]
    more = len(chosen) - MOST_PICTURES
    if more > 0:
        text = f"{counted(more, 'more case')} without a picture; cases with warnings are drawn first."
        pictures.append(element("p", text, kind="note"))
    if pictures:
        parts.append(Section("Pictures", [key, *pictures]))
    rows: list[list[TableCell]] = [[result.name, *row(result)] for result in results]
    listed = [*overview, table(["case", *head], rows, marked=[bool(result.record.warnings) for result in results])]
    if rows:
        parts.append(Section("All cases", listed))
    return page(title, intro, parts)


def _faults(failed: Sequence[Record], warned: Sequence[Result], run: Collected) -> Iterator[Cell]:
    rows: list[list[TableCell]] = [
        [record.case_id, record.status, record.message.strip().rpartition("\n")[2]] for record in failed
    ]
    rows += [[result.name, "warning", text] for result in warned for text in result.record.warnings]
    if rows:
        yield table(["case", "kind", "what"], rows, marked=[row[1] != "warning" for row in rows])
    if run.plan.unpaired:
        names = some(dict.fromkeys(item.case_id for item in run.plan.unpaired))
        yield element("p", f"Left out, because a partner is missing: {names}.", kind="note")


def _drawn(result: Result, draw: Callable[[Result], Iterator[Cell]]) -> list[Cell]:
    head = element("h3", result.name)
    try:
        return [head, *draw(result)]
    except (ItkitError, OSError) as error:
        return [head, element("p", f"No picture: {error}", kind="note")]


def side_by_side(rows: Iterable[Sequence[Html]]) -> Iterator[Cell]:
    """Yield the figures of each row beside each other."""
    for row in rows:
        yield cards(row)
