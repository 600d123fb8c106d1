"""Read the voxels of a case: channels one after the other, the label merged from its parts; compare their grids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.errors import GeometryMismatchError, ReadError
from itkit.core.geometry import Geometry
from itkit.core.grids import grid_difference
from itkit.core.text import counted, some
from itkit.core.volume import Kind, Volume
from itkit.dataset.convert.labels import merge_masks, select, unknown_values
from itkit.dataset.convert.repair import open_header
from itkit.dataset.convert.spec import Loaded
from itkit.io.formats.codecs import read_voxels
from itkit.io.formats.header_model import Header, UnsupportedHeader
from itkit.io.formats.label_values import as_labels
from itkit.io.nii_toolkit import split_volumes
from itkit.io.sitk_toolkit import read_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from itkit.core.operation import Context
    from itkit.core.params import OverlapRule
    from itkit.dataset.convert.labels import Selection
    from itkit.dataset.convert.params import ConvertDatasetParams
    from itkit.dataset.convert.spec import DatasetSpec, FoundCase

_UNIT = (1.0, 1.0, 1.0)


def read_volumes(path: Path, kind: Kind, *, threads: int = 1) -> list[Volume]:
    """Read the 3-D volumes of a file: one or, if the file is 4-D, several.

    Raises
    ------
    ReadError
        When the file can't be read, or has several values per voxel.
    LabelError
        When a label map holds values that are not integers.
    """
    header, _ = open_header(path)
    if header.components != 1:
        raise ReadError(f"{path.name}: expected one value per voxel; the file has {header.components} (RGB or vector)")
    if header.ndim < 3:
        raise ReadError(
            f"{path.name}: expected a 3-D volume; the file is {header.ndim}-D; stack slices into a volume first"
        )
    try:
        stored = read_voxels(header)
    except UnsupportedHeader:
        return [read_volume(path, kind, threads=threads)]
    except OSError as error:
        raise ReadError(f"{path}: can't be read ({error.strerror or error})") from error
    volumes = list(split_volumes(stored, header, kind))
    if kind == "label":
        volumes = [volume.with_array(as_labels(volume.array_zyx, path.name)[0]) for volume in volumes]
    return volumes


def read_single(path: Path, kind: Kind, *, threads: int = 1) -> Volume:
    """Read a file that holds one volume.

    Raises
    ------
    ReadError
        When the file can't be read, or holds several volumes.
    """
    volumes = read_volumes(path, kind, threads=threads)
    if len(volumes) != 1:
        raise ReadError(f"{path.name}: expected a 3-D volume; the file is 4-D with {len(volumes)} volumes")
    return volumes[0]


def load_files(spec: DatasetSpec, found: FoundCase, params: ConvertDatasetParams, context: Context) -> Loaded:
    """Read a case whose images and labels are volume files.

    Raises
    ------
    CaseError
        When a file can't be read, grids differ by more than 1e-3 mm, or a label map holds invalid values.
    """
    del params
    names = found.channels or spec.channels
    headers = [open_header(path) for path in found.images]
    grid = headers[0][0].geometry
    warnings = [
        f"{path.name}: {text}" for path, (_, notes) in zip(found.images, headers, strict=True) for text in notes
    ]
    for path, (header, _) in zip(found.images[1:], headers[1:], strict=True):
        _require_grid(grid, header.geometry, found.images[0].name, path.name)
    if spec.warns_unit_spacing and grid.spacing_zyx == _UNIT:
        warnings.append("spacing is 1 1 1 mm: it was lost in the release; correct it from the original source")
    channels = _channels(found, names, [header for header, _ in headers], is_integral=spec.is_integral, context=context)
    table = spec.labels if found.labels is None else found.labels
    selection = select(table) if found.selection is None else found.selection
    facts: dict[str, Any] = {}
    label = None
    if found.label is not None:
        label, more = read_label(found.label, grid, table, selection, context)
        warnings += more
    elif found.parts:
        label, more_facts, more = merge_parts(found, grid, selection, spec.overlap, context)
        facts |= more_facts
        warnings += more
    return Loaded(grid, channels, label, selection.names, facts, tuple(warnings))


def _channels(
    found: FoundCase, names: Sequence[str], headers: Sequence[Header], *, is_integral: bool, context: Context
) -> dict[str, Callable[[], Volume]]:
    if len(found.images) == 1 and headers[0].volumes > 1:
        if headers[0].volumes != len(names):
            raise ReadError(
                f"{found.images[0].name}: expected {len(names)} channels ({', '.join(names)}); "
                f"the file is 4-D with {headers[0].volumes} volumes"
            )
        stack = _Once(lambda: read_volumes(found.images[0], "image", threads=context.threads))
        return {name: lambda number=number: stack()[number] for number, name in enumerate(names)}  # type: ignore[misc]  # a default binds the number
    if len(found.images) != len(names):
        raise ReadError(
            f"expected {len(names)} channels ({', '.join(names)}); found {some(p.name for p in found.images)}"
        )

    def reader(path: Path) -> Callable[[], Volume]:
        def read() -> Volume:
            volume = read_single(path, "image", threads=context.threads)
            return _integral(volume) if is_integral else volume

        return read

    return {name: reader(path) for name, path in zip(names, found.images, strict=True)}


class _Once:
    """Calls a function the first time and keeps the result."""

    def __init__(self, function: Callable[[], list[Volume]]) -> None:
        self._function = function
        self._result: list[Volume] | None = None

    def __call__(self) -> list[Volume]:
        if self._result is None:
            self._result = self._function()
        return self._result


def _integral(volume: Volume) -> Volume:
    """Convert floating-point voxels to int16 if all of them are whole numbers that fit."""
    array = volume.array_zyx
    if array.dtype.kind != "f":
        return volume
    info = np.iinfo(np.int16)
    whole = all(
        np.array_equal(np.rint(plane), plane) and plane.min() >= info.min and plane.max() <= info.max for plane in array
    )
    return volume.with_array(array.astype(np.int16)) if whole else volume


def _require_grid(grid: Geometry, other: Geometry, first: str, second: str) -> None:
    reason = grid_difference(grid, other, first, second)
    if reason:
        raise GeometryMismatchError(f"{reason}; nothing was resampled")


def read_label(
    path: Path, grid: Geometry, table: Mapping[int, str], selection: Selection, context: Context
) -> tuple[Volume, list[str]]:
    """Read a label map on an image's grid; return it with its output values, and warnings about values without a name.

    Raises
    ------
    CaseError
        When it can't be read, lies on another grid, or holds invalid values.
    """
    label = read_single(path, "label", threads=context.threads)
    _require_grid(grid, label.geometry, "image", "label")
    warnings = []
    strange = unknown_values(label, table)
    if strange and len(table) > 1:
        listed = some(f"{value} ({counted(count, 'voxel')})" for value, count in strange.items())
        kept = "kept" if selection.mapping is None else "set to 0"
        warnings.append(f"{path.name}: label values without a name, {kept}: {listed}")
    return selection.apply(Volume(label.array_zyx, grid, "label")), warnings


def merge_parts(
    found: FoundCase, grid: Geometry, selection: Selection, rule: OverlapRule, context: Context
) -> tuple[Volume, dict[str, Any], list[str]]:
    """Merge the masks of a case's classes on an image's grid; return the label map, facts about overlaps, warnings.

    Raises
    ------
    CaseError
        When a mask can't be read or lies on another grid, or masks overlap and the rule is ``error``.
    """
    mapping = selection.mapping
    parts = [(value if mapping is None else mapping[value], path) for value, path in found.parts
             if mapping is None or value in mapping]  # fmt: skip

    def masks() -> Iterator[tuple[int, NDArray[Any]]]:
        for value, path in parts:
            mask = read_single(path, "label", threads=context.threads)
            _require_grid(grid, mask.geometry, "image", path.name)
            yield value, mask.array_zyx
            del mask  # one mask at a time

    merged = merge_masks(masks(), grid, list(selection.names), rule)
    names = selection.names
    pairs = sorted(merged.pairs.items(), key=lambda item: -item[1])
    facts: dict[str, Any] = {"overlap_voxels": merged.overlap_voxels, "overlap_rule": rule}
    if pairs:
        facts["overlaps"] = {f"{names[a]} & {names[b]}": count for (a, b), count in pairs}
    warnings = []
    if pairs:
        (a, b), count = pairs[0]
        warnings.append(
            f"{merged.overlap_voxels} voxels are in several classes (most: {names[a]} and {names[b]}, {count}); "
            f"rule: {rule}"
        )
    there = {value for value, _ in parts}
    if len(merged.empty) == len(names):
        warnings.append("all its masks are empty: the label is all background")
    absent = [names[value] for value in names if value not in there]
    if absent:
        facts["classes_without_file"] = absent
        warnings.append(f"no file for {len(absent)} classes: {some(absent)}")
    return merged.label, facts, warnings
