"""Order the frames of a series into regular stacks, and find the reasons why that fails.

Order and spacing come from ImagePositionPatient along the slice normal (PS3.3 C.7.6.2.1.1); SpacingBetweenSlices and
the instance numbers are not used. Slices count as evenly spaced if each deviates by at most a fraction of the step (a
tenth by default) from an even grid between the first and the last, because positions are rounded and scanners jitter.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from itkit.core.errors import ReadError
from itkit.core.geometry import Geometry
from itkit.io.dicom.header import CONTRASTS, COSINE_TOLERANCE, VARIANTS, Frame
from itkit.io.dicom.tilt import rectangular_grid

FaultCode = Literal[
    "geometry", "mosaic", "orientation", "size", "spacing", "pixel-format", "rescale", "echo", "time-point", "b-value",
    "inversion-time", "acquisition", "image-type", "stack", "cardiac-phase", "trigger-time", "gradient-direction",
    "convolution-kernel", "acquisition-time", "duplicate", "missing", "steps", "uneven", "tilt", "shift",
]  # fmt: skip
#: A smaller sideways offset of a slice, in pixels, counts as rounding.
SHIFT_TOLERANCE = 0.25
_ROUNDING_MM = 1e-3


@dataclass(frozen=True)
class Fault:
    """One reason why a series is not a single regular volume."""

    code: FaultCode
    text: str


@dataclass(frozen=True)
class Stack:
    """Frames in slice order on a regular grid.

    Parameters
    ----------
    frames
        The frames, in the order of the slices.
    geometry
        The grid; for a tilted gantry, the rectangular grid that contains all slices.
    deviation_mm
        Greatest deviation of a slice from the even grid.
    shift_yx
        For a tilted gantry, by how many pixels each slice is displaced in its plane from the first.
    """

    frames: tuple[Frame, ...]
    geometry: Geometry
    deviation_mm: float = 0.0
    shift_yx: tuple[tuple[float, float], ...] = ()


def stack_frames(
    frames: Sequence[Frame], *, spacing_tolerance: float, untilt: bool = False
) -> tuple[list[Stack], list[Fault]]:
    """Order frames into regular stacks.

    Parameters
    ----------
    frames
        Frames of one series, in any order.
    spacing_tolerance
        Fraction of the slice distance by which a slice may deviate from an even grid.
    untilt
        Whether slices of a tilted gantry form a stack, which is resampled onto a rectangular grid later.

    Returns
    -------
    tuple
        The stacks, in the order of their lowest instance number, and the faults; without faults, there is one stack.
        Frames that fit into no regular stack are left out: those without position, mosaics, copies at one position that
        no attribute distinguishes, and those of a tilted gantry unless ``untilt`` is set.
    """
    faults: list[Fault] = []
    placed = [frame for frame in frames if frame.position_xyz and _has_axes(frame) and frame.spacing_yx]
    if len(placed) < len(frames):
        lost = len(frames) - len(placed)
        faults.append(Fault("geometry", f"{lost} of {len(frames)} images lack position, orientation or pixel spacing"))
    whole = [frame for frame in placed if "MOSAIC" not in frame.variant[VARIANTS.index("image type")].split("\\")]
    if len(whole) < len(placed):
        faults.append(Fault("mosaic", f"{len(placed) - len(whole)} images are mosaics of several slices"))
    stacks: list[Stack] = []
    for group in _alike(whole, faults):
        for copies in _single_positions(group, faults):
            stacks += _regular_runs(copies, spacing_tolerance, faults, untilt=untilt)
    stacks.sort(key=lambda stack: min((frame.number, str(frame.path), frame.index) for frame in stack.frames))
    return stacks, list(dict.fromkeys(faults))


def slice_axes(frame: Frame) -> NDArray[np.float64]:
    """Return the unit vectors along a row, along a column and of the slice normal, as rows, XYZ."""
    values = np.asarray(frame.orientation_xyz, float).reshape(2, 3)
    along_row, along_column = values / np.linalg.norm(values, axis=1, keepdims=True)
    return np.stack([along_row, along_column, np.cross(along_row, along_column)])


def _has_axes(frame: Frame) -> bool:
    if frame.orientation_xyz is None:
        return False
    values = np.asarray(frame.orientation_xyz, float).reshape(2, 3)
    return bool(np.abs(values @ values.T - np.eye(2)).max() < 0.01)


def _alike(frames: list[Frame], faults: list[Fault]) -> list[list[Frame]]:
    """Split frames that can't share a volume because their plane, grid, storage or contrast differ."""
    keys: list[tuple[FaultCode, str, Callable[[Frame], Hashable]]] = [
        ("orientation", "slice orientations", _classes(frames, lambda frame: frame.orientation_xyz, _same_cosines)),
        ("size", "image sizes YX", lambda frame: frame.size_yx),
        ("spacing", "pixel spacings YX", _classes(frames, lambda frame: frame.spacing_yx, _same_spacing)),
        ("pixel-format", "pixel formats", _storage),
        ("rescale", "rescale types", lambda frame: frame.rescale_type or "none"),
    ]
    keys += [(_code(name), f"values of {name}", _part("contrast", at)) for at, name in enumerate(CONTRASTS)]
    for code, name, key in keys:
        values = list(dict.fromkeys(key(frame) for frame in frames))
        if len(values) > 1:
            faults.append(Fault(code, f"{len(values)} {name}: {_some(values)}"))
    return _grouped(frames, lambda frame: tuple(key(frame) for _, _, key in keys))


def _single_positions(frames: list[Frame], faults: list[Fault]) -> list[list[Frame]]:
    """Split frames at equal positions by the attributes that distinguish them."""
    copies = _most_copies(frames)
    if copies == 1:
        return [frames]
    for at, name in enumerate(VARIANTS):
        key = _part("variant", at)
        groups = _grouped(frames, key)
        if 1 < len(groups) <= copies and all(_most_copies(group) == 1 for group in groups):
            values = [key(group[0]) for group in groups]
            faults.append(Fault(_code(name), f"{len(values)} values of {name}: {_some(values)}"))
            return groups
    passes = _passes(frames, copies)
    if passes:
        times = ", ".join(min(frame.acquired for frame in one) for one in passes[:4])
        faults.append(Fault("acquisition-time", f"{len(passes)} acquisitions one after the other (begun at {times})"))
        return passes
    doubled = next(same for same in _by_position(frames) if len(same) > 1)
    names = " and ".join(f"{frame.path.name}" for frame in doubled[:2])
    text = f"up to {copies} images at one position ({names}), and no attribute tells the copies apart"
    faults.append(Fault("duplicate", text))
    return []


def _passes(frames: list[Frame], copies: int) -> list[list[Frame]]:
    """Split frames by time: the first at every position, then the second, ...; empty if their times don't allow it."""
    if not all(frame.acquired for frame in frames):
        return []
    passes: list[list[Frame]] = [[] for _ in range(copies)]
    for same in _by_position(frames):
        for one, frame in zip(passes, sorted(same, key=lambda frame: frame.acquired), strict=False):
            one.append(frame)
    ends = [(min(frame.acquired for frame in one), max(frame.acquired for frame in one)) for one in passes]
    return passes if all(earlier[1] < later[0] for earlier, later in pairwise(ends)) else []


def _regular_runs(frames: list[Frame], tolerance: float, faults: list[Fault], *, untilt: bool) -> list[Stack]:
    """Split frames with one orientation and distinct positions into evenly spaced stacks."""
    along, sideways = _coordinates(frames)
    order = np.argsort(along, kind="stable")
    frames = [frames[at] for at in order]
    along, sideways = along[order], sideways[order]
    allowed = SHIFT_TOLERANCE * min(frames[0].spacing_yx or (1.0, 1.0)) + _ROUNDING_MM
    gaps, steps = np.diff(along), np.diff(sideways, axis=0)
    is_tilted = _is_sheared(gaps, steps, allowed)
    if is_tilted and not untilt:
        angle = np.degrees(np.arctan2(np.linalg.norm(steps.sum(0)), gaps.sum()))
        text = f"tilted gantry: the slices are shifted along a line at {angle:.2f} degrees to their normal"
        faults.append(Fault("tilt", text))
        return []
    broken = np.zeros(len(gaps), bool) if is_tilted else np.linalg.norm(steps, axis=1) > allowed
    runs = _runs(along, broken, tolerance)
    if len(runs) > 1:
        faults += _gap_faults(along, gaps, broken, steps, runs, tolerance)
    return [_stack(frames[start:stop], along[start:stop], sideways[start:stop] if is_tilted else None)
            for start, stop in runs]  # fmt: skip


def _is_sheared(gaps: NDArray[Any], steps: NDArray[Any], allowed: float) -> bool:
    """Return whether every slice is shifted from the previous one by the same fraction of their distance."""
    if not len(gaps) or np.linalg.norm(steps.sum(0)) <= allowed:
        return False
    shear = steps.sum(0) / gaps.sum()
    return bool(np.linalg.norm(steps - gaps[:, None] * shear, axis=1).max() <= allowed)


def _runs(along: NDArray[Any], broken: NDArray[Any], tolerance: float) -> list[tuple[int, int]]:
    """Return start and stop of evenly spaced runs; the longest run is chosen first."""
    count = len(along)
    if count == 0:
        return []
    best = (0, 1)
    start = 0
    while start < count - 1 and count - start > best[1] - best[0]:
        stop = _run_end(along, broken, start, tolerance)
        if stop - start > best[1] - best[0]:
            best = (start, stop)
        start = max(stop - 1, start + 1)
    left, right = best
    return [
        *_runs(along[:left], broken[: max(left - 1, 0)], tolerance),
        best,
        *((a + right, b + right) for a, b in _runs(along[right:], broken[right:], tolerance)),
    ]


def _run_end(along: NDArray[Any], broken: NDArray[Any], start: int, tolerance: float) -> int:
    """Return where the evenly spaced run that begins at ``start`` ends."""
    if not broken[start:].any() and _is_even(along[start:], tolerance):
        return len(along)
    stop = start + 1
    while stop < len(along) and not broken[stop - 1] and _is_even(along[start : stop + 1], tolerance):
        stop += 1
    return stop


def _is_even(along: NDArray[Any], tolerance: float) -> bool:
    """Return whether every slice deviates by at most a fraction of the step from an even grid."""
    step = (along[-1] - along[0]) / max(len(along) - 1, 1)
    return bool(_deviation(along) <= tolerance * step + _ROUNDING_MM)


def _deviation(along: NDArray[Any]) -> float:
    """Return the greatest deviation of a slice from the even grid between the first and the last, mm."""
    return float(np.abs(along - np.linspace(along[0], along[-1], len(along))).max())


def _gap_faults(
    along: NDArray[Any],
    gaps: NDArray[Any],
    broken: NDArray[Any],
    steps: NDArray[Any],
    runs: list[tuple[int, int]],
    tolerance: float,
) -> list[Fault]:
    """Return why slices form several runs: shifted sideways, several distances, missing, or uneven."""
    faults = []
    if broken.any():
        shifts = np.linalg.norm(steps, axis=1)
        at = int(shifts.argmax())
        faults.append(Fault("shift", f"the slice at {along[at + 1]:.3f} mm is shifted sideways by {shifts[at]:.3f} mm"))
    usual = float(np.median(gaps))
    odd = gaps[np.abs(gaps - usual) > 2 * tolerance * usual + _ROUNDING_MM]
    if not len(odd):
        return faults or [Fault("uneven", _uneven(gaps, usual))]
    blocks = [(stop - start, float(np.diff(along[start:stop]).mean())) for start, stop in runs if stop - start > 2]
    distances = [distance for _, distance in blocks]
    if len(blocks) > 1 and max(distances) - min(distances) > 2 * tolerance * min(distances) + _ROUNDING_MM:
        text = ", then ".join(f"{count} slices {distance:.3f} mm apart" for count, distance in blocks[:4])
        return [*faults, Fault("steps", f"the slice distance changes: {text}{', ...' if len(blocks) > 4 else ''}")]
    multiples = odd / usual
    is_missing = np.abs(multiples - np.round(multiples)) <= tolerance * np.round(multiples) + _ROUNDING_MM / usual
    if np.all(is_missing & (multiples > 1.5)):
        lost = int(np.round(multiples).sum()) - len(odd)
        text = f"{lost} slices missing in {len(odd)} places (gaps to {odd.max():.3f} mm where {usual:.3f} mm is usual)"
        return [*faults, Fault("missing", text)]
    return [*faults, Fault("uneven", _uneven(gaps, usual))]


def _uneven(gaps: NDArray[Any], usual: float) -> str:
    return f"uneven slice distances: {gaps.min():.3f} to {gaps.max():.3f} mm, {usual:.3f} mm is usual"


def _stack(frames: list[Frame], along: NDArray[Any], sideways: NDArray[Any] | None) -> Stack:
    """Return the stack of frames; ``sideways`` holds the positions of tilted frames along rows and columns, mm."""
    first, last = frames[0], frames[-1]
    axes = slice_axes(first)
    spacing_z = first.thickness_mm or 0.0
    if len(frames) > 1:
        step = np.subtract(last.position_xyz or (), first.position_xyz or ())
        spacing_z = float(axes[2] @ step) / (len(frames) - 1)
    if spacing_z <= 0:
        raise ReadError(f"{first.path}: one slice without SliceThickness; its extent in Z is unknown")
    y, x = first.spacing_yx or (1.0, 1.0)
    px, py, pz = first.position_xyz or (0.0, 0.0, 0.0)
    geometry = Geometry(
        size_zyx=(len(frames), *first.size_yx),
        spacing_zyx=(spacing_z, y, x),
        origin_xyz=(px, py, pz),
        direction_xyz=tuple(float(value) for value in axes.T.ravel()),
    )
    if sideways is None:
        return Stack(tuple(frames), geometry, _deviation(along))
    shift_yx = (sideways - sideways[0])[:, [1, 0]] / (y, x)
    return Stack(
        tuple(frames),
        rectangular_grid(geometry, shift_yx),
        _deviation(along),
        tuple((float(down), float(right)) for down, right in shift_yx),
    )


def _coordinates(frames: Sequence[Frame]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the positions of frames along the slice normal (n) and in the plane (n, 2), mm."""
    axes = slice_axes(frames[0])
    positions = np.array([frame.position_xyz for frame in frames], float)
    return positions @ axes[2], positions @ axes[:2].T


def _by_position(frames: Sequence[Frame]) -> list[list[Frame]]:
    along, _ = _coordinates(frames)
    order = np.argsort(along, kind="stable")
    breaks = np.flatnonzero(np.diff(along[order]) > 10 * _ROUNDING_MM) + 1
    return [[frames[at] for at in part] for part in np.split(order, breaks)]


def _most_copies(frames: Sequence[Frame]) -> int:
    return max(len(same) for same in _by_position(frames))


def _grouped(frames: Iterable[Frame], key: Callable[[Frame], Hashable]) -> list[list[Frame]]:
    groups: dict[Hashable, list[Frame]] = {}
    for frame in frames:
        groups.setdefault(key(frame), []).append(frame)
    return list(groups.values())


def _classes(
    frames: Sequence[Frame], value: Callable[[Frame], Any], same: Callable[[Any, Any], bool]
) -> Callable[[Frame], Hashable]:
    """Return a key function that maps nearly equal values to the first of them."""
    found: list[Any] = []
    known: dict[Any, Any] = {}
    for frame in frames:
        mine = value(frame)
        if mine not in known:
            known[mine] = next((other for other in found if same(mine, other)), mine)
            if known[mine] is mine:
                found.append(mine)
    return lambda frame: known[value(frame)]


def _same_cosines(a: Any, b: Any) -> bool:
    return bool(np.abs(np.subtract(a, b)).max() <= COSINE_TOLERANCE)


def _same_spacing(a: Any, b: Any) -> bool:
    return bool(np.allclose(a, b, rtol=COSINE_TOLERANCE, atol=0))


def _storage(frame: Frame) -> str:
    pixel = frame.pixel
    sign = "signed" if pixel.is_signed else "unsigned"
    return f"{pixel.photometric} {pixel.bits_allocated} bits {sign} x {pixel.samples}"


def _part(field: Literal["contrast", "variant"], at: int) -> Callable[[Frame], str]:
    return lambda frame: str(getattr(frame, field)[at])


def _code(name: str) -> FaultCode:
    codes: dict[str, FaultCode] = {
        "echo": "echo",
        "time point": "time-point",
        "b-value": "b-value",
        "inversion time": "inversion-time",
        "acquisition": "acquisition",
        "image type": "image-type",
        "stack": "stack",
        "cardiac phase": "cardiac-phase",
        "trigger time": "trigger-time",
        "gradient direction": "gradient-direction",
        "convolution kernel": "convolution-kernel",
    }
    return codes[name]


def _some(values: Sequence[Any]) -> str:
    return ", ".join(str(value) for value in values[:4]) + (", ..." if len(values) > 4 else "")
