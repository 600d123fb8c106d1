"""The joint histogram of two label maps, and the box of every class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.errors import ArgumentError, LabelError
from itkit.core.text import counted
from itkit.kernels.arrays import plain
from itkit.kernels.dispatch import native, numbers
from itkit.kernels.labels import label_counts, remap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

Box = tuple[slice, slice, slice]
MOST_CLASSES = 2048
"""Most classes of one label map; with more, it is an image."""


@dataclass(frozen=True, eq=False)
class JointCounts:
    """How often each pair of classes occurs at one voxel of two label maps.

    Attributes
    ----------
    first, second
        Classes of either map, ascending.
    counts
        Number of voxels, ``(classes of the first, classes of the second)``.
    boxes
        Smallest box of each class in either map, as slices Z, Y, X.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    counts: NDArray[np.int64]
    boxes: dict[int, Box]

    def of(self, values: Iterable[int]) -> tuple[int, int, int]:
        """Return how many voxels both maps, only the first, and only the second give to any of some classes."""
        chosen = frozenset(values)
        rows = np.array([value in chosen for value in self.first])
        columns = np.array([value in chosen for value in self.second])
        both = int(self.counts[np.ix_(rows, columns)].sum())
        return both, int(self.counts[rows].sum()) - both, int(self.counts[:, columns].sum()) - both

    def box(self, values: Iterable[int]) -> Box | None:
        """Return the smallest box that holds some classes in both maps; ``None`` if they are in neither."""
        boxes = [self.boxes[value] for value in values if value in self.boxes]
        return joined(boxes) if boxes else None


def joined(boxes: list[Box]) -> Box:
    """Return the smallest box around boxes.

    Examples
    --------
    >>> joined([(slice(0, 2), slice(3, 4), slice(0, 1)), (slice(1, 5), slice(2, 3), slice(0, 1))])
    (slice(0, 5, None), slice(2, 4, None), slice(0, 1, None))
    """
    z, y, x = (
        slice(min(part.start for part in axis), max(part.stop for part in axis)) for axis in zip(*boxes, strict=True)
    )
    return z, y, x


def joint_counts(first: NDArray[Any], second: NDArray[Any]) -> JointCounts:
    """Count how often each pair of classes occurs, and find the boxes of the classes.

    Parameters
    ----------
    first, second
        Label maps ``(Z, Y, X)`` of one shape: integers, or floats with integral values.

    Raises
    ------
    ArgumentError
        When the shapes differ, or a value is not integral.
    LabelError
        When a map has thousands of classes.

    Examples
    --------
    >>> counts = joint_counts(np.array([[[0, 1, 1]]]), np.array([[[0, 0, 1]]]))
    >>> counts.counts.tolist(), counts.of([1])
    ([[1, 0], [1, 1]], (1, 1, 0))
    """
    if first.shape != second.shape or first.ndim != 3:
        raise ArgumentError(f"expected two arrays (Z, Y, X) of one shape; got {first.shape} and {second.shape}")
    (a, a_values), (b, b_values) = _numbered(plain(first)), _numbered(plain(second))
    if a.dtype != b.dtype:
        a, b = a.astype(np.uint16, copy=False), b.astype(np.uint16, copy=False)
    library = native()
    count = _count_numpy if library is None else _count_native
    counts, a_boxes, b_boxes = count(a, b, len(a_values), len(b_values))
    rows, columns = np.flatnonzero(counts.any(axis=1)), np.flatnonzero(counts.any(axis=0))
    boxes: dict[int, list[Box]] = {}
    for values, found, places in ((a_values, a_boxes, rows), (b_values, b_boxes, columns)):
        for place in places.tolist():
            z, y, x = (slice(int(found[place, axis]), int(found[place, axis + 3]) + 1) for axis in range(3))
            boxes.setdefault(values[place], []).append((z, y, x))
    return JointCounts(
        tuple(a_values[place] for place in rows.tolist()),
        tuple(b_values[place] for place in columns.tolist()),
        counts[np.ix_(rows, columns)],
        {value: joined(parts) for value, parts in sorted(boxes.items())},
    )


def _numbered(array: NDArray[Any]) -> tuple[NDArray[Any], list[int]]:
    """Return a label map whose classes are numbered from 0, and the value of each number."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array), list(range(256))
    values = list(label_counts(array))
    if len(values) > MOST_CLASSES:
        raise LabelError(f"a label map holds {counted(values, 'class')[:-1]}es, as images do; give label maps")
    dtype = np.uint8 if len(values) <= 256 else np.uint16
    places = {value: place for place, value in enumerate(values)}
    return remap(array, places, dtype=dtype)[0], values


def _count_native(
    a: NDArray[Any], b: NDArray[Any], n_a: int, n_b: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    library = native()
    assert library is not None
    counts = np.zeros((n_a, n_b), np.int64)
    boxes = [np.repeat(np.array([[2**62] * 3 + [-1] * 3]), n, axis=0) for n in (n_a, n_b)]
    library.itkit_joint(
        a.itemsize, a.ctypes.data, b.ctypes.data, numbers(a.shape), n_b,
        counts.ctypes.data, boxes[0].ctypes.data, boxes[1].ctypes.data,
    )  # fmt: skip
    return counts, boxes[0], boxes[1]


def _count_numpy(
    a: NDArray[Any], b: NDArray[Any], n_a: int, n_b: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    flat = np.zeros(n_a * n_b, np.int64)
    for p, q in zip(a, b, strict=True):  # slice by slice, for the sake of memory
        flat += np.bincount((p.astype(np.int64) * n_b + q).ravel(), minlength=n_a * n_b)
    counts = flat.reshape(n_a, n_b)
    boxes = [np.zeros((n, 6), np.int64) for n in (n_a, n_b)]
    for array, found, present in ((a, boxes[0], counts.any(axis=1)), (b, boxes[1], counts.any(axis=0))):
        for place in np.flatnonzero(present):
            mask = array == place
            for axis in range(3):
                there = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
                found[place, axis], found[place, axis + 3] = there[0], there[-1]
    return counts, boxes[0], boxes[1]
