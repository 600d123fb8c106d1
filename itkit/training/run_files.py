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
from itkit.core.errors import ItkitError, LayoutError, ParamsError
from itkit.core.text import some
from itkit.core.toml import toml_value
from itkit.core.version import VERSION
from itkit.inference.model_folder import file_digest, read_model
from itkit.io.json_files import json_line
from itkit.training.plan_file import Plan, read_plan

if TYPE_CHECKING:
    from itkit.training.prepared import PreparedCase
    from itkit.training.splits import Fold

PLAN_FILE, RUN_FILE = "plan.toml", "run.json"
_MAY_CHANGE = ("training.workers",)
"""Keys that do not change the result: a run goes on with another value."""
_PLACES = ("dataset.path", "split.file", "network.weights")
"""Keys that say where something lies: for a run that was copied, what lies there is compared."""
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
        return noted_contents(self.facts.get("dataset"))

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

    A folder that was copied reaches its dataset, split and weights by other paths. Where the run has noted their
    content, it decides: that of the weights here, that of the cases and their split in `require_same_data`.

    Parameters
    ----------
    run
        The run folder; one without a plan belongs to none yet, but one of a run that has lost it is refused.
    plan
        The plan, its paths relative to the folder.
    fold
        Part of the cases that validates.

    Raises
    ------
    ParamsError
        When the folder belongs to another one.
    """
    if not (run / PLAN_FILE).is_file() and not (run / RUN_FILE).is_file():
        return
    there = read_plan(run / PLAN_FILE)
    begun = read_run(run) if (run / RUN_FILE).is_file() else None
    keys = [
        f"{section}.{key}"
        for section, values in plan
        for key in type(values).model_fields
        if getattr(values, key) != getattr(getattr(there, section), key)
    ]
    wrong = [key for key in keys if key not in _MAY_CHANGE and not (begun and _may_lie_elsewhere(begun, plan, key))]
    if wrong and set(wrong) <= set(_PLACES):
        lines = ", ".join(f"{key} = {toml_value(_value(plan, key))}" for key in wrong)
        raise ParamsError(
            f"{run}: a run of another plan ({', '.join(wrong)} differ); choose another folder, or, if they lead to the "
            f"same files, write {lines} into {run / PLAN_FILE}"
        )
    if wrong:
        raise ParamsError(f"{run}: a run of another plan ({', '.join(wrong)} differ); choose another folder")
    if begun and (of := begun.facts.get("fold")) != fold:
        raise ParamsError(f"{run}: the run of fold {of}, not of fold {fold}; choose another folder")


def _value(plan: Plan, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(plan, section), name)


def _may_lie_elsewhere(begun: Run, plan: Plan, key: str) -> bool:
    """Whether a run knows what lies where a key leads, so that another path may lead there."""
    if key == "network.weights":
        digest = begun.facts.get("weights_digest")
        return digest is not None and digest == weights_digest(plan, begun.path)
    return key in _PLACES and bool(begun.contents)


def weights_digest(plan: Plan, folder: Path) -> str | None:
    """Return a digest of the weights that a plan starts from; ``None`` if there are none.

    Parameters
    ----------
    plan
        The plan.
    folder
        What its paths are relative to.
    """
    if not plan.network.weights:
        return None
    path = folder / plan.network.weights
    try:
        with (read_model(path).weights if path.is_dir() else path).open("rb") as file:
            return file_digest(file)
    except (OSError, ItkitError):
        return None


def require_same_data(run: Path, parts: Fold, contents: Mapping[str, str]) -> None:
    """Refuse to go on with other data.

    With other cases, what was validated would be learnt from; with edited ones, the result would be that of neither.

    Parameters
    ----------
    run
        The run folder; one without ``run.json`` was begun with none.
    parts
        Cases that train and validate.
    contents
        Digest of each case, of `contents_of`.

    Raises
    ------
    ParamsError
        When the run was begun with other cases, or with other voxels of them.
    """
    if not (run / RUN_FILE).is_file():
        return
    begun = read_run(run)
    for part, word, now in (("train", "learn from", parts.train), ("val", "validate", parts.val)):
        if other := sorted({*getattr(begun, part)} ^ {*now}):
            raise ParamsError(
                f"{run}: begun with other cases to {word} ({some(other)}); restore the dataset or the split, or choose "
                "another folder"
            )
    if begun.contents:
        require_same_contents(run, begun.contents, contents)


def require_same_contents(run: Path, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Refuse to go on with cases that were added, removed or changed.

    Parameters
    ----------
    run
        The run folder.
    before, now
        Digest of each case, of `contents_of`: when the run was begun, and as it is.

    Raises
    ------
    ParamsError
        When they differ.
    """
    if other := sorted(name for name in {*before, *now} if before.get(name) != now.get(name)):
        raise ParamsError(
            f"{run}: images or labels were added, removed or changed since the run was begun ({some(other)}); restore "
            "them, or choose another folder"
        )


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


def noted_contents(facts: Any) -> dict[str, str]:
    """Return what `contents_of` gave when it was noted as ``contents``; empty where it is missing or malformed."""
    found = facts.get("contents") if isinstance(facts, Mapping) else None
    return {str(name): str(digest) for name, digest in found.items()} if isinstance(found, Mapping) else {}


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
    run: Path,
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
    run
        The run folder.
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
    digest = weights_digest(plan, run)
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
        **({} if digest is None else {"weights_digest": digest}),
        "lost_classes": lost,
        "notes": list(notes),
    }
