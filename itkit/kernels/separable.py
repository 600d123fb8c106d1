"""Resampling between grids with parallel axes: one axis after the other."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from itkit.kernels.arrays import fill_value, plain, rows_last, to_dtype, type_number
from itkit.kernels.buffers import empty
from itkit.kernels.dispatch import native, numbers, run_slabs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class _Axis:
    """Where the samples along one axis come from: ``v[lower] + (v[upper] - v[lower]) * weight``."""

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    weight: NDArray[np.float64]
    nearest: NDArray[np.int64]
    inside: slice

    @property
    def size(self) -> int:
        return len(self.lower)


def _axis(index: NDArray[np.float64], length: int, *, clamp: bool) -> _Axis:
    """Plan one axis; without clamping, keep only samples within half a voxel of a voxel centre."""
    begin, end = 0, len(index)
    if not clamp:
        valid = np.flatnonzero((index >= -0.5) & (index < length - 0.5))
        begin, end = (int(valid[0]), int(valid[-1]) + 1) if len(valid) else (0, 0)
        if end - begin != len(valid):
            raise ValueError("indices along an axis must rise or fall throughout")
    kept = np.clip(index[begin:end], -1.0, float(length))
    nearest = np.clip(np.floor(kept + 0.5), 0, length - 1).astype(np.int64)
    kept = np.clip(kept, 0.0, length - 1.0)
    lower = np.floor(kept).astype(np.int64)
    return _Axis(lower, np.minimum(lower + 1, length - 1), kept - lower, nearest, slice(begin, end))


def sample_linear(
    array_zyx: NDArray[Any],
    indices_zyx: Sequence[NDArray[np.float64]],
    *,
    fill: float | None = None,
    threads: int = 1,
) -> NDArray[Any]:
    """Interpolate a volume linearly at a rectilinear grid of continuous indices.

    Parameters
    ----------
    array_zyx
        Voxels ``(Z, Y, X)``.
    indices_zyx
        Continuous indices along Z, Y and X, each monotone; :func:`axis_aligned_indices` returns them.
    fill
        Value of samples outside the volume (index below -0.5 or from size - 0.5 on); without it, they take the value
        of the nearest edge voxel, as samples between the outermost voxel centres and the edge always do.
    threads
        Number of threads; it does not change the result.

    Returns
    -------
    numpy.ndarray
        ``(len(z), len(y), len(x))``, C-contiguous, of the input's type. Integer types are rounded to nearest (ties to
        even), float32 once at the end.

    Notes
    -----
    Passes along x, y and z each compute ``v0 + (v1 - v0) * d`` in double without fused multiply-add, which equals the
    float64 result of ``SimpleITK.Resample`` on the same indices. 64-bit integers pass through double: values beyond
    2**53 lose their lowest bits, even if a sample lies exactly on a voxel centre.
    """
    return _sample(array_zyx, indices_zyx, fill, threads, _linear)


def sample_nearest(
    array_zyx: NDArray[Any],
    indices_zyx: Sequence[NDArray[np.float64]],
    *,
    fill: float | None = None,
    threads: int = 1,
) -> NDArray[Any]:
    """Take the voxel ``floor(index + 0.5)`` at a rectilinear grid of continuous indices; values stay exact.

    Parameters and result are those of :func:`sample_linear`.
    """
    return _sample(array_zyx, indices_zyx, fill, threads, _nearest)


def resample_linear(
    array_zyx: NDArray[Any],
    size_zyx: Sequence[int],
    start_zyx: Sequence[float],
    step_zyx: Sequence[float],
    *,
    fill: float | None = None,
    threads: int = 1,
) -> NDArray[Any]:
    """Interpolate linearly at the indices ``start + i * step``; see :func:`sample_linear`.

    Examples
    --------
    >>> resample_linear(np.array([[[0, 10, 30]]]), (1, 1, 4), (0, 0, -0.25), (1, 1, 0.75))
    array([[[ 0,  5, 15, 30]]])
    """
    return sample_linear(array_zyx, _indices(size_zyx, start_zyx, step_zyx), fill=fill, threads=threads)


def resample_nearest(
    array_zyx: NDArray[Any],
    size_zyx: Sequence[int],
    start_zyx: Sequence[float],
    step_zyx: Sequence[float],
    *,
    fill: float | None = None,
    threads: int = 1,
) -> NDArray[Any]:
    """Take the nearest voxels at the indices ``start + i * step``; see :func:`sample_nearest`.

    Examples
    --------
    >>> resample_nearest(np.array([[[1, 2, 3]]]), (1, 1, 3), (0, 0, 0.5), (1, 1, 1), fill=9)
    array([[[2, 3, 9]]])
    """
    return sample_nearest(array_zyx, _indices(size_zyx, start_zyx, step_zyx), fill=fill, threads=threads)


def _indices(
    size_zyx: Sequence[int], start_zyx: Sequence[float], step_zyx: Sequence[float]
) -> list[NDArray[np.float64]]:
    return [
        start + np.arange(size, dtype=np.float64) * step
        for size, start, step in zip(size_zyx, start_zyx, step_zyx, strict=True)
    ]


def _sample(
    array_zyx: NDArray[Any],
    indices_zyx: Sequence[NDArray[np.float64]],
    fill: float | None,
    threads: int,
    kernel: Callable[[NDArray[Any], NDArray[Any], Sequence[_Axis], int], None],
) -> NDArray[Any]:
    source = rows_last(plain(array_zyx))
    if 0 in source.shape:
        raise ValueError(f"no voxels to sample in an array of shape {source.shape}")
    axes = [
        _axis(np.asarray(index, dtype=np.float64), length, clamp=fill is None)
        for index, length in zip(indices_zyx, source.shape, strict=True)
    ]
    shape = tuple(len(index) for index in indices_zyx)
    result = empty(shape, source.dtype)
    part = result[axes[0].inside, axes[1].inside, axes[2].inside]
    if fill is not None and part.shape != shape:
        result[...] = fill_value(fill, source.dtype)
    if part.size:
        kernel(source, part, axes, threads)
    return result.view(np.bool_) if array_zyx.dtype == np.bool_ else result


class _AxisStruct(ctypes.Structure):
    _fields_: ClassVar = [
        ("size", ctypes.c_int64),
        ("lower", ctypes.c_void_p),
        ("upper", ctypes.c_void_p),
        ("weight", ctypes.c_void_p),
    ]


def _linear(source: NDArray[Any], out: NDArray[Any], axes: Sequence[_Axis], threads: int) -> None:
    library = native()
    if library is None:
        _linear_numpy(source, out, axes)
        return
    structs = [_AxisStruct(a.size, a.lower.ctypes.data, a.upper.ctypes.data, a.weight.ctypes.data) for a in axes]
    pointers = [ctypes.byref(struct) for struct in structs]
    strides, out_strides = numbers(source.strides), numbers(out.strides)
    number = type_number(source.dtype)

    def work(begin: int, end: int) -> None:
        failed = library.itkit_linear(
            number, source.ctypes.data, strides, out.ctypes.data, out_strides, *pointers, begin, end
        )
        if failed:
            raise MemoryError

    run_slabs(work, len(out), threads)


def _nearest(source: NDArray[Any], out: NDArray[Any], axes: Sequence[_Axis], threads: int) -> None:
    library = native()
    if library is None:
        _nearest_numpy(source, out, axes)
        return
    indices = [axis.nearest.ctypes.data for axis in axes]
    strides, out_strides = numbers(source.strides), numbers(out.strides)
    size = source.dtype.itemsize

    def work(begin: int, end: int) -> None:
        library.itkit_nearest(
            size, source.ctypes.data, strides, out.ctypes.data, out_strides, *indices, *out.shape[1:], begin, end
        )

    run_slabs(work, len(out), threads)


def _nearest_numpy(source: NDArray[Any], out: NDArray[Any], axes: Sequence[_Axis]) -> None:
    z_axis, y_axis, x_axis = axes
    last = -1
    for z, index in enumerate(z_axis.nearest.tolist()):
        if index == last:
            out[z] = out[z - 1]
        else:
            out[z] = source[index].take(y_axis.nearest, axis=0).take(x_axis.nearest, axis=1)
        last = index


def _blend(v0: NDArray[np.float64], v1: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Store ``v0 + (v1 - v0) * weight`` in ``v1``; exactly ``v0`` where the weight is 0, even if ``v1`` is nan."""
    v1 -= v0
    v1 *= weight
    v1 += v0
    np.copyto(v1, v0, where=weight == 0)
    return v1


def _linear_numpy(source: NDArray[Any], out: NDArray[Any], axes: Sequence[_Axis]) -> None:
    z_axis, y_axis, x_axis = axes
    rows, places = np.unique(np.concatenate([y_axis.lower, y_axis.upper]), return_inverse=True)
    lower, upper = places[: y_axis.size], places[y_axis.size :]
    planes: dict[int, NDArray[np.float64]] = {}

    def plane(z: int) -> NDArray[np.float64]:
        if z not in planes:
            if len(planes) == 2:
                planes.pop(next(iter(planes)))
            values = source[z].take(rows, axis=0).astype(np.float64)
            values = _blend(values.take(x_axis.lower, axis=1), values.take(x_axis.upper, axis=1), x_axis.weight)
            planes[z] = _blend(values.take(lower, axis=0), values.take(upper, axis=0), y_axis.weight[:, None])
        return planes[z]

    with np.errstate(invalid="ignore", over="ignore"):
        for z, (below, above, weight) in enumerate(zip(z_axis.lower, z_axis.upper, z_axis.weight, strict=True)):
            values = plane(int(below))
            if weight != 0:
                values = _blend(values, plane(int(above)).copy(), weight)
            out[z] = to_dtype(values, source.dtype)
