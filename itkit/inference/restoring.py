"""Logits back on the grid of the original image, a few planes at a time.

nnU-Net resamples the logits of all classes to the original grid and takes the largest there. The functions here give
the same labels, but hold a few planes: each class is resampled in turn and compared with the largest value so far, and
voxels are finished as soon as the network has finished those that they lie between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.arguments import expect
from itkit.core.errors import ArgumentError, CaseError
from itkit.kernels.sampling import axis_aligned_indices
from itkit.kernels.separable import sample_linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from itkit.core.geometry import Geometry

ANISOTROPY = 3.0
"""Ratio of spacings above which values are not interpolated along the coarsest axis."""
_CHUNK_BYTES, _MOST_BYTES = 2 << 20, 64 << 20
_SAME_PLACE = 1e-9
"""Indices that differ by less than this lie at one place: rounding in grids that are the same."""
Indices = tuple["NDArray[np.float64]", "NDArray[np.float64]", "NDArray[np.float64]"]
"""For each axis Z, Y, X: where each voxel of the new grid lies, in voxels of the old one."""
Part = tuple[int, int, "NDArray[np.float32]"]
"""The first plane, the first row, and the logits ``(K, planes, rows, X)``: a block as `SlidingWindow.blocks` has it."""


def coarse_axis(current_spacing_zyx: Sequence[float], new_spacing_zyx: Sequence[float]) -> int | None:
    """Return the axis along which values are taken from the nearest plane; ``None`` to interpolate along all.

    It is the coarsest axis of the grid of the logits or, if that one is nearly isotropic, of the new grid, where its
    spacing is more than three times the finest and no other axis is as coarse, as in nnU-Net.

    Examples
    --------
    >>> coarse_axis((3, 3, 3), (8, 1, 1)), coarse_axis((3, 3, 3), (2, 1, 1)), coarse_axis((5, 5, 1), (1, 1, 1))
    (0, None, None)
    """
    for spacing in (current_spacing_zyx, new_spacing_zyx):
        if max(spacing) / min(spacing) > ANISOTROPY:
            coarsest = [axis for axis in range(3) if spacing[axis] == max(spacing)]
            return coarsest[0] if len(coarsest) == 1 else None
    return None


def indices_by_size(
    size_zyx: Sequence[int],
    new_size_zyx: Sequence[int],
    current_spacing_zyx: Sequence[float],
    new_spacing_zyx: Sequence[float],
) -> Indices:
    """Return where the voxels of a grid that covers the same box lie in the grid of the logits, as nnU-Net has it.

    Parameters
    ----------
    size_zyx, new_size_zyx
        Voxels of both grids. Their ratio decides; the spacings only choose the axis of `coarse_axis`.
    current_spacing_zyx, new_spacing_zyx
        Spacings of both grids, mm.
    """
    z, y, x = (
        (np.arange(new, dtype=np.float64) + 0.5) * (old / new) - 0.5
        for old, new in zip(size_zyx, new_size_zyx, strict=True)
    )
    return _without_blur((z, y, x), coarse_axis(current_spacing_zyx, new_spacing_zyx))


def indices_of_grids(current: Geometry, new: Geometry) -> Indices:
    """Return where the voxels of a grid lie in the grid of the logits, by their physical places.

    Raises
    ------
    ArgumentError
        When the axes of the grids are not parallel.
    """
    found = axis_aligned_indices(current, new)
    if found is None:
        raise ArgumentError("the axes of the logits' grid and of the new grid are not parallel; turn the volume first")
    z, y, x = found
    return _without_blur((z, y, x), coarse_axis(current.spacing_zyx, new.spacing_zyx))


def _without_blur(indices: Indices, axis: int | None) -> Indices:
    z, y, x = (np.floor(index + 0.5) if number == axis else index for number, index in enumerate(indices))
    return z, y, x


def restore(
    logits: NDArray[Any],
    shape: Sequence[int],
    current_spacing: Sequence[float],
    new_spacing: Sequence[float],
    *,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Put logits on another grid that covers the same box.

    Parameters
    ----------
    logits
        ``(K, Z, Y, X)``, one channel a class.
    shape
        Voxels of the new grid, ZYX.
    current_spacing, new_spacing
        Spacing of the logits and of the new grid, mm, ZYX. Where one of them is more than three times as coarse along
        one axis as along another, values are taken from the nearest plane along that axis, and interpolated linearly
        along the others.
    threads
        Threads to use; the result does not depend on it.

    Returns
    -------
    numpy.ndarray
        ``(K, *shape)``, float32. If only the labels are needed, `restore_labels` takes far less memory.

    Notes
    -----
    The result is that of nnU-Net's ``resample_data_or_seg_to_shape`` with ``order=1`` and ``order_z=0`` [1]_.

    References
    ----------
    .. [1] Isensee F. et al., "nnU-Net", ``nnunetv2/preprocessing/resampling/default_resampling.py``,
       https://github.com/MIC-DKFZ/nnUNet

    Examples
    --------
    >>> logits = np.array([0.0, 4.0, 8.0], np.float32).reshape(1, 1, 1, 3)
    >>> restore(logits, (1, 1, 6), (1, 1, 2), (1, 1, 1))[0, 0, 0].tolist()
    [0.0, 1.0, 3.0, 5.0, 7.0, 8.0]
    """
    values = _logits(logits)
    indices = indices_by_size(values.shape[1:], _size(shape), current_spacing, new_spacing)
    result = np.empty((len(values), *map(len, indices)), np.float32)
    for one, out in zip(values, result, strict=True):
        out[...] = sample_linear(one, indices, threads=threads)
    return result


def restore_labels(
    logits: NDArray[Any],
    shape: Sequence[int],
    current_spacing: Sequence[float],
    new_spacing: Sequence[float],
    *,
    threads: int = 1,
) -> NDArray[Any]:
    """Return the class with the largest logit on another grid; parameters are those of `restore`.

    Returns
    -------
    numpy.ndarray
        ``shape``, uint8 (uint16 above 256 classes). Of equal logits, the first class wins.

    Notes
    -----
    Equal, label for label, to ``argmax`` of `restore`, in the memory of a few planes.

    Examples
    --------
    >>> logits = np.stack([np.zeros((1, 1, 2)), [[[-1.0, 3.0]]]]).astype(np.float32)
    >>> restore_labels(logits, (1, 1, 8), (4, 4, 4), (1, 1, 1))[0, 0].tolist()
    [0, 0, 0, 1, 1, 1, 1, 1]
    """
    values = _logits(logits)
    indices = indices_by_size(values.shape[1:], _size(shape), current_spacing, new_spacing)
    return labels_of([(0, 0, values)], indices, values.shape[1:], threads=threads)


def _logits(logits: NDArray[Any]) -> NDArray[np.float32]:
    expect(logits, np.ndarray, "restore: logits", "a numpy array (K, Z, Y, X)")
    if logits.ndim != 4 or 0 in logits.shape:
        raise ArgumentError(f"restore: logits: expected an array (K, Z, Y, X); got shape {logits.shape}")
    return logits.astype(np.float32, copy=False)


def _size(shape: Sequence[int]) -> list[int]:
    size = [int(n) for n in shape]
    if len(size) != 3 or min(size) < 1:
        raise ArgumentError(f"restore: shape: expected three numbers of voxels, ZYX; got {shape}")
    return size


@dataclass(frozen=True)
class Piece:
    """Voxels of the new grid that can be interpolated now: some planes, some rows, whole along X.

    Parameters
    ----------
    planes, rows
        Where they lie in the new grid.
    source
        Logits ``(K, Z, Y, X)`` of the old grid around them.
    indices
        Where the voxels lie in ``source``; ``None`` where they are the voxels of ``source``.
    """

    planes: slice
    rows: slice
    source: NDArray[np.float32]
    indices: Indices | None

    def of_class(self, number: int, threads: int = 1) -> NDArray[np.float32]:
        """Return the logits of a class on the new grid, ``(planes, rows, X)``; not to be written to."""
        if self.indices is None:
            values: NDArray[np.float32] = self.source[number]
            return values
        return sample_linear(self.source[number], self.indices, threads=threads)


def pieces_of(
    parts: Iterable[Part], indices: Indices, size_zyx: Sequence[int], chunk_bytes: int = _CHUNK_BYTES
) -> Iterator[Piece]:
    """Turn finished blocks of logits into pieces of the new grid, each voxel once.

    Parameters
    ----------
    parts
        Blocks: groups of planes from low to high Z, each from low to high Y, as `itkit.models.windows.Block` says. The
        memory of a block may be used again when the next one is asked for; its last plane and row are copied.
    indices
        Where the voxels of the new grid lie in that of the logits; along Z and Y they must not fall.
    size_zyx
        Voxels of the grid of the logits.
    chunk_bytes
        Pieces have about so many bytes a class; less, if there are many classes.

    Raises
    ------
    ArgumentError
        When the indices along Z or Y fall.
    """
    places = []
    for index, size in zip(indices, size_zyx, strict=True):
        kept = np.clip(index, 0, size - 1)
        places.append(np.round(kept) if np.allclose(kept, np.round(kept), rtol=0, atol=_SAME_PLACE) else kept)
    z_at, y_at, x_at = places
    if np.any(np.diff(z_at) < 0) or np.any(np.diff(y_at) < 0):
        raise ArgumentError("the new grid must rise along Z and Y with that of the logits; turn the volume first")
    keeps_x = np.array_equal(x_at, np.arange(size_zyx[2]))
    z_owner, y_owner = np.ceil(z_at), np.ceil(y_at)
    before = following = np.empty((0, 0, 0), np.float32)  # the last plane of the group before, and of this one
    row_before = np.empty((0, 0, 0), np.float32)
    for plane, row, part in parts:
        classes, depth, height, width = part.shape
        if row == 0:
            before, following = following, np.empty((classes, size_zyx[1], width), np.float32)
        z_begin, z_stop = np.searchsorted(z_owner, (plane, plane + depth), "left").tolist()
        y_begin, y_stop = np.searchsorted(y_owner, (row, row + height), "left").tolist()
        y_first = row - 1 if y_stop > y_begin and y_at[y_begin] < row else row
        row_bytes = 4 * max(1, y_stop - y_begin) * len(x_at)
        step = max(1, min(chunk_bytes, _MOST_BYTES // classes) // row_bytes)
        for begin in range(z_begin, z_stop if y_stop > y_begin else z_begin, step):
            stop = min(begin + step, z_stop)
            z_first = int(np.floor(z_at[begin]))
            z_last = int(np.ceil(z_at[stop - 1]))
            source = part[:, max(0, z_first - plane) : z_last + 1 - plane]
            if y_first < row:
                rows = row_before[:, max(0, z_first - plane) : z_last + 1 - plane, None]
                source = np.concatenate([rows, source], axis=2)
            if z_first < plane:
                source = np.concatenate([before[:, None, y_first : row + height], source], axis=1)
            where = (z_at[begin:stop] - z_first, y_at[y_begin:y_stop] - y_first, x_at)
            is_same = keeps_x and _counts_up(where[0]) and _counts_up(where[1])
            if is_same:
                source = source[:, : len(where[0]), : len(where[1])]
            yield Piece(slice(begin, stop), slice(y_begin, y_stop), source, None if is_same else where)
        following[:, row : row + height] = part[:, -1]
        row_before = part[:, :, -1].copy()


def _counts_up(index: NDArray[np.float64]) -> bool:
    return bool(np.array_equal(index, np.arange(len(index))))


def labels_of(
    parts: Iterable[Part],
    indices: Indices,
    size_zyx: Sequence[int],
    values: Sequence[int] | None = None,
    *,
    threads: int = 1,
) -> NDArray[Any]:
    """Return the class with the largest logit on the new grid; of equal ones, the first class wins.

    Parameters
    ----------
    parts, indices, size_zyx
        See `pieces_of`.
    values
        Value of each class in the label map; by default its number.
    threads
        Threads to use.

    Raises
    ------
    CaseError
        When the logits hold nan.
    """
    result: NDArray[Any] | None = None
    shape = tuple(map(len, indices))
    for piece in pieces_of(parts, indices, size_zyx):
        count = len(piece.source)
        if result is None:
            table = label_table(range(count) if values is None else values, count)
            result = np.empty(shape, table.dtype)
        largest = largest_of(piece, threads=threads)
        result[piece.planes, piece.rows] = largest if values is None else table[largest]
    assert result is not None
    return result


def label_table(values: Sequence[int], count: int) -> NDArray[Any]:
    """Return the values of ``count`` classes in the smallest type that holds them: unsigned, unless one is negative."""
    if len(values) != count:
        raise ArgumentError(f"the network has {count} classes; expected as many label values, got {len(values)}")
    return np.asarray(values, dtype=np.result_type(np.min_scalar_type(min(values)), np.min_scalar_type(max(values))))


def largest_of(piece: Piece, *, threads: int = 1) -> NDArray[Any]:
    """Return the number of the class with the largest logit in each voxel of a piece.

    Raises
    ------
    CaseError
        When a logit is nan.
    """
    count = len(piece.source)
    best = piece.of_class(0, threads).copy()
    largest = np.zeros(best.shape, np.uint8 if count <= 256 else np.uint16)
    for number in range(1, count):
        values = piece.of_class(number, threads)
        np.putmask(largest, values > best, number)
        np.maximum(best, values, out=best)
    require_numbers(best)
    return largest


def require_numbers(values: NDArray[Any]) -> None:
    """Raise an error if logits hold nan.

    Raises
    ------
    CaseError
        Where they do.
    """
    if np.isnan(values).any():
        raise CaseError(
            "the network's output holds nan; was it trained in this precision? --precision 32 is the widest"
        )
