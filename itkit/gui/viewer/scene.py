"""What a viewer shows of one case: volumes, point, window and the look of classes; no widget."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.geometry import Geometry, Triple
from itkit.core.slices import PLANES, Plane
from itkit.core.volume import Volume
from itkit.gui.viewer.opening import Loaded
from itkit.gui.viewer.planes import PlaneMap, inside
from itkit.gui.viewer.slices import PLAIN, Classes, Grey, LabelStyle
from itkit.report.windows import Window, window_of

_LEAST_WIDTH = 1e-6
OWN_WINDOW = "own window"
"""Name of a window that the mouse has made."""


class Scene:
    """A case as it is shown. `version` grows with everything that changes pictures, except the point."""

    def __init__(self) -> None:
        self.version = 0
        self.image: Volume | None = None
        self.label: Volume | None = None
        self.grid: Geometry | None = None
        self.maps: dict[Plane, PlaneMap] = {}
        self.point_xyz: Triple = (0.0, 0.0, 0.0)
        self.home_xyz: Triple = (0.0, 0.0, 0.0)
        self.index_zyx: tuple[int, int, int] = (0, 0, 0)
        self.window = Window(0.0, 1.0, "")
        self.grey: Grey | None = None
        self.mip: NDArray[Any] | None = None
        self.turned: dict[int, Volume] = {}
        """Volumes with slices across the last axis lying together, by the identity of the volume."""
        self.style = LabelStyle()
        self.classes: Classes | None = None
        self.counts: dict[int, int] = {}
        self.table: NDArray[np.uint32] = PLAIN
        self.shows_label = True
        self.smooths = True
        self.label_fits = True

    def show(self, loaded: Loaded, *, keeps_point: bool = False) -> None:
        """Show a case, at its middle or where its classes are, or at the present point."""
        self.image, self.label, self.grid = loaded.image, loaded.label, loaded.grid
        self.maps = {plane: PlaneMap.of(self.grid, plane) for plane in PLANES}
        self.mip, self.turned = None, {}
        self.label_fits = self.image is None or self.label is None or self.image.geometry.same_grid(self.label.geometry)
        self.counts, self.home_xyz = dict(loaded.counts), loaded.home_xyz
        self.classes = None if self.label is None else Classes(self.counts)
        self.style = replace(self.style, names=loaded.files.names, hidden=frozenset())
        if loaded.window is not None:
            self.set_window(loaded.window)
        self._recolour()
        if not keeps_point:
            self.go_home()
        else:
            self.move_to(self.point_xyz)

    def preview(self, middle: Volume, grid: Geometry) -> None:
        """Show one slice of a case that is still being read; the other planes wait."""
        self.image, self.label, self.grid = middle, None, grid
        self.maps = {plane: PlaneMap.of(grid, plane) for plane in PLANES}
        self.mip, self.classes, self.counts, self.table = None, None, {}, PLAIN
        self.set_window(window_of(middle))
        z, y, x = grid.size_zyx
        self.move_to(grid.point_xyz((z // 2, y // 2, x // 2)))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return self.grid is None

    def go_home(self) -> None:
        """Go where the case is shown first."""
        if self.grid is not None:
            self.move_to(self.home_xyz)

    def move_to(self, point_xyz: Triple) -> None:
        """Go to a physical point, mm; the crosshair stays in the grid."""
        if self.grid is None:
            return
        self.index_zyx = inside(self.grid.index_zyx(point_xyz), self.grid)
        self.point_xyz = self.grid.point_xyz(self.index_zyx)

    def set_window(self, window: Window) -> None:
        """Show other values as black and white."""
        low, high = window.low, max(window.high, window.low + _LEAST_WIDTH)
        self.window = Window(low, high, window.name)
        if self.image is not None:
            self.grey = Grey(self.image.dtype, self.window)
        self.version += 1

    def drag_window(self, right: float, down: float) -> None:
        """Change width and level as the mouse moves: to the right is wider, down is brighter."""
        width, level = self.window.high - self.window.low, (self.window.high + self.window.low) / 2
        step = max(width, _LEAST_WIDTH) / 250
        width = max(_LEAST_WIDTH, width + right * step)
        level += down * step
        self.set_window(Window(level - width / 2, level + width / 2, OWN_WINDOW))

    def set_style(self, **changes: Any) -> None:
        """Change how classes are drawn."""
        self.style = replace(self.style, **changes)
        self._recolour()

    def quick(self, volume: Volume, across: int) -> Volume:
        """Return the volume in the order in which slices across an axis are read quickly, if there is one."""
        return self.turned.get(id(volume), volume) if across == 2 else volume

    def set_turned(self, volumes: dict[int, Volume]) -> None:
        """Take copies of volumes in another order in memory."""
        own = {id(volume) for volume in (self.image, self.label) if volume is not None}
        self.turned = {number: volume for number, volume in volumes.items() if number in own}

    def set_mip(self, mip: NDArray[Any]) -> None:
        """Show a projection."""
        self.mip = mip
        self.version += 1

    def changed(self) -> None:
        """Draw everything anew."""
        self.version += 1

    def _recolour(self) -> None:
        self.table = PLAIN if self.classes is None else self.classes.table(self.style)
        self.version += 1

    def value(self) -> float | None:
        """Return the image's value under the crosshair."""
        return None if self.image is None else _value(self.image, self.point_xyz)

    def class_value(self) -> int | None:
        """Return the class under the crosshair."""
        found = None if self.label is None else _value(self.label, self.point_xyz)
        return None if found is None else int(found)


def _value(volume: Volume, point_xyz: Triple) -> float | None:
    index = volume.geometry.index_zyx(point_xyz)
    nearest = tuple(int(np.floor(at + 0.5)) for at in index)
    if not all(0 <= at < size for at, size in zip(nearest, volume.geometry.size_zyx, strict=True)):
        return None
    return float(volume.array_zyx[nearest])
