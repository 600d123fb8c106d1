"""Two small cases of noise with a bright box, in ITKIT's layout."""

import numpy as np

from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import write_volume


def write_cases(root):
    """Write two cases of noise with a bright box."""
    for number in range(2):
        rng = np.random.default_rng(number)
        label = np.zeros((48, 64, 64), np.uint8)
        label[10:30, 12:40, 20:50] = 1
        image = rng.normal(0, 100, label.shape).astype(np.int16) + 300 * label.astype(np.int16)
        for part, array, kind in (("image", image, "image"), ("label", label, "label")):
            (root / part).mkdir(parents=True, exist_ok=True)
            write_volume(Volume(array, Geometry(label.shape, (1.0, 1.0, 1.0)), kind), root / part / f"c{number}.mha")
