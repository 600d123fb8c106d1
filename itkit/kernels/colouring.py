"""Colour slices for the screen: values to grey by a table, grey under classes to RGB by another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.kernels.dispatch import native, numbers

if TYPE_CHECKING:
    import ctypes

    from numpy.typing import NDArray

_SAME = np.arange(256, dtype=np.uint8)
"""The grey of values that are grey already."""


def coloured(
    values: NDArray[Any] | None,
    places: NDArray[np.uint8] | None,
    table: NDArray[np.uint32],
    *,
    grey: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint32]:
    """Return a slice as RGB.

    Parameters
    ----------
    values
        Pixels ``(rows, columns)``: uint8 or uint16, in any memory order; ``None`` is black.
    places
        Place of each pixel's class in the table, ``(rows, columns)``; ``None`` draws no class.
    table
        RGB of each grey under each place: entry ``256 * place + grey``, 65,536 of them.
    grey
        Grey of each value, 256 or 65,536 of them; by default the values are grey already, and bytes.

    Returns
    -------
    numpy.ndarray
        ``0xFFRRGGBB``, ``(rows, columns)``, C-contiguous.

    Examples
    --------
    >>> table = np.arange(1 << 16, dtype=np.uint32)
    >>> coloured(np.array([[7, 9]], np.uint8), np.array([[0, 2]], np.uint8), table).tolist()
    [[7, 521]]
    >>> [hex(rgb) for rgb in coloured(np.array([[7, 9]], np.uint8), None, table)[0]]
    ['0xff070707', '0xff090909']
    """
    shape = next(part.shape for part in (values, places) if part is not None)
    grey = _SAME if grey is None else grey
    if any(part is not None and (part.ndim, part.shape) != (2, shape) for part in (values, places)):
        raise ValueError("values and places: expected the same rows and columns")
    if len(table) != 1 << 16 or (values is not None and len(grey) != 1 << 8 * values.itemsize):
        raise ValueError("grey and table: expected an entry for each value, and 65,536 entries")
    library = native()
    if library is None:
        return _by_numpy(values, places, table, grey)
    return _by_kernel(library, values, places, np.ascontiguousarray(table), np.ascontiguousarray(grey), shape)


def _by_kernel(
    library: ctypes.CDLL,
    values: NDArray[Any] | None,
    places: NDArray[np.uint8] | None,
    table: NDArray[np.uint32],
    grey: NDArray[np.uint8],
    shape: tuple[int, ...],
) -> NDArray[np.uint32]:
    rgb = np.empty(shape, np.uint32)
    size = 1 if values is None else values.itemsize
    views = [(None, None) if part is None else (part.ctypes.data, numbers(part.strides)) for part in (values, places)]
    (source, strides), (classes, class_strides) = views
    library.itkit_colour(
        size, source, strides, grey.ctypes.data, classes, class_strides, table.ctypes.data, numbers(shape),
        rgb.ctypes.data,
    )  # fmt: skip
    return rgb


def _by_numpy(
    values: NDArray[Any] | None, places: NDArray[np.uint8] | None, table: NDArray[np.uint32], grey: NDArray[np.uint8]
) -> NDArray[np.uint32]:
    shade = None if values is None else np.take(grey, values, mode="clip")
    if places is None:
        assert shade is not None  # one of both is there
        rgb = shade.astype(np.uint32)
        rgb *= np.uint32(0x010101)
        rgb |= np.uint32(0xFF000000)
        return rgb
    index = places.astype(np.uint16)
    index <<= 8
    if shade is not None:
        index |= shade
    return np.take(table, index, mode="clip")
