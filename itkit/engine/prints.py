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
        self._targets: Mapping[str, Target] | None = None
        self._folders: dict[str, str] = {}

    def of(self, job: Job, record: Record | None = None) -> dict[str, Any]:
        """Return the fingerprint of a job; its manifest record may spare reading a header."""
        known = {} if record is None else record.inputs
        files = {name: self._input(file.path, known.get(name)) for name, file in job.inputs.items()}
        found = self.with_folders(files, job.targets)
        if job.stamp:
            found["stamp"] = job.stamp
        if job.more_files:
            found["more_files"] = print_of_files(job.more_files, self._how)
        return found

    def with_folders(self, files: Mapping[str, Any], targets: Mapping[str, Target]) -> dict[str, Any]:
        """Return the fingerprint of a job that depends on files alone, from those of the files."""
        if targets is not self._targets:
            folders = {name: relative_folder(target.folder, self._dest) for name, target in targets.items()}
            self._targets, self._folders = targets, folders
        return {**files, "targets": self._folders}

    def _input(self, path: Path, known: Any) -> dict[str, Any]:
        try:
            if self._how == "stat" and isinstance(known, dict) and known.get("file") == path.name:
                parts = known.get("parts")
                if isinstance(parts, list) and len(parts) == 1 and parts[0] == file_print(path):
                    return known  # nor can its header name another data file
            return {"file": path.name, "parts": [file_print(part, self._how) for part in volume_files(path)]}
        except _UNREADABLE:
            return {"file": path.name}


def print_before_reading(path: Path) -> dict[str, Any]:
    """Return the fingerprint of a volume that is read next, as `Prints` makes it; its header is kept for that."""
    try:
        first = file_print(path)
        parts = [first] if _lies_alone(path) else [file_print(part) for part in volume_files(path)]
    except _UNREADABLE:
        return {"file": path.name}
    return {"file": path.name, "parts": parts}


def _lies_alone(path: Path) -> bool:
    """Whether a header that will be needed says that all of the volume lies in its file."""
    try:
        return is_in_one_file(read_any_header(path), os.fspath(path))
    except ReadError:
        return False
