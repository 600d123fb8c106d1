"""Clean label maps: keep the largest components, remove small ones, fill holes, close, open, smooth, keep inside.

Components of a class touch at faces, edges or corners. Filling and closing claim background only; what several classes
claim goes to the lowest one. Every function returns a new array of the same type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.geometry import voxel_ml
from itkit.kernels.components import Components, components, holes
from itkit.process.morphology import closed, majority, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from numpy.typing import NDArray

    from itkit.kernels.arrays import Box


def keep_largest(
    labels_zyx: NDArray[Any], count: int = 1, *, classes: Collection[int] | None = None, together: bool = False
) -> NDArray[Any]:
    """Keep the largest components of classes.

    Parameters
    ----------
    labels_zyx
        Label map.
    count
        Number of components to keep; of equal ones, the one whose first voxel comes first.
    classes
        Classes to treat; the others stay as they are. By default all but 0.
    together
        Look at the components of the union of the classes instead of those of each class.

    Examples
    --------
    >>> keep_largest(np.array([[[1, 2, 0, 2, 2, 0, 1]]])).tolist()
    [[[1, 0, 0, 2, 2, 0, 0]]]
    >>> keep_largest(np.array([[[1, 2, 0, 2, 0, 0, 1]]]), together=True).tolist()
    [[[1, 2, 0, 0, 0, 0, 0]]]
    """
    if together:
        own = labels_zyx != 0 if classes is None else np.isin(labels_zyx, list(classes))
        found = components(own)
        return np.where(own & (found.painted(found.largest(count).astype(np.uint8)) == 0), 0, labels_zyx)
    found = components(labels_zyx)
    kept = found.largest_of_each_class(count)
    if classes is not None:
        kept |= ~np.isin(found.classes, list(classes))
    return found.chosen(kept, labels_zyx.dtype)


def without_small(labels_zyx: NDArray[Any], spacing_zyx: Sequence[float], least_ml: float) -> NDArray[Any]:
    """Remove components of less than a volume from every class.

    Examples
    --------
    >>> without_small(np.array([[[1, 0, 1, 1, 2]]]), (10.0, 10.0, 10.0), 2.0).tolist()
    [[[0, 0, 1, 1, 0]]]
    """
    found = components(labels_zyx)
    return found.chosen(found.voxels * voxel_ml(spacing_zyx) >= least_ml * (1 - 1e-9), labels_zyx.dtype)


def fill_holes(labels_zyx: NDArray[Any]) -> NDArray[Any]:
    """Fill the background that a class encloses with that class.

    Examples
    --------
    >>> fill_holes(np.pad(np.zeros((1, 1, 1), int), 1, constant_values=3)).min()
    np.int64(3)
    """
    return _grown(labels_zyx, lambda own: own | holes(own))


def close_gaps(labels_zyx: NDArray[Any], spacing_zyx: Sequence[float], radius_mm: float) -> NDArray[Any]:
    """Close the gaps of every class with a ball; see :func:`itkit.process.morphology.closed`.

    Examples
    --------
    >>> close_gaps(np.array([[[4, 0, 4, 0, 0, 0, 4]]]), (9.0, 9.0, 1.0), 1.0).tolist()
    [[[4, 4, 4, 0, 0, 0, 4]]]
    """
    return _grown(labels_zyx, lambda own: closed(own, spacing_zyx, radius_mm))


def open_up(labels_zyx: NDArray[Any], spacing_zyx: Sequence[float], radius_mm: float) -> NDArray[Any]:
    """Remove what is thinner than a ball from every class; see :func:`itkit.process.morphology.opened`.

    Examples
    --------
    >>> open_up(np.array([[[4, 0, 4, 4, 4, 0, 4]]]), (9.0, 9.0, 1.0), 1.0).tolist()
    [[[0, 0, 4, 4, 4, 0, 0]]]
    """
    result = np.zeros_like(labels_zyx, order="C")
    for value, box in _boxes(components(labels_zyx), margin=1):
        result[box][opened(labels_zyx[box] == value, spacing_zyx, radius_mm) != 0] = value
    return result


def smooth(labels_zyx: NDArray[Any], spacing_zyx: Sequence[float], radius_mm: float) -> tuple[NDArray[Any], list[int]]:
    """Give every voxel the class of most voxels in a ball; a class that would vanish stays as it was.

    Returns
    -------
    array, kept
        The label map, and the classes that would have vanished.

    Examples
    --------
    >>> smooth(np.array([[[1, 1, 2, 1, 1, 0, 0, 0, 5, 0, 5, 5]]]), (9.0, 9.0, 1.0), 1.0)
    (array([[[1, 1, 2, 1, 1, 0, 0, 0, 0, 5, 5, 5]]]), [2])
    """
    result = majority(labels_zyx, spacing_zyx, radius_mm)
    had, has = set(np.unique(labels_zyx).tolist()), set(np.unique(result).tolist())
    eaten = sorted(had - has - {0})
    for value in eaten:
        result[labels_zyx == value] = value
    return result, eaten


def keep_inside(labels_zyx: NDArray[Any], mask_zyx: NDArray[Any]) -> NDArray[Any]:
    """Set what lies outside a mask to background.

    Examples
    --------
    >>> keep_inside(np.array([[[3, 3, 4]]]), np.array([[[0, 1, 1]]])).tolist()
    [[[0, 3, 4]]]
    """
    return np.where(mask_zyx != 0, labels_zyx, labels_zyx.dtype.type(0))


def _grown(labels: NDArray[Any], grow: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> NDArray[Any]:
    """Let every class grow into the background; neither holes nor closing reach beyond the box of a class."""
    result = np.array(labels, order="C")
    for value, box in _boxes(components(labels)):
        more = grow((labels[box] == value).view(np.uint8))
        part = result[box]
        part[(more != 0) & (part == 0)] = value
    return result


def _boxes(found: Components, margin: int = 0) -> Iterator[tuple[int, Box]]:
    """Yield each class, ascending, and the box that holds it with a margin."""
    for value in np.unique(found.classes).tolist():
        own = found.classes == value
        starts = np.maximum(found.starts_zyx[own].min(axis=0) - margin, 0).tolist()
        ends = (found.ends_zyx[own].max(axis=0) + margin).tolist()
        z, y, x = (slice(start, end) for start, end in zip(starts, ends, strict=True))
        yield value, (z, y, x)
