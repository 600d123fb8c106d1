"""Slices as pictures: voxels become grey by one table, classes become colours by one table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.slices import Plane, plane_slice
from itkit.core.thumbnail import class_colour
from itkit.core.volume import Volume
from itkit.report.pictures import FILL, outline
from itkit.report.windows import Window

Colour = tuple[int, int, int]
_COLUMNS = 32


@dataclass(frozen=True)
class LabelStyle:
    """How classes are drawn.

    Parameters
    ----------
    names, colours
        Names and colours by class; a class without has its number, and the colour that reports give it.
    hidden
        Classes that are not drawn.
    opacity
        Opacity of the areas, 0 to 1.
    outlined
        Whether outlines alone are drawn.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    colours: Mapping[int, Colour] = field(default_factory=dict)
    hidden: frozenset[int] = frozenset()
    opacity: float = FILL
    outlined: bool = False

    def colour(self, value: int) -> Colour:
        """Return the colour of a class."""
        return self.colours.get(value) or class_colour(value)

    def name(self, value: int) -> str:
        """Return the name of a class."""
        return self.names.get(value, "background" if value == 0 else str(value))


class Grey:
    """The table from voxel values to grey: one entry for each value of 8- and 16-bit types, arithmetic for others."""

    def __init__(self, dtype: np.dtype[Any], window: Window) -> None:
        self.window = window
        self._table: NDArray[np.uint8] | None = None
        self._view: np.dtype[Any] | None = None
        if dtype.kind in "iu" and dtype.itemsize <= 2:
            self._view = np.dtype(f"u{dtype.itemsize}")
            values = np.arange(1 << (8 * dtype.itemsize), dtype=self._view).view(dtype)
            self._table = self._scaled(values)

    def _scaled(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        low, high = self.window.low, self.window.high
        scaled = (values.astype(np.float32) - low) * (255.0 / ((high - low) or 1.0))
        grey: NDArray[np.uint8] = np.clip(np.nan_to_num(scaled, nan=0.0), 0, 255).astype(np.uint8)
        return grey

    def __call__(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Return values as grey, C-contiguous."""
        found, table = self.looked_up(values)
        return found if table is None else np.take(table, found, mode="clip")

    def looked_up(self, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
        """Return values as they are looked up in a table, and the table; or grey, and ``None``."""
        if self._table is None or self._view is None:
            return np.ascontiguousarray(self._scaled(values)), None
        return values.view(self._view), self._table


def thinned(values: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """Return every n-th row and column of a slice that has many more than are shown; quick, for moving pictures."""
    down, right = max(1, values.shape[0] // max(1, rows)), max(1, values.shape[1] // max(1, columns))
    return values[down // 2 :: down, right // 2 :: right] if down > 1 or right > 1 else values


class Classes:
    """The classes of a label map as places in a table of colours, at most 256 of them."""

    def __init__(self, values: Collection[int]) -> None:
        self.values = sorted(values)[:256] if len(values) > 1 else [0, *[value for value in values if value != 0]]
        is_direct = all(0 <= value < 256 for value in self.values)
        self._places = None if is_direct else np.array(self.values)

    def places(self, classes: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the place of each voxel's class in the table; a class that is not known has place 0."""
        if self._places is None:
            return classes.astype(np.uint8, copy=False)
        found = np.searchsorted(self._places, classes).clip(0, len(self.values) - 1)
        known = self._places[found] == classes
        return np.ascontiguousarray(np.where(known, found, self._zero), dtype=np.uint8)

    @property
    def _zero(self) -> int:
        return self.values.index(0) if 0 in self.values else 0

    def table(self, style: LabelStyle) -> NDArray[np.uint32]:
        """Return the colour of each grey under each place of a class, as RGB: entry ``256 * place + grey``."""
        grey = np.arange(256, dtype=np.float32)[:, None]
        entries = self.values if self._places is not None else range(256)
        table = np.zeros((256, 256), np.uint32)
        for place, value in enumerate(entries):
            is_drawn = value != 0 and value not in style.hidden
            opacity = 0.0 if not is_drawn else 1.0 if style.outlined else style.opacity
            rgb = (grey * (1 - opacity) + np.array(style.colour(value), np.float32) * opacity + 0.5).astype(np.uint32)
            table[place] = 0xFF000000 | (rgb[:, 0] << 16) | (rgb[:, 1] << 8) | rgb[:, 2]
        return table.ravel()


PLAIN = Classes({0}).table(LabelStyle())
"""The table for an image without classes."""


def turned(volume: Volume) -> Volume:
    """Return the same volume, with slices across its last axis lying together in memory.

    They are then read several times as fast; it takes as much memory again.
    """
    z, y, x = volume.shape_zyx
    store = np.empty((x, z, y), volume.dtype)
    for begin in range(0, x, _COLUMNS):
        store[begin : begin + _COLUMNS] = volume.array_zyx[..., begin : begin + _COLUMNS].transpose(2, 0, 1)
    return volume.with_array(store.transpose(1, 2, 0))


def value_slice(volume: Volume, plane: Plane, at: int, across: int, most: tuple[int, int]) -> NDArray[Any]:
    """Return the values of a slice, ``(rows, columns)``; of one with many more rows than ``most``, every n-th."""
    return thinned(plane_slice(volume.array_zyx, volume.geometry, plane, _index(at, across)).values, *most)


def class_slice(
    volume: Volume, plane: Plane, at: int, across: int, classes: Classes, style: LabelStyle, most: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return the places of classes in a slice, ``(rows, columns)``, or those of their outlines."""
    places = classes.places(value_slice(volume, plane, at, across, most))
    return np.where(outline(places), places, np.uint8(0)) if style.outlined else places


def _index(at: int, across: int) -> tuple[int, int, int]:
    index = [0, 0, 0]
    index[across] = at
    return index[0], index[1], index[2]


def projection(volume: Volume, plane: Plane) -> NDArray[Any]:
    """Return the largest value along the axis that a plane cuts, ``(rows, columns)`` as the plane shows them."""
    from itkit.gui.viewer.planes import PlaneMap

    found = PlaneMap.of(volume.geometry, plane)
    array = volume.array_zyx if volume.array_zyx.ndim == 3 else volume.array_zyx[..., 0]
    most = array.max(axis=found.across)
    most = most if found.row_axis < found.column_axis else most.T
    return np.ascontiguousarray(most[:: -1 if found.flips_rows else 1, :: -1 if found.flips_columns else 1])
