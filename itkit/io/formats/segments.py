"""The segments that a 3D Slicer segmentation (``.seg.nrrd``) describes in its header.

Slicer's manual explains the fields: https://slicer.readthedocs.io/en/latest/developer_guide/modules/segmentations.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_MOST_SEGMENTS = 10_000
_INTEGER = re.compile(r"-?\d{1,18}")


@dataclass(frozen=True)
class Segment:
    """One segment: its value in the voxels, its name, its colour (0 to 255) and its layer; ``None`` if not stated."""

    value: int | None
    name: str
    colour: tuple[int, int, int] | None = None
    layer: str = "0"


def segments_of(metadata: Mapping[str, str]) -> Iterator[Segment]:
    """Yield the segments that a file's header describes.

    Examples
    --------
    >>> fields = {"ID": "s1", "Name": "liver", "LabelValue": "3", "Color": "1 0.5 0"}
    >>> list(segments_of({f"Segment0_{name}": text for name, text in fields.items()}))
    [Segment(value=3, name='liver', colour=(255, 128, 0), layer='0')]
    """
    for number in range(_MOST_SEGMENTS):
        key = f"Segment{number}_"
        if f"{key}ID" not in metadata:
            return
        value = metadata.get(f"{key}LabelValue", "").strip()
        yield Segment(
            int(value) if _INTEGER.fullmatch(value) else None,
            metadata.get(f"{key}Name", "").strip() or metadata[f"{key}ID"],
            _colour(metadata.get(f"{key}Color", "")),
            metadata.get(f"{key}Layer", "0").strip(),
        )


def _colour(text: str) -> tuple[int, int, int] | None:
    try:
        red, green, blue = (int(255 * min(max(float(word), 0.0), 1.0) + 0.5) for word in text.split())
    except ValueError:
        return None
    return red, green, blue
