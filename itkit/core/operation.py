"""An operation is data plus a pure function; these are the values around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from itkit.core.actions import Action
from itkit.core.dataset_meta import DatasetMeta
from itkit.core.files import Compression
from itkit.core.geometry import Geometry
from itkit.core.params import Params
from itkit.core.volume import Case, Kind

if TYPE_CHECKING:
    import numpy as np

P = TypeVar("P", bound=Params)
Status = Literal["done", "skipped", "left", "failed", "crashed", "nonconforming", "planned"]
InputKind = Literal["image", "label", "grid", "file"]
Reads = Literal["voxels", "one by one", "headers"]


@dataclass(frozen=True)
class InputFile:
    """One file of a case; of a ``grid`` only the header is read, a ``file`` is read by the operation itself."""

    path: Path
    kind: InputKind
    components: tuple[int, ...] = (1,)
    """How many values a voxel of an image may have: more than one where a file holds several channels."""


@dataclass(frozen=True)
class Target:
    """Where volumes of one name go: ``folder / f"{case id}{suffix}"``."""

    folder: Path
    suffix: str
    kind: Kind

    def path(self, case_id: str) -> Path:
        """Return the final path of the volume of a case."""
        return self.folder / f"{case_id}{self.suffix}"


@dataclass(frozen=True)
class Job:
    """One case to do: what it reads and where its results go."""

    case_id: str
    inputs: Mapping[str, InputFile]
    targets: Mapping[str, Target] = field(default_factory=dict)
    output_ids: tuple[str, ...] | None = None
    """Ids of the cases it makes, as far as they are known before; ``None`` for one case with the job's own id.

    A job that has its own rule for them (any value but ``None``) replaces all that the case had become before, in
    whatever folder of the destination it lies.
    """
    details: Any = None
    """What the plan hands to the case's function as `Case.details`; it goes to worker processes."""
    stamp: str = ""
    """Digest of everything else that the result depends on, e.g. of files that are not inputs of their own."""
    problem: str = ""
    """Why the case can't be done as its files lie there, e.g. a channel that is missing; it fails by that name."""

    def outputs(self) -> list[Path]:
        """Return the final paths that are known before the case has run."""
        ids = (self.case_id,) if self.output_ids is None else self.output_ids
        return [target.path(case_id) for case_id in ids for target in self.targets.values()]


@dataclass(frozen=True)
class Unpaired:
    """A file that has no partner, and what it lacks."""

    case_id: str
    path: Path
    lacks: str


@dataclass(frozen=True)
class Carry:
    """The description of a dataset (``dataset.json``) that goes on to where its cases go.

    Parameters
    ----------
    meta
        What the source's description says.
    folders
        Folders that get it; of several outputs that together are no dataset, each one.
    change
        What the operation makes of it besides leaving cases out.
    """

    meta: DatasetMeta
    folders: tuple[Path, ...]
    change: Callable[[DatasetMeta], DatasetMeta] | None = None


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Parameters
    ----------
    jobs
        The cases, sorted by id.
    unpaired
        Files that no job reads because a partner is missing.
    dest
        Folder that gets manifest, sidecars and index; ``None`` for an operation that writes no volume.
    notes
        What the user should know about how the source was understood.
    details
        What the plan hands to `collect`.
    carries
        The dataset's description that goes on, where the operation makes a dataset of a dataset.
    """

    jobs: tuple[Job, ...]
    unpaired: tuple[Unpaired, ...] = ()
    dest: Path | None = None
    notes: tuple[str, ...] = ()
    details: Any = None
    carries: Carry | None = None


@dataclass(frozen=True)
class Context:
    """What the runner tells a case's function besides the case."""

    threads: int = 1
    seed: int = 0
    case_id: str = ""

    def rng(self, *more: int) -> np.random.Generator:
        """Random source that depends on seed, case id and the given numbers alone."""
        from zlib import crc32

        import numpy as np

        return np.random.default_rng([self.seed, crc32(self.case_id.encode(errors="surrogateescape")), *more])


@dataclass(frozen=True)
class Written:
    """A file that a batch has written: for which target and case, and what the manifest says of it."""

    target: str
    case_id: str
    entry: Mapping[str, Any] = field(default_factory=dict)


Place = Callable[[str, str], Path]
"""From a target's name and a case id to the path that is to be written."""
Batch = Callable[[Place, Compression], Sequence[Written]]
"""Writes several files that have work in common; batches of a case run in threads."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an operation makes of a case: new cases (made lazily), JSON facts, warnings, reasons not to conform.

    Files that the operation writes itself come as batches.
    """

    cases: Iterable[Case] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    batches: Iterable[Batch] = ()


@dataclass(frozen=True)
class Record:
    """What became of one case: a line of the manifest."""

    case_id: str
    status: Status
    message: str = ""
    key: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[Mapping[str, Any], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    took_s: float = 0.0


@dataclass(frozen=True)
class Operation(Generic[P]):
    """A command.

    Parameters
    ----------
    name
        Command name, e.g. ``itk_resample``.
    params
        Its parameter model.
    plan
        Lists the cases; opens no volume.
    case
        What it does to one case: ``(case, params, context) -> Outcome``; a pure function.
    collect
        Says what is to be told of the whole run, and asks for files that describe it and for actions; writes nothing.
    example
        A command line that runs.
    memory
        Estimates the bytes that a case needs: ``(each input's grid, voxel type and size, params) -> bytes``.
    reads
        What the function needs of its inputs, or a function that says so for given parameters: ``voxels``,
        ``one by one`` (voxels, of each volume when its turn comes: the function does no more than `Case.map`), or
        ``headers`` (grids alone).
    is_random
        Whether the seed changes the result.
    is_inspection
        Whether cases are judged instead of changed: the function gets cases with unreadable files too
        (`Case.problems` names them), the summary calls the good ones conforming, and a dry run judges as well, because
        what `collect` asks for depends on it.
    version
        A number that grows when the same parameters make other voxels than before.
    """

    name: str
    params: type[P]
    plan: Callable[[P], Plan]
    case: Callable[[Case, P, Context], Outcome]
    collect: Callable[[P, Collected], Report] | None = None
    example: str = ""
    memory: Callable[[Mapping[str, CaseInput], P], int] | None = None
    reads: Reads | Callable[[P], Reads] = "voxels"
    is_random: bool = False
    is_inspection: bool = False
    version: int = 1

    def reads_for(self, params: P) -> Reads:
        """Return what the function needs of its inputs with given parameters."""
        return self.reads(params) if callable(self.reads) else self.reads


@dataclass(frozen=True)
class Report:
    """What `collect` tells the user and asks the run to do.

    Parameters
    ----------
    lines
        What to tell; what becomes of actions and files is told after it.
    exit_code
        The exit code where it overrules the records'; a failed action or file makes it 1 at least.
    files
        Files to write: their paths, relative to the destination or absolute inside it (of a run without destination:
        as they are), and their content: a text, or a value that JSON can hold.
    actions
        What else to do to files, in this order, before the files are written.
    closing
        What to tell when everything was done.
    named_files
        Files to write where the user named them, wherever that is, and their content.
    """

    lines: tuple[str, ...] = ()
    exit_code: int | None = None
    files: Mapping[Path, Any] = field(default_factory=dict)
    actions: tuple[Action, ...] = ()
    closing: tuple[str, ...] = ()
    named_files: Mapping[Path, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CaseInput:
    """What a header tells about an input: its grid, voxel type and bytes in memory."""

    geometry: Geometry
    dtype: str
    nbytes: int


@dataclass(frozen=True)
class Collected:
    """All that is known when the last case has ended.

    Parameters
    ----------
    dest
        The destination folder, if there is one.
    records
        This run's records, in order of case id.
    all_records
        The newest record of every case that stands finished in the destination.
    plan
        What was planned.
    options
        The run's options, as JSON values.
    """

    dest: Path | None
    records: tuple[Record, ...]
    all_records: Mapping[str, Record]
    plan: Plan
    options: Mapping[str, Any]
