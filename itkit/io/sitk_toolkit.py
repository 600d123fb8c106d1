"""Volumes from files and to files; SimpleITK where our own codecs don't reach.

Reading gives the grid that the header states and the voxels as stored; writing leaves a whole file or none.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from itkit.core.axes import to_xyz, to_zyx
from itkit.core.errors import LabelError, ReadError, WriteError
from itkit.core.volume import Geometry, Kind, Volume
from itkit.io.codecs import read_voxels, write_volume_file
from itkit.io.headers import Header, UnsupportedHeader, read_header, unit_files
from itkit.io.layouts import split_extension
from itkit.io.nii_toolkit import apply_scaling

if TYPE_CHECKING:
    from numpy.typing import NDArray

Compression = Literal["none", "fast", "small"]


def sitk_module() -> Any:
    """Import SimpleITK, with the messages that ITK prints by itself turned off."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    return sitk


@contextmanager
def itk_threads(threads: int) -> Iterator[Any]:
    """Give SimpleITK, with a limit on its threads while the block runs."""
    sitk = sitk_module()
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(max(1, threads))
    try:
        yield sitk
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def last_line(error: BaseException) -> str:
    """Return the last useful line of a foreign error message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    return text.split("): ", 1)[-1] if text.startswith("sitk::ERROR") or "itk::ERROR" in text else text


def read_any_header(path: Path) -> Header:
    """Read a volume's header with our parser, or with SimpleITK where the header is unusual.

    Raises
    ------
    ReadError
        When the file is missing, empty, truncated in its header, or of no known format.
    """
    if split_extension(path.name) is None:
        raise ReadError(f"{path}: not a volume file that ITKIT reads")
    try:
        return read_header(path)
    except UnsupportedHeader:
        return _read_itk_header(path)
    except OSError as error:
        raise ReadError(f"{path}: can't be opened ({error.strerror or error})") from error


def _read_itk_header(path: Path) -> Header:
    sitk = sitk_module()
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ReadError(f"{path}: not readable as a volume ({last_line(error)})") from error
    size, ndim = list(reader.GetSize()), reader.GetDimension()
    if ndim == 4 and size[3] == 1:
        ndim = 3
    direction = reader.GetDirection()
    full = reader.GetDimension()
    pad = [size[i] if i < full else 1 for i in range(3)]
    spacing = [reader.GetSpacing()[i] if i < full else 1.0 for i in range(3)]
    origin = [reader.GetOrigin()[i] if i < full else 0.0 for i in range(3)]
    cosines = [
        direction[row * full + column] if row < full and column < full else float(row == column)
        for row in range(3)
        for column in range(3)
    ]
    dtype = np.dtype(
        sitk.extra._get_numpy_dtype(sitk.Image([1] * 2, reader.GetPixelID(), reader.GetNumberOfComponents()))
    )
    components = reader.GetNumberOfComponents()
    x, y, z = origin
    return Header(
        geometry=Geometry(to_zyx(pad), to_zyx(spacing), (x, y, z), tuple(cosines)),
        ndim=ndim,
        dtype=dtype.name,
        components=components,
        size_bytes=int(np.prod(size, dtype=np.int64)) * components * dtype.itemsize,
        data_path=path,
        data_offset=0,
        encoding="itk",
        file_format="read by SimpleITK",
    )


def read_geometry(path: str | os.PathLike[str]) -> Geometry:
    """Read a volume's grid from its header alone.

    Raises
    ------
    ReadError
        When the header can't be read, or the file holds no single 3-D volume.
    """
    path = Path(path)
    header = read_any_header(path)
    require_single_volume(header, path)
    return header.geometry


def require_single_volume(header: Header, path: Path, *, channels: bool = False) -> None:
    """Refuse what is not one 3-D volume (with ``channels``: of several components).

    Raises
    ------
    ReadError
        For 2-D and 4-D files and, unless ``channels``, for RGB and vector files.
    """
    if header.ndim != 3:
        advice = "split it into volumes first" if header.ndim > 3 else "stack slices into a volume first"
        raise ReadError(f"{path.name}: expected a 3-D volume; the file is {header.ndim}-D; {advice}")
    if header.components != 1 and not channels:
        raise ReadError(f"{path.name}: expected one value a voxel; the file has {header.components} (RGB or vector)")


def read_volume(
    path: str | os.PathLike[str], kind: Kind = "image", *, threads: int = 1, channels: bool = False
) -> Volume:
    """Read one 3-D volume.

    Parameters
    ----------
    path
        ``.mha``, ``.mhd``, ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.nhdr``, in any letter case.
    kind
        ``"image"`` keeps the stored type (NIfTI scaling applied); ``"label"`` gives integers:
        a float file with integral values becomes the smallest integer type.
    threads
        Threads that decompression may use.
    channels
        Accept several values a voxel: the array is then ``(Z, Y, X, C)``.

    Raises
    ------
    ReadError
        When the file is missing, empty, truncated, corrupt, or no single 3-D volume.
    LabelError
        When a label file holds values that are not integers.
    """
    return read_with_header(Path(path), kind, threads=threads, channels=channels)[0]


def read_with_header(
    path: Path, kind: Kind = "image", *, threads: int = 1, channels: bool = False
) -> tuple[Volume, Header]:
    """Read one volume as `read_volume` does, and give its header too."""
    header = read_any_header(path)
    require_single_volume(header, path, channels=channels)
    try:
        array = _read_with_itk(path, threads) if header.encoding == "itk" else read_voxels(header, threads=threads)
    except OSError as error:
        raise ReadError(f"{path}: can't be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise ReadError(f"{path.name}: {header.size_bytes / 2**20:.0f} MiB of voxels don't fit in memory") from error
    if header.encoding != "itk":  # SimpleITK has scaled its own
        array = apply_scaling(array, header, kind)
    if kind == "label":
        array = as_labels(array, path.name)
    return Volume(array, header.geometry, kind, header.metadata), header


def _read_with_itk(path: Path, threads: int) -> NDArray[Any]:
    with itk_threads(threads) as sitk:
        try:
            image = sitk.ReadImage(str(path))
        except RuntimeError as error:
            raise ReadError(f"{path}: not readable as a volume ({last_line(error)})") from error
        if image.GetDimension() == 4:
            image = image[:, :, :, 0]
        return np.asarray(sitk.GetArrayFromImage(image))


def as_labels(array: NDArray[Any], where: str) -> NDArray[Any]:
    """Return label values as integers; float arrays with integral values become the smallest integer type.

    Raises
    ------
    LabelError
        When a value is not an integer, or not finite.
    """
    if array.dtype.kind in "iu":
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if not np.isfinite(array).all():
        raise LabelError(f"{where}: a label map must hold integers; it holds nan or infinite values")
    rounded = np.rint(array)
    wrong = array[rounded != array]
    if wrong.size:
        raise LabelError(
            f"{where}: a label map must hold integers; it holds {wrong[0]:g} ({wrong.size} voxels are not integral)"
        )
    return (
        array.astype(smallest_integer(float(array.min()), float(array.max()))) if array.size else array.astype(np.uint8)
    )


def smallest_integer(lowest: float, highest: float) -> np.dtype[Any]:
    """Return the smallest integer type for a range of values: unsigned unless one is negative.

    Raises
    ------
    LabelError
        When no integer type holds them.
    """
    names = ("uint8", "uint16", "uint32", "uint64") if lowest >= 0 else ("int8", "int16", "int32", "int64")
    for name in names:
        info = np.iinfo(name)
        if info.min <= lowest and highest <= info.max:
            return np.dtype(name)
    raise LabelError(f"no integer type holds the range {lowest:g} … {highest:g}")


def write_volume(
    volume: Volume, path: str | os.PathLike[str], *, compression: Compression = "fast", threads: int = 1
) -> tuple[Path, ...]:
    """Write a volume, whole or not at all; the format follows the extension.

    Returns
    -------
    tuple of Path
        The files that now exist: data file first where the format has one.

    Raises
    ------
    WriteError
        When the file can't be written; what stood under that name before still stands.
    """
    path = Path(path)
    stage = path.parent / f".itkit-{uuid.uuid4().hex}"
    try:
        stage.mkdir(parents=True)
        staged = stage_volume(volume, stage / path.name, compression=compression, threads=threads)
        return tuple(commit_files([(part, path.parent / part.name) for part in staged]))
    except OSError as error:
        raise WriteError(f"{path}: can't be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def stage_volume(
    volume: Volume, path: Path, *, compression: Compression = "fast", threads: int = 1, sync: bool = True
) -> tuple[Path, ...]:
    """Write a volume's files under their final names in a folder that nobody reads yet, and flush them to disk.

    Raises
    ------
    WriteError
        When a file can't be written.
    """
    try:
        files = write_volume_file(
            path, volume.array_zyx, volume.geometry, compression=compression, threads=threads, metadata=volume.metadata
        )
        for file in files if sync else ():
            sync_file(file)
    except OSError as error:
        raise WriteError(f"{path.name}: can't be written ({error.strerror or error})") from error
    return tuple(files)


def sync_file(path: Path) -> None:
    """Wait until a file's bytes are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def commit_files(moves: Sequence[tuple[Path, Path]]) -> list[Path]:
    """Move staged files to their final names, in the given order; across file systems through a hidden sibling."""
    for folder in dict.fromkeys(final.parent for _, final in moves):
        folder.mkdir(parents=True, exist_ok=True)
    for staged, final in moves:
        try:
            staged.replace(final)
        except OSError as error:
            if error.errno != 18:  # EXDEV
                raise
            hidden = final.with_name(f".itkit-{uuid.uuid4().hex}-{final.name}")
            shutil.copy2(staged, hidden)
            sync_file(hidden)
            hidden.replace(final)
    return [final for _, final in moves]


def to_sitk(volume: Volume) -> Any:
    """Copy a volume to a SimpleITK image."""
    sitk = sitk_module()
    image = sitk.GetImageFromArray(volume.array_zyx, isVector=volume.array_zyx.ndim == 4)
    set_geometry(image, volume.geometry)
    for key, value in volume.metadata.items():
        image.SetMetaData(key, value)
    return image


def set_geometry(image: Any, geometry: Geometry) -> None:
    """Put a SimpleITK image on a grid of its size."""
    image.SetSpacing(to_xyz(geometry.spacing_zyx))
    image.SetOrigin(geometry.origin_xyz)
    image.SetDirection(geometry.direction_xyz)


def geometry_of(image: Any) -> Geometry:
    """Return the grid of a 3-D SimpleITK image."""
    x, y, z = image.GetOrigin()
    return Geometry(to_zyx(image.GetSize()), to_zyx(image.GetSpacing()), (x, y, z), tuple(image.GetDirection()))


def from_sitk(image: Any, kind: Kind = "image", *, metadata: Mapping[str, str] | None = None) -> Volume:
    """Copy a 3-D SimpleITK image to a volume."""
    sitk = sitk_module()
    return Volume(np.asarray(sitk.GetArrayFromImage(image)), geometry_of(image), kind, metadata or {})


def with_grid(volume: Volume, geometry: Geometry) -> Volume:
    """Return a volume on another grid of the same size."""
    return replace(volume, geometry=geometry)


def volume_files(path: Path) -> tuple[Path, ...]:
    """All files of a volume: header and data file together.

    Raises
    ------
    ReadError
        When the header can't tell which they are.
    """
    return unit_files(path)
