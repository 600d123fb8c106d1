import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from helpers import wait_until

from itkit.core.operation import Job, Operation, Outcome, Plan
from itkit.core.params import Params
from itkit.engine.pool import Worker, WorkerDied, ready
from itkit.engine.process_executor import ProcessExecutor
from itkit.engine.worker import Task

LARGE = 1 << 40


def plan(params):
    del params
    return Plan((), (), None)


def do_case(case, params, context):
    del params, context
    if case.id == "unsendable":
        return Outcome(facts={"function": lambda: None})
    if case.id == "exit":
        os._exit(3)
    return Outcome(facts={"pid": os.getpid(), "long": "x" * (1 << 20)})


def task(case_id, function=do_case):
    return Task(Operation("test_pool", Params, plan, function), Params(), Job(case_id, {}))


@pytest.fixture
def worker():
    worker = Worker(multiprocessing.get_context("spawn"), int)
    yield worker
    worker.dismiss(at_once=True)
    worker.join()


def test_a_worker_does_one_task_after_another_and_goes_home(worker):
    pids = []
    for name in "ab":
        worker.give(task(name))
        assert ready([worker]) == [worker]
        pids.append(worker.take().facts["pid"])
    assert pids[0] == pids[1] != os.getpid()
    worker.dismiss(at_once=False)
    worker.join()
    assert worker._process.exitcode == 0


def test_a_death_wakes_whoever_waits_and_tells_its_cause(worker):
    worker.give(task("exit"))
    assert ready([worker]) == [worker]
    with pytest.raises(WorkerDied) as death:
        worker.take()
    assert death.value.code == 3


def test_a_worker_that_died_with_nothing_to_do_is_found_by_its_next_task(worker):
    os.kill(worker._process.pid, signal.SIGKILL)
    worker._process.join()
    worker.give(task("a"))
    with pytest.raises(WorkerDied) as death:
        worker.take()
    assert death.value.code == -signal.SIGKILL


def test_what_can_not_be_sent_fails_its_own_case():
    tasks = [task("a"), task("unsendable"), task("local", lambda *_: Outcome()), task("z")]
    results = {done.job.case_id: result for done, result in chain(*ProcessExecutor(2, LARGE).run(tasks))}
    assert {name: result.status for name, result in results.items()} == {
        "a": "done", "unsendable": "crashed", "local": "failed", "z": "done",
    }  # fmt: skip
    assert "can't be sent to a worker process" in results["local"].message
    assert "Traceback" in results["unsendable"].message


def note_case(case, params, context):
    """Write down the process that works on a case; some cases kill it."""
    del params, context
    folder, _, name = case.id.rpartition("/")
    with (Path(folder) / name).open("a") as file:
        file.write(f"{os.getpid()}\n")
    if name.startswith("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("slow"):
        time.sleep(0.25)
    if name.startswith("secret"):
        return Outcome(facts={"function": lambda: None})
    return Outcome(facts={"pid": os.getpid()})


@pytest.fixture
def given(monkeypatch):
    """How many tasks each message to a worker holds."""
    sizes, give = [], Worker.give
    monkeypatch.setattr(Worker, "give", lambda self, *tasks: (sizes.append(len(tasks)), give(self, *tasks))[1])
    return sizes


def test_small_cases_go_together_and_a_death_costs_its_own_case_alone(tmp_path, given, monkeypatch):
    monkeypatch.setattr("itkit.engine.process_executor._BATCH_S", 30.0)  # they are small, however slow the machine is
    names = [f"case{number:03d}" for number in range(90)]
    names[40], names[61], names[70] = "deadly1", "deadly2", "secret"
    operation = Operation("test_pool", Params, plan, note_case)
    tasks = [Task(operation, Params(), Job(f"{tmp_path}/{name}", {}), nbytes=99) for name in names]
    begun = []
    run = ProcessExecutor(2, LARGE, lambda task: begun.append(task.job.case_id)).run(tasks)
    results = {Path(done.job.case_id).name: result for done, result in chain(*run)}
    assert {name: result.status for name, result in results.items() if result.status != "done"} == {
        "deadly1": "failed", "deadly2": "failed", "secret": "crashed",
    }  # fmt: skip
    assert results.keys() == set(names)
    tries = {path.name: len(path.read_text().split()) for path in tmp_path.iterdir()}
    assert tries == {name: 2 if name.startswith("deadly") else 1 for name in names}
    assert {Path(name).name for name in begun} == set(names)
    assert max(given) > 4
    assert len(given) < len(names) / 2


def test_one_small_case_that_can_not_be_sent_costs_no_other(tmp_path):
    operation = Operation("test_pool", Params, plan, note_case)
    tasks = [Task(operation, Params(), Job(f"{tmp_path}/{number:02d}", {}), nbytes=99) for number in range(40)]
    tasks[30] = replace(tasks[30], job=replace(tasks[30].job, details=lambda: None))
    results = [
        (int(Path(done.job.case_id).name), result.status)
        for done, result in chain(*ProcessExecutor(1, LARGE).run(tasks))
    ]
    assert sorted(results) == [(number, "failed" if number == 30 else "done") for number in range(40)]


def test_slow_small_cases_go_one_by_one(tmp_path, given):
    operation = Operation("test_pool", Params, plan, note_case)
    tasks = [Task(operation, Params(), Job(f"{tmp_path}/slow{number}", {}), nbytes=99) for number in range(6)]
    assert len([*chain(*ProcessExecutor(2, LARGE).run(tasks))]) == 6
    assert given == [1] * 6


def test_a_run_that_is_left_early_leaves_no_worker():
    results = ProcessExecutor(2, LARGE).run([task(name) for name in "abcd"])
    next(results)
    results.close()
    assert not multiprocessing.active_children()


def is_running(pid):
    """Return whether a process is there and has not ended; who ends without a parent may wait for one long."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are not forked")
def test_a_worker_whose_parent_died_at_its_birth_goes_too():
    code = """
import multiprocessing, os, signal, time
from itkit.engine.pool import Worker

def slow():  # the parent dies before the worker could ask to die with it
    print(os.getpid(), flush=True)
    time.sleep(0.5)

Worker(multiprocessing.get_context("fork"), slow)
time.sleep(0.2)
os.kill(os.getpid(), signal.SIGKILL)
"""
    parent = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    worker = int(parent.stdout)  # read to its end: the worker has gone and closed it
    assert parent.returncode == -signal.SIGKILL
    wait_until(lambda: not is_running(worker))
