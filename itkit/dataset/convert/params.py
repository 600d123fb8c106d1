"""The parameters that every converter has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import model_validator
from typing_extensions import Self

from itkit.core.params import (
    ChannelLayout,
    OrientationCode,
    OverlapRule,
    Positional,
    SizeZyx,
    SpacingZyx,
    Unkeyed,
    VolumeExtension,
)
from itkit.process.common import OutputParams


class ConvertDatasetParams(OutputParams):
    """Convert an official release to image/, label/, series_meta.json and dataset.json."""

    source: Annotated[Path, Positional("source")]
    """Folder of the release, as unpacked."""
    dest: Annotated[Path, Positional("dest")]
    """Folder to write."""
    variant: str = "auto"
    """Which release of a family it is; auto finds out from the files."""
    spacing: SpacingZyx = (-1.0, -1.0, -1.0)
    """Resample to this spacing; -1 leaves an axis."""
    size: SizeZyx = (-1, -1, -1)
    """Resample to this size; -1 leaves an axis."""
    orient: OrientationCode | None = None
    """Turn axes to these directions, e.g. LPI."""
    ext: VolumeExtension = ".mha"
    """Format of the output files."""
    labels: tuple[str, ...] = ()
    """Keep these classes only, by name; they keep their official values."""
    renumber: bool = False
    """Number the classes 1..n: in the order of --labels, else of their values."""
    merge: tuple[str, ...] = ()
    """Join classes: NAME=a,b gives both the lowest value of the two, called NAME."""
    overlap: OverlapRule | None = None
    """Voxels in several classes: refuse, first or last class wins, or one channel a class (default: the dataset's)."""
    channels: ChannelLayout | None = None
    """Several channels: a file each (CASE_CHANNEL), or one file of vectors (default: the dataset's)."""
    require_label: Annotated[bool, Unkeyed()] = False
    """Leave out cases without label."""
    only: Annotated[tuple[str, ...], Unkeyed()] = ()
    """Convert these cases only: shell patterns of case ids, e.g. case_000*."""

    @model_validator(mode="after")
    def _one_rule_per_axis(self) -> Self:
        for axis, spacing, size in zip("ZYX", self.spacing, self.size, strict=True):
            if spacing != -1 and size != -1:
                raise ValueError(f"--spacing and --size both set axis {axis}; keep one of them")
        for text in self.merge:
            name, equals, parts = text.partition("=")
            if not name.strip() or not equals or not all(part.strip() for part in parts.split(",")):
                raise ValueError(f"--merge: expected NAME=a,b; got {text!r}")
        return self
