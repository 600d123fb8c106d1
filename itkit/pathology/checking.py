"""``itk_wsi check``: what is wrong with slides, and what in them may identify a patient."""

from __future__ import annotations

from collections.abc import Iterator

from itkit.core.errors import CaseError, ReadError
from itkit.core.operation import Collected, Context, Outcome, Plan, Report
from itkit.core.volume import Case
from itkit.pathology.deidentifying import identifying_texts, shows_glass
from itkit.pathology.params import WsiParams
from itkit.pathology.planning import SlideFacts, slide_jobs
from itkit.pathology.slides import Slide, not_square

_PROBES = 8
"""Places along each axis at which a level is read."""


def plan(params: WsiParams) -> Plan:
    """List the slides."""
    return slide_jobs(params, lambda _: {})


def check_case(case: Case, params: WsiParams, context: Context) -> Outcome:
    """Judge a slide."""
    del params, context
    facts: SlideFacts = case.details
    try:
        with facts.open(needs_mpp=False) as slide:
            reasons = tuple(problems(slide))
            warnings = tuple(telling(slide))
            known = {
                "levels": [list(level.size_xy) for level in slide.levels],
                "mpp": None if slide.mpp_xy is None else list(slide.mpp_xy),
                "associated": list(slide.associated),
            }
    except CaseError as error:
        return Outcome(reasons=(str(error),))
    return Outcome(reasons=reasons, warnings=warnings, facts=known)


def problems(slide: Slide) -> Iterator[str]:
    """Yield why a slide can't be used as it is: no resolution, levels that can't be read where they are probed."""
    if slide.mpp_xy is None:
        yield "the file does not say how many micrometres a pixel has (--slide-mpp or --mpp-table gives it)"
    elif fault := not_square(slide.mpp_xy):
        yield fault
    for number, level in enumerate(slide.levels):
        width, height = level.size_xy
        places = [
            (x, y)
            for y in sorted({(height - 1) * step // max(1, _PROBES - 1) for step in range(_PROBES)})
            for x in sorted({(width - 1) * step // max(1, _PROBES - 1) for step in range(_PROBES)})
        ]
        bad = 0
        first = ""
        for place in places:
            try:
                slide.read_region(level_px=place, size=(1, 1), level=number)
            except ReadError as error:
                bad += 1
                first = first or str(error)
        if bad:
            yield f"level {number} ({width} x {height}): {bad} of {len(places)} places can't be read: {first}"


def telling(slide: Slide) -> Iterator[str]:
    """Yield what in a slide may identify a patient."""
    shown = [name for name in slide.associated if shows_glass(name)]
    if shown:
        yield f"images that may show a patient's name: {', '.join(shown)} (itk_wsi deidentify removes them)"
    texts = identifying_texts(slide.properties)
    if texts:
        yield f"entries that may identify a patient: {', '.join(texts)} (itk_wsi deidentify blanks them)"


def collect(params: WsiParams, run: Collected) -> Report:
    """Print the reasons, a line each."""
    del params
    bad = [f"{record.case_id}: {record.message}" for record in run.records if record.status == "nonconforming"]
    good = sum(record.status == "done" for record in run.records)  # one that could not be judged is not among them
    return Report((*bad, f"{good} of {len(run.records)} slides are as they should be"))
