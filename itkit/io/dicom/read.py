"""Read DICOM image series as volumes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from itkit.core.errors import IrregularSeriesError, ReadError
from itkit.core.geometry import Geometry
from itkit.core.volume import Kind, Volume
from itkit.io.dicom.find import ACQUISITION, Series
from itkit.io.dicom.header import Frame
from itkit.io.dicom.pixels import stored_frames
from itkit.io.dicom.stack import Fault, Stack, stack_frames
from itkit.io.dicom.tilt import untilted

OnIrregular = Literal["error", "largest"]
SPACING_TOLERANCE = 0.1
"""Fraction of the slice distance by which a slice may deviate from an even grid."""
_NOTED_DEVIATION = 0.01
"""From this fraction of the slice distance on, a deviation is noted."""
_SPLIT_ADVICE = "--on-irregular split makes a case of each regular stack, --on-irregular largest takes the largest"
_TILT_ADVICE = "--untilt resamples the slices onto a rectangular grid"
_HOPELESS = "no part of it is a regular volume"
_INTEGERS = (np.int16, np.uint16, np.int32, np.uint32, np.int64)


def series_geometry(
    series: Series,
    *,
    on_irregular: OnIrregular = "error",
    spacing_tolerance: float = SPACING_TOLERANCE,
    untilt: bool = False,
) -> Geometry:
    """Return the grid of a series, from headers alone; the parameters and errors are those of `read_series`."""
    return _stack(series, on_irregular, spacing_tolerance, untilt=untilt)[0].geometry


def series_grid(series: Series, *, on_irregular: OnIrregular = "error", untilt: bool = False) -> tuple[Geometry, str]:
    """Return the grid of a series as `series_geometry` does, and the note of `series_note`; the slices sorted once."""
    stack, note = _stack(series, on_irregular, SPACING_TOLERANCE, untilt=untilt)
    return stack.geometry, note


def series_note(series: Series, *, on_irregular: OnIrregular = "error", untilt: bool = False) -> str:
    """Return a note about a series' grid (omitted slices, uneven distances, a tilt), or an empty text."""
    return series_grid(series, on_irregular=on_irregular, untilt=untilt)[1]


def series_stack(series: Series) -> tuple[Geometry, tuple[Frame, ...]]:
    """Return the grid of a regular series, and its image planes in the order of the grid's slices.

    Raises
    ------
    IrregularSeriesError
        When the series is not a regular volume.
    """
    stack, _ = _stack(series, "error", SPACING_TOLERANCE, untilt=False)
    return stack.geometry, tuple(stack.frames)


def split_series(series: Series, *, spacing_tolerance: float = SPACING_TOLERANCE, untilt: bool = False) -> list[Series]:
    """Split a series into regular stacks, each returned as a series that `read_series` accepts.

    Frames that do not fit into any regular stack (see `stack_frames`) are left out.
    """
    _check_kind(series)
    stacks, _ = stack_frames(series.frames, spacing_tolerance=spacing_tolerance, untilt=untilt)
    return [_part(series, stack) for stack in stacks]


def read_series(
    series: Series,
    *,
    on_irregular: OnIrregular = "error",
    spacing_tolerance: float = SPACING_TOLERANCE,
    untilt: bool = False,
    kind: Kind = "image",
) -> Volume:
    """Read an image series as one volume.

    Parameters
    ----------
    series
        A series of kind ``"image"`` from `find_series`.
    on_irregular
        ``"error"`` refuses a series that is not a single regular volume; ``"largest"`` reads the regular stack with the
        most slices, and says so in the metadata.
    spacing_tolerance
        Fraction of the slice distance by which a slice may deviate from an even grid.
    untilt
        Resample the slices of a tilted gantry onto a rectangular grid, linearly in their planes.
    kind
        Kind of the volume: image or label.

    Returns
    -------
    Volume
        Rescaled values ``(Z, Y, X)``, slices ascending along the slice normal. Integral results are ``int16`` or, if
        they don't fit, the first type that holds them of ``uint16``, ``int32``, ``uint32`` and ``int64``; others are
        ``float32``. The metadata holds facts about the acquisition and notes; none of them identifies a patient.

    Raises
    ------
    IrregularSeriesError
        For mixed orientations, sizes, spacings, pixel formats, rescale types, echoes, time points or acquisitions; for
        several slices at one position, missing or uneven slices, or a tilted gantry. ``reasons`` has the codes.
    UndecodableError
        When pixels are in colour, truncated or damaged, or no decoder reads them.
    ReadError
        When the series is not of kind ``"image"``.
    """
    stack, note = _stack(series, on_irregular, spacing_tolerance, untilt=untilt)
    notes: list[str] = []
    stored: list[NDArray[Any] | None] = [None] * len(stack.frames)
    for place, array in _decode(stack.frames, notes):
        stored[place] = array
    array_zyx = _rescaled(stored, stack.frames)
    if stack.shift_yx:
        array_zyx = untilted(array_zyx, stack.shift_yx)
    metadata = {name: value for name, value in series.facts.items() if name in ACQUISITION or name in _NOTED}
    noted = {"selection": note, "warnings": "; ".join(notes)}
    metadata |= {name: value for name, value in noted.items() if value}
    return Volume(array_zyx, stack.geometry, kind, metadata)


_NOTED = ("PixelPaddingValue", "PhotometricInterpretation", "LossyImageCompression", "warnings")


def _check_kind(series: Series) -> None:
    if series.kind != "image":
        raise ReadError(f"{series.title}: holds no image ({series.kind}, {series.modality or 'no modality'})")


def _stack(series: Series, on_irregular: OnIrregular, tolerance: float, *, untilt: bool) -> tuple[Stack, str]:
    """Return the stack to read, and a note if it is only a part of the series, is uneven, or was tilted."""
    _check_kind(series)
    stacks, faults = stack_frames(series.frames, spacing_tolerance=tolerance, untilt=untilt)
    if not faults:
        return stacks[0], _note(stacks[0])
    if on_irregular == "error":
        raise _irregular(series, faults, _advice(stacks, faults))
    largest = max(stacks, key=lambda stack: len(stack.frames), default=None)
    if largest is None or (len(largest.frames) == 1 and len(series.frames) > 1):
        raise _irregular(series, faults, _advice([], faults))
    reasons = "; ".join(fault.text for fault in faults)
    selection = f"{len(largest.frames)} of {len(series.frames)} slices, the largest regular stack: {reasons}"
    return largest, "; ".join(filter(None, (selection, _note(largest))))


def _advice(stacks: Sequence[Stack], faults: Sequence[Fault]) -> str:
    """Return advice on the options that help."""
    tilt = [_TILT_ADVICE] if any(fault.code == "tilt" for fault in faults) else []
    return "; ".join([*tilt, *([_SPLIT_ADVICE] if stacks else [])]) or _HOPELESS


def _note(stack: Stack) -> str:
    """Return a note about a stack's grid."""
    step = stack.geometry.spacing_zyx[0]
    notes = []
    if stack.deviation_mm > _NOTED_DEVIATION * step:
        notes.append(
            f"slices lie up to {stack.deviation_mm:.3f} mm off an even grid; {step:.4g} mm is the mean distance"
        )
    if stack.shift_yx:
        degrees = math.degrees(math.atan2(_shift_mm(stack), step * (len(stack.frames) - 1)))
        notes.append(f"tilted gantry ({degrees:.2f} degrees): the slices were resampled onto a rectangular grid")
    return "; ".join(notes)


def _shift_mm(stack: Stack) -> float:
    """Return how far the last slice is displaced from the first, mm."""
    (down, right), (_, y, x) = stack.shift_yx[-1], stack.geometry.spacing_zyx
    return math.hypot(down * y, right * x)


def _irregular(series: Series, faults: Sequence[Fault], advice: str) -> IrregularSeriesError:
    reasons = "; ".join(fault.text for fault in faults)
    return IrregularSeriesError(f"{series.title}: {reasons}; {advice}", (fault.code for fault in faults))


def _part(series: Series, stack: Stack) -> Series:
    files = tuple(dict.fromkeys(frame.path for frame in stack.frames))
    return replace(series, files=files, frames=stack.frames)


def _decode(frames: Sequence[Frame], notes: list[str]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Decode file by file, opening each once; yield the index in the stack and the stored values."""
    places: dict[Path, list[int]] = {}
    for place, frame in enumerate(frames):
        places.setdefault(frame.path, []).append(place)
    for path, wanted in places.items():
        yield from zip(wanted, stored_frames(path, [frames[place] for place in wanted], notes), strict=True)


def _rescaled(stored: list[NDArray[Any] | None], frames: Sequence[Frame]) -> NDArray[Any]:
    """Apply every frame's own rescale; release the stored slices one by one."""
    dtype = _result_dtype(stored, frames)
    result = np.empty((len(frames), *frames[0].size_yx), dtype)
    work = np.float64 if dtype == np.float32 else np.int64
    for frame in frames:
        if frame.slope == 0:
            raise ReadError(
                f"{frame.path}: RescaleSlope is 0: every value would become {frame.intercept:g}; export the series "
                "again, or remove RescaleSlope and RescaleIntercept if the stored values are meant"
            )
    for place, frame in enumerate(frames):
        values, stored[place] = stored[place], None
        if values is None:
            raise ReadError(f"{frame.path}: frame {frame.index} was not decoded")
        result[place] = values.astype(work) * work(frame.slope) + work(frame.intercept)
    return result


def _result_dtype(stored: Sequence[NDArray[Any] | None], frames: Sequence[Frame]) -> np.dtype[Any]:
    low, high = 0.0, 0.0
    for values, frame in zip(stored, frames, strict=True):
        is_integral = frame.slope.is_integer() and frame.intercept.is_integer()
        if values is None or values.dtype.kind not in "iu" or not is_integral:
            return np.dtype(np.float32)
        ends = [float(end) * frame.slope + frame.intercept for end in (values.min(), values.max())]
        low, high = min(low, *ends), max(high, *ends)
    for dtype in _INTEGERS:
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    raise ReadError(f"{frames[0].path}: values from {low:g} to {high:g} exceed every integer type after the rescale")
