"""The picture of a plane: the slice of a scene at a point, in colours."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from itkit.core.geometry import Geometry, Triple
from itkit.core.slices import Plane
from itkit.core.volume import Volume
from itkit.gui.viewer.planes import PlaneMap
from itkit.gui.viewer.scene import Scene
from itkit.gui.viewer.slices import class_slice, coloured, grey_slice

EVERYTHING = (1 << 30, 1 << 30)
"""More rows and columns than any slice has."""

_map_of = lru_cache(maxsize=64)(PlaneMap.of)


def slice_picture(
    scene: Scene, plane: Plane, point: Triple, most: tuple[int, int] = EVERYTHING
) -> NDArray[np.uint32] | None:
    """Return the slice of a scene at a point; of one with many more rows than ``most``, every n-th.

    ``None`` if there is no slice.
    """
    grey = _grey(scene, plane, point, most)
    places = _places(scene, plane, point, most) if scene.shows_label else None
    return None if grey is None and places is None else coloured(grey, places, scene.table)


def projection_picture(scene: Scene) -> NDArray[np.uint32] | None:
    """Return the projection of a scene; ``None`` if it has none yet."""
    return None if scene.mip is None or scene.grey is None else coloured(scene.grey(scene.mip), None, scene.table)


def holds_point(scene: Scene, plane: Plane, point: Triple) -> bool:
    """Return whether a scene has a slice at a point."""
    found = scene.maps.get(plane)
    if found is None or scene.grid is None:
        return False
    return -0.5 <= scene.grid.index_zyx(point)[found.across] <= found.count - 0.5


def _grey(scene: Scene, plane: Plane, point: Triple, most: tuple[int, int]) -> NDArray[np.uint8] | None:
    found, image = scene.maps.get(plane), scene.image
    if image is None or scene.grey is None or found is None:
        return None
    at = _slice_of(image, plane, point)
    if at is None or _map_of(image.geometry, plane).shape != found.shape:  # a slice of a file that is being read
        return None
    return grey_slice(scene.quick(image, found.across), plane, at, found.across, scene.grey, most)


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
