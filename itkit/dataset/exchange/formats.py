"""``itk_convert format``: volume files in another format; their tree is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from itkit.core.errors import ParamsError
from itkit.core.grids import require_one_grid
from itkit.core.operation import Collected, Context, InputFile, Job, Outcome, Plan, Report
from itkit.core.volume import Case, Volume
from itkit.dataset.exchange.direction import Direction, finished
from itkit.dataset.exchange.params import ConvertParams
from itkit.io.layouts import find_dataset, find_images, is_dataset
from itkit.process.common import sidecar
from itkit.process.plans import carry, image_jobs, pair_jobs


@dataclass(frozen=True)
class _Files:
    """Files of a case that are read with ``--assume-spacing`` if they state no spacing."""

    inputs: Mapping[str, InputFile]


def plan_format(params: ConvertParams) -> Plan:
    """List the volume files of a dataset or a tree.

    Raises
    ------
    LayoutError
        When two files have the same id.
    ParamsError
        When ``--assume-spacing`` leaves out an axis.
    """
    source, dest = params.source, params.dest
    if is_dataset(source):
        pairs = find_dataset(source, recursive=True)
        jobs, unpaired, images = pair_jobs(pairs, dest, params.ext), pairs.unpaired, pairs.images
    else:
        images = find_images(source, recursive=True)
        jobs, unpaired = image_jobs(images, dest, params.ext), images.extras
    if params.assume_spacing is not None:
        if -1 in params.assume_spacing:
            raise ParamsError("--assume-spacing: expected three spacings > 0 mm; -1 stands for none")
        jobs = [_read_by_itself(job) for job in jobs]
    described = images.described
    return Plan(tuple(jobs), unpaired, dest, described.notes, carries=carry(described, dest))


def _read_by_itself(job: Job) -> Job:
    inputs = {name: replace(file, kind="file") for name, file in job.inputs.items()}
    return replace(job, inputs=inputs, details=_Files(job.inputs))


def convert_volumes(case: Case, params: ConvertParams, context: Context) -> Outcome:
    """Convert one volume or pair."""
    notes: list[str] = []
    if isinstance(case.details, _Files):
        volumes = {name: _assumed(file, params, notes) for name, file in case.details.inputs.items()}
        case = Case(case.id, volumes)
    require_one_grid(case)
    return Outcome((case.map(partial(finished, params=params, context=context)),), warnings=tuple(notes))


def _assumed(file: InputFile, params: ConvertParams, notes: list[str]) -> Volume:
    """Read a file; if it states no spacing, assume the one of ``--assume-spacing``."""
    from itkit.io.sitk_toolkit import read_assuming, read_with_header

    assert params.assume_spacing is not None
    header = read_assuming(file.path, params.assume_spacing)
    volume, header = read_with_header(file.path, "label" if file.kind == "label" else "image", header=header)
    notes += [f"{file.path.name}: {text}" for text in header.warnings]
    return volume


def collect_format(params: ConvertParams, run: Collected) -> Report:
    """Return ``convert_configs.json``."""
    return Report(files=sidecar("convert_configs.json", "itk_convert", params, run))


DIRECTION = Direction(plan_format, convert_volumes, collect_format)
