"""Read the header of a volume file with ITKIT's own parsers, or with SimpleITK if the header is unusual.

numpy and SimpleITK are imported only for an unusual header: commands that read only headers start without them.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from itkit.core.errors import ReadError
from itkit.core.files import reader_of, split_extension
from itkit.core.geometry import Geometry
from itkit.io.formats.backend import codecs_backend
from itkit.io.formats.header_model import is_orthonormal
from itkit.io.formats.headers import Header, UnsupportedHeader, read_header
from itkit.io.formats.plugged import read_plugged_header

_HEADERS_KEPT = 8192
_Key = tuple[str, str, int, int, int, int]
_kept: dict[_Key, Header] = {}
SETTLED_NS = 2 * 10**9
"""A file must be this old for its size and times to identify it, because file systems have coarse clocks."""


def sitk_module() -> Any:
    """Import SimpleITK, and turn off the messages that ITK prints itself."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    return sitk


def read_any_header(
    path: str | os.PathLike[str], status: os.stat_result | None = None, *, is_kept: bool = True
) -> Header:
    """Read a volume's header with ITKIT's own parser, or with SimpleITK if the header is unusual.

    A caller that already has the file's ``status`` may pass it. ``is_kept`` keeps the header for who asks next.

    Raises
    ------
    ReadError
        When the file is missing or empty, its header is truncated, or its format is unknown.
    """
    name, backend = os.fspath(path), codecs_backend()
    try:
        if is_kept:
            status = status or os.stat(name)  # noqa: PTH116 - called for thousands of files
            key = (name, backend, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            header = _kept.get(key)
            return _read_once(path, name, backend, key) if header is None else header
        return _read(path, backend)
    except OSError as error:
        _require_volume_file(path)
        raise ReadError(f"{path}: can't be opened ({error.strerror or error})") from error


def _require_volume_file(path: str | os.PathLike[str]) -> None:
    if split_extension(os.path.basename(os.fspath(path))) is None:  # noqa: PTH119 - called for thousands of files
        raise ReadError(f"{path}: not a volume file that ITKIT reads")


def _read_once(path: str | os.PathLike[str], name: str, backend: str, key: _Key) -> Header:
    """Read a header once and keep it, because the plan, the case and the index all need it."""
    is_settled = time.time_ns() - max(key[3:5]) > SETTLED_NS  # before it is read: reading may take long
    header = _read(path, backend)
    if is_settled and os.fspath(header.data_path) == name:  # else it depends on a second file
        if len(_kept) >= _HEADERS_KEPT:
            _kept.clear()
        _kept[key] = header
    return header


def _read(path: str | os.PathLike[str], backend: str) -> Header:
    path = path if isinstance(path, Path) else Path(path)
    if backend == "itk":  # our own parsers refuse other files, too
        _require_volume_file(path)
    try:
        if reader_of(path.name) is not None:
            header = read_plugged_header(path)
        else:
            header = _read_by_itk(path) if backend == "itk" else read_header(path)
    except UnsupportedHeader:
        header = _read_by_itk(path)
    require_possible_grid(header.geometry, path.name, "the header is damaged")
    return header


def _read_by_itk(path: Path) -> Header:
    from itkit.io.formats.itk_reader import read_itk_header  # and all that makes a child process

    return read_itk_header(path)


def require_possible_grid(grid: Geometry, name: str, advice: str) -> None:
    """Raise an error for a grid that no scanner makes; later steps would not fail but place voxels wrongly.

    Raises
    ------
    ReadError
        When a spacing is not between 1e-6 and 1e6 mm, the origin is not finite, or the direction is not orthonormal.
    """
    for axis, spacing in zip("ZYX", grid.spacing_zyx, strict=True):
        if not 1e-6 <= spacing <= 1e6:
            raise ReadError(f"{name}: spacing {axis} is {spacing:g} mm; {advice}")
    if (
        len(grid.direction_xyz) != 9
        or not all(map(math.isfinite, grid.origin_xyz))
        or not is_orthonormal(grid.direction_xyz, tolerance=1e-2)
    ):
        raise ReadError(f"{name}: origin or direction is not that of a voxel grid (sheared, zero or nan)")


def is_plain(header: Header, path: str) -> bool:
    """Whether a file needs no second look: one 3-D volume, one value per voxel, all in this file, and no doubt.

    Parameters
    ----------
    header
        The header, as ITKIT's own parser has read it.
    path
        The file, as it was named to the reader.
    """
    return header.ndim == 3 and header.components == 1 and not header.warnings and is_in_one_file(header, path)


def is_in_one_file(header: Header, path: str) -> bool:
    """Whether all of a volume lies in the file with its header, as ITKIT's own parser says."""
    return header.encoding in _OWN_ENCODINGS and os.fspath(header.data_path) == path  # a sub-folder may have its name


_OWN_ENCODINGS = ("raw", "gzip", "zlib", "text")


def read_geometry(path: str | os.PathLike[str]) -> Geometry:
    """Read a volume's grid from its header alone.

    Raises
    ------
    ReadError
        When the header can't be read, or the file does not hold a single 3-D volume.
    """
    path = Path(path)
    header = read_any_header(path)
    require_single_volume(header, path)
    return header.geometry


def require_single_volume(header: Header, path: Path, *, channels: bool = False) -> None:
    """Raise an error unless a file holds one 3-D volume; with ``channels``, it may have several values per voxel.

    Raises
    ------
    ReadError
        For 2-D and 4-D files and, without ``channels``, for RGB and vector files.
    """
    if header.ndim != 3:
        advice = "split it into volumes first" if header.ndim > 3 else "stack slices into a volume first"
        raise ReadError(f"{path.name}: expected a 3-D volume; the file is {header.ndim}-D; {advice}")
    if header.components != 1 and not channels and "Segment0_ID" in header.metadata:
        raise ReadError(f"{path.name}: a segmentation of several layers, whose segments overlap: {_layers(header)}; "
                        "export each layer to a label map of its own (3D Slicer: Export to labelmap)")  # fmt: skip
    if header.components != 1 and not channels:
        raise ReadError(f"{path.name}: expected one value per voxel; the file has {header.components} (RGB or vector)")


def require_components(header: Header, path: Path, components: Collection[int]) -> None:
    """Raise an error unless a file's number of values per voxel is one of the given numbers.

    Raises
    ------
    ReadError
        When it is not; the message names the numbers.
    """
    if header.components not in components:
        expected = " or ".join(map(str, sorted(components)))
        raise ReadError(
            f"{path.name}: expected {expected} values per voxel, one for each channel in dataset.json; "
            f"the file has {header.components}"
        )


def _layers(header: Header) -> str:
    """Return the names of the segments in each layer of a 3D Slicer segmentation (``.seg.nrrd``)."""
    from itkit.io.formats.segments import segments_of

    layers: dict[str, list[str]] = {}
    for segment in segments_of(header.metadata):
        layers.setdefault(segment.layer, []).append(segment.name)
    return "; ".join(f"layer {layer}: {', '.join(names)}" for layer, names in sorted(layers.items()))
