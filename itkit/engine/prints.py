"""What the result of a case depends on beside the parameters: its input files, and the folders of its outputs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from itkit.core.errors import ReadError
from itkit.core.operation import Job, Record, Target
from itkit.engine.fingerprint import Fingerprint, file_print, print_of_files
from itkit.engine.places import relative_folder
from itkit.io.formats.headers import UnsupportedHeader, volume_files
from itkit.io.formats.inspect import is_in_one_file, read_any_header

_UNREADABLE = (OSError, ReadError, UnsupportedHeader)


class Prints:
    """Makes the fingerprints of jobs.

    Parameters
    ----------
    dest
        Destination of the run.
    how
        How to tell whether a file is the same.
    """

    def __init__(self, dest: Path, how: Fingerprint) -> None:
        self._dest, self._how = dest, how
        self._last: tuple[Mapping[str, Target] | None, dict[str, str]] = None, {}  # one value: threads share it

    def of(self, job: Job, record: Record | None = None) -> dict[str, Any]:
        """Return the fingerprint of a job; its manifest record may spare reading a header."""
        known = {} if record is None else record.inputs
        files = {name: _input(file.path, self._how, known.get(name)) for name, file in job.inputs.items()}
        found = self.with_folders(files, job.targets)
        if job.stamp:
            found["stamp"] = job.stamp
        if job.more_files:
            found["more_files"] = print_of_files(job.more_files, self._how)
        return found

    def with_folders(self, files: Mapping[str, Any], targets: Mapping[str, Target]) -> dict[str, Any]:
        """Return the fingerprint of a job that depends on files alone, from those of the files."""
        return {**files, "targets": self.folders(targets)}

    def folders(self, targets: Mapping[str, Target]) -> dict[str, str]:
        """Return the folder of each target, relative to the destination."""
        last = self._last
        if targets is not last[0]:
            folders = {name: relative_folder(target.folder, self._dest) for name, target in targets.items()}
            last = self._last = targets, folders
        return last[1]


def print_before_reading(path: Path) -> dict[str, Any]:
    """Return the fingerprint of a volume that is read next, as `Prints` makes it; its header is kept for that."""
    return _input(path, "stat", is_read_next=True)


def _input(path: Path, how: Fingerprint, known: Any = None, *, is_read_next: bool = False) -> dict[str, Any]:
    """Return the fingerprint of an input; ``known`` is the one in the manifest."""
    found = {"file": path.name}
    try:
        first = file_print(path, how)  # before its header is read
        if known == {**found, "parts": [first]}:  # nor can its header name another data file
            return known  # type: ignore[no-any-return]  # it equals one
        others = () if is_read_next and _lies_alone(path) else volume_files(path)[1:]
        return {**found, "parts": [first, *(file_print(part, how) for part in others)]}
    except _UNREADABLE:
        return found


def _lies_alone(path: Path) -> bool:
    """Whether a header that will be needed says that all of the volume lies in its file."""
    try:
        return is_in_one_file(read_any_header(path), os.fspath(path))
    except ReadError:
        return False
