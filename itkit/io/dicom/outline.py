"""Draw the outlines of a mask as polygons along the edges of its pixels, so that filling them gives the mask again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from itkit.io.dicom.polygons import points_inside

_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Steps east, south, west, north (row, column): the next one turns to the right."""
_BEGINS = ((0, 0), (0, 0), (0, 1), (1, 0))
"""Corner at which an edge of each heading begins, from where its pixels stand among those that are compared."""


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Return the outlines of a mask, one closed polygon for each 4-connected part.

    Parameters
    ----------
    mask
        Pixels ``(rows, columns)``.

    Returns
    -------
    list of NDArray
        Polygons ``(N, 2)``: row and column, pixel centres at integers, so that corners of pixels lie half way. The
        holes of a part are drawn through keyholes: the polygon leads to the hole and back on the same way (PS3.3
        C.8.8.6.3), always between pixel centres.

    Notes
    -----
    Edges between a pixel of the mask and one outside are followed with the mask on the right hand; where two parts
    touch at a corner, the way turns right, so that they stay apart.

    Examples
    --------
    >>> [polygon.tolist() for polygon in outlines(np.array([[False, True, True]]))]
    [[[-0.5, 0.5], [-0.5, 2.5], [0.5, 2.5], [0.5, 0.5]]]
    """
    joined = []
    for outer, *holes in rings(mask):
        for hole in holes:
            outer = _with_keyhole(outer, hole)
        joined.append(outer)
    return joined


def rings(mask: NDArray[np.bool_]) -> list[list[NDArray[np.float64]]]:
    """Return the outline of each 4-connected part of a mask, followed by the outlines of its holes.

    Coordinates are those of `outlines`; parts come by their area, the smallest first.

    Examples
    --------
    >>> ring = np.ones((3, 3), bool)
    >>> ring[1, 1] = False
    >>> [[len(line) for line in part] for part in rings(ring)]
    [[4, 4]]
    """
    loops = [loop.astype(np.float64) - 0.5 for loop in _loops(np.pad(np.asarray(mask, bool), 1))]
    outer = sorted((loop for loop in loops if _area(loop) > 0), key=_area)
    parts = [[loop] for loop in outer]
    low, high = (np.array([end(loop, axis=0) for loop in outer]).reshape(-1, 2) for end in (np.min, np.max))
    for hole in (loop for loop in loops if _area(loop) < 0):
        pixel = hole[:1] + 0.5  # of the mask: the first edge leads east above it
        near = np.flatnonzero(((low < pixel) & (pixel < high)).all(axis=1))
        owner = next(at for at in near if len(near) == 1 or points_inside([outer[at]], pixel)[0])
        parts[owner].append(hole)
    return parts


def _loops(padded: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """Yield the corners ``(N, 2)`` of every closed way around a mask that has a border of background.

    The first edge of each way leads east.
    """
    rows, columns = padded.shape[0] - 1, padded.shape[1]
    above, below = padded[:-1, 1:-1], padded[1:, 1:-1]
    left, right = padded[1:-1, :-1], padded[1:-1, 1:]
    corners = (rows + 1) * columns
    found = (
        np.nonzero(below & ~above),
        np.nonzero(left & ~right),
        np.nonzero(above & ~below),
        np.nonzero(right & ~left),
    )
    # by heading, and by the corner at which an edge begins
    ids = np.concatenate(
        [
            heading * corners + (row + down) * columns + column + along
            for heading, ((row, column), (down, along)) in enumerate(zip(found, _BEGINS, strict=True))
        ]
    )
    heading, corner = ids // corners, ids % corners
    arrived = corner + np.array([down * columns + along for down, along in _STEPS])[heading]
    turned, straight, back = (_places(ids, (heading + turn) % 4 * corners + arrived) for turn in (1, 0, 3))
    after = np.where(turned >= 0, turned, np.where(straight >= 0, straight, back))
    is_bend = (after != straight).tolist()
    following = after.tolist()
    is_seen = bytearray(len(ids))
    for first in range(len(ids)):
        if is_seen[first]:
            continue
        bends, edge = [], first
        while not is_seen[edge]:
            is_seen[edge] = 1
            if is_bend[edge]:
                bends.append(edge)
            edge = following[edge]
        at = np.array(bends)
        at = np.roll(at, -int(np.flatnonzero(heading[after[at]] == 0)[0]))
        yield np.stack(np.divmod(arrived[at], columns), axis=1)


def _places(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where values stand in sorted ids, -1 where they don't."""
    at = np.searchsorted(ids, wanted)
    at[at == len(ids)] = 0
    return np.where(ids[at] == wanted, at, -1)


def _area(loop: NDArray[np.float64]) -> float:
    """Return the area of a loop, positive if the mask lies inside."""
    after = np.roll(loop, -1, axis=0)
    return float((loop[:, 1] * after[:, 0] - after[:, 1] * loop[:, 0]).sum()) / 2


def _with_keyhole(outer: NDArray[np.float64], hole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Join a hole to an outline by a way of no width, along a row and a column of corners."""
    at = int(((outer - hole[0]) ** 2).sum(axis=1).argmin())
    bend = np.array([[outer[at, 0], hole[0, 1]]])
    return np.concatenate([outer[: at + 1], bend, hole, hole[:1], bend, outer[at:]])
