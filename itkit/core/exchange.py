"""Conversion of voxels and grids to and from SimpleITK and nibabel images.

Both packages are imported only when they are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from itkit.core.affines import affine_ras, geometry_from_affine
from itkit.core.arguments import described
from itkit.core.axes import to_xyz, to_zyx
from itkit.core.errors import ArgumentError
from itkit.core.extras import require
from itkit.core.geometry import Geometry

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

_VECTOR_INTENT = 1007


def sitk_image(array_zyx: NDArray[Any], grid: Geometry, metadata: Mapping[str, str]) -> Any:
    """Copy voxels to a SimpleITK image on a grid."""
    import SimpleITK as sitk

    array = _plain(array_zyx)
    try:
        image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    except (KeyError, TypeError) as error:
        raise ArgumentError(f"to_sitk: SimpleITK has no voxel type {array.dtype}; convert the voxels first") from error
    image.SetSpacing(to_xyz(grid.spacing_zyx))
    image.SetOrigin(grid.origin_xyz)
    image.SetDirection(grid.direction_xyz)
    for key, value in metadata.items():
        image.SetMetaData(key, value)
    return image


def sitk_parts(image: Any) -> tuple[NDArray[Any], Geometry]:
    """Return a copy of the voxels of a 3-D SimpleITK image, and their grid."""
    import numpy as np
    import SimpleITK as sitk

    if not isinstance(image, sitk.Image) or image.GetDimension() != 3:
        what = f"a {image.GetDimension()}-D image" if isinstance(image, sitk.Image) else described(image)
        raise ArgumentError(f"from_sitk: expected a 3-D SimpleITK.Image; got {what}")
    grid = Geometry(to_zyx(image.GetSize()), to_zyx(image.GetSpacing()), image.GetOrigin(), image.GetDirection())
    return np.asarray(sitk.GetArrayFromImage(image)), grid


def nibabel_image(array_zyx: NDArray[Any], grid: Geometry, metadata: Mapping[str, str]) -> Any:
    """Return a nibabel image ``(X, Y, Z)``; channels lie on the fifth axis, where NIfTI stores vectors."""
    nibabel = _nibabel()
    import numpy as np

    array = _plain(array_zyx).transpose(*((2, 1, 0) if array_zyx.ndim == 3 else (2, 1, 0, 3)))
    if array.ndim == 4:
        array = array[:, :, :, None, :]
    affine = np.array(affine_ras(grid))
    try:
        image = nibabel.Nifti1Image(array, affine, dtype=array.dtype)
    except (nibabel.spatialimages.HeaderDataError, ValueError) as error:
        raise ArgumentError(f"to_nibabel: {error}; convert the voxels first") from error
    image.set_sform(affine, 1, update_affine=False)  # the header stores float32; the image keeps the float64 matrix
    image.set_qform(affine, 1, update_affine=False)
    image.header.set_xyzt_units("mm", "sec")
    if array.ndim == 5:
        image.header.set_intent(_VECTOR_INTENT)
    if "descrip" in metadata:
        image.header["descrip"] = metadata["descrip"].encode("latin-1", "replace")[:79]
    return image


def nibabel_parts(image: Any) -> tuple[NDArray[Any], Geometry]:
    """Return the voxels of a nibabel image, scaled as nibabel does, and their grid."""
    nibabel = _nibabel()
    import numpy as np

    if not isinstance(image, nibabel.spatialimages.SpatialImage) or not (
        len(image.shape) == 3 or (len(image.shape) == 5 and image.shape[3] == 1)
    ):
        shape = getattr(image, "shape", None)
        what = described(image) if shape is None else f"{type(image).__name__} of shape {shape}"
        raise ArgumentError(f"from_nibabel: expected a nibabel image (X, Y, Z) or (X, Y, Z, 1, C); got {what}")
    array = np.asanyarray(image.dataobj)
    array = array.transpose(2, 1, 0) if array.ndim == 3 else array[:, :, :, 0].transpose(2, 1, 0, 3)
    a, b, c, _ = np.asarray(image.affine, np.float64).tolist()
    stated = geometry_from_affine((tuple(a), tuple(b), tuple(c), (0.0, 0.0, 0.0, 1.0)), array.shape[:3])
    grid = Geometry(stated.size_zyx, stated.spacing_zyx, stated.origin_xyz, stated.direction_xyz)
    return array, grid


def _nibabel() -> Any:
    return require("nibabel", extra="nibabel", why="an image of nibabel")


def _plain(array: NDArray[np.generic]) -> NDArray[Any]:
    """View bool as uint8 and convert to native byte order: neither package accepts anything else."""
    if array.dtype == bool:
        return array.view("uint8")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
