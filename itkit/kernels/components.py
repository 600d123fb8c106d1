"""Connected components of masks and label maps: find and measure them, find what they enclose."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from itkit.core.errors import ArgumentError
from itkit.kernels.arrays import as_mask, plain
from itkit.kernels.dispatch import native

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

Neighbours = Literal[4, 6, 8, 18, 26]
"""Which voxels touch: those with a common face (6), edge (18) or corner (26); 4 and 8 stay in a slice of axis Z."""

_RUNS_PER_ROW = 16
"""Room that is made for runs at first; an array with more of them is gone through twice."""
_SLANTS: dict[int, tuple[int, int, int, bool]] = {
    4: (0, 0, 0, False),
    8: (1, 0, 0, False),
    6: (0, 0, 0, True),
    18: (1, 1, 0, True),
    26: (1, 1, 1, True),
}
"""For each kind of neighbours: how far along X runs of adjacent rows may lie apart (same slice, slice above, slice
above and next row), and whether slices are joined."""


@dataclass(frozen=True, eq=False)
class Components:
    """The connected components of an array, numbered from 1 in the order of their first voxels.

    Attributes
    ----------
    shape
        Shape of the array, ``(Z, Y, X)``.
    classes
        Class of each component; 0 where components of the background were looked for.
    voxels
        Number of voxels of each component.
    starts_zyx, ends_zyx
        Index of the first voxel of each component's box, and the index after its last, ``(n, 3)``.
    """

    shape: tuple[int, int, int]
    classes: NDArray[Any]
    voxels: NDArray[np.int64]
    starts_zyx: NDArray[np.int64]
    ends_zyx: NDArray[np.int64]
    _runs: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]

    def __len__(self) -> int:
        return len(self.voxels)

    @property
    def touch_border(self) -> NDArray[np.bool_]:
        """Whether each component reaches an outer face of the array."""
        found: NDArray[np.bool_] = np.any((self.starts_zyx == 0) | (self.ends_zyx == self.shape), axis=1)
        return found

    def largest(self, count: int = 1) -> NDArray[np.bool_]:
        """Return which components are the largest ones; of equal ones, the first counts as larger."""
        order = np.argsort(-self.voxels, kind="stable")
        chosen = np.zeros(len(self), dtype=bool)
        chosen[order[:count]] = True
        return chosen

    def largest_of_each_class(self, count: int = 1) -> NDArray[np.bool_]:
        """Return which components are the largest ones of their class."""
        chosen = np.zeros(len(self), dtype=bool)
        for value in np.unique(self.classes):
            places = np.flatnonzero(self.classes == value)
            chosen[places[np.argsort(-self.voxels[places], kind="stable")[:count]]] = True
        return chosen

    def painted(self, values: NDArray[Any], onto: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return an array that holds a value for each component in its voxels.

        Parameters
        ----------
        values
            One value for each component, of the type of the result; where it is 0, voxels are left as they are.
        onto
            A C-contiguous array of the same type that is changed in place; by default an array of zeros.
        """
        table = plain(np.ascontiguousarray(values), ndim=1)
        result = np.zeros(self.shape, dtype=values.dtype) if onto is None else onto
        if result.shape != self.shape or result.dtype != values.dtype or not result.flags.c_contiguous:
            raise ArgumentError(f"painted: expected a C-contiguous {values.dtype} array of shape {self.shape}")
        offsets, starts, ends, numbers = self._runs
        library = native()
        if library is not None:
            n, rows = self.shape[2], self.shape[0] * self.shape[1]
            pointers = (array.ctypes.data for array in (offsets, starts, ends, numbers, table, result))
            library.itkit_paint_runs(table.itemsize, rows, n, *pointers)
            return result
        rows_of = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        flat, of_run = result.reshape(-1), table[numbers - 1]
        shown = np.flatnonzero(of_run)
        lengths = (ends - starts)[shown].astype(np.int64)
        begins = (rows_of[shown] * self.shape[2] + starts[shown]).astype(np.int64)
        steps = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        flat[np.repeat(begins, lengths) + steps] = np.repeat(of_run[shown], lengths).view(flat.dtype)
        return result

    def numbered(self) -> NDArray[np.int32]:
        """Return the number of the component of every voxel; 0 where there is none."""
        return self.painted(np.arange(1, len(self) + 1, dtype=np.int32))

    def chosen(self, which: NDArray[np.bool_], dtype: DTypeLike = np.uint8) -> NDArray[Any]:
        """Return a label map of the chosen components in their own classes; a mask has class 1."""
        return self.painted(np.where(which, self.classes, 0).astype(dtype))


def components(array_zyx: NDArray[Any], *, neighbours: Neighbours = 26, background: bool = False) -> Components:
    """Find the connected regions of each class.

    Parameters
    ----------
    array_zyx
        Mask or label map ``(Z, Y, X)``, bool or integers. Voxels of different classes are never joined.
    neighbours
        Which voxels touch: 26, 18 or 6 in space; 8 or 4 within each slice of axis Z.
    background
        Find the regions of the background (value 0) instead.

    Returns
    -------
    Components
        Components, numbered in the order of their first voxels.

    Notes
    -----
    Runs of voxels are joined row by row in a union-find forest, as in He, Chao, Suzuki, "A Run-Based Two-Scan Labeling
    Algorithm", IEEE Transactions on Image Processing 17 (2008).

    Examples
    --------
    >>> found = components(np.array([[[1, 1, 0, 2], [0, 0, 1, 2]]]))
    >>> found.classes.tolist(), found.voxels.tolist(), found.numbered().tolist()
    ([1, 2], [3, 2], [[[1, 1, 0, 2], [0, 0, 1, 2]]])
    """
    if neighbours not in _SLANTS:
        raise ArgumentError(f"components: neighbours: expected 4, 6, 8, 18 or 26; got {neighbours}")
    array = np.ascontiguousarray(plain(array_zyx))
    if array.dtype.kind == "f":
        raise ArgumentError(f"components: expected a mask or a label map of integers; got {array.dtype}")
    z, y, x = array.shape
    library = native()
    if library is not None:
        offsets, starts, ends = _runs_in_c(library, array, background)
        numbers = np.empty(len(starts), dtype=np.int32)
        pointers = tuple(part.ctypes.data for part in (offsets, starts, ends, numbers))
        count = library.itkit_join_runs(array.itemsize, array.ctypes.data, z, y, x, neighbours, *pointers)
        voxels, firsts = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        boxes = np.zeros((count, 6), dtype=np.int64)
        library.itkit_measure_runs(z, y, x, *pointers, *(part.ctypes.data for part in (voxels, boxes, firsts)))
    else:
        offsets, starts, ends = _runs_in_numpy(array, background)
        numbers = _joined(array, offsets, starts, ends, neighbours)
        voxels, boxes, firsts = _measured(array.shape, offsets, starts, ends, numbers)
    classes = array.reshape(-1)[firsts]
    return Components((z, y, x), classes, voxels, boxes[:, :3], boxes[:, 3:], (offsets, starts, ends, numbers))


def _runs_in_c(library: Any, array: NDArray[Any], background: bool) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    z, y, x = array.shape
    offsets = np.zeros(z * y + 1, dtype=np.int64)
    room = _RUNS_PER_ROW * z * y
    while True:
        starts, ends = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.int32)
        pointers = (offsets.ctypes.data, starts.ctypes.data, ends.ctypes.data)
        library.itkit_runs(array.itemsize, array.ctypes.data, z * y, x, int(background), room, *pointers)
        count = _countable(int(offsets[-1]))
        if count <= room:
            return offsets, starts[:count], ends[:count]
        room = count


def _countable(runs: int) -> int:
    if runs >= 2**31:
        raise ArgumentError(f"components: {runs} runs of voxels are more than can be numbered; is this a label map?")
    return runs


def _runs_in_numpy(array: NDArray[Any], background: bool) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    rows = array.reshape(-1, array.shape[2])
    wanted = (rows == 0) if background else (rows != 0)
    edge = np.ones((len(rows), 1), dtype=bool)
    changes = rows[:, 1:] != rows[:, :-1]
    row, starts = np.nonzero(wanted & np.hstack([edge, changes]))
    ends = np.nonzero(wanted & np.hstack([changes, edge]))[1] + 1
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(rows)))])
    _countable(len(starts))
    return offsets.astype(np.int64), starts.astype(np.int32), ends.astype(np.int32)


def _joined(
    array: NDArray[Any], offsets: NDArray[Any], starts: NDArray[Any], ends: NDArray[Any], neighbours: int
) -> NDArray[np.int32]:
    """Return the component of each run: joined runs take the lowest index, over and over until none changes."""
    slices, rows, n = array.shape
    flat, above, aslant, in_space = _SLANTS[neighbours]
    row = np.repeat(np.arange(slices * rows, dtype=np.int64), np.diff(offsets))
    z, y, classes = row // rows, row % rows, array.reshape(-1)[row * n + starts]
    width = n + 2
    from_, to = row * width + starts, row * width + ends
    pairs: list[NDArray[Any]] = []
    for dz, dy in product((0, -1), (-1, 0, 1)):
        if (dz == 0 and dy != -1) or (dz and (not in_space or (dy and not above))):
            continue
        reach = flat if dz == 0 else aslant if dy else above
        inside = (z + dz >= 0) & (y + dy >= 0) & (y + dy < rows)
        shift = (dz * rows + dy) * width
        low = np.searchsorted(to, from_ + shift - reach, side="right")
        high = np.searchsorted(from_, to + shift + reach, side="left")
        count = np.where(inside, np.maximum(high - low, 0), 0)
        run = np.repeat(np.arange(len(row)), count)
        other = np.repeat(low, count) + np.arange(len(run)) - np.repeat(np.cumsum(count) - count, count)
        same = classes[run] == classes[other]
        pairs.append(np.stack([run[same], other[same]]))
    a, b = np.concatenate(pairs, axis=1)
    parents = np.arange(len(row))
    while len(a):
        np.minimum.at(parents, np.maximum(a, b), np.minimum(a, b))
        while (parents[parents] != parents).any():
            parents = parents[parents]
        a, b = parents[a], parents[b]
        a, b = a[a != b], b[a != b]
    is_root = parents == np.arange(len(row))
    return np.cumsum(is_root)[parents].astype(np.int32) if len(row) else np.zeros(0, dtype=np.int32)


def _measured(
    shape: tuple[int, ...], offsets: NDArray[Any], starts: NDArray[Any], ends: NDArray[Any], numbers: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    count = int(numbers.max(initial=0))
    row = np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))
    voxels = np.bincount(numbers - 1, weights=ends - starts, minlength=count).astype(np.int64)
    boxes = np.zeros((count, 6), dtype=np.int64)
    boxes[:, :3] = np.iinfo(np.int64).max
    spans = ((row // shape[1], row // shape[1] + 1), (row % shape[1], row % shape[1] + 1), (starts, ends))
    for axis, (first, end) in enumerate(spans):
        np.minimum.at(boxes[:, axis], numbers - 1, first)
        np.maximum.at(boxes[:, axis + 3], numbers - 1, end)
    firsts = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(firsts, numbers - 1, row * shape[2] + starts)
    return voxels, boxes, firsts


def holes(array_zyx: NDArray[Any], *, neighbours: Neighbours = 6, cut_axis: int | None = None) -> NDArray[np.uint8]:
    """Return the background that the foreground encloses.

    Parameters
    ----------
    array_zyx
        Mask or label map.
    neighbours
        How background voxels touch: 6 leaves a hole closed that opens at an edge or a corner only, as
        ``scipy.ndimage.binary_fill_holes`` does.
    cut_axis
        Look at each slice of this axis on its own (4 neighbours for 6, else 8). By default holes are enclosed in space.

    Examples
    --------
    >>> holes(np.array([[[1, 1, 1], [1, 0, 1], [1, 1, 1]]]), cut_axis=0)[0].tolist()
    [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    """
    mask = as_mask(array_zyx)
    if cut_axis is None:
        found = components(mask, neighbours=neighbours, background=True)
        return found.painted((~found.touch_border).astype(np.uint8))
    found = components(np.moveaxis(mask, cut_axis, 0), neighbours=4 if neighbours == 6 else 8, background=True)
    is_open = (found.starts_zyx[:, 1:] == 0) | (found.ends_zyx[:, 1:] == np.array(found.shape[1:]))
    inner = found.painted((~is_open.any(axis=1)).astype(np.uint8))
    return np.ascontiguousarray(np.moveaxis(inner, 0, cut_axis))
