"""Cases on real Dask workers: those that a run starts, and those of a scheduler that runs already."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from helpers import BIN, tree

from itkit.core.errors import ParamsError, ReadError
from itkit.core.operation import InputFile, Job, Operation, Outcome, Plan, Target
from itkit.core.params import Params
from itkit.core.version import VERSION
from itkit.engine import dask_cluster, dask_executor, dask_worker, session
from itkit.engine.options import RunOptions
from itkit.engine.resources import BASE_BYTES, available_cores
from itkit.engine.runner import execute
from itkit.io.layouts import find_volumes
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.testing import phantoms

HERE = Path(__file__).parent
GRID = phantoms.GRIDS["plain"]
LONG_S = 900
"""Longer than any test may take: what waits so long must be cut off, or told to go on."""


class WorkParams(Params):
    """Add one to volumes, with accidents on demand."""

    source: Path
    dest: Path
    marks: Path
    die: str = ""
    fail: str = ""
    wait: str = ""


def plan(params):
    jobs = tuple(
        Job(case, {"image": InputFile(path, "image")}, {"image": Target(params.dest, ".mha", "image")})
        for case, path in find_volumes(params.source).items()
    )
    return Plan(jobs, (), params.dest)


def work(case, params, context):
    with (params.marks / case.id).open("a") as file:
        file.write(f"{os.getpid()}\n")
    if case.id == params.die:
        os.kill(os.getpid(), signal.SIGKILL)
    if case.id == params.fail:
        while not all((params.marks / name).exists() for name in params.wait):
            time.sleep(0.01)
        raise ReadError("can't be read")
    begin = time.monotonic()  # of the machine, the same for all processes
    time.sleep(0.1)
    while case.id in params.wait and time.monotonic() < begin + LONG_S and not (params.marks / "go").exists():
        time.sleep(0.01)
    (params.marks / f"{case.id}-done").touch()
    facts = {"threads": context.threads, "begin": begin, "end": time.monotonic()}
    return Outcome((case.map(lambda volume: volume.with_array(volume.array_zyx + np.int16(1))),), facts)


WORK = Operation("test_work", WorkParams, plan, work, memory=lambda *_: 2**20)


def write_cases(folder, names):
    for number, name in enumerate(names):
        write_volume(phantoms.noise(GRID, number), folder / f"{name}.nii.gz")


def run(tmp_path, params=None, **options):
    (tmp_path / "marks").mkdir(exist_ok=True)
    values = {"source": tmp_path / "in", "dest": tmp_path / "out", "marks": tmp_path / "marks", **(params or {})}
    return execute(WORK, WorkParams(**values), RunOptions(**options))


def statuses(result):
    return {record.case_id: record.status for record in result.records}


def messages(result):
    return {record.case_id: record.message for record in result.records if record.message}


def attempts(tmp_path):
    return {path.name: path.read_text().split() for path in (tmp_path / "marks").glob("[a-z]")}


def wait_for(condition, what, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def descendants(process):
    """Return the processes below one, without those that end meanwhile."""
    found = []
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [] if "resource_tracker" in " ".join(child.cmdline()) else [child]
    return found


@contextlib.contextmanager
def scheduler(folder, *, workers):
    """Start a scheduler, and workers of two threads each, as users do; give its address and its process."""
    file = folder / "scheduler.json"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [HERE, HERE.parent, HERE.parents[1]])),
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "20s",
    }
    common = ["--no-dashboard", "--scheduler-file", file]
    calls = [["scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0", *common]]
    calls += [["worker", "--nthreads", "2", "--local-directory", folder, *common]] * workers
    processes = []
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((folder / "log").open("wb"))
        for call in calls:
            process = subprocess.Popen([BIN / "dask", *call], cwd=folder, env=environment, stdout=log, stderr=log)
            processes.append(process)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            wait_for(lambda: file.exists() and file.read_text().rstrip().endswith("}"), "no scheduler")
        wait_for(lambda: (folder / "log").read_text().count("Register worker") == workers, "no worker")
        yield json.loads(file.read_text())["address"], processes[0]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a scheduler with one worker of two threads, which nanny and all are elsewhere."""
    with scheduler(tmp_path_factory.mktemp("cluster"), workers=1) as (address, _):
        yield address


def test_files_are_the_same_as_of_one_process_and_a_broken_one_fails_alone(tmp_path, command):
    source = tmp_path / "in"
    phantoms.write_dataset(source, 3)
    victim = sorted((source / "image").iterdir())[1]
    victim.write_bytes(victim.read_bytes()[:300])
    os.utime(victim, (0, 0))
    call = ["dataset", source, "--spacing", 2, 2, 2]
    assert command("itk_resample", *call[:2], tmp_path / "one", *call[2:])[0] == 1
    code, out, err = command("itk_resample", *call[:2], tmp_path / "dask", *call[2:], "--executor", "dask", "--mp")
    assert code == 1
    assert "2 done, 0 skipped, 1 failed" in out
    assert [line.split(":")[0] for line in err.splitlines()] == ["failed"]  # and nothing that Dask has to say
    assert victim.name in err
    expected, found = ({n: d for n, d in tree(tmp_path / n).items() if n.endswith(".mha")} for n in ("one", "dask"))
    assert len(found) == 4
    assert found == expected


def test_a_killed_worker_costs_its_own_case_alone(tmp_path):
    write_cases(tmp_path / "in", "abcdef")
    before = descendants(psutil.Process())
    result = run(tmp_path, {"die": "c"}, executor="dask", workers=2)
    assert statuses(result) == {**dict.fromkeys("abdef", "done"), "c": "failed"}
    assert messages(result)["c"].startswith("c: its Dask worker died twice (")
    assert {name: len(pids) for name, pids in attempts(tmp_path).items()} == {**dict.fromkeys("abdef", 1), "c": 2}
    image = read_volume(tmp_path / "in" / "f.nii.gz").array_zyx
    np.testing.assert_array_equal(read_volume(tmp_path / "out" / "f.mha").array_zyx, image + 1)
    assert set(descendants(psutil.Process())) <= set(before)


def test_memory_admits_one_case_at_a_time_and_the_last_one_has_all_cores(tmp_path):
    write_cases(tmp_path / "in", "abc")
    result = run(tmp_path, executor="dask", workers=2, max_memory=2 * BASE_BYTES + 3 * 2**19)
    assert set(statuses(result).values()) == {"done"}
    spans = sorted((record.facts["begin"], record.facts["end"]) for record in result.records)
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))
    threads = [record.facts["threads"] for record in sorted(result.records, key=lambda record: record.facts["begin"])]
    assert threads == [max(1, available_cores() // 2)] * 2 + [available_cores()]


def test_a_case_that_can_not_fit_is_a_named_failure(tmp_path):
    write_cases(tmp_path / "in", "ab")
    result = run(tmp_path, executor="dask", workers=2, max_memory="100MB")
    assert set(statuses(result).values()) == {"failed"}
    assert "--max-memory" in messages(result)["a"]
    assert not attempts(tmp_path)


def test_stop_on_error_cuts_off_what_runs(tmp_path):
    write_cases(tmp_path / "in", "abcd")
    before = descendants(psutil.Process())
    result = run(tmp_path, {"fail": "a", "wait": "b"}, executor="dask", workers=2, on_error="stop")
    assert statuses(result) == {"a": "failed"}
    assert (tmp_path / "marks" / "b").exists()
    assert not (tmp_path / "marks" / "b-done").exists()
    assert set(descendants(psutil.Process())) <= set(before)
    assert not list((tmp_path / "out" / ".itkit").glob("tmp/*"))


A_SCRIPT = """
import sys
from pathlib import Path
from itkit.cli.terminal import run_operation
from itkit.engine.options import RunOptions
from test_dask_executor import WORK, WorkParams

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    params = WorkParams(source=folder / "in", dest=folder / "out", marks=folder / "marks", wait="b")
    sys.exit(run_operation(WORK, params, RunOptions(executor="dask", workers=2)))
"""


@pytest.mark.parametrize("moment", ["at the start", "at work"])
def test_ctrl_c_ends_all_without_a_word_of_dask(tmp_path, moment):
    write_cases(tmp_path / "in", "abcd")
    (tmp_path / "marks").mkdir()
    (tmp_path / "script.py").write_text(A_SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "script.py", tmp_path],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [HERE, HERE.parent, HERE.parents[1]]))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    run_process = psutil.Process(process.pid)
    if moment == "at work":
        wait_for((tmp_path / "out" / "d.mha").exists, "the others are not done")
    wait_for(lambda: len(descendants(run_process)) == 2, "there are no workers")
    workers = descendants(run_process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    out, err = process.communicate(timeout=LONG_S / 5)
    assert (process.returncode, err) == (130, "")
    assert "interrupted" in out
    _, alive = psutil.wait_procs(workers, timeout=90)
    assert not alive
    assert not list((tmp_path / "out" / ".itkit").glob("tmp/*"))


def test_a_running_scheduler_gives_the_same_files(tmp_path, cluster, command):
    phantoms.write_dataset(tmp_path / "in", 3)
    call = ["dataset", tmp_path / "in", "--spacing", 2, 2, 2]
    assert command("itk_resample", *call[:2], tmp_path / "one", *call[2:])[0] == 0
    code, out, err = command("itk_resample", *call[:2], tmp_path / "dask", *call[2:], "--dask", cluster)
    assert (code, err) == (0, "")
    assert "3 done" in out
    expected, found = ({n: d for n, d in tree(tmp_path / n).items() if n.endswith(".mha")} for n in ("one", "dask"))
    assert len(found) == 6
    assert found == expected


def test_a_worker_of_a_running_scheduler_dies_twice_at_most(tmp_path, cluster):
    write_cases(tmp_path / "in", "abcdef")
    result = run(tmp_path, {"die": "c"}, dask=cluster)
    assert statuses(result) == {**dict.fromkeys("abdef", "done"), "c": "failed"}
    assert messages(result)["c"].startswith("c: its Dask worker died twice (")
    assert len(attempts(tmp_path)["c"]) == 2
    assert {record.facts["threads"] for record in result.records if record.facts} == {max(1, available_cores() // 2)}


def test_no_more_is_handed_out_than_threads_and_a_few(tmp_path, cluster, monkeypatch):
    write_cases(tmp_path / "in", "abcdefgh")
    handed_out = []
    gather = dask_executor._Run._gather
    monkeypatch.setattr(
        dask_executor._Run, "_gather", lambda run: (handed_out.append(len(run.running)), gather(run))[1]
    )
    assert set(statuses(run(tmp_path, dask=cluster)).values()) == {"done"}
    assert max(handed_out) == 2 + dask_executor._SPARE


def running_tasks(dask_worker):
    """Return how many threads of a worker are occupied, also by what was cancelled."""
    return len(dask_worker.state.all_running_tasks)


def test_a_case_that_outlives_its_run_leaves_nothing_behind(tmp_path, cluster):
    write_cases(tmp_path / "in", "abcd")
    result = run(tmp_path, {"fail": "a", "wait": "b"}, dask=cluster, on_error="stop")
    assert statuses(result) == {"a": "failed"}
    assert not (tmp_path / "marks" / "b-done").exists()  # Dask can't interrupt it
    (tmp_path / "marks" / "go").touch()
    wait_for((tmp_path / "marks" / "b-done").exists, "b was interrupted")
    with dask_cluster.distributed().Client(cluster, set_as_default=False) as client:
        wait_for(lambda: not any(client.run(running_tasks).values()), "b goes on")
    assert not list((tmp_path / "out" / ".itkit").glob("tmp/*"))


def test_paths_may_be_relative_though_workers_stand_elsewhere(tmp_path, cluster, monkeypatch):
    write_cases(tmp_path / "in", "a")
    monkeypatch.chdir(tmp_path)
    assert statuses(run(tmp_path, {"source": Path("in"), "dest": Path("out")}, dask=cluster)) == {"a": "done"}


def test_workers_that_lack_the_files_the_version_or_the_code_say_so(tmp_path, cluster, monkeypatch):
    write_cases(tmp_path / "in", "a")
    task = session.Session.task
    with monkeypatch.context() as patch:
        patch.setattr(
            session.Session,
            "task",
            lambda *values: replace(task(*values), stage=tmp_path / "not mounted" / "run" / "1"),
        )
        result = run(tmp_path, dask=cluster)
    assert "does not see the destination" in messages(result)["a"]
    assert attempts(tmp_path) == {}

    with monkeypatch.context() as patch:
        patch.setattr(dask_worker, "VERSION", "0.1")
        result = run(tmp_path, dask=cluster)
    assert f"has itkit {VERSION}, this is 0.1" in messages(result)["a"]

    (tmp_path / "only_here.py").write_text("def work(case, params, context): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_here

    monkeypatch.setattr(sys.modules[__name__], "WORK", Operation("test_work", WorkParams, plan, only_here.work))
    result = run(tmp_path, dask=cluster)
    assert statuses(result) == {"a": "failed"}
    assert "No module named 'only_here'" in messages(result)["a"]
    assert not list((tmp_path / "out").glob("*.mha"))


@pytest.mark.parametrize("end", ["SIGKILL", pytest.param("SIGSTOP", marks=pytest.mark.slow)])
def test_a_scheduler_that_dies_or_falls_silent_fails_what_is_left(tmp_path, monkeypatch, end):
    write_cases(tmp_path / "in", "abcdefg")
    with scheduler(tmp_path, workers=1) as (address, process):

        def strike():
            wait_for((tmp_path / "marks" / "a").exists, "nothing begins")
            monkeypatch.setattr(dask_executor, "ANSWER_S", 3)  # from now on, for a scheduler may be slow
            monkeypatch.setattr(dask_cluster, "LEAVE_S", 1)
            process.send_signal(signal.Signals[end])

        killer = threading.Thread(target=strike)
        killer.start()
        result = run(tmp_path, {"wait": "ag"}, dask=address)
        killer.join()
        process.kill()
        (tmp_path / "marks" / "go").touch()
    failed = messages(result)
    assert {"a", "g"} <= failed.keys()
    assert all("the Dask scheduler has" in message and "gone" in message for message in failed.values())


def test_a_cluster_without_workers_is_not_waited_for_forever(tmp_path, monkeypatch, caplog):
    write_cases(tmp_path / "in", "ab")
    monkeypatch.setattr(dask_executor, "NO_WORKER_S", 1.5)
    with scheduler(tmp_path, workers=0) as (address, _):
        result = run(tmp_path, dask=address)
    assert set(statuses(result).values()) == {"failed"}
    assert messages(result)["a"] == "a: the Dask cluster has had no worker for 1.5 s"
    assert "the Dask cluster has no worker; waiting for one" in caplog.text


def test_a_scheduler_that_can_not_be_reached_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    write_cases(tmp_path / "in", "a")
    monkeypatch.setattr(dask_cluster, "CONNECT_S", 0.5)
    for address in ("tcp://127.0.0.1:1", "carrier-pigeon://loft", "nowhere"):
        with pytest.raises(ParamsError, match=f"--dask {address}: no Dask scheduler can be reached there"):
            run(tmp_path, dask=address)
    assert not (tmp_path / "out").exists()
