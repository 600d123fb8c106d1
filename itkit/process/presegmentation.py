"""Label maps made from an image by classical means: the patient, lungs, bones, airways, thresholds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from itkit.core.arguments import expect, expect_choice
from itkit.core.errors import ArgumentError, LabelError
from itkit.core.text import some
from itkit.core.volume import Volume
from itkit.kernels.components import components
from itkit.kernels.labels import label_counts
from itkit.kernels.statistics import finite_summary
from itkit.process.airway import find_airway
from itkit.process.body import PATIENT, body_threshold, find_body, first_channel, holds_air
from itkit.process.bone import BONE_HU, find_bones
from itkit.process.cleaning import close_gaps, fill_holes, keep_largest, open_up, without_small
from itkit.process.geometry import orient
from itkit.process.lungs import LEFT, RIGHT, lungs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TargetName = Literal["body", "lungs", "bone", "airway", "nonzero", "threshold"]
NAMES: Mapping[TargetName, Mapping[int, str]] = {
    "body": {1: "body"},
    "lungs": {RIGHT: "right lung", LEFT: "left lung"},
    "bone": {1: "bone"},
    "airway": {1: "airway"},
    "nonzero": {1: "nonzero"},
    "threshold": {1: "threshold"},
}
"""Name of each label, by target."""
_CUT_CM2 = 1.0
_OUTSIDE_HU = -1500.0
_NO_AIR = "no value below -200: not a CT in HU?"
_SIDES = (("lower end", "upper end"), ("front", "back"), ("right side", "left side"))


@dataclass(frozen=True)
class Cleaning:
    """Steps that follow on any target, in this order; ``None`` or ``False`` leaves a step out.

    Attributes
    ----------
    threshold
        Keep voxels with ``lo <= value <= hi``.
    largest
        Keep so many components of each label.
    fill_holes
        Fill background that a label encloses.
    closing_mm, opening_mm
        Radius of the ball.
    min_volume_ml
        Remove smaller components of each label.

    Components touch at faces, edges and corners. Filling and closing claim background only.
    """

    threshold: tuple[float, float] | None = None
    largest: int | None = None
    fill_holes: bool = False
    closing_mm: float | None = None
    opening_mm: float | None = None
    min_volume_ml: float | None = None


@dataclass(frozen=True, eq=False)
class Presegmented:
    """A label map and what is known about it.

    Attributes
    ----------
    labels
        The label map (uint8), on the image's grid.
    volumes_ml
        Volume of each label; 0 for one that was not found.
    components
        Number of components of each label, 26 neighbours.
    warnings
        What looked wrong.
    """

    labels: Volume
    volumes_ml: Mapping[int, float]
    components: Mapping[int, int]
    warnings: tuple[str, ...] = ()


def presegment(volume: Volume, target: TargetName, cleaning: Cleaning | None = None) -> Presegmented:
    """Make a label map from an image without a network.

    Parameters
    ----------
    volume
        The image; for body, lungs, bone and airway a CT in HU. Of several channels, the first one is taken, but all of
        them for ``nonzero``.
    target
        What to look for. ``lungs`` has 1 in the patient's right lung and 2 in the left one, by the direction matrix.
    cleaning
        Steps that follow.

    Returns
    -------
    Presegmented
        The label map with its volumes and warnings.

    Raises
    ------
    LabelError
        When the target is not in the image, or a step leaves nothing of it.

    Examples
    --------
    >>> from itkit.core.geometry import Geometry
    >>> image = Volume(np.array([[[0, 5, 0, 5, 5]]]), Geometry((1, 1, 5), (10.0, 10.0, 10.0)))
    >>> found = presegment(image, "threshold", Cleaning(threshold=(5, 9), largest=1))
    >>> found.labels.array_zyx.tolist(), found.volumes_ml, found.components
    ([[[0, 0, 0, 1, 1]]], {1: 2.0}, {1: 1})
    """
    expect(volume, Volume, "presegment: volume", "an itkit.Volume")
    expect_choice(target, tuple(NAMES), "presegment: target")
    steps = cleaning or Cleaning()
    if target == "threshold" and steps.threshold is None:
        raise ArgumentError("presegment: the target 'threshold' needs Cleaning(threshold=(lo, hi))")
    image = first_channel(volume)
    upright = orient(image, PATIENT)
    array = np.ascontiguousarray(upright.array_zyx)
    spacing = upright.geometry.spacing_zyx
    labels: NDArray[np.uint8]
    warnings: list[str]
    if target == "nonzero":
        labels, warnings = nonzero_mask(volume), []
    else:
        labels, warnings = _FINDERS[target](array, spacing)
        turned_back = orient(Volume(labels, upright.geometry, "label"), image.geometry.orientation)
        labels = np.ascontiguousarray(turned_back.array_zyx)
    if not labels.any():
        raise LabelError(f"{target} was not found{_reason(array, target)}")
    labels = cleaned(labels, image.array_zyx, image.geometry.spacing_zyx, steps)
    result = Volume(labels, image.geometry, "label")
    counts = label_counts(labels)
    each_ml = image.geometry.voxel_ml
    volumes = {value: counts.get(value, 0) * each_ml for value in NAMES[target]}
    warnings += [f"no {NAMES[target][value]} was found" for value, ml in volumes.items() if not ml]
    found = components(labels)
    parts = {value: int(np.count_nonzero(found.classes == value)) for value in NAMES[target]}
    result = replace(result, classes=tuple(sorted({0, *counts} if 0 in counts else counts)))
    return Presegmented(result, volumes, parts, tuple(warnings))


def cleaned(
    labels: NDArray[np.uint8], image: NDArray[Any], spacing_zyx: Sequence[float], steps: Cleaning
) -> NDArray[np.uint8]:
    """Return a label map after the steps.

    Raises
    ------
    LabelError
        When a step leaves nothing.
    """
    for name, step in _steps(steps, image, spacing_zyx):
        labels = step(labels)
        if not labels.any():
            raise LabelError(f"nothing is left after {name}")
    return labels


def _steps(
    steps: Cleaning, image: NDArray[Any], spacing: Sequence[float]
) -> Iterator[tuple[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]]]:
    """Yield the name and the function of each step."""
    if steps.threshold is not None:
        low, high = steps.threshold
        yield f"--threshold {low:g} {high:g}", lambda labels: labels * ((image >= low) & (image <= high))
    if steps.largest is not None:
        count = steps.largest
        yield f"--largest {count}", lambda labels: keep_largest(labels, count)
    if steps.fill_holes:
        yield "--fill-holes", fill_holes
    if steps.closing_mm is not None:
        closing = steps.closing_mm
        yield f"--closing-mm {closing:g}", lambda labels: close_gaps(labels, spacing, closing)
    if steps.opening_mm is not None:
        opening = steps.opening_mm
        yield f"--opening-mm {opening:g}", lambda labels: open_up(labels, spacing, opening)
    if steps.min_volume_ml is not None:
        least = steps.min_volume_ml
        yield f"--min-volume-ml {least:g}", lambda labels: without_small(labels, spacing, least)


def union_of_channels(images: Sequence[Volume]) -> Volume:
    """Return an image that is 0 where every channel is; a channel that is 0 or nan everywhere adds nothing."""
    if len(images) == 1:
        return images[0]
    found = nonzero_mask(images[0])
    for image in images[1:]:
        found = found | nonzero_mask(image)
    return Volume(found, images[0].geometry)


def nonzero_mask(volume: Volume) -> NDArray[np.uint8]:
    """Return 1 where any channel of an image is neither 0 nor nan."""
    array = volume.array_zyx
    mask = (array != 0) & (array == array) if array.dtype.kind == "f" else array != 0
    found: NDArray[np.uint8] = (np.any(mask, axis=3) if mask.ndim == 4 else mask).view(np.uint8)
    return found


_Found = tuple[Any, list[str]]


def _find_body(image: NDArray[Any], spacing: Sequence[float]) -> _Found:
    level = body_threshold(image)
    body = find_body(image, spacing, level)
    warnings = []
    if not holds_air(image):
        warnings.append(f"{_NO_AIR} The body was taken above {level:.4g} (Otsu's threshold)")
    return body, warnings + list(_cuts("body", body, image, spacing))


def _cuts(
    name: str, mask: NDArray[np.uint8], image: NDArray[Any], spacing: Sequence[float], axes: Sequence[int] = (1, 2)
) -> Iterator[str]:
    """Yield a warning if the field of view cuts a mask: at faces of the volume, or at the edge of a round scan."""
    cut = []
    for axis in axes:
        area_cm2 = float(np.prod([step for other, step in enumerate(spacing) if other != axis])) / 100
        for place, side in ((0, _SIDES[axis][0]), (-1, _SIDES[axis][1])):
            if np.count_nonzero(mask.take(place, axis=axis)) * area_cm2 >= _CUT_CM2:
                cut.append(side)
    if cut:
        yield f"the {name} is cut by the field of view: {some(cut)}"
    if finite_summary(image).minimum <= _OUTSIDE_HU:
        outside = image <= _OUTSIDE_HU
        along_x = (mask[..., 1:] != 0) & outside[..., :-1] | (mask[..., :-1] != 0) & outside[..., 1:]
        if np.count_nonzero(along_x) * spacing[0] * spacing[1] / 100 >= _CUT_CM2:
            yield f"the {name} is cut by the round field of view"


def _find_lungs(image: NDArray[Any], spacing: Sequence[float]) -> _Found:
    found = lungs(image, spacing)
    warnings = list(found.warnings)
    for value, name in NAMES["lungs"].items():
        warnings += _cuts(name, (found.labels == value).view(np.uint8), image, spacing, axes=(0, 1, 2))
    return found.labels, warnings


def _find_bones(image: NDArray[Any], spacing: Sequence[float]) -> _Found:
    found = find_bones(image, spacing, find_body(image, spacing, body_threshold(image)))
    warnings = [f"{ml:.1f} ml were taken for {kind} and left out" for kind, ml in found.left_out_ml.items()]
    if not holds_air(image):
        warnings.append(f"{_NO_AIR} Bone was taken above {BONE_HU:g}")
    if found.has_metal:
        warnings.append("metal that touches bone was kept: a threshold can't part them")
    return found.mask, warnings


def _find_airway(image: NDArray[Any], spacing: Sequence[float]) -> _Found:
    body = find_body(image, spacing, body_threshold(image))
    low = lungs(image, spacing).labels
    places = np.flatnonzero(low.any(axis=(1, 2)))
    airway = find_airway(image, spacing, body, lowest_z=float(places.mean()) if len(places) else 0.0)
    if airway is None:
        return np.zeros(image.shape, dtype=np.uint8), []
    leaked = ["growing leaked into a lung at once: only the piece of the trachea is left"] if airway.has_leaked else []
    return airway.tree, leaked


def _everything(image: NDArray[Any], spacing: Sequence[float]) -> _Found:
    del spacing
    return np.ones(image.shape, dtype=np.uint8), []


_FINDERS: Mapping[str, Callable[[NDArray[Any], Sequence[float]], _Found]] = {
    "body": _find_body,
    "lungs": _find_lungs,
    "bone": _find_bones,
    "airway": _find_airway,
    "threshold": _everything,
}


def _reason(array: NDArray[Any], target: str) -> str:
    """Return why a target may be missing, for messages."""
    if target == "nonzero":
        return ": every voxel is 0"
    summary = finite_summary(array)
    if summary.minimum != summary.minimum:
        return ": the image has no finite value"
    if target in ("lungs", "airway", "bone") and not holds_air(array):
        return f": the values, {summary.minimum:g} to {summary.maximum:g}, are not those of a CT in HU with air"
    if summary.minimum == summary.maximum:
        return f": every voxel is {summary.minimum:g}"
    return ": nothing in the image looks like it"
