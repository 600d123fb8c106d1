"""The parameters of ``itk_convert``; each direction uses some of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, model_validator
from typing_extensions import Self

from itkit.core.fields import Formerly, FreeText, Group, Later, OnlyWith, PathRole, Positional, Secret, Unkeyed
from itkit.core.params import OrientationCode, OverlapRule, SpacingZyx, VolumeExtension
from itkit.process.common import OutputParams

_DICOM, _NAMES, _SERIES = OnlyWith(mode="dicom"), Group("Names"), Group("Series")
WITH_SERIES = ("dicom-seg", "rtstruct", "dicom-series")
"""Directions that write DICOM beside a series."""
LAYOUTS = ("nnunet", "msd", "monai", "torchio", "bids")
"""Layouts of other tools; their tools expect NIfTI."""


class ConvertParams(OutputParams):
    """Make a dataset of DICOM files or of another tool's layout, and the other way round; change the file format."""

    mode: Annotated[
        Literal[
            "dicom", "format", "nnunet", "from-nnunet", "msd", "from-msd", "monai", "from-monai", "torchio",
            "from-torchio", "bids", "from-bids", "dicom-seg", "rtstruct", "dicom-series",
        ],
        Positional(),
    ]  # fmt: skip
    """dicom: a tree of DICOM files to a dataset, one case per series; format: volume files to another format, their
    tree is kept; nnunet, msd, monai, torchio, bids: a dataset to the layout of nnU-Net (raw data), the Decathlon,
    MONAI, TorchIO or BIDS, and with from- back to a dataset; dicom-seg, rtstruct: label maps to DICOM objects that
    refer to a series; dicom-series: volumes to DICOM series."""
    source: Annotated[Path, PathRole("in_folder"), Positional("source"), Formerly("source_folder")]
    """Folder to read."""
    dest: Annotated[Path, PathRole("out_folder"), Positional("dest"), Formerly("dest_folder")]
    """Folder to write."""
    ext: Annotated[VolumeExtension, Group("Output")] = ""
    """Format of the output files (default: .nii.gz for the layouts of other tools, otherwise .mha)."""
    orient: Annotated[OrientationCode | None, Group("Output")] = None
    """Turn axes to these directions, e.g. LPI."""
    series: Annotated[Path | None, Later(), PathRole("in_folder"), OnlyWith(mode=WITH_SERIES), Group("Series")] = None
    """DICOM series that the result refers to: a sub-folder for each case, or one series for all."""
    assume_spacing: Annotated[SpacingZyx | None, Later(), OnlyWith(mode="format")] = None
    """Spacing for NIfTI files without a spacing (pixdim 0 or nan, no sform); without this option they fail."""
    name: Annotated[str, FreeText("{PatientID}_{SeriesNumber}"), _DICOM, _NAMES] = "{PatientID}_{SeriesNumber}"
    """Template of case names; fields as in DICOM, identifiers are replaced by pseudonyms."""
    keep_ids: Annotated[bool, _DICOM, _NAMES] = False
    """Keep identifiers in names as they are."""
    key: Annotated[SecretStr, Field(min_length=1), Secret("ITKIT_KEY", "key_file"), _DICOM, _NAMES] = SecretStr("itkit")
    """Key of the pseudonyms; use a secret of your own if somebody could guess identifiers. It is never written to
    disk, but other users of this machine can read a command line: better use --key-file, or the environment variable
    ITKIT_KEY."""
    key_file: Annotated[Path | None, PathRole("in_file"), Unkeyed(), _DICOM, _NAMES] = None
    """File that holds the key of the pseudonyms."""
    modality: Annotated[tuple[Annotated[str, FreeText("CT")], ...], _DICOM, _SERIES] = ()
    """Take only these modalities, e.g. CT (default: all)."""
    least_slices: Annotated[int, Field(ge=1), _DICOM, _SERIES] = 4
    """Series of fewer slices (localizers) are left out and named."""
    on_irregular: Annotated[Literal["error", "largest", "split"], _DICOM, _SERIES] = "error"
    """A series that is not a regular volume fails, is reduced to its largest regular stack, or is split into one case
    per regular stack."""
    overlap: Annotated[OverlapRule, _DICOM, _SERIES] = "last"
    """Voxels in several segments or regions: error, the first or last one wins, or one channel for each."""
    untilt: Annotated[bool, Later(), _DICOM, _SERIES] = False
    """Resample the slices of a tilted gantry onto a rectangular grid, linearly in their planes."""
    interpolate_contours: Annotated[bool, Later(), _DICOM, _SERIES] = False
    """Fill slices between slices with contours, for regions that were drawn in every second slice or so."""
    id_map: Annotated[Path | None, PathRole("out_file"), Unkeyed(), _DICOM, _NAMES] = None
    """Write a table from case names to identifiers to this file outside the dataset; keep it in a safe place."""
    no_labels: Annotated[bool, Unkeyed(), _DICOM, _SERIES] = False
    """Ignore SEG and RTSTRUCT files."""

    @model_validator(mode="before")
    @classmethod
    def _with_format(cls, values: Any) -> Any:
        """Fill in the format that a direction writes by default."""
        if isinstance(values, Mapping) and not values.get("ext"):
            return {**values, "ext": ".nii.gz" if values.get("mode") in LAYOUTS else ".mha"}
        return values

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if self.mode in ("dicom-seg", "rtstruct") and self.series is None:
            raise ValueError(f"{self.mode} needs --series: the DICOM series that the labels belong to")
        if self.mode == "bids" and not self.ext.startswith(".nii"):
            raise ValueError(f"--ext: BIDS knows .nii.gz and .nii; got {self.ext}")
        return self
