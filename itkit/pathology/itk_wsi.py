"""``itk_wsi``: whole slides to tiles, masks, pyramids and back, checked and de-identified."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from itkit.core.operation import CaseInput, Collected, Context, Operation, Outcome, Plan, Report
from itkit.core.volume import Case
from itkit.pathology.limits import LONGEST_TILE, OUTLINE_BYTES, SLIDE_BYTES
from itkit.pathology.params import WsiParams

_FINE_MPP = 0.25
"""Micrometres per pixel of a slide's finest level, usually."""
_COPIES = 9
"""Bytes for a pixel under a tile: RGB as read, and filled up at the edges, and as resampled."""


class Mode(NamedTuple):
    """A mode: the module of its functions, and their names; they are as those of an operation."""

    module: str
    plan: str
    case: str
    collect: str


MODES: Mapping[str, Mode] = {
    "tile": Mode("tiling", "plan", "tile_case", "collect"),
    "mask": Mode("masks", "plan_masks", "mask_case", "collect_masks"),
    "stitch": Mode("stitching", "plan", "stitch_case", "collect"),
    "check": Mode("checking", "plan", "check_case", "collect"),
    "deidentify": Mode("deidentifying", "plan", "deidentify_case", "collect"),
    "annotate": Mode("masks", "plan_annotations", "annotate_case", "collect_annotations"),
}
"""Where each mode stands, as text: a run imports only its own."""


def _function(params: WsiParams, name: str) -> Any:
    mode = MODES[params.mode]
    return getattr(import_module(f"itkit.pathology.{mode.module}"), getattr(mode, name))


def plan(params: WsiParams) -> Plan:
    """List the slides.

    Raises
    ------
    LayoutError
        When there is no slide, or the destination can't be used.
    """
    found: Plan = _function(params, "plan")(params)
    return found


def process(case: Case, params: WsiParams, context: Context) -> Outcome:
    """Process one slide."""
    outcome: Outcome = _function(params, "case")(case, params, context)
    return outcome


def collect(params: WsiParams, run: Collected) -> Report:
    """Return the files and lines of the whole run."""
    report: Report = _function(params, "collect")(params, run)
    return report


def memory(inputs: Mapping[str, CaseInput], params: WsiParams) -> int:
    """Estimate the bytes that a slide needs; tiles stream, each with the pixels of the finest usual level under it."""
    if params.mode == "annotate":  # a mask is held whole
        return SLIDE_BYTES + OUTLINE_BYTES * sum(mask.nbytes for mask in inputs.values())
    if params.mode != "tile":
        return SLIDE_BYTES
    side = min(params.tile_um / min(params.mpp, _FINE_MPP), LONGEST_TILE)
    return SLIDE_BYTES + int(_COPIES * side**2)


OPERATION: Operation[Any] = Operation(
    "itk_wsi",
    WsiParams,
    plan,
    process,
    collect,
    example="itk_wsi tile slides tiles --tile-um 256 --mpp 0.5 --mp",
    memory=memory,
)
