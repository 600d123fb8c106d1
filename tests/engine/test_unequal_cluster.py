"""A cluster of unequal workers: one is slow, one dies at every tenth case, one has half the memory of the others."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers import BIN, leftovers, tree, wait_until

from itkit.core.operation import InputFile, Job, Operation, Outcome, Plan, Target
from itkit.core.params import Params
from itkit.engine.options import RunOptions
from itkit.engine.resources import BASE_BYTES
from itkit.engine.runner import execute
from itkit.io.layouts import find_volumes
from itkit.io.sitk_toolkit import write_volume
from itkit.testing import phantoms

HERE = Path(__file__).parent
CASES, LARGE = 40, 8
MOST_BEFORE = 7
"""Cases that each of the other workers does before one dies."""
MB = 1 << 20
_done = 0


class ClusterParams(Params):
    """Add one to volumes, as the worker's role allows."""

    source: Path
    dest: Path
    marks: Path


def plan(params):
    jobs = tuple(
        Job(case, {"image": InputFile(path, "image")}, {"image": Target(params.dest, ".mha", "image")})
        for case, path in find_volumes(params.source).items()
    )
    return Plan(jobs, (), params.dest)


def memory(inputs, params):
    return 600 * MB if inputs["image"].geometry.size_zyx[0] == LARGE else 100 * MB


def work(case, params, context):
    global _done
    role = os.environ.get("ROLE", "")
    with (params.marks / case.id).open("a") as file:
        file.write(f"{role}\n")
    _done += 1
    died = params.marks / "died"
    if role == "dying" and _done % 10 == 0:
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if role not in ("", "dying") and _done > MOST_BEFORE:
        wait_until(died.exists)  # else they might leave it less than ten cases
    time.sleep(0.4 if role == "slow" else 0.02)
    return Outcome((case.map(lambda volume: volume.with_array(volume.array_zyx + np.int16(1))),))


WORK = Operation("test_cluster", ClusterParams, plan, work, memory=memory)


@contextlib.contextmanager
def cluster(folder, roles):
    """Start a scheduler, and a worker for each role with its memory; give the scheduler's address."""
    file, log_file = folder / "scheduler.json", folder / "log"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [HERE, HERE.parent, HERE.parents[1]]))}
    common = ["--no-dashboard", "--scheduler-file", str(file)]
    with contextlib.ExitStack() as stack, log_file.open("wb") as log:

        def start(*words, **more):
            process = subprocess.Popen(
                [BIN / "dask", *words, *common], cwd=folder, env={**environment, **more}, stdout=log, stderr=log
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)

        start("scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")
        deadline = time.monotonic() + 180
        while not (file.exists() and file.read_text().rstrip().endswith("}")):
            assert time.monotonic() < deadline, "no scheduler"
            time.sleep(0.05)
        for role, megabytes in roles.items():
            stated = f"MEMORY={megabytes * MB}"
            start("worker", "--nthreads", "1", "--resources", stated, "--local-directory", str(folder), ROLE=role)
        while log_file.read_text().count("Register worker") < len(roles):
            assert time.monotonic() < deadline, "no worker"
            time.sleep(0.05)
        yield json.loads(file.read_text())["address"]


@pytest.mark.slow
def test_unequal_workers_make_every_case_once_with_the_same_bytes(tmp_path):
    for number in range(CASES):
        grid = phantoms.GRIDS["plain"]
        size = LARGE if number % 5 == 0 else 3
        grid = grid.crop((0, 0, 0), (size, *grid.size_zyx[1:]))
        write_volume(phantoms.noise(grid, number), tmp_path / "in" / f"case_{number:02d}.nii.gz")
    results = {}
    base = BASE_BYTES // MB
    roles = {"plain": base + 800, "slow": base + 800, "dying": base + 800, "small": base + 400}
    with cluster(tmp_path, roles) as address:
        for name, options in (("one", {}), ("cluster", {"dask": address})):
            (tmp_path / name).mkdir()
            params = ClusterParams(source=tmp_path / "in", dest=tmp_path / name / "out", marks=tmp_path / name)
            results[name] = execute(WORK, params, RunOptions(**options))
    assert {record.status for record in results["cluster"].records} == {"done"}
    assert len(results["cluster"].records) == CASES
    expected, found = (
        {n: d for n, d in tree(tmp_path / name / "out").items() if n.endswith(".mha")} for name in ("one", "cluster")
    )
    assert found == expected
    out = tmp_path / "cluster" / "out"
    lines = [json.loads(line) for line in (out / ".itkit" / "manifest.jsonl").read_text().splitlines()]
    assert sorted(line["case"] for line in lines) == [f"case_{number:02d}" for number in range(CASES)]  # nothing twice
    assert not leftovers(out)
    marks = {path.name: path.read_text().split() for path in (tmp_path / "cluster").glob("case_*")}
    counts = Counter(role for roles in marks.values() for role in roles)
    assert counts.keys() == roles.keys()  # each took its share
    assert all("small" not in marks[f"case_{number:02d}"] for number in range(0, CASES, 5))  # too large for it
    deaths = [case for case, tried in marks.items() if len(tried) > 1]
    assert counts["dying"] >= 10
    assert deaths
    assert all(len(tried) <= 3 for tried in marks.values())


@pytest.mark.slow
def test_a_case_that_no_worker_has_the_memory_for_is_a_named_failure(tmp_path):
    for number, size in enumerate((LARGE, 3)):
        grid = phantoms.GRIDS["plain"]
        grid = grid.crop((0, 0, 0), (size, *grid.size_zyx[1:]))
        write_volume(phantoms.noise(grid, number), tmp_path / "in" / f"case_{number}.nii.gz")
    (tmp_path / "marks").mkdir()
    params = ClusterParams(source=tmp_path / "in", dest=tmp_path / "out", marks=tmp_path / "marks")
    with cluster(tmp_path, {"small": BASE_BYTES // MB + 400}) as address:
        result = execute(WORK, params, RunOptions(dask=address))
    assert [record.status for record in result.records] == ["failed", "done"]
    assert "a worker of the Dask cluster has" in result.records[0].message
