"""Read a dataset to be written in another tool's layout: its cases, channels, classes and splits; write one case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from itkit.core.dataset_meta import DatasetMeta
from itkit.core.errors import CaseError, LabelError, LayoutError, WriteError
from itkit.core.files import DATASET_META, Compression
from itkit.core.grids import require_one_grid
from itkit.core.operation import Batch, Context, Job, Outcome, Place, Plan, Record, Target, Unpaired, Written
from itkit.core.text import counted, some
from itkit.core.volume import Case, Volume, each_channel
from itkit.dataset.exchange.direction import finished
from itkit.dataset.exchange.params import ConvertParams
from itkit.io.layouts import IMAGE, LABEL, Images, find_images, find_volumes
from itkit.io.meta import volume_entry
from itkit.io.overlooked import advice
from itkit.io.sitk_toolkit import stage_volume
from itkit.kernels.statistics import finite_summary
from itkit.process.itk_extract import remap_labels
from itkit.process.plans import inputs_of

_TEST = "test"
VALIDATION = ("val", "validation")
"""Names of the split to validate with."""
_KINDS = (("CT",), ("MR",))


@dataclass(frozen=True)
class SourceCase:
    """One case of a dataset: its files by the name of the volume, its split, and why it can't be read, if so."""

    case_id: str
    files: Mapping[str, Path]
    split: str = ""
    problem: str = ""

    @property
    def has_label(self) -> bool:
        """Whether the case has a label."""
        return LABEL in self.files

    @property
    def flat_id(self) -> str:
        """The case id as a file name, for layouts without sub-folders."""
        return self.case_id.replace("/", "_")

    @property
    def part(self) -> str:
        """Part of the layouts with ``imagesTr`` and ``imagesTs``: ``Tr`` with a label, unless it is in the test set."""
        return "Tr" if self.has_label and self.split != _TEST else "Ts"


@dataclass(frozen=True)
class Source:
    """A dataset to be written in another layout.

    Parameters
    ----------
    root
        Its folder.
    meta
        Its ``dataset.json``; empty without one.
    cases
        Its cases, sorted by id; those without a label are cases too.
    images
        What was found in ``image/``.
    unpaired
        Labels without an image, and files that match no channel; images without a label are named here, too, unless
        they are in the test set, but they are cases all the same.
    """

    root: Path
    meta: DatasetMeta
    cases: tuple[SourceCase, ...]
    images: Images
    unpaired: tuple[Unpaired, ...] = ()

    @property
    def is_vector(self) -> bool:
        """Whether one file holds all channels of a case."""
        return self.images.components != (1,)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each channel's volume: ``image``, or ``image_<ending>`` if there are several channels."""
        if self.is_vector:
            return tuple(f"{IMAGE}_{ending}" for ending in self.meta.endings)
        first = max((case.files for case in self.cases), key=len, default={})
        return tuple(name for name in first if name != LABEL)

    @property
    def channels(self) -> tuple[str, ...]:
        """Name of each channel, in order; ``image`` if there is one without a name."""
        return self.meta.channels or tuple(name.removeprefix(f"{IMAGE}_") for name in self.names)

    @property
    def shown_channels(self) -> tuple[str, ...]:
        """Name of each channel as other tools want it: a single channel without a name is called ``CT`` or ``MR``.

        nnU-Net normalises a channel as CT only if it is called so.
        """
        kinds = tuple({one.upper() for one in self.modality})
        return kinds if self.channels == (IMAGE,) and kinds in _KINDS else self.channels

    @property
    def modality(self) -> tuple[str, ...]:
        """Modalities that ``dataset.json`` names."""
        value = self.meta.values.get("modality")
        listed = (value,) if isinstance(value, str) else value if isinstance(value, (list, tuple)) else ()
        return tuple(str(one) for one in listed)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the source."""
        found = list(self.images.described.notes)
        held = [case.case_id for case in self.cases if case.has_label and case.split == _TEST]
        if held:
            found.append(f"the split {_TEST} is kept apart from the training cases: {some(held)}")
        return tuple(found)


def note_of_validation(source: Source, tool: str) -> tuple[str, ...]:
    """Return a note on the validation set if a tool's layout knows none."""
    held = [case.case_id for case in source.cases if case.part == "Tr" and case.split in VALIDATION]
    return (f"{tool} has no validation set: training cases are also {some(held)}",) if held else ()


def read_source(root: Path) -> Source:
    """Find the cases of a dataset.

    Raises
    ------
    LayoutError
        When it has no folder of images, or two files have the same id.
    """
    if not (root / IMAGE).is_dir():
        raise LayoutError(f"{root} has no folder {IMAGE}; expected {IMAGE}/ and {LABEL}/{advice(root)}")
    labels = find_volumes(root / LABEL, recursive=True) if (root / LABEL).is_dir() else {}
    images = find_images(root / IMAGE, recursive=True, labels=labels.keys())
    meta = images.described.meta or DatasetMeta({})
    splits = {case: name for name, members in meta.splits.items() for case in members}
    cases = tuple(
        SourceCase(
            case,
            {**files, **({LABEL: labels[case]} if case in labels else {})},
            splits.get(case, ""),
            images.problems.get(case, ""),
        )
        for case, files in images.cases.items()
    )
    lone = [Unpaired(case, path, IMAGE) for case, path in labels.items() if case not in images.cases]
    lone += [
        Unpaired(case.case_id, next(iter(case.files.values())), LABEL)
        for case in cases
        if labels and not case.has_label and case.split != _TEST
    ]
    unpaired = sorted([*lone, *images.extras], key=lambda item: item.case_id)
    return Source(root, meta, cases, images, tuple(unpaired))


def credits_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``dataset.json`` says of whose data these are, and under which licence.

    Examples
    --------
    >>> credits_of({"name": "mine", "licence": "CC0-1.0", "citation": ""})
    {'licence': 'CC0-1.0'}
    """
    return {key: values[key] for key in ("licence", "citation", "homepage") if values.get(key)}


def paths_of(record: Record, source: Source) -> tuple[list[str], str]:
    """Return the paths of a case's images, in order of the channels, and of its label, relative to the destination."""
    found = {str(output["name"]): str(output["path"]) for output in record.outputs if output.get("name")}
    images = [found[name] for name in (IMAGE, *source.names) if name in found]
    return list(dict.fromkeys(images)), found.get(LABEL, "")


def require_names(source: Source) -> dict[int, str]:
    """Return the name of each label value.

    Raises
    ------
    LayoutError
        When ``dataset.json`` names no classes, or two classes alike.
    """
    labels = source.meta.labels
    if not labels:
        raise LayoutError(
            f"{source.root}: its {DATASET_META} names no labels; "
            f"give them names with itk_describe {source.root} --labels 1=NAME 2=NAME"
        )
    twice = [name for name in labels.values() if list(labels.values()).count(name) > 1]
    if twice:
        raise LayoutError(f"{source.root}: {DATASET_META} gives several values the name {twice[0]!r}; rename one")
    return labels


@dataclass(frozen=True)
class Export:
    """How one case is written.

    Parameters
    ----------
    case_id
        Id in the output.
    names
        Name of each channel's volume, for a file that holds them all.
    mapping
        New value of each label value; ``None`` keeps all values.
    stack
        Whether the channels are written as one volume, called ``image``.
    accepts_nan
        Whether images may hold values that are not a number.
    files
        Name of the file of each volume, for messages.
    facts
        Facts for `collect`.
    """

    case_id: str
    names: tuple[str, ...] = ()
    mapping: Mapping[int, int] | None = None
    stack: bool = False
    accepts_nan: bool = True
    files: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)


PlaceOf = Callable[[SourceCase, int | None], Target]
"""Where a volume of a case is written: that of a channel by its number, the label by ``None``."""


def place_by_part(params: ConvertParams, endings: Sequence[str], case: SourceCase, channel: int | None) -> Target:
    """Return where a volume goes in ``imagesTr``, ``labelsTr``, ``imagesTs`` and so on; the channels have endings."""
    if channel is None:
        return Target(params.dest / f"labels{case.part}", params.ext, "label")
    return Target(params.dest / f"images{case.part}", f"{endings[channel]}{params.ext}", "image")


def export_plan(
    source: Source,
    params: ConvertParams,
    place: PlaceOf,
    *,
    mapping: Mapping[int, int] | None = None,
    stack: bool = False,
    accepts_nan: bool = True,
    out_id: Callable[[SourceCase], str] = lambda case: case.case_id,
    notes: tuple[str, ...] = (),
) -> Plan:
    """Return the plan that writes the cases of a dataset to other places.

    Parameters
    ----------
    source, params
        The dataset, and what is asked for.
    place
        Where each volume goes.
    mapping
        New value of each label value; ``None`` keeps all values.
    stack
        Whether the channels of a case become one file.
    accepts_nan
        Whether images may hold values that are not a number.
    out_id
        Id of a case in the output; cases that would share one fail.
    notes
        Notes beside those of the source.
    """
    names = source.names
    counts = Counter(map(out_id, source.cases))
    jobs = []
    for case in source.cases:
        is_alone = counts[out_id(case)] == 1
        own = (IMAGE,) if stack or len(names) == 1 else names
        targets = {name: place(case, number) for number, name in enumerate(own)} if is_alone else {}
        if case.has_label and is_alone:
            targets[LABEL] = place(case, None)
        facts = {"id": out_id(case), "part": case.part, "split": case.split, "has_label": case.has_label}
        files = {name: path.name for name, path in case.files.items()}
        details = Export(out_id(case), names, mapping, stack and len(names) > 1, accepts_nan, files, facts)
        jobs.append(
            Job(
                case.case_id,
                inputs_of(case.files, source.images),
                targets,
                (out_id(case),),
                details,
                f"{mapping} {case.part}",
                problem=case.problem or ("" if is_alone else f"another case would be called {out_id(case)}, too"),
            )
        )
    return Plan(tuple(jobs), source.unpaired, params.dest, (*source.notes, *notes), source)


def export_case(case: Case, params: ConvertParams, context: Context) -> Outcome:
    """Write the channels and the label of one case to their new places."""
    details: Export = case.details
    require_one_grid(case)

    def finish(volume: Volume) -> Volume:
        return each_channel(lambda one: finished(one, params=params, context=context), volume)

    images = [name for name in case.names if name != LABEL]

    def volumes() -> Iterator[Case]:
        for name in () if details.stack else images:
            for own, volume in _channels(_checked(case, name, details), name, details):
                yield Case(details.case_id, {own: finish(volume)})
                del volume
        if LABEL in case.names:
            yield Case(details.case_id, {LABEL: finish(_relabelled(case, details))})

    def write(place: Place, compression: Compression) -> list[Written]:
        volume = _stacked([finish(case.volumes[name]) for name in images])
        path = place(IMAGE, details.case_id)
        files = stage_volume(volume, path, compression=compression, sync=False, is_series=True)
        if len(files) > 1:
            raise WriteError(f"{path.name}: several channels in one file need a format of one file, e.g. .nii.gz")
        return [Written(IMAGE, details.case_id, volume_entry(IMAGE, details.case_id, volume))]

    batches: tuple[Batch, ...] = (write,) if details.stack else ()
    return Outcome(volumes(), details.facts, batches=batches)


def _checked(case: Case, name: str, details: Export) -> Volume:
    volume = case.volumes[name]
    if details.accepts_nan or volume.dtype.kind != "f":
        return volume
    count = finite_summary(volume.array_zyx).n_nan
    if count:
        raise CaseError(
            f"{case.id}: {counted(count, 'nan voxel')} in {details.files[name]}, and nnU-Net accepts none; "
            "give them a value, or take the case out of the dataset"
        )
    return volume


def _channels(volume: Volume, name: str, details: Export) -> Iterator[tuple[str, Volume]]:
    if volume.array_zyx.ndim == 3:
        yield name, volume
        return
    import numpy as np

    for number, own in enumerate(details.names):
        yield own, volume.with_array(np.ascontiguousarray(volume.array_zyx[..., number]))


def _stacked(volumes: list[Volume]) -> Volume:
    """Return the channels as one volume, of the type that holds them all."""
    import numpy as np

    if len(volumes) == 1:
        return volumes[0]
    return volumes[0].with_array(np.stack([volume.array_zyx for volume in volumes], axis=-1))


def _relabelled(case: Case, details: Export) -> Volume:
    label = case.volumes[LABEL]
    if details.mapping is None:
        return label
    renumbered, counts = remap_labels(label, details.mapping)
    unnamed = [f"{value} ({counted(n, 'voxel')})" for value, n in counts.items() if value not in details.mapping]
    if unnamed:
        raise LabelError(
            f"{case.id}: label values without a name would become background: {some(unnamed)}; "
            f"name them in {DATASET_META}, or make them 0 on purpose with itk_extract"
        )
    return replace(renumbered, kind="label")
