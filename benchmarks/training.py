"""A training step of `itkit.lightning.fit` beside a bare PyTorch loop with the same network, patches and batch.

``python benchmarks/training.py [--steps 40] [--rounds 3]`` prints CPU seconds a step of both, in turns, and their ratio.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from lightning.pytorch import Callback
from scripts.make_boxes import write_cases
from torch.utils.data import default_collate

from itkit.dataset.folder import DatasetFolder
from itkit.lightning import SegmentationTask, fit
from itkit.training.augmenting import Augmentation
from itkit.training.optimising import make_optimizer
from itkit.training.patches import TrainingPatches
from itkit.training.plan_file import make_plan
from itkit.training.prepared import PreparedFolder

WARM = 3


def plan_of(root, steps):
    return make_plan(
        {
            "dataset": {"path": str(root), "channels": ["CT"], "labels": {1: "box"}},
            "preprocess": {"spacing": [1, 1, 1]},
            "network": {"name": "unet", "options": {"strides": [1, 2, 2], "features_per_stage": [8, 16, 32]}},
            "training": {"patch_size": [32, 32, 32], "epochs": 1, "steps_per_epoch": steps + WARM, "workers": 0},
            "split": {"folds": 1},
        }
    )


class Clock(Callback):
    """Notes the CPU time when the warm steps are done, and after the last step."""

    def __init__(self, steps):
        self.steps, self.begin, self.end = steps, 0.0, 0.0

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == WARM:
            self.begin = time.process_time()
        if trainer.global_step == WARM + self.steps:
            self.end = time.process_time()


def ours(plan, root, steps):
    clock = Clock(steps)
    with tempfile.TemporaryDirectory(dir=root) as folder:
        fit(
            plan,
            Path(folder) / "run",
            prepared=root / "prepared",
            accelerator="cpu",
            callbacks=[clock],
            on_event=lambda _: None,
            enable_progress_bar=False,
            limit_val_batches=1,
        )
    return (clock.end - clock.begin) / steps


def bare(plan, root, steps):
    torch.manual_seed(0)
    folder = PreparedFolder(root / "prepared", plan)
    cases = [folder.prepare(case) for case in DatasetFolder(root / "ct").cases]
    training = plan.training
    patches = TrainingPatches(cases, training.patch_size, 1 << 40, augmentation=Augmentation(plan.augment))
    task = SegmentationTask(plan)
    network, loss_of = task.network.train(), task.loss
    optimizer = make_optimizer(training, network.parameters())
    begin = 0.0
    for step in range(steps + WARM):
        if step == WARM:
            begin = time.process_time()
        first = step * training.batch_size
        batch = default_collate([patches[number] for number in range(first, first + training.batch_size)])
        optimizer.zero_grad()
        loss = loss_of(network(batch["image"]), batch["label"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), training.clip)
        optimizer.step()
        loss.item()
    return (time.process_time() - begin) / steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_cases(root / "ct")
        plan = plan_of(root / "ct", arguments.steps)
        rows = []
        for _ in range(arguments.rounds):
            rows.append((bare(plan, root, arguments.steps), ours(plan, root, arguments.steps)))
            sys.stdout.write(f"bare {rows[-1][0]:.4f} s, itkit {rows[-1][1]:.4f} s a step\n")
        ratio = statistics.median(b for _, b in rows) / statistics.median(a for a, _ in rows)
        sys.stdout.write(f"itkit / bare: {ratio:.3f}\n")


if __name__ == "__main__":
    main()
