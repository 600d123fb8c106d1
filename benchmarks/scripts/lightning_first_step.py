"""The least that a training with Lightning takes: import it, build a plan's network, and take one step on noise.

Run: python lightning_first_step.py plan.toml
"""

import os
import sys
from pathlib import Path

import lightning.pytorch as pl
import tomllib
import torch

from itkit.models import create_model


class Task(pl.LightningModule):
    def __init__(self, plan):
        super().__init__()
        data, network = plan["dataset"], plan["network"]
        channels, classes = len(data["channels"]), len(data["labels"]) + 1
        self.network = create_model(network["name"], in_channels=channels, num_classes=classes, **network["options"])
        self.sizes = (plan["training"]["batch_size"], channels, *plan["training"]["patch_size"])

    def training_step(self, batch, _index):
        output = self.network(batch[0])
        output = output[0] if isinstance(output, list | tuple) else output
        return torch.nn.functional.cross_entropy(output, torch.zeros(len(output), *self.sizes[2:], dtype=torch.int64))

    def on_train_batch_end(self, *_):
        os._exit(0)  # what comes later is not measured on the other side either

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.rand(self.sizes)), self.sizes[0])


if __name__ == "__main__":
    task = Task(tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    pl.Trainer(max_steps=1, accelerator="cpu", devices=1, **off).fit(task)
