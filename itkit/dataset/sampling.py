"""Draw random patches of cases, from volume files and from chunked stores by the same rule.

A draw depends only on seed, case id, number and epoch: it is the same in every run and worker, from files and from
stores, and adding a case to the dataset does not change it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from itkit.core.arguments import expect_sizes
from itkit.core.boxes import Index, window
from itkit.core.draws import case_generator
from itkit.core.errors import ArgumentError, LayoutError
from itkit.core.geometry import Geometry
from itkit.io.formats.store import STORE_SUFFIX, PatchStore, store_kind
from itkit.io.layouts import require_folder
from itkit.kernels.draws import Foreground, count_foreground, draw_start
from itkit.kernels.padding import SLAB, in_frame, least_outside


@dataclass(frozen=True, eq=False)
class Sample:
    """One item of a dataset: a volume, a slice or a patch.

    Parameters
    ----------
    case_id
        The case.
    image
        Image ``(C, Z, Y, X)``; of a slice ``(C, Y, X)``.
    label
        Label map ``(Z, Y, X)``; of a slice ``(Y, X)``; ``None`` for a case without a label.
    geometry
        Grid of the volume or the patch; for a slice, the grid of its volume.
    start_zyx
        Index of the sample's first voxel in the volume.
    """

    case_id: str
    image: NDArray[Any]
    label: NDArray[Any] | None
    geometry: Geometry
    start_zyx: Index = (0, 0, 0)


@dataclass(frozen=True, eq=False)
class OpenCase:
    """An opened case from which boxes can be read.

    Parameters
    ----------
    geometry
        Grid of the case.
    channels
        For each channel, an object that returns voxels ``(Z, Y, X)`` when it is indexed with three slices.
    label
        Such an object for the label map; ``None`` without a label.
    mapped
        Converts a part of the label map to the values of the requested classes.
    """

    geometry: Geometry
    channels: Sequence[Any]
    label: Any = None
    mapped: Callable[[NDArray[Any]], NDArray[Any]] = np.asarray


class CaseSource(Protocol):
    """A case that can be opened."""

    @property
    def case_id(self) -> str:
        """The name of the case; its draws depend on it."""

    def open(self) -> OpenCase:
        """Open the case; voxels need not be read yet."""


@dataclass(frozen=True)
class StoreCase:
    """A case in a chunked store; reading a box reads only the chunks that it touches."""

    case_id: str
    store: PatchStore

    def open(self) -> OpenCase:
        """Open the store without reading voxels.

        Raises
        ------
        ReadError
            When the file is damaged, or was not written by ITKIT.
        """
        kinds, arrays = self.store.kinds, self.store.arrays
        channels = [channel for name, array in arrays.items() if kinds[name] == "image" for channel in _channels(array)]
        label = next((array for name, array in arrays.items() if kinds[name] == "label"), None)
        return OpenCase(self.store.geometry, channels, label)


@dataclass(frozen=True)
class _Channel:
    """One channel of a stored array ``(Z, Y, X, C)``."""

    array: Any
    number: int

    def __getitem__(self, box: tuple[slice, slice, slice]) -> NDArray[Any]:
        z, y, x = box
        return np.asarray(self.array[z, y, x, self.number])


def _channels(array: Any) -> Sequence[Any]:
    return [array] if len(array.shape) == 3 else [_Channel(array, number) for number in range(array.shape[3])]


@dataclass(frozen=True)
class StoreFolder:
    """A folder of chunked stores, one per case, as ``itk_patch --store`` writes it.

    Examples
    --------
    >>> from itkit.dataset.sampling import StoreFolder
    >>> patches = StoreFolder("stores").patches((96, 96, 96), per_case=4)  # doctest: +SKIP
    >>> patches[0].image.shape  # doctest: +SKIP
    (1, 96, 96, 96)
    """

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", require_folder(Path(self.root)))

    @property
    def cases(self) -> tuple[StoreCase, ...]:
        """The cases, sorted by id.

        Raises
        ------
        LayoutError
            When there is no store, or a case has two.
        """
        found: dict[str, Path] = {}
        for path in sorted(self.root.rglob("*")):
            kind = store_kind(path)
            if kind is not None and not any(part.startswith(".") for part in path.relative_to(self.root).parts):
                case = path.relative_to(self.root).as_posix()[: -len(STORE_SUFFIX[kind])]
                if case in found:
                    raise LayoutError(f"{self.root}: two stores of case {case}: {found[case].name} and {path.name}")
                found[case] = path
        if not found:
            raise LayoutError(f"{self.root}: no store (.b2z or .zarr.zip); itk_patch --store writes them")
        return tuple(StoreCase(case, PatchStore(path)) for case, path in sorted(found.items()))

    def patches(self, size_zyx: Index, *, per_case: int = 1, foreground: float = 0.5, seed: int = 0) -> Patches:
        """Return random patches; a fraction of them is centred on foreground."""
        return Patches(self.cases, size_zyx, per_case, foreground, seed)


@dataclass(frozen=True, eq=False)
class Patches(Sequence[Sample]):
    """Random patches; with the same seed and epoch, a sample is the same in every run and worker.

    A volume smaller than the patch is padded at its end: each channel with the minimum of the whole volume, the label
    with 0.

    Parameters
    ----------
    cases
        The cases from which patches are cut: stores (`StoreCase`) or the cases of a dataset folder.
    size_zyx
        Size of a patch, voxels.
    per_case
        Number of patches of each case; they follow one another.
    foreground
        Fraction of the patches that have a foreground voxel at their centre, as far as the volume's ends allow. All
        classes are equally likely, and so are all voxels of a class.
    seed, epoch
        Other numbers select other patches; see `at_epoch`.
    """

    cases: Sequence[CaseSource]
    size_zyx: Index
    per_case: int = 1
    foreground: float = 0.5
    seed: int = 0
    epoch: int = 0
    known: dict[str, Any] = field(default_factory=dict, repr=False)
    """What is known about cases, a few numbers for each; found once per process."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_zyx", expect_sizes(self.size_zyx, "patches: size_zyx"))
        for name, lowest in (("per_case", 1), ("seed", 0), ("epoch", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < lowest:
                raise ArgumentError(f"patches: {name}: expected a whole number of at least {lowest}; got {value!r}")
        if not 0 <= self.foreground <= 1:
            raise ArgumentError(f"patches: foreground: expected 0 to 1; got {self.foreground}")

    def at_epoch(self, epoch: int) -> Patches:
        """Return the patches of another epoch: other positions in the same cases."""
        return replace(self, epoch=epoch)

    def __len__(self) -> int:
        return len(self.cases) * self.per_case

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        case_number, number = divmod(range(len(self))[index], self.per_case)
        source = self.cases[case_number]
        case = source.open()
        start = self._start(source.case_id, case, case_generator(self.seed, source.case_id, number, self.epoch))
        image = [
            _cut(channel, start, self.size_zyx, partial(self._least, source.case_id, place, channel))
            for place, channel in enumerate(case.channels)
        ]
        label = None
        if case.label is not None:
            label = case.mapped(_cut(case.label, start, self.size_zyx, lambda: np.array(0)))
        grid = case.geometry.crop(start, self.size_zyx)
        return Sample(source.case_id, np.stack(image), label, grid, start)

    def _start(self, case_id: str, case: OpenCase, rng: np.random.Generator) -> Index:
        whole = case.geometry.size_zyx
        slab = None if case.label is None else partial(_slab, case)
        known = None if slab is None else partial(self._foreground, case_id, slab, whole[0])
        return draw_start(rng, whole, self.size_zyx, self.foreground, slab, known)

    def _foreground(self, case_id: str, slab: Callable[[int], NDArray[Any]], length: int) -> Foreground:
        key = f"{case_id}/label"
        if key not in self.known:
            self.known[key] = count_foreground(slab, length)
        found: Foreground = self.known[key]
        return found

    def _least(self, case_id: str, place: int, channel: Any) -> NDArray[Any]:
        key = f"{case_id}/{place}"
        if key not in self.known:
            self.known[key] = least_outside(channel, "image")
        return np.asarray(self.known[key])


def _cut(array: Any, start: Index, size: Index, outside: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """Copy a box out of an array, padded at its end."""
    part = np.array(array[window(start, size)])
    return part if part.shape == size else in_frame(part, (0, 0, 0), size, outside())


def _slab(case: OpenCase, number: int) -> NDArray[Any]:
    whole = case.geometry.size_zyx
    return case.mapped(np.asarray(case.label[window((number * SLAB, 0, 0), (SLAB, *whole[1:]))]))
