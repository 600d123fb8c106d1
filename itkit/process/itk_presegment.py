"""``itk_presegment``: label maps from images by classical means, without a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import model_validator
from typing_extensions import Self

from itkit.core.dataset_meta import DatasetMeta
from itkit.core.fields import Bounds, Group, Parts, PathRole, Positional, Short, Unbounded, Unit, Unkeyed
from itkit.core.grids import require_one_grid
from itkit.core.operation import CaseInput, Collected, Context, Operation, Outcome, Plan, Report, Target
from itkit.core.params import Params, VolumeExtension
from itkit.core.volume import Case
from itkit.io.layouts import IMAGE, LABEL, find_images, require_destination, require_folder
from itkit.process.common import ReportFile, case_meta, with_page
from itkit.process.plans import carry, image_jobs
from itkit.process.presegmentation import NAMES, Cleaning, TargetName, presegment, union_of_channels

_NAME = "itk_presegment"


class PresegmentParams(Params):
    """Make label maps from images by thresholds, regions and shapes: patient, lungs, bone, airways."""

    source: Annotated[Path, PathRole("in_folder"), Positional("source")]
    """Folder of images, or a dataset: then its images."""
    dest: Annotated[Path, PathRole("out_folder"), Positional("dest")]
    """Folder to write; the label maps of a dataset go to its sub-folder label."""
    target: TargetName
    """What to look for: body, lungs (1 right, 2 left), bone, airway in a CT in HU; nonzero, threshold in any image."""
    threshold: Annotated[
        tuple[float, float] | None,
        Parts(("LO", "HI")),
        Unbounded("values of the image's own scale"),
        Group("Cleaning"),
    ] = None
    """Keep voxels with LO <= value <= HI."""
    largest: Annotated[Annotated[int, Bounds(least=1)] | None, Group("Cleaning")] = None
    """Keep so many components of each label (26 neighbours)."""
    fill_holes: Annotated[bool, Group("Cleaning")] = False
    """Fill the background that a label encloses."""
    closing_mm: Annotated[Annotated[float, Unit("mm"), Bounds(above=0)] | None, Group("Cleaning")] = None
    """Close gaps with a ball of this radius; only background is claimed."""
    opening_mm: Annotated[Annotated[float, Unit("mm"), Bounds(above=0)] | None, Group("Cleaning")] = None
    """Remove thin parts with a ball of this radius."""
    min_volume_ml: Annotated[Annotated[float, Unit("ml"), Bounds(above=0)] | None, Group("Cleaning")] = None
    """Remove smaller components of each label."""
    recursive: Annotated[bool, Short("-r"), Unkeyed()] = False
    """Search sub-folders."""
    ext: Annotated[VolumeExtension, Group("Output")] = ".mha"
    """Format of the output files."""
    report: ReportFile = None
    """Write a page with pictures and numbers of the cases to this .html file."""

    @model_validator(mode="after")
    def _threshold_is_clear(self) -> Self:
        if self.target == "threshold" and self.threshold is None:
            raise ValueError("--target threshold needs --threshold LO HI")
        if self.threshold is not None and self.threshold[0] > self.threshold[1]:
            raise ValueError(f"--threshold: LO {self.threshold[0]:g} is above HI {self.threshold[1]:g}")
        return self

    @property
    def cleaning(self) -> Cleaning:
        """The steps that follow on the target."""
        return Cleaning(
            self.threshold, self.largest, self.fill_holes, self.closing_mm, self.opening_mm, self.min_volume_ml
        )


def presegment_case(case: Case, params: PresegmentParams, context: Context) -> Outcome:
    """Make the label map of one case."""
    del context
    require_one_grid(case)
    images = [case.volumes[name] for name in case.names]
    image = union_of_channels(images) if params.target == "nonzero" else images[0]
    found = presegment(image, params.target, params.cleaning)
    facts = {
        "volumes_ml": {str(value): round(ml, 6) for value, ml in found.volumes_ml.items()},
        "components": {str(value): count for value, count in found.components.items()},
        "warnings": list(found.warnings),
    }
    return Outcome((Case(case.id, {LABEL: found.labels}),), facts, found.warnings)


def plan(params: PresegmentParams) -> Plan:
    """List the images of the source."""
    source = require_folder(params.source)
    has_parts = (source / IMAGE).is_dir()
    dest = params.dest / LABEL if has_parts else params.dest
    require_destination(params.dest, source)
    images = find_images(source / IMAGE if has_parts else source, recursive=params.recursive)
    target = {LABEL: Target(dest, params.ext, "label")}
    jobs = tuple(replace(job, targets=target) for job in image_jobs(images, dest, params.ext))
    described = images.described
    change = partial(DatasetMeta.with_labels, labels={0: "background", **NAMES[params.target]})
    carries = carry(described, params.dest, change=change)
    return Plan(jobs, images.extras, params.dest, described.notes, described.meta or DatasetMeta({}), carries)


def collect(params: PresegmentParams, run: Collected) -> Report:
    """Return ``presegment_meta.json``, and the page."""

    def page() -> str:
        from itkit.report.presegmentation import presegmentation_page

        return presegmentation_page(params.target, run, run.plan.details.modality)

    report = Report(files=case_meta("presegment_meta.json", _NAME, params, run))
    return with_page(report, params.report, page)


def memory(inputs: Mapping[str, CaseInput], params: PresegmentParams) -> int:
    """Estimate the memory of a case: the image, a copy in patient orientation, masks and components."""
    del params
    voxels = max((_voxels(item) for item in inputs.values()), default=0)
    return sum(2 * item.nbytes for item in inputs.values()) + 12 * voxels


def _voxels(item: CaseInput) -> int:
    z, y, x = item.geometry.size_zyx
    return z * y * x


OPERATION: Operation[Any] = Operation(
    _NAME,
    PresegmentParams,
    plan,
    presegment_case,
    collect,
    example="itk_presegment raw/image lungs --target lungs --mp",
    memory=memory,
)
