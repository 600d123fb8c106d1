"""Cores and memory that this process may use, within the limits of affinity and control groups."""

from __future__ import annotations

import math
import os
from pathlib import Path

from itkit.core.text import format_bytes as format_bytes

BASE_BYTES = 192 * 2**20
"""Memory of a Python process with numpy and SimpleITK, before its first voxel."""


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read_words("/sys/fs/cgroup/cpu.max")
    if len(quota) == 2 and quota[0] != "max":
        cores = min(cores, math.ceil(int(quota[0]) / int(quota[1])))
    return max(1, cores)


def available_memory() -> int:
    """Return the bytes of memory that are free to this process."""
    free = [_meminfo("MemAvailable:")]
    for limit, usage in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        bound, used = _read_words(limit), _read_words(usage)
        if bound and used and bound[0].isdigit():
            free.append(int(bound[0]) - int(used[0]))
    known = [value for value in free if value is not None and value > 0]
    return min(known) if known else 4 * 2**30


def _read_words(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").split()
    except OSError:
        return []


def _meminfo(key: str) -> int | None:
    words = _read_words("/proc/meminfo")
    return int(words[words.index(key) + 1]) * 1024 if key in words else None
