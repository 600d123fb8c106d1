"""`DatasetSpec`: the facts about a public dataset, from which converters, ``--list`` and documentation are made."""

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
"""Regular expression that matches a volume file's extension in any letter case."""
ANYWHERE = r"(?:.+/)?"
"""Regular expression that matches any parent folders."""


@dataclass(frozen=True)
class Pattern:
    """How the files of one role are named.

    Parameters
    ----------
    role
        ``image``; ``label`` (an integer volume); ``correction`` (a label that replaces the one of its case); ``part``
        (binary file of the class in group ``part``); ``ignored``.
    regex
        Regular expression for the whole path below the source, with POSIX separators. Groups: ``case``, ``channel``,
        ``part``, ``split``, ``patient``, ``group`` (sub-dataset).
    example
        A path that matches.
    case
        Template of the case id, with the groups of the regular expression.
    split
        Split of these cases, if the path decides it.
    why
        Reason why files are ignored or corrected, for messages.
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
    """Files of the release that belong to no case, and why."""

    path: str
    why: str
    count: int = 1


@dataclass(frozen=True)
class FoundCase:
    """A case of a release, before its voxels are read.

    Parameters
    ----------
    case_id
        Name of its output files.
    images
        File of each channel, in the order of the channels; one file may hold all channels.
    label
        Integer label volume.
    parts
        Class value and binary file of each part, in the order of painting.
    split, patient
        Split and patient, if the release states them.
    labels
        Name of each label value, if the case has its own table.
    channels
        Channel names, if the case has its own.
    selection
        The label values of the output, decided in the plan; ``None`` keeps all values. A loader that finds names in
        the files decides itself.
    group
        Sub-dataset: a folder below the destination with its own index.
    facts
        Facts about the case for ``dataset.json``.
    warnings
        Warnings to show when the case is converted.
    payload
        Further data that the loader of this dataset needs.
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
        """Whether the release has a label for this case."""
        return self.label is not None or bool(self.parts) or bool(self.facts.get("has_label"))


@dataclass(frozen=True)
class Finding:
    """Content of a release: cases, files without a partner, files left out, notes, and facts from its own index."""

    cases: tuple[FoundCase, ...]
    unpaired: tuple[Unpaired, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    about: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """For each group, values that replace fields of ``dataset.json``, e.g. the labels of a task."""
    selections: Mapping[str, Selection] = field(default_factory=dict)
    """For each group, the label values of its output, decided in the plan; ``""`` is for groups without own labels."""

    def with_cases(self, function: Callable[[FoundCase], FoundCase]) -> Finding:
        """Return the finding with a function applied to every case."""
        return replace(self, cases=tuple(map(function, self.cases)))


@dataclass(frozen=True, eq=False)
class Loaded:
    """A case that is ready to be written.

    Parameters
    ----------
    grid
        Grid of all its volumes.
    channels
        Function that reads each channel, by name, in order; called once, when the channel is written.
    label
        The label map, on the same grid, with output values.
    names
        Name of each label value in the output.
    facts, warnings
        Facts for ``dataset.json``, and warnings for the user.
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
        Name on the command line.
    title, modality, homepage, licence, citation
        Facts for ``dataset.json`` and the documentation.
    patterns
        How its files are named.
    labels
        Name of each label value; 0 is background.
    channels
        Names of the channels, in order; not needed for a single channel.
    channel_layout
        How several channels are written by default.
    splits
        Name of the split for each value of the patterns' group ``split``.
    overlap
        Which class keeps a voxel that two parts claim; with ``last``, the class with the higher value.
    version
        Release that the facts describe.
    variants
        Other releases of the same family; the first that fits the files is used.
    quirks, sources, unverified
        Oddities and how they are handled; sources of the facts; facts that could not be checked.
    is_integral
        Store floating-point images of whole numbers as int16.
    warns_unit_spacing
        Whether a spacing of 1, 1, 1 means that the spacing was lost.
    enrich
        Adds facts from further files of the release (splits, points).
    find, load, case
        Functions that replace the default way to find cases, to read a case, and to convert it.
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
