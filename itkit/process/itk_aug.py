"""``itk_aug``: write copies under random affine and elastic transforms, which are recorded and can be replayed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator
from typing_extensions import Self

from itkit.core.arguments import expect, expect_number
from itkit.core.axes import to_xyz
from itkit.core.fields import (
    Advanced,
    Bounds,
    Formerly,
    Group,
    OnlyWith,
    PathRole,
    Positional,
    Short,
    Unbounded,
    Unit,
    Unkeyed,
)
from itkit.core.geometry import Geometry
from itkit.core.grids import require_one_grid
from itkit.core.operation import CaseInput, Collected, Context, Job, Operation, Outcome, Plan, Record, Report
from itkit.core.params import RangeDegZyx, ThreeZyx, VolumeExtension
from itkit.core.volume import Case, Volume
from itkit.io.json_files import json_text
from itkit.io.layouts import IMAGE, LABEL, find_pairs, require_destination
from itkit.kernels.affine import affine_linear, affine_nearest
from itkit.kernels.kinds import looks_like_labels
from itkit.kernels.sampling import index_affine
from itkit.process.by_itk import default_fill
from itkit.process.common import OutputParams, clamped_fill, converted, label_doubts
from itkit.process.elastic import ElasticField, extra_bytes, folding_message, sample_elastic, warp
from itkit.process.lost import Notes, describe_classes, lost_classes, with_classes
from itkit.process.plans import carry, inputs_of, targets_of

_ELASTIC_SPACING_MM = 50.0


class AugParams(OutputParams):
    """Write augmented copies of image and label pairs."""

    source: Annotated[Path, PathRole("in_folder"), Positional("image_folder"), Formerly("img_folder")]
    """Folder of images."""
    label_source: Annotated[Path, PathRole("in_folder"), Positional("label_folder"), Formerly("lbl_folder")]
    """Folder of labels."""
    dest: Annotated[Path | None, PathRole("out_folder"), Short("-oimg"), Formerly("out_img_folder")] = None
    """Folder for augmented images."""
    label_dest: Annotated[Path | None, PathRole("out_folder"), Short("-olbl"), Formerly("out_lbl_folder")] = None
    """Folder for augmented labels."""
    number: Annotated[int, Short("-n"), Field(ge=1)] = 1
    """Copies of each case."""
    random_rot: Annotated[RangeDegZyx, Group("Transform")] = (0.0, 0.0, 0.0)
    """Largest rotation about the physical axes; each angle is drawn uniformly from ± this range."""
    random_scale: Annotated[ThreeZyx, Unit("fraction"), Bounds(least=0, below=1), Group("Transform")] = (0.0, 0.0, 0.0)
    """Largest change of size along the physical axes, e.g. 0.1 for 90 % to 110 %."""
    random_shift: Annotated[ThreeZyx, Unit("mm"), Bounds(least=0), Group("Transform")] = (0.0, 0.0, 0.0)
    """Largest shift along the physical axes."""
    random_flip: Annotated[ThreeZyx, Unit("probability"), Bounds(least=0, most=1), Group("Transform")] = (0.0, 0.0, 0.0)
    """Probability of a mirror image along each physical axis."""
    elastic: Annotated[ThreeZyx, Unit("mm"), Bounds(least=0), Group("Transform")] = (0.0, 0.0, 0.0)
    """Largest displacement of an elastic field's control points along physical axes; tissue moves about 1/5 of it."""
    elastic_spacing: Annotated[
        float, Unit("mm"), Field(gt=0), OnlyWith("elastic", note=""), Group("Transform"), Advanced()
    ] = _ELASTIC_SPACING_MM
    """Distance between the control points; at least 2.5 times the largest displacement, so that tissue never folds."""
    recursive: Annotated[bool, Short("-r"), Unkeyed()] = False
    """Search sub-folders."""
    fill: Annotated[float | None, Unbounded("a value of the image's own scale")] = None
    """Image value outside the source (default: the image's minimum; labels 0)."""
    ext: Annotated[VolumeExtension, Group("Output")] = ".mha"
    """Format of the output files."""

    @model_validator(mode="after")
    def _writes_something(self) -> Self:
        if self.dest is None and self.label_dest is None:
            raise ValueError("nothing to write: give -oimg, -olbl or both")
        if self.dest is not None and self.dest == self.label_dest:
            raise ValueError("-oimg and -olbl are the same folder; files would overwrite each other")
        if not any((*self.random_rot, *self.random_scale, *self.random_shift, *self.random_flip, *self.elastic)):
            raise ValueError(
                "nothing to draw: give --random-rot, --random-scale, --random-shift, --random-flip or --elastic"
            )
        if message := folding_message(self.elastic, self.elastic_spacing):
            raise ValueError(message)
        return self


@dataclass(frozen=True)
class Augmentation:
    """A transform that was drawn: it maps output point p to input point M (p + u(p) - center) + center + shift.

    Parameters
    ----------
    angles_deg
        Rotation about the physical axes Z, Y, X.
    matrix_xyz
        The 3x3 matrix M, row by row: rotation (``Rz Rx Ry``, as ``SimpleITK.Euler3DTransform``) times scales and flips.
    center_xyz
        Centre of the rotation, mm: the physical centre of the grid.
    shift_xyz
        Shift that is added to the input point, mm.
    elastic
        The displacement u; ``None`` if it is 0 everywhere.
    """

    angles_deg: tuple[float, float, float]
    matrix_xyz: tuple[float, ...]
    center_xyz: tuple[float, float, float]
    shift_xyz: tuple[float, float, float] = (0.0, 0.0, 0.0)
    elastic: ElasticField | None = None

    def facts(self) -> dict[str, Any]:
        """Return the transform as an entry of ``aug_meta.json``; ``elastic`` is missing if there is no field."""
        affine = {
            "angles_deg": list(self.angles_deg),
            "matrix_xyz": list(self.matrix_xyz),
            "center_xyz": list(self.center_xyz),
            "shift_xyz": list(self.shift_xyz),
        }
        return affine if self.elastic is None else {**affine, "elastic": self.elastic.facts()}


def euler_matrix(angles_deg_zyx: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return ``Rz Rx Ry`` (3x3, XYZ) for right-handed rotations about the physical axes Z, Y, X, in degrees."""
    z, y, x = (math.radians(angle) for angle in angles_deg_zyx)
    rz = np.array([[math.cos(z), -math.sin(z), 0], [math.sin(z), math.cos(z), 0], [0, 0, 1]])
    ry = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    rx = np.array([[1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]])
    return np.asarray(rz @ rx @ ry, dtype=np.float64)


def sample_augmentation(grid: Geometry, params: AugParams, rng: np.random.Generator) -> Augmentation:
    """Draw a transform for a grid; the elastic field is drawn last, so that it does not change the other draws."""
    draws = rng.uniform(-1, 1, size=(3, 3))
    flips = rng.random(3) < np.array(params.random_flip)
    angles, scales, shifts = (
        draw * np.array(limit)
        for draw, limit in zip(draws, (params.random_rot, params.random_scale, params.random_shift), strict=True)
    )
    factors = np.array(to_xyz((np.where(flips, -1.0, 1.0) / (1 + scales)).tolist()))
    matrix = euler_matrix(angles.tolist()) * factors
    z, y, x = ((size - 1) / 2 for size in grid.size_zyx)
    a, b, c = (float(value) for value in angles)
    elastic = sample_elastic(grid, params.elastic, params.elastic_spacing, rng) if any(params.elastic) else None
    return Augmentation(
        (a, b, c), tuple(matrix.ravel().tolist()), grid.point_xyz((z, y, x)), to_xyz((-shifts).tolist()), elastic
    )


def augment(volume: Volume, transform: Augmentation, *, fill: float | None = None, threads: int = 1) -> Volume:
    """Apply a transform to a volume on its own grid; images by linear interpolation, labels by nearest neighbour.

    Parameters
    ----------
    volume
        Image or label map.
    transform
        The result of `sample_augmentation`, or an `Augmentation` with the values of ``aug_meta.json``.
    fill
        Value outside the source; by default the image's minimum. Always 0 for labels.
    threads
        Threads to use; the result does not depend on it.
    """
    expect(volume, Volume, "augment: volume", "an itkit.Volume")
    expect(transform, Augmentation, "augment: transform", "an Augmentation, as sample_augmentation draws it")
    expect_number(fill, "augment: fill")
    is_label, affine = volume.kind == "label", (transform.matrix_xyz, transform.center_xyz, transform.shift_xyz)
    value = default_fill(volume) if fill is None or is_label else fill
    if transform.elastic is not None:
        return warp(volume, transform.elastic, *affine, fill=value, threads=threads)
    grid = volume.geometry
    matrix, offset = index_affine(grid, grid, *affine)
    sample = affine_nearest if is_label else affine_linear
    return volume.with_array(sample(volume.array_zyx, grid.size_zyx, matrix, offset, fill=value, threads=threads))


def aug_case(case: Case, params: AugParams, context: Context) -> Outcome:
    """Draw the transforms of all copies of a case; each copy is computed when it is written."""
    require_one_grid(case)
    grid = case.grid(case.names[0])
    transforms = [sample_augmentation(grid, params, context.rng(copy)) for copy in range(params.number)]

    notes, warnings = Notes(), list[str]()

    def changed(volume: Volume, transform: Augmentation, copy: int) -> Volume:
        doubts = () if copy else _doubts(volume)
        warnings.extend(text for text in (*doubts, *clamped_fill(params.fill, volume)) if text not in warnings)
        new = augment(volume, transform, fill=params.fill, threads=context.threads)
        if volume.kind == "label":
            new = with_classes(new)
            lost = lost_classes(volume, new)
            notes.add(*([f"label: {describe_classes(lost)} lost in {case.id}_{copy}"] if lost else []))
        return converted(new, params)

    def copies() -> Iterator[Case]:
        for copy, transform in enumerate(transforms):
            yield replace(case.map(partial(changed, transform=transform, copy=copy)), id=f"{case.id}_{copy}")

    facts = {
        f"{case.id}_{copy}": {"source": case.id, "copy": copy, **transform.facts()}
        for copy, transform in enumerate(transforms)
    }
    return Outcome(copies(), facts, warnings, late_warnings=notes)


def _doubts(volume: Volume) -> tuple[str, ...]:
    """Return a warning about a volume that looks as if the folders of images and labels were exchanged."""
    if volume.kind == "label":
        return label_doubts(volume, "are the two folders exchanged?")
    if looks_like_labels(volume.array_zyx):
        return ("the image looks like a label map, and interpolation makes up classes; are the folders exchanged?",)
    return ()


def _folders(params: AugParams) -> dict[str, Path]:
    """Return the output folders that were given."""
    given = {IMAGE: params.dest, LABEL: params.label_dest}
    return {name: folder for name, folder in given.items() if folder is not None}


def plan(params: AugParams) -> Plan:
    """List the pairs of the two folders; images or labels that are not written are not read either."""
    pairs = find_pairs(params.source, params.label_source, recursive=params.recursive)
    folders = _folders(params)
    for folder in folders.values():
        require_destination(folder, params.source, params.label_source)
    first = next(iter(folders.values()))

    def job(case: str, files: Mapping[str, Path]) -> Job:
        read = {name: path for name, path in files.items() if (LABEL if name == LABEL else IMAGE) in folders}
        targets = targets_of(read, folders.get(IMAGE, first), folders.get(LABEL, first), params.ext)
        copies = tuple(f"{case}_{copy}" for copy in range(params.number))
        problem = pairs.images.problems.get(case, "")
        return Job(case, inputs_of(read, pairs.images), targets, copies, problem=problem)

    jobs = tuple(job(case, files) for case, files in pairs.pairs.items())
    described = pairs.images.described
    carries = carry(described, *_datasets(folders))
    return Plan(jobs, pairs.unpaired, first, described.notes, carries=carries)


def _datasets(folders: Mapping[str, Path]) -> list[Path]:
    """Return the parent of the output folders if they are ``image`` and ``label`` of one dataset, else both folders."""
    parents = {folder.absolute().parent for name, folder in folders.items() if folder.name == name}
    is_dataset = folders.keys() == {IMAGE, LABEL} and all(folder.name == name for name, folder in folders.items())
    return list(parents) if is_dataset and len(parents) == 1 else list(folders.values())


def collect(params: AugParams, run: Collected) -> Report:
    """Return ``aug_meta.json`` for every output folder: the transform of each file; files of one copy share it."""
    files = {}
    for kind, folder in _folders(params).items():
        meta = {
            f"{copy}{ending}{params.ext}": facts
            for _, record in sorted(run.all_records.items())
            for copy, facts in record.facts.items()
            for ending in _endings(record, kind)
        }
        files[folder.absolute() / "aug_meta.json"] = json_text(meta, compact_depth=1)
    return Report(files=files)


def _endings(record: Record, kind: str) -> list[str]:
    """Return the endings that follow the case id in the file names of a case's images, or of its label."""
    names = dict.fromkeys(str(output["name"]) for output in record.outputs if "name" in output)
    return [name.removeprefix(kind) for name in names if (name == LABEL) == (kind == LABEL)]


def memory(inputs: Mapping[str, CaseInput], params: AugParams) -> int:
    """Estimate the memory of a case: its volumes, one augmented copy of each, and the elastic field."""
    elastic = (extra_bytes(item, is_label=name == LABEL) for name, item in inputs.items() if any(params.elastic))
    return sum(3 * item.nbytes for item in inputs.values()) + max(elastic, default=0)


OPERATION: Operation[Any] = Operation(
    "itk_aug",
    AugParams,
    plan,
    aug_case,
    collect,
    example="itk_aug raw/image raw/label -oimg aug/image -olbl aug/label -n 3 --random-rot 15 5 5 --mp",
    memory=memory,
    is_random=True,
)
__all__ = ["OPERATION", "AugParams", "Augmentation", "augment", "sample_augmentation"]
