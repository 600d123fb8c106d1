"""Whether voxels look like those of an image or of a label map, whatever the file is taken for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.kernels.labels import label_counts
from itkit.kernels.statistics import min_max

if TYPE_CHECKING:
    from numpy.typing import NDArray

MANY_CLASSES = 100
"""Number of values above which a label map is asked whether it is an image; atlases have more, in closed regions."""
FEW_VALUES = 64
"""Number of values up to which an image may be a label map."""
_MOST_VOXELS = 1 << 17
_NOISY = 0.5
_CLOSED = 0.9


def looks_like_image(array_zyx: NDArray[Any]) -> bool:
    """Whether a label map has hundreds of values that change from voxel to voxel, as intensities do.

    Examples
    --------
    >>> noise = np.random.default_rng(0).integers(-1000, 1000, (8, 16, 16)).astype(np.int16)
    >>> looks_like_image(noise), looks_like_image(noise > 0)
    (True, False)
    """
    rows = _rows(array_zyx)
    return _equal_neighbours(rows) < _NOISY and np.unique(rows).size > MANY_CLASSES  # cheap for what is a label map


def looks_like_labels(array_zyx: NDArray[Any]) -> bool:
    """Whether an image holds few whole numbers from 0 to 255 in closed regions, as label maps do.

    Examples
    --------
    >>> box = np.zeros((8, 16, 16), np.int16)
    >>> box[2:6, 4:12, 4:12] = 57
    >>> looks_like_labels(box), looks_like_labels(box - 1000), looks_like_labels(box * 0)
    (True, False, False)
    """
    if array_zyx.dtype.kind not in "iub" or array_zyx.size == 0:
        return False
    rows = _rows(array_zyx)
    if _is_beyond(rows) or _equal_neighbours(rows) < _CLOSED or np.unique(rows).size > FEW_VALUES:
        return False
    if _is_beyond(array_zyx):
        return False
    return 1 < len(label_counts(array_zyx)) <= FEW_VALUES


def _is_beyond(array: NDArray[Any]) -> bool:
    low, high = min_max(array.view(np.uint8) if array.dtype.kind == "b" else array)
    return low < 0 or high > 255


def _rows(array_zyx: NDArray[Any]) -> NDArray[Any]:
    """Return whole rows along the last axis, evenly spread, of so many voxels that a look takes no time."""
    rows = array_zyx.reshape(-1, array_zyx.shape[-1])
    step = max(1, rows.size // _MOST_VOXELS)
    return np.ascontiguousarray(rows[::step])


def _equal_neighbours(rows: NDArray[Any]) -> float:
    """Part of the voxels that equal the next one of their row; 1 where a row has one voxel."""
    if rows.shape[1] < 2:
        return 1.0
    return float(np.mean(rows[:, 1:] == rows[:, :-1]))
