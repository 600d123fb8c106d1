"""What a network sees of a volume: its axes turned, its voxels resampled, its intensities normalised.

Training and inference call the same functions, so that a network never meets voxels that were prepared otherwise than
those it has learned from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.errors import CaseError, GeometryMismatchError, ResourceError
from itkit.core.geometry import by
from itkit.core.grids import grid_difference, oriented_grid, resampled_grid
from itkit.core.text import counted
from itkit.core.volume import Volume
from itkit.kernels.components import holes
from itkit.kernels.statistics import finite_summary
from itkit.process.geometry import orient
from itkit.process.intensities import intensities
from itkit.process.itk_resample import resample
from itkit.process.presegmentation import nonzero_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from itkit.core.geometry import Geometry
    from itkit.inference.model_folder import Intensity, ModelFacts

_LONGEST_AXIS = 1 << 20
_MOST_VOXELS = 1 << 36


@dataclass(frozen=True)
class Preparation:
    """How volumes are prepared for a network.

    Parameters
    ----------
    channels
        Names of the channels, in the network's order.
    spacing_zyx
        Spacing that the network sees, mm; -1 keeps an axis.
    orient
        Directions to which the axes X, Y, Z point when the network sees a volume, e.g. ``"LPS"``.
    intensity
        What is done to the intensities.
    """

    channels: tuple[str, ...]
    spacing_zyx: tuple[float, float, float]
    orient: str
    intensity: Intensity

    @classmethod
    def of(cls, facts: ModelFacts) -> Preparation:
        """Return the preparation that a trained network needs."""
        return cls(facts.channels, facts.spacing, facts.orient, facts.intensity)

    def grid(self, grid: Geometry) -> Geometry:
        """Return the grid on which the network sees a volume: turned, then resampled; the physical extent is kept.

        Raises
        ------
        ResourceError
            When it has more voxels than any machine can take.
        """
        turned = oriented_grid(grid, self.orient)
        found = resampled_grid(turned, self.spacing_zyx)
        if max(found.size_zyx) > _LONGEST_AXIS or math.prod(found.size_zyx) > _MOST_VOXELS:
            raise too_many_voxels(turned, found)
        return found


def too_many_voxels(turned: Geometry, seen: Geometry) -> ResourceError:
    """Return the error of an image that the network's spacing makes too large."""
    one, other = (f"{by(grid.size_zyx)} voxels of {by(grid.spacing_zyx)} mm" for grid in (turned, seen))
    return ResourceError(
        f"the network's spacing makes {other} ZYX of {one}, which takes too much memory; take an image of the kind "
        "that the network is for"
    )


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image as the network sees it.

    Parameters
    ----------
    array_czyx
        Voxels ``(C, Z, Y, X)``, float32.
    geometry
        Their grid.
    source
        The image's own grid.
    turned
        The image's own grid with its axes turned as the network's: parallel to ``geometry``.
    """

    array_czyx: NDArray[np.float32]
    geometry: Geometry
    source: Geometry
    turned: Geometry


def prepare_image(images: Sequence[Volume], preparation: Preparation, *, threads: int = 1) -> Prepared:
    """Prepare the image of a case: normalise its intensities, turn its axes, resample it linearly.

    Parameters
    ----------
    images
        The channels in the network's order: a volume for each, or one volume ``(Z, Y, X, C)``; all on one grid.
    preparation
        What the network needs.
    threads
        Threads to use; the result does not depend on it.

    Raises
    ------
    CaseError
        When the number of channels is wrong, voxels are nan or infinite, or all voxels of a channel are equal although
        its own mean and standard deviation are needed.
    GeometryMismatchError
        When the channels lie on different grids.
    ResourceError
        When the network's spacing makes more voxels than fit into memory.

    Notes
    -----
    Intensities are normalised on the image's own grid, as in nnU-Net, so that the statistics of a volume do not depend
    on the resampling.

    Examples
    --------
    >>> from itkit.core.geometry import Geometry
    >>> from itkit.inference.model_folder import Intensity
    >>> image = Volume(np.arange(8, dtype=np.int16).reshape(2, 2, 2), Geometry((2, 2, 2), (2.0, 1.0, 1.0)))
    >>> ct = Intensity(scheme="ct", low=1, high=5, mean=3, sd=2)
    >>> found = prepare_image([image], Preparation(("CT",), (-1, -1, 0.5), "LPS", ct))
    >>> found.array_czyx[0, 0].tolist()
    [[-1.0, -1.0, -1.0, -1.0], [-0.5, -0.375, -0.125, 0.0]]
    """
    channels = _channels(images)
    if len(channels) != len(preparation.channels):
        raise CaseError(
            f"the network takes {counted(len(preparation.channels), 'channel')} ({', '.join(preparation.channels)}); "
            f"the case has {len(channels)}"
        )
    for name, channel in zip(preparation.channels[1:], channels[1:], strict=True):
        if reason := grid_difference(channels[0].geometry, channel.geometry, preparation.channels[0], name):
            raise GeometryMismatchError(reason)
    source = channels[0].geometry
    target = preparation.grid(source)
    rules = [preparation.intensity.of(name) for name in preparation.channels]
    mask = foreground(channels) if any(rule.scheme == "zscore" and rule.within == "nonzero" for rule in rules) else None
    try:
        array = np.empty((len(channels), *target.size_zyx), np.float32)
    except MemoryError as error:
        raise too_many_voxels(oriented_grid(source, preparation.orient), target) from error
    for out, channel, rule, name in zip(array, channels, rules, preparation.channels, strict=True):
        values = normalized(channel.array_zyx, rule, mask, name=name)
        turned = orient(channel.with_array(values, source), preparation.orient, threads=threads)
        out[...] = resample(turned, target, threads=threads).array_zyx
    return Prepared(array, target, source, oriented_grid(source, preparation.orient))


def prepare_label(label: Volume, grid: Geometry, *, threads: int = 1) -> Volume:
    """Put a label map on the grid of a prepared image, by nearest neighbour.

    Parameters
    ----------
    label
        The label map, on the image's own grid.
    grid
        `Prepared.geometry`, or `Preparation.grid` of the label's grid.
    threads
        Threads to use.
    """
    return resample(label, grid, threads=threads)


def _channels(images: Sequence[Volume]) -> list[Volume]:
    if len(images) == 1 and images[0].array_zyx.ndim == 4:
        one = images[0]
        return [
            one.with_array(np.ascontiguousarray(one.array_zyx[..., number])) for number in range(one.array_zyx.shape[3])
        ]
    return list(images)


def foreground(channels: Sequence[Volume]) -> NDArray[np.bool_]:
    """Return where any channel differs from 0, its holes filled: what an image without its skull or its air holds.

    Notes
    -----
    The mask of nnU-Net (``create_nonzero_mask``).
    """
    found = nonzero_mask(channels[0])
    for channel in channels[1:]:
        found = found | nonzero_mask(channel)
    return (found | holes(found)).view(np.bool_)


def normalized(
    array_zyx: NDArray[Any], rule: Intensity, mask: NDArray[np.bool_] | None = None, *, name: str = "the image"
) -> NDArray[np.float32]:
    """Normalise the intensities of one channel.

    Parameters
    ----------
    array_zyx
        Voxels, on the image's own grid.
    rule
        What is done.
    mask
        Voxels that count for ``zscore`` within ``nonzero``; `foreground` returns it.
    name
        Name of the channel, for messages.

    Raises
    ------
    CaseError
        When voxels are nan or infinite, or (``zscore``) all that count are equal or none counts.
    """
    if rule.scheme == "none":
        found = finite_summary(array_zyx)
        if found.n_nan or found.n_inf:
            raise CaseError(f"{name}: {counted(found.n_nan + found.n_inf, 'voxel')} nan or infinite")
        return array_zyx.astype(np.float32)
    inside = mask if rule.scheme == "zscore" and rule.within == "nonzero" else None
    if inside is not None and not inside.any():
        raise CaseError(f"{name}: no voxel differs from 0; there is nothing to normalise")
    try:
        image = intensities(array_zyx, inside, may_be_constant=rule.scheme == "ct")  # whose numbers are fixed
    except CaseError as error:
        raise CaseError(f"{name}: {error}") from error
    if rule.scheme == "ct":
        low, high, mean, sd = rule.numbers
        image = image.changed(lambda values: np.clip(values, low, high), keeps_type=False)
    else:
        mean, sd = image.within().mean_and_sd()
        if sd == 0:
            raise CaseError(f"{name}: all voxels that count are {mean:g}; there is nothing to divide by")
    scaled = image.changed(lambda values: (values - values.dtype.type(mean)) / values.dtype.type(sd), keeps_type=False)
    result: NDArray[np.float32] = scaled.voxels()
    return result if inside is None else np.where(inside, result, np.float32(0))
