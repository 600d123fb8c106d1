"""Hooks, loop, collate function and optimisers in one process, each against what MMEngine itself does."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler, pseudo_collate
from mmengine.hooks import Hook, LoggerHook
from mmengine.hooks import RuntimeInfoHook as PlainRuntimeInfoHook
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import HOOKS, LOOPS
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.structures import BaseDataElement
from torch import nn

from itkit.core.errors import ArgumentError, ModelError
from itkit.mm.mmeng_PlugIn import (
    IterBasedTrainLoop_SupportProfiler,
    LoggerJSON,
    RuntimeInfoHook,
    mgam_OptimWrapperConstructor,
    multi_sample_collate,
)
from mm.tiny import TinyData, TinyMetric, TinyModel


def make_runner(folder, name, *, max_iters=6, loop=IterBasedTrainLoop, hooks=None, metric=TinyMetric, **more):
    data = dict(batch_size=2, num_workers=0, dataset=dict(type=TinyData))
    test = dict(
        batch_size=1, num_workers=0, dataset=dict(type=TinyData), sampler=dict(type=DefaultSampler, shuffle=False)
    )
    settings = dict(
        model=dict(type=TinyModel),
        work_dir=str(folder),
        experiment_name=name,
        train_dataloader=dict(sampler=dict(type=InfiniteSampler, seed=1), **data),
        train_cfg=dict(type=loop, max_iters=max_iters),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        test_dataloader=test,
        test_cfg=dict(),
        test_evaluator=dict(type=metric),
        default_hooks=hooks or {},
        log_processor=dict(by_epoch=False),
        randomness=dict(seed=1),
    )
    loop_more = more.pop("loop_more", {})
    settings["train_cfg"] |= loop_more
    return Runner(**{**settings, **more})


# the profiler


def test_profiled_iterations_leave_traces_and_training_goes_on(tmp_path):
    schedule = dict(wait=1, warmup=1, active=1, repeat=1)
    runner = make_runner(
        tmp_path, "profile", loop=IterBasedTrainLoop_SupportProfiler,
        loop_more=dict(profiler=dict(schedule=schedule, out_dir="traces", activities=["cpu"])),
    )  # fmt: skip
    runner.train()
    assert runner.iter == 6
    assert sorted(path.name for path in (tmp_path / "traces").iterdir()) == ["rank0_0.pt.trace.json", "rank0_0.txt"]
    assert json.loads((tmp_path / "traces/rank0_0.pt.trace.json").read_text())["traceEvents"]
    assert "Self CPU" in (tmp_path / "traces/rank0_0.txt").read_text()
    plain = make_runner(tmp_path, "plain")
    plain.train()
    assert torch.equal(plain.model.linear.weight, runner.model.linear.weight)
    with pytest.raises(TypeError, match="profiler"):  # MMEngine's own loop has none
        make_runner(tmp_path, "theirs", loop_more=dict(profiler=dict())).train()


@pytest.mark.parametrize("profiler", [{"plan": {}}, {"schedule": {"often": 1}}, {"activities": ["tpu"]}])
def test_an_unknown_setting_of_the_profiler_is_named(tmp_path, profiler):
    with pytest.raises(ArgumentError, match="profiler"):
        make_runner(
            tmp_path, f"wrong{profiler}", loop=IterBasedTrainLoop_SupportProfiler, loop_more={"profiler": profiler}
        ).train()


# metrics as JSON


class Odd(TinyMetric):
    given = {
        "single": np.float32(0.25),
        "double": np.float64(0.5),
        "nothing": None,
        "nan": float("nan"),
        "array": np.array([[1.0, np.inf]], np.float32),
        "tensor": torch.tensor([1, 2]),
        "half": torch.tensor(0.5, dtype=torch.bfloat16),
        "nested": {"a": [np.int64(3)]},
    }

    def compute_metrics(self, results):
        return copy.deepcopy(self.given)


def test_metrics_of_a_test_become_one_strict_json_that_names_its_checkpoint(tmp_path):
    torch.save({"state_dict": TinyModel().state_dict()}, tmp_path / "some.pth")
    runner = make_runner(
        tmp_path, "json", hooks=dict(logger=dict(type=LoggerJSON)), metric=Odd, load_from=str(tmp_path / "some.pth")
    )
    kept = []
    runner.register_hook(Keep(kept), priority="LOWEST")
    runner.test()
    (path,) = tmp_path.glob("test_*.json")

    def refuse(constant):
        raise AssertionError(constant)

    found = json.loads(path.read_text(), parse_constant=refuse)
    assert found["checkpoint"] == str(tmp_path / "some.pth")
    assert "config" in found
    assert found["metrics"] == {
        "single": 0.25, "double": 0.5, "nothing": None, "nan": None, "array": [[1.0, None]], "tensor": [1, 2],
        "half": 0.5, "nested": {"a": [3]},
    }  # fmt: skip
    assert type(kept[0]["single"]) is np.float32
    assert math.isnan(kept[0]["nan"])
    assert list(kept[0]) == list(Odd.given)


class Keep(Hook):
    def __init__(self, kept):
        self.kept = kept

    def after_test_epoch(self, runner, metrics=None):
        self.kept.append(metrics)


def test_mmengine_itself_writes_no_strict_json(tmp_path):
    runner = make_runner(tmp_path, "theirs_json", hooks=dict(logger=dict(type=LoggerHook)), metric=Odd)
    runner.test()
    (path,) = tmp_path.glob("*/*.json")
    assert "NaN" in path.read_text()


# extreme values


def test_extreme_and_odd_outputs_are_shown_recorded_and_never_end_a_training(tmp_path):
    hook = RuntimeInfoHook(interval=2)
    runner = make_runner(tmp_path, "extreme", hooks=dict(runtime_info=hook))
    outputs = {"loss": torch.tensor(2e-9), "loss_b": float("nan"), "loss_c": torch.tensor(float("inf")), "text": "x",
               "many": torch.arange(3), "none": None, "loss_d": 3.5e12, "loss_e": np.array([1.0])}  # fmt: skip
    runner.model.train_step = lambda *_, **__: outputs
    runner.train()
    hub = runner.message_hub
    assert hub.get_info("train/many") == [0, 1, 2]
    assert hub.get_scalar("train/loss_d").current() == 3.5e12
    found = json.loads((tmp_path / "extreme_values.json").read_text())
    assert found["loss: very small"] == {"first": 1, "count": 6, "last": 6, "value": "2e-09"}
    assert found["loss_b: nan"]["value"] == "nan"
    assert found["loss_c: infinite"]["value"] == "inf"
    assert "loss_e: very large" not in found
    text = "".join(path.read_text() for path in tmp_path.glob("*/*.log"))
    assert text.count("loss is very small: 2e-09") == 3
    theirs = make_runner(tmp_path, "theirs_extreme", hooks=dict(runtime_info=PlainRuntimeInfoHook()))
    theirs.model.train_step = lambda *_, **__: outputs
    with pytest.raises(AssertionError):
        theirs.train()


@pytest.mark.parametrize("rate", [1e-300, 1e30, 0.0, float("nan")])
def test_extreme_learning_rates_are_recorded(tmp_path, rate):
    hook = RuntimeInfoHook()
    runner = make_runner(tmp_path, f"rate{rate}", hooks=dict(runtime_info=hook), max_iters=2,
                         optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)))  # fmt: skip
    runner.model.train_step = lambda *_, **__: {"loss": 1.0}
    runner.register_hook(SetRate(rate), priority="HIGHEST")
    runner.train()
    assert bool(hook.found) == (rate != 0)
    assert (tmp_path / "extreme_values.json").is_file() == (rate != 0)


class SetRate(Hook):
    priority = "HIGHEST"

    def __init__(self, rate):
        self.rate = rate

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for group in runner.optim_wrapper.param_groups:
            group["lr"] = self.rate


def test_a_training_can_end_at_nan(tmp_path):
    runner = make_runner(tmp_path, "stop", hooks=dict(runtime_info=RuntimeInfoHook(stop_on_nan=True)))
    runner.model.fails = "nan"
    with pytest.raises(ModelError, match=r"iteration 1: loss is nan"):
        runner.train()
    assert (tmp_path / "extreme_values.json").is_file()


def test_names_of_mmengine_stay_mmengines():
    assert HOOKS.get("RuntimeInfoHook") is PlainRuntimeInfoHook
    assert HOOKS.get("ReadableRuntimeInfoHook") is RuntimeInfoHook
    assert LOOPS.get("IterBasedTrainLoop") is IterBasedTrainLoop


# batches


def sample(number):
    return {"inputs": torch.full((1, 2), number), "data_samples": BaseDataElement(metainfo={"number": number})}


@pytest.mark.parametrize(
    "items",
    [
        [[sample(0), sample(1)], [sample(2), sample(3)]],
        [[sample(0)], [sample(1), [sample(2), sample(3)]]],
        [sample(0), [sample(1), sample(2), sample(3)]],
        [
            {"inputs": [sample(0)["inputs"], sample(1)["inputs"]],
             "data_samples": [[sample(0)["data_samples"]], [sample(1)["data_samples"]]]},
            [sample(2), sample(3)],
        ],
    ],
)  # fmt: skip
def test_all_samples_of_all_items_make_one_flat_batch(items):
    batch = multi_sample_collate(items)
    assert [int(each[0, 0]) for each in batch["inputs"]] == [0, 1, 2, 3]
    assert [each.number for each in batch["data_samples"]] == [0, 1, 2, 3]


def test_mmengine_itself_mixes_samples_of_items_up():
    batch = pseudo_collate([[sample(0), sample(1)], [sample(2), sample(3)]])
    assert isinstance(batch, list)
    assert [int(each[0, 0]) for each in batch[0]["inputs"]] == [0, 2]


@pytest.mark.parametrize(
    "items",
    [
        [],
        [3],
        [{"inputs": [1, 2], "data_samples": [1]}],
        [{"inputs": [1, 2], "data_samples": 1}],
        [sample(0), {"inputs": torch.zeros(1)}],
    ],
)
def test_items_that_do_not_fit_are_refused(items):
    with pytest.raises(ArgumentError, match="multi_sample_collate"):
        multi_sample_collate(items)


# optimisers


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.head = nn.Linear(2, 2), nn.Linear(2, 1)
        self.backbone.requires_grad_(False)


@pytest.mark.parametrize("paramwise", [None, {"bias_lr_mult": 2.0}, {"custom_keys": {"head": {"lr_mult": 0.5}}}])
def test_only_parameters_that_learn_reach_the_optimiser_and_the_model_stays(paramwise):
    model = Frozen()
    before = [(name, parameter, parameter.requires_grad) for name, parameter in model.named_parameters()]
    settings = {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}}
    wrapper = mgam_OptimWrapperConstructor(copy.deepcopy(settings), paramwise)(model)
    inside = {id(parameter) for group in wrapper.optimizer.param_groups for parameter in group["params"]}
    assert inside == {id(parameter) for parameter in model.head.parameters()}
    after = [(name, parameter, parameter.requires_grad) for name, parameter in model.named_parameters()]
    assert all(a[0] == b[0] and a[1] is b[1] and a[2] == b[2] for a, b in zip(before, after, strict=True))
    if paramwise is None:
        theirs = DefaultOptimWrapperConstructor(copy.deepcopy(settings))(model)
        assert len(theirs.param_groups[0]["params"]) == 4  # MMEngine's takes the frozen ones, too
    else:
        expected = {0.1, 0.2} if "bias_lr_mult" in paramwise else {0.05}
        assert {group["lr"] for group in wrapper.optimizer.param_groups} == expected


def test_a_model_without_anything_to_learn_is_refused():
    model = Frozen().requires_grad_(False)
    with pytest.raises(ModelError, match="nothing to learn"):
        mgam_OptimWrapperConstructor({"optimizer": {"type": "SGD", "lr": 0.1}})(model)
