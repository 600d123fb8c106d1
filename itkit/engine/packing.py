"""Dense lines in manifest files: appended to a file, or in place of all its lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from itkit.engine.dense import MOST_FORMS, Forms, dense, full, is_defining, is_dense, lacks_form
from itkit.engine.lines import BROKEN, forms_of, number_of, record_of, value_of, with_places
from itkit.io.disk import hidden_beside
from itkit.io.json_files import compact_line, json_line
from itkit.io.locks import is_in_place, try_lock


class SharedForms:
    """Makes dense lines that are appended to a file while other runs may append to it or rewrite it.

    The numbers of the forms are unlike those of other runs. The bytes of the latest line that defines one tell whether
    the file is still that to which they belong.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._anchor: tuple[int, bytes] | None = 0, b""
        self._forms = _unlike_others(most)

    def _begin(self) -> None:
        self._most //= 2  # however often it begins anew, readers can keep all that is defined
        self._forms = _unlike_others(self._most)

    def lines(self, values: Iterable[Mapping[str, Any]], file: BinaryIO, end: int) -> list[bytes]:
        """Return lines to be appended at the end of a file; a value that has no dense form gets a full one."""
        anchor, self._anchor = self._anchor, None  # it stays so when an interrupt arrives in the middle
        if anchor is None or not _says(file, *anchor):
            self._begin()
            anchor = 0, b""
        made = []
        for value in values:
            line = self._line(value)
            if is_defining(line):
                anchor = end, line
            end += len(line)
            made.append(line)
        self._anchor = anchor
        return made

    def _line(self, value: Mapping[str, Any]) -> bytes:
        short = dense(value, self._forms, json_line) if value["status"] == "done" else None
        if short is not None and "forms" in short:
            self._forms.learn(short)
            if record_of(full(short, self._forms)) != record_of(value):
                short = None
                self._begin()  # what it defines is not written
        return f"{json_line(value) if short is None else compact_line(short)}\n".encode()


def _unlike_others(most: int = MOST_FORMS) -> Forms:
    """Return forms whose numbers no other file has: somebody may join files, or their lines."""
    return Forms(int.from_bytes(os.urandom(4), "big") * MOST_FORMS, most)


def _says(file: BinaryIO, place: int, line: bytes) -> bool:
    file.seek(place)
    return file.read(len(line)) == line


def pack(path: Path) -> bool:
    """Rewrite a manifest file in dense lines, without those that no longer count; return whether it was done.

    Dense lines of which no line says what they share stay as they are: somebody may find that line again.
    Readers that have it open go on with the old file; who appends waits.

    Raises
    ------
    OSError
        When the disk refuses; the file is as it was.
    """
    with path.open("r+b") as file:
        if try_lock(file) != "ours" or not is_in_place(file):
            return False
        old = forms_of(file)
        kept = _that_count(file, old)
        hidden = hidden_beside(path.parent / "tmp" / path.name)
        try:
            hidden.parent.mkdir(exist_ok=True)
            with hidden.open("xb") as new:
                new.writelines(_densely(file, kept, old))
                new.flush()
                os.fsync(new.fileno())
            hidden.replace(path)
        finally:
            hidden.unlink(missing_ok=True)
    return True


def _that_count(file: BinaryIO, forms: Forms) -> list[int]:
    """Return where the lines of a file are that count, and the last line of every case."""
    last: dict[tuple[str, str], tuple[int, int]] = {}
    unclear = []
    file.seek(0)
    for place, line in with_places(file):
        try:
            value = value_of(line)
            head = sys.intern(value["operation"]), str(value["case"])
            status = value["status"]
            if lacks_form(value, forms):
                unclear.append(place)
                continue
            record_of(full(value, forms) if is_dense(value) else value)
        except BROKEN:
            continue
        counts = last.get(head, (-1, -1))[0]
        last[head] = (place if status in ("done", "skipped") else counts), place
    return sorted({place for places in last.values() for place in places if place >= 0} | {*unclear})


def _densely(file: BinaryIO, places: Sequence[int], old: Forms) -> Iterator[bytes]:
    """Yield the dense lines for the lines at some places of a file.

    Raises
    ------
    ValueError
        When one would not read back as the same.
    """
    new = _unlike_others()
    wanted = iter(places)
    following = next(wanted, -1)
    number = 0
    file.seek(0)
    for place, line in with_places(file):
        number = max(number, number_of(line))
        if place != following:
            continue
        following = next(wanted, -1)
        value = value_of(line)
        if lacks_form(value, old):
            yield line + b"\n"
            continue
        whole = {"run": number, **(full(value, old) if is_dense(value) else value)}
        whole["run"] = number
        record = record_of(whole)
        short = dense(whole, new, json_line) if record.status == "done" else None
        if short is not None:
            new.learn(short)
            if record_of(full(short, new)) != record:
                raise ValueError(f"the line of {record.case_id} does not read back")
        whole.pop("time", None)
        yield f"{compact_line(whole if short is None else short)}\n".encode()
