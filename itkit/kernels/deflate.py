"""DEFLATE data (RFC 1951) for voxels, by an encoder that knows the size of a sample and the length of a row."""

from __future__ import annotations

import numpy as np

from itkit.kernels.buffers import empty
from itkit.kernels.dispatch import native

_LEAST_ROOM = 5 << 20


def deflate(plain: memoryview, *, item_bytes: int, row_bytes: int, last: bool) -> bytes | None:
    """Compress a piece of a DEFLATE stream; return ``None`` without the compiled library: another encoder does it then.

    Parameters
    ----------
    plain
        Voxels, contiguous.
    item_bytes
        Bytes of a sample. Samples of an even size are searched at even places by what they hold; others, most of them
        label maps, for runs and for repeats of the row before.
    row_bytes
        Bytes of a row; 0 if there are none.
    last
        Whether the stream ends here. Else the piece ends at a whole byte, and the next one may follow it.

    Returns
    -------
    bytes or None
        The same on every machine.

    Raises
    ------
    MemoryError
        When there is no room to work in.

    Examples
    --------
    >>> import zlib
    >>> data = deflate(memoryview(bytes(1000)), item_bytes=2, row_bytes=20, last=True)
    >>> data is None or zlib.decompress(data, -15) == bytes(1000)
    True
    """
    library = native()
    if library is None:
        return None
    source = np.frombuffer(plain, dtype=np.uint8) if plain.nbytes else np.empty(0, dtype=np.uint8)
    out = empty(
        (max(library.itkit_deflate_bound(source.size), _LEAST_ROOM),), np.uint8
    )  # of one size mostly, so that it is used again
    size = library.itkit_deflate(
        source.ctypes.data, source.size, item_bytes, row_bytes, last, out.ctypes.data, out.size
    )
    if size < 0:
        raise MemoryError("no memory to compress in")
    return out[:size].tobytes()
