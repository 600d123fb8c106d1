"""The records of a run's cases, in order, in little memory: most cases of most runs have nothing to say."""

from __future__ import annotations

import heapq
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from itkit.core.operation import Record
from itkit.core.packed import Sorter

_MANY = 16
"""Files of a case from which on its record is compressed at once: those of many files fill the memory together."""


@dataclass(frozen=True)
class _Sealed:
    """A record that is kept compressed by itself."""

    case_id: str
    data: bytes


def _sealed(record: Record) -> Record | _Sealed:
    if len(record.outputs) < _MANY:
        return record
    import pickle  # most runs start without it

    return _Sealed(record.case_id, zlib.compress(pickle.dumps(record, pickle.HIGHEST_PROTOCOL), 1))


def _opened(item: Record | _Sealed) -> Record:
    if isinstance(item, Record):
        return item
    import pickle  # as above

    record: Record = pickle.loads(zlib.decompress(item.data))  # our own bytes
    return record


class _Opened(Sequence[Record]):
    """Records, each opened when it is read."""

    def __init__(self, items: Sequence[Record | _Sealed]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Record]:
        return map(_opened, self._items)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        return _Opened(self._items[index]) if isinstance(index, slice) else _opened(self._items[index])


def _case(record: Record | _Sealed) -> str:
    return record.case_id


def is_notable(record: Record) -> bool:
    """Whether a case ended otherwise than done or skipped, or there is something to say of it."""
    return record.status not in ("done", "skipped") or bool(record.message or record.warnings)


class Ended(Sequence[Record]):
    """Records in order of their cases. They are added in any order, but nearly in this one; then they are read.

    A case that was skipped without a word takes only the place of its id.

    Examples
    --------
    >>> ended = Ended()
    >>> for record in (Record("b", "failed", "b: no"), Record("a", "skipped"), Record("c", "skipped")):
    ...     ended.add(record)
    >>> [record.case_id for record in ended], ended[-1].status, dict(ended.counts)
    (['a', 'b', 'c'], 'skipped', {'failed': 1, 'skipped': 2})
    >>> [record.message for record in ended.notable()]
    ['b: no']
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.counts: Counter[str] = Counter()
        """Number of cases by status."""
        self._bare: list[str] = []
        self._full: Sorter[Record | _Sealed] = Sorter(_case)
        self._notable: Sorter[Record | _Sealed] = Sorter(_case)
        self._places: array[int] | None = None
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Add a record; not after the first reading."""
        self.counts[record.status] += 1
        case = record.case_id
        if record.status == "skipped" and (not self._bare or self._bare[-1] < case) and _is_bare(record):
            self._bare.append(case)
            return
        kept = _sealed(record)
        self._full.add(kept)
        if is_notable(record):
            self._notable.add(kept)

    def notable(self) -> Sequence[Record]:
        """Return the records of which there is something to say, in order."""
        return _Opened(self._notable.in_order())

    def __len__(self) -> int:
        return len(self._bare) + len(self._full)

    def __iter__(self) -> Iterator[Record]:
        full = _Opened(self._full.in_order())
        bare = (Record(case, "skipped") for case in self._bare)
        if not full or not self._bare:
            return iter(full) if full else bare
        return heapq.merge(full, bare, key=_case)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        full = _Opened(self._full.in_order())
        if not self._bare:
            return full[index]
        place = self._order()[index]
        return full[place] if place >= 0 else Record(self._bare[-1 - place], "skipped")

    def _order(self) -> array[int]:
        """Return the place of each record among the full ones; a negative number counts the others."""
        if self._places is None:
            full = ((record.case_id, place) for place, record in enumerate(self._full.in_order()))
            bare = ((case, -1 - place) for place, case in enumerate(self._bare))
            self._places = array("q", (place for _, place in heapq.merge(full, bare)))
        return self._places

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, (str, bytes)):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # it grows


def _is_bare(record: Record) -> bool:
    return not (
        record.message
        or record.warnings
        or record.key
        or record.inputs
        or record.outputs
        or record.facts
        or record.took_s
    )


def notable(records: Sequence[Record]) -> Iterable[Record]:
    """Return the records of which there is something to say, in order."""
    return records.notable() if isinstance(records, Ended) else filter(is_notable, records)


def counts_of(records: Sequence[Record]) -> Mapping[str, int]:
    """Return the number of cases by status."""
    return records.counts if isinstance(records, Ended) else Counter(record.status for record in records)
