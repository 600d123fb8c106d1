"""``itk_patch``: cut volumes into overlapping patches; every voxel keeps its physical point."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from typing_extensions import Self

from itkit.core.arguments import expect, expect_sizes
from itkit.core.boxes import PatchGrid, patch_grid, window
from itkit.core.dataset_meta import DatasetMeta
from itkit.core.errors import CaseSkipped
from itkit.core.fields import Advanced, Formerly, Group, Later, OnlyWith, PathRole, Positional, Short, Unkeyed
from itkit.core.files import Compression
from itkit.core.grids import require_one_grid
from itkit.core.operation import (
    Batch,
    CaseInput,
    Collected,
    Context,
    Job,
    Operation,
    Outcome,
    Place,
    Plan,
    Report,
    Target,
    Written,
)
from itkit.core.params import OrientationCode, PatchZyx, VolumeExtension
from itkit.core.volume import Case, Volume
from itkit.io.formats.backend import codecs_backend
from itkit.io.formats.shared_pieces import column_cuts, write_boxes
from itkit.io.formats.store import STORE_SUFFIX, Store, require_store, write_store
from itkit.io.layouts import (
    IMAGE,
    LABEL,
    find_dataset,
    find_images,
    is_dataset,
    require_destination,
    require_folder,
)
from itkit.io.meta import volume_entry
from itkit.kernels.draws import count_foreground, draw_start
from itkit.kernels.labels import label_counts
from itkit.kernels.padding import SLAB
from itkit.kernels.patches import patch_classes, patch_foreground
from itkit.process.common import OutputParams, converted
from itkit.process.geometry import crop, orient, padded
from itkit.process.lost import describe_classes, missing_classes
from itkit.process.plans import carry, inputs_of, targets_of

_STORE = "store"


class PatchParams(OutputParams):
    """Cut volumes into patches; every voxel keeps its physical point."""

    source: Annotated[Path, PathRole("in_folder", "dataset"), Positional("source"), Formerly("src_folder")]
    """Dataset to read: image/ and label/."""
    recursive: Annotated[bool, Short("-r"), Unkeyed()] = False
    """Search sub-folders."""
    dest: Annotated[Path, PathRole("out_folder"), Positional("dest"), Formerly("dst_folder")]
    """Folder to write."""
    patch_size: PatchZyx
    """Size of a patch; one value stands for all axes."""
    patch_stride: PatchZyx | None = None
    """Steps between patches; one value stands for all axes. A last patch ends at the volume's end; --per-case uses no
    steps."""
    spread: Annotated[bool, Later()] = False
    """Put the same number of patches at even distances, so that the last one does not nearly repeat the one before."""
    per_case: Annotated[int | None, Field(ge=1), Group("Random"), Later()] = None
    """Cut this many patches per case at random places, in place of a regular grid: the ones that training draws."""
    foreground: Annotated[float, Field(ge=0, le=1), Group("Random"), Later(), OnlyWith("per_case")] = 0.5
    """Share of the random patches with a labelled voxel at their centre (0 to 1); all classes are equally likely."""
    epoch: Annotated[int, Field(ge=0), Group("Random"), Later(), OnlyWith("per_case")] = 0
    """Another number draws other places; so does --seed."""
    minimum_foreground_ratio: Annotated[float, Field(ge=0, le=1), Group("Selection")] = 0.0
    """Keep a patch only if at least this share of its voxels is labelled (0 to 1)."""
    keep_empty_label_prob: Annotated[float, Field(ge=0, le=1), Group("Selection")] = 1.0
    """Probability of keeping a patch without any labelled voxel (0 to 1)."""
    still_save_when_no_label: Annotated[bool, Group("Selection")] = False
    """Also cut images that have no label; all their patches are kept."""
    pad: bool = False
    """Pad smaller volumes at their end (image: its minimum, label: 0); without it they are skipped and named."""
    layout: Annotated[Literal["case", "dataset"], Group("Output")] = "case"
    """case: write dest/<case>/…_image and …_label; dataset: write dest/image and dest/label, as in any dataset."""
    orient: OrientationCode | None = None
    """Turn axes to these directions first, e.g. LPI."""
    ext: Annotated[VolumeExtension, Group("Output")] = ".mha"
    """Format of the patch files."""
    store: Annotated[Store | None, Group("Output"), Advanced()] = None
    """Write one chunked store per case instead of patch files (blosc2: .b2z, zarr: .zarr.zip); reads any box fast."""

    @model_validator(mode="after")
    def _one_layout(self) -> Self:
        if self.store is not None and (self.layout != "case" or self.ext != ".mha"):
            raise ValueError("--store writes one file per case; drop --layout and --ext")
        return self

    @model_validator(mode="after")
    def _grid_or_draws(self) -> Self:
        if self.per_case is None:
            if self.patch_stride is None:
                raise ValueError("missing --patch-stride: steps between patches; or draw random ones with --per-case N")
            return self
        selects = self.minimum_foreground_ratio != 0 or self.keep_empty_label_prob != 1
        for option, is_given, reason in (
            ("--spread", self.spread, "places are drawn, not on a grid"),
            ("--minimum-foreground-ratio and --keep-empty-label-prob", selects, "every patch that is drawn is kept"),
            ("--store", self.store is not None, "a store holds the whole volume, and training draws from it"),
        ):
            if is_given:
                raise ValueError(f"--per-case does not go with {option}: {reason}; drop one of them")
        return self


def crop_patches(
    volume: Volume, patch_zyx: tuple[int, int, int], stride_zyx: tuple[int, int, int], *, spread: bool = False
) -> Iterator[tuple[tuple[int, int, int], Volume]]:
    """Iterate over all patches of a volume, each as (start index ZYX, patch); see `patch_starts` for their places.

    Raises
    ------
    ArgumentError
        When a size or stride is not three whole numbers of at least 1, or the patch is larger than the volume.

    Examples
    --------
    >>> from itkit.core.geometry import Geometry
    >>> volume = Volume(np.zeros((4, 4, 6), np.int16), Geometry((4, 4, 6), (1.0, 1.0, 0.5)))
    >>> [(start, patch.geometry.origin_xyz) for start, patch in crop_patches(volume, (4, 4, 4), (4, 4, 4))]
    [((0, 0, 0), (0.0, 0.0, 0.0)), ((0, 0, 2), (1.0, 0.0, 0.0))]
    """
    expect(volume, Volume, "crop_patches: volume", "an itkit.Volume")
    size = expect_sizes(patch_zyx, "crop_patches: patch_zyx")
    stride = expect_sizes(stride_zyx, "crop_patches: stride_zyx")
    grid = patch_grid(volume.geometry.size_zyx, size, stride, spread=spread)
    return ((start, crop(volume, start, size)) for _, start in grid)


def patch_case(case: Case, params: PatchParams, context: Context) -> Outcome:
    """Cut the volumes of a case into patches, and return those that pass the selection."""
    has_label = LABEL in case.volumes
    if has_label:
        require_one_grid(case)
    if params.orient is not None:
        code = params.orient
        case = case.map(lambda volume: orient(volume, code, threads=context.threads))
    size = case.grid(case.names[0]).size_zyx
    if any(have < want for have, want in zip(size, params.patch_size, strict=True)) and not params.pad:
        raise CaseSkipped(f"volume of {size} voxels ZYX is smaller than the patch {params.patch_size}; --pad pads it")
    case = case.map(lambda volume: converted(padded(volume, params.patch_size), params))
    whole = case.grid(case.names[0]).size_zyx
    grid = None
    if params.patch_stride is not None and params.per_case is None:
        grid = patch_grid(whole, params.patch_size, params.patch_stride, spread=params.spread)
    base = case.id.rsplit("/", 1)[-1] if params.layout == "case" else case.id
    found = _drawn_patches(case, params, context) if grid is None else _kept_patches(case, grid, params, context)
    patches = _named(found, base)
    if params.store is not None:
        patches = [replace(patch, name=base) for patch in patches]
        suffixes = [STORE_SUFFIX[params.store]]
    else:
        names = [name for name in case.names if name != LABEL]
        suffixes = [f"{_ending(name, params.layout)}{params.ext}" for name in names]
    facts = {
        "shape": list(size),
        "num_patches": len(patches),
        "anno_available": has_label,
        "patches": [patch.entry(suffixes) for patch in patches],
    }
    if params.store is not None:
        return Outcome(batches=(partial(_write_store, case),), facts=facts)
    warnings = _warnings(case, patches, params)
    if grid is not None and params.ext == ".mha" and codecs_backend() != "itk":
        plain = {name: volume for name, volume in case.volumes.items() if volume.array_zyx.ndim == 3}
        vectors = {name: volume for name, volume in case.volumes.items() if name not in plain}
        cut = (_cut(replace(case, volumes=vectors), patch, params.patch_size) for patch in patches if vectors)
        return Outcome(cut, facts, warnings, batches=_columns(replace(case, volumes=plain), patches, grid))
    return Outcome((_cut(case, patch, params.patch_size) for patch in patches), facts, warnings)


def _warnings(case: Case, patches: Sequence[_Patch], params: PatchParams) -> tuple[str, ...]:
    """Name what a case loses (all of it, or classes that are in no patch that is kept), and places drawn twice."""
    if not patches:
        return ("no patch was kept: none has as much foreground as was asked for",)
    repeats = len(patches) - len({patch.start_zyx for patch in patches})
    said = [f"{repeats} of {len(patches)} patches repeat a place that was drawn before"] if repeats else []
    if LABEL in case.volumes:
        kept = {value for patch in patches for value in patch.classes or ()}
        lost = missing_classes(case.volumes[LABEL], kept)
        said += [f"label: {describe_classes(lost)} in no patch that was kept"] if lost else []
        if params.per_case is not None and params.foreground > 0 and not lost and not any(kept):
            said.append("label is empty: no patch is centred on foreground")
    return tuple(said)


def _write_store(case: Case, place: Place, compression: Compression) -> list[Written]:
    write_store(place(_STORE, case.id), case.volumes, compression=compression)
    return [Written(_STORE, case.id)]


def _columns(case: Case, patches: Sequence[_Patch], grid: PatchGrid) -> Iterator[Batch]:
    """Yield a batch for each column of the patch grid: the patches of a column have slices in common."""
    columns: dict[tuple[int, int], list[_Patch]] = {}
    for patch in patches:
        columns.setdefault(patch.start_zyx[1:], []).append(patch)
    for place_yx, column in columns.items():
        for name in case.volumes:
            yield partial(_write_column, case.volumes[name], name, place_yx, column, grid)


def _write_column(
    volume: Volume,
    name: str,
    place_yx: tuple[int, int],
    patches: Sequence[_Patch],
    grid: PatchGrid,
    place: Place,
    compression: Compression,
) -> list[Written]:
    depth, height, width = grid.patch_zyx
    column = crop(volume, (0, *place_yx), (volume.geometry.size_zyx[0], height, width))
    cuts = column_cuts(grid.starts_zyx[0], depth, height * width * volume.dtype.itemsize)
    boxes = ((patch.start_zyx[0], place(name, patch.name)) for patch in patches)
    write_boxes(column, boxes, depth, cuts, compression=compression)
    return [
        Written(
            name,
            patch.name,
            volume_entry(
                name,
                patch.name,
                crop(volume, patch.start_zyx, grid.patch_zyx),
                patch.classes if name == LABEL else None,
            ),
        )
        for patch in patches
    ]


@dataclass(frozen=True)
class _Patch:
    """A patch to keep; ratio and classes are ``None`` if there is no label."""

    start_zyx: tuple[int, int, int]
    foreground_ratio: float | None = None
    classes: list[int] | None = None
    name: str = ""

    def entry(self, suffixes: Sequence[str]) -> dict[str, Any]:
        """Return the patch's entry in ``crop_meta.json``; ``files`` is there only if each channel has its own file."""
        files = [f"{self.name}{suffix}" for suffix in suffixes]
        return {
            "file": files[0],
            **({"files": files} if len(files) > 1 else {}),
            "start": list(self.start_zyx),
            "foreground_ratio": self.foreground_ratio,
            "classes": self.classes,
        }


def _cut(case: Case, patch: _Patch, size_zyx: tuple[int, int, int]) -> Case:
    return Case(patch.name, case.map(lambda volume: crop(volume, patch.start_zyx, size_zyx)).volumes)


def _kept_patches(case: Case, grid: PatchGrid, params: PatchParams, context: Context) -> list[_Patch]:
    """Return the patches that pass the selection, in order of position."""
    if LABEL not in case.volumes:
        return [_Patch(start) for _, start in grid]
    label = case.volumes[LABEL].array_zyx
    counts = patch_foreground(label, grid.starts_zyx, grid.patch_zyx)
    classes, present = patch_classes(label, grid.starts_zyx, grid.patch_zyx)
    draws = context.rng().random(counts.shape)
    voxels = math.prod(grid.patch_zyx)
    kept = []
    for position, start in grid:
        count = int(counts[position])
        is_wanted = count > 0 or draws[position] < params.keep_empty_label_prob
        if is_wanted and count / voxels >= params.minimum_foreground_ratio:
            there = [value for value, is_there in zip(classes, present[position], strict=True) if is_there]
            kept.append(_Patch(start, count / voxels, there))
    return kept


def _drawn_patches(case: Case, params: PatchParams, context: Context) -> list[_Patch]:
    """Return the patches at random places, in the order of the draws: the same ones that training draws."""
    whole = case.grid(case.names[0]).size_zyx
    label = case.volumes[LABEL].array_zyx if LABEL in case.volumes else None
    slab, known = None, None
    if label is not None:
        slab = partial(_slab, label)
        known = lru_cache(maxsize=1)(partial(count_foreground, slab, len(label)))
    drawn = []
    for number in range(params.per_case or 0):
        start = draw_start(context.rng(number, params.epoch), whole, params.patch_size, params.foreground, slab, known)
        if label is None:
            drawn.append(_Patch(start))
            continue
        counts = label_counts(label[window(start, params.patch_size)])
        share = sum(count for value, count in counts.items() if value) / math.prod(params.patch_size)
        drawn.append(_Patch(start, share, sorted(counts)))
    return drawn


def _slab(label: NDArray[Any], number: int) -> NDArray[Any]:
    return label[number * SLAB : (number + 1) * SLAB]


def _named(patches: Iterable[_Patch], base: str) -> list[_Patch]:
    """Name patches by the case and their start, and number those at the same place."""
    times: Counter[tuple[int, int, int]] = Counter()
    named = []
    for patch in patches:
        times[patch.start_zyx] += 1
        z, y, x = patch.start_zyx
        again = f"_{times[patch.start_zyx]}" if times[patch.start_zyx] > 1 else ""
        named.append(replace(patch, name=f"{base}_z{z}_y{y}_x{x}{again}"))
    return named


def plan(params: PatchParams) -> Plan:
    """List the pairs of the source and, if asked for, images without a label."""
    if params.store is not None:
        require_store(params.store)
    source, dest = require_folder(params.source), params.dest
    require_destination(dest, source)
    if not is_dataset(source) and params.still_save_when_no_label and (source / IMAGE).is_dir():
        images = find_images(source / IMAGE, recursive=params.recursive, labels=())
        cases, unpaired = images.cases, images.extras
    else:
        pairs = find_dataset(source, recursive=params.recursive)
        images, cases, unpaired = pairs.images, pairs.pairs, pairs.unpaired
        if params.still_save_when_no_label:
            cases = {**cases, **pairs.lone_images}
            unpaired = tuple(item for item in unpaired if item.lacks != LABEL)
    jobs = tuple(
        Job(
            case,
            inputs_of(files, images),
            _targets(case, files, params),
            output_ids=() if params.store is None else None,
            problem=images.problems.get(case, ""),
        )
        for case, files in sorted(cases.items())
    )
    carries = carry(images.described, dest, change=DatasetMeta.without_cases)
    notes = images.described.notes
    if params.per_case is not None and params.patch_stride is not None:
        notes = (*notes, "--per-case draws the places of patches: --patch-stride is not used")
    return Plan(jobs, unpaired, dest, notes, carries=carries)


def _ending(name: str, layout: str) -> str:
    """Return the ending of a volume's patch files; it names the kind if patches of all kinds lie in one folder."""
    return f"_{name}" if layout == "case" else name.removeprefix(IMAGE)


def _targets(case: str, files: Mapping[str, Path], params: PatchParams) -> dict[str, Target]:
    dest = params.dest
    if params.store is not None:
        return {_STORE: Target(dest, STORE_SUFFIX[params.store], "image")}
    names = dict.fromkeys((*files, LABEL))
    if params.layout == "dataset":
        return targets_of(names, dest / IMAGE, dest / LABEL, params.ext)
    folder = dest / case
    return {
        name: Target(folder, f"{_ending(name, 'case')}{params.ext}", "label" if name == LABEL else "image")
        for name in names
    }


def collect(params: PatchParams, run: Collected) -> Report:
    """Return ``crop_meta.json``: every patch of every case in the destination."""
    count = total = 0
    annotated = []
    for case, record in run.in_order():
        count += 1
        total += record.facts.get("num_patches", 0)
        if record.facts.get("anno_available"):
            annotated.append(case)
    meta = {
        "src_folder": os.fspath(params.source),
        "dst_folder": os.fspath(params.dest),
        "patch_size": list(params.patch_size),
        "patch_stride": None if params.patch_stride is None else list(params.patch_stride),
        "spread": params.spread,
        "random": None if params.per_case is None else _draws(params),
        "anno_available": annotated,
        "patch_meta": run.facts(),
    }
    return Report((f"{total} patches of {count} cases",), files={Path("crop_meta.json"): meta})


def _draws(params: PatchParams) -> dict[str, Any]:
    return {"per_case": params.per_case, "foreground": params.foreground, "epoch": params.epoch}


def memory(inputs: Mapping[str, CaseInput], params: PatchParams) -> int:
    """Estimate the memory of a case: its voxels (twice if they are copied), and the label's summed-area table."""
    factor = 2 if params.orient or params.pad or params.store else 1
    table = 12 * max((item.nbytes // np.dtype(item.dtype).itemsize for item in inputs.values()), default=0)
    return sum(factor * item.nbytes for item in inputs.values()) + table // 2


OPERATION: Operation[Any] = Operation(
    "itk_patch",
    PatchParams,
    plan,
    patch_case,
    collect,
    example="itk_patch resampled patches --patch-size 96 --patch-stride 48 --mp",
    memory=memory,
    is_random=True,
)
