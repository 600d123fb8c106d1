"""Make files permanent: flush them to disk and move them to their final names, or write them whole."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from itkit.core.errors import DiskFullError, WriteError
from itkit.core.files import STATE_FOLDER
from itkit.core.text import format_bytes

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}  # a quota is told alike; Windows has none
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_MANY = 32
_HIDDEN = re.compile(r"\.itkit-(\d+)-[0-9a-f]{16}")


def default_mode() -> int:
    """Return the permissions of a new file under the umask of this process."""
    mask = os.umask(0o022)
    os.umask(mask)
    return 0o666 & ~mask


def os_reason(error: OSError) -> str:
    """Return what the system says about a file, and the file if it names one.

    Examples
    --------
    >>> os_reason(OSError(28, "No space left on device", "a/b.mha"))
    'a/b.mha: No space left on device'
    """
    where = error.filename2 or error.filename  # a full disk has none
    return ": ".join(filter(None, (where and str(where), error.strerror or str(error))))


def is_full(error: OSError) -> bool:
    """Whether the disk is full, or the user's part of it."""
    return error.errno in _FULL


def write_error(where: Path | str, error: OSError, needed: int | None = None) -> WriteError:
    """Return the error of what can't be written: what the system says, and what to do.

    Parameters
    ----------
    where
        The file, folder or case.
    error
        What the system says.
    needed
        Bytes that were to be written, as far as they are known.

    Examples
    --------
    >>> write_error("case_1", OSError(28, "No space left on device"))
    DiskFullError("case_1: can't be written (No space left on device); make room, then run it again")
    >>> write_error("case_1", OSError(5, "Input/output error"))
    WriteError("case_1: can't be written (Input/output error)")
    """
    text = f"{where}: can't be written ({error.strerror or error})"
    if is_full(error):
        room = "room" if needed is None else f"room for {format_bytes(needed)} and what follows"
        return DiskFullError(f"{text}; make {room}, then run it again")
    return WriteError(text + ("; make it writable, or choose another folder" if error.errno in _FORBIDDEN else ""))


@contextlib.contextmanager
def writing(where: Path | str, needed: int | None = None) -> Iterator[None]:
    """Turn what the system says while a block writes into a `WriteError`; see `write_error`.

    Raises
    ------
    WriteError
        When it can't be written.
    """
    try:
        yield
    except OSError as error:
        raise write_error(where, error, needed) from error


def hidden_beside(path: Path) -> Path:
    """Return a new hidden name beside a file, for its bytes until they are complete; see `left_by_dead_runs`."""
    return path.with_name(f".itkit-{os.getpid()}-{os.urandom(8).hex()}")


def left_by_dead_runs(folder: Path) -> list[Path]:
    """Return the files with a name of `hidden_beside` in a folder whose process has ended."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        found = [(entry, _HIDDEN.fullmatch(entry.name)) for entry in entries if entry.name.startswith(".itkit-")]
    return [Path(entry.path) for entry, match in found if match and not is_alive(int(match[1]))]


def is_alive(pid: int) -> bool:
    """Whether there is a process of this number on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def sync_file(path: str | Path) -> None:
    """Wait until a file's bytes are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_files(paths: Sequence[str | Path]) -> None:
    """Wait until files are on disk; for many files of one file system in one call, if the system supports it."""
    if len(paths) >= _MANY and sys.platform == "linux" and len({os.stat(path).st_dev for path in paths}) == 1:  # noqa: PTH116
        import ctypes

        descriptor = os.open(os.path.dirname(paths[0]) or ".", os.O_RDONLY)  # noqa: PTH120 - it may be a text
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) == 0:
                return
        finally:
            os.close(descriptor)
    for path in paths:
        sync_file(path)


def commit_files(moves: Sequence[tuple[str | Path, str | Path]]) -> None:
    """Move staged files to their final names in the given order.

    From another file system, a file is first copied to a hidden file beside its final name.
    """
    for staged, final in moves:
        try:
            try:
                os.replace(staged, final)  # noqa: PTH105 - called for thousands of files
            except FileNotFoundError:  # most folders are there
                Path(final).parent.mkdir(parents=True, exist_ok=True)
                os.replace(staged, final)  # noqa: PTH105 - likewise
        except OSError as error:
            if error.errno != 18:  # EXDEV
                raise
            import shutil  # it imports two modules for archives

            hidden = hidden_beside(Path(final))
            shutil.copy2(staged, hidden)
            sync_file(hidden)
            hidden.replace(final)
            Path(staged).unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 completely or not at all.

    Raises
    ------
    WriteError
        When it can't be written.
    """
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file completely or not at all.

    Raises
    ------
    WriteError
        When it can't be written.
    """
    _write(path, (data,))


def write_pieces(path: Path, pieces: Iterable[str]) -> None:
    """Write a text file in UTF-8, made piece by piece, completely or not at all.

    Raises
    ------
    WriteError
        When it can't be written.
    """
    _write(path, (piece.encode("utf-8", errors="backslashreplace") for piece in pieces))


def _write(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    state = path.parent if path.parent.name == STATE_FOLDER else path.parent / STATE_FOLDER
    stage = state / "tmp"  # the next run removes what a killed run leaves here
    folder = stage if state.is_dir() and not (state.is_symlink() or stage.is_symlink()) else path.parent
    hidden = hidden_beside(folder / path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        with hidden.open("xb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        hidden.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            hidden.unlink()
