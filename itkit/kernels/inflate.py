"""DEFLATE data to bytes, piece by piece; compiled only, so callers have another way where it is missing."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from itkit.kernels.dispatch import native

NEEDS_INPUT, ENDED, OUT_IS_FULL = 0, 1, 2
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


class Inflated(NamedTuple):
    """What a call did: its status, and the bytes that it used and made."""

    status: int
    used: int
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
        self._function = library.itkit_inflate
        self._state = ctypes.create_string_buffer(library.itkit_inflater_bytes())
        self._counts = (ctypes.c_int64 * 2)()
        library.itkit_inflate_begin(self._state)

    @staticmethod
    def available() -> bool:
        """Whether the compiled library is there and wanted."""
        return native() is not None

    def inflate(self, data: int, data_bytes: int, out: int, history: int, out_bytes: int, *, is_last: bool) -> Inflated:
        """Inflate until the input is used, the output full, or the stream at its end.

        Parameters
        ----------
        data, data_bytes
            Address and length of the input that was not used yet.
        out, history, out_bytes
            Address of the output, bytes of this stream that lie right before it, and room behind it.
        is_last
            Whether no more input will come.

        Returns
        -------
        Inflated
            Status ``NEEDS_INPUT`` (up to `LEAST_INPUT` bytes may be left unused), ``ENDED``, ``OUT_IS_FULL``,
            ``TRUNCATED`` (only with ``is_last``) or one of `FAULTS`.
        """
        used, made = ctypes.byref(self._counts, 0), ctypes.byref(self._counts, 8)
        status = self._function(self._state, data, data_bytes, is_last, out, history, out_bytes, used, made)
        return Inflated(status, self._counts[0], self._counts[1])
