"""Classes that a label map had and its result has not: named, never passed over."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from itkit.core.text import counted, some
from itkit.core.volume import Volume
from itkit.kernels.labels import label_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray


def with_classes(volume: Volume) -> Volume:
    """Return a label map that knows its classes."""
    return volume if volume.classes is not None else replace(volume, classes=tuple(label_counts(volume.array_zyx)))


def lost_classes(before: Volume, after: Volume) -> dict[int, int]:
    """Return the foreground classes of a label map that another has not, with their voxels.

    Examples
    --------
    >>> import numpy as np
    >>> from itkit.core.geometry import Geometry
    >>> grid = Geometry((1, 1, 4), (1.0, 1.0, 1.0))
    >>> before, after = (Volume(np.array([[row]], np.uint8), grid, "label") for row in ([0, 3, 3, 7], [0, 7, 7, 7]))
    >>> lost_classes(before, after)
    {3: 2}
    """
    return missing_classes(before, with_classes(after).classes or ())


def missing_classes(volume: Volume, kept: Collection[int]) -> dict[int, int]:
    """Return the foreground classes of a label map that are not among those kept, with their voxels."""
    kept = {0, *kept}
    if _hold_no_other(volume.array_zyx, kept):
        return {}
    return {value: count for value, count in label_counts(volume.array_zyx).items() if value not in kept}


def _hold_no_other(array_zyx: NDArray[Any], classes: AbstractSet[int]) -> bool:
    """Whether the range of the values tells that they hold no class but these; much quicker than counting."""
    if array_zyx.dtype.kind not in "iu" or array_zyx.size == 0:
        return False
    low = int(array_zyx.min()) if array_zyx.dtype.kind == "i" else 0
    high = int(array_zyx.max())
    return high - low < len(classes) and classes >= set(range(low, high + 1))


def is_emptied(before: Volume, after: Volume) -> bool:
    """Whether a label map with foreground has become one without."""
    return not any(with_classes(after).classes or ()) and any(with_classes(before).classes or ())


def describe_classes(lost: Mapping[int, int]) -> str:
    """Return the classes with their voxels.

    Examples
    --------
    >>> describe_classes({7: 1, 9: 30})
    'classes 7 (1 voxel), 9 (30 voxels)'
    """
    noun = "class" if len(lost) == 1 else "classes"
    named = [(value, counted(count, "voxel")) for value, count in lost.items()]
    return f"{noun} {some(f'{value} ({said})' for value, said in named)}"


@dataclass(frozen=True)
class Notes:
    """Warnings that come up while volumes are made, which may be when they are written."""

    texts: dict[str, None] = field(default_factory=dict)

    def add(self, *texts: str) -> None:
        """Note warnings, each once."""
        self.texts.update(dict.fromkeys(texts))

    def __call__(self) -> Iterable[str]:
        """Return all that was noted."""
        return tuple(self.texts)
