"""Functions that move voxels between grids and keep their values; several operations share them.

Functions that touch voxels import numpy themselves, so that commands which read only headers start without numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from itkit.core.arguments import expect
from itkit.core.boxes import index, window
from itkit.core.geometry import orientation_steps
from itkit.core.grids import match, turned_grid
from itkit.core.params import orientation_code
from itkit.core.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from itkit.core.geometry import Geometry


def orient(volume: Volume, code: str, *, threads: int = 1) -> Volume:
    """Turn a volume's axes to the given directions; every voxel keeps its value and physical point.

    Parameters
    ----------
    volume
        Any volume; an oblique one is turned to the closest orientation.
    code
        Directions in which the index axes x, y, z of the result point, e.g. ``"LPI"``.
    threads
        Threads to use.

    Raises
    ------
    ArgumentError
        When ``volume`` is not a volume, or ``code`` is not one of the 48 orientation codes.

    Examples
    --------
    >>> import numpy as np
    >>> from itkit.core.geometry import Geometry
    >>> volume = Volume(np.arange(6).reshape(1, 2, 3), Geometry((1, 2, 3), (1.0, 1.0, 1.0)))
    >>> orient(volume, "RPS").array_zyx.tolist()
    [[[2, 1, 0], [5, 4, 3]]]
    """
    expect(volume, Volume, "orient: volume", "an itkit.Volume")
    expect(code, str, "orient: code", "three letters such as 'LPI'")
    return turned(volume, *orientation_steps(volume.geometry, orientation_code(code)), threads=threads)


def turned(
    volume: Volume, axes_zyx: tuple[int, int, int], flips_zyx: tuple[bool, bool, bool], *, threads: int = 1
) -> Volume:
    """Permute and reverse a volume's array axes; the result is a view if axes are only reversed."""
    if axes_zyx == (0, 1, 2) and not any(flips_zyx):
        return volume
    grid = turned_grid(volume.geometry, axes_zyx, flips_zyx)
    if volume.array_zyx.ndim == 4:
        import numpy as np

        array = volume.array_zyx.transpose(*axes_zyx, 3)
        return volume.with_array(
            np.ascontiguousarray(np.flip(array, tuple(i for i, flip in enumerate(flips_zyx) if flip))), grid
        )
    if axes_zyx == (0, 1, 2):  # a view: the next reader walks backwards, at no extra cost
        return volume.with_array(
            volume.array_zyx[tuple(slice(None, None, -1 if flip else 1) for flip in flips_zyx)], grid
        )
    from itkit.kernels.layout import reorient

    return volume.with_array(reorient(volume.array_zyx, axes_zyx, flips_zyx, threads=threads), grid)


def crop(volume: Volume, start_zyx: Sequence[int], size_zyx: Sequence[int], *, fill: float | None = None) -> Volume:
    """Cut a box out of a volume: a view if the box lies inside the volume, a padded copy if it reaches beyond.

    Parameters
    ----------
    volume
        Image or label map; every voxel keeps its physical point.
    start_zyx
        Index of the box's first voxel; negative if the box begins before the volume.
    size_zyx
        Size of the box.
    fill
        Value of an image outside the volume, rounded and clamped to its type; by default the minimum of the whole
        image. A label map gets 0 there.

    Examples
    --------
    >>> import numpy as np
    >>> from itkit.core.geometry import Geometry
    >>> volume = Volume(np.arange(4).reshape(1, 1, 4) + 5, Geometry((1, 1, 4), (1.0, 1.0, 1.0)))
    >>> crop(volume, (0, 0, 2), (1, 1, 4)).array_zyx.tolist()
    [[[7, 8, 5, 5]]]
    """
    start, size, whole = index(start_zyx), index(size_zyx), volume.geometry.size_zyx
    grid = volume.geometry.crop(start, size)
    first = index([min(max(0, at), n) for at, n in zip(start, whole, strict=True)])
    end = [min(max(0, at + want), n) for at, want, n in zip(start, size, whole, strict=True)]
    inside = index([max(0, stop - at) for at, stop in zip(first, end, strict=True)])
    part = volume.array_zyx[window(first, inside)]
    if inside == size:
        return volume.with_array(part, grid)
    import numpy as np

    from itkit.kernels.arrays import fill_value
    from itkit.kernels.padding import in_frame, outside_value

    if fill is None or volume.kind == "label":
        outside = outside_value(volume.array_zyx, volume.kind)
    else:
        outside = np.asarray(fill_value(fill, volume.dtype))
    place = [at - begin if n else 0 for at, begin, n in zip(first, start, inside, strict=True)]
    return volume.with_array(in_frame(part, place, size, outside), grid)


def padded(volume: Volume, size_zyx: Sequence[int]) -> Volume:
    """Pad a volume at the end of each axis to at least a given size: an image with its minimum, a label map with 0."""
    size = index([max(want, have) for want, have in zip(size_zyx, volume.geometry.size_zyx, strict=True)])
    return volume if size == volume.geometry.size_zyx else crop(volume, (0, 0, 0), size)


def matched(volume: Volume, target: Geometry, *, threads: int = 1) -> Volume:
    """Bring a volume to another grid with the same voxels without resampling: turn its axes, then crop and pad.

    Parameters
    ----------
    volume
        Image or label map.
    target
        Grid of the result. Voxels outside the volume get the minimum of an image, or 0 in a label map.
    threads
        Threads to use.

    Raises
    ------
    GeometryMismatchError
        When the voxels of the two grids don't coincide.

    Examples
    --------
    >>> import numpy as np
    >>> from itkit.core.geometry import Geometry
    >>> volume = Volume(np.arange(4).reshape(1, 1, 4) + 5, Geometry((1, 1, 4), (1.0, 1.0, 1.0)))
    >>> matched(volume, Geometry((1, 1, 3), (1.0, 1.0, 1.0), (-1.0, 0.0, 0.0))).array_zyx.tolist()
    [[[5, 5, 6]]]
    """
    steps = match(volume.geometry, target)
    cut = crop(turned(volume, steps.axes_zyx, steps.flips_zyx, threads=threads), steps.start_zyx, target.size_zyx)
    return cut.with_array(cut.array_zyx, target)
