"""Features specific to NIfTI: affines, scaled values, several volumes in one file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.affines import Affine, affine_ras, geometry_from_affine
from itkit.core.volume import Volume
from itkit.io.formats.label_values import as_labels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from itkit.core.volume import Kind
    from itkit.io.formats.header_model import Header

__all__ = ["Affine", "affine_ras", "apply_scaling", "geometry_from_affine", "split_volumes"]


def apply_scaling(stored: NDArray[Any], header: Header, kind: Kind) -> NDArray[Any]:
    """Convert stored numbers to values: ``slope`` * stored + ``inter``.

    Images become float32, or float64 if float32 can't hold every stored number; labels always become float64.
    """
    if not header.is_scaled:
        return stored
    values = np.empty(stored.shape, np.float64 if kind == "label" else header.value_dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large becomes infinite, as in SimpleITK
        for plane, target in zip(stored, values, strict=True):
            target[...] = plane.astype(np.float64) * header.slope + header.inter
    return values


def split_volumes(stored: NDArray[Any], header: Header, kind: Kind = "image") -> Iterator[Volume]:
    """Yield the 3-D volumes of a 4-D file one by one, scaled.

    Parameters
    ----------
    stored
        Voxels as `itkit.io.formats.codecs.read_voxels` returns them: ``(T, Z, Y, X)``, or ``(Z, Y, X)`` for one
        volume.
    header
        The file's header.
    kind
        Whether the volumes are images or labels.
    """
    for part in stored.reshape(header.volumes, *header.geometry.size_zyx):
        values = apply_scaling(part, header, kind)
        if kind == "label":
            values, _ = as_labels(values, header.data_path.name)
        yield Volume(values, header.geometry, kind, header.metadata)
