"""The steps of post-processing, in a given order, and what they change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.arguments import expect
from itkit.core.errors import ArgumentError
from itkit.core.text import some
from itkit.core.volume import Volume
from itkit.kernels.components import components
from itkit.process.cleaning import (
    close_gaps,
    fill_holes,
    keep_inside,
    keep_largest,
    open_up,
    smooth,
    without_small,
)
from itkit.process.lost import describe_classes, lost_classes

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Steps:
    """What to do to a label map.

    Attributes
    ----------
    order
        Names of the steps: ``largest-foreground``, ``largest``, ``min-volume``, ``fill-holes``, ``closing``,
        ``opening``, ``smooth``, ``inside``. Each needs its value below, but for the first and ``fill-holes``.
    classes
        Classes of which the largest component is kept; ``None`` for all but 0.
    together
        Keep the largest component of their union.
    min_volume_ml, closing_mm, opening_mm, smooth_mm
        Least volume of a component, and radii of balls.
    inside
        Mask of what is kept.
    """

    order: Sequence[str]
    classes: tuple[int, ...] | None = None
    together: bool = False
    min_volume_ml: float | None = None
    closing_mm: float | None = None
    opening_mm: float | None = None
    smooth_mm: float | None = None
    inside: NDArray[Any] | None = None


def postprocess(label: Volume, steps: Steps) -> tuple[Volume, list[str]]:
    """Clean a label map.

    Parameters
    ----------
    label
        The label map.
    steps
        What to do.

    Returns
    -------
    Volume
        The new label map, of the same type.
    list of str
        Notes: classes that vanished, and that smoothing would have eaten.

    Examples
    --------
    >>> from itkit.core.geometry import Geometry
    >>> grid = Geometry((1, 1, 6), (1.0, 1.0, 1.0))
    >>> label = Volume(np.array([[[1, 1, 0, 1, 2, 2]]], np.uint8), grid, "label")
    >>> postprocess(label, Steps(["largest"]))[0].array_zyx.tolist()
    [[[1, 1, 0, 0, 2, 2]]]
    """
    expect(label, Volume, "postprocess: label", "an itkit.Volume")
    if label.kind != "label":
        raise ArgumentError("postprocess: label: expected a label map; got an image: read it with kind='label'")
    array: NDArray[Any] = np.ascontiguousarray(label.array_zyx)
    notes: list[str] = []
    for step in steps.order:
        array, said = _done(step, array, label.spacing_zyx, steps)
        notes += said
    new = replace(label, array_zyx=array, classes=None)
    lost = lost_classes(label, new)
    if lost:
        notes.append(f"label: {describe_classes(lost)} removed entirely")
    return new, notes


def _done(step: str, array: NDArray[Any], spacing: Sequence[float], steps: Steps) -> tuple[NDArray[Any], Sequence[str]]:
    """Return the array after a step, and notes."""
    match step:
        case "largest-foreground":
            return keep_largest(array, together=True), ()
        case "largest":
            return keep_largest(array, classes=steps.classes, together=steps.together), ()
        case "min-volume" if steps.min_volume_ml is not None:
            return without_small(array, spacing, steps.min_volume_ml), ()
        case "fill-holes":
            return fill_holes(array), ()
        case "closing" if steps.closing_mm is not None:
            return close_gaps(array, spacing, steps.closing_mm), ()
        case "opening" if steps.opening_mm is not None:
            return open_up(array, spacing, steps.opening_mm), ()
        case "smooth" if steps.smooth_mm is not None:
            array, eaten = smooth(array, spacing, steps.smooth_mm)
            said = some(map(str, eaten))
            return array, [f"label: smoothing would have removed class {said}: kept as before"] if eaten else ()
        case "inside" if steps.inside is not None:
            return keep_inside(array, steps.inside), ()
    raise ArgumentError(f"postprocess: no step {step!r}, or its value is missing")


def counts_of(before: Volume, after: Volume) -> dict[str, dict[str, int]]:
    """Return voxels and components (26 neighbours) of each class before and after, without background."""
    found = {}
    for name, volume in (("before", before), ("after", after)):
        parts = components(volume.array_zyx)
        for value in np.unique(parts.classes).tolist():
            own = parts.classes == value
            found[value, f"voxels_{name}"] = int(parts.voxels[own].sum())
            found[value, f"components_{name}"] = int(np.count_nonzero(own))
    keys = ("voxels_before", "voxels_after", "components_before", "components_after")
    values = sorted({value for value, _ in found})
    return {str(value): {key: found.get((value, key), 0) for key in keys} for value in values}
