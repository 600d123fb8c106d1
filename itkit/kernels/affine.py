"""Resampling under an affine map from output indices to input indices, and under a bent one."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from itkit.kernels.arrays import fill_value, plain, to_dtype, type_number
from itkit.kernels.buffers import empty
from itkit.kernels.dispatch import native, numbers, run_slabs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class _Lines:
    """Source indices of the output's rows: ``start[z, y] + part[x] * span[z, y]``, ZYX on the last axis."""

    start: NDArray[np.float64]
    span: NDArray[np.float64]
    part: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.start.shape[0], self.start.shape[1], len(self.part))


def _lines(size_zyx: Sequence[int], matrix_zyx: ArrayLike, offset_zyx: ArrayLike) -> _Lines:
    """Map the first and the one-past-last voxel of every row, as ITK does for linear transforms."""
    matrix = np.asarray(matrix_zyx, dtype=np.float64).reshape(3, 3)
    offset = np.asarray(offset_zyx, dtype=np.float64).reshape(3)
    nz, ny, nx = size_zyx
    z, y = np.arange(nz, dtype=np.float64)[:, None, None], np.arange(ny, dtype=np.float64)[None, :, None]
    start = np.ascontiguousarray((matrix[:, 0] * z + matrix[:, 1] * y) + offset)
    span = np.ascontiguousarray((start + matrix[:, 2] * float(nx)) - start)
    return _Lines(start, span, np.arange(nx) / float(max(nx, 1)))


@dataclass(frozen=True, eq=False)
class Bend:
    """Displacements that are added to the indices of an affine map.

    Parameters
    ----------
    nodes
        ``(KZ, KY, KX, 3)``, input voxels, ZYX on the last axis: displacements at the nodes of a regular grid over the
        output, at least two along each axis. The outermost nodes lie on the outermost output voxels; between nodes,
        displacements are interpolated linearly.

    Raises
    ------
    ValueError
        When there are fewer than two nodes along an axis, or a displacement is not finite.
    """

    nodes: NDArray[np.float64]

    def __post_init__(self) -> None:
        nodes = np.ascontiguousarray(self.nodes, dtype=np.float64)
        if nodes.ndim != 4 or nodes.shape[3] != 3 or min(nodes.shape[:3]) < 2:
            raise ValueError(f"nodes of a bend: expected (KZ, KY, KX, 3), each K at least 2; got shape {nodes.shape}")
        if not np.isfinite(nodes).all():
            raise ValueError("nodes of a bend: expected finite displacements")
        object.__setattr__(self, "nodes", nodes)

    def rows(self, length: int) -> NDArray[np.float64]:
        """Interpolate along x: ``(KZ, KY, 3, length)``."""
        node, part = _between(length, self.nodes.shape[2])
        weights = np.zeros((self.nodes.shape[2], length))
        weights[node, np.arange(length)] = 1 - part
        weights[node + 1, np.arange(length)] = part
        return np.ascontiguousarray(np.moveaxis(self.nodes, 3, 2)) @ weights


def _between(length: int, nodes: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return, for each voxel of an axis, the node below it, and how far it is on the way to the next one, 0 to 1."""
    place = np.arange(length, dtype=np.float64) * ((nodes - 1) / max(length - 1, 1))
    node: NDArray[np.int64] = np.minimum(place.astype(np.int64), nodes - 2)
    return node, place - node.astype(np.float64)


def affine_linear(
    array_zyx: NDArray[Any],
    size_zyx: Sequence[int],
    matrix_zyx: ArrayLike,
    offset_zyx: ArrayLike,
    *,
    fill: float = 0,
    bend: Bend | None = None,
    threads: int = 1,
) -> NDArray[Any]:
    """Interpolate a volume linearly at ``matrix @ output index + offset``.

    Parameters
    ----------
    array_zyx
        Voxels ``(Z, Y, X)``.
    size_zyx
        Size of the result.
    matrix_zyx, offset_zyx
        ``(3, 3)`` and ``(3,)``, ZYX: map an output index to the input's continuous index; :func:`index_affine` returns
        them.
    fill
        Value of samples half a voxel or more outside the outermost voxel centres; closer ones take the value of the
        edge voxel.
    bend
        Displacements that are added to the indices.
    threads
        Number of threads; it does not change the result.

    Returns
    -------
    numpy.ndarray
        C-contiguous, of the input's type; integers are rounded to nearest (ties to even).

    Examples
    --------
    >>> affine_linear(np.array([[[0, 10], [20, 30]]]), (1, 1, 3), np.eye(3), (0, 0.5, 0), fill=-1)
    array([[[10, 20, -1]]])
    """
    source = _source(array_zyx)
    result = empty(tuple(size_zyx), source.dtype)
    _run(_lines(size_zyx, matrix_zyx, offset_zyx), bend, (source, result, fill), None, threads)
    return result.view(array_zyx.dtype.newbyteorder("="))


def affine_nearest(
    array_zyx: NDArray[Any],
    size_zyx: Sequence[int],
    matrix_zyx: ArrayLike,
    offset_zyx: ArrayLike,
    *,
    fill: float = 0,
    bend: Bend | None = None,
    threads: int = 1,
) -> NDArray[Any]:
    """Take the voxel ``floor(index + 0.5)`` at ``matrix @ output index + offset``; see :func:`affine_linear`."""
    source = _source(array_zyx)
    result = empty(tuple(size_zyx), source.dtype)
    _run(_lines(size_zyx, matrix_zyx, offset_zyx), bend, None, (source, result, fill), threads)
    return result.view(array_zyx.dtype.newbyteorder("="))


def affine_pair(
    image_zyx: NDArray[Any],
    label_zyx: NDArray[Any],
    size_zyx: Sequence[int],
    matrix_zyx: ArrayLike,
    offset_zyx: ArrayLike,
    *,
    fill: float = 0,
    label_fill: int = 0,
    bend: Bend | None = None,
    threads: int = 1,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Resample an image linearly and its label by nearest neighbour in one pass.

    Parameters
    ----------
    image_zyx, label_zyx
        Voxels ``(Z, Y, X)`` of the same shape.
    size_zyx, matrix_zyx, offset_zyx, fill, bend, threads
        As for :func:`affine_linear`.
    label_fill
        Label value of samples outside.

    Returns
    -------
    image, label
        The same as from :func:`affine_linear` and :func:`affine_nearest`.

    Raises
    ------
    ValueError
        When the shapes differ.
    """
    if image_zyx.shape != label_zyx.shape:
        raise ValueError(f"image and label differ in shape: {image_zyx.shape} and {label_zyx.shape} (Z, Y, X)")
    image, label = _source(image_zyx), _source(label_zyx)
    image_out = empty(tuple(size_zyx), image.dtype)
    label_out = empty(tuple(size_zyx), label.dtype)
    lines = _lines(size_zyx, matrix_zyx, offset_zyx)
    _run(lines, bend, (image, image_out, fill), (label, label_out, label_fill), threads)
    return (
        image_out.view(image_zyx.dtype.newbyteorder("=")),
        label_out.view(label_zyx.dtype.newbyteorder("=")),
    )


_Task = tuple["NDArray[Any]", "NDArray[Any]", float]


def _source(array: NDArray[Any]) -> NDArray[Any]:
    source = plain(array)
    if source.strides[2] != source.itemsize:
        source = np.ascontiguousarray(source)
    if 0 in source.shape:
        raise ValueError(f"no voxels to sample in an array of shape {source.shape}")
    return source


class _TaskStruct(ctypes.Structure):
    _fields_: ClassVar = [
        ("type", ctypes.c_int64),
        ("size", ctypes.c_int64),
        ("source", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("fill", ctypes.c_void_p),
        ("z_stride", ctypes.c_int64),
        ("y_stride", ctypes.c_int64),
    ]


class _LinesStruct(ctypes.Structure):
    _fields_: ClassVar = [
        ("size_zyx", ctypes.c_int64 * 3),
        ("start", ctypes.c_void_p),
        ("span", ctypes.c_void_p),
        ("part", ctypes.c_void_p),
        ("shape_zyx", ctypes.c_int64 * 3),
    ]


class _BendStruct(ctypes.Structure):
    _fields_: ClassVar = [
        ("ky", ctypes.c_int64),
        ("rows", ctypes.c_void_p),
        ("z_node", ctypes.c_void_p),
        ("y_node", ctypes.c_void_p),
        ("z_part", ctypes.c_void_p),
        ("y_part", ctypes.c_void_p),
    ]


@dataclass(frozen=True, eq=False)
class _Bent:
    """A bend over the rows of a result of a given size."""

    rows: NDArray[np.float64]
    z: tuple[NDArray[np.int64], NDArray[np.float64]]
    y: tuple[NDArray[np.int64], NDArray[np.float64]]

    def plane(self, z: int) -> NDArray[np.float64]:
        """Return the displacements in a plane of the result, ``(Y, X, 3)``."""
        (node, part), (y_node, y_part) = (self.z[0][z], self.z[1][z]), self.y
        below, above = (
            _lerp(rows[y_node], rows[y_node + 1], y_part[:, None, None]) for rows in self.rows[node : node + 2]
        )
        return np.moveaxis(_lerp(below, above, part), 1, 2)

    def packed(self) -> _BendStruct:
        arrays = (self.rows, self.z[0], self.y[0], self.z[1], self.y[1])
        return _BendStruct(self.rows.shape[1], *(array.ctypes.data for array in arrays))


def _lerp(low: NDArray[np.float64], high: NDArray[np.float64], part: Any) -> NDArray[np.float64]:
    result: NDArray[np.float64] = low + (high - low) * part
    return result


def _bent(bend: Bend, size_zyx: Sequence[int]) -> _Bent:
    z, y = (_between(n, k) for n, k in zip(size_zyx[:2], bend.nodes.shape[:2], strict=True))
    return _Bent(bend.rows(size_zyx[2]), z, y)


def _run(lines: _Lines, bend: Bend | None, image: _Task | None, label: _Task | None, threads: int) -> None:
    """Fill the results of an image task, a label task, or both."""
    library = native()
    bent = None if bend is None else _bent(bend, lines.shape)
    if library is None:
        for z in range(lines.shape[0]):
            _slice_numpy(lines, z, bent, image, label)
        return
    keep = [_packed(task) for task in (image, label)]
    structs = [ctypes.byref(struct) for struct, _ in keep]
    shape = next(task[0].shape for task in (image, label) if task is not None)
    pointers = (array.ctypes.data for array in (lines.start, lines.span, lines.part))
    packed = _LinesStruct(numbers(lines.shape), *pointers, numbers(shape))
    work = partial(library.itkit_affine, ctypes.byref(packed))
    if bent is not None:
        bend_struct = bent.packed()
        work = partial(library.itkit_warp, ctypes.byref(packed), ctypes.byref(bend_struct))
    run_slabs(lambda begin, end: work(*structs, begin, end), lines.shape[0], threads)


def _packed(task: _Task | None) -> tuple[_TaskStruct, NDArray[Any] | None]:
    """Return a task as a C struct, and the array that owns the memory of its fill value."""
    if task is None:
        return _TaskStruct(type=-1), None
    source, out, fill = task
    value = np.array([fill_value(fill, out.dtype)], dtype=out.dtype)
    size = out.dtype.itemsize
    strides = (source.strides[0] // size, source.strides[1] // size)
    pointers = (array.ctypes.data for array in (source, out, value))
    return _TaskStruct(type_number(out.dtype), size, *pointers, *strides), value


def _slice_numpy(lines: _Lines, z: int, bent: _Bent | None, image: _Task | None, label: _Task | None) -> None:
    task = image or label
    if task is None:
        return
    sizes = np.array(task[0].shape, dtype=np.float64)
    index = lines.start[z][:, None, :] + lines.part[:, None] * lines.span[z][:, None, :]  # (Y, X, 3)
    if bent is not None:
        index = index + bent.plane(z)
    inside = ((index >= -0.5) & (index < sizes - 0.5)).all(axis=-1)
    index = index[inside]
    if label is not None:
        source, out, fill = label
        near = np.clip(np.floor(index + 0.5), 0, sizes - 1).astype(np.int64)
        out[z] = fill_value(fill, out.dtype)
        out[z][inside] = source[near[:, 0], near[:, 1], near[:, 2]]
    if image is not None:
        source, out, fill = image
        index = np.clip(index, 0.0, sizes - 1.0)
        lower = np.floor(index).astype(np.int64)
        weight = index - lower
        upper = np.minimum(lower + 1, np.array(source.shape) - 1)
        with np.errstate(invalid="ignore", over="ignore"):
            values = _corners(source, lower, upper, weight)
        out[z] = fill_value(fill, out.dtype)
        out[z][inside] = to_dtype(values, out.dtype)


def _corners(
    source: NDArray[Any], lower: NDArray[np.int64], upper: NDArray[np.int64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Interpolate along x, then y, then z at ``(N, 3)`` positions."""
    planes = []
    for z in (lower[:, 0], upper[:, 0]):
        rows = [
            _mix(source[z, y, lower[:, 2]].astype(float), source[z, y, upper[:, 2]].astype(float), weight[:, 2])
            for y in (lower[:, 1], upper[:, 1])
        ]
        planes.append(_mix(rows[0], rows[1], weight[:, 1]))
    return _mix(planes[0], planes[1], weight[:, 0])


def _mix(v0: NDArray[np.float64], v1: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(weight == 0, v0, v0 + (v1 - v0) * weight)
