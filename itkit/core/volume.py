"""Volumes and cases: the values that operations map to one another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from itkit.core.geometry import Geometry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["image", "label"]
_KINDS = ("image", "label")


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels on a grid, and what they mean.

    Parameters
    ----------
    array_zyx
        Voxels ``(Z, Y, X)``; ``(Z, Y, X, C)`` for a multi-channel image.
    geometry
        The grid.
    kind
        ``"image"`` (intensities: linear interpolation) or ``"label"`` (classes: nearest neighbour).
    metadata
        Header fields to carry along, by name.
    classes
        Classes of a label map in rising order, where they are known without a look at the voxels.
    """

    array_zyx: NDArray[Any]
    geometry: Geometry
    kind: Kind = "image"
    metadata: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.array_zyx.ndim not in (3, 4) or self.array_zyx.shape[:3] != self.geometry.size_zyx:
            raise ValueError(f"array of shape {self.array_zyx.shape} on a grid of {self.geometry.size_zyx} voxels ZYX")
        if self.kind not in _KINDS:
            raise ValueError(f"kind of a volume: expected 'image' or 'label'; got {self.kind!r}")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Voxel type."""
        return self.array_zyx.dtype

    def with_array(self, array_zyx: NDArray[Any], geometry: Geometry | None = None) -> Volume:
        """Return the same kind of volume with other voxels and, if given, on another grid."""
        geometry = self.geometry if geometry is None else geometry
        return replace(self, array_zyx=array_zyx, geometry=geometry, classes=None)


class VolumesOnDemand(Mapping[str, Volume]):
    """Volumes that are made when they are asked for and not kept, so that one of a case is in memory at a time.

    Examples
    --------
    >>> import numpy as np
    >>> grid = Geometry((1, 1, 2), (1.0, 1.0, 1.0))
    >>> volumes = VolumesOnDemand({"image": lambda: Volume(np.zeros((1, 1, 2)), grid)})
    >>> list(volumes), volumes["image"] is volumes["image"]
    (['image'], False)
    """

    def __init__(self, makers: Mapping[str, Callable[[], Volume]]) -> None:
        self._makers = makers

    def __getitem__(self, name: str) -> Volume:
        return self._makers[name]()

    def __contains__(self, name: object) -> bool:  # without making it
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def map(self, function: Callable[[Volume], Volume]) -> VolumesOnDemand:
        """Return the volumes, mapped when they are asked for."""
        return VolumesOnDemand({name: partial(_mapped, function, make) for name, make in self._makers.items()})


def _mapped(function: Callable[[Volume], Volume], make: Callable[[], Volume]) -> Volume:
    return each_channel(function, make())


def each_channel(function: Callable[[Volume], Volume], volume: Volume) -> Volume:
    """Apply a function of 3-D volumes to a volume; to each channel of one that has several values a voxel.

    Examples
    --------
    >>> import numpy as np
    >>> vectors = Volume(np.zeros((2, 3, 4, 5)), Geometry((2, 3, 4), (1.0, 1.0, 1.0)))
    >>> each_channel(lambda volume: volume.with_array(volume.array_zyx + 1), vectors).array_zyx.shape
    (2, 3, 4, 5)
    """
    if volume.array_zyx.ndim == 3:
        return function(volume)
    import numpy as np

    channels = np.moveaxis(volume.array_zyx, 3, 0)
    parts = [function(replace(volume, array_zyx=np.ascontiguousarray(channel))) for channel in channels]
    return replace(parts[0], array_zyx=np.stack([part.array_zyx for part in parts], axis=-1))


def is_image(name: str) -> bool:
    """Whether a volume of this name is an image: ``image``, or ``image_<channel>`` where each channel has a file."""
    return name == "image" or name.startswith("image_")


@dataclass(frozen=True, eq=False)
class Case:
    """The volumes that belong together, by name: ``image`` (or ``image_<channel>`` each) and ``label``."""

    id: str
    volumes: Mapping[str, Volume]
    grids: Mapping[str, Geometry] = field(default_factory=dict)
    """Grids of files of which only the header was read, or of which the voxels are read on demand."""
    problems: tuple[str, ...] = ()
    """Files that could not be read, for operations that go on without them."""
    details: Any = None
    """What the plan knows of the case beyond its files."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its images, then of its label, whether they were read whole or as headers."""
        found = dict.fromkeys((*self.volumes, *self.grids))
        return (*filter(is_image, found), *(name for name in found if name == "label"))

    def grid(self, name: str) -> Geometry:
        """Return the grid of a volume, read whole or header alone."""
        return self.grids[name] if name in self.grids else self.volumes[name].geometry

    def map(self, function: Callable[[Volume], Volume]) -> Case:
        """Return the case with every volume mapped, every channel apart; on demand, where they are read so."""
        if isinstance(self.volumes, VolumesOnDemand):
            return replace(self, volumes=self.volumes.map(function), grids={})
        return replace(self, volumes={name: each_channel(function, volume) for name, volume in self.volumes.items()})
