"""The jobs of ``itk_wsi``: one for each slide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from itkit.core.errors import ReadError
from itkit.core.operation import InputFile, Job, Plan, Target, Unpaired
from itkit.io.layouts import require_destination
from itkit.pathology.finding import find_slides, read_mpp_table
from itkit.pathology.params import WsiParams
from itkit.pathology.slides import Slide, not_square, open_slide, require_readers
from itkit.process.common import stamp_of


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

    @property
    def stamp(self) -> str:
        """A text that changes when what the slide depends on beside its file does."""
        return " ".join([f"mpp {self.mpp} {self.else_mpp}", *([stamp_of(self.more_files)] if self.more_files else [])])

    @property
    def more_files(self) -> tuple[Path, ...]:
        """Other files that may be levels of the slide: those beside a DICOM file."""
        if self.path.suffix.lower() != ".dcm":
            return ()
        return tuple(path for path in sorted(self.path.parent.glob("*")) if path.suffix.lower() == ".dcm")

    def open(self, *, needs_mpp: bool = True) -> Slide:
        """Open the slide with its resolution.

        Raises
        ------
        ReadError
            When it can't be read, or has no resolution or pixels that are not square, and these are needed.
        """
        slide = open_slide(self.path, self.mpp, needs_mpp=needs_mpp, else_mpp=self.else_mpp)
        if needs_mpp and (fault := not_square(slide.mpp_xy)):
            slide.close()
            raise ReadError(f"{self.path.name}: {fault}")
        return slide


def slide_facts(
    source: Path, *, recursive: bool, slide_mpp: float | None, mpp_table: Path | None
) -> tuple[dict[str, SlideFacts], list[Unpaired]]:
    """Find the slides of a source, and their resolutions if they are given; see `itkit.pathology.finding.find_slides`.

    Raises
    ------
    LayoutError
        When there is no slide.
    ParamsError
        When the table of resolutions can't be read.
    MissingExtraError
        When the extra ``pathology`` is not installed.
    """
    slides, twice = find_slides(source, recursive=recursive)
    require_readers()
    table = {} if mpp_table is None else read_mpp_table(mpp_table)
    facts = {
        slide: SlideFacts(path, table.get(slide, table.get(path.name)), slide_mpp) for slide, path in slides.items()
    }
    return facts, twice


def slide_jobs(params: WsiParams, targets: Callable[[str], Mapping[str, Target]]) -> Plan:
    """List a job for each slide of the source.

    Raises
    ------
    LayoutError
        When there is no slide, or the destination can't be used.
    """
    slides, twice = slide_facts(
        params.source, recursive=params.recursive, slide_mpp=params.slide_mpp, mpp_table=params.mpp_table
    )
    if params.dest is not None:
        others = (params.annotations, params.masks)
        require_destination(params.dest, params.source, *(folder for folder in others if folder is not None))
    jobs = tuple(
        Job(
            slide,
            {"slide": InputFile(found.path, "file")},
            dict(targets(slide)),
            output_ids=(),
            details=found,
            stamp=found.stamp,
            more_files=found.more_files,
        )
        for slide, found in slides.items()
    )
    return Plan(jobs, tuple(twice), params.dest)
