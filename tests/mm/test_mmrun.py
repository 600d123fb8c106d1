"""The queue of experiments: what runs, what is skipped, what a failure does, and every option."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import torch

from itkit.cli.umbrella import script
from itkit.mm import execute, run
from itkit.mm.jobs import Job, Result
from itkit.mm.records import read_record
from itkit.training.run_lock import RunLock
from mm.tiny import write_tree

BUILD = execute.build_runner


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Folders in the environment, and models that run in this process."""
    for name in ("configs", "work", "test"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("mm_configdir", str(tmp_path / "configs"))
    monkeypatch.setenv("mm_workdir", str(tmp_path / "work"))
    monkeypatch.setenv("mm_testdir", str(tmp_path / "test"))
    monkeypatch.setattr(run, "runner", lambda: execute.run_job)
    return tmp_path


def weights(folder, name="iter_6.pth"):
    content = torch.load(folder / name, weights_only=False)
    return content["state_dict"]["linear.weight"], content["optimizer"]


def test_help_imports_neither_torch_nor_mmengine():
    code = (
        "import sys; sys.argv = ['mmrun', '--help']\n"
        "from itkit.cli.main import command\n"
        "code = command()\n"
        "assert not {'torch', 'mmengine'} & {name.split('.')[0] for name in sys.modules}\n"
        "raise SystemExit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: mmrun EXPERIMENT ... [options]")
    for option in ("--work-dir-root", "--test-work-dir-root", "--config-root", "--models", "--cfg-options", "--test",
                   "--test-use-last-ckpt", "--auto-retry", "--detect-anomaly", "--amp", "--resume",
                   "--dry-run"):  # fmt: skip
        assert f"  {option}" in done.stdout


def test_a_model_trains_is_recognised_tests_and_is_recognised_again(tree, capfd):
    write_tree(tree / "configs")
    work, test = tree / "work/0.1.Tiny/one", tree / "test/0.1.Tiny/one"
    assert script("mmrun", ["0.1", "--test"]) == 1
    assert "not trained yet" in capfd.readouterr().out
    assert script("mmrun", ["0.1"]) == 0
    assert "0.1.Tiny    one    trained" in capfd.readouterr().out
    assert (work / "iter_6.pth").is_file()
    assert read_record(work, "training")["goal"] == {"unit": "iter", "count": 6}
    assert script("mmrun", ["0.1.Tiny"]) == 0
    assert "trained already, 6 iterations" in capfd.readouterr().out
    assert script("mmrun", ["0.1", "--test"]) == 0
    assert "1 tested" in capfd.readouterr().out
    record = read_record(test, "test")
    assert record["checkpoint"]["name"].startswith("best_error")
    assert record["metrics"]["error"] > 0
    assert script("mmrun", ["0.1", "--test"]) == 0
    assert "tested already" in capfd.readouterr().out
    assert script("mmrun", ["0.1", "--test", "--test-use-last-ckpt"]) == 0
    assert read_record(test, "test")["checkpoint"]["name"] == "iter_6.pth"
    (work / "mmrun.json").unlink()  # a folder that MMEngine alone has written
    assert script("mmrun", ["0.1"]) == 0
    assert "trained already" in capfd.readouterr().out
    assert script("mmrun", ["0.1", "--cfg-options", "train_cfg.max_iters=8", "--resume"]) == 0
    assert (work / "iter_8.pth").is_file()


def test_one_failing_model_never_stops_the_queue(tree, capfd):
    folder = write_tree(tree / "configs", models=("a", "c"))
    (folder / "b.py").write_text("raise ValueError('no such thing')\n")
    assert script("mmrun", ["0.1"]) == 1
    out, err = capfd.readouterr()
    assert "2 trained, 1 failed" in out
    assert "ValueError: no such thing" in out
    assert "Traceback" in err
    assert (tree / "work/0.1.Tiny/c/iter_6.pth").is_file()


def test_a_retry_goes_on_from_the_last_checkpoint_and_equals_an_undisturbed_training(tree, capfd):
    write_tree(tree / "configs", models=("one", "two"))
    options = ["model.fails=raise", f"model.marker={tree}/marker"]
    assert script("mmrun", ["0.1", "--models", "one", "--cfg-options", *options, "--auto-retry", "1"]) == 0
    out, err = capfd.readouterr()
    assert "try 1 of 1 from the last checkpoint" in out
    assert "resumed epoch: 0, iter: 2" in out + err
    assert script("mmrun", ["0.1", "--models", "two"]) == 0
    (broken, broken_sgd), (whole, whole_sgd) = (weights(tree / "work/0.1.Tiny" / name) for name in ("one", "two"))
    assert torch.equal(broken, whole)
    assert torch.equal(broken_sgd["state"][0]["momentum_buffer"], whole_sgd["state"][0]["momentum_buffer"])


def test_without_retry_a_failure_stays_and_resume_ends_it(tree, capfd):
    write_tree(tree / "configs")
    options = ["--cfg-options", "model.fails=raise", f"model.marker={tree}/marker"]
    assert script("mmrun", ["0.1", *options]) == 1
    assert "out of ideas" in capfd.readouterr().out
    assert script("mmrun", ["0.1", "--test"]) == 1
    assert "training has not ended (epoch 0, iteration 2 of 6 iterations)" in capfd.readouterr().out
    assert script("mmrun", ["0.1", "--dry-run", "--resume"]) == 0
    assert "would train from epoch 0, iteration 2 to 6 iterations" in capfd.readouterr().out
    assert script("mmrun", ["0.1", "--test", "--test-use-last-ckpt"]) == 0
    assert script("mmrun", ["0.1", "--resume", *options]) == 0
    assert "iter: 2" in capfd.readouterr().out


def test_without_resume_training_starts_anew_and_says_so(tree, capfd, caplog):
    write_tree(tree / "configs")
    script("mmrun", ["0.1", "--cfg-options", "model.fails=raise"])
    assert script("mmrun", ["0.1"]) == 0
    assert "training starts anew (there is epoch 0, iteration 2" in caplog.text
    assert "resumed epoch" not in capfd.readouterr().out


def test_resuming_a_copy_deletes_nothing_in_the_original(tree):
    write_tree(tree / "configs")
    options = ["--cfg-options", "model.fails=raise", f"model.marker={tree}/marker"]
    assert script("mmrun", ["0.1", *options]) == 1
    before = {path.name for path in (tree / "work/0.1.Tiny/one").glob("*.pth")}
    assert any(name.startswith("best") for name in before)
    shutil.copytree(tree / "work", tree / "copy")
    assert script("mmrun", ["0.1", *options, "--resume", "--work-dir-root", str(tree / "copy")]) == 0
    assert {path.name for path in (tree / "work/0.1.Tiny/one").glob("*.pth")} == before
    copied = {path.name for path in (tree / "copy/0.1.Tiny/one").glob("*.pth")}
    assert len([name for name in copied if name.startswith("best")]) == 1
    assert "iter_6.pth" in copied


def test_mmengine_itself_deletes_the_best_checkpoint_of_the_original(tree, monkeypatch):
    monkeypatch.setattr(execute, "_prepare", lambda *_: None)
    write_tree(tree / "configs")
    options = ["--cfg-options", "model.fails=raise", f"model.marker={tree}/marker"]
    assert script("mmrun", ["0.1", *options]) == 1
    before = {path.name for path in (tree / "work/0.1.Tiny/one").glob("best*")}
    shutil.copytree(tree / "work", tree / "copy")
    assert script("mmrun", ["0.1", *options, "--resume", "--work-dir-root", str(tree / "copy")]) == 0
    assert before - {path.name for path in (tree / "work/0.1.Tiny/one").glob("best*")}


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(tree, caplog):
    write_tree(tree / "configs")
    options = ["--cfg-options", "train_cfg.max_iters=4"]
    assert script("mmrun", ["0.1", *options]) == 0
    work = tree / "work/0.1.Tiny/one"
    (work / "iter_4.pth").write_bytes((work / "iter_4.pth").read_bytes()[:900])
    assert execute.last_checkpoint(work).path.name == "iter_2.pth"
    assert "iter_4.pth" in caplog.text


def test_options_reach_nested_keys_and_lists_and_unknown_keys_are_named(tree, caplog):
    folder = write_tree(tree / "configs", more="model.update(parts=[dict(size=1), dict(size=2)])")
    job = Job("0.1.Tiny", "one", folder / "one.py", tree / "w",
              cfg_options=("model.parts.1.size=[3,4]", "model.sizes=(5,6)", "train_cfg.max_iter=3"))  # fmt: skip
    config = execute.load_config(job)
    assert [part["size"] for part in config.model.parts] == [1, [3, 4]]
    assert config.model.sizes == (5, 6)
    assert "the configuration has no train_cfg.max_iter" in caplog.text
    wrong = Job("0.1.Tiny", "one", folder / "one.py", tree / "w", cfg_options=("model.parts.7.size=1",))
    assert execute.run_job(wrong).message.startswith("--cfg-options do not fit")


def test_options_are_passed_on_and_refused_before_anything_runs(tree, capfd):
    write_tree(tree / "configs", models=("b", "a"))
    assert script("mmrun", ["0.1", "--cfg-options", "nonsense"]) == 2
    assert script("mmrun", ["0.1", "--models", "c"]) == 2
    assert script("mmrun", ["0.2"]) == 2
    assert script("mmrun", ["0.1", "--auto-retry", "-1"]) == 2
    assert script("mmrun", ["0.1", "--test-use-last-ckpt"]) == 2
    assert script("mmrun", []) == 2
    assert not list((tree / "work").iterdir())
    err = capfd.readouterr().err
    assert "mmrun: error: no experiment '0.2'" in err
    assert "Traceback" not in err


def test_a_dry_run_writes_nothing(tree, capfd):
    write_tree(tree / "configs", models=("b", "a"))
    assert script("mmrun", ["0.1", "--dry-run"]) == 0
    out = capfd.readouterr().out
    assert out.index("0.1.Tiny/a") < out.index("0.1.Tiny/b")
    assert "2 planned" in out
    assert "would train from the beginning in" in out
    assert not list((tree / "work").iterdir())


def test_roots_come_from_options_before_the_environment(tree, monkeypatch, capfd):
    write_tree(tree / "others", models=("x", "y", "z"))
    options = ["--config-root", str(tree / "others"), "--work-dir-root", str(tree / "w"), "--test-work-dir-root",
               str(tree / "t"), "--dry-run"]  # fmt: skip
    assert script("mmrun", ["0.1", *options, "--models", "z,x"]) == 0
    out = capfd.readouterr().out
    assert out.index("/z:") < out.index("/x:")
    assert str(tree / "w/0.1.Tiny/x") in out
    monkeypatch.setenv("supported_models", "y, other")
    assert script("mmrun", ["0.1", *options]) == 0
    out = capfd.readouterr().out
    assert "supported_models names other" in out
    assert "1 planned" in out
    for variable, option in (("mm_configdir", "--config-root"), ("mm_workdir", "--work-dir-root"),
                             ("mm_testdir", "--test-work-dir-root")):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.delenv(variable)
            assert script("mmrun", ["0.1", "--test"]) == 2
        assert f"{option}: give the option, or set the environment variable {variable}" in capfd.readouterr().err


def test_amp_computes_in_bfloat16_on_the_cpu(tree, monkeypatch):
    write_tree(tree / "configs")
    kept = []
    monkeypatch.setattr(execute, "build_runner", lambda config: kept.append(BUILD(config)) or kept[-1])
    assert script("mmrun", ["0.1", "--amp"]) == 0
    assert torch.bfloat16 in kept[0].model.dtypes
    assert kept[0].model.linear.weight.dtype == torch.float32


def test_detect_anomaly_names_the_operation_that_gives_nan(tree, capfd):
    write_tree(tree / "configs", more="model.update(fails='nan')")
    assert script("mmrun", ["0.1"]) == 0
    shutil.rmtree(tree / "work/0.1.Tiny")
    assert script("mmrun", ["0.1", "--detect-anomaly"]) == 1
    assert "returned nan values in its 0th output" in capfd.readouterr().out
    torch.autograd.set_detect_anomaly(False)


def test_an_interrupt_ends_the_queue_with_130_and_a_summary(tree, capfd):
    write_tree(tree / "configs", models=("a", "b"))
    assert script("mmrun", ["0.1", "--cfg-options", "model.fails=interrupt"]) == 130
    assert "1 interrupted, 1 not run" in capfd.readouterr().out


def test_a_folder_takes_one_training_at_a_time(tree, capfd):
    write_tree(tree / "configs")
    work = tree / "work/0.1.Tiny/one"
    work.mkdir(parents=True)
    with closing(RunLock(work)) as lock:
        lock.take()
        assert script("mmrun", ["0.1", "--auto-retry", "1"]) == 1
        said = capfd.readouterr().out
        assert "another training writes into this folder" in said
        assert "--work-dir-root" in said
        assert "try 1 of 1" not in said
        assert [path.name for path in work.iterdir()] == [".lock"]
    assert script("mmrun", ["0.1"]) == 0
    assert not (work / ".lock").exists()


def test_a_model_ends_with_the_queue_that_was_killed():
    code = (
        "import sys, threading, time\n"
        "from itkit.mm.execute import _end_with_parent\n"
        "line = sys.stdin.readline()\n"
        "threading.Thread(target=_end_with_parent, args=(sys.stdin.fileno(),), daemon=True).start()\n"
        "print(line, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(b"job\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"job\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.stdin.close()  # as when its parent is gone
        assert process.wait(20) == 1


@pytest.mark.slow
def test_a_killed_model_never_stops_the_queue_and_resume_ends_it_exactly(tmp_path):
    """As users start it: each model in a process of its own."""
    folder = write_tree(tmp_path / "configs", models=("a", "b"))
    fails = f"\nmodel.update(fails='kill', marker={str(tmp_path / 'marker')!r})\n"
    (folder / "a.py").write_text((folder / "a.py").read_text() + fails)
    roots = {"mm_configdir": "configs", "mm_workdir": "work", "mm_testdir": "test"}
    environment = {**os.environ, **{name: str(tmp_path / place) for name, place in roots.items()}}
    command = [sys.executable, "-m", "itkit.mm.run", "0.1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "killed by signal 9" in done.stdout
    assert "1 failed, 1 trained" in done.stdout
    done = subprocess.run(
        [*command, "--models", "a", "--resume"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("1 trained")
    (killed, killed_sgd), (whole, whole_sgd) = (weights(tmp_path / "work/0.1.Tiny" / name) for name in ("a", "b"))
    assert torch.equal(killed, whole)
    assert torch.equal(killed_sgd["state"][0]["momentum_buffer"], whole_sgd["state"][0]["momentum_buffer"])


def test_a_job_survives_the_way_to_its_process(tmp_path):
    job = Job("0.1.A", "m", tmp_path / "m.py", tmp_path / "w", tmp_path / "t", ("a=1",), resume=True)
    assert Job.from_json(job.to_json()) == job
    assert Job.from_json(Job("e", "m", Path("c"), Path("w")).to_json()).test_dir is None
    assert Result.from_values(json.loads('{"status": "failed", "message": "x", "can_retry": true}')).can_retry
