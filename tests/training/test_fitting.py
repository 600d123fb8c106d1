import json
import multiprocessing
import os
import shutil
import signal
import subprocess

import numpy as np
import pytest
import torch
from helpers import tree
from lightning.pytorch import Callback, Trainer, seed_everything

import itkit.lightning.callbacks
from itkit.core.errors import CaseError, LayoutError, ModelError, ParamsError, WeightsError
from itkit.inference.model_folder import read_model
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.lightning import SegmentationTask, fit
from itkit.lightning.fitting import _quiet
from itkit.lightning.run_folder import last_checkpoint
from itkit.training.plan_file import make_plan, plan_text
from itkit.training.run_files import read_run, require_same, weights_digest
from itkit.training.run_lock import RunLock

from .cases import CT, write_dataset

QUIET = {"enable_progress_bar": False, "accelerator": "cpu"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("dataset"), 4)


def plan_of(root, **sections):
    values = {
        "dataset": {"path": str(root), "channels": ["CT"], "labels": {4: "liver", 7: "nodule"}},
        "preprocess": {
            "spacing": [2, 1, 1],
            "intensity": CT,
        },
        "network": {"name": "unet", "options": {"strides": [1, 2], "features_per_stage": [4, 8]}},
        "training": {"patch_size": [8, 16, 16], "epochs": 3, "steps_per_epoch": 4, "workers": 0},
        "split": {"folds": 2},
        "validation": {"every": 1},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return make_plan(values)


class Weights(Callback):
    """Keeps the weights after each step; ends as a kill does, before anything is saved, at a given step."""

    def __init__(self, kill_at=None):
        self.kill_at = kill_at
        self.after = {}

    def on_train_batch_start(self, trainer, task, batch, index):
        if trainer.global_step == self.kill_at:
            raise RuntimeError("killed")

    def on_train_batch_end(self, trainer, task, *_):
        self.after[trainer.global_step] = [parameter.detach().clone() for parameter in task.network.parameters()]


class Interrupt(Callback):
    """Presses Ctrl-C in the step after a given one."""

    def __init__(self, after):
        self.after = after

    def on_train_batch_start(self, trainer, task, batch, index):
        if trainer.global_step == self.after:
            os.kill(os.getpid(), signal.SIGINT)


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory):
    weights, run = Weights(), tmp_path_factory.mktemp("undisturbed") / "run"
    fit(plan_of(dataset), run, callbacks=[weights], **QUIET)
    return weights.after, run


def test_a_run_leaves_metrics_checkpoints_and_a_model(undisturbed):
    _, run = undisturbed
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train_loss" in line] == list(range(1, 13))
    validations = [line for line in lines if "val_dice" in line]
    assert [line["step"] for line in validations] == [4, 8, 12]
    assert set(validations[0]["classes"]["liver"]) == {"dice", "iou", "precision", "recall"}
    model = read_model(run)
    assert model.facts.values == (0, 4, 7)
    assert model.facts.metrics["val_dice"] == max(line["val_dice"] for line in validations)
    assert model.load()(torch.zeros(1, 1, 8, 16, 16)).shape == (1, 3, 8, 16, 16)
    assert read_model(run / "checkpoints" / "last.ckpt").facts == model.facts.model_copy(
        update={"metrics": {}, "weights_sha256": ""}
    )
    assert not list(run.rglob(".*"))


def test_a_trainer_of_ones_own_gives_the_weights_of_fit_and_goes_on(dataset, undisturbed, tmp_path):
    weights, plan, run = Weights(), plan_of(dataset.name), tmp_path / "run"
    settings = {"gradient_clip_val": plan.training.clip, "use_distributed_sampler": False, "num_sanity_val_steps": 0,
                "logger": False, "enable_checkpointing": False, "enable_model_summary": False}  # fmt: skip

    def train(*callbacks, plan=plan, **more):
        seed_everything(plan.training.seed, verbose=False)
        own = Trainer(max_epochs=3, callbacks=[itkit.lightning.RunFolder(run, plan), *callbacks], **settings, **QUIET)
        data = itkit.lightning.DatasetModule(plan, dataset.parent, tmp_path / "prepared")
        with _quiet():
            own.fit(SegmentationTask(plan), datamodule=data, **more)

    with pytest.raises(RuntimeError, match="killed"):
        train(Weights(kill_at=6))
    last = {"ckpt_path": str(run / "checkpoints" / "last.ckpt"), "weights_only": True}
    with pytest.raises(ParamsError, match="a run is here already; go on from its checkpoint"):
        train()
    with pytest.raises(ParamsError, match=r"a run of another plan \(training.accumulate differ\)"):
        train(plan=plan_of(dataset.name, training={"accumulate": 2}), **last)
    train(weights, **last)
    assert min(weights.after) == 5
    assert same(weights.after[12], undisturbed[0][12])
    assert read_model(run).facts.metrics == read_model(undisturbed[1]).facts.metrics
    assert (read_run(run).dataset / "image").is_dir()
    assert (run / "report.html").is_file()
    assert not list(run.rglob(".*"))
    assert itkit.lightning.callbacks.RunFolder is itkit.lightning.RunFolder


@pytest.mark.parametrize("kill_at", [2, 5, 8, 11])
def test_a_killed_run_goes_on_as_if_nothing_had_been(dataset, undisturbed, tmp_path, kill_at):
    expected, _ = undisturbed
    plan = plan_of(dataset)
    with pytest.raises(RuntimeError, match="killed"):
        fit(plan, tmp_path / "run", callbacks=[Weights(kill_at)], **QUIET)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1')  # what a kill leaves of a line
    resumed = Weights()
    fit(plan, tmp_path / "run", callbacks=[resumed], **QUIET)
    assert min(resumed.after) == 4 * (kill_at // 4) + 1
    for step, weights in resumed.after.items():
        assert same(weights, expected[step]), step
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train_loss" in line] == list(range(1, 13))


def test_ctrl_c_ends_after_the_step_and_the_run_goes_on_mid_epoch(dataset, undisturbed, tmp_path):
    expected, _ = undisturbed
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(plan_of(dataset), tmp_path / "run", callbacks=[Interrupt(5)], **QUIET)
    resumed = Weights()
    fit(plan_of(dataset), tmp_path / "run", callbacks=[resumed], **QUIET)
    assert min(resumed.after) == 7
    assert all(same(weights, expected[step]) for step, weights in resumed.after.items())


class Crafted:
    """Makes a file if it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["last.ckpt", "previous.ckpt", "best.ckpt"])
def test_a_folder_where_a_checkpoint_belongs_is_named_before_a_step_is_taken(dataset, tmp_path, name):
    wrong = tmp_path / "run" / "checkpoints" / name
    wrong.mkdir(parents=True)
    with pytest.raises(LayoutError, match=rf"{name} is a folder; move it away"):
        fit(plan_of(dataset), tmp_path / "run", **QUIET)
    assert [*(tmp_path / "run").iterdir()] == [wrong.parent]


def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(dataset, undisturbed, tmp_path, caplog):
    expected, _ = undisturbed
    with pytest.raises(RuntimeError):
        fit(plan_of(dataset), tmp_path / "run", callbacks=[Weights(9)], **QUIET)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    kept = torch.load(last, weights_only=True)
    for content, fault in (
        ([1], "it is no checkpoint"),
        ({**kept, "global_step": "x", "loops": 1}, "global_step, loops is missing or malformed"),
        ({**kept, "callbacks": {"RunFolder": {"best": "x"}}}, "the state of RunFolder is malformed"),
        ({**kept, "state_dict": {"a": torch.zeros(1)}}, "its weights are those of another network"),
        (Crafted(tmp_path / "executed"), "it holds more than tensors"),
    ):
        torch.save(content, last)
        found = last_checkpoint(tmp_path / "run", kept["state_dict"])
        assert found is not None
        assert found[0].name == "previous.ckpt"
        assert f"last.ckpt: damaged, the one before is taken ({fault}" in caplog.text
    last.write_bytes(b"cut")
    assert not (tmp_path / "executed").exists()
    assert last_checkpoint(tmp_path / "run", {}) is None
    assert "previous.ckpt: damaged, training begins anew" in caplog.text
    resumed = Weights()
    fit(plan_of(dataset), tmp_path / "run", callbacks=[resumed], **QUIET)
    assert "last.ckpt: damaged, the one before is taken" in caplog.text
    assert min(resumed.after) == 5
    assert same(resumed.after[12], expected[12])


def test_a_checkpoint_with_malformed_entries_is_named(dataset, undisturbed, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(undisturbed[1], run)
    last, kept = run / "checkpoints" / "last.ckpt", torch.load(run / "checkpoints" / "previous.ckpt", weights_only=True)
    for entry in ({"loops": {}}, {"lr_schedulers": [{}]}, {"optimizer_states": [{"state": 1}]}):
        torch.save({**kept, **entry}, last)
        with pytest.raises(WeightsError, match=r"last\.ckpt: malformed \(\w+: .*\); delete it, then the same command"):
            fit(plan_of(dataset), run, prepared=tmp_path / "prepared", **QUIET)
    last.unlink()
    resumed = Weights()
    fit(plan_of(dataset), run, prepared=tmp_path / "prepared", callbacks=[resumed], **QUIET)
    assert same(resumed.after[12], undisturbed[0][12])
    (run / "plan.toml").unlink()
    with pytest.raises(ParamsError, match=r"run/plan\.toml: can't be read"):
        fit(plan_of(dataset, training={"epochs": 9}), run, **QUIET)


def test_loader_workers_do_not_change_the_weights(dataset, undisturbed, tmp_path):
    expected, _ = undisturbed
    weights = Weights()
    fit(plan_of(dataset, training={"workers": 2}), tmp_path / "run", callbacks=[weights], **QUIET)
    assert same(weights.after[12], expected[12])


@pytest.mark.parametrize("patch_size", [[8, 16, 16], [1, 16, 16]])
def test_augmentation_on_the_device_depends_on_the_seed_alone(dataset, tmp_path, patch_size):
    kinds = {"mirror": "", "rotation": 1.0, "noise": 0.0}
    seen = {}
    for name, changes in {"none": {"enabled": False}, "device": kinds, "again": {**kinds}}.items():
        sections = {"training": {"patch_size": patch_size, "epochs": 1}, "augment": {"on": "device", **changes}}
        weights = Weights()
        fit(plan_of(dataset, **sections), tmp_path / name / "run", callbacks=[weights], **QUIET)
        seen[name] = weights.after[4]
    assert same(seen["device"], seen["again"])
    assert not same(seen["device"], seen["none"])


def test_a_run_of_another_plan_is_not_touched(dataset, undisturbed):
    _, run = undisturbed
    with pytest.raises(ParamsError, match=r"a run of another plan \(training\.epochs differ\)"):
        fit(plan_of(dataset, training={"epochs": 4}), run, **QUIET)


def test_a_copied_run_goes_on_and_nothing_of_the_first_is_touched(dataset, undisturbed, tmp_path):
    plan, run, copy = plan_of(dataset.name), tmp_path / "run", tmp_path / "far" / "away" / "run"
    with pytest.raises(RuntimeError, match="killed"):
        fit(plan, run, base=dataset.parent, callbacks=[Weights(kill_at=5)], **QUIET)
    shutil.copytree(run, copy, copy_function=os.link)  # a file that is not replaced would change in both
    before = tree(run)
    resumed = Weights()
    fit(plan, copy, base=dataset.parent, prepared=tmp_path / "prepared", callbacks=[resumed], **QUIET)
    assert min(resumed.after) == 5
    assert same(resumed.after[12], undisturbed[0][12])
    assert tree(run) == before
    assert (read_run(copy).dataset / "image").is_dir()


def test_a_path_that_differs_is_compared_by_what_lies_there(tmp_path):
    (tmp_path / "deep" / "run").mkdir(parents=True)
    (tmp_path / "weights.pt").write_bytes(b"some weights")
    run, begun = tmp_path / "run", {"network": {"name": "unet", "weights": "../weights.pt"}}
    run.mkdir()
    (run / "plan.toml").write_text(plan_text(plan_of("../ct", **begun)))
    moved = plan_of("../../ct", network={"weights": "../../weights.pt"})
    facts = {
        "fold": 0,
        "dataset": {"contents": {"a": "1"}},
        "weights_digest": weights_digest(plan_of(".", **begun), run),
    }
    for noted, differ in (
        (facts, ""),
        ({**facts, "dataset": {}}, "dataset.path"),
        ({"fold": 0}, "dataset.path, network.w"),
    ):
        (run / "run.json").write_text(json.dumps(noted))
        shutil.copytree(run, tmp_path / "deep" / "run", dirs_exist_ok=True)
        if differ:
            what = rf"another plan \({differ}.* write dataset.path = \"../../ct\".* into .*deep/run/plan.toml"
            with pytest.raises(ParamsError, match=what):
                require_same(tmp_path / "deep" / "run", moved, 0)
        else:
            require_same(tmp_path / "deep" / "run", moved, 0)
            (tmp_path / "weights.pt").write_bytes(b"other weights")
            with pytest.raises(ParamsError, match=r"network\.weights differ"):
                require_same(tmp_path / "deep" / "run", moved, 0)


def test_the_last_epoch_is_validated_too(dataset, tmp_path):
    plan, events = plan_of(dataset, training={"steps_per_epoch": 2}, validation={"every": 2}), []
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(plan, tmp_path / "run", on_event=events.append, callbacks=[Interrupt(4)], **QUIET)
    fit(plan, tmp_path / "run", on_event=events.append, **QUIET)  # goes on in the midst of it
    assert [event["step"] for event in events if event["event"] == "validation"] == [4, 6]
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[1:]
    assert [bool(row.split(",")[4]) for row in rows] == [False, True, True]


def test_a_run_ends_early_once_without_a_better_dice(dataset, tmp_path):
    plan = plan_of(
        dataset,
        training={"epochs": 30, "steps_per_epoch": 1, "learning_rate": 1e-9},
        validation={"every": 1, "patience": 2},
    )
    for to_do, step in ((30, 3), (0, None)):
        events = []
        fit(plan, tmp_path / "run", on_event=events.append, **QUIET)
        assert events[0]["to_do"] == to_do
        assert max((event["step"] for event in events if event["event"] == "step"), default=None) == step
        assert "ended at step 3 of 30: no better Dice in 2 validations" in [event.get("text") for event in events]


def test_a_run_of_another_fold_is_not_touched(dataset, undisturbed):
    _, run = undisturbed
    with pytest.raises(ParamsError, match="the run of fold 0, not of fold 1"):
        fit(plan_of(dataset), run, fold=1, **QUIET)


def test_cases_without_foreground_are_learnt_from_as_background(tmp_path):
    data = write_dataset(tmp_path / "data", 3)
    plan = plan_of(data, training={"epochs": 1, "steps_per_epoch": 3}, split={"folds": 1})

    def empty(number):
        label = read_volume(data / "label" / f"case_{number}.mha", "label")
        write_volume(label.with_array(np.zeros_like(label.array_zyx)), data / "label" / f"case_{number}.mha")

    for number in (0, 2):
        empty(number)
    fit(plan, tmp_path / "run", **QUIET)
    empty(1)
    with pytest.raises(ParamsError, match="no training case has the class liver, nodule"):
        fit(plan, tmp_path / "other", **QUIET)


def test_a_run_does_not_go_on_with_other_cases(tmp_path):
    data, run = write_dataset(tmp_path / "data", 3), tmp_path / "run"
    with pytest.raises(RuntimeError, match="killed"):
        fit(plan_of(data), run, callbacks=[Weights(kill_at=5)], **QUIET)
    write_dataset(data, 5)
    before = (run / "status.json").read_text()
    with pytest.raises(ParamsError, match=r"begun with other cases to .*case_3"):
        fit(plan_of(data), run, **QUIET)
    assert (run / "status.json").read_text() == before


def test_a_run_goes_on_with_the_voxels_with_which_it_was_begun_alone(tmp_path):
    data, run = write_dataset(tmp_path / "data", 2), tmp_path / "run"
    plan = plan_of(data, training={"epochs": 2, "steps_per_epoch": 1})
    path = data / "label" / "case_1.mha"
    kept = path.read_bytes()
    with pytest.raises(RuntimeError, match="killed"):
        fit(plan, run, callbacks=[Weights(kill_at=1)], **QUIET)
    image = read_volume(data / "image" / "case_0.mha")
    write_volume(image.with_array(image.array_zyx + np.int16(1)), data / "image" / "case_0.mha")
    label = read_volume(path, "label")
    write_volume(label.with_array(np.where(label.array_zyx == 4, 7, label.array_zyx)), path)
    before = (run / "status.json").read_text()
    with pytest.raises(ParamsError, match=r"or changed since the run was begun \(case_0, case_1\); restore"):
        fit(plan, run, **QUIET)
    assert (run / "status.json").read_text() == before
    write_volume(image, data / "image" / "case_0.mha", compression="none")  # the same voxels in another file
    path.write_bytes(kept)
    fit(plan, run, **QUIET)
    write_volume(image.with_array(image.array_zyx + np.int16(1)), data / "image" / "case_0.mha")
    with pytest.raises(ParamsError, match=r"or changed since the run was begun \(case_0\)"):
        fit(plan, run, **QUIET)  # there is nothing left to do, but it is not this data that was learnt from


@pytest.mark.parametrize(
    ("sections", "error", "message"),
    [
        ({"network": {"name": "unett"}}, ModelError, "unett"),
        ({"training": {"loss": "dise"}}, ModelError, "dise"),
        ({"training": {"optimizer": "torch.optim.SGDD"}}, ParamsError, "training.optimizer"),
        ({"training": {"optimizer": "os.system"}}, ParamsError, "expected a class derived from torch.optim"),
        ({"training": {"scheduler": "builtins.print"}}, ParamsError, "expected a class derived from torch.optim.lr_s"),
        ({"training": {"optimizer_options": {"speed": 1}}}, ParamsError, "training.optimizer_options"),
        ({"training": {"scheduler": "cosine"}}, ParamsError, "training.scheduler: expected poly, warmup_cosine"),
        ({"dataset": {"labels": {4: "liver"}}}, CaseError, "case_0: class 7 of the label is not in the plan"),
        (
            {"dataset": {"labels": {4: "liver", 7: "nodule", 9: "cyst"}}},
            ParamsError,
            "no training case has the class cyst",
        ),
        ({"split": {"folds": 9}}, ParamsError, "can't be dealt into 9 folds"),
    ],
)
def test_what_can_not_be_trained_is_refused_before_the_first_step(dataset, tmp_path, sections, error, message):
    with pytest.raises(error, match=message):
        fit(plan_of(dataset, **sections), tmp_path / "run", **QUIET)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_it_learns_a_bright_box(dataset, tmp_path):
    plan = plan_of(
        dataset,
        training={
            "epochs": 4,
            "steps_per_epoch": 25,
            "optimizer": "torch.optim.AdamW",
            "optimizer_options": {},
            "foreground": 0.8,
            "ema": 0.8,
        },
        split={"folds": 1},
        validation={"every": 4},
    )
    model = fit(plan, tmp_path / "run", **QUIET)
    assert read_model(model.path).facts.metrics["classes"]["liver"]["dice"] > 0.6


def test_a_2d_network_learns_from_slices(dataset, tmp_path):
    plan = plan_of(
        dataset,
        training={"patch_size": [1, 16, 16], "epochs": 1, "accumulate": 2, "scheduler": "warmup_cosine"},
    )
    assert SegmentationTask(plan).facts.network.spatial_dims == 2
    model = fit(plan, tmp_path / "run", **QUIET)
    assert read_model(model.path).facts.window_size == (16, 16)


class Second(Callback):
    """Starts the same training once more, while it runs."""

    def __init__(self, plan, run, prepared):
        self.call = plan, run, prepared
        self.message = ""

    def on_train_batch_start(self, trainer, task, batch, index):
        if trainer.global_step == 2:
            plan, run, prepared = self.call
            with pytest.raises(ParamsError) as caught:
                fit(plan, run, prepared=prepared, **QUIET)
            self.message = str(caught.value)


def test_a_second_training_in_the_same_folder_is_refused_and_disturbs_nothing(dataset, undisturbed, tmp_path):
    weights, run = Weights(), tmp_path / "run"
    plan = plan_of(dataset)
    second = Second(plan, run, tmp_path / "prepared")
    fit(plan, run, prepared=tmp_path / "prepared", callbacks=[weights, second], **QUIET)
    assert "another training writes into this folder (process " in second.message
    assert same(weights.after[12], undisturbed[0][12])
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    fit(plan, run, prepared=tmp_path / "prepared", **QUIET)  # it has ended: the folder is free


def test_the_lock_of_a_run_ends_with_its_process_though_a_loader_worker_lives_on(tmp_path):
    lock, again = RunLock(tmp_path), RunLock(tmp_path)
    lock.take()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(writer)
        os.read(reader, 1)  # until the parent closes its end
        os._exit(0)
    try:
        with pytest.raises(ParamsError, match="another training"):
            again.take()
        lock.close()
        again.take()
    finally:
        os.close(writer)
        os.waitpid(child, 0)
        os.close(reader)
        again.close()


class Terminated(Callback):
    """Sends SIGTERM to this process and its loader workers, as the end of a job on a cluster does."""

    def __init__(self, in_validation):
        self.in_validation = in_validation

    def on_train_batch_end(self, trainer, *_):
        if not self.in_validation and trainer.global_step == 2:
            workers = [child.pid for child in multiprocessing.active_children()]
            assert workers
            subprocess.run(["kill", "-TERM", *map(str, [*workers, os.getpid()])], check=True)

    def on_validation_batch_start(self, trainer, task, batch, index, *_):
        if self.in_validation and not index:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(("in_validation", "ends_at"), [(False, 3), (True, 4)])
def test_sigterm_to_all_processes_of_a_job_leaves_a_checkpoint(dataset, tmp_path, in_validation, ends_at):
    plan = plan_of(dataset, training={"workers": 1})
    with pytest.raises(KeyboardInterrupt):
        fit(plan, tmp_path / "run", callbacks=[Terminated(in_validation)], **QUIET)
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "interrupted"
    found = last_checkpoint(tmp_path / "run")
    assert found is not None
    assert found[1]["global_step"] == ends_at
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
