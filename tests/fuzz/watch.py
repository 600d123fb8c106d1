"""Cases in a process of their own, so that a crash or a hang is a finding like others, and the next case follows."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_S = 90
"""A case that takes longer hangs."""
START_LONGEST_S = 180
PEERS_LONGEST_S = 5
"""Likewise where SimpleITK reads beside us: its hangs are no findings, and cost time."""
MOST_BYTES = 8 << 30
TESTS = Path(__file__).parents[1]
WORKER = (sys.executable, "-m", "fuzz", "worker")
"""Is called with the folder to work in, the seed, the first case, and how many."""
DICOM_WORKER = (sys.executable, "-m", "fuzz", "dicom-worker")


@dataclass
class Tally:
    """How cases ended, and what must not be."""

    ended: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


class Finding(Exception):  # noqa: N818 - what a case found, not an error of the program
    """What a case found that must not be."""


def watch(
    seed: int, count: int, *, first: int = 0, keep: Path | None = None, worker: tuple[str, ...] = WORKER
) -> Tally:
    """Run cases ``first`` to ``first + count - 1``; with ``keep``, the files of each finding lie there afterwards."""
    tally, end = Tally(), first + count
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        while first < end:
            code, hung = _until_it_ends([*worker, *map(str, (work, seed, first, end - first))], work)
            lines = [json.loads(line) for line in (work / "results").read_text().splitlines()]
            tally.ended.update(line["ended"] for line in lines)
            tally.findings += [f"case {line['case']}: {line['finding']}" for line in lines if "finding" in line]
            bad = [line["case"] for line in lines if "finding" in line]
            first = end
            if code:  # the process died at a case
                at, phase = _where(work)
                if phase != "SimpleITK":
                    phase = _phase_of_death_alone([*worker, *map(str, (work, seed, at, 1))], work)
                died = "hung" if hung else f"ended with {_name(code)}"
                tally.ended[f"{phase} {died}"] += 1
                if phase in ("start", "ours"):
                    tally.findings.append(f"case {at}: {phase} {died}")
                    bad.append(at)
                first = at + 1
            if keep is not None:
                for case in bad:
                    _keep(seed, case, keep / f"{seed}-{case}")
    return tally


def _until_it_ends(command: list[str], work: Path) -> tuple[int, bool]:
    for name in ("results", "progress"):
        (work / name).write_text("")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(command, env=environment) as process:
        last, since = "", time.monotonic()
        while (code := process.poll()) is None:
            time.sleep(0.05)
            now = (work / "progress").read_text()
            if now != last:
                last, since = now, time.monotonic()
            elif time.monotonic() - since > _longest_s(now):
                process.kill()
                return process.wait(), True
    return code, False


def _longest_s(progress: str) -> float:
    if not progress:
        return START_LONGEST_S
    return PEERS_LONGEST_S if "SimpleITK" in progress else LONGEST_S


def _phase_of_death_alone(command: list[str], work: Path) -> str:
    """Return where a case dies by itself; memory that SimpleITK has broken may kill a later case than its own."""
    code, _ = _until_it_ends(command, work)
    return _where(work)[1] if code else "after SimpleITK, "


def _where(work: Path) -> tuple[int, str]:
    at, _, phase = (work / "progress").read_text().partition(" ")
    return int(at), phase.strip()


def _name(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _keep(seed: int, case: int, folder: Path) -> None:
    from fuzz.readers import files_of

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, data in files_of(seed, case, _known())[1].items():
        (folder / name).write_bytes(data)


def _known():
    from fuzz.sources import sources

    with tempfile.TemporaryDirectory() as folder:
        return sources(Path(folder))


def work_dicom(seed: int, first: int, count: int, folder: Path) -> None:
    """Do damaged DICOM files one after another: what the other worker process runs."""
    from fuzz import dicom

    with tempfile.TemporaryDirectory() as place:
        known = dicom.sources(Path(place))
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))

    def do(case: int, phase: Callable[[str], None]) -> str:
        shutil.rmtree(folder / "case", ignore_errors=True)
        (folder / "case").mkdir()
        return dicom.check(dicom.files_of(seed, case, known), folder / "case", phase)

    each(do, range(first, first + count), folder)


def work(seed: int, first: int, count: int, folder: Path) -> None:
    """Do damaged files one after another: what the worker process runs."""
    from fuzz.readers import check, files_of, silence

    known = _known()
    silence()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    cases = folder / "case"

    def do(case: int, phase: Callable[[str], None]) -> str:
        shutil.rmtree(cases, ignore_errors=True)
        cases.mkdir()
        return check(*files_of(seed, case, known), cases, phase)

    each(do, range(first, first + count), folder)


def each(do: Callable[[int, Callable[[str], None]], str], cases: range, folder: Path) -> None:
    """Say before each case which one it is, and after it how it ended: what `watch` looks at."""
    with (folder / "progress").open("r+b", buffering=0) as progress, (folder / "results").open("w", buffering=1) as out:
        for case in cases:

            def phase(name: str, case: int = case) -> None:
                progress.seek(0)
                progress.write(f"{case} {name:<12}\n".encode())

            phase("start")
            try:
                ended = {"ended": do(case, phase)}
            except Finding as finding:
                ended = {"ended": "finding", "finding": str(finding)}
            out.write(json.dumps({"case": case, **ended}) + "\n")
