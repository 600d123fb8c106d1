"""`Header`: the content of a volume file's header, as the parser of each format returns it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from itkit.core.affines import ORTHOGONAL_TOLERANCE
from itkit.core.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from itkit.core.geometry import Geometry

Encoding = Literal["raw", "gzip", "zlib", "text", "itk", "plug-in"]
ByteOrder = Literal["little", "big"]
MOST_INFLATED = 1032
"""DEFLATE expands a byte to at most this many: a stream shorter than a 1032nd of the voxels is truncated."""

ITEM_BYTES = {
    "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "uint64": 8,
    "float32": 4, "float64": 8,
}  # fmt: skip


class UnsupportedHeader(Exception):  # noqa: N818  not a failure: it sends the caller to SimpleITK
    """A header may be valid, but this parser does not understand all of it; never shown to a user."""


@dataclass(frozen=True)
class Header:
    """The header of one volume file.

    Parameters
    ----------
    geometry
        The grid (LPS, mm), always 3-D: a 2-D image has one slice; for a series of volumes, it is the grid of each.
    ndim
        Number of dimensions, without trailing dimensions of size 1 above three: a 4-D file with one volume is 3-D.
    dtype
        Type of the stored voxels before scaling, as numpy names it.
    components
        Number of values per voxel.
    volumes
        Number of 3-D volumes; 1 unless ``ndim`` > 3.
    size_bytes
        Bytes of all voxels, uncompressed.
    data_path
        File that holds the voxels: the header's own, or a detached one.
    data_offset
        Where the voxels start: in the file or, if a stream is compressed as a whole (``.nii.gz``), in the stream.
    stream_offset
        Where the compressed stream starts in the file; 0 for raw data.
    encoding
        How the voxels are stored: ``"text"`` is numbers between blanks; ``"itk"`` if SimpleITK has read the header and
        then also reads the voxels; ``"plug-in"`` if a reader of another package has read it.
    byte_order
        Byte order of the stored voxels.
    slope, inter
        Value = ``slope`` * stored + ``inter`` (NIfTI); 1 and 0 in other formats.
    metadata
        Further header fields, by name.
    file_format
        ``"MetaImage"``, ``"NIfTI-1"``, ``"NIfTI-2"`` or ``"NRRD"``.
    warnings
        Doubts about the file, one sentence each.
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
        """Whether the stored numbers must be scaled to get the values."""
        return self.slope != 1.0 or self.inter != 0.0

    @property
    def value_dtype(self) -> str:
        """Type of the voxels after scaling: the stored type, or a float type that holds every stored number."""
        if not self.is_scaled:
            return self.dtype
        return "float32" if ITEM_BYTES[self.dtype] <= 2 or self.dtype == "float32" else "float64"


def header_text(head: bytes) -> str:
    """Return the text of a header: UTF-8, or Latin-1 where it is not."""
    try:
        return head.decode("utf-8")
    except UnicodeDecodeError:
        return head.decode("latin-1")


def require_fields(strange: str, path: Path, *, file_format: str, separator: str) -> None:
    """Refuse a header with a line that is not a field.

    Raises
    ------
    ReadError
        When the line holds zero bytes.
    UnsupportedHeader
        When it is another text.
    """
    if "\0" in strange:
        raise ReadError(f"{path}: {file_format} header holds zero bytes; the file is damaged: export it again")
    if strange:
        raise UnsupportedHeader(f"{path}: line without '{separator}': {strange[:40]!r}")


def dimensions_of(sizes: Sequence[int]) -> int:
    """Return the number of axes without trailing ones of size 1 beyond the third.

    Examples
    --------
    >>> dimensions_of([4, 5, 6, 1]), dimensions_of([4, 5, 6, 2]), dimensions_of([4, 1])
    (3, 4, 2)
    """
    count = len(sizes)
    while count > 3 and sizes[count - 1] == 1:
        count -= 1
    return count


def product(numbers: Sequence[int]) -> int:
    """Return the product of integers; 1 if there are none."""
    result = 1
    for number in numbers:
        result *= number
    return result


@lru_cache(1 << 12)
def is_orthonormal(direction: tuple[float, ...], *, tolerance: float = ORTHOGONAL_TOLERANCE) -> bool:
    """Return whether the columns of a 3x3 matrix, given row by row, have length 1 and are perpendicular."""
    a, b, c, d, e, f, g, h, i = direction
    return (
        abs(a * a + d * d + g * g - 1) <= tolerance
        and abs(b * b + e * e + h * h - 1) <= tolerance
        and abs(c * c + f * f + i * i - 1) <= tolerance
        and abs(a * b + d * e + g * h) <= tolerance
        and abs(a * c + d * f + g * i) <= tolerance
        and abs(b * c + e * f + h * i) <= tolerance
    )


def plain(numbers: object) -> str:
    """Return the text of numbers in a header, for Python to parse.

    Raises
    ------
    ValueError
        When it holds what only Python takes for numbers: ``1_0``, or digits of other scripts.

    Examples
    --------
    >>> float(plain("1.5"))
    1.5
    >>> plain("1_0")
    Traceback (most recent call last):
    ValueError: '1_0' is no number
    """
    text = str(numbers)
    if "_" in text or not text.isascii():
        raise ValueError(f"{text!r} is no number")
    return text


@lru_cache(maxsize=4096)
def number_text(value: float) -> str:
    """Return a number as text that reads back as the same number; integers have no decimal point.

    Examples
    --------
    >>> number_text(2.0), number_text(0.7), number_text(-0.0)
    ('2', '0.7', '0')
    """
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
