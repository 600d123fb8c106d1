"""The manifest of a destination: one JSON line for each finished or failed case; lines are appended, never changed.

The last line of a case counts. In a file, lines are in order. Shards write files of their own; between these, the
number of the run decides: each run takes one more than the highest number that it finds in any file, as a logical
clock of Lamport [1]_ does. So a run that has seen another run's lines comes after it, whatever the clocks of the
machines say. Runs at the same time may have the same number; they work on different cases.

References
----------
.. [1] Lamport L., "Time, clocks, and the ordering of events in a distributed system", Communications of the ACM 21(7),
   1978
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from itkit.core.errors import LayoutError
from itkit.core.files import STATE_FOLDER
from itkit.core.operation import FAILED, Record
from itkit.engine.dense import MOST_FORMS, full, is_defining, is_dense
from itkit.engine.lines import BROKEN, forms_of, line_of, number_of, record_of, value_of, with_places
from itkit.engine.packing import SharedForms, pack
from itkit.engine.places import place
from itkit.engine.records import Records, is_loose, opened
from itkit.io.json_files import json_line
from itkit.io.locks import is_in_place, wait_for_shared

LOOSE_BYTES = 1 << 20
"""Bytes of lines that are not dense from which on a manifest file is rewritten."""
_MOST_NEW_FORMS = 256
"""Forms that a run adds to a file; packing it gives all that are left new numbers."""


@dataclass(frozen=True)
class Manifest:
    """The manifest files of one destination; each shard appends to its own file, and reads all files."""

    dest: Path
    shard: str | None = None

    @property
    def path(self) -> Path:
        """The file to which this run appends."""
        name = "manifest.jsonl" if self.shard is None else f"manifest-{self.shard.replace('/', 'of')}.jsonl"
        return self.dest / STATE_FOLDER / name

    @cached_property
    def at(self) -> str:
        """The place of the destination (`itkit.engine.places`), as text."""
        return str(place(self.dest))

    def latest_done(self, operation: str) -> Records:
        """Return the newest finished record of each case of one operation; torn and foreign lines are ignored.

        Raises
        ------
        LayoutError
            When a manifest can't be read.
        """
        found = Records(self._files(), operation)
        self.__dict__.setdefault("number", found.highest + 1)  # what the cached property would read again
        self.__dict__["_loose"] = found.loose.get(self.path, 0)
        self.__dict__["_room"] = max(0, MOST_FORMS - found.forms.get(self.path, 0))
        return found

    def newest(self) -> dict[str, dict[str, Record]]:
        """Return the newest record of each case, finished or not, by operation and case; broken lines are left out.

        Raises
        ------
        LayoutError
            When a manifest can't be read.
        """
        found: dict[str, dict[str, tuple[int, Record]]] = {}
        for path in self._files():
            with opened(path) as file:
                forms = forms_of(file)
                for _, line in with_places(file):
                    try:
                        value = value_of(line)
                        record = record_of(full(value, forms) if is_dense(value) else value)
                        cases = found.setdefault(str(value["operation"]), {})
                    except BROKEN:
                        continue
                    number = number_of(line)
                    if record.case_id not in cases or number >= cases[record.case_id][0]:
                        cases[record.case_id] = number, record
        return {operation: {case: record for case, (_, record) in cases.items()} for operation, cases in found.items()}

    def latest_failed(self, operation: str) -> Records:
        """Return the newest record of each case of one operation that failed when it was last tried.

        Raises
        ------
        LayoutError
            When a manifest can't be read.
        """
        return Records(self._files(), operation, FAILED, over=("done", "skipped"))

    def sizes(self) -> dict[Path, int]:
        """Return the size of each manifest file."""
        return {path: path.stat().st_size for path in self._files() if path.exists()}

    def _files(self) -> list[Path]:
        return sorted((self.dest / STATE_FOLDER).glob("manifest*.jsonl"))

    @cached_property
    def number(self) -> int:
        """Number of this run: one more than the highest number in all manifest files."""
        return 1 + Records(self._files(), "").highest

    def append(self, operation: str, *records: Record) -> None:
        """Append the records of cases, in one write.

        Raises
        ------
        LayoutError
            When the manifest can't be written.
        """
        now = time.time()
        loose = self.__dict__.get("_loose", 0)
        shared = self._shared if loose >= LOOSE_BYTES // 2 else None
        lines = [{"run": self.number, "operation": operation, "time": now, **line_of(record)} for record in records]
        self.__dict__["_loose"] = loose + append_lines(self.path, lines, shared)

    @cached_property
    def _shared(self) -> SharedForms:
        return SharedForms(min(_MOST_NEW_FORMS, self.__dict__.get("_room", _MOST_NEW_FORMS)))

    def tidy(self) -> None:
        """Make the lines of this run's file dense if many are not, unless the disk refuses or there are no locks."""
        if self.__dict__.get("_loose", 0) >= LOOSE_BYTES or self.__dict__.get("_room") == 0:
            with contextlib.suppress(OSError, ValueError):
                pack(self.path)
            self.__dict__["_loose"] = 0


def append_lines(path: Path, values: Sequence[Mapping[str, Any]], shared: SharedForms | None = None) -> int:
    """Append JSON lines in one write; if the last line of the file is torn, start a new line first.

    Returns the number of bytes in lines that are not dense; without ``shared``, none is.

    Raises
    ------
    LayoutError
        When the file can't be written; a line that was written in part is removed.
    """
    full_lines = [f"{json_line(value)}\n".encode() for value in values] if shared is None else []
    try:
        while True:
            with open(path, "ab+", buffering=0) as file:  # noqa: PTH123 - for every case
                wait_for_shared(file)
                if not is_in_place(file):
                    continue  # a dense file has just replaced it
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - 1))
                torn = b"\n" if end and file.read(1) != b"\n" else b""
                lines = full_lines if shared is None else [*shared.lines(values, file, end + len(torn))]
                data = torn + b"".join(lines)
                if file.write(data) == len(data):
                    if any(map(is_defining, lines)):
                        os.fsync(file.fileno())  # the lines of many cases can't be read without it
                    return sum(len(line) for line in lines if is_loose(line))
                file.truncate(end)
                break
    except OSError as error:
        raise LayoutError(f"{path}: can't be written ({error.strerror or error})") from error
    raise LayoutError(f"{path}: can't be written (No space left on device)")
