"""Checks that run in two processes; each writes what it found to ``rank<R>.pt``."""

import os
import sys
from contextlib import suppress
from pathlib import Path

import torch
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import CheckpointHook
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.runner import FlexibleRunner
from torch import distributed, nn
from torch.distributed.tensor import DTensor
from torch.utils.data import Dataset

from itkit.core.errors import ModelError
from itkit.mm.metrics import Seg3DMetric
from itkit.mm.mmeng_PlugIn import LocalCheckpointsHook, RandomStateHook, RemasteredDDP, RemasteredFSDP
from itkit.mm.structures import Seg3DDataSample, VolumeData

STEPS = 3


class Net(BaseModel):
    label_names = "mine"

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.backbone = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        self.classes = 3

    def forward(self, inputs, data_samples=None, mode="tensor"):
        found = self.backbone(torch.stack(list(inputs)))
        return {"loss": (found - torch.stack(list(data_samples))).pow(2).mean()} if mode == "loss" else found

    def loss_of(self, data):
        return self(**data, mode="loss")["loss"]


class Custom(Net):
    """Its own training step: the loss three times as large, and a look at the tensor in between."""

    def train_step(self, data, optim_wrapper):
        data = self.data_preprocessor(data, True)
        with optim_wrapper.optim_context(self):
            loss = 3 * self._run_forward(data, mode="loss")["loss"]
        optim_wrapper.update_params(loss)
        return {"loss": loss.detach()}


class Bypass(Net):
    def train_step(self, data, optim_wrapper):
        loss = self.backbone(torch.stack(list(data["inputs"]))).mean()
        optim_wrapper.update_params(loss)
        return {"loss": loss}


class Data(Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, number):
        generator = torch.Generator().manual_seed(number)
        x = torch.randn(4, generator=generator)
        return {"inputs": x, "data_samples": x.sum()[None]}


def batch(numbers):
    items = [Data()[number] for number in numbers]
    return {key: [item[key] for item in items] for key in items[0]}


def steps(model, kind, wrapped, numbers):
    wrapper = OptimWrapper(torch.optim.SGD(wrapped.parameters(), lr=0.1, momentum=0.9))
    for step in range(STEPS):
        data = batch(numbers(step))
        if kind == "method":
            wrapper.update_params(wrapped.loss_of(data))
        else:
            wrapped.train_step(data, wrapper)
    return model


def alone(kind):
    model = Custom() if kind == "custom" else Net()
    return dict(steps(model, kind, model, lambda step: range(4 * step, 4 * step + 4)).state_dict())


def own_share(step):
    first = 4 * step + 2 * int(os.environ["RANK"])
    return range(first, first + 2)


def message(call):
    try:
        call()
    except (AttributeError, ModelError) as error:
        return str(error)
    return "no error"


def check_ddp():
    found = {}
    for kind in ("default", "custom", "method"):
        model = Custom() if kind == "custom" else Net()
        steps(model, kind, RemasteredDDP(model, device_ids=[0]), own_share)
        found[kind] = dict(model.state_dict())
    theirs = Custom()
    steps(theirs, "custom", MMDistributedDataParallel(theirs), own_share)
    found["theirs_custom"] = dict(theirs.state_dict())
    wrapped = RemasteredDDP(Net())
    found["attributes"] = (wrapped.label_names, wrapped.classes)
    found["unknown"] = message(lambda: wrapped.nowhere)
    found["theirs"] = message(lambda: MMDistributedDataParallel(Net()).label_names)
    bypass = Bypass()
    found["bypass"] = message(lambda: steps(bypass, "default", RemasteredDDP(bypass), own_share))
    return found


def check_fsdp():
    found = {}
    for kind in ("default", "custom"):
        model = Custom() if kind == "custom" else Net()
        wrapped = RemasteredFSDP(model)
        steps(model, kind, wrapped, own_share)
        state = model.state_dict()
        found[kind] = {key: value.full_tensor() for key, value in state.items()}
        assert all(isinstance(value, DTensor) for value in state.values())
        found["local"] = sum(value.to_local().numel() for value in state.values())
        found["all"] = sum(value.numel() for value in state.values())
        found["attributes"] = (wrapped.label_names, wrapped.classes)
    return found


class StopError(Exception):
    pass


class Stopping(Net):
    """With dropout, whose random numbers differ between processes."""

    stop_at = None

    def forward(self, inputs, data_samples=None, mode="tensor"):
        return super().forward(nn.functional.dropout(torch.stack(list(inputs)), 0.5), data_samples, mode)

    def train_step(self, data, optim_wrapper):
        Stopping.stop_at = None if Stopping.stop_at is None else Stopping.stop_at - 1
        if Stopping.stop_at == 0:
            raise StopError
        return super().train_step(data, optim_wrapper)


def train(folder, **more):
    runner = FlexibleRunner(
        model=Stopping(),
        work_dir=str(folder),
        experiment_name=f"{folder.name}{len(more)}",
        strategy=dict(type="RemasteredFSDP_Strategy", model_wrapper=dict(shard_modules=["Linear"])),
        train_dataloader=dict(
            batch_size=2, num_workers=0, dataset=dict(type=Data), sampler=dict(type=InfiniteSampler, seed=1)
        ),
        train_cfg=dict(by_epoch=False, max_iters=6),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9)),
        param_scheduler=dict(type="PolyLR", by_epoch=False),
        default_hooks=dict(checkpoint=dict(type=CheckpointHook, by_epoch=False, interval=2)),
        custom_hooks=[dict(type=LocalCheckpointsHook), dict(type=RandomStateHook)],
        log_processor=dict(by_epoch=False),
        launcher="pytorch",
        randomness=dict(seed=3),
        **more,
    )
    runner.train()
    return runner.iter, type(runner.model).__name__


def check_strategy(folder):
    whole = train(folder / "whole")
    Stopping.stop_at = 6
    with suppress(StopError):
        train(folder / "broken")
    assert not (folder / "broken/iter_6.pth").exists()
    Stopping.stop_at = None
    assert train(folder / "broken", load_from=str(folder / "broken/iter_4.pth"), resume=True) == whole
    return whole


def check_metric():
    """Three cases on two ranks: the copy of a case that fills the last turn does not count."""
    rank, metric = int(os.environ["RANK"]), Seg3DMetric(num_classes=3)
    for number in ((0, 2), (1, 0))[rank]:
        metric.process({}, [segmented(number)])
    return metric.evaluate(3)


def segmented(number):
    generator = torch.Generator().manual_seed(number)
    sample = Seg3DDataSample()
    for name in ("gt_sem_seg", "pred_sem_seg"):
        setattr(sample, name, VolumeData(data=torch.randint(0, 3, (3, 4, 5), generator=generator)))
    return sample


def main(folder):
    distributed.init_process_group("gloo")
    found = {"metric": check_metric(), "ddp": check_ddp(), "fsdp": check_fsdp(), "strategy": check_strategy(folder)}
    torch.save(found, folder / f"rank{os.environ['RANK']}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
