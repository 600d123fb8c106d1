"""The cases of a plan's dataset: volume files of the converted layout, or the stores of ``itk_patch --store``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from itkit.core.dataset_meta import DatasetMeta
from itkit.dataset.folder import CaseFiles, DatasetFolder
from itkit.dataset.sampling import StoreFolder
from itkit.io.dataset_meta import find_dataset_meta
from itkit.io.formats.store import store_kind
from itkit.io.layouts import IMAGE
from itkit.training.splits import patients_of


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


def holds_stores(root: Path) -> bool:
    """Whether a folder holds stores, and no folder of images."""
    return not (root / IMAGE).is_dir() and any(store_kind(path) is not None for path in root.rglob("*"))
