"""A reader: numpy's ``.npy`` files as volumes of 1 mm voxels, axes Z, Y, X."""

from pathlib import Path

import numpy as np

from itkit.core.errors import ReadError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume


def read_npy(path: Path) -> Volume:
    """Read an array of three axes.

    Raises
    ------
    ReadError
        When the array has another number of axes.
    """
    array = np.load(path, allow_pickle=False)
    if array.ndim != 3:
        raise ReadError(f"{path.name}: expected an array of 3 axes (Z, Y, X); got {array.ndim}")
    z, y, x = array.shape
    return Volume(array, Geometry((z, y, x), (1.0, 1.0, 1.0)))
