"""What the header of a volume file says: the value that every format's parser gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from itkit.core.affines import ORTHOGONAL_TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from itkit.core.geometry import Geometry

Encoding = Literal["raw", "gzip", "zlib", "text", "itk", "plug-in"]
ByteOrder = Literal["little", "big"]
MOST_INFLATED = 1032
"""DEFLATE gives at most so many bytes for one: a stream shorter than a 1032nd of the voxels is truncated."""

ITEM_BYTES = {
    "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "uint64": 8,
    "float32": 4, "float64": 8,
}  # fmt: skip


class UnsupportedHeader(Exception):  # noqa: N818  not a failure: it sends the caller to SimpleITK
    """A header that may be right but holds more than this parser understands; never shown to a user."""


@dataclass(frozen=True)
class Header:
    """The header of one volume file.

    Parameters
    ----------
    geometry
        The grid (LPS, mm), always 3-D: a 2-D image has one slice, of a series of volumes it is the grid of each.
    ndim
        Dimensions without trailing ones above three, so that a 4-D file with one volume is 3-D.
    dtype
        Type of the stored voxels, numpy's name, before scaling.
    components
        Values in a voxel.
    volumes
        Number of 3-D volumes; 1 unless ``ndim`` > 3.
    size_bytes
        Bytes of all voxels, uncompressed.
    data_path
        File that holds them; the header's own, or the detached one.
    data_offset
        Where they start: in the file, or, in a stream that is compressed as a whole (``.nii.gz``), in the stream.
    stream_offset
        Where the compressed stream starts in the file; 0 for raw data.
    encoding
        How they are stored: ``"text"`` is numbers between blanks; ``"itk"`` when the header came from SimpleITK, which
        then reads the voxels, too; ``"plug-in"`` when it came from a reader of another package.
    byte_order
        Byte order of the stored voxels.
    slope, inter
        Value = ``slope`` * stored + ``inter`` (NIfTI); 1 and 0 elsewhere.
    metadata
        Further header fields, by name.
    file_format
        ``"MetaImage"``, ``"NIfTI-1"``, ``"NIfTI-2"`` or ``"NRRD"``.
    warnings
        What is doubtful about the file, a sentence each.
    """

    geometry: Geometry
    ndim: int
    dtype: str
    components: int
    size_bytes: int
    data_path: Path
    data_offset: int
    encoding: Encoding
    file_format: str
    byte_order: ByteOrder = "little"
    volumes: int = 1
    stream_offset: int = 0
    slope: float = 1.0
    inter: float = 0.0
    metadata: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def is_scaled(self) -> bool:
        """Whether stored numbers differ from the values they stand for."""
        return self.slope != 1.0 or self.inter != 0.0

    @property
    def value_dtype(self) -> str:
        """Type of the voxels after scaling: the stored one, or a float that holds every stored number."""
        if not self.is_scaled:
            return self.dtype
        return "float32" if ITEM_BYTES[self.dtype] <= 2 or self.dtype == "float32" else "float64"


def product(numbers: Sequence[int]) -> int:
    """Multiply integers; 1 for none."""
    result = 1
    for number in numbers:
        result *= number
    return result


def is_orthonormal(direction: Sequence[float], *, tolerance: float = ORTHOGONAL_TOLERANCE) -> bool:
    """Whether the columns of a 3x3 matrix, given row by row, have length one and right angles."""
    a, b, c, d, e, f, g, h, i = direction
    return (
        abs(a * a + d * d + g * g - 1) <= tolerance
        and abs(b * b + e * e + h * h - 1) <= tolerance
        and abs(c * c + f * f + i * i - 1) <= tolerance
        and abs(a * b + d * e + g * h) <= tolerance
        and abs(a * c + d * f + g * i) <= tolerance
        and abs(b * c + e * f + h * i) <= tolerance
    )


def number_text(value: float) -> str:
    """Write a number so that it reads back the same, integers without a point.

    Examples
    --------
    >>> number_text(2.0), number_text(0.7), number_text(-0.0)
    ('2', '0.7', '0')
    """
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
