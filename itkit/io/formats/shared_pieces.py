"""Write overlapping boxes of one volume as ``.mha`` files; slices that neighbouring boxes share are compressed once.

A DEFLATE stream may be joined from parts that were compressed separately. Boxes that follow one another along Z consist
of whole slices of one column, so the column is cut where boxes begin and end.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from itkit.io.formats.codecs import plain_bytes
from itkit.io.formats.metaimage import metaimage_header
from itkit.io.streams.deflate import Deflated, deflate_piece, joined

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from itkit.core.files import Compression
    from itkit.core.volume import Volume

LEAST_PIECE_BYTES = 1 << 15
"""Separate pieces take a few bytes more: if they would be smaller than this, boxes are compressed as a whole."""


def column_cuts(starts: Sequence[int], length: int, slice_bytes: int) -> tuple[int, ...]:
    """Return where to cut a column so that every box consists of whole pieces; empty if pieces would be too small.

    Examples
    --------
    >>> column_cuts((0, 48, 64), 96, 18432)
    (0, 48, 64, 96, 144, 160)
    >>> column_cuts((0, 1, 2), 4, 100)
    ()
    """
    cuts = tuple(sorted({*starts, *(start + length for start in starts)}))
    least = min(end - start for start, end in pairwise(cuts))
    return cuts if least * slice_bytes >= LEAST_PIECE_BYTES else ()


def write_boxes(
    column: Volume,
    boxes: Iterable[tuple[int, Path]],
    length: int,
    cuts: Sequence[int],
    *,
    compression: Compression = "fast",
) -> None:
    """Write boxes of a column of a volume.

    Parameters
    ----------
    column
        All slices of the volume, cropped to the boxes' rows and columns.
    boxes
        First slice of each box, and its ``.mha`` file.
    length
        Number of slices of a box.
    cuts
        The cuts from `column_cuts` for all boxes of the column, including those that are not written, because the bytes
        of a file depend on them.
    compression
        ``"none"``, ``"fast"`` or ``"small"``.

    Raises
    ------
    OSError
        When a file can't be written.
    """
    pieces: dict[tuple[int, int], Deflated] = {}
    little = column.dtype.newbyteorder("<")
    for start, path in boxes:
        box = column.array_zyx[start : start + length]
        grid = column.geometry.crop((start, 0, 0), box.shape)
        header = partial(metaimage_header, grid, column.dtype.name, metadata=column.metadata)
        if compression == "none":
            path.write_bytes(b"".join((header(), plain_bytes(box, little).data)))
            continue
        parts = []
        for span in _spans(start, length, cuts):
            if span not in pieces:
                chunk = partial(plain_bytes, column.array_zyx[span[0] : span[1]], little)
                pieces[span] = deflate_piece(chunk, "zlib", compression=compression)
            parts.append(pieces[span])
        stream = joined(parts, "zlib")
        with path.open("wb") as file:
            file.writelines([header(compressed_bytes=sum(map(len, stream))), *stream])
        for span in [span for span in pieces if span[1] <= start]:
            del pieces[span]


def _spans(start: int, length: int, cuts: Sequence[int]) -> Iterator[tuple[int, int]]:
    if not cuts:
        return iter(((start, start + length),))
    return pairwise(cut for cut in cuts if start <= cut <= start + length)
