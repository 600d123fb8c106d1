"""Draw the outlines of a mask as polygons along the edges of its pixels, so that filling them gives the mask again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
    loops = _loops(np.pad(np.asarray(mask, bool), 1))
    is_outer = loops.areas > 0
    parts = {number: [loops.lines[number]] for number in np.flatnonzero(is_outer).tolist()}
    for hole in np.flatnonzero(~is_outer).tolist():
        parts[int(loops.owners[hole])].append(loops.lines[hole])
    order = np.argsort(loops.areas, kind="stable")
    return [parts[number] for number in order.tolist() if is_outer[number]]


class _Loops(NamedTuple):
    """The closed ways around a mask: their corners, their areas (below 0: a hole), and the outline around each hole."""

    lines: list[NDArray[np.float64]]
    areas: NDArray[np.int64]
    owners: NDArray[np.int64]


def _loops(padded: NDArray[np.bool_]) -> _Loops:
    """Follow every closed way around a mask that has a border of background; the first edge of each leads east."""
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
    del found
    heading, corner = ids // corners, ids % corners
    arrived = corner + np.array([down * columns + along for down, along in _STEPS])[heading]
    turned, straight, back = (_places(ids, (heading + turn) % 4 * corners + arrived) for turn in (1, 0, 3))
    after = np.where(turned >= 0, turned, np.where(straight >= 0, straight, back))
    is_first = np.zeros(len(ids), bool)  # of a straight line
    is_first[after] = after != straight
    edges, begins = _walks(after)
    loop_of = np.empty(len(ids), np.int64)
    loop_of[edges] = np.repeat(np.arange(len(begins)), np.diff([*begins, len(edges)]))
    chosen = edges[is_first[edges]]
    points = np.stack(np.divmod(corner[chosen], columns), axis=1)
    ends = np.cumsum(np.bincount(loop_of[chosen], minlength=len(begins)))
    following = np.arange(1, len(points) + 1)
    following[ends - 1] = np.concatenate([[0], ends[:-1]])[: len(ends)]
    cross = points[:, 1] * points[following, 0] - points[following, 1] * points[:, 0]
    areas = np.zeros(len(begins), np.int64)
    np.add.at(areas, loop_of[chosen], cross)
    lines = np.split(points - 0.5, ends[:-1]) if len(ends) else []
    return _Loops(lines, areas, _owners(ids, corners, columns, heading, loop_of, areas))


def _walks(after: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[int]]:
    """Return the edges in the order in which they follow each other, and where in it each way begins."""
    following = after.data
    is_seen = bytearray(len(after))
    edges = np.empty(len(after), np.int64)
    into = edges.data
    begins = []
    count = 0
    for first in range(len(after)):  # the lowest edge of a way leads east, and has none before it in its line
        if is_seen[first]:
            continue
        begins.append(count)
        edge = first
        while not is_seen[edge]:
            is_seen[edge] = 1
            into[count] = edge
            count += 1
            edge = following[edge]
    return edges, begins


def _owners(
    ids: NDArray[np.int64],
    corners: int,
    columns: int,
    heading: NDArray[np.int64],
    loop_of: NDArray[np.int64],
    areas: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return for each way the outline of its part: itself, or for a hole the one that is found towards the left.

    The row of pixels that ends at the left end of a hole begins at an edge further left: of the part's outline, or of
    another hole in it, whose owner is the same.
    """
    owners = np.arange(len(areas))
    south = np.flatnonzero((heading == 1) & (areas[loop_of] < 0))  # a pixel of the mask lies to their left
    if not len(south):
        return owners
    column = ids[south] % columns
    south = south[np.lexsort((column, loop_of[south]))]
    holes, first = np.unique(loop_of[south], return_index=True)
    corner = ids[south[first]] % corners
    begin = np.searchsorted(ids, 3 * corners + corner + columns - 1, side="right") - 1  # the last one in that row
    owners[holes] = loop_of[begin]
    while (owners != owners[owners]).any():
        owners = owners[owners]
    return owners


def _places(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where values stand in sorted ids, -1 where they don't."""
    at = np.searchsorted(ids, wanted)
    at[at == len(ids)] = 0
    return np.where(ids[at] == wanted, at, -1)


def _with_keyhole(outer: NDArray[np.float64], hole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Join a hole to an outline by a way of no width, along a row and a column of corners."""
    at = int(((outer - hole[0]) ** 2).sum(axis=1).argmin())
    bend = np.array([[outer[at, 0], hole[0, 1]]])
    return np.concatenate([outer[: at + 1], bend, hole, hole[:1], bend, outer[at:]])
