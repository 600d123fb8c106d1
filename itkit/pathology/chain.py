"""The chain of images of a TIFF file, walked without trust: a damaged one may lead in a circle."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from itkit.core.errors import ReadError

_ORDERS = {b"II": "<", b"MM": ">"}
_CLASSIC, _BIG = 42, 43


def page_links(path: Path) -> dict[int, int]:
    """Return where a TIFF file holds the offset of each image of its chain, by that offset.

    Parameters
    ----------
    path
        The file. One that is not a TIFF file has no images.

    Returns
    -------
    dict
        Place of the link (bytes from the start of the file) of each image, in the order of the chain. The chain ends
        where a link leads beyond the file.

    Raises
    ------
    ReadError
        When the chain leads back to an earlier image; other readers would follow it without end.
    """
    found: dict[int, int] = {}
    with path.open("rb") as file:
        head = file.read(8)
        order = _ORDERS.get(head[:2])
        version = struct.unpack(f"{order}H", head[2:4])[0] if order and len(head) == 8 else 0
        if version not in (_CLASSIC, _BIG):
            return found
        count, link, entry = ("Q", "Q", 20) if version == _BIG else ("H", "I", 12)
        length = path.stat().st_size
        at = 8 if version == _BIG else 4
        while True:
            offset = _number(file, at, f"{order}{link}")
            if not 0 < offset < length:
                return found
            if offset in found:
                raise ReadError(f"{path.name}: damaged: image {len(found)} is followed by an earlier one, in a circle")
            found[offset] = at
            entries = _number(file, offset, f"{order}{count}")
            at = offset + struct.calcsize(f"{order}{count}") + entry * entries
            if at >= length:
                return found


def _number(file: BinaryIO, at: int, form: str) -> int:
    """Read a number of a file; 0 if it lies beyond its end."""
    size = struct.calcsize(form)
    file.seek(at)
    data = file.read(size)
    return int(struct.unpack(form, data)[0]) if len(data) == size else 0
