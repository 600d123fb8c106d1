"""Checksums of compressed streams: CRC-32 for gzip (RFC 1952), Adler-32 for zlib (RFC 1950)."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from isal import isal_zlib

if TYPE_CHECKING:
    from collections.abc import Callable

Container = Literal["gzip", "zlib"]
_ADLER_BASE = 65521


class Checksum(NamedTuple):
    """The functions of a checksum: its initial value, how to update it with bytes, and how to combine two of them."""

    of_nothing: int
    update: Callable[[Any, int], int]
    combine: Callable[[int, int, int], int]
    """Returns the checksum of two strings one after the other, from both checksums and the length of the second."""

    def of(self, data: Any) -> int:
        """Return the checksum of bytes."""
        return self.update(data, self.of_nothing)


def adler32_combine(first: int, second: int, second_bytes: int) -> int:
    """Return the Adler-32 of two strings one after the other, from both checksums and the length of the second.

    Examples
    --------
    >>> adler32_combine(zlib.adler32(b"ab"), zlib.adler32(b"cde"), 3) == zlib.adler32(b"abcde")
    True
    """
    low = ((first & 0xFFFF) + (second & 0xFFFF) - 1) % _ADLER_BASE
    high = ((first >> 16) + (second >> 16) + second_bytes * ((first & 0xFFFF) - 1)) % _ADLER_BASE
    return high << 16 | low


CHECKSUMS: dict[Container, Checksum] = {
    "gzip": Checksum(zlib.crc32(b""), isal_zlib.crc32, isal_zlib.crc32_combine),
    "zlib": Checksum(zlib.adler32(b""), isal_zlib.adler32, adler32_combine),
}
