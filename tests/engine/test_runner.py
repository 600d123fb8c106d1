"""Plan, resume, failure policy, seeds and memory: what every command gets from the runner."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import tree

import itkit
from itkit.core.errors import LayoutError
from itkit.core.geometry import Geometry
from itkit.core.operation import InputFile, Job, Operation, Outcome, Plan, Target
from itkit.core.params import Params
from itkit.core.volume import Case, Volume
from itkit.engine import runner
from itkit.engine.manifest import Manifest
from itkit.engine.options import RunOptions
from itkit.engine.resources import BASE_BYTES
from itkit.engine.runner import execute
from itkit.engine.stage import Stage, alone_with_cases, recover
from itkit.io.layouts import find_volumes
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.testing import phantoms

GRID = phantoms.GRIDS["plain"]


class CopyParams(Params):
    """Copy volumes, with accidents on demand."""

    source: Path
    dest: Path
    add: int = 0
    die: str = ""
    marks: Path | None = None


def plan(params):
    jobs = tuple(
        Job(case, {"image": InputFile(path, "image")}, {"image": Target(params.dest, ".mha", "image")})
        for case, path in find_volumes(params.source).items()
    )
    return Plan(jobs, (), params.dest)


def copy_case(case, params, context):
    if params.marks is not None:
        with (params.marks / case.id).open("a") as file:
            file.write(f"{os.getpid()}\n")
    if case.id in params.die.split(","):
        os.kill(os.getpid(), signal.SIGKILL)
    if case.id == "crash":
        raise ZeroDivisionError("our own fault")
    volume = case.volumes["image"]
    mean = float("nan") if case.id == "nan" else float(volume.array_zyx.mean())
    return Outcome((case.map(lambda v: v.with_array(v.array_zyx + np.int16(params.add))),), {"mean": mean})


COPY = Operation("test_copy", CopyParams, plan, copy_case)


def run(tmp_path, params=None, **options):
    values = {"source": tmp_path / "in", "dest": tmp_path / "out", **(params or {})}
    return execute(COPY, CopyParams(**values), RunOptions(**options))


def write_cases(folder, names):
    for number, name in enumerate(names):
        write_volume(phantoms.noise(GRID, number), folder / f"{name}.nii.gz")


def statuses(result):
    return {record.case_id: record.status for record in result.records}


def test_second_run_skips_and_a_changed_parameter_does_not(tmp_path):
    write_cases(tmp_path / "in", "abc")
    assert set(statuses(run(tmp_path)).values()) == {"done"}
    before = tree(tmp_path / "out")
    assert set(statuses(run(tmp_path, workers=2)).values()) == {"skipped"}
    assert tree(tmp_path / "out") == before
    assert set(statuses(run(tmp_path, {"add": 5})).values()) == {"done"}
    image = read_volume(tmp_path / "in" / "a.nii.gz").array_zyx
    np.testing.assert_array_equal(read_volume(tmp_path / "out" / "a.mha").array_zyx, image + 5)


def test_a_changed_input_is_made_again(tmp_path):
    write_cases(tmp_path / "in", "ab")
    run(tmp_path)
    write_volume(phantoms.noise(GRID, 77), tmp_path / "in" / "a.nii.gz")
    assert statuses(run(tmp_path)) == {"a": "done", "b": "skipped"}


def test_missing_and_half_written_outputs_are_made_again(tmp_path):
    write_cases(tmp_path / "in", "abc")
    run(tmp_path)
    whole = tree(tmp_path / "out")
    (tmp_path / "out" / "a.mha").unlink()
    half = tmp_path / "out" / "b.mha"
    half.write_bytes(half.read_bytes()[:200])
    assert statuses(run(tmp_path)) == {"a": "done", "b": "done", "c": "skipped"}
    assert {n: d for n, d in tree(tmp_path / "out").items() if n.endswith("mha")} == {
        n: d for n, d in whole.items() if n.endswith("mha")
    }


def test_edited_and_foreign_files_are_left_alone_and_named(tmp_path):
    write_cases(tmp_path / "in", "ab")
    run(tmp_path)
    edited = phantoms.noise(GRID, 99)
    write_volume(edited, tmp_path / "out" / "a.mha")
    write_cases(tmp_path / "in", "abc")
    write_volume(edited, tmp_path / "out" / "c.mha")
    result = run(tmp_path, {"add": 1})
    assert statuses(result) == {"a": "left", "b": "done", "c": "left"}
    assert "2 left alone (a, c)" in result.summary.text()
    for name in "ac":
        np.testing.assert_array_equal(read_volume(tmp_path / "out" / f"{name}.mha").array_zyx, edited.array_zyx)
    assert set(statuses(run(tmp_path, {"add": 1}, existing="redo")).values()) == {"done"}


def test_a_foreign_file_of_the_same_case_is_warned_of_and_kept(tmp_path):
    write_cases(tmp_path / "in", "ab")
    foreign = tmp_path / "out" / "a.nrrd"
    write_volume(phantoms.noise(GRID, 99), foreign)
    before = foreign.read_bytes()
    for status in ("done", "skipped"):
        result = run(tmp_path)
        assert statuses(result) == {"a": status, "b": status}
        first, second = result.records
        assert first.warnings == (
            "a.nrrd lies beside a.mha: two files of one case, which is refused as input; remove one",
        )
        assert second.warnings == ()
    assert foreign.read_bytes() == before


@pytest.mark.parametrize("add", [0, 5])
def test_what_another_equal_run_has_made_meanwhile_is_no_foreign_file(tmp_path, add):
    write_cases(tmp_path / "in", "ab")
    params = CopyParams(source=tmp_path / "in", dest=tmp_path / "out")

    def other_run(event):
        if event["event"] == "start":
            execute(COPY, params.model_copy(update={"add": add}))

    result = execute(COPY, params, on_event=other_run)
    assert set(statuses(result).values()) == ({"skipped"} if add == 0 else {"left"})
    image = read_volume(tmp_path / "in" / "a.nii.gz").array_zyx
    np.testing.assert_array_equal(read_volume(tmp_path / "out" / "a.mha").array_zyx, image + add)
    assert set(statuses(execute(COPY, params.model_copy(update={"add": add}))).values()) == {"skipped"}


@pytest.mark.parametrize(("add", "status"), [(0, "skipped"), (5, "left")])
def test_what_another_run_makes_while_this_one_decides_is_no_foreign_file(tmp_path, monkeypatch, add, status):
    write_cases(tmp_path / "in", "ab")
    params = CopyParams(source=tmp_path / "in", dest=tmp_path / "out")

    def other_run(*_):
        with monkeypatch.context() as patch:
            patch.setattr("itkit.engine.runner.find_gone", lambda *_: ())
            execute(COPY, params.model_copy(update={"add": add}))
        return ()

    with monkeypatch.context() as patch:
        patch.setattr("itkit.engine.runner.find_gone", other_run)  # the manifest has been read
        assert set(statuses(execute(COPY, params)).values()) == {status}
    assert set(statuses(execute(COPY, params)).values()) == {"skipped" if add == 0 else "done"}


def test_existing_error_refuses_before_anything_runs(tmp_path):
    write_cases(tmp_path / "in", "ab")
    run(tmp_path)
    (tmp_path / "out" / "a.mha").unlink()
    with pytest.raises(LayoutError, match="1 outputs exist already"):
        run(tmp_path, existing="error")
    assert not (tmp_path / "out" / "a.mha").exists()


def test_a_broken_manifest_is_never_believed(tmp_path):
    write_cases(tmp_path / "in", "ab")
    run(tmp_path)
    manifest = tmp_path / "out" / ".itkit" / "manifest.jsonl"
    lines = manifest.read_text().splitlines()
    manifest.write_text("garbage\n[1]\n" + lines[0][:50] + "\n" + lines[1])  # torn, and without a last newline
    result = run(tmp_path, existing="redo")
    assert set(statuses(result).values()) == {"done"}
    assert set(statuses(run(tmp_path)).values()) == {"skipped"}


@pytest.mark.parametrize("workers", [1, 2])
def test_our_own_fault_is_crashed_and_shown(tmp_path, workers):
    write_cases(tmp_path / "in", ["a", "crash", "z"])
    result = run(tmp_path, workers=workers)
    assert statuses(result) == {"a": "done", "crash": "crashed", "z": "done"}
    assert result.exit_code == 1
    assert "ZeroDivisionError: our own fault" in result.records[1].message
    assert "1 crashed" in result.summary.text()


def test_an_edited_manifest_costs_the_summary_alone_and_is_named(tmp_path):
    phantoms.write_dataset(tmp_path / "in", 2)
    values = {"source": tmp_path / "in" / "label", "dest": tmp_path / "out", "mappings": ("1:1",)}
    assert itkit.run("itk_extract", **values).exit_code == 0
    manifest = tmp_path / "out" / ".itkit" / "manifest.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    lines[0]["facts"]["original_labels"] = 3
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = itkit.run("itk_extract", **values)
    assert (result.exit_code, result.summary.counts.get("failed", 0)) == (1, 0)
    assert f"{manifest}: what it says of earlier cases can't be used" in " ".join(result.summary.lines)
    assert itkit.run("itk_extract", **values, existing="redo").exit_code == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_facts_that_json_can_not_hold_end_their_case_alone(tmp_path, workers):
    write_cases(tmp_path / "in", ["a", "nan", "z"])
    result = run(tmp_path, workers=workers)
    assert statuses(result) == {"a": "done", "nan": "crashed", "z": "done"}
    assert sorted(path.name for path in (tmp_path / "out").glob("*.mha")) == ["a.mha", "z.mha"]


def test_a_killed_worker_costs_its_own_case_alone(tmp_path):
    write_cases(tmp_path / "in", "abcdef")
    (tmp_path / "marks").mkdir()
    result = run(tmp_path, {"die": "c", "marks": tmp_path / "marks"}, workers=2)
    assert statuses(result) == {**dict.fromkeys("abdef", "done"), "c": "failed"}
    assert "SIGKILL" in result.records[2].message
    attempts = {path.name: path.read_text().split() for path in (tmp_path / "marks").iterdir()}
    assert len(attempts["c"]) == 2  # once more, alone
    assert all(len(pids) == 1 for name, pids in attempts.items() if name != "c")


def test_on_error_stop_leaves_the_rest_undone(tmp_path):
    write_cases(tmp_path / "in", ["a", "b", "c"])
    (tmp_path / "in" / "a.nii.gz").write_bytes(b"")
    result = run(tmp_path, on_error="stop")
    assert statuses(result) == {"a": "failed"}
    assert not list((tmp_path / "out").glob("*.mha"))


def test_shards_make_up_the_whole(tmp_path):
    write_cases(tmp_path / "in", "abcde")
    assert list(statuses(run(tmp_path, shard="1/2"))) == ["a", "c", "e"]
    assert list(statuses(run(tmp_path, shard="2/2"))) == ["b", "d"]
    meta = json.loads((tmp_path / "out" / "series_meta.json").read_text())
    assert list(meta) == [f"{name}.mha" for name in "abcde"]
    assert set(statuses(run(tmp_path)).values()) == {"skipped"}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_case_that_can_not_fit_is_a_named_failure(tmp_path, workers):
    write_cases(tmp_path / "in", "ab")
    result = run(tmp_path, workers=workers, max_memory="100MB")
    assert set(statuses(result).values()) == {"failed"}
    assert "--max-memory" in result.records[0].message


def test_manifest_has_a_line_a_case(tmp_path):
    write_cases(tmp_path / "in", "ab")
    run(tmp_path, workers=2)
    lines = [json.loads(line) for line in (tmp_path / "out" / ".itkit" / "manifest.jsonl").read_text().splitlines()]
    assert sorted(line["case"] for line in lines) == ["a", "b"]
    for line in lines:
        assert line["status"] == "done"
        assert line["inputs"]["image"]["file"] == f"{line['case']}.nii.gz"
        assert line["outputs"][0]["path"] == f"{line['case']}.mha"
        assert line["outputs"][0]["bytes"] == (tmp_path / "out" / f"{line['case']}.mha").stat().st_size
        assert {"key", "inputs", "outputs", "status", "message", "seconds"} <= line.keys()
        assert line["seconds"] >= 0
        assert "took_s" not in line


def test_dead_runs_are_cleaned_and_live_ones_are_not(tmp_path):
    write_cases(tmp_path / "in", "a")
    run(tmp_path)
    dead = tmp_path / "out" / ".itkit" / "tmp" / "999999999-dead"
    dead.mkdir(parents=True)
    (dead / "lock").touch()
    (dead / "half.mha").write_bytes(b"half")
    live = tmp_path / "out" / ".itkit" / "tmp" / f"{os.getpid()}-live"
    live.mkdir()
    import fcntl

    with (live / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run(tmp_path, existing="redo")
        assert not dead.exists()
        assert live.exists()


def test_events_end_with_the_summary(tmp_path):
    write_cases(tmp_path / "in", "ab")
    events = []
    execute(COPY, CopyParams(source=tmp_path / "in", dest=tmp_path / "out"), on_event=events.append)
    assert [event["event"] for event in events] == ["start", "case", "case", "summary"]
    json.dumps(events)
    assert events[-1]["exit_code"] == 0
    assert events[-1]["text"].startswith("2 done, 0 skipped, 0 failed; details: ")


def test_programs_are_told_of_every_case_and_people_of_as_many_as_they_can_look_at(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_GLANCE_S", 1e9)  # nobody looks twice
    write_cases(tmp_path / "in", "abcdefgh")
    broken = [f"x{number:02d}" for number in range(15)]
    for name in broken:
        (tmp_path / "in" / f"{name}.nii.gz").write_bytes(b"")
    told = {}
    for is_brief in (False, True):
        events = told[is_brief] = []
        params = CopyParams(source=tmp_path / "in", dest=tmp_path / f"out-{is_brief}")
        execute(COPY, params, on_event=events.append, is_brief=is_brief)
    cases = {key: [event["case"] for event in events if event["event"] == "case"] for key, events in told.items()}
    assert sorted(cases[False]) == [*"abcdefgh", *broken]
    assert {*cases[True]} >= {*broken}  # what fails is said at once
    assert len(cases[True]) <= len(broken) + 2
    assert told[True][-2]["number"] == 23
    for summary in (told[False][-1], told[True][-1]):
        assert summary["names"] == {"failed": broken}
        manifest = summary["manifest"]
        assert summary["text"].endswith(f"15 failed ({', '.join(broken[:10])} and 5 more); details: {manifest}")
        assert sum(name in Path(manifest).read_text() for name in broken) == 15


def test_python_api_takes_names_and_refuses_unknown_ones(tmp_path):
    with pytest.raises(itkit.core.errors.ParamsError, match="unknown parameter 'spacings'"):
        itkit.run("itk_resample", mode="image", source=tmp_path, dest=tmp_path, spacings=(1, 1, 1))


def test_time_is_not_wasted_on_finished_cases(tmp_path):
    write_cases(tmp_path / "in", "abc")
    run(tmp_path)
    stamp = (tmp_path / "out" / "a.mha").stat().st_mtime_ns
    time.sleep(0.01)
    run(tmp_path)
    assert (tmp_path / "out" / "a.mha").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(("node", "is_removed"), [(None, True), ("another-machine", False)])
def test_a_dead_runs_folder_is_removed_when_its_last_worker_is_gone(tmp_path, monkeypatch, node, is_removed):
    monkeypatch.setattr("itkit.engine.stage._PATIENCE_S", 120.0)
    manifest = Manifest(tmp_path)
    stage = Stage.open(manifest, "itk_orient")
    (stage.folder / "part").write_bytes(b"half a file")
    worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[stage.lock.fileno()])
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    folder = stage.folder.rename(stage.folder.with_name(f"{gone.pid}-0123456789ab"))
    if node is not None:
        (folder / "lock").write_text(node)
    stage.lock.close()  # the run has died; its worker holds the lock
    end = threading.Timer(0.5, worker.communicate, [b"\n"])
    if is_removed:  # it is waited for
        end.start()
    recover(manifest)
    assert folder.exists() != is_removed
    if not is_removed:
        end.start()
    end.join()
    recover(manifest)
    assert not folder.exists()


class PlaceParams(Params):
    """Write copies into a folder of the destination."""

    source: Path
    dest: Path
    folder: str


@pytest.mark.parametrize("output_ids", [None, ("part",)])
def test_a_case_that_becomes_others_replaces_what_it_was_before_in_any_folder(tmp_path, output_ids):
    def plan(params):
        target = {"image": Target(params.dest / params.folder, ".mha", "image")}
        files = find_volumes(params.source).items()
        jobs = tuple(Job(case, {"image": InputFile(path, "image")}, target, output_ids) for case, path in files)
        return Plan(jobs, (), params.dest)

    def work(case, params, context):
        return Outcome((Case(output_ids[0] if output_ids else case.id, case.volumes),))

    write_cases(tmp_path / "in", ["a"])
    operation = Operation("test_place", PlaceParams, plan, work)
    for folder in ("train", "test"):
        execute(operation, PlaceParams(source=tmp_path / "in", dest=tmp_path / "out", folder=folder))
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.mha"))
    assert found == (["test/a.mha", "train/a.mha"] if output_ids is None else ["test/part.mha"])


def test_images_of_another_type_count_for_any_command(tmp_path):
    volume = Volume(np.zeros((256, 256, 256), np.uint8), Geometry((256, 256, 256), (1.0, 1.0, 1.0)))
    write_volume(volume, tmp_path / "in" / "a.mha")
    values = {"source": tmp_path / "in", "orient": "RAS", "max_memory": BASE_BYTES + (120 << 20)}
    assert itkit.run("itk_orient", dest=tmp_path / "same", **values).exit_code == 0
    wide = itkit.run("itk_orient", dest=tmp_path / "wide", dtype="float64", **values)
    assert "--max-memory" in wide.records[0].message


def test_equal_runs_at_once_move_files_one_after_the_other(tmp_path):
    write_cases(tmp_path / "in", "a")
    execute(COPY, CopyParams(source=tmp_path / "in", dest=tmp_path / "out"), RunOptions(dry_run=False))
    params = CopyParams(source=tmp_path / "in", dest=tmp_path / "out", add=1)
    manifest, found = Manifest(tmp_path / "out"), []
    other = threading.Thread(target=lambda: found.append(execute(COPY, params)))
    with alone_with_cases(manifest):
        other.start()
        other.join(0.5)
        assert len(manifest.path.read_text().splitlines()) == 1
        assert not found
    other.join()
    assert statuses(found[0]) == {"a": "done"}
    with alone_with_cases(Manifest(tmp_path / "out", "1/2")):  # shards have cases of their own
        assert statuses(execute(COPY, params.model_copy(update={"add": 2}))) == {"a": "done"}


@pytest.mark.parametrize(
    "damage",
    [
        {"inputs": 5},
        {"inputs": {"image": {}, "targets": {"image": "."}}},
        {"inputs": {"image": {"file": "a.nii.gz", "parts": [1]}, "targets": {"image": "."}}},
        {"inputs": {"image": {"file": "a.nii.gz", "parts": None}, "targets": {"image": "."}}},
        {"inputs": {"more_files": 5}},
        {"outputs": [{"path": "a.mha", "bytes": 1, "mtime_ns": 1, "name": []}]},
        {"outputs": 5},
        {"key": float("inf")},
        {"warnings": [{}]},
    ],
)
def test_no_line_of_a_manifest_that_somebody_packed_ends_a_run(tmp_path, damage):
    write_cases(tmp_path / "in", "ab")
    run(tmp_path)
    path = tmp_path / "out" / ".itkit" / "manifest.jsonl"
    first, second = map(json.loads, path.read_text().splitlines())
    for changed in ((first | damage, second), (second, first | damage)):
        path.write_text("".join(json.dumps(line) + "\n" for line in changed))
        found = statuses(run(tmp_path))
        assert found == {"a": found["a"], "b": "skipped"}
    (tmp_path / "in" / "b.nii.gz").unlink()  # now it is gone
    assert run(tmp_path, prune=True).summary.gone == ()
