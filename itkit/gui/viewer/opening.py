"""What a path holds for the viewer: a volume, the cases of a dataset, a DICOM series; and how it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from itkit.core.errors import ItkitError, ReadError
from itkit.core.files import split_extension
from itkit.core.geometry import Geometry, Triple
from itkit.core.slices import shown_channel
from itkit.core.volume import Volume
from itkit.forms.progress import CaseRow
from itkit.io.anything import read
from itkit.io.formats.header_model import Header
from itkit.io.formats.inspect import read_any_header
from itkit.io.layouts import IMAGE, LABEL, find_description, find_volumes
from itkit.kernels.kinds import looks_like_labels
from itkit.kernels.labels import label_counts
from itkit.report.pictures import busiest_point, centre_point
from itkit.report.windows import Window, window_of

_MOST_CASES = 20_000
_FEW_CLASSES = 10
_LARGE_BYTES = 64 << 20
_PIECE = 1 << 20
_ANY_WRAPPER = 47
"""Finds out whether a stream is gzip or zlib."""


@dataclass(frozen=True)
class CaseFiles:
    """The files of a case: an image, a label map, or both; ``image`` may be the folder of a DICOM series."""

    name: str
    image: Path | None = None
    label: Path | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    series: Any = None
    """The DICOM series, in place of an image file: a folder may hold several."""
    under: Path | None = None
    """An image to draw below, if the file turns out to be a label map: what a model made of it."""

    @property
    def path(self) -> Path | None:
        """The file to show."""
        return self.image or self.label


@dataclass(frozen=True)
class Opened:
    """What a path holds: its cases, and which is shown first."""

    cases: tuple[CaseFiles, ...]
    first: int = 0
    note: str = ""


def what_is_at(path: Path) -> Opened:
    """Find the cases at a path.

    Raises
    ------
    ItkitError
        When nothing there can be shown.
    """
    if path.is_file():
        if split_extension(path.name) is None:
            return Opened((CaseFiles(path.name, path),))
        return _of_file(path)
    if (path / IMAGE).is_dir() or (path / LABEL).is_dir():
        return Opened(_dataset(path))
    volumes = find_volumes(path)
    if volumes:
        return Opened(_folder(path, volumes))
    deeper = find_volumes(path, recursive=True)
    if deeper:
        return Opened(_folder(path, dict(list(deeper.items())[:_MOST_CASES])))
    return _of_series(path)


def _of_file(path: Path) -> Opened:
    root = path.parent.parent
    if path.parent.name in (IMAGE, LABEL):
        cases = _dataset(root)
        return Opened(cases, next((at for at, case in enumerate(cases) if path in (case.image, case.label)), 0))
    return Opened((_as_case(path, find_description(path.parent).meta),))


def _as_case(path: Path, meta: Any = None) -> CaseFiles:
    parts = split_extension(path.name)
    return CaseFiles(parts[0] if parts else path.name, path, names=_names(meta))


def _names(meta: Any) -> dict[int, str]:
    return {} if meta is None else dict(meta.labels)


def names_at(path: Path) -> dict[int, str]:
    """Return the names of classes that are known beside a file, or in the dataset that holds it."""
    return _names(find_description(path.parent).meta) or _names(find_description(path.parent.parent).meta)


def _dataset(root: Path) -> tuple[CaseFiles, ...]:
    images = find_volumes(root / IMAGE) if (root / IMAGE).is_dir() else {}
    labels = find_volumes(root / LABEL) if (root / LABEL).is_dir() else {}
    meta = find_description(root).meta
    endings = () if meta is None else meta.endings
    channels = {case: _without(case, endings) for case in images}
    found = [CaseFiles(case, path, labels.get(channels[case]), _names(meta)) for case, path in images.items()]
    known = set(channels.values())
    lone = [CaseFiles(case, None, path, _names(meta)) for case, path in labels.items() if case not in known]
    if not found and not lone:
        raise ReadError(f"{root}: image/ and label/ hold no volume")
    return (*found, *lone)


def _without(case: str, endings: tuple[str, ...]) -> str:
    """Return the case to which a channel's file belongs."""
    return next((case.removesuffix(f"_{end}") for end in endings if case.endswith(f"_{end}")), case)


def _folder(folder: Path, volumes: Mapping[str, Path]) -> tuple[CaseFiles, ...]:
    """Return the volumes of a folder; an image and a label that are named so are one case."""
    meta = find_description(folder).meta
    if {IMAGE, LABEL} <= volumes.keys():
        own = CaseFiles(folder.name, volumes[IMAGE], volumes[LABEL], _names(meta))
        rest = {case: path for case, path in volumes.items() if case not in (IMAGE, LABEL)}
        return (own, *(CaseFiles(case, path, None, _names(meta)) for case, path in rest.items()))
    return tuple(CaseFiles(case, path, None, _names(meta)) for case, path in volumes.items())


def _of_series(folder: Path) -> Opened:
    from itkit.io.dicom.choices import series_choices

    choices, note = series_choices(folder)
    if len(choices) > 1:
        note = "; ".join(filter(None, (f"{len(choices)} series: choose one on the left", note)))
    return Opened(tuple(CaseFiles(one.title, folder, series=one.series) for one in choices), note=note)


def case_files(row: CaseRow) -> tuple[CaseFiles | None, CaseFiles | None]:
    """Return the files that a case of a run read and wrote, as far as they are volumes that are still there."""
    before, after = (_files_of(row.case, paths) for paths in (row.inputs, row.outputs))
    if before is None:
        return after, None
    return before, None if after is None else replace(after, under=before.image)


def _files_of(case: str, paths: tuple[str, ...]) -> CaseFiles | None:
    there = [path for path in map(Path, paths) if path.exists() and (path.is_dir() or split_extension(path.name))]
    labels = [path for path in there if path.parent.name == LABEL]
    images = [path for path in there if path not in labels]
    if not there:
        return None
    label = labels[0] if labels else images[1] if len(images) > 1 else None
    names = _names(find_description(there[0].parent).meta)
    return CaseFiles(case, images[0] if images else None, label, names)


@dataclass(frozen=True, eq=False)
class Loaded:
    """A case in memory.

    Parameters
    ----------
    files
        Its files.
    image, label
        Its volumes; a case may lack one.
    note
        What the user should know, e.g. that the label map lies on another grid.
    counts, window, home_xyz
        Voxels of each class, the values that are black and white at first, and the point that is shown first.
    """

    files: CaseFiles
    image: Volume | None
    label: Volume | None
    note: str = ""
    counts: Mapping[int, int] = field(default_factory=dict)
    window: Window | None = None
    home_xyz: Triple = (0.0, 0.0, 0.0)

    @property
    def grid(self) -> Geometry:
        """The grid on which it is shown."""
        volume = self.image if self.image is not None else self.label
        assert volume is not None  # one of both is there
        return volume.geometry


def load(files: CaseFiles, *, threads: int = 1) -> Loaded:
    """Read a case; a file that nobody calls a label is one if it looks so.

    Raises
    ------
    ItkitError
        When a file can't be read.
    """
    image, notes = (None, []) if files.image is None else _read(files, files.image, threads)
    label = None if files.label is None else read(files.label, "label", threads=threads)
    if image is not None and label is None and files.series is None and looks_like_labels(image.array_zyx):
        label, image = Volume(image.array_zyx, image.geometry, "label"), None
    if image is None and label is not None and files.under is not None:
        below, _ = _read(files, files.under, threads)
        is_below = below.geometry.same_grid(label.geometry) and not looks_like_labels(below.array_zyx)
        image = below if is_below else None
    if image is not None and label is not None and not image.geometry.same_grid(label.geometry):
        from itkit.core.grids import grid_difference

        notes.append(grid_difference(image.geometry, label.geometry) or "image and label lie on different grids")
    return with_looks(Loaded(files, image, label, "; ".join(notes)))


def with_looks(loaded: Loaded) -> Loaded:
    """Find out how a case is shown at first: where its classes are, or the middle if there are none or many."""
    image, label = loaded.image, loaded.label
    counts = {} if label is None else {int(value): count for value, count in label_counts(label.array_zyx).items()}
    is_few = label is not None and 0 < len(set(counts) - {0}) <= _FEW_CLASSES
    home = busiest_point(label) if is_few and label is not None else centre_point(loaded.grid)
    fits = image is not None and label is not None and image.geometry.same_grid(label.geometry)
    window = None if image is None else window_of(image, label if fits else None)
    return replace(loaded, counts=counts, window=window, home_xyz=home)


def _read(files: CaseFiles, path: Path, threads: int) -> tuple[Volume, list[str]]:
    """Read an image, and say what of it is not shown."""
    if files.series is not None:
        from itkit.io.dicom.read import read_series

        return read_series(files.series), []
    volume = read(path, threads=threads, channels=True)
    array = volume.array_zyx
    if array.ndim == 3:
        return volume, []
    return volume.with_array(np.ascontiguousarray(array[..., 0])), [shown_channel(array.shape[3])]


def header_of(files: CaseFiles) -> Header | None:
    """Return the header of a case's file; ``None`` if it has none that can be read alone."""
    path = files.path
    if path is None or path.is_dir():
        return None
    try:
        return read_any_header(path)
    except ItkitError:
        return None


def middle_slice(header: Header) -> Volume | None:
    """Return the middle slice of a large file before all of it is read; ``None`` if that takes as long.

    Of a compressed file, only what lies before the slice is decoded.
    """
    if header.size_bytes < _LARGE_BYTES or header.components != 1 or header.volumes != 1:
        return None
    grid = header.geometry
    z = grid.size_zyx[0] // 2
    dtype = np.dtype(header.dtype).newbyteorder("<" if header.byte_order == "little" else ">")
    count = grid.size_zyx[1] * grid.size_zyx[2] * dtype.itemsize
    try:
        data = _bytes_at(header, z * count, count)
    except (OSError, ValueError, isal_zlib.error):  # type: ignore[misc]  # its stub makes it a value
        return None
    if data is None or len(data) < count:
        return None
    values: NDArray[Any] = np.frombuffer(data, dtype).reshape(1, *grid.size_zyx[1:])
    values = values.astype(dtype.newbyteorder("="))
    from itkit.io.nii_toolkit import apply_scaling

    values = apply_scaling(values, header, "image")
    own = Geometry((1, *grid.size_zyx[1:]), grid.spacing_zyx, grid.point_xyz((z, 0, 0)), grid.direction_xyz)
    return Volume(values, own, "image")


def _bytes_at(header: Header, start: int, count: int) -> bytes | None:
    with header.data_path.open("rb") as file:
        if header.encoding == "raw":
            file.seek(header.data_offset + start)
            return file.read(count)
        if header.encoding not in ("gzip", "zlib"):
            return None
        file.seek(header.stream_offset)
        begin = header.data_offset + start
        decoder = isal_zlib.decompressobj(_ANY_WRAPPER)
        passed, kept = 0, bytearray()
        while len(kept) < count and (piece := decoder.unconsumed_tail or file.read(_PIECE)) and not decoder.eof:
            out = decoder.decompress(piece, _PIECE * 8)
            kept += out[max(begin - passed, 0) : max(begin + count - passed, 0)]
            passed += len(out)
        return bytes(kept[:count])
