"""Parameters and sidecar files that several operations share."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, model_validator
from typing_extensions import Self

from itkit.core.ended import counts_of
from itkit.core.fields import Advanced, Group, PathRole, Unkeyed
from itkit.core.geometry import Geometry
from itkit.core.grids import oriented_grid, resampled_grid
from itkit.core.operation import CaseInput, Collected, Report
from itkit.core.params import OrientationCode, Params, SizeZyx, SpacingZyx
from itkit.core.version import VERSION
from itkit.core.volume import Volume
from itkit.io.formats.header_model import ITEM_BYTES
from itkit.io.layouts import LABEL
from itkit.io.meta import file_stamp
from itkit.kernels.arrays import fill_value, to_dtype
from itkit.kernels.kinds import looks_like_image

Dtype = Literal["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]


def _page(path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() != ".html":
        raise ValueError(f"expected a .html file; got {path.name}")
    return path


ReportFile = Annotated[Path | None, PathRole("out_file"), AfterValidator(_page), Unkeyed(), Group("Output")]
"""A page for people that a command writes beside its results."""


class OutputParams(Params):
    """Parameters of operations that write volumes."""

    dtype: Annotated[Dtype | None, Group("Output"), Advanced()] = None
    """Convert images to this voxel type, rounded and clamped (default: keep the type)."""


class GridParams(OutputParams):
    """Parameters of operations that put volumes on a new grid."""

    spacing: Annotated[SpacingZyx, Group("Grid")] = (-1.0, -1.0, -1.0)
    """Target spacing; -1 leaves an axis."""
    size: Annotated[SizeZyx, Group("Grid")] = (-1, -1, -1)
    """Target size; -1 leaves an axis."""
    orient: Annotated[OrientationCode | None, Group("Grid")] = None
    """Turn axes to these directions first, e.g. LPI."""

    @model_validator(mode="after")
    def _one_rule_per_axis(self) -> Self:
        for axis, spacing, size in zip("ZYX", self.spacing, self.size, strict=True):
            if spacing != -1 and size != -1:
                raise ValueError(f"--spacing and --size both set axis {axis}; keep one of them")
        return self

    @property
    def asks_for_a_grid(self) -> bool:
        """Whether a spacing, a size or an orientation is given."""
        return self.orient is not None or any(value != -1 for value in (*self.spacing, *self.size))

    def target(self, grid: Geometry) -> Geometry:
        """Return a volume's new grid: turned to the orientation, then resampled to the spacing and size."""
        oriented = grid if self.orient is None else oriented_grid(grid, self.orient)
        return resampled_grid(oriented, self.spacing, self.size)


def converted(volume: Volume, params: OutputParams) -> Volume:
    """Convert an image to the voxel type that ``--dtype`` asks for; a label map keeps its type."""
    if params.dtype is None or volume.kind == "label":
        return volume
    return volume.with_array(to_dtype(volume.array_zyx, params.dtype))


def converted_bytes(inputs: Mapping[str, CaseInput], params: Params) -> int:
    """Return the bytes of the images of a case in the type of ``--dtype``; 0 if it is not given.

    The engine adds them to what an operation needs, so that no operation counts them itself.

    Parameters
    ----------
    inputs
        What is known of the inputs, by name. A label map keeps its type; where one input is a grid alone, images are
        put on it.
    params
        The parameters.
    """
    if not isinstance(params, OutputParams) or params.dtype is None:
        return 0
    reference = next((item.geometry for item in inputs.values() if item.nbytes == 0), None)
    total = 0
    for name, item in inputs.items():
        if name == LABEL or item.nbytes == 0:
            continue
        own = item.geometry
        grid = reference or (params.target(own) if isinstance(params, GridParams) else own)
        grow = math.prod(grid.size_zyx) / max(1, math.prod(own.size_zyx))
        total += int(grow * item.nbytes) // ITEM_BYTES[item.dtype] * ITEM_BYTES[params.dtype]
    return total


def label_doubts(volume: Volume, advice: str) -> tuple[str, ...]:
    """Return a warning if a label map looks like an image; the advice says what to do then."""
    if not looks_like_image(volume.array_zyx):
        return ()
    return (f"the label looks like an image (hundreds of values, no regions); {advice}",)


def clamped_fill(fill: float | None, volume: Volume) -> tuple[str, ...]:
    """Return a warning if the voxel type of an image can't hold ``--fill``.

    Examples
    --------
    >>> import numpy as np
    >>> volume = Volume(np.zeros((1, 1, 1), np.uint8), Geometry((1, 1, 1), (1.0, 1.0, 1.0)))
    >>> clamped_fill(-1000, volume), clamped_fill(7, volume)
    (('--fill -1000 is no value of uint8: 0 is taken; --dtype does not help, a source of a wider type does',), ())
    """
    if fill is None or volume.kind == "label" or volume.dtype.kind not in "iu":
        return ()
    taken = fill_value(fill, volume.dtype)
    if taken == fill:
        return ()
    return (
        f"--fill {fill:g} is no value of {volume.dtype}: {taken} is taken; "
        "--dtype does not help, a source of a wider type does",
    )


def sidecar(name: str, operation: str, params: Params, run: Collected, **more: Any) -> dict[Path, Any]:
    """Return a sidecar file: which operation ran, with which parameters, and how many cases had which result.

    Parameters
    ----------
    name
        Name of the file in the destination; a run without destination writes no such file.
    operation, params, run
        Name of the operation, its parameters and its records.
    **more
        Other entries of the file.
    """
    if run.dest is None:
        return {}
    counts = Counter(counts_of(run.records))
    if run.options["shard"] is not None:  # every shard writes this file: count the cases of all shards
        counts = Counter(record.status for record in run.failed.values())
        counts["done"] = len(run.all_records.keys() - run.failed.keys())
    value = {
        "operation": operation,
        "itkit": VERSION,
        "params": params.absolute_values(),
        "options": {key: value for key, value in run.options.items() if value not in (None, False) and key != "shard"},
        "counts": {**dict(sorted(counts.items())), "unpaired": len(run.plan.unpaired)},
        **more,
    }
    return {Path(name): value}


def case_meta(name: str, operation: str, params: Params, run: Collected, **more: Any) -> dict[Path, Any]:
    """Return a file ``*_meta.json``: which operation ran, with which parameters, and the facts of every finished case.

    Parameters
    ----------
    name
        Name of the file in the destination.
    operation, params, run
        Name of the operation, its parameters and its records.
    **more
        Other entries of the file.
    """
    cases = run.facts()
    value = {"itkit": VERSION, "operation": operation, "params": params.absolute_values(), **more, "cases": cases}
    return {Path(name): value}


def with_page(report: Report, path: Path | None, make: Callable[[], str]) -> Report:
    """Return a report that also writes the page of ``--report``, if it is given."""
    return report if path is None else replace(report, named_files={path: make()}, closing=(f"report: {path}",))


def stamp_of(paths: Iterable[Path]) -> str:
    """Return a digest of the names, sizes and modification times of files; it changes when any of them does."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            stamp = file_stamp(path)
        except OSError:  # a broken link: reading it will raise the error
            stamp = {"bytes": -1, "mtime_ns": -1}
        digest.update(f"{path.name}\0{stamp['bytes']}\0{stamp['mtime_ns']}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
