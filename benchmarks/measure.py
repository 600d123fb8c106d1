"""Measure a command: wall time, CPU time and peak memory of its whole process tree (Linux)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

SAMPLE_S = 0.02
_SET_CHILD_SUBREAPER = 36
_STAT_SESSION = 3  # fields of /proc/<pid>/stat after the command's name: state, parent, group, session


@dataclass(frozen=True)
class Cost:
    """Cost of one run; ``peak_bytes`` counts shared memory once and leaves out the page cache."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def run(argv: list[str], *, cores: set[int] | None = None, sample_memory: bool = False) -> Cost:
    """Run a command in its own session until all of its processes have ended.

    Orphans (for example of servers that fork workers) become children of this process, so ``wait4`` counts them too.

    Raises
    ------
    RuntimeError
        When the command fails; the message holds the end of its output.
    """
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=None if cores is None else lambda: os.sched_setaffinity(0, cores),
        )
        sampler = _Sampler(process.pid)
        if sample_memory:
            sampler.start()
        wall, cpu, status = 0.0, 0.0, 0
        while True:
            try:
                pid, state, usage = os.wait4(-1, 0)
            except ChildProcessError:
                break
            cpu += usage.ru_utime + usage.ru_stime
            if pid == process.pid:
                wall, status = time.perf_counter() - begin, os.waitstatus_to_exitcode(state)
                process.returncode = status
        sampler.stop()
        if status:
            output.seek(0)
            text = output.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(map(str, argv))} ended with {status}:\n{text}")
    return Cost(wall, cpu, sampler.peak)


class _Sampler(threading.Thread):
    """Samples the proportional set size of a session's processes, without file-backed pages."""

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self.session, self.peak, self.ended = session, 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(SAMPLE_S):
            self.peak = max(self.peak, sum(_memory(pid) for pid in _members(self.session)))

    def stop(self) -> None:
        self.ended.set()
        if self.is_alive():
            self.join()


def _members(session: int) -> list[Path]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                words = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(words[_STAT_SESSION]) == session:
                    found.append(folder)
    return found


def _memory(folder: Path) -> int:
    try:
        lines = (folder / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
