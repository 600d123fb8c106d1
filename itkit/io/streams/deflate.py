"""Write DEFLATE streams in chunks that several threads compress.

ITKIT's own encoder, which uses the size of samples and rows, compresses them if the kernels are compiled and
``ITKIT_CODECS`` does not request ISA-L; otherwise ISA-L does. ``docs/explanation/the-encoder.md`` explains what the
encoder does, how it was measured, and why it exists.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from isal import isal_zlib

from itkit.io.formats.backend import codecs_backend
from itkit.io.streams.checksums import CHECKSUMS, Container
from itkit.kernels.deflate import deflate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from itkit.core.files import Compression

_HEADERS = {"gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff", "zlib": b"\x78\x01"}
"""Header of gzip: no file name, time 0 (so that the same voxels make the same bytes), unknown system."""
_LAST_BLOCK = b"\x03\x00"
"""An empty block that ends DEFLATE data."""
_MOST_ITEM_BYTES = 4
"""Larger samples (8 bytes) go to ISA-L: it takes three quarters of the time, for 2 % more bytes."""
_LABEL_RATIO = 8
"""Chunks that shrink more than this are labels or similar data, in which zlib finds repeats that ISA-L misses."""


class Plain(NamedTuple):
    """Bytes to compress, and the size of a sample and of a row (0: no rows), which help to compress them."""

    data: memoryview
    item_bytes: int = 1
    row_bytes: int = 0


Chunk = Callable[[], Plain]


class Deflated(NamedTuple):
    """A chunk that was compressed separately, and the checksum of its plain bytes."""

    data: bytes
    checksum: int
    plain_bytes: int


def deflate_stream(
    chunks: Sequence[Chunk], container: Container, *, compression: Compression = "fast", threads: int = 1
) -> Iterator[bytes]:
    """Compress chunks into one stream that every decoder can read; yield its bytes in pieces, in order.

    Parameters
    ----------
    chunks
        Functions that return the plain bytes of each chunk; the thread that compresses a chunk calls its function.
    container
        The format around the DEFLATE data.
    compression
        ``"none"`` stores; ``"fast"`` is ITKIT's own encoder, or ISA-L's level 2; ``"small"`` is the smallest result of
        that, of ISA-L's level 3, and, for chunks that are nearly as simple as labels, of zlib's level 6.
    threads
        Number of threads; it does not change the bytes.
    """
    yield from _framed(_in_order(chunks, container, compression, threads), container)


def deflate_piece(chunk: Chunk, container: Container, *, compression: Compression = "fast") -> Deflated:
    """Compress a chunk that several streams share; see `joined`."""
    return _deflate(chunk, container, compression, last=False)


def joined(pieces: Sequence[Deflated], container: Container) -> list[bytes]:
    """Join pieces that were compressed before to one stream; return its parts in order."""
    end = Deflated(_LAST_BLOCK, CHECKSUMS[container].of_nothing, 0)
    return list(_framed((*pieces, end), container))


def _framed(pieces: Iterable[Deflated], container: Container) -> Iterator[bytes]:
    """Yield the header, the DEFLATE data and the checksum of a stream."""
    yield _HEADERS[container]
    checksum, total = CHECKSUMS[container].of_nothing, 0
    for piece in pieces:
        checksum = CHECKSUMS[container].combine(checksum, piece.checksum, piece.plain_bytes)
        total += piece.plain_bytes
        yield piece.data
    if container == "gzip":
        yield checksum.to_bytes(4, "little") + (total & 0xFFFFFFFF).to_bytes(4, "little")
    else:
        yield checksum.to_bytes(4, "big")


def _in_order(
    chunks: Sequence[Chunk], container: Container, compression: Compression, threads: int
) -> Iterator[Deflated]:
    """Deflate chunks in order; with threads, only a few chunks more than threads are queued, to save memory."""
    last = len(chunks) - 1
    if threads <= 1 or last < 1:
        for index, chunk in enumerate(chunks):
            yield _deflate(chunk, container, compression, last=index == last)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(threads, len(chunks))) as pool:
        waiting: deque[Future[Deflated]] = deque()
        try:
            for index, chunk in enumerate(chunks):
                waiting.append(pool.submit(_deflate, chunk, container, compression, last=index == last))
                if len(waiting) > threads + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # the reader of this generator failed, say on a full disk
            for future in waiting:
                future.cancel()


def _deflate(chunk: Chunk, container: Container, compression: Compression, *, last: bool) -> Deflated:
    plain = chunk()
    made = min(_encodings(plain, compression, last=last), key=len)
    return Deflated(made, CHECKSUMS[container].of(plain.data), plain.data.nbytes)


def _encodings(plain: Plain, compression: Compression, *, last: bool) -> Iterator[bytes]:
    """Yield a chunk compressed with every encoder that is worth its time."""
    data, end = plain.data, zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH
    if compression == "none":
        yield _deflate_with(zlib.compressobj(0, zlib.DEFLATED, -15), data, end)
        return
    ours = None
    if plain.item_bytes <= _MOST_ITEM_BYTES and codecs_backend() != "isal":
        ours = deflate(data, item_bytes=plain.item_bytes, row_bytes=plain.row_bytes, last=last)
    if ours is not None:
        yield ours
    if ours is None or compression == "small":
        made = _deflate_with(isal_zlib.compressobj(2 if compression == "fast" else 3, zlib.DEFLATED, -15), data, end)
        yield made
        if compression == "small" and len(made) * _LABEL_RATIO < data.nbytes:
            yield _deflate_with(zlib.compressobj(6, zlib.DEFLATED, -15), data, end)


def _deflate_with(stream: Any, data: memoryview, end: int) -> bytes:
    made: bytes = stream.compress(data) + stream.flush(end)
    return made
