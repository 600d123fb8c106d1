"""A dataset of a few small cases to train on."""

import numpy as np

from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import write_volume

CT = {"scheme": "ct", "low": -500, "high": 500, "mean": 0, "sd": 100}


def phantom(number, size=(20, 24, 28)):
    """Noise in which two classes are brighter: a box (4), and one voxel (7)."""
    rng = np.random.default_rng(number)
    grid = Geometry(size, (2.0, 1.0, 1.0), (5.0, -3.0, 2.0))
    label = np.zeros(size, np.uint8)
    label[2:6, 3:9, 20:26] = 4
    label[14 + number % 3, 18, 5] = 7
    image = rng.integers(-400, 400, size, dtype=np.int16) + np.where(label > 0, 300, 0).astype(np.int16)
    return Volume(image, grid), Volume(label, grid, "label")


def write_dataset(root, count=3):
    for number in range(count):
        image, label = phantom(number)
        for part, volume in (("image", image), ("label", label)):
            (root / part).mkdir(parents=True, exist_ok=True)
            write_volume(volume, root / part / f"case_{number}.mha")
    return root
