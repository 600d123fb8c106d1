"""What a child process does with compressed DICOM pixels; no other process imports this. See `itkit.io.child`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom.pixels  # noqa: F401 - loads the decoders, so that a file's memory is its own

from itkit.io.dicom.header import parse_errors, pydicom_module, read_dataset, short, warnings_as_notes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

_KEYWORDS = (
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames",
    "BitsAllocated", "BitsStored", "PixelRepresentation", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    "PixelData",
)  # fmt: skip
"""Elements that decoders look at."""


def hand_over_frames(request: Mapping[str, Any], hand_over: Callable[[NDArray[Any]], None]) -> dict[str, Any]:
    """Decode frames of a file and hand them over; say what pydicom warned of and, if it failed, why."""
    notes: list[str] = []
    answer: dict[str, Any] = {"notes": notes, "lacks_decoder": False}
    rest = request["most"]
    try:
        dataset = read_dataset(Path(request["path"]), keywords=_KEYWORDS, pixels=True, notes=notes)
        with warnings_as_notes(notes):
            for frame in pydicom_module().pixels.iter_pixels(
                dataset, indices=request["indices"], raw=True, correct_unused_bits=True
            ):
                rest -= frame.nbytes
                if rest < 0:
                    return {**answer, "failed": f"more than the {request['most']} bytes of pixels that the header has"}
                hand_over(np.ascontiguousarray(frame))
    except parse_errors() as error:
        answer["failed"] = short(error)
        answer["lacks_decoder"] = "plugin" in str(error) and "missing" in str(error)
    return answer
