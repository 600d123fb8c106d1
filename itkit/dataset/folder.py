"""Access a converted dataset from Python: volumes, slices and patches as numpy arrays, for any training framework.

This module imports no training framework: each class has ``__len__`` and ``__getitem__``, which is all that a data
loader needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.dataset_meta import DatasetMeta
from itkit.core.errors import LayoutError, ParamsError
from itkit.core.geometry import Geometry
from itkit.core.text import key_of
from itkit.dataset.sampling import OpenCase, Patches, Sample
from itkit.io.formats.inspect import read_any_header
from itkit.io.layouts import IMAGE, LABEL, Images, find_images, find_volumes, require_folder
from itkit.io.sitk_toolkit import read_volume
from itkit.io.splits import read_splits
from itkit.kernels.arrays import smallest_integer
from itkit.kernels.labels import remap


@dataclass(frozen=True)
class CaseFiles:
    """Files of one case: one image file per channel, or one for all channels, and its label, if it has one."""

    case_id: str
    images: tuple[Path, ...]
    label: Path | None


@dataclass(frozen=True, eq=False)
class DatasetFolder:
    """A folder with ``image/``, ``label/`` and, from a converter, ``dataset.json``.

    Parameters
    ----------
    root
        The folder.
    split
        Only the cases of this split.
    split_file
        ``splits.json`` of ``itk_split``, a list of folds, or JSON ``{"train": [case, …], …}``, instead of the splits of
        ``dataset.json``.
    fold
        Which fold of the file to take.
    classes
        Only these classes, by name; they become 1, 2, … in this order, all others become 0.
    labelled_only
        Leave out cases without a label.

    Examples
    --------
    >>> from itkit.dataset.folder import DatasetFolder
    >>> train = DatasetFolder("converted/kits23", split="train", classes=("kidney", "tumor"))  # doctest: +SKIP
    >>> train.volumes()[0].image.shape  # doctest: +SKIP
    (1, 128, 256, 256)
    """

    root: Path
    split: str | None = None
    split_file: Path | None = None
    fold: int = 0
    classes: Sequence[str] = ()
    labelled_only: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))
        require_folder(self.root / IMAGE, "image")

    @cached_property
    def described(self) -> DatasetMeta:
        """The content of ``dataset.json``; empty without a usable one."""
        return self._images.described.meta or DatasetMeta({})

    @property
    def meta(self) -> Mapping[str, Any]:
        """The values of ``dataset.json``; empty without one."""
        return self.described.values

    @property
    def labels(self) -> dict[int, str]:
        """Name of each label value in the files."""
        return self.described.labels

    @property
    def channels(self) -> tuple[str, ...]:
        """Channel names in order."""
        return self.described.channels or self._numbers or (IMAGE,)

    @property
    def _numbers(self) -> tuple[str, ...]:
        """Numbers of the channels, if only the file names state them."""
        first = next(iter(self._images.cases.values()), {})
        return tuple(name.removeprefix(f"{IMAGE}_") for name in first if name != IMAGE)

    @cached_property
    def _label_files(self) -> Mapping[str, Path]:
        folder = self.root / LABEL
        return find_volumes(folder, recursive=True) if folder.is_dir() else {}

    @cached_property
    def _images(self) -> Images:
        return find_images(self.root / IMAGE, recursive=True, labels=self._label_files.keys())

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes 1, 2, … in the samples; without ``classes``, the names of the values in the files."""
        return tuple(self.classes) or tuple(name for value, name in sorted(self.labels.items()) if value)

    @cached_property
    def mapping(self) -> dict[int, int] | None:
        """New value of each value in the files; ``None`` if all classes are kept.

        Raises
        ------
        ParamsError
            When a class is unknown.
        """
        if not self.classes:
            return None
        values = {key_of(name): value for value, name in self.labels.items()}
        unknown = [name for name in self.classes if key_of(name) not in values]
        if unknown:
            known = ", ".join(name for value, name in self.labels.items() if value)
            raise ParamsError(f"no class {unknown[0]!r} in {self.root}; there are: {known}")
        return {values[key_of(name)]: number for number, name in enumerate(self.classes, 1)}

    @cached_property
    def cases(self) -> tuple[CaseFiles, ...]:
        """The cases, sorted by id.

        Raises
        ------
        LayoutError
            When a split names a missing case, or no case is left.
        """
        found = self._all_cases()
        wanted = self._split_members()
        if wanted is not None:
            missing = sorted(set(wanted) - found.keys())
            if missing:
                raise LayoutError(f"{self.root}: split {self.split!r} names {missing[0]!r}, which is not there")
            found = {name: found[name] for name in sorted(wanted)}
        cases = tuple(case for case in found.values() if case.label is not None or not self.labelled_only)
        if not cases:
            raise LayoutError(f"{self.root}: no case is left")
        return cases

    def _all_cases(self) -> dict[str, CaseFiles]:
        """Return all cases.

        Raises
        ------
        LayoutError
            When a channel of a case is missing.
        """
        for case, problem in self._images.problems.items():
            raise LayoutError(f"{self.root}: {case}: {problem}")
        return {
            case: CaseFiles(case, tuple(files.values()), self._label_files.get(case))
            for case, files in self._images.cases.items()
        }

    def _split_members(self) -> list[str] | None:
        if self.split is None:
            return None
        splits: Any = self.meta.get("splits", {})
        if self.split_file is not None:
            folds = read_splits(Path(self.split_file)).folds
            if not 0 <= self.fold < len(folds):
                raise LayoutError(f"{self.split_file}: expected fold 0 to {len(folds) - 1}; got {self.fold}")
            splits = folds[self.fold]
        if self.split not in splits:
            raise LayoutError(f"{self.root}: no split {self.split!r}; there are: {', '.join(splits) or 'none'}")
        return list(splits[self.split])

    def load(self, case: CaseFiles) -> Sample:
        """Read a case completely.

        Raises
        ------
        CaseError
            When a file can't be read.
        """
        channels, label, geometry = self.arrays(case)
        return Sample(case.case_id, np.stack(channels), label, geometry)

    def arrays(self, case: CaseFiles) -> tuple[list[NDArray[Any]], NDArray[Any] | None, Geometry]:
        """Return a case's channels, label map and grid; uncompressed files are read only where they are accessed.

        Raises
        ------
        CaseError
            When a file can't be read.
        """
        channels, geometry = self.channel_arrays(case)
        label = None if case.label is None else self.mapped(self.stored_label(case.label))
        return channels, label, geometry

    def channel_arrays(self, case: CaseFiles) -> tuple[list[NDArray[Any]], Geometry]:
        """Return a case's channels, one array for each, and their grid."""
        channels: list[NDArray[Any]] = []
        volumes = [read_volume(path, channels=True, mapped=True) for path in case.images]
        for volume in volumes:
            array = volume.array_zyx
            channels += [array] if array.ndim == 3 else [array[..., c] for c in range(array.shape[3])]
        return channels, volumes[0].geometry

    @staticmethod
    def stored_label(path: Path) -> NDArray[Any]:
        """Return a label map with the values of its file."""
        return read_volume(path, "label", channels=True, mapped=True).array_zyx

    def mapped(self, label: NDArray[Any]) -> NDArray[Any]:
        """Return a label map with the values of the requested classes."""
        if self.mapping is None:
            return label
        return remap(label, self.mapping, dtype=smallest_integer(0, len(self.classes)))[0]

    def volumes(self) -> Volumes:
        """Return the cases as whole volumes."""
        return Volumes(self)

    def slices(self, *, axis: int = 0, foreground_only: bool = False) -> Slices:
        """Return every slice across an array axis (0: Z, 1: Y, 2: X), or only the slices with foreground."""
        return Slices(self, axis, foreground_only=foreground_only)

    def patches(
        self, size_zyx: tuple[int, int, int], *, per_case: int = 1, foreground: float = 0.5, seed: int = 0
    ) -> Patches:
        """Return random patches; a fraction of them is centred on foreground."""
        return Patches([_FileCase(self, case) for case in self.cases], size_zyx, per_case, foreground, seed)


@dataclass(frozen=True, eq=False)
class Volumes(Sequence[Sample]):
    """One sample per case."""

    folder: DatasetFolder

    def __len__(self) -> int:
        return len(self.folder.cases)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return self.folder.load(self.folder.cases[index])


@dataclass(frozen=True, eq=False)
class Slices(Sequence[Sample]):
    """One sample per slice; the last case stays in memory, so that iterating in order reads each case once."""

    folder: DatasetFolder
    axis: int = 0
    foreground_only: bool = False

    @cached_property
    def places(self) -> tuple[tuple[int, int], ...]:
        """Case number and slice index of each sample."""
        return tuple(self._find())

    def _find(self) -> Iterator[tuple[int, int]]:
        others = tuple(axis for axis in range(3) if axis != self.axis)
        for number, case in enumerate(self.folder.cases):
            if self.foreground_only:
                if case.label is not None:
                    label = self.folder.mapped(read_volume(case.label, "label").array_zyx)
                    yield from ((number, int(index)) for index in np.flatnonzero((label != 0).any(axis=others)))
            else:
                size = read_any_header(case.images[0]).geometry.size_zyx
                yield from ((number, index) for index in range(size[self.axis]))

    def __len__(self) -> int:
        return len(self.places)

    @cached_property
    def _load(self) -> Callable[[int], Sample]:
        return lru_cache(maxsize=1)(lambda number: self.folder.load(self.folder.cases[number]))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_load"}  # its cache can't be pickled

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number, place = self.places[index]
        whole = self._load(number)
        start = [0, 0, 0]
        start[self.axis] = place
        label = None if whole.label is None else np.take(whole.label, place, self.axis)
        z, y, x = start
        return Sample(whole.case_id, np.take(whole.image, place, self.axis + 1), label, whole.geometry, (z, y, x))


@dataclass(frozen=True, eq=False)
class _FileCase:
    """A case in volume files; of uncompressed files, only the patches are read."""

    folder: DatasetFolder
    files: CaseFiles

    @property
    def case_id(self) -> str:
        return self.files.case_id

    def open(self) -> OpenCase:
        channels, geometry = self.folder.channel_arrays(self.files)
        label = None if self.files.label is None else self.folder.stored_label(self.files.label)
        return OpenCase(geometry, channels, label, self.folder.mapped)
