"""``itk_postprocess``: clean label maps by fixed rules, or learn on a validation set which rule helps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, model_validator
from typing_extensions import Self

from itkit.core.classes import ClassWords, chosen_classes
from itkit.core.errors import GeometryMismatchError
from itkit.core.fields import Alone, Bounds, Group, OnlyWith, Parts, PathRole, Positional, Short, Unit, Unkeyed
from itkit.core.grids import grid_difference
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
from itkit.core.params import Params, VolumeExtension
from itkit.core.text import some
from itkit.core.version import VERSION
from itkit.core.volume import Case
from itkit.io.dataset_meta import FoundMeta
from itkit.io.layouts import LABEL, find_description, find_volumes, require_destination, require_folder
from itkit.process.common import case_meta, label_doubts
from itkit.process.learning import learned_steps, scores
from itkit.process.plans import carry, single_jobs
from itkit.process.postprocessing import Steps, counts_of, postprocess

_NAME = "itk_postprocess"
LEARNED = "postprocess.json"
_MASK, _REFERENCE = "mask", "reference"
_ALL, _NONE = "all", "none"
_HELPS_NONE = "keeping the largest component helps no class"
_UNITS = {"min-volume": "min-volume-ml", "closing": "closing-mm", "opening": "opening-mm", "smooth": "smooth-mm"}
"""The option of each step that is not called as the step is."""
StepName = Literal[
    "largest-foreground", "largest", "min-volume", "fill-holes", "closing", "opening", "smooth", "inside"
]
STEPS: tuple[StepName, ...] = get_args(StepName)
"""Names of the steps, in the order in which they come by default."""


def _as_steps(value: object) -> object:
    """Take the name of an option for that of its step, too."""
    steps = {option: step for step, option in _UNITS.items()}
    if isinstance(value, (list, tuple)):
        return tuple(steps.get(word, word) if isinstance(word, str) else word for word in value)
    return value


class PostprocessParams(Params):
    """Clean label maps: largest components, small parts, holes, gaps, thin parts, rough surfaces, what lies outside."""

    source: Annotated[Path, PathRole("in_folder"), Positional("source")]
    """Folder of label maps, or a dataset: then its labels."""
    dest: Annotated[Path, PathRole("out_folder"), Positional("dest")]
    """Folder to write; the label maps of a dataset go to its sub-folder label."""
    largest_foreground: Annotated[bool, Group("Steps")] = False
    """Keep the largest component of all classes together, before --largest."""
    largest: Annotated[ClassWords | None, Parts(("[LABEL ...]",)), Alone(_ALL), Group("Steps")] = None
    """Keep the largest component of these classes, by name or value; alone: of every class. none: of no class."""
    together: Annotated[bool, OnlyWith("largest"), Group("Steps")] = False
    """Keep the largest component of the union of the classes instead of each class."""
    min_volume_ml: Annotated[Annotated[float, Unit("ml"), Bounds(above=0)] | None, Group("Steps")] = None
    """Remove smaller components of each class."""
    fill_holes: Annotated[bool, Group("Steps")] = False
    """Fill the background that a class encloses."""
    closing_mm: Annotated[Annotated[float, Unit("mm"), Bounds(above=0)] | None, Group("Steps")] = None
    """Close the gaps of each class with a ball of this radius; only background is claimed."""
    opening_mm: Annotated[Annotated[float, Unit("mm"), Bounds(above=0)] | None, Group("Steps")] = None
    """Remove what is thinner than a ball of this radius."""
    smooth_mm: Annotated[Annotated[float, Unit("mm"), Bounds(above=0)] | None, Group("Steps")] = None
    """Give every voxel the class of most voxels in a ball of this radius; a class that would vanish stays."""
    inside: Annotated[Path | None, PathRole("in_folder"), Group("Steps")] = None
    """Folder of masks on the same grids: set what lies outside to background."""
    order: Annotated[tuple[StepName, ...], BeforeValidator(_as_steps), Group("Steps")] = ()
    """Order of the steps that are given, if not that of this list; a step is called as its option is."""
    learn: Annotated[Path | None, PathRole("in_folder"), Group("Learning")] = None
    """Folder of reference labels, or a dataset: find whether the mean Dice rises when only the largest component of all
    classes together, or of a class, is kept; write postprocess.json for --config instead of label maps."""
    recursive: Annotated[bool, Short("-r"), Unkeyed()] = False
    """Search sub-folders."""
    ext: Annotated[VolumeExtension, Group("Output")] = ".mha"
    """Format of the output files."""

    @model_validator(mode="after")
    def _steps_are_clear(self) -> Self:
        given = self.given
        if self.largest == ():
            raise ValueError(f"--largest: expected classes, {_ALL} or {_NONE}")
        if self.learn is not None and (given or self.order):
            raise ValueError(f"--learn tries the largest components itself: drop {_options(given) or '--order'}")
        if self.learn is None and not given:
            raise ValueError(f"nothing to do: give a step ({_options(STEPS)}) or --learn")
        if self.order and sorted(self.order) != sorted(given):
            raise ValueError(f"--order: expected each given step once ({' '.join(given)}); got {' '.join(self.order)}")
        return self

    @property
    def given(self) -> tuple[StepName, ...]:
        """Names of the steps that are given, in the default order."""
        values = (
            self.largest_foreground or None, self.largest, self.min_volume_ml, self.fill_holes or None,
            self.closing_mm, self.opening_mm, self.smooth_mm, self.inside,
        )  # fmt: skip
        return tuple(name for name, value in zip(STEPS, values, strict=True) if value is not None)


def _options(steps: tuple[StepName, ...]) -> str:
    return ", ".join(f"--{_UNITS.get(step, step)}" for step in steps)


def postprocess_case(case: Case, params: PostprocessParams, context: Context) -> Outcome:
    """Clean one label map, or measure what keeping largest components would change."""
    del context
    label = case.volumes[LABEL]
    for name in (_MASK, _REFERENCE):
        if name in case.volumes:
            reason = grid_difference(label.geometry, case.volumes[name].geometry, "label", name)
            if reason:
                raise GeometryMismatchError(f"{reason}; resample one of them with itk_resample --target-folder")
    if params.learn is not None:
        return Outcome(facts={"dice": scores(label.array_zyx, case.volumes[_REFERENCE].array_zyx)})
    steps = Steps(
        classes=case.details,
        together=params.together,
        min_volume_ml=params.min_volume_ml,
        closing_mm=params.closing_mm,
        opening_mm=params.opening_mm,
        smooth_mm=params.smooth_mm,
        inside=case.volumes[_MASK].array_zyx if _MASK in case.volumes else None,
        order=params.order or params.given,
    )
    new, notes = postprocess(label, steps)
    doubts = label_doubts(label, "give the folder of the labels")
    return Outcome((Case(case.id, {LABEL: new}),), counts_of(label, new), (*doubts, *notes))


def plan(params: PostprocessParams) -> Plan:
    """List the label maps of the source, with their masks or references."""
    source, dest = _labels_in(params.source, "source"), params.dest
    partners = {_MASK: (params.inside, "--inside"), _REFERENCE: (params.learn, "--learn")}
    folders = {name: _labels_in(folder, option) for name, (folder, option) in partners.items() if folder is not None}
    require_destination(dest, params.source, *folders.values())
    into = dest / LABEL if source != params.source else dest
    described = find_description(params.source)
    jobs: tuple[Job, ...] = tuple(
        single_jobs(find_volumes(source, recursive=params.recursive), into, params.ext, "label")
    )
    classes = _classes(params, described)
    jobs = tuple(replace(job, details=classes, stamp=str(classes)) for job in jobs)
    unpaired: list[Unpaired] = []
    for name, folder in folders.items():
        jobs, lone = _paired(jobs, name, find_volumes(folder, recursive=params.recursive))
        unpaired += lone
    if params.learn is not None:
        jobs = tuple(replace(job, targets={}, stamp="learn") for job in jobs)
        learned = (dest / LEARNED,)
        return Plan(jobs, tuple(unpaired), dest, described.notes, details=described.labels, writes=learned)
    return Plan(jobs, tuple(unpaired), dest, described.notes, carries=carry(described, dest))


def _labels_in(folder: Path, what: str) -> Path:
    """Return the folder of the label maps: the folder itself, or ``label`` of a dataset."""
    require_folder(folder, what)
    return folder / LABEL if (folder / LABEL).is_dir() else folder


def _classes(params: PostprocessParams, described: FoundMeta) -> tuple[int, ...] | None:
    """Return the classes of which the largest component is kept; ``None`` for all."""
    words = params.largest
    if words is None or words == (_NONE,):
        return ()
    return None if words == (_ALL,) else tuple(chosen_classes(words, described.labels, option="--largest"))


def _paired(jobs: tuple[Job, ...], name: str, files: Mapping[str, Path]) -> tuple[tuple[Job, ...], list[Unpaired]]:
    """Give each job its partner; cases and partners that are alone are named."""
    known = {job.case_id for job in jobs}
    lone = [Unpaired(job.case_id, job.inputs[LABEL].path, name) for job in jobs if job.case_id not in files]
    lone += [Unpaired(case, path, LABEL) for case, path in files.items() if case not in known]
    paired = tuple(
        replace(job, inputs={**job.inputs, name: InputFile(files[job.case_id], "label")})
        for job in jobs
        if job.case_id in files
    )
    return paired, lone


def collect(params: PostprocessParams, run: Collected) -> Report:
    """Return ``postprocess_meta.json``; after learning, ``postprocess.json``."""
    if params.learn is None:
        seen = {int(value) for record in run.all_records.values() for value in record.facts}
        wanted: tuple[int, ...] = next((job.details for job in run.plan.jobs), ()) or ()
        absent = [str(value) for value in wanted if value not in seen]
        lines = (f"warning: no label map holds class {some(absent)} of --largest",) if absent and seen else ()
        return Report(lines, files=case_meta("postprocess_meta.json", _NAME, params, run))
    learned = learned_steps({case: record.facts["dice"] for case, record in sorted(run.all_records.items())})
    chosen = [str(value) for value in learned.kept]
    steps: dict[str, Any] = {"largest": chosen or [_NONE]}
    if learned.foreground["is_kept"]:
        steps = {"largest_foreground": True, **({"largest": chosen} if chosen else {})}
    value = {
        "operation": _NAME,
        "itkit": VERSION,
        "params": steps,
        "foreground": learned.foreground,
        "learned": {str(value): means for value, means in learned.classes.items()},
        "cases": len(run.all_records),
    }
    names: Mapping[int, str] = run.plan.details or {}
    helped = ["all classes together"] if learned.foreground["is_kept"] else []
    helped += [names.get(int(word), word) for word in chosen]
    found = f"keeping the largest component helps {some(helped, 30)}" if helped else _HELPS_NONE
    return Report((f"learned from {len(run.all_records)} cases: {found}",), files={Path(LEARNED): value})


def memory(inputs: Mapping[str, CaseInput], params: PostprocessParams) -> int:
    """Estimate the memory of a case: the label maps before and after, components, counts within a ball."""
    label = inputs.get(LABEL)
    voxels = 0
    if label is not None:
        z, y, x = label.geometry.size_zyx
        voxels = z * y * x
    return sum(3 * item.nbytes for item in inputs.values()) + voxels * (16 if params.smooth_mm is not None else 6)


OPERATION: Operation[Any] = Operation(
    _NAME,
    PostprocessParams,
    plan,
    postprocess_case,
    collect,
    example="itk_postprocess predictions cleaned --largest liver spleen --fill-holes --mp",
    memory=memory,
)
