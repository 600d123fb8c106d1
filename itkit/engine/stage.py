"""The staging folder of a run, where results lie until they are complete and are renamed to their final names.

A run owns ``<dest>/.itkit/tmp/<run>/``. Workers write there. When all files of a case, or of some small cases, are on
disk, a journal lists every rename, the files are renamed, and the manifest says *done*. If a run is interrupted in
between, it finishes the renames of its journal; if it is killed, the next one does, and removes everything else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from itkit.core.bounded import read_bounded
from itkit.core.errors import LayoutError, WriteError
from itkit.core.files import STATE_FOLDER
from itkit.core.operation import Record
from itkit.engine.fingerprint import is_unchanged, status_print, with_place_in_disk
from itkit.engine.manifest import BROKEN, Manifest, line_of, record_of, value_of
from itkit.engine.places import leads_inside, place
from itkit.io.disk import commit_files, is_alive, left_by_dead_runs, os_reason, sync_files
from itkit.io.json_files import json_line
from itkit.io.locks import is_in_place, locked, try_lock

_JOURNAL = "journal.json"
_MOST_NODE_BYTES = 4096
_STRANGE = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.EINVAL}
_PATIENCE_S = 5.0
"""How long a run waits for the workers of a dead run to end."""


@dataclass(frozen=True)
class Move:
    """One staged file and its final path."""

    staged: Path
    final: Path


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


@dataclass(eq=False)
class Stage:
    """The staging folder of a live run."""

    folder: Path
    manifest: Manifest
    operation: str
    lock: IO[bytes]
    folders: tuple[Path, ...] = ()
    is_committing: bool = False
    """Whether files of a case are being moved; it stays so when an interrupt arrives in the middle."""

    _free: list[Path] = field(default_factory=list)
    _count: int = 0

    def folder_of_case(self) -> Path:
        """Return a folder for the staged files of a case; it may not exist yet."""
        if self._free:
            return self._free.pop()
        self._count += 1
        return self.folder / str(self._count)

    def take_back(self, case: Commit) -> None:
        """Give the folder of a small case to another: folders cost more than such cases do.

        No other worker can write there: a case that was tried twice, or on another machine, is flushed by its worker.
        """
        if case.folder is not None and not case.is_flushed:
            self._free.append(case.folder)

    @classmethod
    def open(cls, manifest: Manifest, operation: str, folders: Iterable[Path] = ()) -> Stage:
        """Make the staging folder of a run that writes into the destination and the given folders.

        Raises
        ------
        LayoutError
            When the destination can't be written, or its state folder leads elsewhere.
        """
        require_own_state(manifest.dest)
        root = manifest.dest / STATE_FOLDER / "tmp"
        try:
            while True:
                folder = root / f"{os.getpid()}-{os.urandom(6).hex()}"
                folder.mkdir(parents=True)
                with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as opened:
                    # another run may remove the folder before it is locked
                    lock = opened.enter_context((folder / "lock").open("wb", buffering=0))
                    lock.write(_node().encode())
                    if try_lock(lock) != "taken" and is_in_place(lock):
                        opened.pop_all()
                        return cls(folder, manifest, operation, lock, (manifest.dest, *folders))
        except OSError as error:
            _remove_tree(folder)
            raise LayoutError(f"destination {manifest.dest} can't be written ({error.strerror or error})") from error

    def finish(self) -> None:
        """Move the other files of a case, too, when an interrupt has come between them."""
        with contextlib.suppress(OSError, LayoutError):  # the next run will try again
            if self.is_committing and _finish_journal(self.folder, self.manifest, self.folders):
                self.is_committing = False

    def close(self) -> None:
        """Remove the folder; its parent stays, because another run may be about to use it.

        A folder whose journal is not finished stays for the next run.
        """
        if not self.is_committing:
            with contextlib.suppress(OSError):  # else a run that finds the lock free finishes the last case again
                (self.folder / _JOURNAL).unlink(missing_ok=True)
        self.lock.close()
        if not self.is_committing:
            _remove_tree(self.folder)

    def commit(self, cases: Sequence[Commit]) -> list[Record | WriteError]:
        """Rename files of cases to their final names, remove stale files, and append the cases to the manifest.

        Returns for each case the record that the manifest holds, or the error when the disk refuses or a place lies
        outside the run's folders; none of the case's files is left then.
        """
        made: dict[int, Record | WriteError] = self._refused(cases)
        ready = {number: case for number, case in enumerate(cases) if number not in made}
        journal = self.folder / _JOURNAL
        try:
            if ready:
                with journal.open("w", encoding="utf-8") as file:
                    file.write(json_line([self._line(case) for case in ready.values()]))
                    file.flush()
                    os.fsync(file.fileno())
                self.is_committing = True
            for number, case in ready.items():
                made[number] = self._moved(case)
            records = [record for record in made.values() if isinstance(record, Record)]
            if records:
                self.manifest.append(self.operation, *records)
        except (OSError, LayoutError) as error:
            made |= {number: _undone(case, error) for number, case in ready.items()}
        if ready:  # what it has moved may be edited now, and what it says is staged may soon be another case's file
            with contextlib.suppress(OSError):
                journal.unlink(missing_ok=True)
        self.is_committing = False
        return [made[number] for number in range(len(cases))]

    def _refused(self, cases: Sequence[Commit]) -> dict[int, Record | WriteError]:
        """Flush files that are not on disk yet; return the errors of the cases whose files can't be moved."""
        found: dict[int, Record | WriteError] = {}
        is_any_outside = _outside([path for case in cases for path in _finals(case)], self.folders) is not None
        for number, case in enumerate(cases):
            outside = _outside(_finals(case), self.folders) if is_any_outside else None
            if outside is not None:
                found[number] = WriteError(
                    f"{case.record.case_id}: {outside} lies outside the destination; not written"
                )
        late = {number: case for number, case in enumerate(cases) if not case.is_flushed and number not in found}
        try:
            sync_files([move.staged for case in late.values() for move in case.moves])
        except OSError:
            for number, case in late.items():
                try:
                    sync_files([move.staged for move in case.moves])
                except OSError as error:
                    found[number] = WriteError(f"{case.record.case_id}: can't be written ({_reason(error)})")
        return found

    def _line(self, case: Commit) -> dict[str, Any]:
        return {
            "operation": self.operation,
            "record": line_of(case.record),
            "moves": [
                [move.staged.relative_to(self.folder).as_posix(), str(place(move.final)), _standing(move.final)]
                for move in case.moves
            ],
            "stale": [[str(place(path)), _standing(path)] for path in case.stale],
        }

    def _moved(self, case: Commit) -> Record | WriteError:
        try:
            commit_files([(move.staged, move.final) for move in case.moves])
            _remove(case.stale)
            outputs = with_place_in_disk(case.record.outputs, self.manifest.dest)
        except OSError as error:
            return _undone(case, error)
        return replace(case.record, outputs=outputs)


def _finals(case: Commit) -> list[Path]:
    """Return the paths that the commit of a case makes, replaces or removes."""
    return [*(move.final for move in case.moves), *case.stale]


def _undone(case: Commit, error: OSError | LayoutError) -> WriteError:
    """Remove the files of a case that have been moved; return what its record says."""
    with contextlib.suppress(OSError):
        _remove([move.final for move in case.moves if not move.staged.exists()])
    return WriteError(f"{case.record.case_id}: can't be moved into place ({_reason(error)})")


def _reason(error: OSError | LayoutError) -> str:
    return str(error) if isinstance(error, LayoutError) else os_reason(error)


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        _remove_if_empty(folder)


def _remove_tree(folder: Path) -> None:
    import shutil  # imported here because a run without destination does not need it

    with contextlib.suppress(OSError):  # can be raised in spite of ignore_errors when an interrupt arrives
        shutil.rmtree(folder, ignore_errors=True)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _outside(paths: Iterable[Path], folders: Iterable[Path]) -> Path | None:
    """Return the first path that lies outside all folders; ``None`` if there is none."""
    by_folder = {path.parent: path for path in paths}
    return next((path for path in by_folder.values() if not leads_inside(path, folders)), None)


def require_own_state(dest: Path) -> None:
    """Check that a state folder holds only files and folders; through a link, a run would write elsewhere.

    Raises
    ------
    LayoutError
        When it holds a link, pipe or device; the message names it.
    """
    state = dest / STATE_FOLDER
    try:
        strange = [state] if state.is_symlink() else [Path(entry) for entry in os.scandir(state) if not _is_own(entry)]
    except FileNotFoundError:
        return
    except OSError as error:
        raise LayoutError(f"{state}: can't be read ({error.strerror or error}); move it away") from error
    if strange:
        raise LayoutError(f"{strange[0]} is a link, pipe or device, through which a run would write; remove it")


def _is_own(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)


def _is_plain(path: Path) -> bool:
    """Whether a path does not exist or is a regular file, and not a link, pipe or device."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return True


def recover(manifest: Manifest, folders: Iterable[Path] = ()) -> None:
    """Finish the journals of dead runs and remove their files; must run before a new run decides on its cases.

    Parameters
    ----------
    manifest
        Manifest of the destination.
    folders
        Other folders in which the run writes. A journal that names any other folder stays for a run that writes there.

    Raises
    ------
    LayoutError
        When the state folder holds a link, pipe or device, or the disk refuses.
    """
    require_own_state(manifest.dest)
    root = manifest.dest / STATE_FOLDER / "tmp"
    if not root.is_dir():
        return
    try:
        _recover(manifest, root, (manifest.dest, *folders))
    except OSError as error:
        raise LayoutError(f"{root}: an unfinished run can't be tidied up ({os_reason(error)})") from error


def _recover(manifest: Manifest, root: Path, allowed: tuple[Path, ...]) -> None:
    for file in (file for folder in allowed for file in left_by_dead_runs(folder)):
        file.unlink(missing_ok=True)
    for folder in sorted(root.iterdir()):
        if folder.is_symlink() or not folder.is_dir():
            if not _is_of_living(folder.name.removeprefix(STATE_FOLDER).lstrip(".-")):
                folder.unlink(missing_ok=True)
            continue
        if not (_is_plain(folder / "lock") and _is_plain(folder / _JOURNAL)):
            continue  # ITKIT did not make this folder
        try:
            lock = (folder / "lock").open("ab")
        except OSError:
            continue  # another run has just removed it
        with lock:
            if _is_dead(folder, lock) and _finish_journal(folder, manifest, allowed):
                _remove_tree(folder)


def _finish_journal(folder: Path, manifest: Manifest, allowed: tuple[Path, ...]) -> bool:
    """Finish the renames of a journal; return whether the staging folder can be removed."""
    try:
        lines = value_of(read_bounded(folder / _JOURNAL))
        cases = [_Unfinished.of(line, folder) for line in (lines if isinstance(lines, list) else [lines])]
    except (OSError, LookupError, *BROKEN):
        return True  # no complete journal: no file has been renamed yet
    try:
        if not all(case.stays_inside(folder, allowed) for case in cases):
            return False
    except (OSError, ValueError) as error:
        if not _is_of_strange_name(error):
            raise
        return True  # no run has written it
    for case in cases:
        try:
            case.finish(manifest)
        except (OSError, ValueError) as error:
            if not _is_of_strange_name(error):
                raise
    return True


def _is_of_strange_name(error: OSError | ValueError) -> bool:
    """Whether a path is to blame, and not the disk: a name that no file can have, a folder in the place of a file."""
    return error.errno in _STRANGE if isinstance(error, OSError) else True


@dataclass(frozen=True)
class _Unfinished:
    """A case of a dead run's journal, with what stood at its places when the journal was written."""

    operation: str
    record: Record
    moves: Sequence[Move]
    stale: Sequence[Path]
    stood: Mapping[Path, Any]

    @classmethod
    def of(cls, line: Any, folder: Path) -> _Unfinished:
        """Return the case that an entry of a journal tells of; those of older versions do not say what stood there."""
        moves = [(Move(folder / staged, Path(final)), more) for staged, final, *more in line["moves"]]
        stale = [
            (Path(entry), []) if isinstance(entry, str) else (Path(entry[0]), entry[1:]) for entry in line["stale"]
        ]
        told = [*((move.final, more) for move, more in moves), *stale]
        return cls(
            str(line["operation"]),
            record_of(line["record"]),
            [move for move, _ in moves],
            [path for path, _ in stale],
            {path: more[0] for path, more in told if more},
        )

    def stays_inside(self, folder: Path, allowed: tuple[Path, ...]) -> bool:
        """Whether the case moves plain files of a run's folder to places inside the allowed ones."""
        staged = [move.staged for move in self.moves]
        return (
            _outside([*(move.final for move in self.moves), *self.stale], allowed) is None
            and _outside(staged, [folder]) is None
            and all(map(_is_plain, staged))
        )

    def finish(self, manifest: Manifest) -> None:
        """Finish the renames, unless one of the files that were moved, or are to be replaced, was edited since."""
        outputs = {str(place(manifest.dest / output["path"])): output for output in self.record.outputs}

        def is_made(path: Path, final: Path) -> bool:
            output = outputs.get(str(final))
            return output is None or is_unchanged(path, output)

        # a staged file may be that of another case, to which the folder was given after the rename
        ahead = {move for move in self.moves if move.staged.exists() and is_made(move.staged, move.final)}
        if not all(
            is_made(move.final, move.final) or (move in ahead and self._is_as_it_stood(move.final))
            for move in self.moves
        ):
            return
        try:
            commit_files([(move.staged, move.final) for move in self.moves if move in ahead])
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                _remove([move.final for move in self.moves if move not in ahead or not move.staged.exists()])
            raise
        _remove([path for path in self.stale if self._is_as_it_stood(path)])
        record = self.record
        with contextlib.suppress(OSError):  # a file that is not there is made again
            record = replace(record, outputs=with_place_in_disk(record.outputs, manifest.dest))
        manifest.append(self.operation, record)

    def _is_as_it_stood(self, path: Path) -> bool:
        return path not in self.stood or self.stood[path] == _standing(path)


def _standing(path: Path) -> dict[str, int] | None:
    """Return size, times and inode of what stands at a place; ``None`` if nothing does."""
    try:
        return status_print(path.lstat())
    except OSError:
        return None


def alone_with_cases(manifest: Manifest) -> contextlib.AbstractContextManager[None]:
    """Wait until no other run that writes the same manifest moves files, and keep it from doing so.

    Two equal runs at once would else both see that a file is not there yet: the first would note the file that the
    second has replaced, and it would look as if somebody had edited it. Shards have cases of their own; they do not
    wait for each other.
    """
    return locked(manifest.path.with_suffix(".lock"))


def alone(manifest: Manifest) -> contextlib.AbstractContextManager[None]:
    """Wait until no other run writes index and sidecar files; each run writes them for the cases of all runs."""
    state = manifest.dest / STATE_FOLDER
    return locked(state / "collect.lock") if state.is_dir() else contextlib.nullcontext()


def _node() -> str:
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")


def _is_dead(folder: Path, lock: IO[bytes]) -> bool:
    """Whether the run that owns a folder and all its workers have ended; then this process holds its lock."""
    state = try_lock(lock)
    return state == "ours" or (_has_lost_its_run(folder) and (state == "no locks" or _wait_for(lock)))


def _has_lost_its_run(folder: Path) -> bool:
    """Whether the run's main process is dead and only its dying workers can still hold the lock (this machine only)."""
    try:
        here = read_bounded(folder / "lock", _MOST_NODE_BYTES).decode() == _node()
    except (OSError, ValueError):
        return False
    return here and not _is_of_living(folder.name)


def _is_of_living(name: str) -> bool:
    """Whether a name begins with the number of a process that runs on this machine."""
    pid = name.split("-")[0]
    return pid.isdecimal() and is_alive(int(pid))


def _wait_for(lock: IO[bytes]) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if try_lock(lock) == "ours":
            return True
        time.sleep(0.01)
    return False
