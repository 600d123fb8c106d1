"""``itk_crop``: cut cases to a box around the body, a label or what is not 0; and put results back on their grids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import model_validator
from typing_extensions import Self

from itkit.core.classes import ClassWords, chosen_classes
from itkit.core.dataset_meta import DatasetMeta
from itkit.core.errors import GeometryMismatchError, LabelError, LayoutError, ParamsError
from itkit.core.fields import Bounds, Group, PathRole, Positional, Short, Unbounded, Unit, Unkeyed
from itkit.core.geometry import by
from itkit.core.grids import grid_difference, require_one_grid
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
    Unpaired,
)
from itkit.core.params import PatchZyx, ThreeZyx, VolumeExtension
from itkit.core.text import some
from itkit.core.volume import Case, Volume
from itkit.io.dataset_meta import FoundMeta
from itkit.io.json_files import read_json
from itkit.io.layouts import IMAGE, LABEL, find_description, find_volumes, require_destination, require_folder
from itkit.kernels.kinds import looks_like_image
from itkit.process.common import (
    OutputParams,
    ReportFile,
    clamped_fill,
    converted,
    label_doubts,
    sidecar,
    with_page,
)
from itkit.process.crops import CropBox, crop_box, cut_out, left_outside, paste_back
from itkit.process.lost import describe_classes
from itkit.process.plans import carry, find_cases, single_jobs

_NAME = "itk_crop"
BOXES = "crop_boxes.json"
_MASK = "mask"
Goal = Literal["foreground", "body", "label", "nonzero"]
_OF_LABELS = ("foreground", "label")


class CropParams(OutputParams):
    """Cut images and labels to one box per case; every voxel keeps its physical point."""

    source: Annotated[Path, PathRole("in_folder", "dataset"), Positional("source")]
    """Dataset, or a folder of images; with --to foreground or label, a folder without image/ holds label maps."""
    dest: Annotated[Path, PathRole("out_folder"), Positional("dest")]
    """Folder to write."""
    to: Annotated[Goal | None, Group("Box")] = None
    """What the box holds: label > 0 (foreground), the classes of --labels, the patient, or voxels that are not 0."""
    labels: Annotated[ClassWords, Group("Box")] = ()
    """Classes that the box holds, by name or value (default: all but 0)."""
    box_from: Annotated[Path | None, PathRole("in_folder"), Group("Box")] = None
    """Folder of masks on the images' grids, or a result of itk_crop with its boxes; instead of --to."""
    margin_mm: Annotated[ThreeZyx, Unit("mm"), Bounds(least=0), Group("Box")] = (0.0, 0.0, 0.0)
    """Margin on both sides, rounded to the nearest number of voxels; it ends at the edge of the image."""
    multiple_of: Annotated[PatchZyx, Group("Box")] = (1, 1, 1)
    """The size becomes a multiple of this: grown inside the image, padded only where the image is too short."""
    min_size: Annotated[PatchZyx, Group("Box")] = (1, 1, 1)
    """Least size: grown inside the image, padded only where the image is too short."""
    fill: Annotated[float | None, Unbounded("a value of the image's own scale"), Group("Output")] = None
    """Value of padding (default: the image's minimum; labels get 0)."""
    paste_back: Annotated[Path | None, PathRole("in_file"), Group("Box")] = None
    """crop_boxes.json of an earlier run: put the source's volumes back on their original grids, instead of --to."""
    recursive: Annotated[bool, Short("-r"), Unkeyed()] = False
    """Search sub-folders."""
    ext: Annotated[VolumeExtension, Group("Output")] = ".mha"
    """Format of the output files."""
    report: ReportFile = None
    """Write a page with pictures and numbers of the cases to this .html file."""

    @model_validator(mode="after")
    def _one_source_of_boxes(self) -> Self:
        given = [name for name in ("to", "box_from", "paste_back") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(f"--{name.replace('_', '-')}" for name in given) or "none of them"
            raise ValueError(f"give one of --to, --box-from and --paste-back; got {found}")
        if self.labels and (self.to not in (None, "label") or self.paste_back is not None):
            raise ValueError("--labels only matters with --to label or --box-from; drop it")
        if self.paste_back is not None and self.grows:
            raise ValueError("--paste-back takes the boxes as they are: drop --margin-mm, --multiple-of, --min-size")
        return self

    @property
    def grows(self) -> bool:
        """Whether a box would be grown."""
        fields = type(self).model_fields
        return any(getattr(self, name) != fields[name].default for name in ("margin_mm", "multiple_of", "min_size"))


@dataclass(frozen=True)
class _Details:
    """What the plan knows about a case: the classes that were asked for, and the box if it is given."""

    classes: tuple[int, ...] = ()
    box: CropBox | None = None
    problem: str = ""


def crop_case(case: Case, params: CropParams, context: Context) -> Outcome:
    """Cut one case to its box, or paste it back."""
    del context
    require_one_grid(case)
    details = case.details if isinstance(case.details, _Details) else _Details()
    if details.problem:
        raise LabelError(details.problem)
    kept = replace(case, volumes={name: case.volumes[name] for name in case.names})
    if params.paste_back is not None:
        assert details.box is not None
        return _pasted(kept, details.box, params)
    box = _box_of(case, params, details)
    new = kept.map(lambda volume: converted(cut_out(volume, box, fill=params.fill), params))
    warnings = [
        text for volume in kept.volumes.values() if any(box.padded_zyx) for text in clamped_fill(params.fill, volume)
    ]
    if LABEL in kept.volumes:
        if len(kept.volumes) == 1:
            warnings += label_doubts(kept.volumes[LABEL], "--to body or nonzero takes images")
        cut = left_outside(kept.volumes[LABEL].array_zyx, box)
        if cut:
            warnings.append(f"label: left outside the box: {describe_classes(cut)}")
    return Outcome((new,), box.as_facts(), tuple(dict.fromkeys(warnings)))


def _box_of(case: Case, params: CropParams, details: _Details) -> CropBox:
    """Return the box of a case, from its own volumes, a mask, or an earlier run."""
    grid = case.grid(case.names[0])
    if details.box is not None:
        if details.box.source_zyx != grid.size_zyx:
            sizes = f"{by(details.box.source_zyx)} and {by(grid.size_zyx)}"
            raise GeometryMismatchError(f"the box and the case are of volumes of {sizes} voxels ZYX")
        return details.box
    if params.box_from is not None:
        mask = case.volumes[_MASK]
        reason = grid_difference(grid, mask.geometry, case.names[0], "mask")
        if reason:
            raise GeometryMismatchError(f"{reason}; resample the mask with itk_resample --target-folder")
        array, what = _of_classes(mask, details.classes), f"the mask in {params.box_from.name}"
    else:
        array, what = _GOALS[params.to or "foreground"](case, details.classes)
    try:
        return crop_box(
            array,
            grid.spacing_zyx,
            margin_mm=params.margin_mm,
            multiple_of=params.multiple_of,
            min_size=params.min_size,
        )
    except LabelError as error:
        raise LabelError(f"nothing to crop to: {what} is empty{_sought(details.classes)}") from error


def _sought(classes: tuple[int, ...]) -> str:
    return f" (classes {some(map(str, classes))})" if classes else ""


def _of_classes(label: Volume, classes: tuple[int, ...]) -> Any:
    import numpy as np

    return np.isin(label.array_zyx, classes) if classes else label.array_zyx != 0


def _foreground(case: Case, classes: tuple[int, ...]) -> tuple[Any, str]:
    del classes
    return case.volumes[LABEL].array_zyx > 0, "the label"


def _label(case: Case, classes: tuple[int, ...]) -> tuple[Any, str]:
    return _of_classes(case.volumes[LABEL], classes), "the label"


def _nonzero(case: Case, classes: tuple[int, ...]) -> tuple[Any, str]:
    from itkit.process.presegmentation import nonzero_mask, union_of_channels

    del classes
    images = [case.volumes[name] for name in case.names if name != LABEL]
    return nonzero_mask(union_of_channels(images)), "the image"


def _body(case: Case, classes: tuple[int, ...]) -> tuple[Any, str]:
    from itkit.process.body import body_mask

    del classes
    return body_mask(case.volumes[case.names[0]], with_air=False).array_zyx, "the body"


_GOALS: Mapping[str, Callable[[Case, tuple[int, ...]], tuple[Any, str]]] = {
    "foreground": _foreground,
    "label": _label,
    "nonzero": _nonzero,
    "body": _body,
}


def _pasted(case: Case, box: CropBox, params: CropParams) -> Outcome:
    def back(volume: Volume) -> Volume:
        fill = params.fill
        if fill is None and volume.dtype.kind in "iu" and not looks_like_image(volume.array_zyx):
            fill = 0.0  # a label map in a flat folder
        return converted(paste_back(volume, box, fill=fill), params)

    return Outcome((case.map(back),), box.as_facts())


def plan(params: CropParams) -> Plan:
    """List the cases of the source, with the masks or boxes that belong to them."""
    source, dest = require_folder(params.source), params.dest
    sources = [source] if params.box_from is None else [source, require_folder(params.box_from, "--box-from")]
    require_destination(dest, *sources)
    found = find_cases(source, dest, params.ext, recursive=params.recursive)
    jobs, unpaired, described = found.jobs, found.unpaired, found.described
    if params.to in _OF_LABELS and not any(LABEL in job.inputs for job in jobs):
        if found.is_dataset:
            raise LayoutError(f"{source} has no folder {LABEL}; --to {params.to} needs it: take --to body or nonzero")
        volumes = find_volumes(source, recursive=params.recursive)
        jobs, unpaired, described = tuple(single_jobs(volumes, dest, params.ext, "label")), (), find_description(source)
    classes = _classes(params, described)
    if params.paste_back is not None:
        jobs = _with_boxes(jobs, _read_boxes(params.paste_back, "--paste-back"))
    elif params.box_from is not None and (params.box_from / BOXES).is_file():
        _refuse_growth(params)
        jobs = _with_boxes(jobs, _read_boxes(params.box_from / BOXES, "--box-from"))
    elif params.box_from is not None:
        jobs, lone = _with_masks(jobs, params.box_from, classes, recursive=params.recursive)
        unpaired = (*unpaired, *lone)
    elif classes:
        jobs = tuple(replace(job, details=_Details(classes), stamp=str(classes)) for job in jobs)
    meta = described.meta or DatasetMeta({})
    return Plan(jobs, tuple(unpaired), dest, described.notes, meta, carry(described, dest))


def _refuse_growth(params: CropParams) -> None:
    """Refuse options that would change boxes that are given.

    Raises
    ------
    ParamsError
        When there is one.
    """
    if params.grows or params.labels:
        raise ParamsError(
            f"--box-from {params.box_from}: its {BOXES} gives the boxes as they are: "
            "drop --labels, --margin-mm, --multiple-of, --min-size"
        )


def _classes(params: CropParams, described: FoundMeta) -> tuple[int, ...]:
    known = described
    if params.box_from is not None and params.labels:
        known = find_description(params.box_from)
    return tuple(chosen_classes(params.labels, known.labels))


def _read_boxes(path: Path, option: str) -> Mapping[str, Any]:
    """Return the entries of a ``crop_boxes.json``.

    Raises
    ------
    ParamsError
        When it can't be read, or is not an object.
    """
    found = read_json(path)
    if not isinstance(found, Mapping):
        raise ParamsError(f"{option} {path}: expected the {BOXES} of an earlier run; it can't be read as one")
    return found


def _with_boxes(jobs: Sequence[Job], boxes: Mapping[str, Any]) -> tuple[Job, ...]:
    """Give each job its box; a case without a valid one fails."""

    def with_box(job: Job) -> Job:
        if job.case_id not in boxes:
            return replace(job, details=_Details(problem=f"{BOXES} has no box of this case"), stamp="none")
        try:
            box = CropBox.from_facts(boxes[job.case_id])
        except ValueError as error:
            return replace(job, details=_Details(problem=f"{BOXES}: {error}"), stamp="none")
        return replace(job, details=_Details(box=box), stamp=repr(box))

    return tuple(map(with_box, jobs))


def _with_masks(
    jobs: Sequence[Job], folder: Path, classes: tuple[int, ...], *, recursive: bool
) -> tuple[tuple[Job, ...], list[Unpaired]]:
    """Give each job its mask; cases and masks without a partner are named."""
    inside = folder / LABEL if (folder / LABEL).is_dir() else folder
    masks = find_volumes(inside, recursive=recursive)
    with_mask = tuple(
        replace(
            job,
            inputs={**job.inputs, _MASK: InputFile(masks[job.case_id], "label")},
            details=_Details(classes),
            stamp=str(classes),
        )
        for job in jobs
        if job.case_id in masks
    )
    known = {job.case_id for job in jobs}
    lone = [
        Unpaired(job.case_id, next(iter(job.inputs.values())).path, "mask in --box-from")
        for job in jobs
        if job.case_id not in masks
    ]
    lone += [Unpaired(case, path, IMAGE) for case, path in masks.items() if case not in known]
    return with_mask, lone


def collect(params: CropParams, run: Collected) -> Report:
    """Return ``crop_boxes.json`` and ``crop_configs.json``, after pasting back only the second; and the page."""

    def page() -> str:
        from itkit.report.cropping import crop_page

        return crop_page(run, is_pasted=params.paste_back is not None, modality=run.plan.details.modality)

    files: dict[Path, Any] = sidecar("crop_configs.json", _NAME, params, run)
    if params.paste_back is None:
        files[Path(BOXES)] = {case: dict(record.facts) for case, record in sorted(run.all_records.items())}
    return with_page(Report(files=files), params.report, page)


def memory(inputs: Mapping[str, CaseInput], params: CropParams) -> int:
    """Estimate the memory of a case: its voxels before and after, and a mask."""
    both = sum(5 * item.nbytes // 2 for item in inputs.values())
    return both + max((item.nbytes for item in inputs.values()), default=0)


OPERATION: Operation[Any] = Operation(
    _NAME,
    CropParams,
    plan,
    crop_case,
    collect,
    example="itk_crop raw cropped --to body --margin-mm 5 5 5 --mp",
    memory=memory,
)
