"""Volumes for a browser: geometry as JSON, voxels as little-endian int16, in full, half or quarter size.

A coarser level takes every second (fourth) voxel of each axis that is long enough: voxel ``i`` of a level is voxel
``i * factor`` of the volume, so that all levels share one origin and a label never gains a class.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.errors import BusyError, ReadError, ResourceError
from itkit.core.files import VOLUME_EXTENSIONS, split_extension
from itkit.core.geometry import Geometry, orientation_steps
from itkit.core.slices import LETTERS, PLANES, shown_channel
from itkit.core.thumbnail import class_colour
from itkit.core.volume import Kind, Volume
from itkit.engine.resources import available_memory, format_bytes
from itkit.io.anything import read
from itkit.io.dataset_meta import find_dataset_meta
from itkit.io.formats.inspect import read_any_header
from itkit.io.formats.label_values import as_labels
from itkit.io.formats.segments import segments_of
from itkit.io.layouts import IMAGE, LABEL
from itkit.kernels.labels import label_counts
from itkit.report.windows import CT_WINDOWS, window_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from itkit.io.dicom.choices import SeriesChoice
    from itkit.io.dicom.find import Series

LEVELS = 3
_LEAST_VOXELS = 48
"""An axis with fewer voxels stays as it is at coarser levels."""
_MOST_CLASSES = 500
_MOST_WAITING = 6
_MOST_FOLDERS = 4
_MOST_FILES = 50_000
_LABEL_FOLDERS = {LABEL, "labels", "labelstr", "labelsts", "seg", "segmentation", "segmentations", "mask", "masks"}
_INT16 = np.iinfo(np.int16)


def factors_zyx(size_zyx: tuple[int, int, int], level: int) -> tuple[int, int, int]:
    """Return the step along each axis at a level.

    Examples
    --------
    >>> factors_zyx((40, 512, 512), 1), factors_zyx((40, 512, 100), 2)
    ((1, 2, 2), (1, 4, 2))
    """
    z, y, x = (next(2**k for k in range(level, -1, -1) if k == 0 or size >= _LEAST_VOXELS * 2**k) for size in size_zyx)
    return z, y, x


def guess_kind(path: Path) -> Kind:
    """Return whether a path looks like a label map, by the names of its folders and of the file.

    Examples
    --------
    >>> guess_kind(Path("amos/label/case.mha")), guess_kind(Path("amos/image/case.mha")), guess_kind(Path("a.seg.nrrd"))
    ('label', 'image', 'label')
    """
    folders = {part.lower() for part in path.parts[-3:-1]}
    name = path.name.lower()
    is_label = folders & _LABEL_FOLDERS or ".seg." in name or _case_in(name).endswith(("_seg", "_label", "-seg"))
    return "label" if is_label else "image"


def _case_in(name: str) -> str:
    split = split_extension(name)
    return name if split is None else split[0]


@dataclass(frozen=True, eq=False)
class Voxels:
    """A volume as it is sent: int16 ``(Z, Y, X)``, and how to get values from it."""

    array_zyx: NDArray[np.int16]
    geometry: Geometry
    facts: Mapping[str, Any]

    def level(self, level: int) -> NDArray[np.int16]:
        """Return the voxels of a level, as a view."""
        z, y, x = factors_zyx(self.geometry.size_zyx, level)
        return self.array_zyx[::z, ::y, ::x]


def geometry_of(path: Path, series: Voxels | None = None) -> dict[str, Any]:
    """Return what the header of a volume says, and what a viewer needs beside it.

    Parameters
    ----------
    path
        The volume file, or the folder of a series.
    series
        The voxels of the series.

    Raises
    ------
    ReadError
        When it can't be read.
    """
    metadata: Mapping[str, str]
    doubts: tuple[str, ...] = ()
    if series is not None:
        grid, dtype, components, metadata = series.geometry, str(series.facts["dtype"]), 1, {}
    else:
        header = read_any_header(path)
        grid, dtype, components, metadata = header.geometry, header.value_dtype, header.components, header.metadata
        doubts = header.warnings
    return {
        "name": path.name,
        "kind": guess_kind(path),
        "size_zyx": grid.size_zyx,
        "spacing_zyx": grid.spacing_zyx,
        "origin_xyz": grid.origin_xyz,
        "direction_xyz": grid.direction_xyz,
        "extent_zyx": grid.extent_zyx,
        "orientation": grid.orientation,
        "dtype": dtype,
        "components": components,
        "planes": planes_of(grid),
        "is_oblique": not all(abs(value) < 1e-4 or abs(abs(value) - 1) < 1e-4 for value in grid.direction_xyz),
        "levels": [
            {"level": level, "factors_zyx": factors_zyx(grid.size_zyx, level), "size_zyx": _size_at(grid, level)}
            for level in range(LEVELS)
        ],
        "labels": _names(path, metadata),
        "windows": {name: [window.low, window.high] for name, window in CT_WINDOWS.items()},
        "warnings": [*([shown_channel(components)] if components > 1 else []), *doubts],
    }


def _size_at(grid: Geometry, level: int) -> list[int]:
    steps = factors_zyx(grid.size_zyx, level)
    return [-(-size // step) for size, step in zip(grid.size_zyx, steps, strict=True)]


def planes_of(grid: Geometry) -> list[dict[str, Any]]:
    """Return, for each plane of the patient, which array axes are its rows and columns, and which run backwards.

    The rule is that of `itkit.core.slices.plane_slice`: radiological, superior and anterior at the top.

    Examples
    --------
    >>> planes_of(Geometry((2, 3, 4), (1.0, 1.0, 1.0)))[0]
    {'plane': 'axial', 'across': 0, 'row': 1, 'column': 2, 'row_back': False, 'column_back': False, 'letters': 'RLAP'}
    """
    axes, backwards = orientation_steps(grid, "LPS")
    found = []
    for across, plane in enumerate(PLANES):
        row, column = (axis for axis in range(3) if axis != across)
        found.append(
            {
                "plane": plane,
                "across": axes[across],
                "row": axes[row],
                "column": axes[column],
                "row_back": backwards[row] != (row == 0),
                "column_back": backwards[column],
                "letters": LETTERS[plane],
            }
        )
    return found


def _names(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    described = find_dataset_meta(path.parent, path.parent.parent)
    names = {value: name for value, name in described.labels.items() if value != 0}
    colours = dict(described.meta.colours) if described.meta is not None else {}
    for segment in segments_of(metadata):
        if segment.value is not None:
            names[segment.value] = segment.name
            if segment.colour is not None:
                colours[segment.value] = segment.colour
    return {
        str(value): {"name": name, "colour": colours.get(value, class_colour(value))} for value, name in names.items()
    }


def partner(path: Path, folder: str) -> Path | None:
    """Return the file of the same case in a sibling folder, whatever its extension."""
    case = _case_in(path.name)
    found = (path.parent.parent / folder / f"{case}{extension}" for extension in VOLUME_EXTENSIONS)
    return next((other for other in found if other.is_file() and other != path), None)


def partners(path: Path) -> dict[str, Path]:
    """Return the label of an image, or the image of a label, if it lies where a dataset has it."""
    if path.parent.name == IMAGE:
        label = partner(path, LABEL)
        return {} if label is None else {"label": label}
    image = partner(path, IMAGE) if path.parent.name == LABEL else None
    return {} if image is None else {"image": image}


class Shelf:
    """The volumes that were opened last, within a limit of memory.

    Parameters
    ----------
    most_bytes
        Bytes of voxels to keep; by default a quarter of the memory that is free.
    """

    def __init__(self, most_bytes: int | None = None) -> None:
        self._most = available_memory() // 4 if most_bytes is None else most_bytes
        self._kept: OrderedDict[tuple[Any, ...], Voxels] = OrderedDict()
        self._series: OrderedDict[Path, tuple[Any, tuple[tuple[SeriesChoice, ...], str]]] = OrderedDict()
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._places = threading.BoundedSemaphore(_MOST_WAITING)

    def choices(self, folder: Path) -> tuple[tuple[SeriesChoice, ...], str]:
        """Return what `series_choices` finds in a folder, from memory if its files have not changed."""
        from itkit.io.dicom.choices import series_choices

        try:
            stamp = _stamp(islice((path for path in folder.rglob("*") if path.is_file()), _MOST_FILES + 1))
        except OSError as error:
            raise ReadError(f"{folder.name}: can't be read ({error.strerror or error})") from error
        if len(stamp) > _MOST_FILES:
            raise ResourceError(f"{folder.name}: more than {_MOST_FILES:,} files; open a folder with fewer series")
        with self._lock:
            found = self._series.get(folder)
        if found is None or found[0] != stamp:
            found = (stamp, series_choices(folder))
        with self._lock:
            self._series[folder] = found
            self._series.move_to_end(folder)
            while len(self._series) > _MOST_FOLDERS:
                self._series.popitem(last=False)
        return found[1]

    def voxels(self, path: Path, kind: Kind, channel: int = 0, series: Series | None = None) -> Voxels:
        """Return the voxels of a file, from memory if it has not changed; then it waits for no file that is being read.

        With ``series``, return those of a series in the folder ``path``.

        Raises
        ------
        BusyError
            When too many others wait.
        ReadError, LabelError, ResourceError
            When it can't be read, or needs too much memory.
        """
        try:
            key = (path, kind, channel, _stamp((path,) if series is None else series.files))
        except OSError as error:
            raise ReadError(f"{path.name}: can't be read ({error.strerror or error})") from error
        found = self._known(key)
        if found is not None:
            return found
        if not self._places.acquire(blocking=False):
            raise BusyError("too many volumes are being read; try again in a moment")
        try:
            with self._reading:
                return self._known(key) or self._read(key, path, kind, channel, series)
        finally:
            self._places.release()

    def _known(self, key: tuple[Any, ...]) -> Voxels | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def _read(self, key: tuple[Any, ...], path: Path, kind: Kind, channel: int, series: Series | None) -> Voxels:
        if series is not None:
            from itkit.io.dicom.read import read_series

            volume = read_series(series, kind=kind)
            if kind == "label":
                volume = volume.with_array(as_labels(volume.array_zyx, str(path))[0])
        else:
            _require_memory(path)
            volume = read(path, kind, channels=kind == "image")
        found = _sendable(volume, channel)
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > 1 and sum(one.array_zyx.nbytes for one in self._kept.values()) > self._most:
                self._kept.popitem(last=False)
        return found


def _stamp(paths: Iterable[Path]) -> tuple[Any, ...]:
    """Return what changes when one of several files does."""
    found = [(path, path.stat()) for path in paths]
    return tuple((str(path), one.st_size, one.st_mtime_ns, one.st_ino) for path, one in found)


def _require_memory(path: Path) -> None:
    header = read_any_header(path)
    voxels = header.geometry.size_zyx[0] * header.geometry.size_zyx[1] * header.geometry.size_zyx[2]
    needed = 2 * header.size_bytes + 2 * voxels
    if needed > available_memory() // 2:
        raise ResourceError(
            f"{path.name}: showing it takes {format_bytes(needed)}, more than half of the memory that is free here"
        )


def _sendable(volume: Volume, channel: int) -> Voxels:
    array = volume.array_zyx
    if array.ndim == 4:
        if channel >= array.shape[3]:
            raise ReadError(f"it has {array.shape[3]} channels; there is no channel {channel}")
        volume = volume.with_array(np.ascontiguousarray(array[..., channel]))
        array = volume.array_zyx
    facts: dict[str, Any] = {"dtype": str(array.dtype), "kind": volume.kind}
    if volume.kind == "label":
        counts = label_counts(array)
        classes = {int(value): int(count) for value, count in sorted(counts.items()) if value != 0}
        if classes and (max(classes) > _INT16.max or min(classes) < _INT16.min):
            raise ReadError(f"its labels reach from {min(classes)} to {max(classes)}; a browser is sent 16 bits")
        shown = dict(list(classes.items())[:_MOST_CLASSES])
        facts |= {
            "slope": 1.0,
            "inter": 0.0,
            "classes": shown,
            "colours": {value: class_colour(value) for value in shown},
        }
        return Voxels(np.ascontiguousarray(array, dtype="<i2"), volume.geometry, facts)
    window = window_of(volume)
    sent, slope, inter = to_int16(array)
    low, high = (float(value) * slope + inter for value in (sent.min(), sent.max()))
    facts |= {"slope": slope, "inter": inter, "low": low, "high": high}
    facts["window"] = {"low": window.low, "high": window.high, "name": window.name}
    return Voxels(sent, volume.geometry, facts)


def to_int16(array: NDArray[Any]) -> tuple[NDArray[np.int16], float, float]:
    """Return an array as int16, and the slope and intercept that give its values back.

    Whole numbers that fit are kept; others are spread over all of int16, the error is at most half a step. What is not
    finite becomes the lowest value.

    Examples
    --------
    >>> sent, slope, inter = to_int16(np.array([[[0.0, 0.5, 1.0]]]))
    >>> [round(float(value), 4) for value in sent.ravel() * slope + inter]
    [0.0, 0.5, 1.0]
    """
    if array.dtype.kind in ("b", "u", "i"):
        low, high = int(array.min()), int(array.max())
        if low >= _INT16.min and high <= _INT16.max:
            return np.ascontiguousarray(array, dtype="<i2"), 1.0, 0.0
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    low_value, high_value = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    slope = (high_value - low_value) / 65535 or 1.0
    inter = low_value - _INT16.min * slope
    sent = np.empty(array.shape, "<i2")
    for part, target in zip(array, sent, strict=True):
        values = np.nan_to_num(part.astype(np.float64), nan=low_value, posinf=high_value, neginf=low_value)
        target[...] = np.clip(np.rint((values - inter) / slope), _INT16.min, _INT16.max)
    return sent, slope, inter
