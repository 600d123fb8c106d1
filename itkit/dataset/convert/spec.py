"""What a public dataset is: one frozen value that converters, ``--list`` and documentation pages are made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from itkit.core.files import volume_pattern

if TYPE_CHECKING:
    from itkit.core.geometry import Geometry
    from itkit.core.operation import Context, Outcome, Unpaired
    from itkit.core.params import ChannelLayout, OverlapRule
    from itkit.core.volume import Case, Volume
    from itkit.dataset.convert.labels import Selection
    from itkit.dataset.convert.params import ConvertDatasetParams

Role = Literal["image", "label", "correction", "part", "ignored"]

VOLUME = volume_pattern()
"""Regular expression of a volume file's extension, in any letter case."""
ANYWHERE = r"(?:.+/)?"
"""Regular expression of any folders above."""


@dataclass(frozen=True)
class Pattern:
    """How the files of one role are called.

    Parameters
    ----------
    role
        ``image``; ``label`` (an integer volume); ``correction`` (a label that replaces the one of its case); ``part``
        (binary file of the class in group ``part``); ``ignored``.
    regex
        For the whole path below the source, POSIX separators. Groups: ``case``, ``channel``, ``part``, ``split``,
        ``patient``, ``group`` (sub-dataset).
    example
        A path that it matches.
    case
        Template of the case id, with the regex' groups.
    split
        Split of these cases, where the path decides it.
    why
        What to say of ignored files and corrections.
    """

    role: Role
    regex: str
    example: str
    case: str = "{case}"
    split: str = ""
    why: str = ""


@dataclass(frozen=True)
class Quirk:
    """An oddity of a release, and what the converter does about it."""

    fact: str
    action: str


@dataclass(frozen=True)
class Skipped:
    """Files of the release that no case is made of, and why."""

    path: str
    why: str
    count: int = 1


@dataclass(frozen=True)
class FoundCase:
    """A case of a release, before any of its voxels is read.

    Parameters
    ----------
    case_id
        Name of its output files.
    images
        File of each channel, in the order of the channels; a single file may hold them all.
    label
        Integer label volume.
    parts
        Class value and binary file, in the order in which they are painted.
    split, patient
        Where the release says them.
    labels
        Name of each label value where the case has a table of its own.
    channels
        Channel names where the case has its own.
    selection
        What becomes of its label values, decided in the plan; ``None`` keeps them all. A loader that finds names in
        the files decides itself.
    group
        Sub-dataset: a folder below the destination with an index of its own.
    facts
        What ``dataset.json`` is to say of the case.
    warnings
        What the user is to be told when it is converted.
    payload
        What the loader of this dataset needs besides.
    stamp
        Digest of files that are neither image nor label.
    more_files
        These files, as far as ``parts`` does not name them.
    problem
        Why it can't be converted; it fails by that name, and the others go on.
    """

    case_id: str
    images: tuple[Path, ...] = ()
    label: Path | None = None
    parts: tuple[tuple[int, Path], ...] = ()
    split: str = ""
    patient: str = ""
    labels: Mapping[int, str] | None = None
    selection: Selection | None = None
    channels: tuple[str, ...] | None = None
    group: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    payload: Any = None
    stamp: str = ""
    more_files: tuple[Path, ...] = ()
    problem: str = ""

    @property
    def has_label(self) -> bool:
        """Whether the release holds a label of this case."""
        return self.label is not None or bool(self.parts) or bool(self.facts.get("has_label"))


@dataclass(frozen=True)
class Finding:
    """What a release holds: cases, files without a partner, files left out, notes; and what its own index says."""

    cases: tuple[FoundCase, ...]
    unpaired: tuple[Unpaired, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    about: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By group: what replaces fields of ``dataset.json``, e.g. the labels of a task."""
    selections: Mapping[str, Selection] = field(default_factory=dict)
    """By group: what becomes of label values, decided in the plan; ``""``: where a group has no labels of its own."""

    def with_cases(self, function: Callable[[FoundCase], FoundCase]) -> Finding:
        """Return the finding with every case mapped."""
        return replace(self, cases=tuple(map(function, self.cases)))


@dataclass(frozen=True, eq=False)
class Loaded:
    """A case that is ready to be written.

    Parameters
    ----------
    grid
        Grid of all its volumes.
    channels
        What reads each channel, by name, in order; called once, when the channel is written.
    label
        Its label map, on the same grid, with output values.
    names
        Name of each label value in the output.
    facts, warnings
        For ``dataset.json`` and for the user.
    """

    grid: Geometry
    channels: Mapping[str, Callable[[], Volume]]
    label: Volume | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


Finder = Callable[["DatasetSpec", Path, "ConvertDatasetParams"], Finding]
Loader = Callable[["DatasetSpec", FoundCase, "ConvertDatasetParams", "Context"], Loaded]
Enrich = Callable[[Path, Finding], Finding]
CaseFunction = Callable[["DatasetSpec", "Case", "ConvertDatasetParams", "Context"], "Outcome"]


@dataclass(frozen=True)
class DatasetSpec:
    """A public dataset.

    Parameters
    ----------
    name
        As on the command line.
    title, modality, homepage, licence, citation
        What ``dataset.json`` and the documentation say.
    patterns
        How its files are called.
    labels
        Name of each label value; 0 is background.
    channels
        Names in order; one channel needs none.
    channel_layout
        How several channels are written unless asked otherwise.
    splits
        Name of each value of the patterns' group ``split``.
    overlap
        Which class keeps a voxel that two parts claim: with ``last`` the one of the higher value.
    version
        Release that the facts are about.
    variants
        Other releases of the same family; the first that fits the files is taken.
    quirks, sources, unverified
        Oddities and what is done about them; where the facts are from; what could not be checked.
    is_integral
        Store floating-point images of whole numbers as int16.
    warns_unit_spacing
        Whether a spacing of 1, 1, 1 means that the spacing was lost.
    enrich
        Adds what further files of the release say (splits, points).
    find, load, case
        Replace how files become cases, how a case is read, how it is converted.
    """

    name: str
    title: str
    patterns: tuple[Pattern, ...]
    labels: Mapping[int, str]
    modality: tuple[str, ...] = ("CT",)
    homepage: str = ""
    licence: str = ""
    citation: str = ""
    version: str = ""
    channels: tuple[str, ...] = ("image",)
    channel_layout: ChannelLayout = "files"
    splits: Mapping[str, str] = field(default_factory=dict)
    overlap: OverlapRule = "last"
    variants: tuple[DatasetSpec, ...] = ()
    quirks: tuple[Quirk, ...] = ()
    sources: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()
    label_note: str = ""
    is_integral: bool = False
    warns_unit_spacing: bool = False
    enrich: Enrich | None = None
    find: Finder | None = None
    load: Loader | None = None
    case: CaseFunction | None = None
