"""The files of a run that say what was trained: ``plan.toml`` and ``run.json``."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itkit.core.bounded import parse_json, read_bounded
from itkit.core.errors import LayoutError, ParamsError
from itkit.core.version import VERSION
from itkit.io.json_files import json_line
from itkit.training.plan_file import Plan, read_plan

if TYPE_CHECKING:
    from itkit.training.prepared import PreparedCase
    from itkit.training.splits import Fold

PLAN_FILE, RUN_FILE = "plan.toml", "run.json"
_MAY_CHANGE = ("training.workers",)
"""Keys that do not change the result: a run goes on with another value."""
_DIGITS = 16
"""Digits of a case's digest that a run notes."""
_PACKAGES = ("torch", "lightning", "monai", "numpy")


@dataclass(frozen=True)
class Run:
    """A run on disk.

    Parameters
    ----------
    path
        Its folder.
    plan
        The plan as used; its paths are relative to the folder.
    facts
        The content of ``run.json``.
    """

    path: Path
    plan: Plan
    facts: Mapping[str, Any]

    @property
    def dataset(self) -> Path:
        """Folder of the dataset."""
        return self.path / self.plan.dataset.path

    @property
    def train(self) -> tuple[str, ...]:
        """Cases that were learnt from."""
        return self._part("train")

    @property
    def val(self) -> tuple[str, ...]:
        """Cases that validate."""
        return self._part("val")

    @property
    def contents(self) -> Mapping[str, str]:
        """Digest of each case's image and label when the run was begun; those of older runs are not known."""
        dataset = self.facts.get("dataset")
        found = dataset.get("contents") if isinstance(dataset, Mapping) else None
        return {str(name): str(digest) for name, digest in found.items()} if isinstance(found, Mapping) else {}

    def _part(self, name: str) -> tuple[str, ...]:
        split = self.facts.get("split")
        part = split.get(name) if isinstance(split, Mapping) else None
        return tuple(map(str, part)) if isinstance(part, list) else ()


def read_run(path: Path) -> Run:
    """Read what a run was.

    Raises
    ------
    LayoutError
        When the folder is not one of ``itkit train``.
    ParamsError
        When its plan is damaged.
    """
    try:
        facts = parse_json(read_bounded(path / RUN_FILE))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise LayoutError(f"{path}: expected a run of itkit train; {RUN_FILE} can't be read ({reason})") from error
    if not isinstance(facts, Mapping):
        raise LayoutError(f"{path}: expected a run of itkit train; {RUN_FILE} is malformed")
    return Run(path, read_plan(path / PLAN_FILE), facts)


def require_same(run: Path, plan: Plan, fold: int) -> None:
    """Refuse to go on with another plan, or another fold of it.

    Parameters
    ----------
    run
        The run folder; one without a plan belongs to none yet.
    plan
        The plan, its paths relative to the folder.
    fold
        Part of the cases that validates.

    Raises
    ------
    ParamsError
        When the folder belongs to another one.
    """
    if not (run / PLAN_FILE).is_file():
        return
    there = read_plan(run / PLAN_FILE)
    keys = [
        f"{section}.{key}"
        for section, values in plan
        for key in type(values).model_fields
        if getattr(values, key) != getattr(getattr(there, section), key)
    ]
    if wrong := [key for key in keys if key not in _MAY_CHANGE]:
        raise ParamsError(f"{run}: a run of another plan ({', '.join(wrong)} differ); choose another folder")
    begun = read_run(run).facts.get("fold") if (run / RUN_FILE).is_file() else fold
    if begun != fold:
        raise ParamsError(f"{run}: the run of fold {begun}, not of fold {fold}; choose another folder")


def digest_of(cases: Iterable[PreparedCase]) -> str:
    """Return a digest of prepared cases: their ids, their voxels, their grids, and the places of their classes.

    It does not depend on the folder or the dates of the files.
    """
    digest = hashlib.sha256()
    for case in sorted(cases, key=lambda case: case.case_id):
        digest.update(json_line([case.case_id, dict(case.facts)]).encode())
    return digest.hexdigest()


def contents_of(cases: Mapping[str, PreparedCase]) -> dict[str, str]:
    """Return the digest of each case's image and label, as a run notes it."""
    return {name: str(cases[name].facts["content"])[:_DIGITS] for name in sorted(cases)}


def versions() -> dict[str, str]:
    """Return the versions of ITKIT, Python and what training stands on."""
    found = {"itkit": VERSION, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Return what computes: system, processor, cores, GPUs."""
    import torch

    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
    }


def run_facts(
    plan: Plan,
    fold: int,
    parts: Fold,
    cases: Mapping[str, PreparedCase],
    *,
    weights: str | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the content of ``run.json``.

    Parameters
    ----------
    plan
        The plan as the run keeps it.
    fold
        Which part of the cases validates.
    parts
        Cases that train and validate.
    cases
        All of them, prepared.
    weights
        Report of the weights from which training started.
    notes
        What else should be known.
    """
    lost = {name: case.facts["lost"] for name, case in cases.items() if case.facts.get("lost")}
    return {
        "versions": versions(),
        "machine": machine(),
        "dataset": {
            "path": plan.dataset.path,
            "cases": len(cases),
            "digest": digest_of(cases.values()),
            "contents": contents_of(cases),
        },
        "fold": fold,
        "split": {"train": list(parts.train), "val": list(parts.val)},
        "training_digest": digest_of(cases[name] for name in parts.train),
        "weights": weights,
        "lost_classes": lost,
        "notes": list(notes),
    }
