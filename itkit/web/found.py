"""Runs that manifests tell of: those of an earlier server, and those of the command line."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from itkit.core.errors import ItkitError
from itkit.core.files import STATE_FOLDER
from itkit.core.operation import Record
from itkit.engine.manifest import Manifest
from itkit.engine.progress import case_event

_MOST_FOLDERS = 5000
_DEEPEST = 5


@dataclass(frozen=True)
class FoundRun:
    """The newest record of each case that one operation wrote to a destination."""

    operation: str
    dest: str
    records: tuple[Record, ...]
    time: float = 0.0

    @property
    def id(self) -> str:
        """The id of the run: the same at each start."""
        return "found-" + hashlib.sha256(os.fsencode(f"{self.dest}\0{self.operation}")).hexdigest()[:12]

    @property
    def counts(self) -> dict[str, int]:
        """How many cases have each status."""
        statuses = [record.status for record in self.records]
        return {status: statuses.count(status) for status in dict.fromkeys(statuses)}

    def facts(self) -> dict[str, Any]:
        """Return the state of the run, as a server shows its own jobs."""
        is_bad = any(self.counts.get(status) for status in ("failed", "crashed"))
        return {
            "job": self.id,
            "operation": self.operation,
            "command": "",
            "plan": False,
            "state": "failed" if is_bad else "done",
            "exit_code": int(is_bad),
            "message": ", ".join(f"{count} {status}" for status, count in self.counts.items()),
            "total": len(self.records),
            "ended": len(self.records),
            "left_s": None,
            "counts": self.counts,
            "dest": self.dest,
            "added": self.time,
            "started": self.time,
            "finished": self.time,
            "params": {},
            "options": {},
        }

    def events(self) -> list[dict[str, Any]]:
        """Return what the command would have told."""
        start = {
            "event": "start", "operation": self.operation, "total": len(self.records), "to_do": 0, "unpaired": [],
            "notes": [], "dest": self.dest, "dry_run": False,
        }  # fmt: skip
        total, dest = len(self.records), Path(self.dest)
        cases = [
            dict(case_event(record, number, total, outputs=[dest / str(item["path"]) for item in record.outputs]))
            for number, record in enumerate(self.records, 1)
        ]
        facts = self.facts()
        end = {
            "event": "summary", "operation": self.operation, "counts": self.counts, "names": {},
            "text": facts["message"], "manifest": str(Manifest(Path(self.dest)).path),
            "exit_code": facts["exit_code"], "interrupted": False,
        }  # fmt: skip
        return [start, *cases, end]


def runs_below(folder: Path) -> Iterator[FoundRun]:
    """Yield the runs whose manifests lie below a folder; links are not followed."""
    for dest in _destinations(folder):
        manifest = Manifest(dest)
        try:
            newest = manifest.newest()
            time = max(path.stat().st_mtime for path in manifest.path.parent.glob("manifest*.jsonl"))
        except (ItkitError, OSError, ValueError):
            continue
        for operation, records in newest.items():
            yield FoundRun(operation, str(dest), tuple(records.values()), time)


def _destinations(folder: Path) -> Iterator[Path]:
    depth = len(folder.parts)
    for here, folders, _ in islice(os.walk(folder), _MOST_FOLDERS):
        if STATE_FOLDER in folders:
            yield Path(here)
        is_deep = len(Path(here).parts) - depth >= _DEEPEST
        folders[:] = [] if is_deep else sorted(name for name in folders if not name.startswith("."))
