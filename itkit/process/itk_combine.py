"""``itk_combine``: merge the label maps of several sources, by rules or by the agreement of raters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import model_validator
from typing_extensions import Self

from itkit.core.dataset_meta import DatasetMeta
from itkit.core.fields import FreeText, Group, PathRole, Pattern, Short, Unkeyed
from itkit.core.operation import CaseInput, Collected, Context, InputFile, Job, Operation, Outcome, Plan, Report, Target
from itkit.core.params import Params, VolumeExtension
from itkit.core.text import counted, did_you_mean, some
from itkit.core.volume import Case, Volume
from itkit.io.dataset_meta import FoundMeta
from itkit.io.layouts import LABEL, find_description, require_destination
from itkit.process.combining import Fusion, Rule, combine_labels, fuse_labels
from itkit.process.common import case_meta
from itkit.process.itk_resample import resample
from itkit.process.lost import Notes, describe_classes, lost_classes
from itkit.process.plans import carry, find_many, label_folder

_NAME = "itk_combine"
_GROUP_AND_RESULT_BYTES = 8
_SOURCE = r"[^=:,\s]+=.+"
_RULE = re.compile(r"([^=:,\s]+):(-?\d{1,19}(?:,-?\d{1,19})*)->(-?\d{1,19})")


class CombineParams(Params):
    """Merge label maps of several sources by case id: the first rule that claims a voxel wins, or raters agree."""

    inputs: Annotated[tuple[Annotated[str, Pattern(f"^{_SOURCE}$")], ...], Short("-i"), Unkeyed()]
    """Sources, each NAME=FOLDER: the name in rules and reports, and a folder of label maps or a dataset."""
    dest: Annotated[Path, PathRole("out_folder"), Short("-o")]
    """Folder to write."""
    map: tuple[Annotated[str, FreeText("organs:1,2->1")], ...] = ()
    """Rules NAME:CLASS[,CLASS...]->NEW, the strongest first; quote them: the shell takes > for itself."""
    fuse: Annotated[Fusion | None, Group("Raters")] = None
    """How to merge the label maps of raters who use the same classes, instead of rules."""
    on_grid: Annotated[str | None, FreeText("organs")] = None
    """Source onto whose grid the others are resampled (nearest neighbour); without it, all grids must agree."""
    recursive: Annotated[bool, Short("-r"), Unkeyed()] = False
    """Search sub-folders."""
    ext: Annotated[VolumeExtension, Group("Output")] = ".mha"
    """Format of the output files."""

    @model_validator(mode="after")
    def _rules_name_sources(self) -> Self:
        folders = self.folders
        if bool(self.map) == (self.fuse is not None):
            raise ValueError("give either --map (rules) or --fuse (agreement of raters)")
        if self.fuse is not None and len(folders) < 2:
            raise ValueError("--fuse needs at least two sources, each -i NAME=FOLDER")
        for name in (*(rule.source for rule in self.rules), *([self.on_grid] if self.on_grid is not None else [])):
            if name not in folders:
                raise ValueError(f"no source {name!r}{did_you_mean(name, folders)}; there are {some(folders)}")
        return self

    @property
    def folders(self) -> dict[str, Path]:
        """Folder of each source."""
        found: dict[str, Path] = {}
        for text in self.inputs:
            name, _, folder = text.partition("=")
            if not re.fullmatch(_SOURCE, text):
                raise ValueError(f"--inputs: expected NAME=FOLDER; got {text!r}")
            if name in found:
                raise ValueError(f"--inputs: the name {name!r} is given twice")
            found[name] = Path(folder)
        if not found:
            raise ValueError("give the sources, each -i NAME=FOLDER")
        return found

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules, the strongest first."""
        return tuple(map(_rule, dict.fromkeys("".join(text.split()) for text in self.map)))

    def absolute(self) -> Self:
        """Return the same parameters with absolute paths."""
        inputs = tuple(f"{name}={folder.absolute()}" for name, folder in self.folders.items())
        return super().absolute().model_copy(update={"inputs": inputs})


def _rule(text: str) -> Rule:
    match = _RULE.fullmatch(text)
    if match is None:
        raise ValueError(f"--map: expected NAME:CLASS[,CLASS...]->NEW, e.g. 'organs:1,2->1'; got {text!r}")
    values = (*map(int, match[2].split(",")), int(match[3]))
    for value in values:
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"--map: {text}: {value} fits no integer type")
    return Rule(match[1], values[:-1], values[-1])


def combine_case(case: Case, params: CombineParams, context: Context) -> Outcome:
    """Merge the label maps of a case."""
    notes = Notes()
    sources: Mapping[str, Volume] = case.volumes
    if params.on_grid is not None:
        sources = _OnGrid(case, params.on_grid, context.threads, notes)
    if params.fuse is not None:
        fused = fuse_labels(sources, params.fuse, threads=context.threads)
        voxels = {str(value): count for value, count in fused.voxels.items()}
        if fused.lost:
            notes.add(f"{describe_classes(fused.lost)} lost: the raters do not agree on any voxel of them")
        facts = {"fuse": params.fuse, "voxels": voxels, "undecided": fused.undecided, **fused.facts}
        return Outcome((Case(case.id, {LABEL: fused.volume}),), {**facts, "rules": {}, "overlaps": {}}, tuple(notes()))
    combined = combine_labels(sources, params.rules)
    for rule, count in combined.claimed.items():
        if count and not combined.won[rule]:
            notes.add(f"{rule} claims {counted(count, 'voxel')} and gets none: rules before it claim them all")
    facts = {
        "rules": {str(rule): count for rule, count in combined.won.items()},
        "overlaps": {f"{one} | {other}": count for (one, other), count in combined.overlaps.items()},
        "claimed": {str(rule): count for rule, count in combined.claimed.items()},
        "unclaimed": {
            name: {str(value): count for value, count in found.items()} for name, found in combined.unclaimed.items()
        },
    }
    return Outcome((Case(case.id, {LABEL: combined.volume}),), facts, tuple(notes()))


class _OnGrid(Mapping[str, Volume]):
    """The label maps of a case, each put on the grid of one of them when it is taken."""

    def __init__(self, case: Case, reference: str, threads: int, notes: Notes) -> None:
        self._case, self._threads, self._notes = case, threads, notes
        self._grid = case.grid(reference)

    def __getitem__(self, name: str) -> Volume:
        volume = self._case.volumes[name]
        if volume.geometry.same_grid(self._grid):
            return volume.with_array(volume.array_zyx, self._grid)
        new = resample(volume, self._grid, fill=0.0, threads=self._threads)
        lost = lost_classes(volume, new)
        if lost:
            self._notes.add(f"{name}: {describe_classes(lost)} lost on the other grid")
        return new

    def __iter__(self) -> Iterator[str]:
        return iter(self._case.volumes)

    def __len__(self) -> int:
        return len(self._case.volumes)


def plan(params: CombineParams) -> Plan:
    """List the cases that every source has."""
    folders = {name: label_folder(folder, f"source {name}") for name, folder in params.folders.items()}
    require_destination(params.dest, *folders.values())
    many = find_many(folders, recursive=params.recursive)
    target = {LABEL: Target(params.dest, params.ext, "label")}
    jobs = tuple(
        Job(case, {name: InputFile(files[name], "label") for name in folders}, target)
        for case, files in many.complete().items()
    )
    described = {name: find_description(folder) for name, folder in folders.items()}
    notes = tuple(dict.fromkeys(note for found in described.values() for note in found.notes))
    first = next((found for found in described.values() if found.meta is not None), FoundMeta())
    change: Callable[[DatasetMeta], DatasetMeta] | None = None
    if params.rules:
        change = partial(DatasetMeta.with_labels, labels=_names(params.rules, described))
    return Plan(jobs, many.unpaired, params.dest, notes, carries=carry(first, params.dest, change=change))


def _names(rules: tuple[Rule, ...], described: Mapping[str, FoundMeta]) -> dict[int, str]:
    """Return the name of each new class: those of the classes that become it, joined by ``+``."""
    found: dict[int, list[str]] = {0: ["background"]}
    for rule in rules:
        known = described[rule.source].labels
        if rule.target != 0:
            names = (known.get(value, f"{rule.source} {value}") for value in rule.classes)
            found.setdefault(rule.target, []).extend(names)
    return {value: "+".join(dict.fromkeys(names)) for value, names in sorted(found.items())}


def collect(params: CombineParams, run: Collected) -> Report:
    """Return ``combine_meta.json``; name classes that no rule takes, and rules that found nothing in any case."""
    facts = [record.facts for record in run.all_records.values()]
    lines = [
        f"warning: {rule} found nothing: no label map of {rule.source} holds such a class"
        for rule in params.rules
        if facts and not any(found["claimed"].get(str(rule)) for found in facts)
    ]
    for name in params.folders if params.rules else ():
        dropped = sorted({int(value) for found in facts for value in found["unclaimed"].get(name, ())})
        if dropped:
            lines.append(f"note: without a rule, these classes of {name} are left out: {some(map(str, dropped), 30)}")
    return Report(tuple(lines), files=case_meta("combine_meta.json", _NAME, params, run))


def memory(inputs: Mapping[str, CaseInput], params: CombineParams) -> int:
    """Estimate the memory of a case: the label map in work and the next one, the groups of voxels, and the result."""
    voxels = [item.geometry.size_zyx for item in inputs.values()]
    most = max((z * y * x for z, y, x in voxels), default=0)
    staple = (len(inputs) + 24) * most if params.fuse == "staple" else 0
    taken = (2 if params.on_grid is None else 3) * max((item.nbytes for item in inputs.values()), default=0)
    return taken + _GROUP_AND_RESULT_BYTES * most + staple


OPERATION: Operation[Any] = Operation(
    _NAME,
    CombineParams,
    plan,
    combine_case,
    collect,
    example="itk_combine -i organs=a/label -i tumours=b/label --map 'tumours:1->3' 'organs:1,2->1' -o merged",
    memory=memory,
    reads="in turn",
)
__all__ = ["OPERATION", "CombineParams", "Rule", "combine_labels", "fuse_labels"]
