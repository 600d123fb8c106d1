"""The staging folder of a run, where results lie until they are complete and are renamed to their final names.

A run owns ``<dest>/.itkit/tmp/<run>/``. Workers write there. When all files of a case, or of some small cases, are on
disk, a journal lists every rename, the files are renamed, and the manifest says *done*. If a run is interrupted in
between, it finishes the renames of its journal; if it is killed, the next one does, and removes everything else.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from itkit.core.bounded import read_bounded
from itkit.core.errors import LayoutError, WriteError
from itkit.core.files import STATE_FOLDER
from itkit.core.operation import Record
from itkit.engine.fingerprint import with_place_in_disk
from itkit.engine.journal import JOURNAL, Commit, finish_journal, first_outside, is_plain, remove_files, write_journal
from itkit.engine.lines import line_of
from itkit.engine.manifest import Manifest
from itkit.engine.wide import LONG, is_readable
from itkit.io.disk import commit_files, is_alive, left_by_dead_runs, os_reason, sync_files, write_error
from itkit.io.json_files import json_line
from itkit.io.locks import lock_new, locked, try_lock

_MOST_NODE_BYTES = 4096
_PATIENCE_S = 5.0
"""How long a run waits for the workers of a dead run to end."""


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
            folder, lock = lock_new(lambda: _new_folder(root), "lock", _node().encode())
        except OSError as error:
            raise LayoutError(f"destination {manifest.dest} can't be written ({error.strerror or error})") from error
        return cls(folder, manifest, operation, lock, (manifest.dest, *folders))

    def finish(self) -> None:
        """Move the other files of a case, too, when an interrupt has come between them."""
        with contextlib.suppress(OSError, LayoutError):  # the next run will try again
            if self.is_committing and finish_journal(self.folder, self.manifest, self.folders):
                self.is_committing = False

    def close(self) -> None:
        """Remove the folder; its parent stays, because another run may be about to use it.

        A folder whose journal is not finished stays for the next run.
        """
        if not self.is_committing:
            with contextlib.suppress(OSError):  # else a run that finds the lock free finishes the last case again
                (self.folder / JOURNAL).unlink(missing_ok=True)
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
        journal = self.folder / JOURNAL
        try:
            if ready:
                write_journal(self.folder, self.operation, [*ready.values()])
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
        is_any_outside = first_outside([path for case in cases for path in case.places], self.folders) is not None
        for number, case in enumerate(cases):
            outside = first_outside(case.places, self.folders) if is_any_outside else None
            if outside is not None:
                found[number] = WriteError(
                    f"{case.record.case_id}: {outside} lies outside the destination; not written"
                )
            elif len(case.moves) >= LONG and not is_readable(json_line(line_of(case.record)), len(case.moves)):
                made = f"{case.record.case_id}: makes {len(case.moves)} files"
                found[number] = WriteError(f"{made}, more than the manifest can list of one case; make fewer of it")
        late = {number: case for number, case in enumerate(cases) if not case.is_flushed and number not in found}
        try:
            sync_files([move.staged for case in late.values() for move in case.moves])
        except OSError:
            for number, case in late.items():
                try:
                    sync_files([move.staged for move in case.moves])
                except OSError as error:
                    found[number] = write_error(case.record.case_id, error)
        return found

    def _moved(self, case: Commit) -> Record | WriteError:
        try:
            commit_files([(move.staged, move.final) for move in case.moves])
            remove_files(case.stale)
            outputs = with_place_in_disk(case.record.outputs, self.manifest.dest)
        except OSError as error:
            return _undone(case, error)
        return replace(case.record, outputs=outputs)


def _undone(case: Commit, error: OSError | LayoutError) -> WriteError:
    """Remove the files of a case that have been moved; return what its record says."""
    with contextlib.suppress(OSError):
        remove_files([Path(move.final) for move in case.moves if not Path(move.staged).exists()])
    return WriteError(f"{case.record.case_id}: can't be moved into place ({_reason(error)})")


def _reason(error: OSError | LayoutError) -> str:
    return str(error) if isinstance(error, LayoutError) else os_reason(error)


def _new_folder(root: Path) -> Path:
    """Make the folder of this process's run."""
    folder = root / f"{os.getpid()}-{os.urandom(6).hex()}"
    folder.mkdir(parents=True)
    return folder


def _remove_tree(folder: Path) -> None:
    import shutil  # imported here because a run without destination does not need it

    with contextlib.suppress(OSError):  # can be raised in spite of ignore_errors when an interrupt arrives
        shutil.rmtree(folder, ignore_errors=True)


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
        if not (is_plain(folder / "lock") and is_plain(folder / JOURNAL)):
            continue  # ITKIT did not make this folder
        try:
            lock = (folder / "lock").open("ab")
        except OSError:
            continue  # another run has just removed it
        with lock:
            if _is_dead(folder, lock) and finish_journal(folder, manifest, allowed):
                _remove_tree(folder)


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
