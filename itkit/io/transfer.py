"""Copy, link and delete volumes as files, the header together with its data file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection
from pathlib import Path

from itkit.core.errors import ReadError
from itkit.io.disk import hidden_beside, sync_file
from itkit.io.formats.headers import UnsupportedHeader, has_data_file, unit_files
from itkit.io.meta import file_stamp

_PIECE_BYTES = 1 << 20


def _unit(path: Path) -> tuple[Path, ...]:
    """Return all files of a volume, data file first; only the file itself if its header can't be read."""
    try:
        files = unit_files(path)
    except (ReadError, UnsupportedHeader, OSError):
        return (path,)
    return tuple(sorted(files, key=lambda file: file == path))


def obstacles(path: Path, folder: Path, *, name: str = "", is_link: bool, replace: bool = False) -> list[str]:
    """Return why a volume can't be transferred to a folder, under its own name or another; empty if it can.

    Its data file may be missing or lie in another folder, or another file may have its name. With ``replace``, other
    files are not an obstacle; an interrupted copy of the same file never is.
    """
    try:
        files = unit_files(path)
    except UnsupportedHeader:
        files = (path,)
    except (ReadError, OSError) as error:
        return [str(error)]
    for file in files:
        final = _final(file, path, folder, name)
        if not file.exists():
            return [f"{path}: its data file {file.name} is missing"]
        if replace or not os.path.lexists(final) or _is_same(file, final, is_link=is_link):
            continue
        if not is_link and _is_beginning(final, file):
            continue
        what = f"is not a link to {file}" if is_link else "differs"
        return [f"{final} exists and {what}; left alone (--existing redo replaces it)"]
    return []


def _final(file: Path, path: Path, folder: Path, name: str) -> Path:
    """Return the place of a volume's file: the header may get another name, and refers to its data by theirs."""
    return folder / (name if name and file == path else file.name)


def _is_same(file: Path, final: Path, *, is_link: bool) -> bool:
    """Return whether a file has already been linked or copied to its destination."""
    if is_link:
        return final.is_symlink() and final.resolve() == file.resolve()
    return final.exists() and not final.is_symlink() and file_stamp(final) == file_stamp(file)


def _is_beginning(part: Path, file: Path) -> bool:
    """Return whether a file is an interrupted copy of another one: equal up to where it ends."""
    try:
        if part.is_symlink() or not part.is_file() or part.stat().st_size >= file.stat().st_size:
            return False
        with part.open("rb") as first, file.open("rb") as second:
            while piece := first.read(_PIECE_BYTES):
                if piece != second.read(len(piece)):
                    return False
    except OSError:
        return False
    return True


def copy_unit(path: Path, folder: Path, name: str = "") -> list[str]:
    """Copy a volume's files into a folder, each completely or not at all; return the errors.

    ``name`` is the volume's name there, if it is another one; the data file of a header keeps its own.

    Files that are already correct stay; all others are replaced, so call `obstacles` first.
    """
    import shutil  # not needed by a check that copies nothing

    def copy(file: Path, hidden: Path) -> None:
        shutil.copy2(file, hidden)
        sync_file(hidden)

    return _transfer(path, folder, name, copy, is_link=False)


def link_unit(path: Path, folder: Path, name: str = "") -> list[str]:
    """Link a volume's files into a folder by relative symbolic links, under the same rules as `copy_unit`."""

    def link(file: Path, hidden: Path) -> None:
        hidden.symlink_to(os.path.relpath(file.resolve(), folder.resolve()))

    return _transfer(path, folder, name, link, is_link=True)


def _transfer(path: Path, folder: Path, name: str, make: Callable[[Path, Path], None], *, is_link: bool) -> list[str]:
    for file in _unit(path):
        final = _final(file, path, folder, name)
        if _is_same(file, final, is_link=is_link):
            continue
        hidden = hidden_beside(final)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            make(file, hidden)
            hidden.replace(final)
        except OSError as error:
            with contextlib.suppress(OSError):
                hidden.unlink(missing_ok=True)
            return [f"{file}: can't be {'linked in' if is_link else 'copied to'} {folder} ({error.strerror or error})"]
    return []


def files_of(paths: Collection[Path]) -> list[Path]:
    """Return the files to delete with volumes, headers before data, without data that another header needs."""
    folders = {path.parent for path in paths if has_data_file(path)}
    others = [other for folder in folders for other in folder.iterdir() if has_data_file(other) and other not in paths]
    needed = {file for other in others for file in _unit(other)}
    return [file for path in paths for file in reversed(_unit(path)) if file not in needed]


def delete_file(file: Path) -> list[str]:
    """Delete a file; return the error, if any."""
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        return [f"{file}: can't be deleted ({error.strerror or error})"]
    return []
