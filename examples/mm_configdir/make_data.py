"""Write a small dataset to learn from: ``python make_data.py FOLDER [CASES]``.

Each case is a noisy volume with a bright ball (class 1) and a dark box (class 2) on an anisotropic grid.
"""

import json
import sys
from pathlib import Path

import numpy as np

from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import write_volume

SIZE, SPACING = (20, 32, 28), (2.0, 1.0, 1.0)


def make_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return image and label of a case."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(SIZE) * np.reshape(SPACING, (3, 1, 1, 1))
    centre = rng.uniform((12, 8, 8), (26, 22, 14))
    label = np.zeros(SIZE, np.uint8)
    label[(z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < 7**2] = 1
    z0, y0 = rng.integers((3, 3), (12, 18))
    label[z0 : z0 + 5, y0 : y0 + 10, 20:26] = 2
    image = rng.normal(0, 20, SIZE) + np.array([0, 120, -120])[label]
    return image.round().astype(np.int16), label


def main(root: Path, cases: int = 6) -> None:
    """Write the dataset, with its names and its splits."""
    grid = Geometry(SIZE, SPACING)
    names = [f"phantom_{number:02d}" for number in range(cases)]
    for number, name in enumerate(names):
        image, label = make_case(number)
        write_volume(Volume(image, grid), root / "image" / f"{name}.mha")
        write_volume(Volume(label, grid), root / "label" / f"{name}.mha")
    described = {"channels": ["CT"], "labels": {"0": "background", "1": "ball", "2": "box"}}
    (root / "dataset.json").write_text(json.dumps(described, indent=2))
    splits = {"folds": [{"train": names[:-2], "val": names[-2:-1]}], "test": names[-1:]}
    (root / "splits.json").write_text(json.dumps(splits, indent=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
