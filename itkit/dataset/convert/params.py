"""The parameters that all converters share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import model_validator
from typing_extensions import Self

from itkit.core.fields import FreeText, Group, PathRole, Pattern, Positional, Unkeyed
from itkit.core.params import ChannelLayout, OverlapRule, VolumeExtension
from itkit.process.common import GridParams


class ConvertDatasetParams(GridParams):
    """Convert an official release to image/, label/, series_meta.json and dataset.json."""

    source: Annotated[Path, PathRole("in_folder"), Positional("source")]
    """Folder of the release, as unpacked."""
    dest: Annotated[Path, PathRole("out_folder"), Positional("dest")]
    """Folder to write."""
    variant: Annotated[str, FreeText("auto")] = "auto"
    """Which release of a family it is; auto finds out from the files."""
    ext: Annotated[VolumeExtension, Group("Output")] = ".mha"
    """Format of the output files."""
    labels: Annotated[tuple[Annotated[str, FreeText("kidney")], ...], Group("Classes")] = ()
    """Keep these classes only, by name; they keep their official values."""
    renumber: Annotated[bool, Group("Classes")] = False
    """Number the classes 1..n: in the order of --labels, else of their values."""
    merge: Annotated[tuple[Annotated[str, Pattern(r"^[^=]*[^=\s][^=]*=.+$")], ...], Group("Classes")] = ()
    """Join classes: NAME=a,b gives a and b the lowest of their values and the name NAME."""
    overlap: Annotated[OverlapRule | None, Group("Classes")] = None
    """Voxels in several classes: refuse, first or last class wins, or one channel a class (default: the dataset's)."""
    channels: Annotated[ChannelLayout | None, Group("Output")] = None
    """Several channels: a file each (CASE_CHANNEL), or one file of vectors (default: the dataset's)."""
    require_label: Annotated[bool, Unkeyed()] = False
    """Leave out cases without label."""
    only: Annotated[tuple[Annotated[str, FreeText("case_000*")], ...], Unkeyed()] = ()
    """Convert these cases only: shell patterns of case ids, e.g. case_000*."""

    @model_validator(mode="after")
    def _merges_are_clear(self) -> Self:
        for text in self.merge:
            name, equals, parts = text.partition("=")
            if not name.strip() or not equals or not all(part.strip() for part in parts.split(",")):
                raise ValueError(f"--merge: expected NAME=a,b; got {text!r}")
        return self
