"""The trachea and the bronchi in a CT, by growing from the trachea with a guard against leaks into the lungs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.geometry import voxel_ml
from itkit.kernels.arrays import foreground_box
from itkit.kernels.components import Components, components
from itkit.process.morphology import dilated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_LUMEN_HU = -700.0
_AREA_MM2 = (30.0, 900.0)
_MOST_ASPECT = 2.5
_LEAST_FILL = 0.5
_CENTRAL = 0.2
_LEAST_LENGTH_MM = 20.0
_LEVELS_HU = tuple(range(-960, -620, 20))
_MOST_ML = 200.0
_LEAK_ML = 20.0
_LEAK_FACTOR = 1.6


@dataclass(frozen=True, eq=False)
class Airway:
    """The airways of a CT.

    Attributes
    ----------
    trachea
        The piece of the trachea from which the tree was grown.
    tree
        Trachea and bronchi as far as they can be told from the lungs.
    level_hu
        Intensity below which voxels were taken.
    has_leaked
        Whether even the lowest level ran into the lungs, so that the tree is the trachea's piece alone.
    """

    trachea: NDArray[np.uint8]
    tree: NDArray[np.uint8]
    level_hu: float
    has_leaked: bool


def find_airway(
    image: NDArray[Any], spacing: Sequence[float], body: NDArray[np.uint8], *, lowest_z: float = 0.0
) -> Airway | None:
    """Find the airways; ``None`` if there is no trachea.

    Parameters
    ----------
    image, spacing
        CT in HU, axes pointing up, to the back and to the patient's left; spacing in mm.
    body
        The patient.
    lowest_z
        Index of the lowest slice in which the top of the trachea may lie.

    Notes
    -----
    The trachea is the longest chain of small round spots of air near the middle of the body in consecutive slices. From
    there voxels below a rising level are joined, until the volume jumps: then it has leaked into a lung, and the level
    before is taken. The idea is that of Mori et al., "Automated extraction and visualization of bronchus from 3D CT
    images of lung", CVRMed 1995.
    """
    trachea = _trachea(image, spacing, body, lowest_z)
    if trachea is None:
        return None
    ml = voxel_ml(spacing)
    best, volume, level = trachea, float(trachea.sum()) * ml, float(_LEVELS_HU[0])
    has_grown = False
    for limit in _LEVELS_HU:
        inside = (image < limit).view(np.uint8)
        inside &= body
        found = components(inside, neighbours=6)
        grown = _meeting(found, trachea)
        now = float(found.voxels[grown].sum()) * ml
        if now > _MOST_ML or (has_grown and now > _LEAK_FACTOR * volume + _LEAK_ML):
            break
        if now > volume:
            best, volume, level, has_grown = found.painted(grown.astype(np.uint8)), now, float(limit), True
    tree = best | trachea
    return Airway(trachea, tree, level, has_leaked=not has_grown)


def _meeting(found: Components, seed: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which components meet a mask."""
    box = foreground_box(seed)
    meets = np.zeros(len(found) + 1, dtype=bool)
    if box is not None:
        meets[np.unique(found.numbered()[box][seed[box] != 0])] = True
    return meets[1:]


def _trachea(
    image: NDArray[Any], spacing: Sequence[float], body: NDArray[np.uint8], lowest_z: float
) -> NDArray[np.uint8] | None:
    box = foreground_box(body)
    if box is None:
        return None
    air = (image < _LUMEN_HU).view(np.uint8)
    air &= body
    spots = components(air, neighbours=8)
    _, dy, dx = spacing
    area = spots.voxels * dy * dx
    height, width = ((spots.ends_zyx - spots.starts_zyx)[:, 1:] * (dy, dx)).T
    middle = (box[2].start + box[2].stop) / 2
    from_middle = abs((spots.starts_zyx[:, 2] + spots.ends_zyx[:, 2]) / 2 - middle)
    is_lumen = (
        (area >= _AREA_MM2[0])
        & (area <= _AREA_MM2[1])
        & (np.maximum(height, width) <= _MOST_ASPECT * np.minimum(height, width))
        & (area >= _LEAST_FILL * height * width)
        & (from_middle <= _CENTRAL * (box[2].stop - box[2].start))
    )
    chains = components(spots.painted(is_lumen.astype(np.uint8)))
    if len(chains) == 0:
        return None
    lengths = (chains.ends_zyx[:, 0] - chains.starts_zyx[:, 0]) * spacing[0]
    lengths = np.where(chains.ends_zyx[:, 0] > lowest_z, lengths, 0)
    longest = int(np.argmax(lengths))
    if lengths[longest] < _LEAST_LENGTH_MM:
        return None
    return chains.painted((np.arange(len(chains)) == longest).astype(np.uint8))


def near_airway(airway: Airway, spacing: Sequence[float], margin_mm: float) -> NDArray[np.uint8]:
    """Return the airways with their walls."""
    return dilated(airway.tree, spacing, margin_mm)
