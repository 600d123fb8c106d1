"""Run options, which every command has: they control how a run works, not what it computes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from itkit.core.fields import Address, Advanced, Deletes, FreeText, Group, NotInForms, PathRole, Pattern
from itkit.core.files import Compression
from itkit.core.params import MemorySize, Params
from itkit.engine.fingerprint import Fingerprint


def _shard(value: str) -> str:
    match = re.fullmatch(r"(\d+)/(\d+)", value)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"expected I/N with 1 <= I <= N, such as 3/10; got {value!r}")
    return value


class RunOptions(Params):
    """Options of a run, the same for every command."""

    mp: Annotated[bool, Group("Resources")] = False
    """Process several cases at once, as many as there are cores for this process."""
    workers: Annotated[Annotated[int, Field(ge=1)] | None, Group("Resources")] = None
    """Number of cases to process at once (default without --mp: one)."""
    dry_run: Annotated[bool, NotInForms()] = False
    """Print what would happen to which file; touch nothing."""
    existing: Annotated[Literal["skip", "redo", "error"], Group("Outputs")] = "skip"
    """What to do with existing outputs: skip finished ones, redo all, or refuse to start (error)."""
    prune: Annotated[bool, Group("Outputs"), Advanced(), Deletes()] = False
    """Remove outputs of cases that are no longer made from the source, as far as they are as they were written."""
    fingerprint: Annotated[Fingerprint, Group("Outputs"), Advanced()] = "stat"
    """How to tell whether a file has changed: by size, times and inode (stat), or by a digest of its bytes."""
    on_error: Annotated[Literal["continue", "stop"], Advanced()] = "continue"
    """What to do after a failed case: continue with the others, or stop."""
    strict: Annotated[bool, Advanced()] = False
    """Refuse to start when a file has no partner."""
    seed: Annotated[int, Field(ge=0), Advanced()] = 0
    """Seed of all random draws; results depend only on seed, case and copy."""
    progress: Annotated[Literal["auto", "bar", "json", "none"], Advanced(), NotInForms()] = "auto"
    """Progress bar on a terminal, JSON lines on stdout, or none."""
    compression: Annotated[Compression, Group("Outputs")] = "fast"
    """How to compress output volumes."""
    max_memory: Annotated[MemorySize | None, Group("Resources"), Advanced()] = None
    """Memory that the run may use on this machine (default: 80 % of what is free)."""
    executor: Annotated[Literal["serial", "process", "dask"] | None, Group("Resources"), Advanced()] = None
    """Where to run cases (default: process if there are several workers, else serial); dask without --dask is local."""
    dask: Annotated[str | None, Address(), FreeText("tcp://10.0.0.7:8786"), Group("Resources"), Advanced()] = None
    """Address of a running Dask scheduler; its workers must see source and destination under the same paths."""
    shard: Annotated[Annotated[str, Pattern(r"^[0-9]+/[0-9]+$"), AfterValidator(_shard)] | None, Advanced()] = None
    """I/N: only every N-th case of the sorted list, from the I-th on (array jobs)."""
    config: Annotated[Path | None, PathRole("in_file"), Advanced(), NotInForms()] = None
    """TOML or JSON file with parameters; options on the command line override it."""

    @property
    def uses_dask(self) -> bool:
        """Whether cases run on the workers of a Dask cluster, which may be other machines."""
        return self.dask is not None or self.executor == "dask"

    @model_validator(mode="after")
    def _one_executor(self) -> Self:
        if self.executor == "serial" and (self.mp or (self.workers or 1) > 1):
            raise ValueError("--executor serial works on one case at a time; drop --mp and --workers")
        if self.dask is not None and self.executor not in (None, "dask"):
            raise ValueError(f"--dask and --executor {self.executor} contradict each other; keep one of them")
        return self
