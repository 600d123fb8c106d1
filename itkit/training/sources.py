"""The cases of a plan's dataset: volume files of the converted layout, or the stores of ``itk_patch --store``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from itkit.core.dataset_meta import DatasetMeta
from itkit.core.errors import CaseError
from itkit.core.files import DATASET_META
from itkit.dataset.folder import CaseFiles, DatasetFolder
from itkit.dataset.sampling import StoreFolder
from itkit.io.dataset_meta import find_dataset_meta
from itkit.io.formats.store import PatchStore, store_kind
from itkit.io.json_files import write_json
from itkit.io.layouts import IMAGE, LABEL
from itkit.io.sitk_toolkit import write_volume
from itkit.training.splits import Fold, draw_fold, patients_of, read_fold

if TYPE_CHECKING:
    from itkit.training.plan_file import Plan


@dataclass(frozen=True)
class Source:
    """What a dataset holds.

    Parameters
    ----------
    cases
        Files of each case; those of a store are the store itself, for image and label.
    patients
        Patient of each case, as far as ``dataset.json`` states it.
    channels
        Names of an image's channels in their order, as far as ``dataset.json`` states them.
    """

    cases: Mapping[str, CaseFiles]
    patients: Mapping[str, str]
    channels: tuple[str, ...] = ()


def find_source(root: Path) -> Source:
    """Find the cases of a dataset.

    Parameters
    ----------
    root
        A folder with ``image/`` and ``label/``, or a folder of stores, one a case.

    Raises
    ------
    LayoutError
        When there is no case, or a case has two stores.
    """
    if holds_stores(root):
        stores = StoreFolder(root).cases
        files = {one.case_id: CaseFiles(one.case_id, (one.store.path,), one.store.path) for one in stores}
        described = find_dataset_meta(root).meta or DatasetMeta({})
        return Source(files, patients_of(described.values), described.channels)
    folder = DatasetFolder(root)
    return Source({case.case_id: case for case in folder.cases}, patients_of(folder.meta), folder.described.channels)


def find_fold(plan: Plan, base: Path, fold: int) -> tuple[Source, Fold]:
    """Find the cases of a plan's dataset, and which of them train and which validate.

    Parameters
    ----------
    plan
        The plan.
    base
        Folder to which paths of the plan are relative.
    fold
        Part of the cases that validates.

    Raises
    ------
    LayoutError
        When there is no case.
    ParamsError
        When the split is wrong, or has no such fold.
    """
    source, split = find_source(base / plan.dataset.path), plan.split
    names, patients = list(source.cases), source.patients
    if split.file:
        return source, read_fold(base / split.file, fold, names, patients)
    return source, draw_fold(names, split.folds, fold, plan.training.seed, patients)


def unpack_stores(root: Path, cases: Iterable[str], dest: Path) -> dict[str, str]:
    """Write cases of a folder of stores as a dataset of volume files; what was written before is kept.

    Parameters
    ----------
    root
        The folder of stores.
    cases
        Ids of the cases.
    dest
        Folder to write ``image/``, ``label/`` and ``dataset.json`` to.

    Returns
    -------
    dict
        Why a case was not written, by case.
    """
    stores = {one.case_id: one.store for one in StoreFolder(root).cases}
    wrong: dict[str, str] = {}
    for case in cases:
        try:
            _unpack(stores.get(case), case, dest)
        except (CaseError, OSError, MemoryError) as error:
            wrong[case] = str(error)
    if described := find_dataset_meta(root).meta:
        write_json(dest / DATASET_META, dict(described.values))
    return wrong


def _unpack(store: PatchStore | None, case: str, dest: Path) -> None:
    if store is None:
        raise CaseError("no store of this case")
    written = store.path.stat().st_mtime_ns
    paths = {
        name: dest / kind / f"{case}{name.removeprefix(kind)}.mha"
        for name, kind in ((name, LABEL if kind == "label" else IMAGE) for name, kind in store.kinds.items())
    }
    if all(path.is_file() and path.stat().st_mtime_ns == written for path in paths.values()):
        return
    for name, volume in store.read((0, 0, 0), store.geometry.size_zyx).items():
        paths[name].parent.mkdir(parents=True, exist_ok=True)
        write_volume(volume, paths[name])
        os.utime(paths[name], ns=(written, written))


def holds_stores(root: Path) -> bool:
    """Whether a folder holds stores, and no folder of images."""
    return not (root / IMAGE).is_dir() and any(store_kind(path) is not None for path in root.rglob("*"))
