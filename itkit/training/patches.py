"""Training patches: which case, where, and how it is augmented follow from a seed and the patch's number alone.

With the same plan, seed and number, a patch is the same whatever the number of loader workers, and whether training
was interrupted before it or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from itkit.core.boxes import Index, index
from itkit.core.draws import case_generator
from itkit.core.errors import ArgumentError, CaseError
from itkit.kernels.draws import draw_start
from itkit.kernels.padding import SLAB, in_frame
from itkit.models.window_sums import missing_voxels
from itkit.training.augmenting import Augmentation, SpatialMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from itkit.training.prepared import PreparedCase

_PLACE, _AUGMENTATION = 0, 1
"""Streams of random numbers of a patch."""


class Patch(TypedDict):
    """A training patch."""

    image: Tensor
    """``(C, Z, Y, X)``, float32; of a slice ``(C, Y, X)``."""
    label: Tensor
    """``(Z, Y, X)``, an integer type: the number of the class; of a slice ``(Y, X)``."""
    case: str
    number: int
    spacing: tuple[float, float, float]
    """Distances of voxels, mm, ZYX."""


@dataclass(frozen=True)
class TrainingPatches:
    """Patches by number.

    Cases follow one another in a random order that is drawn anew when each has been seen. An exact part of the patches
    is centred on foreground: all classes of the case are equally likely, and all voxels of a class.

    Parameters
    ----------
    cases
        The prepared cases.
    size_zyx
        Voxels of a patch. A volume that is smaller lies in the middle, as in a sliding window; see `cut`.
    count
        How many patches there are; all numbers below it are valid.
    foreground
        Part of the patches that are centred on foreground.
    seed
        Another seed, other patches.
    augmentation
        What is drawn and applied; ``None`` for nothing.
    flat
        Return slices for a 2-D network; the patch has one plane.
    """

    cases: Sequence[PreparedCase]
    size_zyx: Index
    count: int
    foreground: float = 0.33
    seed: int = 0
    augmentation: Augmentation | None = field(default_factory=Augmentation)
    flat: bool = False

    def __post_init__(self) -> None:
        if not self.cases:
            raise ArgumentError("training patches: there is no case")
        if self.flat and self.size_zyx[0] != 1:
            raise ArgumentError(f"training patches: a 2-D network needs patches of one plane; got {self.size_zyx}")

    def __len__(self) -> int:
        return self.count

    def case_of(self, number: int) -> PreparedCase:
        """Return the case from which a patch is cut."""
        turn, place = divmod(number, len(self.cases))
        return self.cases[_order(self.seed, turn, len(self.cases))[place]]

    def is_foreground(self, number: int) -> bool:
        """Whether a patch is centred on a voxel of a class, if its case has any."""
        return int((number + 1) * self.foreground) > int(number * self.foreground)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(self.count))]
        number = range(self.count)[number]
        case = self.case_of(number)
        try:
            return self._patch(case, number)
        except (CaseError, OSError, ValueError, MemoryError) as error:
            raise CaseError(f"{case.case_id}: patch {number}: {error}") from error

    def _patch(self, case: PreparedCase, number: int) -> Patch:
        image, label = case.image(), case.label()
        whole = index(label.shape)
        rng = case_generator(self.seed, case.case_id, number, _PLACE)
        start = draw_start(
            rng,
            whole,
            self.size_zyx,
            float(self.is_foreground(number)),
            lambda slab: np.asarray(label[slab * SLAB : (slab + 1) * SLAB]),
            lambda: case.foreground,
        )
        before, _ = missing_voxels(whole, self.size_zyx)
        start = index([first - n for first, n in zip(start, before, strict=True)])
        drawn = augmentation_generator(self.seed, case.case_id, number)
        spatial = SpatialMap(self.size_zyx)
        if self.augmentation is not None:
            spatial = self.augmentation.draw_map(drawn, self.size_zyx, case.spacing_zyx)
        pixels, classes = cut(image, label, start, spatial)
        if self.augmentation is not None:
            pixels = self.augmentation.intensities(pixels, drawn)
        if self.flat:
            pixels, classes = pixels[:, 0], classes[0]
        spacing = case.spacing_zyx
        return {"image": pixels, "label": classes, "case": case.case_id, "number": number, "spacing": spacing}


def augmentation_generator(seed: int, case_id: str, number: int) -> np.random.Generator:
    """Return the generator that decides how a patch is augmented, wherever that happens."""
    return case_generator(seed, case_id, number, _AUGMENTATION)


@lru_cache(maxsize=4)
def _order(seed: int, turn: int, count: int) -> tuple[int, ...]:
    return tuple(case_generator(seed, "order of cases", turn).permutation(count).tolist())


def cut(
    image_czyx: NDArray[np.float32],
    label_zyx: NDArray[Any],
    start_zyx: Sequence[int],
    spatial: SpatialMap,
) -> tuple[Tensor, Tensor]:
    """Cut a patch out of a volume as a spatial map says, reading no more than it needs.

    Where the volume has no voxels, the image is 0 and the label background: sliding windows pad with 0 too, and nnU-Net
    does so in both. Less than that looks like dark tissue, and makes dark classes hard to learn.

    Parameters
    ----------
    image_czyx, label_zyx
        The volume; arrays that are mapped into memory are read only where the patch comes from.
    start_zyx
        Index of the patch's first voxel, before it is turned.
    spatial
        How it is turned, scaled, bent and mirrored.
    """
    whole, size, source = index(label_zyx.shape), spatial.size_zyx, spatial.source_zyx
    begin = [start - (wide - n) // 2 for start, wide, n in zip(start_zyx, source, size, strict=True)]
    low = [max(0, first) for first in begin]
    high = [min(n, first + wide) for n, first, wide in zip(whole, begin, source, strict=True)]
    z, y, x = (slice(first, last) for first, last in zip(low, high, strict=True))
    image, label = image_czyx[:, z, y, x], label_zyx[z, y, x]
    shift = [there - wanted for there, wanted in zip(low, begin, strict=True)]
    if spatial.matrix is None:
        if label.shape != source:
            image = np.stack([in_frame(channel, shift, source, np.array(0, np.float32)) for channel in image])
            label = in_frame(label, shift, source, np.array(0))
        image, label = np.flip(image, tuple(axis + 1 for axis in spatial.flips)), np.flip(label, spatial.flips)
        return torch.from_numpy(np.array(image, order="C")), torch.from_numpy(np.array(label, order="C"))
    centre = [(wide - 1) / 2 - moved for wide, moved in zip(source, shift, strict=True)]
    near = torch.from_numpy(np.array(image)), torch.from_numpy(np.array(label))
    pixels, classes = spatial.apply(*near, centre_zyx=centre)
    assert classes is not None
    return pixels, classes
