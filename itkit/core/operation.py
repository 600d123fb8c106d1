"""`Operation` (data plus a pure function) and the values that go in and out of it, from `Plan` to `Report`."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from itkit.core.actions import Action
from itkit.core.dataset_meta import DatasetMeta
from itkit.core.draws import case_generator
from itkit.core.errors import LayoutError
from itkit.core.files import Compression, is_inner_name
from itkit.core.geometry import Geometry
from itkit.core.params import Params
from itkit.core.volume import Case, Kind

if TYPE_CHECKING:
    import numpy as np

P = TypeVar("P", bound=Params)
Status = Literal["done", "skipped", "left", "failed", "crashed", "nonconforming", "planned"]
FAILED = ("failed", "crashed")
"""What a case without a result is called: by its own fault, or by ours."""
InputKind = Literal["image", "label", "grid", "file"]
Reads = Literal["voxels", "one by one", "in turn", "headers"]


@dataclass(frozen=True)
class InputFile:
    """One input file of a case.

    Of a ``grid`` only the header is read; a ``file`` is read by the operation itself.
    """

    path: Path
    kind: InputKind
    components: tuple[int, ...] = (1,)
    """The numbers of values per voxel that an image may have: more than 1 if a file may hold several channels."""


@dataclass(frozen=True)
class Target:
    """Where the volumes of one name are written: ``folder / f"{case id}{suffix}"``."""

    folder: Path
    suffix: str
    kind: Kind

    def name(self, case_id: str) -> str:
        """Return the path of the volume of a case in the folder.

        Raises
        ------
        LayoutError
            When the id, or a channel's name in the suffix, leads out of the folder.
        """
        name = f"{case_id}{self.suffix}"
        if not is_inner_name(name):
            raise LayoutError(f"the case {name!r} would lie outside {self.folder}; its name is refused: rename it")
        return name

    def path(self, case_id: str) -> Path:
        """Return the final path of the volume of a case, under the same conditions."""
        return self.folder / self.name(case_id)


@dataclass(frozen=True)
class Job:
    """One case to process: the files that it reads and the places where its results go."""

    case_id: str
    inputs: Mapping[str, InputFile]
    targets: Mapping[str, Target] = field(default_factory=dict)
    output_ids: tuple[str, ...] | None = None
    """Ids of the cases that the job makes, as far as the plan knows them; ``None`` for one case with the job's own id.

    With any value but ``None``, the job replaces all earlier outputs of the case, in whichever folder of the
    destination they lie.
    """
    details: Any = None
    """Data that the plan hands to the case's function as `Case.details`; it is sent to worker processes."""
    stamp: str = ""
    """Digest of everything else the result depends on, e.g. of files that are not listed as inputs."""
    more_files: tuple[Path, ...] = ()
    """Files that the result depends on beside the inputs, e.g. the other slices of a series; `stamp` tells of them."""
    problem: str = ""
    """Why the case can't be processed, e.g. because a channel's file is missing; the case fails with this message."""
    sizes: Mapping[str, CaseInput] = field(default_factory=dict)
    """What the plan knows of inputs whose headers do not tell their size, such as series of files."""

    def outputs(self) -> list[Path]:
        """Return the final paths that are known before the case runs."""
        ids = (self.case_id,) if self.output_ids is None else self.output_ids
        return [target.path(case_id) for case_id in ids for target in self.targets.values()]


class Jobs(Sequence[Job]):
    """Jobs that are made when they are asked for, so that a plan of many cases holds only their ids.

    Parameters
    ----------
    ids
        Ids of the cases, in order.
    make
        Returns the job of a case, without `Job.more_files`; it makes the same one each time.
    folders
        All folders of the jobs' targets.
    targets
        The targets, where all jobs have the same, and no `Job.output_ids`.
    reads
        Returns the paths of the files that the job of a case reads, as text, by the names of the volumes; ``None`` if
        only the job tells, or if its result depends on more than them (`Job.stamp`, `Job.more_files`).
    """

    def __init__(
        self,
        ids: Sequence[str],
        make: Callable[[str], Job],
        folders: Iterable[Path],
        targets: Mapping[str, Target] | None = None,
        reads: Callable[[str], Mapping[str, str]] | None = None,
    ) -> None:
        self.ids = ids
        self.targets = targets
        self.reads = reads
        self.folders = tuple(dict.fromkeys(folders))
        self._make = make

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> Jobs: ...
    def __getitem__(self, index: int | slice) -> Job | Jobs:
        if isinstance(index, slice):
            return Jobs(self.ids[index], self._make, self.folders, self.targets, self.reads)
        return self._make(self.ids[index])

    def __iter__(self) -> Iterator[Job]:
        return map(self._make, self.ids)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as that of a list

    def __add__(self, more: Sequence[Job]) -> Sequence[Job]:
        return [*self, *more] if more else self


def case_ids(jobs: Sequence[Job]) -> Sequence[str]:
    """Return the ids of jobs' cases, in order."""
    return jobs.ids if isinstance(jobs, Jobs) else [job.case_id for job in jobs]


def target_folders(jobs: Sequence[Job]) -> tuple[Path, ...]:
    """Return all folders of jobs' targets, each once."""
    if isinstance(jobs, Jobs):
        return jobs.folders
    return tuple(dict.fromkeys(target.folder for job in jobs for target in job.targets.values()))


@dataclass(frozen=True)
class Unpaired:
    """A file without a partner; ``lacks`` names what is missing."""

    case_id: str
    path: Path
    lacks: str


@dataclass(frozen=True)
class Carry:
    """A dataset description (``dataset.json``) that is carried over to the destination of the cases.

    Parameters
    ----------
    meta
        The description of the source.
    folders
        Folders that receive it: all output folders, if together they are not one dataset.
    change
        How the operation changes the description, besides leaving out cases.
    """

    meta: DatasetMeta
    folders: tuple[Path, ...]
    change: Callable[[DatasetMeta], DatasetMeta] | None = None


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Parameters
    ----------
    jobs
        One job for each case, sorted by case id.
    unpaired
        Files that no job reads because a partner is missing.
    dest
        Folder for the manifest, the sidecars and the index; ``None`` for an operation that writes no volumes.
    notes
        What the user should know about how the source was understood.
    details
        Data that the plan hands to `collect`.
    carries
        The dataset description to carry over, if the operation makes one dataset from another.
    elsewhere
        Ids of the cases that other shards make.
    is_partial
        Whether options leave cases of the source out, so that a case without a job may still be in the source.
    index
        Folder whose index tells the grids of the inputs, where the operation asks for nothing else; it goes by the
        names and grids of a case's volumes, if `Jobs.reads` names the files.
    writes
        Files of the whole run that are its result, for a dry run to name.
    """

    jobs: Sequence[Job]
    unpaired: tuple[Unpaired, ...] = ()
    dest: Path | None = None
    notes: tuple[str, ...] = ()
    details: Any = None
    carries: Carry | None = None
    elsewhere: frozenset[str] = frozenset()
    is_partial: bool = False
    index: Path | None = None
    writes: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Context:
    """What the runner passes to a case's function besides the case and the parameters."""

    threads: int = 1
    seed: int = 0
    case_id: str = ""
    memory: int | None = None
    """Bytes that the run has set aside for the case: what `Operation.memory` estimated, or less if
    `Operation.least_memory` allows it; ``None`` where nobody counts."""

    def rng(self, *more: int) -> np.random.Generator:
        """Return a random generator that depends only on the seed, the case id and the given numbers."""
        return case_generator(self.seed, self.case_id, *more)


@dataclass(frozen=True)
class Written:
    """A file that a batch has written: its target, its case, and its entry in the manifest."""

    target: str
    case_id: str
    entry: Mapping[str, Any] = field(default_factory=dict)


Place = Callable[[str, str], Path]
"""Maps a target's name and a case id to the path to write."""
Batch = Callable[[Place, Compression], Sequence[Written]]
"""Writes several files that share some work; the batches of a case run in threads."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an operation makes of a case.

    It holds new cases (made lazily), facts as JSON values, warnings, reasons why the case does not conform, and
    batches, which write files that the operation itself produces.
    """

    cases: Iterable[Case] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    """Read when the new cases have been made, so that a list may grow until then."""
    reasons: tuple[str, ...] = ()
    batches: Iterable[Batch] = ()
    late_warnings: Callable[[], Iterable[str]] | None = None
    """Returns more warnings when everything has been written: those of volumes that are made as they are written."""


@dataclass(frozen=True)
class Record:
    """The result of one case; one line of the manifest."""

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
        Lists the jobs of a run; does not open any volume.
    case
        Pure function that processes one case: ``(case, params, context) -> Outcome``.
    collect
        Returns the report of the whole run: lines to print, files to write and actions to carry out. It writes nothing
        itself.
    example
        A command line that runs.
    memory
        Estimates the bytes that a case needs: ``(what is known of each input, params) -> bytes``. The engine adds what
        reading takes for a while, images in the type of ``--dtype``, and the buffers of threads that compress.
    least_memory
        Estimates the bytes with which a case still works, slower, by keeping a part of its data on disk. Where the run
        has less than ``memory`` says, the case gets what there is, but at least so much; `Context.memory` tells it.
    reads
        What ``case`` needs of its inputs, or a function that returns it for given parameters: ``voxels``,
        ``one by one`` (the voxels of one volume at a time: ``case`` does nothing but call `Case.map`), ``in turn``
        (also one at a time, and none is read ahead, because a case has many), or ``headers`` (grids only).
    is_random
        Whether the seed changes the result.
    is_inspection
        Whether the operation judges cases instead of changing them. Its function also receives cases with unreadable
        files (`Case.problems` names them), the summary calls the good cases conforming, and a dry run judges them too,
        because the report that `collect` returns depends on it.
    version
        Increase it when the same parameters produce other voxels than before.
    """

    name: str
    params: type[P]
    plan: Callable[[P], Plan]
    case: Callable[[Case, P, Context], Outcome]
    collect: Callable[[P, Collected], Report] | None = None
    example: str = ""
    memory: Callable[[Mapping[str, CaseInput], P], int] | None = None
    least_memory: Callable[[Mapping[str, CaseInput], P], int] | None = None
    reads: Reads | Callable[[P], Reads] = "voxels"
    is_random: bool = False
    is_inspection: bool = False
    version: int = 1

    def reads_for(self, params: P) -> Reads:
        """Return what ``case`` needs of its inputs with the given parameters."""
        return self.reads(params) if callable(self.reads) else self.reads


@dataclass(frozen=True)
class Report:
    """What `collect` tells the user and requests from the run.

    Parameters
    ----------
    lines
        Lines to print; the results of actions and files are printed after them.
    exit_code
        Exit code that replaces the one that follows from the records; a failed action or file makes it at least 1.
    files
        Files to write: path and content. A path is relative to the destination, or absolute and inside it (in a run
        without a destination: any path). The content is a text, bytes, or a value that JSON can hold.
    actions
        Actions on files, in this order; they come before the files are written.
    closing
        Lines to print when everything is done.
    named_files
        Files to write at the paths that the user named, which may lie anywhere, and their content.
    """

    lines: tuple[str, ...] = ()
    exit_code: int | None = None
    files: Mapping[Path, Any] = field(default_factory=dict)
    actions: tuple[Action, ...] = ()
    closing: tuple[str, ...] = ()
    named_files: Mapping[Path, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CaseInput:
    """What is known of an input before it is read.

    Parameters
    ----------
    geometry
        Its grid.
    dtype, nbytes
        Type and bytes of its voxels in memory.
    reading
        Bytes that reading it takes beside these, for a while: what a decoder or a conversion holds.
    """

    geometry: Geometry
    dtype: str
    nbytes: int
    reading: int = 0


@dataclass(frozen=True)
class Collected:
    """What `collect` receives when the last case has ended.

    Parameters
    ----------
    dest
        The destination folder, or ``None``.
    records
        The records of this run, in order of case id.
    all_records
        The newest record of every finished case in the destination.
    plan
        The plan of the run.
    options
        The run's options, as JSON values.
    failed
        The record of every case that failed, in this run or, with the same parameters, in another shard's.
    """

    dest: Path | None
    records: Sequence[Record]
    all_records: Mapping[str, Record]
    plan: Plan
    options: Mapping[str, Any]
    failed: Mapping[str, Record] = field(default_factory=dict)

    def facts(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the facts of the cases of ``all_records`` in order, which are read when they are asked for."""
        return _Facts(self)

    def in_order(self) -> Iterator[tuple[str, Record]]:
        """Yield the cases of ``all_records`` in order, each with its record, one after the other."""
        for case in sorted(self.all_records):
            record = self.all_records.get(case)
            if record is not None:
                yield case, record


class _Facts(Mapping[str, Mapping[str, Any]]):
    """The facts of finished cases; only those of one case are in memory."""

    def __init__(self, run: Collected) -> None:
        self._run = run

    def __getitem__(self, case: str) -> Mapping[str, Any]:
        return self._run.all_records[case].facts

    def __iter__(self) -> Iterator[str]:
        return (case for case, _ in self._run.in_order())

    def __len__(self) -> int:
        return len(self._run.all_records)

    def items(self) -> ItemsView[str, Mapping[str, Any]]:
        """Return the cases in order, with their facts; a case whose record turns out to be damaged is left out."""
        return _FactsInOrder(self, self._run)


class _FactsInOrder(ItemsView[str, Mapping[str, Any]]):
    def __init__(self, facts: _Facts, run: Collected) -> None:
        super().__init__(facts)
        self._run = run

    def __iter__(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        return ((case, record.facts) for case, record in self._run.in_order())
