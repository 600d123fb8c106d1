"""DEFLATE compression (RFC 1951) of voxels, by an encoder that uses the size of a sample and the length of a row."""

from __future__ import annotations

import numpy as np

from itkit.kernels.buffers import empty
from itkit.kernels.dispatch import native

_LEAST_ROOM = 5 << 20


def deflate(plain: memoryview, *, item_bytes: int, row_bytes: int, last: bool) -> bytes | None:
    """Compress a piece of a DEFLATE stream; return ``None`` if the compiled library is missing (use another encoder).

    Parameters
    ----------
    plain
        Voxels, contiguous.
    item_bytes
        Bytes of a sample. In samples of an even size, the encoder searches for equal content at even positions; in
        others, most of which are label maps, it searches for runs and for repeats of the previous row.
    row_bytes
        Bytes of a row; 0 if the data have no rows.
    last
        Whether the stream ends here. Otherwise the piece ends at a whole byte, and the next piece may follow it.

    Returns
    -------
    bytes or None
        The compressed piece; the same bytes on every machine.

    Raises
    ------
    MemoryError
        When there is not enough memory.

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
    )  # mostly the same size, so that the buffer is reused
    size = library.itkit_deflate(
        source.ctypes.data, source.size, item_bytes, row_bytes, last, out.ctypes.data, out.size
    )
    if size < 0:
        raise MemoryError("not enough memory to compress")
    return out[:size].tobytes()
