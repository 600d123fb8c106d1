"""Fingerprints of files, which tell whether a file has changed since an earlier run."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

Fingerprint = Literal["stat", "content"]
"""How to tell whether a file is the same: by size, times and inode (stat), or by its bytes (content)."""

_STATUS = ("bytes", "mtime_ns", "ctime_ns", "inode")
_CHUNK = 1 << 20


def file_print(path: str | Path, how: Fingerprint = "stat") -> dict[str, Any]:
    """Return size, times and inode of a file and, with ``content``, the digest of its bytes.

    Raises
    ------
    OSError
        When the file can't be read.
    """
    status = os.stat(path)  # noqa: PTH116 - called for thousands of files
    return _print_of(status, path, how)


def status_print(status: os.stat_result) -> dict[str, int]:
    """Return the size, times and inode that a file's status says."""
    return {
        "bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "inode": status.st_ino,
    }


def _print_of(status: os.stat_result, path: str | Path, how: Fingerprint) -> dict[str, Any]:
    found: dict[str, Any] = {**status_print(status)}
    if how == "content" and stat.S_ISREG(status.st_mode):
        found["sha256"] = digest_of(path)
    return found


def digest_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK))
    with Path(path).open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def is_same(known: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two fingerprints belong to the same file: compare digests if both have one, else all common entries.

    Examples
    --------
    >>> is_same({"bytes": 1, "mtime_ns": 5}, {"bytes": 1, "mtime_ns": 5, "inode": 7})
    True
    >>> is_same({"bytes": 1, "sha256": "a", "inode": 6}, {"bytes": 1, "sha256": "a", "inode": 7})
    True
    """
    if "sha256" in known and "sha256" in now:
        return bool(known["sha256"] == now["sha256"])
    return all(known[name] == now[name] for name in _STATUS if name in known and name in now)


def is_unchanged(
    path: str | Path, output: Mapping[str, Any], how: Fingerprint = "stat", status: os.stat_result | None = None
) -> bool:
    """Whether a file is still the one that a manifest's output describes; a caller may know its status already."""
    try:
        status = status or os.stat(path)  # noqa: PTH116 - called for thousands of files
        if status.st_size != output["bytes"]:
            return False
        return is_same(output, _print_of(status, path, how if "sha256" in output else "stat"))
    except OSError:
        return False


def is_copy(path: str | Path, output: Mapping[str, Any]) -> bool:
    """Whether a file has the size and modification time of a manifest's output; a copy or a moved file has them."""
    try:
        status = os.stat(path)  # noqa: PTH116 - as above
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (output["bytes"], output["mtime_ns"])


def with_place_in_disk(outputs: Iterable[Mapping[str, Any]], dest: Path) -> tuple[dict[str, Any], ...]:
    """Return outputs with inode and change time, which are only known after the files have their final names."""
    found = []
    for output in outputs:
        status = os.stat(os.path.join(dest, output["path"]))  # noqa: PTH116, PTH118 - called for thousands of files
        found.append({**output, "ctime_ns": status.st_ctime_ns, "inode": status.st_ino})
    return tuple(found)


def print_of_files(paths: Iterable[Path], how: Fingerprint) -> dict[str, str]:
    """Return digests over many files: of names, change times and inodes and, with ``content``, of their bytes."""
    places, contents = hashlib.sha256(), hashlib.sha256()
    for path in paths:
        name = os.fsencode(path.name)
        try:
            seen = file_print(path, how)
        except OSError:  # a broken link: reading it will raise the error
            seen = {}
        places.update(b"%s\0%d\0%d\n" % (name, seen.get("ctime_ns", -1), seen.get("inode", -1)))
        contents.update(b"%s\0%s\n" % (name, seen.get("sha256", "").encode()))
    found = {"stat": places.hexdigest()[:16]}
    return {**found, "content": contents.hexdigest()[:16]} if how == "content" else found
