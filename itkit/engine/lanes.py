"""Run functions in threads, and return their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from typing_extensions import Self

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor
    from types import TracebackType

T = TypeVar("T")
_WAITING_PER_THREAD = 4


def thread_pool(threads: int) -> ThreadPoolExecutor:
    """Return a pool of threads; its module, which imports logging, is imported only when a pool is needed."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(threads)


class Lanes(Generic[T]):
    """Runs functions in threads with a short queue; with one thread, runs each function at once when it is added.

    Examples
    --------
    >>> with Lanes[int](2) as lanes:
    ...     for number in range(3):
    ...         lanes.add(lambda number=number: number * number)
    ...     list(lanes.results())
    [0, 1, 4]
    """

    def __init__(self, threads: int) -> None:
        self._pool = thread_pool(threads) if threads > 1 else None
        self._most = threads * _WAITING_PER_THREAD
        self._waiting: deque[Future[T]] = deque()
        self._done: list[T] = []

    def add(self, work: Callable[[], T]) -> None:
        """Run a function as soon as a thread is free; if the queue is full, wait first."""
        if self._pool is None:
            self._done.append(work())
            return
        self._waiting.append(self._pool.submit(work))
        while len(self._waiting) > self._most:
            self._done.append(self._waiting.popleft().result())

    def done(self, result: T) -> None:
        """Add a result that the caller has computed itself; it comes after the results of all earlier functions."""
        self._drain()
        self._done.append(result)

    def results(self) -> Iterator[T]:
        """Wait for all results, and return them in the order in which the functions were added."""
        self._drain()
        return iter(self._done)

    def _drain(self) -> None:
        while self._waiting:
            self._done.append(self._waiting.popleft().result())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
