"""Networks whose answer is known: each voxel gets the class whose centre its intensity is closest to."""

import torch
from torch import nn

from itkit.inference import ModelFacts, write_model
from itkit.inference.model_folder import Intensity, NetworkFacts
from itkit.models import register_model
from itkit.models.card import ModelCard

CT = Intensity(scheme="ct", low=-1024, high=3000, mean=0, sd=100)


class Thresholds(nn.Module):
    """Logits ``c·x - c²/2`` for each centre c, the largest of which belongs to the closest centre; linear in x."""

    def __init__(self, classes, channels, dims):
        super().__init__()
        self.dims = dims
        self.centres = nn.Parameter(torch.arange(classes).float())
        self.of = nn.Parameter(torch.eye(channels)[0])

    def forward(self, image):
        shape = (1, -1, *[1] * self.dims)
        value = (image * self.of.reshape(shape)).sum(1, keepdim=True)
        centres = self.centres.reshape(shape)
        return centres * value - centres**2 / 2


@register_model(ModelCard(name="thresholds_of_tests", spatial_dims=(3, 2), divisor=1))
def build(in_channels, num_classes, spatial_dims):
    return Thresholds(num_classes, in_channels, spatial_dims)


def write_thresholds(folder, centres_hu, *, values=None, channels=("CT",), of=None, dims=3, **changes):
    """Write a model that finds classes by the intensities ``centres_hu``; the first one is background."""
    network = build(len(channels), len(centres_hu), dims)
    with torch.no_grad():
        network.centres.copy_(torch.tensor(centres_hu) / 100)
        if of is not None:
            network.of.copy_(torch.tensor([float(name == of) for name in channels]))
    labels = {value: f"class {value}" for value in values or range(1, len(centres_hu))}
    facts = ModelFacts(
        **{
            "network": NetworkFacts(
                name="thresholds_of_tests",
                in_channels=len(channels),
                num_classes=len(centres_hu),
                spatial_dims=dims,
            ),
            "channels": channels,
            "labels": labels,
            "spacing": (-1, -1, -1),
            "intensity": CT,
            "patch_size": (16, 24, 20) if dims == 3 else (1, 24, 20),
            **changes,
        }
    )
    return write_model(folder, facts, network)


def closest(array, centres_hu, values=None):
    """The expected label map."""
    centres = torch.tensor(centres_hu, dtype=torch.float64)
    number = (torch.from_numpy(array.astype("float64"))[..., None] - centres).abs().argmin(-1).numpy()
    return torch.tensor([0, *(values or range(1, len(centres_hu)))]).numpy()[number]
