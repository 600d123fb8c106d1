"""NIfTI: what it needs beyond a grid and voxels: affines, scaled values, several volumes in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.affines import Affine, affine_ras, geometry_from_affine
from itkit.core.errors import LabelError
from itkit.core.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from itkit.core.volume import Kind
    from itkit.io.formats.header_model import Header

__all__ = ["Affine", "affine_ras", "apply_scaling", "geometry_from_affine", "split_volumes"]


def apply_scaling(stored: NDArray[Any], header: Header, kind: Kind, *, where: str = "") -> NDArray[Any]:
    """Turn stored numbers into values: ``slope`` * stored + ``inter``.

    Images become float32, or float64 where float32 can't hold every stored number. Labels stay integers, of the
    smallest type that holds them.

    Raises
    ------
    LabelError
        When a scaled label is not integral.
    """
    if not header.is_scaled:
        return stored
    values = np.empty(stored.shape, np.float64 if kind == "label" else header.value_dtype)
    for plane, target in zip(stored, values, strict=True):
        target[...] = plane.astype(np.float64) * header.slope + header.inter
    if kind == "image":
        return values
    labels = np.rint(values)
    wrong = ~(np.abs(labels - values) <= 1e-6 * np.maximum(1.0, np.abs(values)))
    if wrong.any():
        raise LabelError(
            f"{where or header.data_path.name}: a label map must hold integers; scaling by {header.slope:g} and "
            f"{header.inter:g} gives {values[wrong].flat[0]:g} ({int(wrong.sum())} voxels are not integral); "
            "read it as an image"
        )
    lowest, highest = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    return labels.astype(np.min_scalar_type(highest if lowest >= 0 else min(lowest, -highest - 1)))


def split_volumes(stored: NDArray[Any], header: Header, kind: Kind = "image") -> Iterator[Volume]:
    """Give the 3-D volumes of a 4-D file one by one, scaled.

    Parameters
    ----------
    stored
        Voxels as `itkit.io.formats.codecs.read_voxels` returns them: ``(T, Z, Y, X)``, or ``(Z, Y, X)`` for one
        volume.
    header
        The file's header.
    kind
        Whether they are images or labels.
    """
    for part in stored.reshape(header.volumes, *header.geometry.size_zyx):
        yield Volume(apply_scaling(part, header, kind), header.geometry, kind, header.metadata)
