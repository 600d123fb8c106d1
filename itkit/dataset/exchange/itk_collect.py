"""``itk_collect``: make a dataset of any folder, whose files are found by patterns of paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import model_validator
from typing_extensions import Self

from itkit.core.actions import Sample, Transfer
from itkit.core.dataset_meta import DatasetMeta
from itkit.core.errors import GeometryMismatchError, LayoutError, ParamsError
from itkit.core.fields import FreeText, Group, PathRole, Pattern, Positional, Unkeyed
from itkit.core.files import DATASET_META, volume_suffix
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
    Target,
    Unpaired,
)
from itkit.core.params import OverlapRule, VolumeExtension
from itkit.core.text import counted, file_part, key_of, some
from itkit.core.volume import Case
from itkit.dataset.convert.find import walk_files
from itkit.dataset.convert.params import ConvertDatasetParams
from itkit.dataset.convert.spec import DatasetSpec, Finding, FoundCase, Skipped
from itkit.dataset.exchange.dicom_folders import dicom_case, load_collected
from itkit.dataset.exchange.guess import guess
from itkit.dataset.exchange.patterns import PathPattern, Sorted, sort_paths
from itkit.io.layouts import IMAGE, LABEL, require_destination, require_folder
from itkit.io.segments import SegmentTable
from itkit.process.common import GridParams
from itkit.process.itk_describe import named_values

_NAME = "itk_collect"
_SPLITS = {"tr": "train", "training": "train", "ts": "test", "testing": "test", "va": "val", "valid": "val",
           "validation": "val"}  # fmt: skip
_PLAIN = "{case}.nii.gz"


class CollectParams(GridParams):
    """Make a dataset of any folder: patterns of paths say which files are images, labels and masks of classes."""

    source: Annotated[Path, PathRole("in_folder"), Positional("source")]
    """Folder to read."""
    dest: Annotated[Path | None, PathRole("out_folder"), Positional("dest")] = None
    """Folder to write."""
    image: Annotated[str, FreeText("{case}/{channel}.nii.gz")] = ""
    """Pattern of the images' paths below the source: {case}, {channel}, {patient} and {split} stand for a piece of a
    name, * for anything within a name, ** for any folders, .* at the end for any format; a pattern without a volume's
    extension names folders of DICOM files."""
    label: Annotated[str, FreeText("{case}/seg.nii.gz")] = ""
    """Pattern of the labels' paths; with {part}, each file is the mask of a class of this name."""
    part: tuple[Annotated[str, Pattern(r"^[^=]*[^=\s][^=]*=.+$")], ...] = ()
    """Masks of one class: NAME=PATTERN; the classes are numbered in this order."""
    guess: Annotated[bool, Unkeyed()] = False
    """Propose patterns from what is there, with counts, and change nothing."""
    labels: tuple[Annotated[str, Pattern(r"^-?\d+=.*\S")], ...] = ()
    """Name of each label value, e.g. 1=liver 2=tumour; 0 is background. Masks of these names get these values. Without
    it, labels of 3D Slicer keep the names and colours of their segments."""
    modality: tuple[Annotated[str, FreeText("CT")], ...] = ()
    """Modality of the images, e.g. CT or MR."""
    ext: Annotated[VolumeExtension, Group("Output")] = ".mha"
    """Format of the output files."""
    overlap: Annotated[OverlapRule | None, Group("Output")] = None
    """Voxels in the masks of several classes: refuse, the first or last class wins, or one channel a class (default:
    the last)."""
    link: Annotated[bool, Group("Output")] = False
    """Make symbolic links to the files as they are, and copy nothing."""

    @model_validator(mode="after")
    def _is_clear(self) -> Self:
        named_values(self.labels)
        if self.guess:
            if self.image or self.label or self.part:
                raise ValueError("--guess finds patterns by itself; drop --image, --label and --part, or drop --guess")
            return self
        if self.dest is None:
            raise ValueError("dest: missing; only --guess needs no folder to write")
        if not self.image:
            raise ValueError(f"--image: give the pattern of the images, e.g. '{_PLAIN}'; --guess proposes patterns")
        patterns = self.patterns
        if patterns[0].fields & {"part"}:
            raise ValueError("--image: {part} stands in patterns of labels; a channel is {channel}")
        for pattern in patterns[1:]:
            if pattern.is_folder:
                raise ValueError(f"--label and --part name volume files, e.g. '{_PLAIN}'; got {pattern.text!r}")
            if "channel" in pattern.fields:
                raise ValueError(f"{pattern.text!r}: a label has no {{channel}}; * stands for anything")
        if self.link:
            self._can_be_linked(patterns)
        return self

    def _can_be_linked(self, patterns: Sequence[PathPattern]) -> None:
        changes = self.asks_for_a_grid or self.dtype is not None or self.ext != ".mha"
        if changes or patterns[0].is_folder or any(pattern.role == "part" for pattern in patterns):
            raise ValueError(
                "--link leaves files as they are: drop --spacing, --size, --orient, --dtype and --ext; "
                "masks of classes and DICOM files can't be linked"
            )

    @property
    def patterns(self) -> list[PathPattern]:
        """The patterns, images first."""
        found = [PathPattern.parse(self.image, "image")]
        if self.label:
            parsed = PathPattern.parse(self.label, "label")
            found.append(PathPattern.parse(self.label, "part") if "part" in parsed.fields else parsed)
        for text in self.part:
            name, _, pattern = text.partition("=")
            found.append(PathPattern.parse(pattern, "part", name.strip()))
        if sum(pattern.role == "label" for pattern in found) and len(found) > 2:
            raise ValueError("--label and --part both make the label; keep one of them")
        return found

    @property
    def own(self) -> ConvertDatasetParams:
        """The parameters of the converters' engine."""
        given = {name: getattr(self, name) for name in ("source", "dest", "ext", "spacing", "size", "orient", "dtype")}
        return ConvertDatasetParams(**given, overlap=self.overlap)


def plan(params: CollectParams) -> Plan:
    """List the cases that the patterns find.

    Raises
    ------
    LayoutError
        When no file fits the pattern of the images, or the destination is unusable.
    ParamsError
        When a file fits two patterns equally well.
    """
    source = require_folder(params.source)
    if params.guess or params.dest is None:
        return Plan((), details=tuple(guess(source)))
    require_destination(params.dest, source)
    spec, finding = find(params)
    if params.link:
        jobs = tuple(_link_job(case, spec, params.dest) for case in finding.cases)
        return Plan(jobs, finding.unpaired, None, finding.notes, (spec, finding))
    from itkit.dataset.convert.engine import job_of, with_selections

    own = params.own
    finding = with_selections(spec, finding, own)
    return Plan(
        tuple(job_of(spec, case, own) for case in finding.cases),
        finding.unpaired,
        params.dest,
        finding.notes,
        (spec, finding),
    )


@dataclass
class _Files:
    """The files of a case, by role; ``problem`` names the first role that has two."""

    values: Mapping[str, str]
    images: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    problem: str = ""

    def add(self, one: Sorted) -> None:
        """Add a file to its role."""
        if one.pattern.role == "image":
            table, name, role = self.images, one.values.get("channel") or "", "image"
            self.values = {**self.values, **one.values}
        elif one.pattern.role == "label":
            table, name, role = self.labels, "", "label"
        else:
            table, name = self.parts, one.pattern.part or one.values.get("part") or ""
            role = f"mask of {name}"
        if name in table:
            what = f"{role} {name}" if role == "image" and name else role
            self.problem = self.problem or f"two files for one {what}: {table[name]} and {one.path}; keep one of them"
        else:
            table[name] = one.path


def find(params: CollectParams) -> tuple[DatasetSpec, Finding]:
    """Return what the patterns find, as the converters' engine needs it.

    Raises
    ------
    LayoutError
        When no file fits the pattern of the images.
    ParamsError
        When a file fits two patterns equally well.
    """
    source, patterns = params.source, params.patterns
    paths = list(walk_files(source))
    found, rest, unclear = sort_paths(paths, patterns)
    for path, texts in unclear.items():
        raise ParamsError(f"{path} fits {' and '.join(texts)} equally well; write more of the names into one of them")
    if not any(one.pattern.role == "image" for one in found):
        raise LayoutError(
            f"{source}: no {'folder' if patterns[0].is_folder else 'volume file'} fits --image {params.image!r}; "
            f"there are {counted(paths, 'file')}: {some(paths, 4)}; itk_collect --guess proposes patterns"
        )
    gathered = _gathered(found, patterns)
    channels = tuple(sorted({name for files in gathered.values() for name in files.images}))
    table = _class_table(params, gathered)
    segments = _segments(source, gathered) if list(table) == [0] else SegmentTable({}, {})
    table |= segments.names
    spec = DatasetSpec(
        name=source.absolute().name or "dataset",
        title="",
        patterns=(),
        labels=table,
        modality=params.modality,
        channels=channels if channels != ("",) else (IMAGE,),
        overlap=params.overlap or "last",
        load=load_collected,
    )
    cases, unpaired = [], []
    is_labelled = len(patterns) > 1
    for case_id, files in gathered.items():
        own = (*files.labels.values(), *files.parts.values())
        if not files.images:
            unpaired.append(Unpaired(case_id, source / own[0], IMAGE))
        elif is_labelled and not own:
            unpaired.append(Unpaired(case_id, source / next(iter(files.images.values())), LABEL))
        else:
            cases.append(_case(params, case_id, files, channels, table))
    notes = (f"{counted(rest, 'file')} {'fits' if len(rest) == 1 else 'fit'} no pattern: {some(rest)}",) if rest else ()
    about = {"": {"colours": segments.entries["colours"]}} if segments.colours else {}
    skipped = tuple(Skipped(path, "fits no pattern", 1) for path in rest)
    return spec, Finding(tuple(cases), tuple(unpaired), skipped, (*notes, *segments.problems), about=about)


def _segments(source: Path, gathered: Mapping[str, _Files]) -> SegmentTable:
    """Return the names and colours that 3D Slicer's segmentations have in their headers."""
    return SegmentTable.of({case: source / path for case, files in gathered.items() for path in files.labels.values()})


def _gathered(found: Sequence[Sorted], patterns: Sequence[PathPattern]) -> dict[str, _Files]:
    """Return the files of each case; its name is {case}, with patient or split before it where that is needed."""
    common = frozenset.intersection(*(pattern.fields for pattern in patterns))
    more = [name for name in ("split", "patient") if name in common]
    groups: dict[tuple[str, ...], _Files] = {}
    for one in found:
        key = (*(one.values[name] for name in more), one.values.get("case") or one.values.get("patient") or "")
        groups.setdefault(key, _Files(one.values)).add(one)
    counts = Counter(key[-1] for key in groups)
    named = {key[-1] if counts[key[-1]] == 1 else "_".join(dict.fromkeys(key)): files for key, files in groups.items()}
    return dict(sorted(named.items()))


def _class_table(params: CollectParams, gathered: Mapping[str, _Files]) -> dict[int, str]:
    """Return the name of each label value: as given, and for masks without a value the next free one."""
    table = named_values(params.labels)
    listed = [pattern.part for pattern in params.patterns if pattern.part]
    names = listed or sorted({name for files in gathered.values() for name in files.parts})
    known = {key_of(name) for name in table.values()}
    for name in names:
        if key_of(name) not in known:
            table[max(table) + 1] = name
    return table


def _case(
    params: CollectParams, case_id: str, files: _Files, channels: Sequence[str], table: Mapping[int, str]
) -> FoundCase:
    source = params.source
    numbers = {key_of(name): value for value, name in table.items()}
    missing = [name for name in channels if name not in files.images]
    problem = files.problem or (f"{counted(missing, 'channel')} missing: {some(missing)}" if missing else "")
    split = files.values.get("split") or ""
    parts = sorted((numbers[key_of(name)], source / path) for name, path in files.parts.items())
    label = next((source / path for path in files.labels.values()), None)
    case = FoundCase(
        case_id,
        tuple(source / files.images[name] for name in channels if name in files.images),
        label,
        tuple(parts),
        split=_SPLITS.get(split.lower(), split),
        patient=files.values.get("patient") or "",
        problem=problem,
    )
    return dicom_case(case) if params.patterns[0].is_folder and not problem else case


def _link_job(case: FoundCase, spec: DatasetSpec, dest: Path) -> Job:
    """Return the job that compares the grids of a case; its targets are the links that `collect` asks for."""
    places = () if case.problem else _sample(case, spec, dest)
    named = {(LABEL if path == case.label else f"{IMAGE}{number or ''}"): (path, final)
             for number, (path, final) in enumerate(places)}  # fmt: skip
    return Job(
        case.case_id,
        {name: InputFile(path, "grid") for name, (path, _) in named.items()},
        {
            name: Target(final.parent, final.name.removeprefix(case.case_id), "image")
            for name, (_, final) in named.items()
        },
        details=case,
        problem=case.problem,
    )


def collect_case(case: Case, params: CollectParams, context: Context) -> Outcome:
    """Make one case: read, put on the asked grid and written; with ``--link``, only its grids are compared."""
    if not params.link:
        from itkit.dataset.convert.engine import convert_case

        spec, _ = case.details
        return convert_case(spec, case, params.own, context)
    found: FoundCase = case.details
    names = list(case.grids)
    for name in names[1:]:
        reason = grid_difference(case.grids[names[0]], case.grids[name], names[0], name)
        if reason:
            raise GeometryMismatchError(f"{case.id}: {reason}")
    facts = {"split": found.split, "patient": found.patient, "has_label": found.label is not None, "id": found.case_id}
    return Outcome(facts={name: value for name, value in facts.items() if value != ""})


def collect(params: CollectParams, run: Collected) -> Report:
    """Return ``dataset.json`` and, with ``--link``, the links; or the guess."""
    from itkit.dataset.convert.engine import with_selections
    from itkit.dataset.convert.index import describe, index_report

    if params.guess or params.dest is None:
        return Report(tuple(run.plan.details))
    if not params.link:
        report = index_report(run.plan.details[0], params.own, run)
        return replace(report, files={path: _described(values, params) for path, values in report.files.items()})
    spec, finding = run.plan.details
    done = {record.case_id: record for record in run.records if record.status == "done"}
    finding = with_selections(spec, finding, params.own)
    values = describe(spec, params.own, run, done, finding, "")
    samples = tuple(_sample(case, spec, params.dest) for case in finding.cases if case.case_id in done)
    action = Transfer(samples, params.dest, is_link=True, what="cases")
    return Report(actions=(action,), files={params.dest / DATASET_META: _described(values, params)})


def _described(values: Mapping[str, Any], params: CollectParams) -> Mapping[str, Any]:
    """Return the description with what was done added to its history."""
    return DatasetMeta(values).after(_NAME, params.absolute_values()).values


def _sample(case: FoundCase, spec: DatasetSpec, dest: Path) -> Sample:
    """Return the files of a case with their places as links."""

    def files() -> Iterator[tuple[Path, Path]]:
        for name, path in zip(spec.channels, case.images, strict=True):
            ending = f"_{file_part(name)}" if len(spec.channels) > 1 else ""
            yield path, dest / IMAGE / f"{case.case_id}{ending}{volume_suffix(path)}"
        if case.label is not None:
            yield case.label, dest / LABEL / f"{case.case_id}{volume_suffix(case.label)}"

    return tuple(files())


def memory(inputs: Mapping[str, CaseInput], params: CollectParams) -> int:
    """Estimate the bytes that a case needs."""
    if params.link:
        return 0
    from itkit.dataset.convert.engine import memory as of_converter

    return of_converter(inputs, params.own) or 512 << 20


OPERATION: Operation[Any] = Operation(
    _NAME,
    CollectParams,
    plan,
    collect_case,
    collect,
    example="itk_collect downloads dataset --image '{case}/{channel}.nii.gz' --label '{case}/seg.nii.gz' --mp",
    memory=memory,
)
