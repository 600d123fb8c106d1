"""Volumes and cases: the values that operations take and return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from itkit.core.arguments import expect, expect_choice
from itkit.core.errors import GeometryError
from itkit.core.geometry import Geometry, Triple, by

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["image", "label"]
KINDS: tuple[Kind, ...] = ("image", "label")


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels on a grid, and what they mean.

    Parameters
    ----------
    array_zyx
        Voxels ``(Z, Y, X)``; ``(Z, Y, X, C)`` for a multi-channel image.
    geometry
        The grid of the voxels.
    kind
        ``"image"`` (intensities: linear interpolation) or ``"label"`` (classes: nearest neighbour).
    metadata
        Header fields to carry along, by name.
    classes
        Classes of a label map in ascending order, if they are known without reading the voxels.

    Raises
    ------
    ArgumentError
        When the array does not fit the grid, or the kind is neither of the two.

    Examples
    --------
    >>> import numpy as np
    >>> volume = Volume(np.zeros((4, 5, 6), np.int16), Geometry((4, 5, 6), (2.5, 0.7, 0.7)))
    >>> volume
    Volume(image, 4 x 5 x 6 voxels ZYX, 2.5 x 0.7 x 0.7 mm ZYX, LPS, int16, 0.0 MB)
    >>> np.asarray(volume) is volume.array_zyx
    True
    """

    array_zyx: NDArray[Any]
    geometry: Geometry
    kind: Kind = "image"
    metadata: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        import numpy as np

        array, grid = self.array_zyx, self.geometry
        expect(array, np.ndarray, "Volume: array_zyx", "a numpy array (Z, Y, X)")
        expect(grid, Geometry, "Volume: geometry", "an itkit.Geometry")
        if array.ndim not in (3, 4) or array.shape[:3] != grid.size_zyx:
            raise GeometryError(f"array of shape {array.shape} on a grid of {grid.size_zyx} voxels ZYX")
        expect_choice(self.kind, KINDS, "Volume: kind")

    @classmethod
    def from_sitk(cls, image: Any, kind: Kind = "image", *, metadata: Mapping[str, str] | None = None) -> Volume:
        """Copy a 3-D SimpleITK image, voxels unchanged; the metadata is what is given here, not that of the image.

        Examples
        --------
        >>> import SimpleITK as sitk
        >>> Volume.from_sitk(sitk.Image([6, 5, 4], sitk.sitkInt16))
        Volume(image, 4 x 5 x 6 voxels ZYX, 1 x 1 x 1 mm ZYX, LPS, int16, 0.0 MB)
        """
        from itkit.core.exchange import sitk_parts

        return cls(*sitk_parts(image), kind, metadata or {})

    @classmethod
    def from_nibabel(cls, image: Any, kind: Kind = "image") -> Volume:
        """Return a volume with a nibabel image's voxels, scaled as nibabel scales them, and its grid (affine)."""
        from itkit.core.exchange import nibabel_parts

        return cls(*nibabel_parts(image), kind)

    def to_sitk(self) -> Any:
        """Copy to a SimpleITK image; bool becomes uint8."""
        from itkit.core.exchange import sitk_image

        return sitk_image(self.array_zyx, self.geometry, self.metadata)

    def to_nibabel(self) -> Any:
        """Return a ``nibabel.Nifti1Image`` of the same voxels; bool becomes uint8.

        Raises
        ------
        MissingExtraError
            When nibabel is not installed.
        """
        from itkit.core.exchange import nibabel_image

        return nibabel_image(self.array_zyx, self.geometry, self.metadata)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the voxels for ``np.asarray(volume)``; copy them only if a copy or another type is requested."""
        array = self.array_zyx
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError(f"voxels of type {array.dtype} can't be {dtype} without a copy")
            return array.astype(dtype)
        return array.copy() if copy else array

    def __repr__(self) -> str:
        axes = "ZYX" if self.array_zyx.ndim == 3 else "ZYXC"
        return (
            f"Volume({self.kind}, {by(self.shape)} voxels {axes}, {by(self.spacing_zyx)} mm ZYX, "
            f"{self.geometry.orientation}, {self.dtype}, {self.array_zyx.nbytes / 1e6:.1f} MB)"
        )

    def _repr_html_(self) -> str:
        """Return HTML for notebooks: the middle axial slice and the volume's description."""
        from html import escape

        from itkit.core.thumbnail import middle_slice, png_uri

        text = escape(repr(self))
        if self.array_zyx.dtype.kind not in "biuf":
            return f"<div>{text}</div>"
        picture = png_uri(middle_slice(self.array_zyx, self.geometry, is_label=self.kind == "label"))
        return (
            f'<div><img src="{picture}" alt="middle axial slice, radiological view" '
            f'style="image-rendering:pixelated"><br>{text}</div>'
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array: Z, Y, X and, for a multi-channel image, C."""
        return self.array_zyx.shape

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Number of voxels along Z, Y, X."""
        return self.geometry.size_zyx

    @property
    def spacing_zyx(self) -> Triple:
        """Distance between voxel centres along Z, Y, X, mm."""
        return self.geometry.spacing_zyx

    @property
    def dtype(self) -> np.dtype[Any]:
        """Voxel type."""
        return self.array_zyx.dtype

    def with_array(self, array_zyx: NDArray[Any], geometry: Geometry | None = None) -> Volume:
        """Return a copy of the volume with other voxels and, if given, another grid."""
        geometry = self.geometry if geometry is None else geometry
        return replace(self, array_zyx=array_zyx, geometry=geometry, classes=None)


class VolumesOnDemand(Mapping[str, Volume]):
    """Volumes that are made on every access and not kept, so that only one volume of a case is in memory at a time.

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
        """Return volumes to which the function is applied when they are accessed."""
        return VolumesOnDemand({name: partial(_mapped, function, make) for name, make in self._makers.items()})


def _mapped(function: Callable[[Volume], Volume], make: Callable[[], Volume]) -> Volume:
    return each_channel(function, make())


def each_channel(function: Callable[[Volume], Volume], volume: Volume) -> Volume:
    """Apply a function of 3-D volumes to a volume; for a multi-channel volume, to each channel.

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
    """Return whether a name is that of an image: ``image``, or ``image_<channel>`` if each channel has its own file."""
    return name == "image" or name.startswith("image_")


@dataclass(frozen=True, eq=False)
class Case:
    """The volumes that belong together, by name: ``image`` (or one ``image_<channel>`` per channel) and ``label``."""

    id: str
    volumes: Mapping[str, Volume]
    grids: Mapping[str, Geometry] = field(default_factory=dict)
    """Grids of files of which only the header was read, or whose voxels are read on demand."""
    problems: tuple[str, ...] = ()
    """Messages about files that could not be read, for operations that continue without them."""
    details: Any = None
    """What the plan knows about the case beyond its files."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the case's images, then its label, whether read completely or only as headers."""
        found = dict.fromkeys((*self.volumes, *self.grids)) if self.volumes else self.grids
        return (*filter(is_image, found), "label") if "label" in found else (*filter(is_image, found),)

    def grid(self, name: str) -> Geometry:
        """Return the grid of a volume, whether it was read completely or only its header."""
        return self.grids[name] if name in self.grids else self.volumes[name].geometry

    def map(self, function: Callable[[Volume], Volume]) -> Case:
        """Return the case with a function applied to each channel of each volume; on demand, if volumes are read so."""
        if isinstance(self.volumes, VolumesOnDemand):
            return replace(self, volumes=self.volumes.map(function), grids={})
        return replace(self, volumes={name: each_channel(function, volume) for name, volume in self.volumes.items()})
