"""The journal of a run's staging folder: which files are renamed next, so that another run can finish it.

It lists the renames of a case, or of small cases that ended together, and what stood at each place when it was written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from itkit.core.bounded import read_lines
from itkit.core.operation import Record
from itkit.engine.fingerprint import is_unchanged, status_print, with_place_in_disk
from itkit.engine.lines import BROKEN, line_of, record_of, value_of
from itkit.engine.manifest import Manifest
from itkit.engine.places import leads_inside, place
from itkit.io.disk import commit_files
from itkit.io.json_files import json_line

JOURNAL = "journal.json"
_IN_PART = 20_000
"""Most files of a part of a journal, so that each is within the limits of what is read."""
_MOST_FILES = 1_000_000
"""Most files of a case that a journal is believed to move; its line in the manifest holds less."""
_COUNT = "parts"
_STRANGE = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.EINVAL}


@dataclass(frozen=True)
class Move:
    """One staged file and its final place, as text: there may be very many."""

    staged: str
    final: str


@dataclass(frozen=True)
class Commit:
    """A finished case: its record, its staged files, and earlier files of it that go."""

    record: Record
    moves: Sequence[Move] = ()
    stale: Sequence[Path] = ()
    is_flushed: bool = True
    """Whether the staged files are on disk, or only in the system's memory."""
    folder: Path | None = None
    """The case's folder, in which nothing is left when its files are moved."""

    @property
    def places(self) -> list[str]:
        """The paths that are made, replaced or removed."""
        return [*(move.final for move in self.moves), *map(str, self.stale)]


def write_journal(folder: Path, operation: str, cases: Sequence[Commit]) -> None:
    """Write on disk what is about to be renamed; what is too much for one text is written in parts, a line each.

    Raises
    ------
    OSError
        When the disk refuses.
    """
    entries = (_parts(folder, operation, case) for case in cases)
    with (folder / JOURNAL).open("w", encoding="utf-8") as file:
        if sum(len(case.moves) + len(case.stale) for case in cases) <= _IN_PART:  # every version can read it
            file.write(json_line([next(parts) for parts in entries]))
        else:
            file.writelines(f"{json_line(part)}\n" for parts in entries for part in parts)
            file.write(json_line({"cases": len(cases)}))
        file.flush()
        os.fsync(file.fileno())


def _parts(folder: Path, operation: str, case: Commit) -> Iterator[dict[str, Any]]:
    """Yield what a journal says of a case; the first part says how many there are."""
    below = len(str(folder)) + 1
    parts = max(1, *(-(-len(paths) // _IN_PART) for paths in (case.moves, case.stale)))
    for number in range(parts):
        part = slice(number * _IN_PART, (number + 1) * _IN_PART)
        places = {
            "moves": [
                [move.staged[below:].replace(os.sep, "/"), move.final, _standing(move.final)]
                for move in case.moves[part]
            ],
            "stale": [[str(place(path)), _standing(path)] for path in case.stale[part]],
        }
        yield (places if number else {"operation": operation, "record": line_of(case.record), **places, _COUNT: parts})


def finish_journal(folder: Path, manifest: Manifest, allowed: tuple[Path, ...]) -> bool:
    """Finish the renames of a journal; return whether the staging folder can be removed."""
    try:
        if not all(case.stays_inside(folder, allowed) for case in _unfinished(folder)):
            return False
    except (FileNotFoundError, LookupError, *BROKEN):
        return True  # no complete journal: no file has been renamed yet; or no run has written it
    except OSError as error:
        if not _is_of_strange_name(error):
            raise
        return True
    for case in _unfinished(folder):
        try:
            case.finish(manifest)
        except (OSError, ValueError) as error:
            if not _is_of_strange_name(error):
                raise
    return True


def _unfinished(folder: Path) -> Iterator[_Unfinished]:
    """Yield the cases of a journal.

    Raises
    ------
    OSError
        When it can't be read.
    LookupError, TypeError, ValueError, AttributeError, StopIteration
        When it is not complete, or no journal; some cases may have come before.
    """
    lines = map(value_of, read_lines(folder / JOURNAL))
    first: Any = next(lines, None)
    if isinstance(first, list) or _COUNT not in first:  # the second is of older versions
        yield from (_Unfinished.of(entry, folder) for entry in (first if isinstance(first, list) else [first]))
        return
    number, entry = 0, first
    while "cases" not in entry:
        for _ in range(entry[_COUNT] - 1):
            more: Any = next(lines, {})
            for name in ("moves", "stale"):
                entry[name] += more[name]
                if len(entry[name]) > _MOST_FILES:
                    raise ValueError("more files than a case has")
        yield _Unfinished.of(entry, folder)
        number, entry = number + 1, next(lines, {"cases": None})
    if number != entry["cases"]:
        raise ValueError("its end is missing")


def _is_of_strange_name(error: OSError | ValueError) -> bool:
    """Whether a path is to blame, and not the disk: a name that no file can have, a folder in the place of a file."""
    return error.errno in _STRANGE if isinstance(error, OSError) else True


@dataclass(frozen=True)
class _Unfinished:
    """A case of a dead run's journal, with what stood at its places when the journal was written."""

    operation: str
    case: Commit
    stood: Mapping[str, Any]

    @classmethod
    def of(cls, line: Any, folder: Path) -> _Unfinished:
        """Return the case that an entry of a journal tells of; those of older versions do not say what stood there."""
        moves = [(Move(str(folder / staged), os.fspath(Path(final))), more) for staged, final, *more in line["moves"]]
        stale = [
            (Path(entry), []) if isinstance(entry, str) else (Path(entry[0]), entry[1:]) for entry in line["stale"]
        ]
        told = [*((move.final, more) for move, more in moves), *((str(path), more) for path, more in stale)]
        return cls(
            str(line["operation"]),
            Commit(record_of(line["record"]), [move for move, _ in moves], [path for path, _ in stale]),
            {path: more[0] for path, more in told if more},
        )

    def stays_inside(self, folder: Path, allowed: tuple[Path, ...]) -> bool:
        """Whether the case moves plain files of a run's folder to places inside the allowed ones."""
        staged = [move.staged for move in self.case.moves]
        return (
            first_outside(self.case.places, allowed) is None
            and first_outside(staged, [folder]) is None
            and all(map(is_plain, map(Path, staged)))
        )

    def finish(self, manifest: Manifest) -> None:
        """Finish the renames, unless one of the files that were moved, or are to be replaced, was edited since."""
        outputs = {str(place(manifest.dest / output["path"])): output for output in self.case.record.outputs}

        def is_made(path: str, final: str) -> bool:
            output = outputs.get(final)
            return output is None or is_unchanged(path, output)

        # a staged file may be that of another case, to which the folder was given after the rename
        ahead = {move for move in self.case.moves if Path(move.staged).exists() and is_made(move.staged, move.final)}
        if not all(
            is_made(move.final, move.final) or (move in ahead and self._is_as_it_stood(move.final))
            for move in self.case.moves
        ):
            return
        try:
            commit_files([(move.staged, move.final) for move in self.case.moves if move in ahead])
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                remove_files(
                    [
                        Path(move.final)
                        for move in self.case.moves
                        if move not in ahead or not Path(move.staged).exists()
                    ]
                )
            raise
        remove_files([path for path in self.case.stale if self._is_as_it_stood(str(path))])
        record = self.case.record
        with contextlib.suppress(OSError):  # a file that is not there is made again
            record = replace(record, outputs=with_place_in_disk(record.outputs, manifest.dest))
        manifest.append(self.operation, record)

    def _is_as_it_stood(self, path: str) -> bool:
        return path not in self.stood or self.stood[path] == _standing(path)


def _standing(path: str | Path) -> dict[str, int] | None:
    """Return size, times and inode of what stands at a place; ``None`` if nothing does."""
    try:
        return status_print(os.lstat(path))
    except OSError:
        return None


def first_outside(paths: Iterable[str], folders: Iterable[Path]) -> str | None:
    """Return the first path that lies outside all folders; ``None`` if there is none."""
    by_folder = {os.path.dirname(path): path for path in paths}  # noqa: PTH120 - called for thousands of files
    return next((path for path in by_folder.values() if not leads_inside(Path(path), folders)), None)


def remove_files(paths: Sequence[Path]) -> None:
    """Remove files, and their folders if nothing else is in them."""
    for path in paths:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        _remove_if_empty(folder)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def is_plain(path: Path) -> bool:
    """Whether a path does not exist or is a regular file, and not a link, pipe or device."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return True
