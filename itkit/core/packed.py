"""A sequence of many small values that takes little memory."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")
_BLOCK = 256
_LEVEL = 1


class Packed(Sequence[T], Generic[T]):
    """Values that are kept compressed, a block at a time; made for reading them in order.

    Each reading makes the values anew, so a change of one is lost. They never leave this process.

    Examples
    --------
    >>> values = Packed(({"case": f"case_{number}", "status": "done"} for number in range(1000)))
    >>> len(values), values[-1]["case"], [value["case"] for value in values][:2]
    (1000, 'case_999', ['case_0', 'case_1'])
    """

    def __init__(self, values: Iterable[T] = ()) -> None:
        self._blocks: list[bytes] = []
        self._last: list[T] = []
        self._open: tuple[int, list[T]] = (-1, [])
        for value in values:
            self.append(value)

    def append(self, value: T) -> None:
        """Add a value at the end."""
        self._last.append(value)
        if len(self._last) == _BLOCK:
            import pickle  # a run of few cases starts without it

            self._blocks.append(zlib.compress(pickle.dumps(self._last, pickle.HIGHEST_PROTOCOL), _LEVEL))
            self._last = []

    def __len__(self) -> int:
        return len(self._blocks) * _BLOCK + len(self._last)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"{index} of {len(self)} values")
        block, place = divmod(number, _BLOCK)
        if block == len(self._blocks):
            return self._last[place]
        if self._open[0] != block:
            self._open = block, self._values(block)
        return self._open[1][place]

    def __iter__(self) -> Iterator[T]:
        for block in range(len(self._blocks)):
            yield from self._values(block)
        yield from self._last

    def _values(self, block: int) -> list[T]:
        import pickle  # as above

        values: list[T] = pickle.loads(zlib.decompress(self._blocks[block]))  # our own bytes
        return values

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, (str, bytes)):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # it grows


class Sorter(Generic[T]):
    """Sorts many values that come nearly in order, in little memory: sorted runs are merged in the end.

    Examples
    --------
    >>> sorter = Sorter(key=lambda number: number % 1000)
    >>> for number in range(3000):
    ...     sorter.add(number)
    >>> len(sorter), list(sorter.in_order())[:4]
    (3000, [0, 1000, 2000, 1])
    """

    def __init__(self, key: Callable[[T], Any]) -> None:
        self._key = key
        self._heap: list[tuple[Any, int, T]] = []
        self._runs: list[Packed[T]] = []
        self._highest: list[Any] = []
        self._count = 0
        self._sorted: Sequence[T] | None = None

    def __len__(self) -> int:
        return self._count

    def add(self, value: T) -> None:
        """Add a value; of values with equal keys, the first stays the first."""
        item = (self._key(value), self._count, value)
        self._count += 1
        if len(self._heap) < _BLOCK:
            heapq.heappush(self._heap, item)
        else:
            self._write(*heapq.heappushpop(self._heap, item))

    def _write(self, key: Any, number: int, value: T) -> None:
        del number
        if not self._runs or key < self._highest[-1]:
            self._runs.append(Packed())
            self._highest.append(key)
        self._highest[-1] = key
        self._runs[-1].append(value)

    def in_order(self) -> Sequence[T]:
        """Return all values in order of their keys; nothing may be added afterwards."""
        if self._sorted is None:
            self._sorted = self._merged()
        return self._sorted

    def _merged(self) -> Sequence[T]:
        if not self._runs:
            return tuple(value for _, _, value in sorted(self._heap, key=lambda item: item[:2]))
        while self._heap:
            self._write(*heapq.heappop(self._heap))
        if len(self._runs) > 1:
            self._runs = [Packed(heapq.merge(*self._runs, key=self._key))]
        return self._runs[0]
