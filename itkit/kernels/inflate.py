"""DEFLATE data to bytes, piece by piece; compiled only, so callers have another way where it is missing."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from itkit.kernels.dispatch import native

NEEDS_INPUT, ENDED, OUT_IS_FULL, STOPPED = 0, 1, 2, 3
LEAST_INPUT = 1024
"""Bytes of input that always suffice to go on: fewer may be left unused while more are to come."""
TRUNCATED = -1
FAULTS = {
    -2: "invalid block",
    -3: "invalid codes",
    -4: "invalid symbol",
    -5: "a match begins before the data",
}
"""What is wrong with data that are no DEFLATE stream (RFC 1951), by status."""
WINDOW = 1 << 15
"""Bytes before a place that a match can take from."""
NEVER = 2**63 - 1


class Inflated(NamedTuple):
    """What a call did: its status, the bytes that it used and made, and the bit of its input where it ended."""

    status: int
    used: int
    made: int
    bit: int


class Segment(NamedTuple):
    """A piece from the middle of a stream: its status, the bits where it was, and how many units it has made."""

    status: int
    begin: int
    end: int
    made: int


class Inflater:
    """The state of one stream of raw DEFLATE data.

    Raises
    ------
    RuntimeError
        Where the compiled library is absent or not wanted: see `available`.
    """

    def __init__(self) -> None:
        library = native()
        if library is None:
            raise RuntimeError("the compiled kernels are not in use")
        self._library = library
        self._state = ctypes.create_string_buffer(library.itkit_inflater_bytes())
        self._counts = (ctypes.c_int64 * 3)()
        self._addresses = [ctypes.byref(self._counts, 8 * place) for place in range(3)]
        self.begin(0, 0)

    @staticmethod
    def available() -> bool:
        """Whether the compiled library is there and wanted."""
        return native() is not None

    def begin(self, data: int, bit: int) -> int:
        """Go on between two blocks, at a bit of the input at an address; give the bytes that are used then."""
        self._library.itkit_inflate_begin(self._state, data, bit)
        return (bit + 7) >> 3

    def inflate(
        self, data: int, data_bytes: int, out: int, history: int, out_bytes: int, *, is_last: bool, stop: int = NEVER
    ) -> Inflated:
        """Inflate until the input is used, the output full, the stream at its end, or a block at or behind a bit.

        Parameters
        ----------
        data, data_bytes
            Address and length of the input that was not used yet.
        out, history, out_bytes
            Address of the output, bytes of this stream that lie right before it, and room behind it.
        is_last
            Whether no more input will come.
        stop
            Bit of this input: the first block that ends there or behind it is the last one for now.

        Returns
        -------
        Inflated
            Status ``NEEDS_INPUT`` (up to `LEAST_INPUT` bytes may be left unused), ``ENDED``, ``OUT_IS_FULL``,
            ``STOPPED``, ``TRUNCATED`` (only with ``is_last``) or one of `FAULTS`.
        """
        status = self._library.itkit_inflate(
            self._state, data, data_bytes, is_last, stop, out, history, out_bytes, *self._addresses
        )
        return Inflated(status, *self._counts)

    def segment(
        self, data: int, data_bytes: int, start: int, stop: int, out: int, room: int, *, is_last: bool
    ) -> Segment:
        """Decode blocks from the middle of a stream, before the bytes in front of them are known.

        Parameters
        ----------
        data, data_bytes
            Address and length of the input.
        start, stop
            Bits of the input: the first block that begins at or behind ``start`` is searched for, and the first that
            ends at or behind ``stop`` is the last one.
        out, room
            Address of and room for units of 16 bits: bytes, or 256 + i for the byte i of the `WINDOW` that lies before
            the first block. As many as the window has come first.
        is_last
            Whether no input lies behind this.

        Returns
        -------
        Segment
            Of use only with the status ``STOPPED`` or ``ENDED``; and only if the piece before it ends where it begins.
        """
        status = self._library.itkit_inflate_segment(
            self._state, data, data_bytes, is_last, start, stop, out, room, *self._addresses
        )
        return Segment(status, *self._counts)


def resolve(units: int, count: int, window: int, out: int) -> None:
    """Turn units of a segment into bytes, by the addresses of the units, the `WINDOW` before them, and the output.

    Raises
    ------
    RuntimeError
        Where the compiled library is absent or not wanted.
    """
    library = native()
    if library is None:
        raise RuntimeError("the compiled kernels are not in use")
    library.itkit_resolve(units, count, window, out)
