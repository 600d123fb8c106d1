"""Paths of the manifest: which file an entry means."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from itkit.core.operation import Job, Target


def place(path: Path) -> Path:
    """Return a path in the form in which paths are compared: absolute, without ``..``, links not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps "..", Path.resolve follows links


def placed(path: str, dest: str) -> str:
    """Return the place of a file by its path in a folder, such as that in a manifest by the destination's path."""
    folder, _, name = path.rpartition("/")
    if name in ("", ".", "..") or os.sep != "/":
        return os.path.abspath(os.path.join(dest, path))  # noqa: PTH100, PTH118 - as in `place`
    return _folder_at(dest, folder if folder or path[:1] != "/" else "/") + name


@lru_cache(4096)
def _folder_at(dest: str, folder: str) -> str:
    return os.path.abspath(os.path.join(dest, folder)).rstrip(os.sep) + os.sep  # noqa: PTH100, PTH118 - likewise


def places_of(targets: Mapping[str, Target]) -> list[tuple[str, Target]]:
    """Return the place of each target's folder, with a slash at its end, and the target."""
    return [(f"{place(one.folder)}".rstrip(os.sep) + os.sep, one) for one in targets.values()]


class Outputs:
    """Places of the files that jobs make, as text; the folders of targets that jobs share are found once."""

    def __init__(self) -> None:
        self._targets: Mapping[str, Target] | None = None
        self._folders: list[tuple[str, Target]] = []

    def of(self, job: Job) -> list[str]:
        """Return the places that are known before the case runs."""
        if job.targets is not self._targets:
            self._targets, self._folders = job.targets, places_of(job.targets)
        ids = (job.case_id,) if job.output_ids is None else job.output_ids
        if os.sep != "/":
            return [str(place(path)) for path in job.outputs()]
        return [folder + target.name(case) for case in ids for folder, target in self._folders]


def real_path(path: Path) -> Path:
    """Return a path with all links followed; a link that leads to itself is returned as it is."""
    return Path(os.path.realpath(path))  # Path.resolve raises for a link that leads to itself


def leads_inside(path: Path, folders: Iterable[Path]) -> bool:
    """Whether a file lies in one of the folders or below, both by its path and after following links."""
    above, real = place(path).parents, os.path.realpath(path.parent)
    for folder in map(place, folders):
        root = os.path.realpath(folder)
        if folder in above and (real == root or real.startswith(root.rstrip(os.sep) + os.sep)):
            return True
    return False


def relative_path(path: Path, dest: Path) -> str:
    """Return a file's path relative to the destination, with ``..`` if it lies outside."""
    return relative_place(os.fspath(path.absolute()), os.fspath(dest.absolute()))


def relative_place(path: str, dest: str) -> str:
    """Return a file's path relative to the destination; both are absolute."""
    folder, _, name = path.rpartition(os.sep)
    folder = _relative(folder or os.sep, dest)
    return name if folder == "." else f"{folder}/{name}"


def relative_folder(folder: Path, dest: Path) -> str:
    """Return a folder's path relative to the destination, ``.`` for the destination itself."""
    return _relative(str(folder.absolute()), str(dest.absolute()))


@lru_cache
def _relative(folder: str, dest: str) -> str:
    return Path(os.path.relpath(folder, dest)).as_posix()
