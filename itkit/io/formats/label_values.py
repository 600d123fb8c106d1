"""Convert the voxels of a label file to integers, or refuse them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.errors import LabelError
from itkit.kernels.arrays import smallest_integer

if TYPE_CHECKING:
    from numpy.typing import NDArray

LABEL_TOLERANCE = 1e-3
"""A label value may differ from an integer by at most this much."""
_NOISE = 1e-6
"""Smaller differences from an integer are rounded without a warning."""


def as_labels(array: NDArray[Any], where: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return label values as integers, and warnings about the conversion.

    Values within 1e-3 of an integer, which rounding of scaled or stored numbers causes, become that integer. Float
    arrays become the smallest integer type that holds them.

    Raises
    ------
    LabelError
        When a value is not an integer, or not finite.
    """
    if array.dtype.kind in "iu":
        return array, ()
    if array.dtype.kind == "b":
        return array.astype(np.uint8), ()
    if not np.isfinite(array).all():
        raise LabelError(f"{where}: a label map must hold integers; it holds nan or infinite values")
    if not array.size:
        return array.astype(np.uint8), ()
    labels = np.rint(array)
    off = np.abs(array - labels)
    if off.max() > LABEL_TOLERANCE:
        wrong = array[off > LABEL_TOLERANCE]
        raise LabelError(
            f"{where}: a label map must hold integers; it holds {wrong[0]!s} ({wrong.size} voxels are not integral); "
            "if these are intensities, give the file as an image"
        )
    try:
        result = labels.astype(smallest_integer(float(labels.min()), float(labels.max())))
    except LabelError as error:
        raise LabelError(f"{where}: {error}") from error
    if off.max() <= _NOISE:
        return result, ()
    count = int(np.count_nonzero(off))
    return result, (f"{count} label voxels were up to {off.max():.2g} off an integer: rounded",)
