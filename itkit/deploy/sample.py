"""The image on which an exported network must prove itself: windows of a real CT, or of the user's own image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from itkit.core.boxes import Index, index, last_start
from itkit.core.errors import CaseError, ResourceError
from itkit.core.geometry import Geometry, Triple
from itkit.core.grids import oriented_grid
from itkit.core.volume import Volume
from itkit.inference.preparing import Preparation, prepare_image, too_many_voxels
from itkit.io.anything import read
from itkit.process.geometry import crop

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from itkit.inference.model_folder import ModelFacts

TORSO = Path(__file__).parents[1] / "data" / "torso" / "image.nii.gz"
"""The CT of a torso that comes with ITKIT; see the README beside it."""
_LEAST_SPAN = 4
"""Voxels of the CT that the longest side of a window has to cover; else they are made smaller."""
_MOST_VOXELS = 1 << 30
_PLACES = ((0.55, 0.5, 0.4), (0.35, 0.6, 0.6))
"""Where windows start between the first and the last possible place, ZYX: in the torso at two heights."""
_CHANNEL_LOW, _CHANNEL_STEP, _CHANNELS = -900, 150, 6


@dataclass(frozen=True, eq=False)
class Window:
    """A window as the network sees it.

    Parameters
    ----------
    array_czyx
        Voxels, float32.
    geometry
        Where they lie.
    """

    array_czyx: NDArray[np.float32]
    geometry: Geometry


def sample_images(facts: ModelFacts, files: Sequence[Path] = ()) -> list[Volume]:
    """Return the channels of the sample image.

    Parameters
    ----------
    facts
        Description of the network.
    files
        The user's files, one a channel; without them, the CT of a torso is taken, its range of values cut in another
        way for each channel, and its voxels made smaller for a network of microscopes.

    Raises
    ------
    CaseError
        When a file can't be read, or there are too few.
    """
    if files:
        images = [read(path, channels=len(files) == 1 and len(facts.channels) > 1) for path in files]
        count = images[0].array_zyx.shape[3] if images[0].array_zyx.ndim == 4 else len(images)
        if count != len(facts.channels):
            raise CaseError(
                f"--sample: the network takes {len(facts.channels)} channels ({', '.join(facts.channels)}); got {count}"
            )
        return images
    torso = _of_scale(read(TORSO), facts)
    if len(facts.channels) == 1:
        return [torso]
    lows = [_CHANNEL_LOW + _CHANNEL_STEP * (number % _CHANNELS) for number in range(len(facts.channels))]
    return [torso.with_array(np.maximum(torso.array_zyx, low)) for low in lows]


def _of_scale(image: Volume, facts: ModelFacts) -> Volume:
    """Let the voxels of the CT count as small as those of a network of microscopes: a window is less than one else."""
    sides_mm = [n * mm for n, mm in zip(facts.patch_size, facts.spacing, strict=True) if mm > 0]
    grid = image.geometry
    if not sides_mm or max(sides_mm) >= _LEAST_SPAN * max(grid.spacing_zyx):
        return image
    scale = min(mm for mm in facts.spacing if mm > 0) / max(grid.spacing_zyx)
    z, y, x = (mm * scale for mm in grid.spacing_zyx)
    return image.with_array(image.array_zyx, replace(grid, spacing_zyx=(z, y, x)))


def sample_windows(facts: ModelFacts, images: Sequence[Volume], patch_zyx: Sequence[int]) -> list[Window]:
    """Cut windows from an image and prepare them as the network needs them.

    Parameters
    ----------
    facts
        Description of the network.
    images
        The channels of an image.
    patch_zyx
        Voxels of a window, one plane for a 2-D network.

    Raises
    ------
    CaseError
        When the image can't be prepared, or has voxels too large for the network.
    """
    preparation = Preparation.of(facts)
    try:
        return [_window(images, preparation, patch_zyx, place) for place in _PLACES]
    except ResourceError as error:
        raise CaseError(f"--sample: {error}") from error


def _window(images: Sequence[Volume], preparation: Preparation, patch_zyx: Sequence[int], place: Triple) -> Window:
    grid = images[0].geometry
    longest_mm = max(n * mm for n, mm in zip(patch_zyx, preparation.grid(grid).spacing_zyx, strict=True))
    size = index([min(n, max(8, math.ceil(longest_mm / mm) + 2)) for n, mm in _pairs(grid)])
    last = last_start(grid.size_zyx, size)
    start = index([round(part * most) for part, most in zip(place, last, strict=True)])
    cut = [crop(image, start, size) for image in images]
    seen = preparation.grid(cut[0].geometry)
    if math.prod(seen.size_zyx) > _MOST_VOXELS:
        raise too_many_voxels(oriented_grid(cut[0].geometry, preparation.orient), seen)
    prepared = prepare_image(cut, preparation)
    array, first = _fitted(prepared.array_czyx, patch_zyx)
    return Window(array, prepared.geometry.crop(first, index(patch_zyx)))


def _pairs(grid: Geometry) -> list[tuple[int, float]]:
    return list(zip(grid.size_zyx, grid.spacing_zyx, strict=True))


def _fitted(array: NDArray[np.float32], patch_zyx: Sequence[int]) -> tuple[NDArray[np.float32], Index]:
    """Return the middle of an array, padded with its edge where it is too short, and the index of its first voxel."""
    first = []
    for axis, wanted in enumerate(patch_zyx, 1):
        size = array.shape[axis]
        start = (size - wanted) // 2
        places = np.clip(np.arange(start, start + wanted), 0, size - 1)
        array = array.take(places, axis)
        first.append(start)
    return np.ascontiguousarray(array), index(first)
