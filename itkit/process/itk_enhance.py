"""``itk_enhance``: change the intensities of images by steps, in the order in which they are given."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field, field_validator, model_validator
from typing_extensions import Self

from itkit.core.errors import GeometryMismatchError, LayoutError, ParamsError
from itkit.core.fields import Advanced, FreeText, Group, PathRole, Pattern, Positional, Short, Steps, Unkeyed
from itkit.core.grids import grid_difference, require_one_grid
from itkit.core.operation import (
    CaseInput,
    Collected,
    Context,
    InputFile,
    Operation,
    Outcome,
    Plan,
    Reads,
    Report,
    Unpaired,
)
from itkit.core.params import VolumeExtension
from itkit.core.text import counted
from itkit.core.volume import Case, Volume, VolumesOnDemand, is_image
from itkit.io.layouts import IMAGE, LABEL, find_volumes, require_destination, require_folder
from itkit.process.common import OutputParams, case_meta
from itkit.process.enhancing import KINDS, OF_FILES, Setting, canonical, enhance, enhanced, foreground_numbers
from itkit.process.lost import Notes
from itkit.process.plans import carry, find_cases

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAME = "itk_enhance"
_MASK = "mask"
_WORDS = ("nonzero", LABEL, "body")
_STATISTICS, _ZSCORE = "statistics", "normalize zscore"
_Percent = Annotated[float, Field(ge=0, le=100)]
_STEP = f"^({'|'.join(KINDS)})( .*)?$"


def _text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


class EnhanceParams(OutputParams):
    """Change the intensities of images by steps, in the order of the options; the grid and the labels stay."""

    source: Annotated[Path, PathRole("in_folder", "dataset"), Positional("source")]
    """Folder of images, or a dataset (image/ and label/); labels are copied."""
    dest: Annotated[Path, PathRole("out_folder"), Positional("dest")]
    """Folder to write."""
    steps: Annotated[tuple[Annotated[str, Pattern(_STEP)], ...], Steps(KINDS)] = ()
    """Steps in order, e.g. "clip -160 240", "normalize zscore"; on the command line, each is an option."""
    within: Annotated[str | None, FreeText("body"), BeforeValidator(_text)] = None
    """Voxels that normalize and n4 look at: nonzero, label (above 0), body, or a folder of masks (default: all)."""
    percentiles: Annotated[tuple[_Percent, _Percent], Group("Numbers")] = (0.5, 99.5)
    """Percentiles that become 0 and 1 with normalize percentile."""
    match_levels: Annotated[int, Field(ge=2, le=65536), Group("Numbers"), Advanced()] = 256
    """Levels of the histograms that are matched."""
    match_points: Annotated[int, Field(ge=1, le=1000), Group("Numbers"), Advanced()] = 1
    """Quantiles at which the histograms are matched."""
    recursive: Annotated[bool, Short("-r"), Unkeyed()] = False
    """Search sub-folders."""
    ext: Annotated[VolumeExtension, Group("Output")] = ".mha"
    """Format of the output files."""

    @field_validator("steps")
    @classmethod
    def _steps_are_clear(cls, steps: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(canonical, steps))

    @model_validator(mode="after")
    def _steps_go_together(self) -> Self:
        if not self.steps:
            raise ValueError(f"nothing to do: give at least one step ({', '.join(f'--{name}' for name in KINDS)})")
        if self.percentiles[0] >= self.percentiles[1]:
            raise ValueError(f"--percentiles: expected LO < HI; got {self.percentiles[0]:g} {self.percentiles[1]:g}")
        given = [step for step in self.steps if step.startswith("normalize")]
        if any(step.startswith(_STATISTICS) for step in self.steps) and any(step != _ZSCORE for step in given):
            raise ValueError("--statistics normalizes by mean and standard deviation; drop the other --normalize")
        return self

    @property
    def done(self) -> tuple[str, ...]:
        """The steps that are done: ``normalize zscore`` beside ``statistics`` says the same once more."""
        has_statistics = any(step.startswith(_STATISTICS) for step in self.steps)
        return tuple(step for step in self.steps if not (has_statistics and step == _ZSCORE))

    @property
    def files(self) -> dict[str, Path]:
        """The files that steps name, by the text in the step."""
        parts = (step.partition(" ") for step in self.steps)
        return {rest: Path(rest) for name, _, rest in parts if name in OF_FILES}

    @property
    def mask_folder(self) -> Path | None:
        """The folder of masks, if ``within`` names one."""
        return None if self.within is None or self.within in _WORDS else Path(self.within)

    def absolute(self) -> Self:
        """Return the same parameters with absolute paths."""
        parts = (step.partition(" ") for step in self.steps)
        steps = tuple(
            f"{name} {Path(rest).absolute()}" if name in OF_FILES else f"{name}{gap}{rest}" for name, gap, rest in parts
        )
        within = self.within if self.mask_folder is None else str(self.mask_folder.absolute())
        return super().absolute().model_copy(update={"steps": steps, "within": within})

    def content_key(self, **more: Any) -> str:
        """Return a digest of all parameters that affect the content of outputs; a job knows what files hold."""
        if not self.files and self.mask_folder is None:
            return super().content_key(**more)
        steps = tuple(step.partition(" ")[0] if step.startswith(OF_FILES) else step for step in self.steps)
        within = self.within if self.mask_folder is None else "folder"
        return super(EnhanceParams, self.model_copy(update={"steps": steps, "within": within})).content_key(**more)


def enhance_case(case: Case, params: EnhanceParams, context: Context) -> Outcome:
    """Change the images of a case; each is made when it is written, and notes its numbers then."""
    require_one_grid(case)
    names = [name for name in case.names if name != LABEL]
    setting = Setting(
        params.percentiles,
        params.match_levels,
        params.match_points,
        {text: case.volumes[name] for text, name in case.details.references.items()} if case.details.references else {},
        spacing_zyx=case.grid(names[0]).spacing_zyx,
        threads=context.threads,
    )
    shared = None if params.within in (None, "nonzero") else _mask(case, params.within or "", names[0])
    facts: dict[str, Any] = {"steps": [], "clamped": 0}
    notes = Notes()

    def one(name: str) -> Volume:
        volume = case.volumes[name]
        if name == LABEL:
            return volume
        return _enhanced(name, volume, params, setting, shared, case.details, facts, notes)

    made = VolumesOnDemand({name: partial(one, name) for name in case.names})
    return Outcome((replace(case, volumes=made, grids={}),), facts, late_warnings=notes)


def _enhanced(
    name: str,
    volume: Volume,
    params: EnhanceParams,
    setting: Setting,
    shared: NDArray[np.bool_] | None,
    known: _Known,
    facts: dict[str, Any],
    notes: Notes,
) -> Volume:
    """Change one file of a case, channel by channel, and note the numbers of its steps."""
    channel = name.removeprefix(IMAGE).lstrip("_")
    is_vector = volume.array_zyx.ndim == 4
    count = volume.array_zyx.shape[3] if is_vector else 1
    arrays = []
    for number in range(count):
        label = channel if not is_vector else known.channel(number)
        array = np.ascontiguousarray(volume.array_zyx[..., number]) if is_vector else volume.array_zyx
        mask = array != 0 if params.within == "nonzero" else shared
        own = replace(setting, foreground=known.foreground.get(label, known.foreground.get("", {})))
        image, steps = enhanced(volume.with_array(array), params.done, mask=mask, setting=own)
        dtype = params.dtype or ("float32" if image.array.dtype.kind == "f" else None)
        if dtype is None:
            arrays.append(image.voxels())
        else:
            converted, clamped = image.in_type(dtype)
            arrays.append(converted)
            facts["clamped"] += clamped
            if clamped:
                notes.add(f"{name}: {counted(clamped, 'voxel')} lie outside {dtype} and were clamped")
        if label:
            facts["steps"] = {**(facts["steps"] or {}), label: steps}
        else:
            facts["steps"] = steps
    facts["dtype"] = arrays[0].dtype.name
    return volume.with_array(np.stack(arrays, axis=-1) if is_vector else arrays[0])


def _mask(case: Case, within: str, first: str) -> NDArray[np.bool_]:
    """Return the voxels from which statistics come, for all channels of a case."""
    if within == "body":
        from itkit.process.body import body_mask

        return np.asarray(body_mask(case.volumes[first]).array_zyx > 0)
    name = LABEL if within == LABEL else _MASK
    volume = case.volumes[name]
    reason = grid_difference(case.grid(first), volume.geometry, first, name)
    if reason:
        raise GeometryMismatchError(f"{reason}; resample the {name} with itk_resample --target-folder")
    return np.asarray(volume.array_zyx > 0)


class _Known:
    """What the plan knows beside the files: the statistics' numbers, names of channels, inputs of references."""

    def __init__(
        self, foreground: Mapping[str, Mapping[str, float]], channels: tuple[str, ...], references: Mapping[str, str]
    ) -> None:
        self.foreground, self.channels, self.references = foreground, channels, references

    def channel(self, number: int) -> str:
        """Return the name of a channel of a vector file."""
        return self.channels[number] if number < len(self.channels) else str(number)


def plan(params: EnhanceParams) -> Plan:
    """List the cases, with the masks and references that they need.

    Raises
    ------
    LayoutError
        When a folder is missing, or there are no labels although statistics come from them.
    ParamsError
        When a file that a step names can't be used.
    """
    source = require_folder(params.source)
    require_destination(params.dest, source)
    found = find_cases(source, params.dest, params.ext, recursive=params.recursive)
    described, unpaired = found.described, found.unpaired
    if params.within == LABEL and not all(LABEL in job.inputs for job in found.jobs):
        raise LayoutError(f"--within {LABEL}: {source} has no folder {LABEL}; give a folder of masks, or a dataset")
    channels = () if described.meta is None else described.meta.channels
    foreground: dict[str, dict[str, float]] = {}
    references: dict[str, str] = {}
    for step in params.done:
        name, _, rest = step.partition(" ")
        if name in OF_FILES and not Path(rest).is_file():
            raise ParamsError(f"--{name}: there is no file {rest}")
        if name == _STATISTICS:
            foreground = {channel: foreground_numbers(Path(rest), channel) for channel in ("", *channels)}
        elif name == "match":
            references[rest] = f"reference{len(references)}"
    known = _Known(foreground, channels, references)
    stamp = hashlib.sha256(json.dumps(foreground, sort_keys=True).encode()).hexdigest()[:16] if foreground else ""
    masks = (
        None
        if params.mask_folder is None
        else find_volumes(require_folder(params.mask_folder, "--within"), recursive=params.recursive)
    )
    jobs = []
    for job in found.jobs:
        more = {name: InputFile(Path(text), "image") for text, name in references.items()}
        if masks is not None:
            if job.case_id not in masks:
                first = next(iter(job.inputs.values()))
                unpaired += (Unpaired(job.case_id, first.path, f"mask in {params.within}"),)
                continue
            more[_MASK] = InputFile(masks[job.case_id], "label")
        jobs.append(replace(job, inputs={**job.inputs, **more}, details=known, stamp=stamp))
    return Plan(tuple(jobs), unpaired, params.dest, described.notes, carries=carry(described, params.dest))


def collect(params: EnhanceParams, run: Collected) -> Report:
    """Return ``enhance_meta.json``."""
    return Report(files=case_meta("enhance_meta.json", _NAME, params, run))


def reads(params: EnhanceParams) -> Reads:
    """Return whether one volume at a time is enough: a mask is needed with every channel."""
    return "one by one" if params.within in (None, "nonzero") else "voxels"


def memory(inputs: Mapping[str, CaseInput], params: EnhanceParams) -> int:
    """Estimate the memory of a case: its volumes, their results, and what filters need."""
    voxels = max((math.prod(item.geometry.size_zyx) for item in inputs.values()), default=0)
    names = {step.partition(" ")[0] for step in params.done}
    per_voxel = 12 + (24 if names & {"n4", "denoise", "match", "equalize"} else 0) + (16 if params.within else 0)
    images = sum(name != LABEL and is_image(name) for name in inputs)
    return sum(2 * item.nbytes for item in inputs.values()) + voxels * (per_voxel + 4 * images)


OPERATION: Operation[Any] = Operation(
    _NAME,
    EnhanceParams,
    plan,
    enhance_case,
    collect,
    example="itk_enhance raw enhanced --clip -160 240 --normalize zscore --within body --mp",
    memory=memory,
    reads=reads,
)
__all__ = ["OPERATION", "EnhanceParams", "enhance"]
