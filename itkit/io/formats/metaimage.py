"""MetaImage (``.mha``, ``.mhd``): parse a header text to a `Header`, and write one.

The meaning of the fields follows the MetaIO documentation (https://itk.org/Wiki/ITK/MetaIO/Documentation); where that
leaves something open, it follows what SimpleITK reports.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from itkit.core.axes import IDENTITY_XYZ, opposite, to_xyz, to_zyx
from itkit.core.errors import ReadError
from itkit.core.geometry import Geometry
from itkit.io.formats.gate import LOCAL, axis_sizes, data_file
from itkit.io.formats.header_model import (
    ITEM_BYTES,
    MOST_INFLATED,
    Header,
    UnsupportedHeader,
    dimensions_of,
    header_text,
    is_orthonormal,
    number_text,
    plain,
    product,
    require_fields,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VOXEL_TYPES = {
    "MET_CHAR": "int8", "MET_UCHAR": "uint8", "MET_SHORT": "int16", "MET_USHORT": "uint16", "MET_INT": "int32",
    "MET_UINT": "uint32", "MET_LONG": "int32", "MET_ULONG": "uint32", "MET_LONG_LONG": "int64",
    "MET_ULONG_LONG": "uint64", "MET_FLOAT": "float32", "MET_DOUBLE": "float64",
}  # fmt: skip
_ELEMENT_TYPE = {dtype: name for name, dtype in VOXEL_TYPES.items() if name not in ("MET_LONG", "MET_ULONG")}
_MATRIX = ("TransformMatrix", "Rotation", "Orientation")
_ORIGIN = ("Offset", "Position", "Origin")
_BYTE_ORDER = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
_CHANNELS = "ElementNumberOfChannels"
_INERT = frozenset({
    "ObjectSubType", "Comment", "Name", "ID", "ParentID", "Color", "CenterOfRotation", "AnatomicalOrientation",
    "AcquisitionDate", "DistanceUnits", "ElementMin", "ElementMax", "ImagePosition", "SequenceID", "CompressionLevel",
    "TransformType", "CompressionAlgorithm", "ElementNBits",
})  # fmt: skip
"""Fields that affect neither the grid nor the voxels."""
_KNOWN = _INERT | {
    "ObjectType", "NDims", "BinaryData", "CompressedData", "CompressedDataSize", "ElementSpacing", "ElementSize",
    "DimSize", "HeaderSize", "ElementType", "ElementDataFile", "ElementToIntensityFunctionSlope",
    "ElementToIntensityFunctionOffset", _CHANNELS, *_MATRIX, *_ORIGIN, *_BYTE_ORDER,
}  # fmt: skip
_END = re.compile(rb"^[ \t]*ElementDataFile[ \t]*=", re.MULTILINE)  # a comment may contain the word


def header_bytes_needed(head: bytes) -> int | None:
    """Return the header's length, or ``None`` if ``head`` holds only a part; its last line is ``ElementDataFile``."""
    last = _END.search(head)
    if last is None:
        return None
    end = head.find(b"\n", last.end())
    return None if end < 0 else end + 1


def parse_metaimage(head: bytes, path: Path, file_bytes: int) -> Header:
    """Parse the bytes that `header_bytes_needed` counts.

    Parameters
    ----------
    head
        The header alone.
    path
        The header file; a detached data file is expected beside it.
    file_bytes
        Size of the header file.

    Raises
    ------
    ReadError
        When a field is broken, or the data are shorter than the header states.
    UnsupportedHeader
        When the header has features that only MetaIO supports.
    """
    fields, strange = _fields(head)
    try:
        sizes = _sizes(fields, path)  # also of what MetaIO is to read: sizes that can't be crash it
        require_fields(strange, path, file_format="MetaImage", separator="=")
        return _header(fields, sizes, path, len(head), file_bytes)
    except KeyError as error:
        raise ReadError(f"{path}: MetaImage header lacks {error.args[0]}; export the file again") from error
    except (ValueError, OverflowError) as error:
        raise ReadError(f"{path}: MetaImage header is broken ({error}); export the file again") from error


def _fields(head: bytes) -> tuple[dict[str, str], str]:
    """Return the fields of a header, and the last line that is not one."""
    fields: dict[str, str] = {}
    strange = ""
    for line in header_text(head).split("\n"):
        field = _field(line)
        if field is not None:
            fields[field[0]] = field[1]
        elif line.strip():
            strange = line
    return fields, strange


@lru_cache(1 << 12)
def _field(line: str) -> tuple[str, str] | None:
    """Return the name and the value in a line; most lines of a dataset's headers are alike."""
    name, equals, value = line.partition("=")
    return (name.strip(), value.strip()) if equals else None


def _sizes(fields: dict[str, str], path: Path) -> list[int]:
    """Return the sizes of all axes; the channels are checked as well."""
    sizes = axis_sizes(path, "DimSize", fields["DimSize"], int(plain(fields["NDims"])))
    if int(plain(fields.get(_CHANNELS, 1))) < 1:
        raise ReadError(f"{path}: {_CHANNELS} is {fields[_CHANNELS]}, expected > 0; export the file again")
    return sizes


def _true(value: str) -> bool:
    return value[:1] in ("T", "t", "1")


def _first(fields: dict[str, str], names: tuple[str, ...]) -> str | None:
    for name in names:
        if name in fields:
            return fields[name]
    return None


def _only(fields: dict[str, str], names: tuple[str, ...]) -> str | None:
    """Return the value of a field that has several names.

    Raises
    ------
    ValueError
        When the header gives it two values.
    """
    found = [fields[name] for name in names if name in fields]
    if len(found) > 1 and len({*found}) > 1:
        raise ValueError(f"{' and '.join(name for name in names if name in fields)} differ")
    return found[0] if found else None


def _header(fields: dict[str, str], sizes: list[int], path: Path, length: int, file_bytes: int) -> Header:
    if fields.get("ObjectType", "Image") != "Image" or not _true(fields.get("BinaryData", "True")):
        raise UnsupportedHeader(f"{path}: not a binary image")
    if float(plain(fields.get("ElementToIntensityFunctionSlope", 1))) != 1 or float(
        fields.get("ElementToIntensityFunctionOffset", 0)
    ):
        raise UnsupportedHeader(f"{path}: intensity function")
    if fields["ElementType"] not in VOXEL_TYPES:
        raise UnsupportedHeader(f"{path}: ElementType {fields['ElementType']}")
    dtype = VOXEL_TYPES[fields["ElementType"]]
    components = int(plain(fields.get(_CHANNELS, 1)))
    size_bytes = product(sizes) * components * ITEM_BYTES[dtype]
    compressed = _true(fields.get("CompressedData", "False"))
    data_path, data_offset = _data_place(fields, path, length, file_bytes, size_bytes, compressed=compressed)
    return Header(
        geometry=_geometry(fields, path, sizes),
        ndim=dimensions_of(sizes),
        dtype=dtype,
        components=components,
        size_bytes=size_bytes,
        data_path=data_path,
        data_offset=0 if compressed else data_offset,
        encoding="zlib" if compressed else "raw",
        file_format="MetaImage",
        byte_order="big" if _true(_first(fields, _BYTE_ORDER) or "False") else "little",
        volumes=product(sizes[3:]),
        stream_offset=data_offset if compressed else 0,
        metadata={key: value for key, value in fields.items() if key not in _KNOWN},
    )


def _numbers(text: str, count: int) -> list[float]:
    values = list(map(float, plain(text).split()))
    if len(values) != count or not math.isfinite(sum(values)):
        raise ValueError(f"expected {count} finite numbers, got {text!r}")
    return values


def _geometry(fields: dict[str, str], path: Path, sizes: list[int]) -> Geometry:
    spacing = _first(fields, ("ElementSpacing", "ElementSize"))
    try:
        return _grid(tuple(sizes), spacing, _only(fields, _ORIGIN), _only(fields, _MATRIX))
    except UnsupportedHeader as error:
        raise UnsupportedHeader(f"{path}: {error}") from error


@lru_cache(1 << 12)
def _grid(
    sizes_xyz: tuple[int, ...], spacing_text: str | None, origin_text: str | None, matrix_text: str | None
) -> Geometry:
    """Return the grid that the values of fields say; an image and its label have the same."""
    sizes, dims = list(sizes_xyz), len(sizes_xyz)
    spacing = _numbers(spacing_text, dims) if spacing_text is not None else [1.0] * dims
    origin = _numbers(origin_text, dims) if origin_text is not None else [0.0] * dims
    m = _numbers(matrix_text, dims * dims) if matrix_text is not None else None  # each row is the direction of an axis
    if dims != 3:
        if m is not None:
            m = [
                m[axis * dims + row] if row < dims and axis < dims else float(row == axis)
                for axis in range(3)
                for row in range(3)
            ]
        pad = max(0, 3 - dims)
        sizes, spacing, origin = (sizes + [1] * pad)[:3], (spacing + [1.0] * pad)[:3], (origin + [0.0] * pad)[:3]
    direction: tuple[float, ...] = IDENTITY_XYZ if m is None else (m[0], m[3], m[6], m[1], m[4], m[7], m[2], m[5], m[8])
    if min(spacing) < 0:  # as in ITK, the axis then points the other way
        signs = [-1.0 if step < 0 else 1.0 for step in spacing]
        spacing = [abs(step) for step in spacing]
        direction = tuple(value * signs[place % 3] for place, value in enumerate(direction))
    if min(spacing) <= 0 or not is_orthonormal(direction):
        raise UnsupportedHeader(f"spacing {spacing}, direction {direction}")
    x, y, z = origin
    return Geometry.as_stated(to_zyx(sizes), to_zyx(spacing), (x, y, z), direction)


def _data_place(
    fields: dict[str, str], path: Path, length: int, file_bytes: int, size_bytes: int, *, compressed: bool
) -> tuple[Path, int]:
    """Return where the voxels start; raise an error if the file ends before they do."""
    name = fields["ElementDataFile"]
    skip = int(plain(fields.get("HeaderSize", 0)))
    local = name in LOCAL
    if not name or name.startswith("LIST") or (skip and (local or compressed)):
        raise UnsupportedHeader(f"{path}: ElementDataFile {name!r} with HeaderSize {skip}")
    data_path, available = (path, file_bytes) if local else data_file(path, name)
    offset = length if local else skip
    if skip < 0:
        offset = available - size_bytes
    expected = int(float(plain(fields.get("CompressedDataSize", 0)))) if compressed else size_bytes
    if compressed:
        expected = max(expected, -(-size_bytes // MOST_INFLATED))
    if offset < 0 or offset + expected > available:
        raise ReadError(
            f"{data_path}: truncated: expected {expected} bytes of voxels, "
            f"found {max(0, available - max(offset, 0))}; copy or export the file again"
        )
    return data_path, offset


def metaimage_header(
    geometry: Geometry,
    dtype: str,
    *,
    components: int = 1,
    data_file: str = "LOCAL",
    compressed_bytes: int | None = None,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Return the header of a little-endian MetaImage.

    Parameters
    ----------
    geometry
        The grid.
    dtype
        Voxel type, as numpy names it.
    components
        Number of values per voxel.
    data_file
        ``LOCAL``, or the data file's name.
    compressed_bytes
        Length of the zlib stream; ``None`` for raw voxels. The header's length does not depend on the number.
    metadata
        Further fields; names that the format itself uses, or that it does not allow, are left out.
    """
    columns = [number_text(geometry.direction_xyz[3 * row + column]) for column in range(3) for row in range(3)]
    lines = ["ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False"]
    lines.append(f"CompressedData = {compressed_bytes is not None}")
    if compressed_bytes is not None:
        lines.append(f"CompressedDataSize = {compressed_bytes:<15d}")
    lines += [
        f"TransformMatrix = {' '.join(columns)}",
        f"Offset = {' '.join(map(number_text, geometry.origin_xyz))}",
        "CenterOfRotation = 0 0 0",
        f"AnatomicalOrientation = {opposite(geometry.orientation)}",
        f"ElementSpacing = {' '.join(map(number_text, to_xyz(geometry.spacing_zyx)))}",
        f"DimSize = {' '.join(map(str, to_xyz(geometry.size_zyx)))}",
    ]
    if components != 1:
        lines.append(f"{_CHANNELS} = {components}")
    for key, value in (metadata or {}).items():
        if (
            key not in _KNOWN
            and not key.startswith("ITK_")
            and key.split() == [key]
            and "=" not in key
            and key.isprintable()
        ):
            lines.append(f"{key} = {' '.join(value.split())}")
    lines += [f"ElementType = {_ELEMENT_TYPE[dtype]}", f"ElementDataFile = {data_file}", ""]
    return "\n".join(lines).encode(errors="surrogateescape")
