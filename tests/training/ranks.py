"""Train with several processes, and keep the weights of each one after each step: ``python ranks.py RUN DATASET …``."""

import sys
from pathlib import Path

import torch
from lightning.pytorch import Callback

from itkit.lightning import fit
from itkit.lightning.machines import strategy_of
from itkit.training.plan_file import read_plan


class Keep(Callback):
    """Write the whole weights after each step, by process."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_end(self, trainer, task, *_):
        weights = {
            name: (value.full_tensor() if hasattr(value, "full_tensor") else value).detach().clone()
            for name, value in task.network.state_dict().items()
        }
        torch.save(weights, self.folder / f"{trainer.global_step}-{trainer.global_rank}.pt")


if __name__ == "__main__":
    plan, run, devices, strategy = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    values = sys.argv[5:]
    torch.set_num_threads(1)
    run.parent.mkdir(parents=True, exist_ok=True)
    fit(
        read_plan(plan, values),
        run,
        base=plan.parent,
        accelerator="cpu",
        devices=devices,
        strategy=strategy_of(strategy, devices),
        callbacks=[Keep(run.parent)],
        enable_progress_bar=False,
    )
