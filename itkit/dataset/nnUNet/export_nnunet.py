"""Write a converted dataset as nnU-Net v2 raw data: ``itkit convert-dataset to_nnunet SOURCE DEST``.

`itk_convert nnunet` does the same; this is its name among the converters.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from itkit.core.fields import Group, PathRole, Positional
from itkit.core.operation import CaseInput, Collected, Context, Operation, Outcome, Plan, Report
from itkit.core.params import VolumeExtension
from itkit.core.volume import Case
from itkit.dataset.exchange.nnunet import collect_nnunet, plan_nnunet
from itkit.dataset.exchange.params import ConvertParams
from itkit.dataset.exchange.source import export_case
from itkit.io.layouts import require_destination, require_folder
from itkit.process.common import OutputParams


class ToNnunetParams(OutputParams):
    """Write a converted dataset as nnU-Net v2 raw data; classes are numbered without gaps, as nnU-Net needs them."""

    source: Annotated[Path, PathRole("in_folder", "dataset"), Positional("source")]
    """Folder with image/, label/ and dataset.json."""
    dest: Annotated[Path, PathRole("out_folder"), Positional("dest")]
    """Folder to write; nnU-Net wants it called DatasetNNN_Name."""
    ext: Annotated[VolumeExtension, Group("Output")] = ".nii.gz"
    """Format of the output files."""

    @property
    def direction(self) -> ConvertParams:
        """The same as parameters of `itk_convert`."""
        return ConvertParams(mode="nnunet", **{name: getattr(self, name) for name in type(self).model_fields})


def plan(params: ToNnunetParams) -> Plan:
    """List the cases of the dataset.

    Raises
    ------
    LayoutError
        When the source is not a dataset, or has no names of classes.
    """
    require_destination(params.dest, require_folder(params.source))
    return plan_nnunet(params.direction)


def convert(case: Case, params: ToNnunetParams, context: Context) -> Outcome:
    """Write the channels and the renumbered label of one case."""
    return export_case(case, params.direction, context)


def collect(params: ToNnunetParams, run: Collected) -> Report:
    """Return the report with nnU-Net's ``dataset.json``."""
    return collect_nnunet(params.direction, run)


def memory(inputs: Mapping[str, CaseInput], params: ToNnunetParams) -> int:
    """Estimate the memory of a case: its volumes, their channels, and those of another type."""
    return sum(3 * item.nbytes for item in inputs.values())


OPERATION: Operation[Any] = Operation(
    "convert_to_nnunet",
    ToNnunetParams,
    plan,
    convert,
    collect,
    example="itkit convert-dataset to_nnunet converted nnUNet_raw/Dataset001_Kidney --mp",
    memory=memory,
    reads="one by one",
)

if __name__ == "__main__":
    from itkit.cli.datasets import run

    raise SystemExit(run(OPERATION, prog="nnUNet.export_nnunet"))
