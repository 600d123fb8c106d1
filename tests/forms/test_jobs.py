"""Commands run as child processes; a stop leaves no process behind and nothing half-written."""

import signal
import sys
import threading
import time
from pathlib import Path
from queue import Queue

import pytest

from itkit.catalogue import load
from itkit.engine.options import RunOptions
from itkit.engine.parameters import make_params
from itkit.forms.command import Command, command_of
from itkit.forms.jobs import Child
from itkit.forms.progress import RunView
from itkit.forms.queue import JobQueue
from itkit.testing.phantoms import write_dataset


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forms")
    write_dataset(folder / "raw", 3)
    return folder / "raw"


def resample(raw, dest, **options):
    operation = load("itk_resample")
    params = make_params(operation.params, {"mode": "dataset", "source": raw, "dest": dest, "spacing": (2, 2, 2)})
    return command_of(operation, params, RunOptions(**options))


def group_of(pid):
    """Return the processes of a group that are still there; a zombie is not."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


class Slow(Command):
    """A program in place of the command."""

    def words(self, *, plan=False):
        return [sys.executable, "-c", self.argv[0]]


def run(command, **options):
    events, lines, codes = [], [], []
    child = Child(command, on_event=events.append, on_text=lines.append, on_end=codes.append, **options)
    assert child.wait(180) is not None
    return child, events, lines, codes


def test_a_real_run_tells_its_cases_and_files(raw, tmp_path):
    child, events, _, codes = run(resample(raw, tmp_path / "out"))
    view = RunView()
    for event in events:
        view.add(event)
    assert codes == [0] == [child.exit_code]
    assert [event["event"] for event in events] == ["start", *["begin", "case"] * 3, "summary"]
    assert view.counts == {"done": 3}
    assert view.share == 1
    row = view.cases["case_01"]
    assert row.inputs == (str(raw / "image" / "case_01.nii.gz"), str(raw / "label" / "case_01.nii.gz"))
    assert all(Path(path).is_file() for path in row.outputs)
    assert len(row.outputs) == 2


def test_a_plan_names_what_would_be_written_and_writes_nothing(raw, tmp_path):
    _, events, _, codes = run(resample(raw, tmp_path / "out"), plan=True)
    assert codes == [0]
    rows = [event for event in events if event["event"] == "case"]
    assert [row["status"] for row in rows] == ["planned"] * 3
    assert rows[0]["outputs"][0] == str(tmp_path / "out" / "image" / "case_00.mha")
    assert not (tmp_path / "out").exists()


def test_relative_paths_are_meant_in_the_given_folder(raw, tmp_path):
    _, _, _, codes = run(resample("raw", tmp_path / "out"), folder=raw.parent)
    assert codes == [0]


def test_an_error_before_the_run_is_a_line_for_people(tmp_path):
    _, events, lines, codes = run(resample(tmp_path / "nowhere", tmp_path / "out"))
    assert codes == [2]
    assert events == []
    assert "nowhere" in lines[-1]


SLEEPS = 'import time; print(\'{"event": "begin"}\', flush=True); time.sleep(600)'
STUBBORN = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
LEAVES_ONE = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdin=subprocess.PIPE)
print("up", flush=True)
"""


@pytest.mark.parametrize(
    ("program", "grace_s", "number", "words"),
    [(SLEEPS, 300, signal.SIGINT, []), (STUBBORN, 0.3, signal.SIGTERM, ["still running 0.3 s after it was stopped"])],
)
def test_stop_ends_also_what_does_not_want_to_end(program, grace_s, number, words):
    up, lines = threading.Event(), []
    child = Child(
        Slow("x", (program,)), on_event=lambda _: up.set(), on_text=lambda text: (lines.append(text), up.set())
    )
    assert up.wait(120)
    child.stop(grace_s=grace_s)
    child.stop(grace_s=grace_s)
    assert child.wait(120) == -number
    assert [line.partition(";")[0] for line in lines if "stopped" in line] == words
    assert group_of(child.pid) == []


def test_what_a_command_leaves_behind_is_ended():
    child, _, lines, _ = run(Slow("x", (LEAVES_ONE,)))
    assert lines == ["up"]
    assert group_of(child.pid) == []


def test_a_stopped_run_with_workers_leaves_no_process_and_can_go_on(tmp_path):
    write_dataset(tmp_path / "raw", 40)
    command = resample(tmp_path / "raw", tmp_path / "out", workers=2)
    view, children = RunView(), Queue()

    def on_event(event):
        view.add(event)
        if event["event"] == "case" and view.ended == 1:
            children.get().stop(grace_s=300)

    child = Child(command, on_event=on_event)
    children.put(child)
    assert child.wait(300) == 130
    assert group_of(child.pid) == []
    assert view.summary["interrupted"]
    assert 0 < view.counts["done"] < 40
    assert not list(Path(tmp_path, "out").rglob(".*.mha*"))
    _, events, _, codes = run(command)
    assert codes == [0]
    assert events[-1]["counts"]["done"] + events[-1]["counts"]["skipped"] == 40


def test_a_child_that_ignores_ctrl_c_by_inheritance_is_stopped_too():
    """A window that a shell has started in the background ignores Ctrl-C, and so does what it starts."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        up = threading.Event()
        child = Child(Slow("x", (SLEEPS,)), on_event=lambda _: up.set())
        assert up.wait(120)
        child.stop()
        assert child.wait(120) == -signal.SIGTERM
    finally:
        signal.signal(signal.SIGINT, before)


def test_jobs_of_a_queue_run_one_after_the_other(raw, tmp_path):
    seen, most = [], []

    def on_change(job, event):
        if event is None:
            seen.append((job.id, job.state))
            most.append(sum(one.state == "running" for one in queue.jobs.values()))

    queue = JobQueue(on_change=on_change)
    jobs = [queue.add(resample(raw, tmp_path / name)) for name in "ab"]
    waiting = queue.add(resample(raw, tmp_path / "c"))
    queue.stop(waiting)
    deadline = time.monotonic() + 180
    while queue.active() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [job.state for job in jobs] == ["done", "done"]
    assert waiting.state == "stopped"
    assert not (tmp_path / "c").exists()
    assert max(most) == 1
    assert seen.index((1, "done")) < seen.index((2, "running"))
    assert jobs[0].as_json()["message"].startswith("3 done")


def test_closing_a_queue_ends_all_and_starts_nothing():
    queue = JobQueue()
    jobs = [queue.add(Slow("x", (SLEEPS,))) for _ in range(2)]
    while jobs[0].child is None or not jobs[0].events:
        time.sleep(0.02)
    assert queue.close()
    assert [job.state for job in jobs] == ["stopped", "stopped"]
    assert jobs[1].child is None
    assert group_of(jobs[0].child.pid) == []


def test_a_folder_that_is_gone_fails_the_job_with_a_reason(tmp_path):
    queue = JobQueue()
    job = queue.add(Command("itk_orient"), folder=tmp_path / "gone")
    assert job.state == "failed"
    assert "can't be started" in job.message


def test_time_left_follows_the_cases_so_far():
    now = [0.0]
    view = RunView(clock=lambda: now[0])
    view.add({"event": "start", "operation": "x", "total": 5, "to_do": 4, "unpaired": [], "notes": []})
    view.add({"event": "case", "case": "a", "status": "skipped", "number": 1, "total": 5, "seconds": 0})
    assert view.left_s() is None
    view.add({"event": "begin", "case": "b"})
    now[0] = 10.0
    view.add({"event": "case", "case": "b", "status": "done", "number": 2, "total": 5, "seconds": 10.0})
    assert view.left_s() == 30
    view.add({"event": "begin", "case": "c"})
    now[0] = 14.0
    assert view.left_s() == pytest.approx(14 * 3 - 4)
