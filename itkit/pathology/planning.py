"""The jobs of ``itk_wsi``: one for each slide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from itkit.core.operation import InputFile, Job, Plan, Target
from itkit.io.layouts import require_destination
from itkit.pathology.finding import find_slides, read_mpp_table
from itkit.pathology.params import WsiParams
from itkit.pathology.slides import Slide, open_slide


@dataclass(frozen=True)
class SlideFacts:
    """A slide's file, and what the user gave as its resolution (micrometres per pixel).

    Parameters
    ----------
    path
        The file.
    mpp
        Its resolution by a table; it counts more than what the file says.
    else_mpp
        Its resolution if the file does not tell one.
    """

    path: Path
    mpp: float | None
    else_mpp: float | None = None

    def open(self, *, needs_mpp: bool = True) -> Slide:
        """Open the slide with its resolution."""
        return open_slide(self.path, self.mpp, needs_mpp=needs_mpp, else_mpp=self.else_mpp)


def slide_jobs(params: WsiParams, targets: Callable[[str], Mapping[str, Target]]) -> Plan:
    """List a job for each slide of the source.

    Raises
    ------
    LayoutError
        When there is no slide, or the destination can't be used.
    """
    slides, twice = find_slides(params.source, recursive=params.recursive)
    if params.dest is not None:
        others = (params.annotations, params.masks)
        require_destination(params.dest, params.source, *(folder for folder in others if folder is not None))
    table = {} if params.mpp_table is None else read_mpp_table(params.mpp_table)
    facts = [
        SlideFacts(path, table.get(slide, table.get(path.name)), params.slide_mpp) for slide, path in slides.items()
    ]
    jobs = tuple(
        Job(
            slide,
            {"slide": InputFile(found.path, "file")},
            dict(targets(slide)),
            output_ids=(),
            details=found,
            stamp=f"mpp {found.mpp} {found.else_mpp}",
        )
        for slide, found in zip(slides, facts, strict=True)
    )
    return Plan(jobs, tuple(twice), params.dest)
