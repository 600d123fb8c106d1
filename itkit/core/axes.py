"""Axis order and direction letters; no other module reverses ZYX to XYZ."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")
IDENTITY_XYZ = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
"""Direction matrix, row by row, of a grid whose axes x, y, z point to L, P and S."""
_OPPOSITE = str.maketrans("LRPASI", "RLAPIS")


def opposite(letters: str) -> str:
    """Replace each direction letter by the opposite one.

    Examples
    --------
    >>> opposite("LPI")
    'RAS'
    """
    return letters.translate(_OPPOSITE)


def to_xyz(values_zyx: Sequence[T]) -> tuple[T, T, T]:
    """Reverse a ZYX triple to XYZ.

    Examples
    --------
    >>> to_xyz((40, 512, 256))
    (256, 512, 40)
    """
    z, y, x = values_zyx
    return (x, y, z)


def to_zyx(values_xyz: Sequence[T]) -> tuple[T, T, T]:
    """Reverse an XYZ triple to ZYX.

    Examples
    --------
    >>> to_zyx((256, 512, 40))
    (40, 512, 256)
    """
    x, y, z = values_xyz
    return (z, y, x)
