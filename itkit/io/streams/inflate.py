"""Decompress gzip streams of any number of members (RFC 1952) and zlib streams (RFC 1950), and verify their checksums.

ISA-L decompresses. Measured on a CT of 84 MB (ratio 2.3, ``.nii.gz``, one core), it takes 212 ms; libdeflate takes as
long but needs the whole file in memory, and zlib-ng takes 264 ms. A stream is read piece by piece, and never much
further than needed, so that neither a large file nor a small one that expands to gigabytes fills the memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from isal import igzip_lib

from itkit.kernels.buffers import empty

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SPARE_BYTES = 1 << 20
"""A stream may hold this many bytes more than needed; a longer one is refused before the rest is inflated."""
_READ_BYTES = 1 << 18
_FIRST_BYTES = 1 << 9
"""Size of a member's first piece of input; it doubles each time, so that many small members take no longer than one."""
_INFLATE_BYTES = 1 << 19
_ALIGNMENT = 64
_GZIP_MAGIC = b"\x1f\x8b"
_WINDOW_BITS = 15
_FAULTS = {
    "-1": "invalid block",
    "-2": "invalid symbol",
    "-3": "a match begins before the data",
    "-4": "neither a gzip nor a zlib stream",
    "-5": "an unknown method of compression",
    "-6": "its checksum is wrong",
    "6": "it needs a dictionary that the file doesn't hold",
}
"""Description of a stream's fault, by the number in ISA-L's message (``Error -1 Invalid deflate block found``)."""


class CorruptStreamError(Exception):
    """The stream is not DEFLATE data, its checksum is wrong, or it is far longer than expected."""


class ShortStreamError(Exception):
    """The stream ends before its checksum; it expanded to ``made`` bytes."""

    def __init__(self, made: int) -> None:
        super().__init__("it ends before its checksum")
        self.made = made


def inflate(file: BinaryIO, *, skip: int, size: int) -> NDArray[np.uint8]:
    """Inflate the stream that begins at the file's current position.

    Parameters
    ----------
    file
        Unbuffered binary file.
    skip, size
        Number of bytes to skip at the start, and number of bytes to return. Up to `SPARE_BYTES` after them are verified
        as well.

    Returns
    -------
    numpy.ndarray
        ``(size,)`` bytes, or fewer if the stream is complete but shorter; aligned for every voxel type.

    Raises
    ------
    CorruptStreamError
        When the stream is corrupt, its checksum is wrong, or more than `SPARE_BYTES` follow the requested bytes.
    ShortStreamError
        When the stream ends too early.
    MemoryError
        When there is not enough memory.
    """
    front = -skip % _ALIGNMENT
    try:
        plain = empty((front + skip + size,), np.uint8)[front:]
    except (ValueError, MemoryError) as error:
        raise MemoryError(f"{skip + size} bytes") from error
    target, made = plain.data, 0
    try:
        for piece in _pieces(_Source(file)):
            room = max(0, len(target) - made)
            target[made : made + min(room, len(piece))] = piece[:room]
            made += len(piece)
            if made > len(target) + SPARE_BYTES:
                raise CorruptStreamError(f"it holds more than the {len(target)} bytes that the header asks for")
    except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub makes it a value
        raise CorruptStreamError(_fault(error)) from error
    except EOFError as error:
        raise ShortStreamError(made) from error
    return plain[skip:made]


def _fault(error: Exception) -> str:
    text = str(error)
    number = text.removeprefix("Error ").partition(" ")[0]
    return _FAULTS.get(number, text)


class _Source:
    """A file whose next bytes can be read with or without advancing."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._data, self._at = file, b"", 0

    def peek(self, count: int) -> bytes:
        """Return the next bytes without advancing; fewer than requested only at the end of the file."""
        while len(self._data) - self._at < count and (more := self._file.read(_READ_BYTES)):
            self._data, self._at = self._data[self._at :] + more, 0
        return self._data[self._at : self._at + count]

    def take(self, most: int) -> bytes:
        """Return some of the next bytes and advance past them; none only at the end of the file."""
        if self._at == len(self._data):
            self._data, self._at = self._file.read(_READ_BYTES), 0
        taken = self._data[self._at : self._at + most]
        self._at += len(taken)
        return taken

    def give_back(self, count: int) -> None:
        """Move back, so that the last bytes that were taken are returned again."""
        self._at -= count


def _pieces(source: _Source) -> Iterator[bytes]:
    """Inflate a whole stream; raise ``EOFError`` if it ends too early."""
    is_gzip = source.peek(2) == _GZIP_MAGIC  # MetaIO also accepts gzip streams in .zraw files
    yield from _member(source, igzip_lib.DECOMP_GZIP if is_gzip else igzip_lib.DECOMP_ZLIB)
    while is_gzip and source.peek(2) == _GZIP_MAGIC:  # anything else after the last member is padding
        yield from _member(source, igzip_lib.DECOMP_GZIP)


def _member(source: _Source, container: int) -> Iterator[bytes]:
    """Inflate one gzip member or zlib stream, and leave the source at the first byte after its checksum."""
    stream = igzip_lib.IgzipDecompressor(flag=container, hist_bits=_WINDOW_BITS)
    share = _FIRST_BYTES
    while not stream.eof:
        data = b""
        if stream.needs_input:
            data, share = source.take(share), min(2 * share, _READ_BYTES)
            if not data:
                raise EOFError
        yield stream.decompress(data, _INFLATE_BYTES)
    source.give_back(len(stream.unused_data))
