"""A model, data and a metric that train in a moment, for configurations of MMEngine."""

import os
import signal
from pathlib import Path

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset

CONFIG = """
from mmengine.config import read_base

with read_base():
    from .mgam import *  # noqa: F403
{more}
"""
SHARED = """
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.optim import OptimWrapper
from mmengine.runner import IterBasedTrainLoop, TestLoop, ValLoop
from mm.tiny import TinyData, TinyMetric, TinyModel
from torch.optim import SGD

model = dict(type=TinyModel)
_data = dict(type=TinyData)
train_dataloader = dict(batch_size=2, num_workers=0, sampler=dict(type=InfiniteSampler, seed=3), dataset=_data)
val_dataloader = dict(batch_size=1, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=False), dataset=_data)
test_dataloader = val_dataloader
train_cfg = dict(type=IterBasedTrainLoop, max_iters=6, val_interval=2)
val_cfg = dict(type=ValLoop)
test_cfg = dict(type=TestLoop)
val_evaluator = dict(type=TinyMetric)
test_evaluator = val_evaluator
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.1, momentum=0.9))
default_hooks = dict(
    logger=dict(type=LoggerHook, interval=1),
    checkpoint=dict(type=CheckpointHook, by_epoch=False, interval=2, max_keep_ckpts=2, save_best="error", rule="less"),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=5)
"""


class TinyData(Dataset):
    def __init__(self, count=8):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        x = torch.linspace(-1, 1, 4) * (number + 1)
        return {"inputs": x, "data_samples": x.sum()[None] + 1}


class TinyModel(BaseModel):
    """A linear function behind dropout; ``fails`` names what goes wrong, in the 4th step."""

    def __init__(self, fails="", marker="", sizes=(1, 2), parts=(), drop=0.5, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.linear = nn.Linear(4, 1)
        self.dropout = nn.Dropout(drop)
        self.fails, self.marker, self.sizes, self.parts = fails, marker, sizes, parts
        self.steps = 0
        self.dtypes = set()

    def forward(self, inputs, data_samples=None, mode="tensor"):
        inputs, wanted = torch.stack(list(inputs)), torch.stack(list(data_samples))
        found = self.linear(self.dropout(inputs))
        self.dtypes.add(found.dtype)
        if mode != "loss":
            return found if mode == "tensor" else [{"error": (found - wanted).abs().mean().item()}]
        self.steps += 1
        if self.steps == 4 and not (self.marker and Path(self.marker).exists()):
            if self.marker:
                Path(self.marker).write_text("failed")
            if self.fails == "raise":
                raise RuntimeError("out of ideas")
            if self.fails == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fails == "interrupt":
                raise KeyboardInterrupt
        loss = (found - wanted).pow(2).mean() * 1e-3
        return {"loss": loss * float("nan") if self.fails == "nan" else loss}


class TinyMetric(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += [sample["error"] for sample in data_samples]

    def compute_metrics(self, results):
        return {"error": sum(results) / len(results)}


def write_tree(root, experiment="0.1.Tiny", models=("one",), more=""):
    """Write an experiment; ``more`` is what its models have beside the shared part."""
    folder = root / experiment
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mgam.py").write_text(SHARED)
    for model in models:
        (folder / f"{model}.py").write_text(CONFIG.format(more=more))
    return folder


class DumpHook(Hook):
    """Write the weights of every process at the end."""

    def after_train(self, runner):
        model = getattr(runner.model, "module", runner.model)
        torch.save(model.state_dict(), Path(runner.work_dir) / f"rank{runner.rank}.pt")
