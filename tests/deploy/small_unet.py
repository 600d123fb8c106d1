"""A small U-Net as training would leave it: it finds the organs of the CT of a torso by their intensities, roughly."""

import torch

from itkit.inference import ModelFacts, write_model
from itkit.inference.model_folder import Intensity, NetworkFacts
from itkit.models import create_model

OPTIONS = {"strides": (1, 2), "features_per_stage": (4, 6), "n_conv_per_stage": 1, "n_conv_per_stage_decoder": 1}
LABELS = {1: "fat", 5: "soft tissue", 7: "bone"}
CT = Intensity(scheme="ct", low=-1024, high=1500, mean=-200, sd=400)


def write_small_unet(folder, patch=(16, 24, 20), **changes):
    torch.manual_seed(3)
    channels = len(changes.get("channels", ("CT",)))
    network = create_model("unet", num_classes=4, in_channels=channels, **OPTIONS).eval()
    facts = ModelFacts(
        **{
            "network": NetworkFacts(name="unet", options=OPTIONS, in_channels=channels, num_classes=4),
            "channels": ("CT",),
            "labels": LABELS,
            "spacing": (-1, -1, -1),
            "intensity": CT,
            "patch_size": patch,
            "licence": "CC0-1.0",
            **changes,
        }
    )
    return write_model(folder, facts, network)
