"""Make files permanent: flush them to disk and move them to their final names."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

_MANY = 64


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


def sync_file(path: Path) -> None:
    """Wait until a file's bytes are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_files(paths: Sequence[Path]) -> None:
    """Wait until files are on disk; for many files of one file system in one call, if the system supports it."""
    if len(paths) >= _MANY and sys.platform == "linux" and len({path.stat().st_dev for path in paths}) == 1:
        import ctypes

        descriptor = os.open(paths[0].parent, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) == 0:
                return
        finally:
            os.close(descriptor)
    for path in paths:
        sync_file(path)


def commit_files(moves: Sequence[tuple[Path, Path]]) -> list[Path]:
    """Move staged files to their final names in the given order.

    From another file system, a file is first copied to a hidden file beside its final name.
    """
    for folder in dict.fromkeys(final.parent for _, final in moves):
        folder.mkdir(parents=True, exist_ok=True)
    for staged, final in moves:
        try:
            staged.replace(final)
        except OSError as error:
            if error.errno != 18:  # EXDEV
                raise
            import shutil  # it imports two modules for archives

            hidden = final.with_name(f".itkit-{os.urandom(16).hex()}-{final.name}")
            shutil.copy2(staged, hidden)
            sync_file(hidden)
            hidden.replace(final)
    return [final for _, final in moves]
