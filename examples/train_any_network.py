"""Any network on a dataset, without a framework. Run it in an empty folder: ``python train_any_network.py``.

The network is a handful of lines of your own; ``itkit.models.create_model`` gives published ones. Its 60 steps take a
minute on a CPU; liver and bladder are then outlined roughly.
"""

# %% Data: one orientation and one spacing; not compressed, so that a patch is read without the rest
import os
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

import itkit
from itkit.cli.demo import write_torso_dataset
from itkit.criterion import create_loss
from itkit.dataset.folder import DatasetFolder
from itkit.metrics import evaluate
from itkit.models import ModelCard, create_model, register_model
from itkit.models.windows import SlidingWindow

CLASSES = ("liver", "urinary_bladder")
PATCH_ZYX, BATCH = (16, 48, 48), 4
STEPS = int(os.environ.get("STEPS", "60"))

write_torso_dataset(Path("raw"))
itkit.resample_dataset("raw", "ready", "dataset", orient="LPS", spacing=(6, 4, 4), compression="none")


# %% A network of your own: it gets the padding to any size, and the sliding window, from its card
@register_model(ModelCard(name="tiny_net", spatial_dims=(3,), divisor=2))
def tiny_net(in_channels, num_classes, spatial_dims, width=12):
    """Build two levels with one shortcut."""
    assert spatial_dims == 3

    def block(inside, outside, stride=1):
        return nn.Sequential(
            nn.Conv3d(inside, outside, 3, stride, padding=1), nn.InstanceNorm3d(outside, affine=True), nn.LeakyReLU()
        )

    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Sequential(block(in_channels, width), block(width, width))
            self.second = nn.Sequential(block(width, 2 * width, 2), block(2 * width, 2 * width))
            self.up = nn.ConvTranspose3d(2 * width, width, 2, 2)
            self.last = nn.Sequential(block(2 * width, width), nn.Conv3d(width, num_classes, 1))

        def forward(self, image):
            fine = self.first(image)
            return self.last(torch.cat([fine, self.up(self.second(fine))], 1))

    return Tiny()


torch.manual_seed(0)
network = create_model("tiny_net", in_channels=1, num_classes=len(CLASSES) + 1, spatial_dims=3)
print(f"{sum(one.numel() for one in network.parameters()):,} parameters")


# %% Patches: two of three hold a labelled voxel in their middle, all classes equally often
def scaled(image):
    """Return Hounsfield units of soft tissue as numbers about 0."""
    return torch.from_numpy(image.astype("float32")).clamp(-160, 240) / 100


def collate(samples):
    """Return a batch: images (N, C, Z, Y, X), labels (N, Z, Y, X)."""
    images = torch.stack([scaled(sample.image) for sample in samples])
    return images, torch.stack([torch.from_numpy(sample.label) for sample in samples])


data = DatasetFolder("ready", classes=CLASSES)
per_case = -(-STEPS * BATCH // len(data.cases))
patches = data.patches(PATCH_ZYX, per_case=per_case, foreground=0.67, seed=0)

# %% Train
loss_of = create_loss("dice_ce", batch=True)
optimizer = torch.optim.AdamW(network.parameters(), lr=0.003)
for step, (images, labels) in enumerate(
    DataLoader(patches, BATCH, shuffle=True, drop_last=True, collate_fn=collate, generator=torch.Generator())
):
    loss = loss_of(network.train()(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(f"step {step}: loss {loss.item():.3f}")

# %% Apply it to a whole volume, and measure; on the case that it has learnt from, as there is one patient only
windows = SlidingWindow(patch_size=PATCH_ZYX, overlap=0.25, batch=4)
case = data.volumes()[0]
with torch.no_grad():
    found = windows.labels(network.eval(), scaled(case.image)[None])[0].numpy()
scores = evaluate(case.label, found, spacing_zyx=case.geometry.spacing_zyx, metrics=["dice"])
dice = {name: round(scores[value]["dice"], 2) for value, name in enumerate(CLASSES, 1)}
print(dice)
assert STEPS < 60 or dice["liver"] > 0.6
