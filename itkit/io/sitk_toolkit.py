"""Read and write volumes, with SimpleITK for files that ITKIT's own codecs do not support.

A volume that is read has the grid that the header states and the voxels as stored. Writing leaves a complete file or
none.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from itkit.core.arguments import expect, expect_choice
from itkit.core.errors import ReadError, WriteError
from itkit.core.files import VOLUME_EXTENSIONS, Compression, reader_of, volume_suffix
from itkit.core.text import last_line
from itkit.core.volume import Kind, Volume
from itkit.io.disk import commit_files, sync_file, write_error
from itkit.io.formats.backend import codecs_backend
from itkit.io.formats.codecs import read_voxels, write_volume_file
from itkit.io.formats.headers import Header, UnsupportedHeader, read_header, unit_files
from itkit.io.formats.inspect import (
    read_any_header,
    require_possible_grid,
    require_single_volume,
    sitk_module,
)
from itkit.io.formats.inspect import read_geometry as read_geometry
from itkit.io.formats.label_values import as_labels
from itkit.io.formats.plugged import read_plugged
from itkit.io.nii_toolkit import apply_scaling

if TYPE_CHECKING:
    from numpy.typing import NDArray


@contextmanager
def itk_threads(threads: int) -> Iterator[Any]:
    """Yield SimpleITK, with a limit on its threads while the block runs."""
    sitk = sitk_module()
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(max(1, threads))
    try:
        yield sitk
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def read_volume(
    path: str | os.PathLike[str],
    kind: Kind = "image",
    *,
    threads: int = 1,
    channels: bool = False,
    assume_spacing: tuple[float, float, float] | None = None,
    mapped: bool = False,
) -> Volume:
    """Read one 3-D volume.

    Parameters
    ----------
    path
        ``.mha``, ``.mhd``, ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.nhdr``, in any letter case.
    kind
        ``"image"`` keeps the stored type (after NIfTI scaling); ``"label"`` returns integers: float files with
        integral values are converted to the smallest integer type.
    threads
        Number of threads that SimpleITK may use if it reads the file.
    channels
        Accept several values per voxel: the array is then ``(Z, Y, X, C)``.
    assume_spacing
        Spacing ZYX, mm, for a NIfTI file that states none; other files keep their own.
    mapped
        Map an uncompressed file into memory, so that only what is accessed is read; see
        `itkit.io.formats.codecs.read_voxels`.

    Raises
    ------
    ReadError
        When the file is missing, empty, truncated, corrupt, or not a single 3-D volume.
    LabelError
        When a label file holds values that are not integers.
    """
    path = Path(path)
    header = None if assume_spacing is None else read_assuming(path, assume_spacing)
    return read_with_header(path, kind, threads=threads, channels=channels, header=header, mapped=mapped)[0]


def read_with_header(
    path: Path,
    kind: Kind = "image",
    *,
    threads: int = 1,
    channels: bool = False,
    header: Header | None = None,
    mapped: bool = False,
) -> tuple[Volume, Header]:
    """Read one volume as `read_volume` does; also return its header, with warnings about the voxels added."""
    header = header or read_any_header(path)
    require_single_volume(header, path, channels=channels)
    try:
        array = _voxels(header, path, threads, mapped=mapped)
    except OSError as error:
        raise ReadError(f"{path}: can't be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise ReadError(f"{path.name}: {header.size_bytes / 2**20:.0f} MiB of voxels don't fit in memory") from error
    if header.encoding not in ("itk", "plug-in"):  # SimpleITK and plug-ins have applied the scaling already
        array = apply_scaling(array, header, kind)
    if kind == "label":
        array, notes = as_labels(array, path.name)
        header = replace(header, warnings=(*header.warnings, *notes)) if notes else header
    return Volume(array, header.geometry, kind, header.metadata), header


def read_assuming(path: Path, spacing_zyx: tuple[float, float, float]) -> Header:
    """Read a header, with an assumed spacing if the file states none.

    Raises
    ------
    ReadError
        When the header can't be read nevertheless.
    """
    if reader_of(path.name) is not None:
        return read_any_header(path)
    try:
        return read_header(path, assume_spacing=spacing_zyx)
    except UnsupportedHeader:
        return read_any_header(path)
    except OSError as error:
        raise ReadError(f"{path}: can't be opened ({error.strerror or error})") from error


def _voxels(header: Header, path: Path, threads: int, *, mapped: bool) -> NDArray[Any]:
    if header.encoding == "itk":
        from itkit.io.formats.itk_reader import read_itk_voxels  # and all that makes a child process

        return read_itk_voxels(header, path, threads)
    return read_plugged(path).array_zyx if header.encoding == "plug-in" else read_voxels(header, mapped=mapped)


def write_volume(
    volume: Volume, path: str | os.PathLike[str], *, compression: Compression = "fast", threads: int = 1
) -> tuple[Path, ...]:
    """Write a volume completely or not at all; the extension decides the format.

    Returns
    -------
    tuple of Path
        The written files; the data file first, if the format has one.

    Raises
    ------
    ArgumentError
        When ``volume`` is not a volume, ``path`` is not a path, or the compression is unknown.
    WriteError
        When the file can't be written, or could not be read again: the extension is unknown, or the grid is invalid.
        An earlier file of that name stays.
    """
    expect(volume, Volume, "write: volume", "an itkit.Volume")
    expect(path, (str, os.PathLike), "write: path", "a path")
    expect_choice(compression, get_args(Compression), "write: compression")
    path = Path(path)
    if volume_suffix(path) not in VOLUME_EXTENSIONS:
        raise WriteError(f"{path}: expected an extension of {', '.join(VOLUME_EXTENSIONS)}")
    try:
        require_possible_grid(volume.geometry, path.name, "no grid to write")
    except ReadError as error:
        raise WriteError(str(error)) from error
    stage = path.parent / f".itkit-{uuid.uuid4().hex}"
    try:
        stage.mkdir(parents=True)
        staged = stage_volume(volume, stage / path.name, compression=compression, threads=threads)
        files = tuple(path.parent / part.name for part in staged)
        commit_files(list(zip(staged, files, strict=True)))
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return files


def stage_volume(
    volume: Volume,
    path: Path,
    *,
    compression: Compression = "fast",
    threads: int = 1,
    sync: bool = True,
    is_series: bool = False,
) -> tuple[Path, ...]:
    """Write a volume's files under their final names into a staging folder, and flush them to disk.

    With ``is_series``, NIfTI holds the channels as successive volumes of a 4-D file, not as a vector.

    Raises
    ------
    WriteError
        When a file can't be written.
    """
    try:
        if codecs_backend() == "itk" and not is_series:
            files = _write_with_itk(volume, path, compression, threads)
        else:
            files = write_volume_file(
                path,
                volume.array_zyx,
                volume.geometry,
                compression=compression,
                threads=threads,
                metadata=volume.metadata,
                is_series=is_series,
            )
        for file in files if sync else ():
            sync_file(file)
    except OSError as error:
        raise write_error(path.name, error) from error
    return tuple(files)


def _write_with_itk(volume: Volume, path: Path, compression: Compression, threads: int) -> tuple[Path, ...]:
    """Write a volume with SimpleITK; return its files, header last."""
    with itk_threads(threads) as sitk:
        try:
            sitk.WriteImage(to_sitk(volume), str(path), compression != "none")
        except RuntimeError as error:
            raise WriteError(f"{path.name}: can't be written ({last_line(error)})") from error
    header, *data = unit_files(path)
    return (*data, header)


def to_sitk(volume: Volume) -> Any:
    """Copy a volume to a SimpleITK image."""
    return volume.to_sitk()


def from_sitk(image: Any, kind: Kind = "image", *, metadata: Mapping[str, str] | None = None) -> Volume:
    """Copy a 3-D SimpleITK image to a volume."""
    return Volume.from_sitk(image, kind, metadata=metadata)
