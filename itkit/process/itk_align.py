"""``itk_align``: register each case to the case of the same name, or to one reference, and move it there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator
from typing_extensions import Self

from itkit.core.dataset_meta import DatasetMeta
from itkit.core.errors import GeometryMismatchError, LayoutError, WriteError
from itkit.core.fields import Advanced, Bounds, Formerly, Group, PathRole, Positional, Short, Unbounded, Unit, Unkeyed
from itkit.core.files import Compression
from itkit.core.grids import grid_difference, require_one_grid
from itkit.core.operation import (
    CaseInput,
    Collected,
    Context,
    InputFile,
    Job,
    Operation,
    Outcome,
    Place,
    Plan,
    Report,
    Target,
    Unpaired,
    Written,
)
from itkit.core.params import VolumeExtension
from itkit.core.text import last_line
from itkit.core.volume import Case, Volume, each_channel, is_image
from itkit.io.layouts import IMAGE, LABEL, find_images, find_volumes, require_destination, require_folder
from itkit.process.aligning import Alignment, Init, Method, Metric, TransformKind, moved_grid, moved_to, register
from itkit.process.body import first_channel
from itkit.process.common import (
    OutputParams,
    ReportFile,
    case_meta,
    clamped_fill,
    converted,
    with_page,
)
from itkit.process.lost import Notes, describe_classes, lost_classes
from itkit.process.plans import Found, carry, find_cases, inputs_of, targets_of

if TYPE_CHECKING:
    from itkit.io.layouts import Images

_NAME = "itk_align"
_FIXED, _MASK, _TRANSFORM = "fixed", "mask", "transform"
_TFM = ".tfm"


class AlignParams(OutputParams):
    """Register each case of a folder to the case of the same id in another folder, or to one reference volume."""

    source: Annotated[Path, PathRole("in_folder"), Positional("moving"), Formerly("moving")]
    """Folder of images to move, or a dataset (image/ and label/); of several channels, the first one is compared."""
    fixed: Annotated[Path, PathRole("in_folder"), Positional("fixed")]
    """Folder of images, or dataset, to align to, matched by case id; or one reference volume."""
    dest: Annotated[Path, PathRole("out_folder"), Positional("dest")]
    """Folder to write."""
    transform: TransformKind = "rigid"
    """Kind of transform; bspline begins with a rigid one, and takes a minute or more a case."""
    metric: Metric = "mattes"
    """What says how well images fit: mattes (mutual information, also between modalities), correlation, or mse."""
    init: Init = "moments"
    """What is laid on each other first: centres of mass, centres of the grids (geometry), or nothing."""
    label: Annotated[Path | None, PathRole("in_folder")] = None
    """Folder of label maps of the moving images, by case id; they are moved by nearest neighbour."""
    mask: Annotated[Path | None, PathRole("in_folder")] = None
    """Folder of masks on the fixed images' grids, by case id: only voxels above 0 are compared."""
    fixed_grid: bool = False
    """Write results on the fixed image's grid, by interpolation (this is the default)."""
    keep_grid: bool = False
    """Keep the voxels and write the new geometry alone, without interpolation; for translation and rigid."""
    levels: Annotated[int, Field(ge=1, le=8), Group("Registration")] = 3
    """Number of resolutions, each twice as fine as the one before."""
    bins: Annotated[int, Field(ge=5, le=1024), Group("Registration"), Advanced()] = 50
    """Histogram bins of mattes."""
    sampling: Annotated[float, Bounds(above=0, most=1), Group("Registration")] = 0.2
    """Fraction of the voxels that are compared; small images are compared completely, and bspline compares at most 10
    voxels for each of its parameters."""
    iterations: Annotated[int, Field(ge=1), Group("Registration"), Advanced()] = 300
    """Greatest number of iterations in each resolution."""
    grid_mm: Annotated[float, Unit("mm"), Bounds(above=0), Group("Registration"), Advanced()] = 50.0
    """Distance between the control points of bspline."""
    fill: Annotated[float | None, Unbounded("a value of the image's own scale")] = None
    """Image value outside the moving image (default: its minimum; labels 0)."""
    recursive: Annotated[bool, Short("-r"), Unkeyed()] = False
    """Search sub-folders."""
    ext: Annotated[VolumeExtension, Group("Output")] = ".mha"
    """Format of the output files."""
    report: ReportFile = None
    """Write a page with pictures and numbers of the cases to this .html file."""

    @model_validator(mode="after")
    def _grid_is_clear(self) -> Self:
        if self.fixed_grid and self.keep_grid:
            raise ValueError("--fixed-grid and --keep-grid contradict each other; keep one of them")
        if self.keep_grid and self.transform in ("affine", "bspline"):
            raise ValueError(f"--keep-grid moves a grid as it is; {self.transform} needs --fixed-grid")
        if self.keep_grid and self.fill is not None:
            raise ValueError("--fill has no effect with --keep-grid, which interpolates nothing; drop it")
        return self

    def method(self, seed: int) -> Method:
        """Return how to register."""
        return Method(
            self.transform,
            self.metric,
            self.init,
            self.levels,
            self.bins,
            self.sampling,
            self.iterations,
            self.grid_mm,
            seed,
        )


def align_case(case: Case, params: AlignParams, context: Context) -> Outcome:
    """Register a case and move its volumes."""
    moving = replace(case, volumes={name: case.volumes[name] for name in case.names}, grids={})
    require_one_grid(moving)
    fixed = first_channel(case.volumes[_FIXED])
    mask = case.volumes.get(_MASK)
    if mask is not None:
        reason = grid_difference(fixed.geometry, mask.geometry, _FIXED, _MASK)
        if reason:
            raise GeometryMismatchError(f"{reason}; resample the mask with itk_resample --target-folder")
    first = first_channel(case.volumes[case.names[0]])
    found = register(fixed, first, params.method(int(context.rng().integers(2**31))), mask=mask)
    notes = Notes()

    def one(volume: Volume) -> Volume:
        if params.keep_grid:
            grid = moved_grid(volume.geometry, found.transform)
            return converted(volume.with_array(volume.array_zyx, grid), params)
        notes.add(*clamped_fill(params.fill, volume))
        new = moved_to(volume, fixed.geometry, found.transform, fill=params.fill, threads=context.threads)
        if volume.kind == "label":
            lost = lost_classes(volume, new)
            notes.add(*([f"label: {describe_classes(lost)} lost on the fixed image's grid"] if lost else []))
        return converted(new, params)

    new = replace(moving, volumes={name: each_channel(one, volume) for name, volume in moving.volumes.items()})
    batch = partial(_write_transform, found.transform, case.id)
    return Outcome((new,), _facts(found), batches=(batch,), late_warnings=notes)


def _facts(found: Alignment) -> dict[str, Any]:
    return {
        "metric_before": found.metric_before,
        "metric_after": found.metric_after,
        "iterations": found.iterations,
        "stop": found.stop,
        "displacement_mm": found.displacement_mm,
        "overlap": found.overlap,
    }


def _write_transform(transform: Any, case_id: str, place: Place, compression: Compression) -> list[Written]:
    del compression
    from itkit.io.sitk_toolkit import itk_threads

    path = place(_TRANSFORM, case_id)
    with itk_threads(1) as sitk:
        try:
            sitk.WriteTransform(transform, str(path))
            there = sitk.ReadTransform(str(path))  # ITK's writer does not notice that a disk is full
        except RuntimeError as error:
            raise WriteError(f"{path.name}: can't be written ({last_line(error)})") from error
    _, end, rest = path.read_text(encoding="utf-8").rpartition("\nFixedParameters:")
    is_whole = bool(end) and rest.endswith("\n")  # a cut file may read as the identity
    same = there.GetParameters() == transform.GetParameters()
    if not (is_whole and same and there.GetFixedParameters() == transform.GetFixedParameters()):
        raise WriteError(f"{path.name}: can't be written (the file holds less than was written)")
    return [Written(_TRANSFORM, case_id)]


def plan(params: AlignParams) -> Plan:
    """List the cases that have a fixed image.

    Raises
    ------
    LayoutError
        When a folder is missing, or labels come from two folders.
    """
    source = require_folder(params.source, "moving")
    others = [folder for folder in (params.fixed, params.label, params.mask) if folder is not None and folder.is_dir()]
    require_destination(params.dest, source, *others)
    found = find_cases(source, params.dest, params.ext, recursive=params.recursive)
    fixed = _fixed_images(params)
    unpaired = list(found.unpaired)
    jobs = []
    extra = {name: _volumes(params, name) for name in (LABEL, _MASK)}
    for job in _with_labels(found, params, extra[LABEL]):
        first = next(iter(job.inputs.values())).path
        target = fixed if isinstance(fixed, InputFile) else fixed.get(job.case_id)
        masks = extra[_MASK]
        lacks = "fixed image" if target is None else "mask" if masks is not None and job.case_id not in masks else ""
        if params.label is not None and LABEL not in job.inputs:
            lacks = lacks or LABEL
        if target is None or lacks:
            unpaired.append(Unpaired(job.case_id, first, lacks))
            continue
        inputs = {**job.inputs, _FIXED: target}
        if masks is not None:
            inputs[_MASK] = InputFile(masks[job.case_id], "label")
        targets = {**job.targets, _TRANSFORM: Target(params.dest / _TRANSFORM, _TFM, "image")}
        jobs.append(replace(job, inputs=inputs, targets=targets))
    if isinstance(fixed, dict):
        known = {job.case_id for job in found.jobs} | {item.case_id for item in found.unpaired if item.lacks == LABEL}
        unpaired += [Unpaired(case, file.path, "moving image") for case, file in fixed.items() if case not in known]
    carries = carry(found.described, params.dest)
    meta = found.described.meta or DatasetMeta({})
    return Plan(tuple(jobs), tuple(unpaired), params.dest, found.described.notes, meta, carries)


def _fixed_images(params: AlignParams) -> dict[str, InputFile] | InputFile:
    """Return the fixed image of each case, or the only one; of several channels, the first."""
    fixed = params.fixed
    if fixed.is_file():
        return InputFile(fixed, "image")
    require_folder(fixed, _FIXED)
    folder = fixed / IMAGE if (fixed / IMAGE).is_dir() else fixed
    images: Images = find_images(folder, recursive=params.recursive)
    return {case: next(iter(inputs_of(files, images).values())) for case, files in images.cases.items()}


def _volumes(params: AlignParams, name: str) -> Mapping[str, Path] | None:
    folder = params.label if name == LABEL else params.mask
    if folder is None:
        return None
    return find_volumes(require_folder(folder, f"--{name}"), recursive=params.recursive)


def _with_labels(found: Found, params: AlignParams, labels: Mapping[str, Path] | None) -> Iterator[Job]:
    """Yield the jobs, with the labels of ``--label`` and results in ``image`` and ``label``."""
    for job in found.jobs:
        if labels is None:
            yield job
            continue
        if LABEL in job.inputs:
            raise LayoutError(f"{params.source} has label/ of its own; drop --label, or give {params.source / IMAGE}")
        inputs = dict(job.inputs)
        if job.case_id in labels:
            inputs[LABEL] = InputFile(labels[job.case_id], "label")
        targets = targets_of(inputs, params.dest / IMAGE, params.dest / LABEL, params.ext)
        yield replace(job, inputs=inputs, targets=targets)


def collect(params: AlignParams, run: Collected) -> Report:
    """Return ``align_meta.json``, and the page."""

    def page() -> str:
        from itkit.report.alignment import alignment_page

        return alignment_page(params.transform, params.metric, run, run.plan.details.modality)

    return with_page(Report(files=case_meta("align_meta.json", _NAME, params, run)), params.report, page)


def memory(inputs: Mapping[str, CaseInput], params: AlignParams) -> int:
    """Estimate the memory of a case: its volumes, both images as 32-bit floats, and the results."""
    fixed = inputs[_FIXED].geometry if _FIXED in inputs else None
    voxels = {name: math.prod(item.geometry.size_zyx) for name, item in inputs.items()}
    images = [name for name in inputs if is_image(name)]
    out = 0 if fixed is None else 10 * math.prod(fixed.size_zyx) * (len(images) + 1)
    of_inputs = sum(2 * item.nbytes for item in inputs.values()) + 8 * sum(voxels.values())
    return of_inputs + out


OPERATION: Operation[Any] = Operation(
    _NAME,
    AlignParams,
    plan,
    align_case,
    collect,
    example="itk_align follow_up baseline aligned --transform rigid --mp",
    memory=memory,
    is_random=True,
)
__all__ = ["OPERATION", "AlignParams", "register"]
