"""Write a reference and a prediction to compare: twelve organs of a torso at 1.5 mm, 11 million voxels.

Run: python make_evaluation.py DEST
"""

import sys
from pathlib import Path

import numpy as np

import itkit
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume

CLASSES = 12

if __name__ == "__main__":
    dest = Path(sys.argv[1])
    torso = itkit.read(Path(itkit.__file__).parent / "data" / "torso" / "label.nii.gz", "label").array_zyx
    values, counts = np.unique(torso[torso > 0], return_counts=True)
    largest = values[np.argsort(-counts, kind="stable")][:CLASSES]
    numbers = np.zeros(256, np.uint8)
    numbers[np.sort(largest)] = np.arange(1, CLASSES + 1)
    gt = numbers[torso].repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    pred = np.roll(gt, (1, 2, -1), axis=(0, 1, 2))
    rng = np.random.default_rng(0)
    for z, y, x in rng.integers(0, np.array(gt.shape) - 12, (60, 3)):
        pred[z : z + 12, y : y + 12, x : x + 12] = rng.integers(0, CLASSES + 1)
    grid = Geometry(gt.shape, (1.5, 1.5, 1.5))
    for name, array in (("gt", gt), ("pred", pred)):
        itkit.write(Volume(array, grid, "label"), dest / name / "torso.nii.gz")
    (dest / ".complete").touch()
