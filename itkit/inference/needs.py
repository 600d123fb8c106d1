"""Memory and disk that ``itk_infer`` needs, estimated from grids and networks before anything is computed."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from itkit.core.errors import CaseError, LayoutError, ResourceError
from itkit.core.operation import Job
from itkit.core.text import counted
from itkit.io.formats.inspect import read_any_header
from itkit.models.window_sums import WindowSettings

if TYPE_CHECKING:
    from itkit.core.geometry import Geometry
    from itkit.inference.itk_infer import InferParams
    from itkit.inference.model_folder import ModelFolder

_TORCH_BYTES = 320 << 20
"""What torch takes before its first network."""
_BYTES_PER_WINDOW_VOXEL = 640
"""Features of a window that a network holds at once: a U-Net with 32 features has about 160 values a voxel."""
_CHUNKS = 64 << 20


@dataclass(frozen=True)
class Need:
    """Bytes that a case needs: always, and for what may lie in files."""

    fixed: int
    sums: int
    probabilities: int
    logits: int


def need_of_grid(grid: Geometry, read_bytes: int, params: InferParams, models: Sequence[ModelFolder]) -> Need:
    """Estimate what a case on a grid needs; ``read_bytes`` is what its volumes take."""
    from itkit.inference.preparing import Preparation

    voxels = math.prod(grid.size_zyx)
    fixed = _TORCH_BYTES + _CHUNKS + read_bytes + 4 * voxels + (8 * voxels if params.skip_air else 0)
    classes = models[0].facts.network.num_classes
    busiest = sums = logits = 0
    for model in models:  # one after the other
        facts = model.facts
        working = Preparation.of(facts).grid(grid).size_zyx
        depth, height, width = (max(n, p) for n, p in zip(working, facts.patch_size, strict=True))
        channels, padded, size = facts.network.in_channels, depth * height * width, math.prod(working)
        image = 4 * channels * (padded + (size if padded > size else 0))
        window = params.batch * math.prod(facts.patch_size) * (4 * channels + 8 * classes + _BYTES_PER_WINDOW_VOXEL)
        fixed += 3 * model.weights.stat().st_size
        busiest = max(busiest, image + window + 8 * classes * height * width, image + 8 * voxels + 4 * padded)
        windows = WindowSettings(
            patch_size=facts.window_size, overlap=params.overlap, scheme=params.window_scheme, batch=params.batch
        )
        sums = max(sums, windows.sums_bytes(working, classes))
        logits += 4 * classes * size
    soft = classes * voxels * ((4 if len(models) > 1 else 2 * params.probabilities) + 2 * params.probabilities)
    return Need(fixed + busiest, sums, soft, logits if params.save_logits else 0)


def require_disk(jobs: Sequence[Job], params: InferParams, models: Sequence[ModelFolder]) -> None:
    """Refuse to start if the probabilities or logits of all cases may not fit on the disk.

    Raises
    ------
    LayoutError
        When there is too little room.
    """
    if not (params.probabilities or params.save_logits):
        return
    total = 0
    for job in jobs:
        if all(path.exists() for path in job.outputs()):
            continue
        grid = _grid_of(job)
        if grid is not None:
            with contextlib.suppress(ResourceError):  # the case will fail with this error
                total += need_of_grid(grid, 0, params, models).logits
            if params.probabilities:
                total += 2 * models[0].facts.network.num_classes * math.prod(grid.size_zyx)
    folder = next(place for place in (params.dest.absolute(), *params.dest.absolute().parents) if place.exists())
    free = shutil.disk_usage(folder).free
    if total > free:
        option = "--probabilities" if params.probabilities else "--save-logits"
        raise LayoutError(
            f"{option}: up to {total / 1e9:.1f} GB for {counted(jobs, 'case')}, but {folder} has {free / 1e9:.1f} GB "
            "free; choose another destination or fewer cases (--shard)"
        )


def _grid_of(job: Job) -> Geometry | None:
    if job.sizes:
        return next(iter(job.sizes.values())).geometry
    try:
        return read_any_header(next(iter(job.inputs.values())).path).geometry
    except (CaseError, OSError):  # the case will fail with this error
        return None
