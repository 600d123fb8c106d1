"""The picture of a plane: the slice of a scene at a point, in colours."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.geometry import Geometry, Triple
from itkit.core.slices import Plane
from itkit.core.volume import Volume
from itkit.gui.viewer.planes import PlaneMap
from itkit.gui.viewer.scene import Scene
from itkit.gui.viewer.slices import class_slice, value_slice
from itkit.kernels.colouring import coloured

EVERYTHING = (1 << 30, 1 << 30)
"""More rows and columns than any slice has."""

_map_of = lru_cache(maxsize=64)(PlaneMap.of)


def slice_picture(
    scene: Scene, plane: Plane, point: Triple, most: tuple[int, int] = EVERYTHING
) -> NDArray[np.uint32] | None:
    """Return the slice of a scene at a point; of one with many more rows than ``most``, every n-th.

    ``None`` if there is no slice.
    """
    values, grey = _values(scene, plane, point, most)
    places = _places(scene, plane, point, most) if scene.shows_label else None
    return None if values is None and places is None else coloured(values, places, scene.table, grey=grey)


def projection_picture(scene: Scene) -> NDArray[np.uint32] | None:
    """Return the projection of a scene; ``None`` if it has none yet."""
    if scene.mip is None or scene.grey is None:
        return None
    values, grey = scene.grey.looked_up(scene.mip)
    return coloured(values, None, scene.table, grey=grey)


def holds_point(scene: Scene, plane: Plane, point: Triple) -> bool:
    """Return whether a scene has a slice at a point."""
    found = scene.maps.get(plane)
    if found is None or scene.grid is None:
        return False
    return -0.5 <= scene.grid.index_zyx(point)[found.across] <= found.count - 0.5


def _values(
    scene: Scene, plane: Plane, point: Triple, most: tuple[int, int]
) -> tuple[NDArray[Any] | None, NDArray[np.uint8] | None]:
    """Return the slice of the image as it is looked up in a table of greys, and that table."""
    found, image = scene.maps.get(plane), scene.image
    if image is None or scene.grey is None or found is None:
        return None, None
    at = _slice_of(image, plane, point)
    if at is None or _map_of(image.geometry, plane).shape != found.shape:  # a slice of a file that is being read
        return None, None
    return scene.grey.looked_up(value_slice(scene.quick(image, found.across), plane, at, found.across, most))


def _places(scene: Scene, plane: Plane, point: Triple, most: tuple[int, int]) -> NDArray[np.uint8] | None:
    label = scene.label
    if label is None or scene.classes is None or not scene.label_fits:
        return None
    at = _slice_of(label, plane, point)
    if at is None:
        return None
    across = _map_of(label.geometry, plane).across
    return class_slice(scene.quick(label, across), plane, at, across, scene.classes, scene.style, most)


def _slice_of(volume: Volume, plane: Plane, point: Triple) -> int | None:
    grid: Geometry = volume.geometry
    own = _map_of(grid, plane)
    at = math.floor(grid.index_zyx(point)[own.across] + 0.5)
    return at if 0 <= at < own.count else None
