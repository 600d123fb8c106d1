"""``itk_convert``: make datasets of DICOM trees and of other tools' layouts, and the other way round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from itkit.core.operation import CaseInput, Collected, Context, Operation, Outcome, Plan, Reads, Report
from itkit.core.plugins import resolve
from itkit.core.volume import Case
from itkit.dataset.exchange.direction import Direction
from itkit.dataset.exchange.params import LAYOUTS, ConvertParams
from itkit.io.layouts import require_destination, require_folder

DIRECTIONS: Mapping[str, str] = {
    "dicom": "itkit.dataset.exchange.dicom:DIRECTION",
    "format": "itkit.dataset.exchange.formats:DIRECTION",
    "nnunet": "itkit.dataset.exchange.nnunet:TO",
    "from-nnunet": "itkit.dataset.exchange.nnunet:FROM",
    "msd": "itkit.dataset.exchange.decathlon:TO_MSD",
    "from-msd": "itkit.dataset.exchange.decathlon:FROM_MSD",
    "monai": "itkit.dataset.exchange.decathlon:TO_MONAI",
    "from-monai": "itkit.dataset.exchange.decathlon:FROM_MONAI",
    "torchio": "itkit.dataset.exchange.torchio:TO",
    "from-torchio": "itkit.dataset.exchange.torchio:FROM",
    "bids": "itkit.dataset.exchange.bids:TO",
    "from-bids": "itkit.dataset.exchange.bids:FROM",
    "dicom-seg": "itkit.dataset.exchange.dicom_out:SEG",
    "rtstruct": "itkit.dataset.exchange.dicom_out:RTSTRUCT",
    "dicom-series": "itkit.dataset.exchange.dicom_out:SERIES",
}
"""Where each direction stands, as text: a run imports only its own."""


def direction_of(params: ConvertParams) -> Direction:
    """Import the direction that the parameters ask for."""
    direction: Direction = resolve(DIRECTIONS[params.mode])
    return direction


def plan(params: ConvertParams) -> Plan:
    """List the cases of the source.

    Raises
    ------
    LayoutError
        When the source is missing or holds nothing to convert, or the destination is unusable.
    """
    sources = [require_folder(params.source)]
    if params.series is not None:
        sources.append(require_folder(params.series, "series"))
    require_destination(params.dest, *sources)
    return direction_of(params).plan(params)


def convert_case(case: Case, params: ConvertParams, context: Context) -> Outcome:
    """Convert one case."""
    return direction_of(params).case(case, params, context)


def collect(params: ConvertParams, run: Collected) -> Report:
    """Return the files that describe the whole result."""
    return direction_of(params).collect(params, run)


def memory(inputs: Mapping[str, CaseInput], params: ConvertParams) -> int:
    """Estimate the bytes that a case needs."""
    return direction_of(params).memory(inputs, params)


def reads(params: ConvertParams) -> Reads:
    """Return what a direction needs of its inputs at a time: the layouts of other tools are written file by file."""
    return "one by one" if params.mode in LAYOUTS else "voxels"


OPERATION: Operation[Any] = Operation(
    "itk_convert",
    ConvertParams,
    plan,
    convert_case,
    collect,
    example="itk_convert dicom downloads dataset --modality CT --mp",
    memory=memory,
    reads=reads,
)
