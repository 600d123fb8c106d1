"""Change the order of voxels in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.kernels.arrays import plain
from itkit.kernels.buffers import empty
from itkit.kernels.dispatch import native, numbers, run_slabs

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Sequence

    from numpy.typing import NDArray


def reorient(
    array_zyx: NDArray[Any], axes_zyx: Sequence[int], flips_zyx: Sequence[bool], *, threads: int = 1
) -> NDArray[Any]:
    """Permute and flip the axes of a volume.

    Parameters
    ----------
    array_zyx
        Voxels ``(Z, Y, X)``.
    axes_zyx
        For each axis of the result, the axis of the input that it comes from; ``(0, 1, 2)`` keeps all.
    flips_zyx
        Whether each axis *of the result* runs backwards along its input axis.
    threads
        Number of threads.

    Returns
    -------
    numpy.ndarray
        C-contiguous copy of ``array.transpose(axes)``, flipped.

    Examples
    --------
    >>> reorient(np.array([[[1, 2], [3, 4]]]), (0, 2, 1), (False, True, False))
    array([[[2, 4],
            [1, 3]]])
    """
    view = plain(array_zyx).transpose(axes_zyx)
    view = view[tuple(slice(None, None, -1 if flip else 1) for flip in flips_zyx)]
    result = empty(view.shape, view.dtype)
    library = native()
    if library is None:
        np.copyto(result, view)
    elif result.size:
        run_slabs(lambda begin, end: _copy(library, view[begin:end], result[begin:end]), len(view), threads)
    return result.view(np.bool_) if array_zyx.dtype == np.bool_ else result


def _copy(library: ctypes.CDLL, view: NDArray[Any], result: NDArray[Any]) -> None:
    strides, out_strides, shape = numbers(view.strides), numbers(result.strides), numbers(view.shape)
    library.itkit_copy(view.itemsize, view.ctypes.data, strides, result.ctypes.data, out_strides, shape)
