"""Voxels moved between grids without a change of value: what several operations share.

Functions that touch voxels import numpy themselves, so that commands which read headers alone start without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from itkit.core.geometry import orientation_steps
from itkit.core.grids import oriented_grid
from itkit.core.params import orientation_code
from itkit.core.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence


def orient(volume: Volume, code: str, *, threads: int = 1) -> Volume:
    """Turn a volume's axes to the given directions, exactly: voxels move, values and physical points don't.

    Parameters
    ----------
    volume
        Any volume; an oblique one gets the closest orientation.
    code
        Directions that index axes x, y, z are to point to, e.g. ``"LPI"``.
    threads
        Threads to use.

    Examples
    --------
    >>> import numpy as np
    >>> from itkit.core.geometry import Geometry
    >>> volume = Volume(np.arange(6).reshape(1, 2, 3), Geometry((1, 2, 3), (1.0, 1.0, 1.0)))
    >>> orient(volume, "RPS").array_zyx.tolist()
    [[[2, 1, 0], [5, 4, 3]]]
    """
    code = orientation_code(code)
    axes_zyx, flips_zyx = orientation_steps(volume.geometry, code)
    if axes_zyx == (0, 1, 2) and not any(flips_zyx):
        return volume
    grid = oriented_grid(volume.geometry, code)
    if volume.array_zyx.ndim == 4:
        import numpy as np

        array = volume.array_zyx.transpose(*axes_zyx, 3)
        return volume.with_array(
            np.ascontiguousarray(np.flip(array, tuple(i for i, flip in enumerate(flips_zyx) if flip))), grid
        )
    if axes_zyx == (0, 1, 2):  # a view: whoever reads it next runs backwards, at no cost
        return volume.with_array(
            volume.array_zyx[tuple(slice(None, None, -1 if flip else 1) for flip in flips_zyx)], grid
        )
    from itkit.kernels.layout import reorient

    return volume.with_array(reorient(volume.array_zyx, axes_zyx, flips_zyx, threads=threads), grid)


def crop(volume: Volume, start_zyx: tuple[int, int, int], size_zyx: tuple[int, int, int]) -> Volume:
    """Return a sub-box of a volume as a view; every voxel keeps its physical point."""
    window = tuple(slice(start, start + size) for start, size in zip(start_zyx, size_zyx, strict=True))
    return volume.with_array(volume.array_zyx[window], volume.geometry.crop(start_zyx, size_zyx))


def padded(volume: Volume, size_zyx: Sequence[int]) -> Volume:
    """Pad a volume at the end of each axis to at least a size: an image with its minimum, a label map with 0."""
    missing = [max(0, want - have) for want, have in zip(size_zyx, volume.geometry.size_zyx, strict=True)]
    if not any(missing):
        return volume
    import numpy as np

    from itkit.kernels.statistics import min_max

    value = 0 if volume.kind == "label" else min_max(volume.array_zyx)[0]
    array = np.pad(volume.array_zyx, [(0, n) for n in missing], constant_values=value)
    return volume.with_array(array, volume.geometry.crop((0, 0, 0), array.shape))
