"""Where results lie until they are complete, and how they move to their final names.

A run owns ``<dest>/.itkit/tmp/<run>/``. Workers write there; when all files of a case are on disk, a journal line
names every move, the files are renamed, and the manifest says *done*. The next run finds what a killed one left:
cases in the journal are moved to the end, everything else is removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from itkit.core.errors import LayoutError, WriteError
from itkit.core.files import STATE_FOLDER
from itkit.core.operation import Record
from itkit.engine.manifest import Manifest, line_of, record_of
from itkit.io.disk import commit_files
from itkit.io.meta import file_stamp, json_line

_JOURNAL = "journal.json"
_PATIENCE_S = 5.0
"""How long the next run waits for the workers of a dead one to be gone."""


@dataclass(frozen=True)
class Move:
    """One staged file and its final path."""

    staged: Path
    final: Path


@dataclass(frozen=True, eq=False)
class Stage:
    """The staging folder of a run that is alive."""

    folder: Path
    manifest: Manifest
    operation: str
    lock: IO[bytes]

    @classmethod
    def open(cls, manifest: Manifest, operation: str) -> Stage:
        """Make a folder for this run.

        Raises
        ------
        LayoutError
            When the destination can't be written.
        """
        root = manifest.dest / STATE_FOLDER / "tmp"
        try:
            while True:
                folder = root / f"{os.getpid()}-{os.urandom(6).hex()}"
                folder.mkdir(parents=True)
                with contextlib.suppress(FileNotFoundError):  # another run removes what it sees before it is locked
                    lock = (folder / "lock").open("wb", buffering=0)
                    lock.write(_node().encode())
                    if _own(lock):
                        return cls(folder, manifest, operation, lock)
                    lock.close()
        except OSError as error:
            raise LayoutError(f"destination {manifest.dest} can't be written ({error.strerror or error})") from error

    def close(self) -> None:
        """Remove the folder; its parent stays, another run may be about to use it."""
        self.lock.close()
        _remove_tree(self.folder)

    def commit(self, record: Record, moves: Sequence[Move], stale: Sequence[Path] = ()) -> None:
        """Give a case's files their final names, remove the stale ones, and note the case as done.

        Raises
        ------
        WriteError
            When the disk refuses; none of the case's files is left then.
        """
        line = {
            "operation": self.operation,
            "record": line_of(record),
            "moves": [[move.staged.relative_to(self.folder).as_posix(), str(move.final.absolute())] for move in moves],
            "stale": [str(path.absolute()) for path in stale],
        }
        journal = self.folder / _JOURNAL
        try:
            with journal.open("w", encoding="utf-8") as file:
                file.write(json_line(line))
                file.flush()
                os.fsync(file.fileno())
            commit_files([(move.staged, move.final) for move in moves])
            _remove(stale)
            self.manifest.append(self.operation, record)
        except (OSError, LayoutError) as error:
            journal.unlink(missing_ok=True)
            _remove([move.final for move in moves if not move.staged.exists()])
            raise WriteError(f"{record.case_id}: can't be moved into place ({_reason(error)})") from error


def _reason(error: OSError | LayoutError) -> str:
    if isinstance(error, LayoutError):
        return str(error)
    where = error.filename2 or error.filename  # a full disk has none
    return ": ".join(filter(None, (where and str(where), error.strerror or str(error))))


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        _remove_if_empty(folder)


def _remove_tree(folder: Path) -> None:
    import shutil  # a run that has no destination starts without

    with contextlib.suppress(OSError):  # even so: when an interrupt comes between
        shutil.rmtree(folder, ignore_errors=True)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def recover(manifest: Manifest) -> None:
    """Finish the journals of dead runs and remove their files: done before anything is planned upon them."""
    root = manifest.dest / STATE_FOLDER / "tmp"
    if not root.is_dir():
        return
    for folder in sorted(root.iterdir()):
        if not folder.is_dir():
            if not _is_alive(folder.name.lstrip(".").split("-")[0]):
                folder.unlink(missing_ok=True)
            continue
        try:
            lock = (folder / "lock").open("ab")
        except OSError:
            continue  # another run has just removed it
        with lock:
            if not (_try_lock(lock) or (_is_orphaned(folder) and _wait_for(lock))):
                continue  # a live run's
            _finish_journal(folder, manifest)
            _remove_tree(folder)


def _finish_journal(folder: Path, manifest: Manifest) -> None:
    try:
        line = json.loads((folder / _JOURNAL).read_text(encoding="utf-8"))
        record, operation = record_of(line["record"]), line["operation"]
        moves = [(folder / staged, Path(final)) for staged, final in line["moves"]]
        stale = [Path(path) for path in line["stale"]]
    except (OSError, ValueError, KeyError, TypeError):
        return  # none, or torn: nothing had moved yet
    moved = {str(final) for staged, final in moves if not staged.exists()}
    outputs = {str((manifest.dest / output["path"]).absolute()): output for output in record.outputs}
    if all(is_unchanged(Path(path), outputs[path]) for path in moved & outputs.keys()):
        commit_files([(staged, final) for staged, final in moves if staged.exists()])
        _remove(stale)
        manifest.append(operation, record)


def is_unchanged(path: Path, output: Mapping[str, Any]) -> bool:
    """Whether a file is still the one that a manifest's output describes."""
    try:
        return file_stamp(path) == {"bytes": output["bytes"], "mtime_ns": output["mtime_ns"]}
    except OSError:
        return False


@contextlib.contextmanager
def alone(manifest: Manifest) -> Iterator[None]:
    """Wait until no other run describes the destination: each reads what all have made, and writes it."""
    state = manifest.dest / STATE_FOLDER
    with contextlib.ExitStack() as stack:
        if state.is_dir():
            with contextlib.suppress(ImportError, OSError):  # no locks on this system: runs one after another are right
                import fcntl

                fcntl.flock(stack.enter_context((state / "collect.lock").open("ab")), fcntl.LOCK_EX)
        yield


def _own(lock: IO[bytes]) -> bool:
    """Lock a file that this run has just made; ``False`` where another run holds it or has removed it."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(lock.fileno()), os.stat(lock.name))  # noqa: PTH116 - of an open file
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:  # this file system has no locks
        return True


def _try_lock(file: IO[bytes]) -> bool:
    """Lock a file for this process; ``False`` when another one holds it."""
    try:
        import fcntl
    except ImportError:  # no advisory locks on this system: the process id tells
        return not _is_alive(Path(file.name).parent.name.split("-")[0])
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _node() -> str:
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")


def _is_orphaned(folder: Path) -> bool:
    """Whether a run of this machine has died, so that only its workers, which die after it, can hold the lock."""
    try:
        here = (folder / "lock").read_text(encoding="utf-8") == _node()
    except OSError:
        return False
    return here and not _is_alive(folder.name.split("-")[0])


def _wait_for(lock: IO[bytes]) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if _try_lock(lock):
            return True
        time.sleep(0.01)
    return False


def _is_alive(pid: str) -> bool:
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
