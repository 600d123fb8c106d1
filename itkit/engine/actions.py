"""Carry out what an operation's `collect` asks for: write files and indexes, copy, link and delete samples.

No other module writes what describes a whole run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from itkit.core.actions import Action, Delete, Transfer
from itkit.core.errors import WriteError
from itkit.core.files import SERIES_META
from itkit.core.operation import Report
from itkit.engine.options import RunOptions
from itkit.engine.places import leads_inside
from itkit.engine.progress import EventSink, action_event
from itkit.io.disk import left_by_dead_runs, write_bytes, write_text
from itkit.io.json_files import write_json
from itkit.io.meta import KnownLines, refresh_index
from itkit.io.seen import Seen
from itkit.io.transfer import copy_unit, delete_file, files_of, link_unit, obstacles


@dataclass
class _Told:
    """The lines about a report's actions and files, and the resulting exit code."""

    lines: list[str]
    exit_code: int | None = None

    def fail(self, code: int) -> None:
        self.exit_code = max(code, self.exit_code or 0)


@dataclass(frozen=True)
class Hands:
    """Carries out a report; in a dry run it only says what it would do, and touches nothing.

    Parameters
    ----------
    dest
        Destination of the run; paths of files are relative to it. ``None`` for a run without destination.
    folders
        Folders in which a run with a destination may write.
    options
        Options of the run: dry run, and what to do with existing files.
    emit
        Called with an event for each file that is copied, linked or deleted.
    confirm
        Function that asks the user before anything is deleted; without it nothing is deleted.
    lines_of
        Function that returns who knows index lines of a folder's volumes without reading them.
    seen
        What the run has seen of the headers of a folder's volumes.
    """

    dest: Path | None
    folders: tuple[Path, ...]
    options: RunOptions
    emit: EventSink
    confirm: Callable[[str], bool] | None = None
    lines_of: Callable[[Path], KnownLines | None] = field(default=lambda _: None)
    seen: Seen | None = None

    def do(self, report: Report) -> Report:
        """Do everything that a report asks for; return the report with lines and exit code of what was done."""
        told = _Told([*report.lines], report.exit_code)
        try:
            for action in report.actions:
                self._act(action, told)
            for path, content in report.files.items():
                self._write(self._confined(path), content, told)
            for path, content in report.named_files.items():
                self._write(path, content, told)
            if not self.options.dry_run:
                told.lines += report.closing
        except WriteError as error:
            told.lines.append(f"error: {error}")
            told.fail(1)
        return replace(report, lines=tuple(told.lines), exit_code=told.exit_code)

    def _act(self, action: Action, told: _Told) -> None:
        if isinstance(action, Transfer):
            self._transfer(action, told)
        elif isinstance(action, Delete):
            self._delete(action, told)
        elif self.options.dry_run:
            told.lines.append(f"would write {action.folder / SERIES_META}")
        else:
            told.lines += self._refreshed(action.folder)

    def _confined(self, path: Path) -> Path:
        """Return the full path of a file of the destination; refuse a path outside the folders of the run."""
        if self.dest is None:
            return path
        path = self.dest / path
        if not leads_inside(path, self.folders):
            raise WriteError(f"{path}: lies outside the destination; not written")
        return path

    def _write(self, path: Path, content: Any, told: _Told) -> None:
        """Write a file: a text or bytes as they are, anything else as JSON."""
        if self.options.dry_run:
            told.lines.append(f"would write {path}")
            return
        _tidy(path.parent)
        if isinstance(content, str):
            write_text(path, content)
        elif isinstance(content, bytes):
            write_bytes(path, content)
        else:
            write_json(path, content)

    def _refreshed(self, folder: Path) -> list[str]:
        """Refresh an index. If a folder other than the destination can't be written, say so; this is not a failure."""
        _tidy(folder)
        seen = self.seen if self.seen is not None and self.seen.folder == folder else None
        if seen is not None and seen.holds():
            return []
        try:
            volumes = refresh_index(folder, self.lines_of(folder), None if seen is None else seen.line)
            if seen is not None:
                seen.renew(volumes)
        except WriteError as error:
            if self.dest is not None:
                raise
            return [f"index not written: {error}"]
        return []

    def _delete(self, action: Delete, told: _Told) -> None:
        files = files_of(action.volumes)
        if self.options.dry_run:
            told.lines += [*(f"would delete {file}" for file in files), f"would delete {action.what}"]
            return
        if action.question and (self.confirm is None or not self.confirm(action.question)):
            told.lines.append("nothing deleted: not confirmed (--yes deletes without asking)")
            told.fail(2)
            return
        failures = []
        for file in files:
            failed = delete_file(file)
            failures += failed
            if not failed:
                self.emit(action_event("delete", file))
        told.lines += [
            *failures,
            f"{len(failures)} files could not be deleted" if failures else f"deleted {action.what}",
        ]
        if failures:
            told.fail(1)
        told.lines += self._refreshed(action.folder)

    def _transfer(self, action: Transfer, told: _Told) -> None:
        """Copy or link whole samples: if one file of a sample can't be, the sample's other files are not either."""
        verb, past, move = ("link", "linked", link_unit) if action.is_link else ("copy", "copied", copy_unit)
        existing, is_dry = self.options.existing, self.options.dry_run
        standing = [final for sample in action.samples for _, final in sample if os.path.lexists(final)]
        if existing == "error" and standing:
            first = f"--existing error: {len(standing)} outputs exist already, the first is {standing[0]}"
            told.lines.append(f"{first}; nothing was {past}")
            told.fail(2)
            return
        problems: list[str] = []
        planned: list[str] = []
        for folder in () if is_dry else {final.parent for sample in action.samples for _, final in sample}:
            _tidy(folder)
        for sample in action.samples:
            found = [
                problem
                for path, final in sample
                for problem in obstacles(
                    path, final.parent, name=final.name, is_link=action.is_link, replace=existing == "redo"
                )
            ]
            if is_dry and not found:
                planned += [f"would {verb} {path} to {final}" for path, final in sample]
            for path, final in sample if not (found or is_dry) else ():
                failed = move(path, final.parent, final.name)
                found += failed
                if not failed:
                    self.emit(action_event(verb, path, final))
            problems += found[:1]
        count = f"{len(action.samples) - len(problems)} {action.what} to {action.folder}"
        told.lines += [*problems, *planned, *action.notes, f"would {verb} {count}" if is_dry else f"{past} {count}"]
        if problems:
            told.fail(1)
        if not is_dry and action.folder.is_dir():
            told.lines += self._refreshed(action.folder)


def _tidy(folder: Path) -> None:
    """Remove what killed runs left in a folder that has no manifest."""
    for left in left_by_dead_runs(folder):
        delete_file(left)
