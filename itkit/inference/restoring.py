"""Logits back on the grid of the original image, a few planes at a time.

nnU-Net resamples the logits of all classes to the original grid and takes the largest there. The functions here give
the same labels, but hold a few planes: each class is resampled in turn and compared with the largest value so far, and
planes are finished as soon as the network has finished those that they lie between.
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
_CHUNK_BYTES = 4 << 20
Indices = tuple["NDArray[np.float64]", "NDArray[np.float64]", "NDArray[np.float64]"]
"""For each axis Z, Y, X: where each voxel of the new grid lies, in voxels of the old one."""
Part = tuple[int, "NDArray[np.float32]"]
"""The first plane, and the logits ``(K, planes, Y, X)``."""


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
    >>> restore_labels(logits, (1, 1, 8), (1, 1, 4), (1, 1, 1))[0, 0].tolist()
    [0, 0, 0, 1, 1, 1, 1, 1]
    """
    values = _logits(logits)
    indices = indices_by_size(values.shape[1:], _size(shape), current_spacing, new_spacing)
    return labels_of([(0, values)], indices, threads=threads)


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
class Planes:
    """Planes of the new grid that can be interpolated now.

    Parameters
    ----------
    start, stop
        The first plane, and the one after the last.
    source
        Logits ``(K, n, Y, X)`` on the old grid.
    indices
        Where the voxels of these planes lie in ``source``.
    """

    start: int
    stop: int
    source: NDArray[np.float32]
    indices: Indices

    def of_class(self, number: int, threads: int = 1) -> NDArray[np.float32]:
        """Return the logits of a class on the new grid, ``(planes, Y, X)``."""
        return sample_linear(self.source[number], self.indices, threads=threads)


def planes_of(parts: Iterable[Part], indices: Indices, chunk_bytes: int = _CHUNK_BYTES) -> Iterator[Planes]:
    """Turn finished planes of logits, from low to high Z, into planes of the new grid, in order, each once.

    Parameters
    ----------
    parts
        First plane and logits ``(K, planes, Y, X)``, without gaps. The memory of a part may be used again when the
        next one is asked for; one plane is copied.
    indices
        Where the voxels of the new grid lie in that of the logits; along Z they must not fall.
    chunk_bytes
        Planes are yielded in pieces of about so many bytes a class.

    Raises
    ------
    ArgumentError
        When the indices along Z fall.
    """
    z_index, y_index, x_index = indices
    if np.any(np.diff(z_index) < 0):
        raise ArgumentError("planes of the new grid must rise along Z with those of the logits; turn the volume first")
    most = max(1, chunk_bytes // (4 * len(y_index) * len(x_index)))
    done, last_start = 0, 0
    last_plane: NDArray[np.float32] | None = None

    def pieces(stop: int, source: NDArray[np.float32], start: int) -> Iterator[Planes]:
        nonlocal done
        for begin in range(done, stop, most):
            end = min(begin + most, stop)
            yield Planes(begin, end, source, (z_index[begin:end] - start, y_index, x_index))
        done = max(done, stop)

    for start, part in parts:
        if last_plane is not None:  # planes between the last part and this one
            between = np.stack([last_plane, part[:, 0]], axis=1)
            yield from pieces(int(np.searchsorted(z_index, start, "left")), between, start - 1)
        last_start = start + part.shape[1] - 1
        yield from pieces(int(np.searchsorted(z_index, last_start, "right")), part, start)
        last_plane = part[:, -1].copy()
    assert last_plane is not None
    yield from pieces(len(z_index), last_plane[:, None], last_start)


def labels_of(
    parts: Iterable[Part], indices: Indices, values: Sequence[int] | None = None, *, threads: int = 1
) -> NDArray[Any]:
    """Return the class with the largest logit on the new grid; of equal ones, the first class wins.

    Parameters
    ----------
    parts, indices
        See `planes_of`.
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
    for planes in planes_of(parts, indices):
        count = len(planes.source)
        if result is None:
            table = label_table(range(count) if values is None else values, count)
            result = np.empty(shape, table.dtype)
        largest = largest_of(planes, threads=threads)
        result[planes.start : planes.stop] = largest if values is None else table[largest]
    assert result is not None
    return result


def label_table(values: Sequence[int], count: int) -> NDArray[Any]:
    """Return the values of ``count`` classes in the smallest type that holds them: unsigned, unless one is negative."""
    if len(values) != count:
        raise ArgumentError(f"the network has {count} classes; expected as many label values, got {len(values)}")
    return np.asarray(values, dtype=np.result_type(np.min_scalar_type(min(values)), np.min_scalar_type(max(values))))


def largest_of(planes: Planes, *, threads: int = 1) -> NDArray[Any]:
    """Return the number of the class with the largest logit in each voxel of some planes.

    Raises
    ------
    CaseError
        When a logit is nan.
    """
    count = len(planes.source)
    best = planes.of_class(0, threads)
    largest = np.zeros(best.shape, np.uint8 if count <= 256 else np.uint16)
    for number in range(1, count):
        values = planes.of_class(number, threads)
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
