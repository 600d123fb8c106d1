"""``itk_resample``: resample images and labels to a new grid; the physical extent is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import model_validator
from typing_extensions import Self

from itkit.core.arguments import expect, expect_choice, expect_number
from itkit.core.axes import to_xyz
from itkit.core.errors import LabelError
from itkit.core.fields import (
    Advanced,
    Formerly,
    Group,
    Later,
    OnlyWith,
    PathRole,
    Positional,
    Short,
    Unbounded,
    Unkeyed,
)
from itkit.core.geometry import Geometry
from itkit.core.grids import oriented_grid, require_one_grid
from itkit.core.operation import (
    CaseInput,
    Collected,
    Context,
    InputFile,
    Job,
    Operation,
    Outcome,
    Plan,
    Report,
    Target,
    Unpaired,
)
from itkit.core.params import VolumeExtension
from itkit.core.text import counted
from itkit.core.volume import Case, Volume
from itkit.io.layouts import (
    IMAGE,
    LABEL,
    Images,
    find_dataset,
    find_description,
    find_images,
    find_volumes,
    require_destination,
    require_folder,
)
from itkit.io.overlooked import LABEL_FOLDERS, look_like_pairs, note_of_pairs, pairs_in_one_folder
from itkit.io.segments import with_segments
from itkit.io.sitk_toolkit import itk_threads, to_sitk
from itkit.kernels.arrays import to_dtype
from itkit.kernels.kinds import looks_like_labels
from itkit.kernels.sampling import axis_aligned_indices, index_affine, near_ties
from itkit.kernels.separable import sample_linear, sample_nearest
from itkit.kernels.shares import largest_share
from itkit.kernels.statistics import finite_summary
from itkit.process.by_itk import Interpolation, default_fill, resample_by_itk
from itkit.process.common import GridParams, clamped_fill, converted, label_doubts, sidecar
from itkit.process.geometry import orient
from itkit.process.lost import Notes, describe_classes, is_emptied, lost_classes, with_classes
from itkit.process.plans import carry, image_jobs, inputs_of, pair_jobs, single_jobs

_SAME_PLACE = 1e-6
"""Fraction of a voxel by which two grids may differ through rounding alone."""
_BYTES_PER_SHARE = 9
"""Mask and shares of a class that fills the volume."""
_BYTES_PER_INDEX = 64
"""Memory of the separable passes' tables for each index along each axis of the result."""
_ON_PURPOSE = " (or --interpolation nearest, or --dtype float32 if soft values are wanted)"
_INSIDE = "without it the output lies inside the source"


class ResampleParams(GridParams):
    """Resample images and labels to a voxel spacing, a size, or the grids of reference files."""

    mode: Annotated[Literal["image", "label", "dataset"], Positional()]
    """What the source folder holds: images, labels, or image/ and label/ of one dataset."""
    source: Annotated[Path, PathRole("in_folder"), Positional("source"), Formerly("source_folder")]
    """Folder to read."""
    dest: Annotated[Path, PathRole("out_folder"), Positional("dest"), Formerly("dest_folder")]
    """Folder to write."""
    target_folder: Annotated[Path | None, PathRole("in_folder"), Group("Grid")] = None
    """Folder of reference volumes, matched by case id; each output gets its reference's grid."""
    recursive: Annotated[bool, Short("-r"), Unkeyed()] = False
    """Search sub-folders."""
    interpolation: Interpolation = "linear"
    """How to interpolate images; labels are always resampled by nearest neighbour."""
    fill: Annotated[
        float | None, Unbounded("a value of the image's own scale"), OnlyWith("target_folder", note=_INSIDE)
    ] = None
    """Image value outside the source (default: the image's minimum; labels 0)."""
    antialias: Annotated[bool, Advanced()] = False
    """Smooth images along axes that become coarser before resampling them."""
    on_lost_class: Annotated[Literal["warn", "fail", "keep"], Group("Output"), Later()] = "warn"
    """A class that no voxel's centre meets: name it, fail the case, or keep it by volume shares."""
    ext: Annotated[VolumeExtension, Group("Output")] = ".mha"
    """Format of the output files."""

    @model_validator(mode="after")
    def _one_source_of_the_grid(self) -> Self:
        if self.target_folder is not None and self.asks_for_a_grid:
            raise ValueError("--target-folder gives the grid; drop --spacing, --size and --orient")
        if self.target_folder is None and not self.asks_for_a_grid:
            raise ValueError("nothing to do: give --spacing, --size, --orient or --target-folder")
        return self


def resample(
    volume: Volume,
    grid: Geometry,
    *,
    interpolation: Interpolation = "linear",
    fill: float | None = None,
    antialias: Annotated[bool, Advanced()] = False,
    threads: int = 1,
) -> Volume:
    """Resample a volume onto a grid.

    Parameters
    ----------
    volume
        Image or label map; a label map is always resampled by nearest neighbour. The voxel type is kept: integers are
        rounded to nearest and clamped.
    grid
        Grid of the output.
    interpolation
        How to interpolate an image.
    fill
        Value outside the source (further than half a voxel from its outermost centres). With ``None``, a voxel outside
        gets the value of the nearest voxel if both grids have parallel axes; otherwise the image's minimum, or 0 for
        labels.
    antialias
        Smooth an image along each axis that becomes coarser, by a Gaussian with a standard deviation of
        ``(ratio - 1) / 2`` voxels.
    threads
        Threads to use; the result does not depend on it.

    Raises
    ------
    ArgumentError
        When an argument is of another type, or the interpolation is unknown.

    Notes
    -----
    Between grids with parallel axes, the kernels resample along one axis at a time. The result equals that of
    ``SimpleITK.Resample`` in double precision. SimpleITK itself does everything else.

    Examples
    --------
    >>> from itkit.core.grids import resampled_grid
    >>> volume = Volume(np.arange(4, dtype=np.int16).reshape(1, 1, 4), Geometry((1, 1, 4), (1.0, 1.0, 1.0)))
    >>> resample(volume, resampled_grid(volume.geometry, size_zyx=(-1, -1, 2))).array_zyx.tolist()
    [[[0, 2]]]
    """
    expect(volume, Volume, "resample: volume", "an itkit.Volume")
    expect(grid, Geometry, "resample: grid", "an itkit.Geometry, e.g. of itkit.resampled_grid")
    expect_choice(interpolation, get_args(Interpolation), "resample: interpolation")
    expect_number(fill, "resample: fill")
    if volume.geometry == grid:
        return volume
    if volume.geometry.orientation != grid.orientation:
        turned = orient(volume, grid.orientation, threads=threads)
        volume = turned if axis_aligned_indices(turned.geometry, grid) is not None else volume
    if volume.geometry.same_grid(grid, tol_mm=_SAME_PLACE * min(grid.spacing_zyx)):
        return volume.with_array(volume.array_zyx, grid)  # interpolation would round integers beyond double precision
    if antialias and volume.kind == "image":
        volume = _smoothed(volume, grid, threads)
    nearest = volume.kind == "label" or interpolation == "nearest"
    indices = axis_aligned_indices(volume.geometry, grid)
    if (
        indices is None
        or (interpolation == "bspline" and not nearest)
        or (nearest and _is_rotated(grid) and near_ties(indices))
    ):
        return resample_by_itk(volume, grid, "nearest" if nearest else interpolation, fill=fill, threads=threads)
    sample = sample_nearest if nearest else sample_linear
    return volume.with_array(sample(volume.array_zyx, indices, fill=fill, threads=threads), grid)


def resample_by_share(volume: Volume, grid: Geometry, *, fill: float | None = None, threads: int = 1) -> Volume | None:
    """Resample a label map by volume: each voxel gets the class that fills most of it, and small classes survive.

    Parameters
    ----------
    volume
        The label map; 0 is the background.
    grid
        The output's grid.
    fill
        With ``None``, what lies beyond the source's edge looks like the edge; with any value it is background.
    threads
        Threads to turn the volume with.

    Returns
    -------
    Volume or None
        ``None`` where the grids' axes are not parallel.

    Examples
    --------
    >>> from itkit.core.grids import resampled_grid
    >>> grid = Geometry((1, 1, 6), (1.0, 1.0, 1.0))
    >>> label = Volume(np.array([[[7, 0, 0, 1, 1, 0]]], np.uint8), grid, "label")
    >>> resample_by_share(label, resampled_grid(grid, spacing_zyx=(-1, -1, 3))).array_zyx.tolist()
    [[[7, 1]]]
    """
    if volume.geometry.orientation != grid.orientation:
        volume = orient(volume, grid.orientation, threads=threads)
    indices = axis_aligned_indices(volume.geometry, grid)
    if indices is None:
        return None
    steps = [new / old for new, old in zip(grid.spacing_zyx, volume.geometry.spacing_zyx, strict=True)]
    return volume.with_array(largest_share(volume.array_zyx, indices, steps, clamp=fill is None), grid)


def _with_no_class_lost(
    before: Volume, after: Volume, params: ResampleParams, fill: float | None, threads: int, notes: Notes
) -> Volume:
    """Do what was asked for where a label map has lost classes, and note it."""
    after = with_classes(after)
    lost = lost_classes(before, after)
    if not lost:
        return after
    said = f"label: {describe_classes(lost)} lost on the new grid"
    if is_emptied(before, after) and not _overlap(before.geometry, after.geometry):
        said = f"label: {describe_classes(lost)} lost: it shares no volume with its reference; is it the right one?"
    elif params.on_lost_class == "keep":
        kept = resample_by_share(before, after.geometry, fill=fill, threads=threads)
        if kept is not None:
            kept = with_classes(kept)
            still = lost_classes(before, kept)
            saved = {value: count for value, count in lost.items() if value not in still}
            if saved:
                notes.add(f"label: {describe_classes(saved)} kept by volume shares")
            if still:
                notes.add(f"label: {describe_classes(still)} lost on the new grid")
            return kept
        said += "; --on-lost-class keep needs grids with parallel axes"
    elif params.on_lost_class == "warn":
        said += "; --on-lost-class keep keeps small classes"
    if params.on_lost_class == "fail":
        raise LabelError(said)
    notes.add(said)
    return after


def _overlap(source: Geometry, target: Geometry) -> bool:
    """Whether the box around a target grid, along the source's axes, meets the source."""
    matrix, offset = index_affine(source, target)
    corners = np.array(list(product(*((-0.5, size - 0.5) for size in target.size_zyx)))) @ matrix.T + offset
    ends = np.array(source.size_zyx) - 0.5
    return bool(((corners.max(axis=0) > -0.5) & (corners.min(axis=0) < ends)).all())


def _is_rotated(grid: Geometry) -> bool:
    """Whether the grid is rotated: then rounding in ITK's inverse direction decides samples half way between voxels."""
    return any(value != 0 for place, value in enumerate(grid.direction_xyz) if place % 4)


def _smoothed(volume: Volume, grid: Geometry, threads: int) -> Volume:
    ratios = [new / old for new, old in zip(grid.spacing_zyx, volume.geometry.spacing_zyx, strict=True)]
    variances = [max(0.0, (ratio - 1) / 2) ** 2 for ratio in ratios]
    if not any(variances):
        return volume
    with itk_threads(threads) as sitk:
        image = to_sitk(volume.with_array(volume.array_zyx.astype(np.float64)))
        image = sitk.DiscreteGaussian(image, to_xyz(variances), 256, 0.01, useImageSpacing=False)
        return volume.with_array(to_dtype(np.asarray(sitk.GetArrayFromImage(image)), volume.dtype))


def resample_case(case: Case, params: ResampleParams, context: Context) -> Outcome:
    """Resample the volumes of a case onto one grid."""
    require_one_grid(case)
    source = case.grid(case.names[0])
    has_target = "target" in case.grids
    grid = case.grids["target"] if has_target else params.target(source)
    notes = Notes()

    warnings: list[str] = []

    def one(volume: Volume) -> Volume:
        if volume.geometry != grid:
            told = (*_doubts(case, volume, params), *(clamped_fill(params.fill, volume) if has_target else ()))
            warnings.extend(text for text in told if text not in warnings)
        fill = None
        if has_target:
            fill = 0.0 if volume.kind == "label" else params.fill
            fill = default_fill(volume) if fill is None else fill
        volume = volume.with_array(volume.array_zyx, source)
        new = resample(
            volume,
            grid,
            interpolation=params.interpolation,
            fill=fill,
            antialias=params.antialias,
            threads=context.threads,
        )
        if volume.kind == "label" and new is not volume:
            return _with_no_class_lost(volume, new, params, fill, context.threads, notes)
        if volume.kind == "image" and has_target and not _overlap(source, grid):
            notes.add("image: it shares no volume with its reference and is constant now; is it the right one?")
        return converted(new, params)

    facts = {"size": list(grid.size_zyx), "spacing": list(grid.spacing_zyx)}
    return Outcome((case.map(one),), facts, warnings, late_warnings=notes)


def _doubts(case: Case, volume: Volume, params: ResampleParams) -> tuple[str, ...]:
    """Return warnings about a volume: nan voxels, a label map among images, or an image among label maps.

    Raises
    ------
    LabelError
        When both name and voxels show that an image lies among the labels.
    """
    array = volume.array_zyx
    if volume.kind == "label":
        doubts = label_doubts(volume, "images are for itk_resample image")
        if doubts and case.details == IMAGE:
            raise LabelError(f"{case.id}: looks like an image, by its name and its voxels; use itk_resample image")
        return doubts
    found = []
    if params.interpolation != "nearest" and array.dtype.kind == "f" and (count := finite_summary(array).n_nan):
        found.append(f"{counted(count, 'nan voxel')}: the neighbours become nan too; itk_check --deep finds them")
    is_soft = params.dtype is not None and params.dtype.startswith("float")
    if params.interpolation != "nearest" and not is_soft and looks_like_labels(array):
        if case.details == LABEL:
            raise LabelError(f"{case.id}: a label map in a folder of labels; use itk_resample label{_ON_PURPOSE}")
        found.append(
            f"the image looks like a label map, and interpolation makes up classes; use itk_resample label{_ON_PURPOSE}"
        )
    return tuple(found)


def _with_twins(jobs: Sequence[Job], params: ResampleParams) -> Sequence[Job]:
    """Mark jobs whose name, beside another name in the folder, shows that the file is of the other kind."""
    pairs = pairs_in_one_folder([job.case_id for job in jobs])
    if params.mode == "label":
        images = {image for image, _ in pairs}
        return [replace(job, details=IMAGE) if job.case_id in images else job for job in jobs]
    if params.interpolation == "nearest":
        return jobs
    labels = {label: image for image, label in pairs}
    is_of_labels = params.source.absolute().name.lower() in LABEL_FOLDERS

    def marked(job: Job) -> Job:
        job = replace(job, details=LABEL) if is_of_labels else job
        if job.case_id not in labels or job.problem:
            return job
        problem = (
            f"{job.case_id}: looks like the label of {labels[job.case_id]}, and interpolation would make up classes; "
            "move labels to a folder of their own for itk_resample label, or use --interpolation nearest"
        )
        return replace(job, problem=problem)

    return list(map(marked, jobs))


def plan(params: ResampleParams) -> Plan:
    """List the cases of the source, and files without a partner or a reference."""
    source, dest = require_folder(params.source), params.dest
    require_destination(dest, source)
    images = Images({})
    notes: tuple[str, ...] = ()
    unpaired: tuple[Unpaired, ...] = ()
    if params.mode == "dataset":
        pairs = find_dataset(source, recursive=params.recursive)
        jobs, unpaired, images = pair_jobs(pairs, dest, params.ext), pairs.unpaired, pairs.images
    elif params.mode == "image":
        images = find_images(source, recursive=params.recursive)
        jobs, unpaired = _with_twins(image_jobs(images, dest, params.ext), params), images.extras
    else:
        found = find_volumes(source, recursive=params.recursive)
        jobs = _with_twins(single_jobs(found, dest, params.ext, "label"), params)
        images = Images({}, described=with_segments(find_description(source), found))
    if params.target_folder is not None:
        references = _references(params.target_folder, recursive=params.recursive)
        lone = [job for job in jobs if job.case_id not in references]
        unpaired += tuple(Unpaired(job.case_id, next(iter(job.inputs.values())).path, "reference") for job in lone)
        free = {case: file.path for case, file in references.items() if case not in {job.case_id for job in jobs}}
        notes = note_of_pairs(look_like_pairs(free, {item.case_id: item.path for item in unpaired}), one_folder=False)
        jobs = [
            replace(job, inputs={**job.inputs, "target": references[job.case_id]})
            for job in jobs
            if job.case_id in references
        ]
    described = images.described
    return Plan(jobs, unpaired, dest, (*described.notes, *notes), carries=carry(described, dest))


def _references(folder: Path, *, recursive: bool) -> dict[str, InputFile]:
    """Return reference volumes by case id: the images of a dataset, and the first of several channels."""
    require_folder(folder, "target")
    inside = folder / IMAGE
    images = find_images(inside if inside.is_dir() else folder, recursive=recursive)
    first = {case: inputs_of(files, images) for case, files in images.cases.items()}
    return {case: replace(next(iter(files.values())), kind="grid") for case, files in first.items()}


def collect(params: ResampleParams, run: Collected) -> Report:
    """Return ``resample_configs.json``."""
    return Report(files=sidecar("resample_configs.json", "itk_resample", params, run))


def memory(inputs: Mapping[str, CaseInput], params: ResampleParams) -> int:
    """Estimate the memory of a case: both grids, in double precision if SimpleITK resamples."""
    total = 0
    reference = inputs.get("target")
    for item in inputs.values():
        if item.nbytes == 0:
            continue
        grid = reference.geometry if reference else params.target(item.geometry)
        itemsize = np.dtype(item.dtype).itemsize
        turned = oriented_grid(item.geometry, grid.orientation).direction_xyz
        is_oblique = any(abs(p - q) > 1e-6 for p, q in zip(turned, grid.direction_xyz, strict=True))
        slow = params.interpolation == "bspline" or params.antialias or is_oblique
        voxels = item.nbytes // itemsize
        channels = max(1, voxels // max(1, math.prod(item.geometry.size_zyx)))
        out_voxels = channels * math.prod(grid.size_zyx)
        total += (voxels + out_voxels) * (itemsize + (16 if slow else itemsize))
        if params.antialias:
            total += 8 * voxels  # a filter's result beside its source
        if params.on_lost_class == "keep":
            total += voxels * _BYTES_PER_SHARE + out_voxels * 2 * _BYTES_PER_SHARE
        total += _BYTES_PER_INDEX * sum(grid.size_zyx)
    return total


OPERATION: Operation[Any] = Operation(
    "itk_resample",
    ResampleParams,
    plan,
    resample_case,
    collect,
    example="itk_resample dataset raw resampled --spacing 1.5 0.8 0.8 --mp",
    memory=memory,
    reads="one by one",
)
__all__ = ["OPERATION", "ResampleParams", "Target", "resample", "resample_by_share"]
