import subprocess
import sys
import threading

import numpy as np
import pytest

import itkit
from itkit.core.geometry import Geometry
from itkit.core.operation import Job, Outcome
from itkit.core.volume import Volume
from itkit.engine import executors, runner
from itkit.engine.executors import SerialExecutor
from itkit.engine.worker import Task, write_outcome
from itkit.testing import phantoms

GRID = Geometry((6, 7, 8), (1.0, 1.0, 1.0))


@pytest.fixture
def source(tmp_path):
    for number in range(4):
        itkit.write(phantoms.noise(GRID, number), tmp_path / "in" / f"{number}.mha")
    return tmp_path / "in"


def orient(source, dest, **options):
    return itkit.run("itk_orient", source=source, dest=dest, orient="RAI", **options)


def test_the_next_case_is_read_while_one_is_worked_on(source, tmp_path, monkeypatch):
    ahead, work = [], []
    read, do = executors.read_case, executors.run_task
    monkeypatch.setattr(runner, "available_cores", lambda: 5)
    monkeypatch.setattr(
        executors,
        "read_case",
        lambda task, threads: (ahead.append((task.job.case_id, threads)), read(task, threads))[1],
    )
    monkeypatch.setattr(
        executors, "run_task", lambda task, case: (work.append((task.job.case_id, task.threads)), do(task, case))[1]
    )
    assert orient(source, tmp_path / "out").exit_code == 0
    assert ahead == [("1", 2), ("2", 2), ("3", 2)]
    assert work == [("0", 3), ("1", 3), ("2", 3), ("3", 5)]  # together the cores
    for number in range(4):
        turned = itkit.read(tmp_path / "out" / f"{number}.mha")
        expected = itkit.orient(itkit.read(source / f"{number}.mha"), "RAI")
        np.testing.assert_array_equal(turned.array_zyx, expected.array_zyx)


def test_a_file_that_fails_to_be_read_ahead_fails_its_own_case(source, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "available_cores", lambda: 2)
    whole = (source / "2.mha").read_bytes()
    (source / "2.mha").write_bytes(whole[:-40])
    result = orient(source, tmp_path / "out")
    assert [record.status for record in result.records] == ["done", "done", "failed", "done"]
    assert "2.mha" in result.records[2].message


def test_nothing_is_read_ahead_where_memory_is_short(source, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "available_cores", lambda: 2)
    monkeypatch.setattr(SerialExecutor, "_fit", lambda *_: False)
    monkeypatch.setattr(executors, "read_case", lambda task, _: pytest.fail(f"{task.job.case_id} was read ahead"))
    assert orient(source, tmp_path / "out").exit_code == 0


def test_two_cases_fit_only_if_both_do():
    volume = Volume(np.zeros(GRID.size_zyx, np.int16), GRID)
    one = type("Task", (), {"nbytes": volume.array_zyx.nbytes})()
    assert SerialExecutor(executors.BASE_BYTES + 2 * one.nbytes)._fit(one, one)
    assert not SerialExecutor(executors.BASE_BYTES + 2 * one.nbytes - 1)._fit(one, one)


A_THREAD = "import threading; wait = threading.Event().wait; threading.Thread(target=wait, daemon=True).start()"


@pytest.mark.parametrize(
    ("setup", "method"),
    [("", "fork"), (A_THREAD, "forkserver"), ("import sys; sys.modules['torch'] = sys", "forkserver")],
)
def test_workers_are_forked_only_where_no_thread_can_hold_a_lock(setup, method):
    ask = "print(_context('itkit.process.itk_orient').get_start_method())"
    code = f"{setup}\nfrom itkit.engine.process_executor import _context\n{ask}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (method if sys.platform == "linux" else "spawn")


def test_a_worker_has_one_volume_of_a_case_in_memory_at_a_time(source):
    from itkit.core.volume import VolumesOnDemand
    from itkit.engine.worker import Task, read_case
    from itkit.process.itk_orient import OPERATION

    params = OPERATION.params(source=source, dest=source.with_name("out"), orient="RAI")
    job = OPERATION.plan(params).jobs[1]
    alone = read_case(Task(OPERATION, params, job, threads=1)).case
    ahead = read_case(Task(OPERATION, params, job, threads=2)).case
    assert isinstance(alone.volumes, VolumesOnDemand)
    assert isinstance(ahead.volumes, dict)
    assert alone.grid("image") == ahead.grid("image") == GRID
    np.testing.assert_array_equal(alone.volumes["image"].array_zyx, ahead.volumes["image"].array_zyx)


def test_a_label_that_breaks_off_costs_its_case_alone_after_its_image_was_done(tmp_path):
    root, dest = tmp_path / "in", tmp_path / "out"
    phantoms.write_dataset(root, 3)
    victim = sorted((root / "label").iterdir())[1]
    victim.write_bytes(victim.read_bytes()[:-40])
    result = itkit.run("itk_orient", source=root, dest=dest, orient="RAI", mp=True, workers=2)
    assert [record.status for record in result.records] == ["done", "failed", "done"]
    assert victim.name in result.records[1].message
    for folder in ("image", "label"):
        assert victim.name.split(".")[0] not in {path.name.split(".")[0] for path in (dest / folder).iterdir()}
    assert not list((dest / ".itkit").glob("tmp/*"))


@pytest.mark.parametrize(("count", "here"), [(1, True), (2, False)])
def test_a_lone_batch_runs_where_an_interrupt_reaches_it(tmp_path, count, here):
    """A slide's only batch may take hours; Ctrl-C raises in the main thread, which must not wait for another one."""
    ran = []

    def batch(place, compression):
        ran.append(threading.current_thread() is threading.main_thread())
        return []

    task = Task(None, None, Job("a", {}), stage=tmp_path, threads=2)
    assert write_outcome(Outcome(batches=(batch for _ in range(count))), task) == ()
    assert ran == [here] * count
