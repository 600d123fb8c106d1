"""Whole volumes moved about as files: copied, linked, deleted, header and data file together."""

from __future__ import annotations

import os
from pathlib import Path

from itkit.core.errors import ReadError, WriteError
from itkit.io.disk import sync_file
from itkit.io.headers import UnsupportedHeader, unit_files
from itkit.io.meta import file_stamp, refresh_index


def _unit(path: Path) -> tuple[Path, ...]:
    """All files of a volume, data file first; the file alone where its header can't tell."""
    try:
        files = unit_files(path)
    except (ReadError, UnsupportedHeader, OSError):
        return (path,)
    return tuple(sorted(files, key=lambda file: file == path))


def obstacles(path: Path, folder: Path, *, is_link: bool) -> list[str]:
    """Say why a volume can't go to a folder: its data file is missing or elsewhere, or another file has its name."""
    try:
        files = unit_files(path)
    except UnsupportedHeader:
        files = (path,)
    except (ReadError, OSError) as error:
        return [str(error)]
    for file in files:
        final = folder / file.name
        if not file.exists():
            return [f"{path}: its data file {file.name} is missing"]
        if not (final.exists() or final.is_symlink()):
            continue
        if is_link and not (final.is_symlink() and final.resolve() == file.resolve()):
            return [f"{final} exists and is no link to {file}; left alone"]
        if not is_link and (not final.exists() or file_stamp(final) != file_stamp(file)):
            return [f"{final} exists and differs; left alone"]
    return []


def copy_unit(path: Path, folder: Path) -> list[str]:
    """Copy a volume's files into a folder, each whole or not at all; return what went wrong.

    A file that is there already is left: `obstacles` tells whether it is the same.
    """
    import shutil  # a check that copies nothing starts without

    for file in _missing(path, folder):
        hidden = folder / f".itkit-{os.urandom(16).hex()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, hidden)
            sync_file(hidden)
            hidden.replace(folder / file.name)
        except OSError as error:
            hidden.unlink(missing_ok=True)
            return [f"{file}: can't be copied to {folder} ({error.strerror or error})"]
    return []


def link_unit(path: Path, folder: Path) -> list[str]:
    """Link a volume's files into a folder by relative symbolic links, as `copy_unit` copies them."""
    for file in _missing(path, folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / file.name).symlink_to(os.path.relpath(file.resolve(), folder.resolve()))
        except OSError as error:
            return [f"{file}: can't be linked in {folder} ({error.strerror or error})"]
    return []


def _missing(path: Path, folder: Path) -> list[Path]:
    """Return the files of a volume that a folder does not hold yet."""
    return [file for file in _unit(path) if not os.path.lexists(folder / file.name)]


def delete_unit(path: Path) -> list[str]:
    """Delete a volume's files; return what went wrong."""
    failures = []
    for file in reversed(_unit(path)):
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            failures.append(f"{file}: can't be deleted ({error.strerror or error})")
    return failures


def refresh_index_if_writable(folder: Path) -> tuple[str, ...]:
    """Write a folder's index; say so where the folder can't be written, which is no failure."""
    try:
        refresh_index(folder)
    except WriteError as error:
        return (f"index not written: {error}",)
    return ()
