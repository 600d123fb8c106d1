"""``itk_orient``: turn axes to given directions; every voxel keeps its value and physical point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from itkit.core.fields import Formerly, Group, PathRole, Positional
from itkit.core.files import volume_suffix
from itkit.core.grids import oriented_grid, require_one_grid
from itkit.core.operation import CaseInput, Collected, Context, Job, Operation, Outcome, Plan, Report, Target
from itkit.core.params import OrientationCode, VolumeExtension
from itkit.core.volume import Case
from itkit.io.layouts import (
    IMAGE,
    LABEL,
    Images,
    find_dataset,
    find_images,
    find_volumes,
    is_dataset,
    require_destination,
    require_folder,
)
from itkit.process.common import OutputParams, converted, sidecar
from itkit.process.geometry import orient
from itkit.process.plans import carry, image_jobs, pair_jobs


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class OrientParams(OutputParams):
    """Turn the axes of all volumes of a folder tree to given directions."""

    source: Annotated[Path, PathRole("in_folder", "dataset"), Positional("source"), Formerly("src_dir")]
    """Folder to read, with its sub-folders; in a dataset (image/ and label/), pairs stay together."""
    dest: Annotated[Path, PathRole("out_folder"), Positional("dest"), Formerly("dst_dir")]
    """Folder to write; the tree is kept."""
    orient: Annotated[OrientationCode, Positional("orient")]
    """Directions in which the axes x, y, z are to point, e.g. LPI or RAS (48 codes)."""
    ext: Annotated[Literal["keep"] | VolumeExtension, BeforeValidator(_lower), Group("Output")] = ".mha"
    """Format of the output files; keep: each file keeps its format."""


def orient_case(case: Case, params: OrientParams, context: Context) -> Outcome:
    """Turn every volume of a case."""
    turned_grids = {name: oriented_grid(case.grid(name), params.orient) for name in case.names}
    require_one_grid(replace(case, volumes={}, grids=turned_grids))  # an image and a label may be turned differently
    before = case.grid(next(iter(case.volumes))).orientation
    turned = case.map(lambda volume: converted(orient(volume, params.orient, threads=context.threads), params))
    return Outcome((turned,), {"from": before, "to": params.orient})


def plan(params: OrientParams) -> Plan:
    """List pairs of a dataset and other files of the tree; each of these is a case, unless it is a channel."""
    source, dest = require_folder(params.source), params.dest
    require_destination(dest, source)
    suffix = ".mha" if params.ext == "keep" else params.ext
    if is_dataset(source):
        pairs = find_dataset(source, recursive=True)
        jobs, unpaired, images = pair_jobs(pairs, dest, suffix), pairs.unpaired, pairs.images
        others = {
            case: {IMAGE: path} for case, path in find_volumes(source, recursive=True, but=(IMAGE, LABEL)).items()
        }
        if others:
            jobs = [*jobs, *image_jobs(Images(others), dest, suffix)]
    else:
        images = find_images(source, recursive=True)
        jobs, unpaired = image_jobs(images, dest, suffix), images.extras
    if params.ext == "keep":
        jobs = [_keeping(job) for job in jobs]
    described = images.described
    return Plan(jobs, unpaired, dest, described.notes, carries=carry(described, dest))


def _keeping(job: Job) -> Job:
    """Return the job with outputs in the formats of its inputs."""

    def kept(name: str, target: Target) -> Target:
        extension = (volume_suffix(job.inputs[name].path) or "").lower()
        return Target(target.folder, f"{name.removeprefix(IMAGE) if name != LABEL else ''}{extension}", target.kind)

    return replace(job, targets={name: kept(name, target) for name, target in job.targets.items()})


def collect(params: OrientParams, run: Collected) -> Report:
    """Return ``orient_configs.json``."""
    return Report(files=sidecar("orient_configs.json", "itk_orient", params, run))


def memory(inputs: Mapping[str, CaseInput], params: OrientParams) -> int:
    """Estimate the memory of a case: its voxels twice, and compression buffers."""
    return sum(5 * item.nbytes // 2 for item in inputs.values())


OPERATION: Operation[Any] = Operation(
    "itk_orient",
    OrientParams,
    plan,
    orient_case,
    collect,
    example="itk_orient raw oriented LPI --mp",
    memory=memory,
    reads="one by one",
)
