"""Parts of a DEFLATE stream to bytes: one after another, or several at a time in threads.

A stream names no places to begin at, and what lies at one is told by what lies before. Each thread therefore looks for
the start of a block where its share begins, and decodes from there with the bytes before it left open; whether it was
a start shows when the share in front of it ends, and the open bytes are filled in then. A share that does not fit is
done again, so that the bytes, and the faults found, are those of one thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import Self

from itkit.kernels.inflate import ENDED, NEVER, OUT_IS_FULL, STOPPED, WINDOW, Inflater, resolve

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor
    from types import TracebackType

    from numpy.typing import NDArray

    from itkit.io.streams.checksums import Checksum
    from itkit.kernels.inflate import Segment

SEGMENT_BYTES = 2 << 20
"""Input of a thread at a time: its search for a block takes a fifteenth of its work then."""
_LEAST_SEGMENT_BYTES = 1 << 18
_MOST_PER_BYTE = 8
"""Output of a byte of input up to which threads are of use: what shrinks more is read in no time."""
_FIRST_SHARE = 1.2
"""Of the thread that knows what lies before its share, by those of others, which have bytes to find and fill in."""
_MOST_MISSES = 3
MOST_THREADS = 8
"""More would ask for more memory (12 MB each) than the time is worth."""
_PART_BYTES = 1 << 19
"""Bytes that are made before their checksum is taken, so that they are in the cache still; at least one match."""


@dataclass
class Output:
    """Where a stream goes: an array, from where on it is the stream's, how far it has come, and its checksum so far."""

    plain: NDArray[np.uint8]
    begin: int
    checksum: Checksum

    def __post_init__(self) -> None:
        self.made, self.value = self.begin, self.checksum.of_nothing

    def address(self, place: int) -> int:
        """Return the address of a byte of the array."""
        return self.plain.ctypes.data + place

    def append(self, count: int) -> None:
        """Take bytes in that lie in the array now."""
        self.value = self.checksum.update(self.plain[self.made : self.made + count], self.value)
        self.made += count


def inflate_part(
    inflater: Inflater, source: NDArray[np.uint8], output: Output, *, is_last: bool, stop: int = NEVER
) -> tuple[int, int, int]:
    """Inflate until the input is used, the stream ends, the array is full, or a block ends at or behind a bit.

    Returns
    -------
    tuple of int
        Status as of `Inflater.inflate`, bytes of the input that were used, and the bit of it where it ended.
    """
    used = 0
    while True:
        room = min(_PART_BYTES, output.plain.size - output.made)
        status, count, made, bit = inflater.inflate(
            source.ctypes.data + used, source.size - used, output.address(output.made), output.made - output.begin,
            room, is_last=is_last, stop=stop - 8 * used,
        )  # fmt: skip
        output.append(made)
        bit += 8 * used
        used += count
        if status != OUT_IS_FULL or output.made + room - made == output.plain.size:
            return status, used, bit


class Team:
    """Threads that share streams; made when they are wanted first."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._misses = 0
        self._pool: ThreadPoolExecutor | None = None
        self._inflaters: list[Inflater] = []
        self._units: list[NDArray[np.uint16]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def is_worth_it(self, source_bytes: int) -> bool:
        """Whether so much input is to be shared."""
        return self._threads > 1 and self._misses < _MOST_MISSES and source_bytes >= 2 * _LEAST_SEGMENT_BYTES

    def inflate(
        self, inflater: Inflater, source: NDArray[np.uint8], output: Output, *, is_last: bool
    ) -> tuple[int, int]:
        """Inflate a share of the input for each thread, or less; give the status and the bytes that were used."""
        others = min(self._threads, source.size // _LEAST_SEGMENT_BYTES) - 1
        share = min(8 * SEGMENT_BYTES, int(8 * source.size / (others + _FIRST_SHARE)))
        first = int(_FIRST_SHARE * share)
        pool = self._prepare(others)
        tasks = [pool.submit(self._segment, k, source, first + k * share, share, is_last) for k in range(others)]
        try:
            status, used, bit = inflate_part(inflater, source, output, is_last=is_last, stop=first)
        finally:
            segments = [task.result() for task in tasks]  # none is at work on what is not there any more
        if status != STOPPED:
            return status, used
        status, end = self._join(segments, output, bit)
        self._misses = 0 if end != bit else self._misses + 1
        return status, inflater.begin(source.ctypes.data, end) if end != bit else used

    def _prepare(self, others: int) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        self._pool = self._pool or ThreadPoolExecutor(self._threads)
        while len(self._inflaters) < others:
            self._inflaters.append(Inflater())
            self._units.append(np.empty(WINDOW + _MOST_PER_BYTE * SEGMENT_BYTES, np.uint16))
        return self._pool

    def _segment(self, k: int, source: NDArray[np.uint8], start: int, length: int, is_last: bool) -> Segment:
        units = self._units[k]
        return self._inflaters[k].segment(
            source.ctypes.data, source.size, start, start + length, units.ctypes.data, units.size, is_last=is_last
        )

    def _join(self, segments: list[Segment], output: Output, bit: int) -> tuple[int, int]:
        """Take in the segments that begin where the one before ends; give the last one's status and end."""
        assert self._pool is not None
        status, made = STOPPED, output.made
        resolved: list[tuple[Future[int], int]] = []
        for segment, units in zip(segments, self._units, strict=False):
            fits = segment.made <= output.plain.size - made and made - output.begin >= WINDOW
            if segment.status not in (STOPPED, ENDED) or segment.begin != bit or not fits or status == ENDED:
                break
            status, bit = segment.status, segment.end
            window = np.array(output.plain[made - WINDOW : made])
            open_until = max(0, segment.made - WINDOW)
            self._fill(units, open_until, segment.made, window, output, made)  # the next one's window
            for start in range(0, segment.made, _PART_BYTES):
                stop = min(start + _PART_BYTES, segment.made)
                task = self._pool.submit(self._finish, units, start, stop, open_until, window, output, made)
                resolved.append((task, stop - start))
            made += segment.made
        for task, count in resolved:
            output.value = output.checksum.combine(output.value, task.result(), count)
        output.made = made
        return status, bit

    @staticmethod
    def _fill(
        units: NDArray[np.uint16], start: int, stop: int, window: NDArray[np.uint8], output: Output, made: int
    ) -> None:
        """Fill in bytes of a segment that begins at a place of the output."""
        if start < stop:
            address = units.ctypes.data + units.itemsize * (WINDOW + start)
            resolve(address, stop - start, window.ctypes.data, output.address(made + start))

    @classmethod
    def _finish(
        cls, units: NDArray[np.uint16], start: int, stop: int, open_until: int, window: NDArray[np.uint8],
        output: Output, made: int,
    ) -> int:  # fmt: skip
        """Fill in those bytes of a part of a segment that are open still; give the checksum of the part."""
        cls._fill(units, start, min(stop, open_until), window, output, made)
        return output.checksum.of(output.plain[made + start : made + stop])


__all__ = ["SEGMENT_BYTES", "Output", "Team", "inflate_part"]
