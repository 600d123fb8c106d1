"""What is refused before the first step, and what a lost worker means."""

import multiprocessing.queues
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import torch
from helpers import wait_until
from lightning.pytorch import Callback

from itkit.core.errors import CaseError, DiskFullError, ModelError, ParamsError, ResourceError, WriteError
from itkit.inference.model_folder import read_model
from itkit.lightning import DatasetModule, SegmentationTask, fit, fitting, run_folder
from itkit.lightning.task import require_step
from itkit.lightning.workers import outlive_first_sigterm
from itkit.training import patches as patches_module
from itkit.training import prepared
from itkit.training.memory import StepMemory, measure_step, require_memory
from itkit.training.status import read_status

from .cases import write_dataset
from .test_fitting import QUIET, Weights, plan_of


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("refused"), 3)


def test_a_batch_that_does_not_fit_is_refused_with_the_largest_that_does(dataset, tmp_path):
    plan = plan_of(dataset, training={"batch_size": 6})
    task = SegmentationTask(plan)
    step = measure_step(task.network, task.loss, 1, (8, 16, 16))
    room = step.of(3) + step.per_patch // 2
    with pytest.raises(ParamsError, match="the largest batch that fits is 3"):
        fit(plan, tmp_path / "run", memory=room, **QUIET)
    with pytest.raises(ParamsError, match="not even one patch fits"):
        require_step(task, step.fixed)
    assert not (tmp_path / "run").exists()
    require_step(task, step.of(6))


def test_measured_memory_grows_with_the_patch_and_is_that_of_what_is_kept():
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.Tanh(), torch.nn.Conv3d(4, 2, 1))
    loss = torch.nn.CrossEntropyLoss()
    before = torch.get_rng_state()
    small, large = (measure_step(network, loss, 1, (side,) * 3) for side in (16, 64))
    assert torch.equal(before, torch.get_rng_state())
    assert large.per_patch == pytest.approx(64 * small.per_patch, rel=0.01)  # extrapolated
    kept = 16**3 * 4 * (1 + 4 + 2 + 2)  # image, tanh, log softmax, the target of 8 bytes
    assert small.per_patch / 1.4 == pytest.approx(kept, rel=0.15)
    assert small.fixed == 4 * sum(one.nbytes for one in network.parameters())
    require_memory(StepMemory(10, 5), 30, batch=4, patch=(1, 1, 1))


def test_a_patch_larger_than_the_only_size_of_a_network_is_refused(dataset):
    network = {"name": "unetr", "options": {"image_size": 32, "hidden_size": 24, "num_heads": 2, "feature_size": 4}}
    with pytest.raises(ParamsError, match=r"training\.patch_size: 48 x 32 x 32 is larger .* unetr takes, 32 x 32 x 32"):
        SegmentationTask(plan_of(dataset, network={**network}, training={"patch_size": [48, 32, 32]}))


def test_a_full_disk_is_told_as_one_and_the_next_start_goes_on(dataset, tmp_path, monkeypatch):
    sync, calls, read = prepared.sync_files, [], []

    def sync_or_fail(paths):
        calls.append(paths)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        sync(paths)

    reader = prepared.read_volume
    monkeypatch.setattr(prepared, "read_volume", lambda path, *a, **k: read.append(path.name) or reader(path, *a, **k))
    monkeypatch.setattr(prepared, "sync_files", sync_or_fail)
    message = (
        r"prepared: can't be written \(No space left .*\); make room for 6\d\.\d KiB and what follows, then run it"
    )
    with pytest.raises(DiskFullError, match=message):
        DatasetModule(plan_of(dataset), ".", tmp_path / "prepared").setup("fit")
    assert len(calls) == 2  # the third case would not fit either
    assert not list((tmp_path / "prepared").rglob(".*"))
    read.clear()
    DatasetModule(plan_of(dataset), ".", tmp_path / "prepared").setup("fit")
    assert len(read) == 2 * 2


def test_a_disk_that_fills_up_while_it_trains_is_told_with_the_run(dataset, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    plan = plan_of(dataset, training={"epochs": 1, "steps_per_epoch": 1})
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")  # checkpoints take no way over the temporary folder
    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "sync_file", full)
        patch.setattr(run_folder, "write_report", full)  # that the report can't be written either is not the news
        with pytest.raises(
            DiskFullError, match=r"run: can't be written \(No space left on device\); make room, then run it again"
        ):
            fit(plan, tmp_path / "run", **QUIET)
    assert not list((tmp_path / "run").rglob(".*"))
    (tmp_path / "run" / "model").rename(tmp_path / "model")
    with pytest.raises(ModelError, match="the run has no model yet"):
        read_model(tmp_path / "run")
    fit(plan, tmp_path / "run", **QUIET)


def test_a_folder_that_can_not_be_written_is_told_with_what_to_do(dataset, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").mkdir()  # no file can be opened there, whoever tries
    with pytest.raises(WriteError, match=r"run: can't be written \(Is a directory\)"):
        fit(plan_of(dataset), tmp_path / "run", **QUIET)
    monkeypatch.setattr(prepared, "sync_files", refuse)
    with pytest.raises(WriteError, match=r"prepared: can't be written \(Read-only file system\); make it writable"):
        fit(plan_of(dataset), tmp_path / "new" / "run", **QUIET)


class NoMemory(Callback):
    """Asks for more memory than there is at a step, or in the validation after it."""

    def __init__(self, ask, step, validates):
        self.ask, self.step, self.validates = ask, step, validates

    def on_train_batch_start(self, trainer, *_):
        if not self.validates and trainer.global_step == self.step:
            self.ask()

    def on_validation_batch_start(self, trainer, *_):
        if self.validates and trainer.global_step == self.step:
            self.ask()


def _refuse():
    raise MemoryError


@pytest.mark.parametrize(
    ("ask", "validates", "wanted"),
    [
        (lambda: torch.empty(1 << 46), False, "the step after step 1"),
        (_refuse, False, "the step after step 1"),
        (lambda: torch.empty(1 << 46), True, "the validation after step 1"),
    ],
)
def test_a_step_without_memory_says_what_to_lower_and_the_run_goes_on(dataset, tmp_path, ask, validates, wanted):
    plan = plan_of(dataset, training={"epochs": 2, "steps_per_epoch": 1})
    message = (
        rf"run: not enough memory for {wanted} \(2 patches of 8 x 16 x 16 voxels a step\); free .* or lower training"
    )
    with pytest.raises(ResourceError, match=message):
        fit(plan, tmp_path / "run", callbacks=[NoMemory(ask, 1, validates)], **QUIET)
    assert read_status(tmp_path / "run")["state"] == "failed"
    resumed = Weights()
    fit(plan, tmp_path / "run", callbacks=[resumed], **QUIET)
    assert min(resumed.after) == (1 if validates else 2)


def test_a_network_without_memory_is_told_without_a_traceback(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "require_step", lambda *_: torch.empty(1 << 46))
    with pytest.raises(ResourceError, match=r"run: not enough memory for the network and one patch"):
        fit(plan_of(dataset), tmp_path / "run", memory=1 << 30, **QUIET)


def test_data_is_refused_before_other_processes_are_started(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    plan = plan_of(dataset, dataset={"labels": {4: "liver", 7: "nodule", 9: "cyst"}})
    with pytest.raises(ParamsError, match="no training case has the class cyst"):
        fit(plan, tmp_path / "run", devices=2, strategy="ddp", **QUIET)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), r"was ended by signal 9 \(SIGKILL\): .* memory runs out"),
        (lambda: os._exit(3), "ended with exit code 3"),
    ],
)
def test_a_lost_worker_is_told_with_its_case_and_its_reason(dataset, tmp_path, monkeypatch, end, reason):
    of_case = patches_module.TrainingPatches._patch

    def patch(self, case, number):
        return end() if number == 5 else of_case(self, case, number)

    monkeypatch.setattr(patches_module.TrainingPatches, "_patch", patch)
    with pytest.raises(CaseError, match=rf"case_\d: patch 5: the loader worker {reason}"):
        fit(plan_of(dataset, training={"workers": 2}), tmp_path / "run", **QUIET)


@pytest.mark.parametrize("late", [0, 0.3])
@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_worker_lost_while_its_batch_is_asked_for_is_told(dataset, tmp_path, monkeypatch, error, late):
    """A process closes its connections shortly before it ends: torch finds it alive then, and raises the connection's
    error."""
    of_case, get, trainer = patches_module.TrainingPatches._patch, multiprocessing.queues.Queue.get, os.getpid()

    def patch(self, case, number):
        if number == 5:
            time.sleep(late)
            os._exit(3)
        return of_case(self, case, number)

    def lost(self, *args, **kwargs):
        if os.getpid() == trainer:
            raise error
        return get(self, *args, **kwargs)

    monkeypatch.setattr(patches_module.TrainingPatches, "_patch", patch)
    monkeypatch.setattr(multiprocessing.queues.Queue, "get", lost)
    monkeypatch.setattr("itkit.lightning.workers._ENDING_S", 120.0)
    with pytest.raises(CaseError, match=r"case_\d: patch 5: the loader worker ended with exit code 3"):
        fit(plan_of(dataset, training={"workers": 2}), tmp_path / "run", **QUIET)


def has_pending_sigterm(pid):
    """Return whether a process has not taken a SIGTERM yet; a second one would be lost until then."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return any(int(mask, 16) >> (signal.SIGTERM - 1) & 1 for mask in re.findall(r"(?:Sig|Shd)Pnd:\s*(\w+)", text))


@pytest.mark.parametrize(
    ("senders", "code", "is_served"),
    [
        (["parent"], 0, False),
        (["parent"], 0, True),  # Python 3.14 has a server fork it, which is the parent that the system knows
        (["other", "parent"], 0, False),
        (["other", "other"], -15, False),
    ],
)
def test_a_worker_outlives_one_sigterm_but_not_that_of_its_parent(monkeypatch, senders, code, is_served):
    """Python sends it to all workers once when it ends, and waits for them then."""
    ready, told = multiprocessing.Pipe()
    if is_served:
        monkeypatch.setattr(os, "getppid", lambda: 1)

    def work():
        outlive_first_sigterm(0)
        told.send("ready")
        time.sleep(600)

    worker = multiprocessing.get_context("fork").Process(target=work, daemon=True)
    worker.start()
    try:
        assert ready.recv() == "ready"
        for sender in senders:
            assert worker.exitcode is None
            worker.terminate() if sender == "parent" else subprocess.run(["kill", str(worker.pid)], check=True)
            wait_until(lambda: worker.exitcode is not None or not has_pending_sigterm(worker.pid))
        worker.join(120)
        assert worker.exitcode == code
    finally:
        worker.kill()


def test_the_traceback_of_a_worker_reaches_the_terminal_with_its_case(dataset, tmp_path, monkeypatch):
    def patch(self, case, number):
        raise ValueError("no such voxel")

    monkeypatch.setattr(patches_module.TrainingPatches, "_patch", patch)
    with pytest.raises(CaseError) as caught:
        fit(plan_of(dataset, training={"workers": 1}), tmp_path / "run", **QUIET)
    assert "Traceback" in str(caught.value)
    assert "patch 0: no such voxel" in str(caught.value)
