"""`Direction`: how `itk_convert` converts from or to one format or layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from itkit.core.operation import CaseInput, Collected, Context, Outcome, Plan, Report
from itkit.core.volume import Case, Volume
from itkit.dataset.exchange.params import ConvertParams
from itkit.process.common import converted
from itkit.process.geometry import orient


def estimate(inputs: Mapping[str, CaseInput], params: ConvertParams) -> int:
    """Estimate the memory of a case: its voxels twice, and compression buffers."""
    return sum(5 * item.nbytes // 2 for item in inputs.values())


@dataclass(frozen=True)
class Direction:
    """One direction of `itk_convert`.

    Parameters
    ----------
    plan, case, collect
        Functions as those of an operation; the source exists, and the destination can be written.
    memory
        Estimates the bytes that a case needs.
    """

    plan: Callable[[ConvertParams], Plan]
    case: Callable[[Case, ConvertParams, Context], Outcome]
    collect: Callable[[ConvertParams, Collected], Report]
    memory: Callable[[Mapping[str, CaseInput], ConvertParams], int] = estimate


def finished(volume: Volume, *, params: ConvertParams, context: Context) -> Volume:
    """Return a volume in the orientation and the voxel type that the options ask for."""
    if params.orient is not None:
        volume = orient(volume, params.orient, threads=context.threads)
    return converted(volume, params)
