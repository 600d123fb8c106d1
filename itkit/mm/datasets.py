"""Datasets of MMEngine: folders of ITKIT's layout, or chunked stores, as patches to train and volumes to validate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import Compose
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import Dataset, Sampler

from itkit.core.bounded import parse_json, read_bounded
from itkit.core.draws import case_generator
from itkit.core.errors import ArgumentError, CaseError, LayoutError, ParamsError
from itkit.core.text import some
from itkit.dataset.convert.spec import DatasetSpec
from itkit.dataset.folder import DatasetFolder
from itkit.dataset.sampling import Patches, Sample, StoreFolder
from itkit.training.splits import read_fold

PARTS = ("train", "val", "test")
_BACKGROUND = "background"
_PIPELINE = 1
"""Stream of random numbers of an item's transforms; the place of its patch has fewer parts."""


@DATASETS.register_module()
class VolumeDataset(Dataset[Any]):
    """Cases of a dataset as patches (with ``patch_size``) or as whole volumes.

    Which patch an item is follows from seed, case, and the item's number alone; numbers go on beyond the length of the
    dataset, with other patches of the same cases (`NumberedSampler` counts on). So a resumed training sees what an
    undisturbed one sees.

    Parameters
    ----------
    data_root
        Folder with ``image/`` and ``label/``, or a folder of chunked stores (``itk_patch --store``).
    split
        ``train``, ``val``, ``test``, or ``None`` for all cases.
    split_file
        ``splits.json`` of itk_split (or nnU-Net's ``splits_final.json``), relative to ``data_root``. If it is not
        there, the splits of ``dataset.json`` count.
    fold
        Which fold of the file.
    classes
        Only these classes, by name; they become 1, 2, … in this order. By default, all.
    patch_size
        Voxels of a patch, ZYX; ``None``: whole volumes. With one plane, patches are slices ``(C, Y, X)``.
    per_case
        Patches of each case in an epoch.
    foreground
        Part of the patches that are centred on foreground.
    seed
        Decides the patches.
    pipeline
        Transforms: they take and return a dictionary with ``img`` ``(C, Z, Y, X)``, ``gt_seg_map`` ``(Z, Y, X)``,
        ``case``, ``spacing`` (ZYX, mm), ``origin`` and ``direction`` (XYZ), ``start``, ``number``, and ``rng``, the
        generator from which random transforms draw.
    labelled_only
        Leave out cases without a label.
    metainfo
        Replaces parts of `metainfo`.
    """

    METAINFO: Mapping[str, Any] = {}
    """Of named datasets: ``classes``, background first."""

    def __init__(
        self,
        data_root: str | Path,
        split: str | None = None,
        split_file: str = "splits.json",
        fold: int = 0,
        classes: Sequence[str] = (),
        *,
        patch_size: Sequence[int] | None = None,
        per_case: int = 1,
        foreground: float = 0.33,
        seed: int = 0,
        pipeline: Sequence[Any] = (),
        labelled_only: bool = True,
        metainfo: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.root, self.split, self.seed = Path(data_root), split, seed
        if split is not None and split not in PARTS:
            raise ParamsError(f"{type(self).__name__}: split: expected {', '.join(PARTS)} or None; got {split!r}")
        is_folder = (self.root / "image").is_dir()
        self.folder = (
            DatasetFolder(self.root, classes=tuple(classes), labelled_only=labelled_only) if is_folder else None
        )
        if self.folder is None and classes:
            raise ParamsError(f"{type(self).__name__}: classes: stores keep their classes; itk_extract chooses some")
        stores = None if is_folder else StoreFolder(self.root)
        found: Sequence[Any] = self.folder.cases if self.folder is not None else stores.cases  # type: ignore[union-attr]
        chosen = self._chosen([case.case_id for case in found], split_file, fold)
        self.cases = [case for case in found if case.case_id in chosen]
        self.patches: Patches | None = None
        self.flat = patch_size is not None and len(patch_size) == 3 and patch_size[0] == 1
        if patch_size is not None:
            z, y, x = patch_size if len(patch_size) == 3 else (1, *patch_size)
            self.flat = z == 1
            sources = self.folder.patches((z, y, x)).cases if self.folder is not None else found
            sources = [source for source in sources if source.case_id in chosen]
            self.patches = Patches(sources, (z, y, x), per_case, foreground, seed)
        self.pipeline = Compose(list(pipeline))
        self._meta = dict(metainfo or {})

    def _chosen(self, cases: list[str], split_file: str, fold: int) -> set[str]:
        if self.split is None:
            return set(cases)
        path = self.root / split_file
        if path.is_file() and self.split != "test":
            return set(getattr(read_fold(path, fold, cases), self.split))
        if path.is_file():
            wanted = _test_cases(path)
        elif self.folder is not None and self.split in self.folder.described.splits:
            wanted = list(self.folder.described.splits[self.split])
        else:
            raise LayoutError(f"{path}: no such file, and no split {self.split!r} in dataset.json; itk_split writes it")
        if missing := sorted(set(wanted) - set(cases)):
            raise LayoutError(f"{path}: split {self.split} names {some(missing)}, which is not in {self.root}")
        if not wanted:
            raise LayoutError(f"{path}: split {self.split} has no case")
        return set(wanted)

    @property
    def metainfo(self) -> dict[str, Any]:
        """What metrics and hooks should know: ``classes``, background first."""
        names: Sequence[str] = ()
        if self.folder is not None and self.folder.classes:
            names = (_BACKGROUND, *self.folder.classes)
        elif self.folder is not None and len(self.folder.labels) > 1:
            names = names_by_value(self.folder.labels)
        return {**self.METAINFO, **({"classes": tuple(names)} if names else {}), **self._meta}

    def __len__(self) -> int:
        return len(self.cases) if self.patches is None else len(self.patches)

    def __getitem__(self, number: int) -> Any:
        """Return an item; numbers beyond the length are other patches of the same cases.

        Raises
        ------
        CaseError
            When a file can't be read; the case is named.
        """
        if number < 0:
            raise IndexError(number)
        turn, place = divmod(number, len(self))
        case_id = (
            self.cases[place].case_id
            if self.patches is None
            else self.patches.cases[place // self.patches.per_case].case_id
        )
        try:
            sample = self._whole(place) if self.patches is None else self.patches.at_epoch(turn)[place]
            return self.pipeline(self._results(sample, number))
        except (CaseError, OSError, ValueError, MemoryError) as error:
            raise CaseError(f"{case_id}: {error}") from error

    def _whole(self, place: int) -> Sample:
        case = self.cases[place]
        if self.folder is not None:
            return self.folder.load(case)
        opened = case.open()
        everything = (slice(None),) * 3
        image = np.stack([np.asarray(channel[everything]) for channel in opened.channels])
        label = None if opened.label is None else opened.mapped(np.asarray(opened.label[everything]))
        return Sample(case.case_id, image, label, opened.geometry)

    def _results(self, sample: Sample, number: int) -> dict[str, Any]:
        image, label = sample.image, sample.label
        if self.flat:
            image, label = image[:, 0], None if label is None else label[0]
        results = {
            "img": image,
            "case": sample.case_id,
            "number": number,
            "start": sample.start_zyx,
            "spacing": sample.geometry.spacing_zyx,
            "origin": sample.geometry.origin_xyz,
            "direction": sample.geometry.direction_xyz,
            "rng": case_generator(self.seed, sample.case_id, number, 0, _PIPELINE),
        }
        return results if label is None else {**results, "gt_seg_map": label}


def _test_cases(path: Path) -> list[str]:
    try:
        values: Any = parse_json(read_bounded(path))
        return [str(case) for case in values["test"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LayoutError(f"{path}: expected a list test, as itk_split writes it ({error})") from error


@DATA_SAMPLERS.register_module()
class NumberedSampler(Sampler[int]):
    """Number the items of a whole training, in a random order that is drawn anew in every turn.

    Every turn goes once through the dataset; the numbers of the second turn begin at its length, and so on, so that
    `VolumeDataset` cuts other patches. Processes take the numbers in turn. It works with loops of iterations and of
    epochs, and continues exactly when a training is resumed.

    Parameters
    ----------
    dataset
        The dataset.
    shuffle
        Draw the order; otherwise that of the dataset.
    seed
        Decides the order; by default that of the runner.
    infinite
        Go on without end, for loops of iterations; otherwise a turn is an epoch.
    """

    def __init__(self, dataset: Any, shuffle: bool = True, seed: int | None = None, *, infinite: bool = True) -> None:
        self.rank, self.world = get_dist_info()
        self.size: int = len(dataset)
        if self.size < 1:
            raise ArgumentError("NumberedSampler: the dataset is empty")
        self.shuffle, self.infinite = shuffle, infinite
        self.seed = sync_random_seed() if seed is None else int(seed)
        self._start = self._turn = 0

    def _number(self, place: int) -> int:
        turn = place // self.size
        if self._order_of != turn:
            self._order_of = turn
            order = (
                case_generator(self.seed, "order of items", turn).permutation(self.size)
                if self.shuffle
                else range(self.size)
            )
            self._order = [int(item) for item in order]
        return turn * self.size + self._order[place % self.size]

    _order_of = -1
    _order: Sequence[int] = ()

    def __iter__(self) -> Iterator[int]:
        if self.infinite:
            place = self._start * self.world + self.rank
            while True:
                yield self._number(place)
                place += self.world
        begin = self._turn * self.size
        for place in range(self.rank, len(self) * self.world, self.world):
            yield self._number(begin + place % self.size)

    def __len__(self) -> int:
        return int(-(-self.size // self.world))

    def set_epoch(self, epoch: int) -> None:
        """Take the items of an epoch."""
        self._turn = 0 if self.infinite else epoch

    def skip(self, num_samples: int) -> None:
        """Leave out the first items of this process: those that a resumed training has seen."""
        self._start = num_samples


def names_by_value(labels: Mapping[int, str]) -> tuple[str, ...]:
    """Return the name of each value from 0 on; values without a name get one.

    Examples
    --------
    >>> names_by_value({1: "liver", 3: "spleen"})
    ('background', 'liver', 'class_2', 'spleen')
    """
    names = {0: _BACKGROUND, **labels}
    return tuple(names.get(value, f"class_{value}") for value in range(max(names) + 1))


def dataset_class(spec: DatasetSpec, name: str) -> type[VolumeDataset]:
    """Make and register the dataset class of a public dataset.

    Parameters
    ----------
    spec
        Its facts.
    name
        Name of its package; the class is called ``<name>_Mha``.

    Returns
    -------
    type
        A `VolumeDataset` that knows the dataset's classes, also where ``dataset.json`` is missing.

    Examples
    --------
    >>> from itkit.dataset.KiTS23.meta import SPEC
    >>> dataset_class(SPEC, "KiTS23").METAINFO["classes"]
    ('background', 'kidney', 'tumor', 'cyst')
    """
    classes = names_by_value(spec.labels)
    title = f"{name}_Mha"
    made = type(
        title,
        (VolumeDataset,),
        {
            "__doc__": f"{spec.title}, as ``itkit convert-dataset {spec.name}`` writes it; see `VolumeDataset`.",
            "__module__": f"itkit.dataset.{name}.mm_dataset",
            "METAINFO": {"dataset": spec.name, **({"classes": classes} if len(classes) > 1 else {})},
        },
    )
    DATASETS.register_module(module=made, force=True)
    return made
