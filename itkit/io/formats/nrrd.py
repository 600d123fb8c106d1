"""NRRD (``.nrrd``, ``.nhdr``): parse a header text to a `Header`, and write one.

This follows the format's definition (https://teem.sourceforge.net/nrrd/format.html) and, for spaces, what ITK reports.
"""

from __future__ import annotations

import math
import re
from itertools import product as product_of
from typing import TYPE_CHECKING

from itkit.core.axes import to_xyz, to_zyx
from itkit.core.errors import ReadError
from itkit.core.geometry import Geometry
from itkit.io.formats.gate import axis_sizes, data_file
from itkit.io.formats.header_model import (
    ITEM_BYTES,
    MOST_INFLATED,
    Encoding,
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

_SPELLINGS = {
    "int8": "signed char|int8|int8_t",
    "uint8": "uchar|unsigned char|uint8|uint8_t",
    "int16": "short|short int|signed short|signed short int|int16|int16_t",
    "uint16": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "int32": "int|signed int|int32|int32_t",
    "uint32": "uint|unsigned int|uint32|uint32_t",
    "int64": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "uint64": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "float32": "float",
    "float64": "double",
}
VOXEL_TYPES = {spelling: dtype for dtype, spellings in _SPELLINGS.items() for spelling in spellings.split("|")}
_TYPE = {dtype: spellings.split("|")[0] for dtype, spellings in _SPELLINGS.items()} | {
    "uint8": "unsigned char", "uint16": "unsigned short", "uint32": "unsigned int",
    "int64": "long long int", "uint64": "unsigned long long int",
}  # fmt: skip
_LPS = "left-posterior-superior"
_SIDES = (("left", "right"), ("posterior", "anterior"), ("superior", "inferior"))
"""Direction in which each LPS coordinate grows, and the opposite one."""
_SIGNS = {
    spelling: signs
    for signs in product_of((1.0, -1.0), repeat=3)
    for words in [[side[0 if sign > 0 else 1] for side, sign in zip(_SIDES, signs, strict=True)]]
    for spelling in ("-".join(words), "".join(word[0] for word in words))
}
"""Factors that convert a space to LPS, by the long and the short name of the space."""
_ITK_SPACES = frozenset({_LPS, "lps", "right-anterior-superior", "ras"})
"""Spaces that every SimpleITK reads correctly; before 2.5.6 it flips x instead of y of left-anterior-superior."""
_MM_PER_UNIT = {
    "mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "": 1.0, "cm": 10.0, "m": 1000.0, "meter": 1000.0,
    "metre": 1000.0, "um": 1e-3, "\u00b5m": 1e-3, "\u03bcm": 1e-3, "micron": 1e-3, "micrometer": 1e-3, "nm": 1e-6,
    "in": 25.4, "inch": 25.4,
}  # fmt: skip
_ENCODING: dict[str, Encoding] = {
    "raw": "raw", "gzip": "gzip", "gz": "gzip", "ascii": "text", "text": "text", "txt": "text",
}  # fmt: skip
_DOMAIN_KINDS = frozenset({"domain", "space", "time", "???", "none"})
_INERT = frozenset({
    "content", "number", "units", "labels", "thicknesses", "measurementframe", "sampleunits",
    "oldmin", "oldmax", "min", "max", "centers", "centerings",
})  # fmt: skip
"""Fields that affect neither the grid (if a space is given) nor the voxels."""
_UNDERSTOOD = _INERT | {
    "type", "dimension", "sizes", "encoding", "endian", "space", "spacedirections", "spaceorigin", "spaceunits",
    "spacings", "kinds", "datafile", "byteskip", "lineskip", "spacedimension",
}  # fmt: skip
Vector = tuple[float, float, float]


def header_bytes_needed(head: bytes) -> int | None:
    """Return the length of an attached header, or ``None`` if ``head`` holds only a part; an empty line ends it."""
    ends = [at + len(mark) for mark in (b"\n\n", b"\r\n\r\n") if (at := head.find(mark)) >= 0]
    return min(ends) if ends else None


def parse_nrrd(head: bytes, path: Path, file_bytes: int) -> Header:
    """Parse the bytes that `header_bytes_needed` counts, or a whole ``.nhdr``.

    Raises
    ------
    ReadError
        When a field is broken, or the data are shorter than the header states.
    UnsupportedHeader
        When the header has features that only Teem supports.
    """
    fields, metadata, strange = _fields(head, path)
    try:
        _sizes(fields, path)  # also of what Teem is to read: sizes that can't be crash it
        require_fields(strange, path, file_format="NRRD", separator=":")
        return _header(fields, metadata, path, len(head), file_bytes)
    except UnsupportedHeader as reason:
        space = fields.get("space", _LPS).lower()
        if space in _SIGNS and space not in _ITK_SPACES:
            raise ReadError(
                f"{path}: NRRD in space {space} with features that only Teem reads ({reason}); convert it"
            ) from reason
        raise
    except KeyError as error:
        raise ReadError(f"{path}: NRRD header lacks {error.args[0]!r}; the file is damaged: export it again") from error
    except (ValueError, OverflowError) as error:
        raise ReadError(f"{path}: NRRD header is broken ({error}); the file is damaged: export it again") from error


def _fields(head: bytes, path: Path) -> tuple[dict[str, str], dict[str, str], str]:
    """Return the fields of a header, its key/value pairs, and the last line that is neither."""
    lines = header_text(head).split("\n")
    if not lines[0].startswith("NRRD000"):
        raise ReadError(f"{path}: expected a NRRD header, found {lines[0][:20]!r}; is the extension right?")
    fields: dict[str, str] = {}
    metadata: dict[str, str] = {}
    strange = ""
    for raw_line in lines[1:]:
        line = raw_line.rstrip("\r")
        if not line or line[0] == "#":
            continue
        key, separator, value = line.partition(":")
        if value[:1] == "=":
            metadata[key] = value[1:].replace("\\n", "\n").replace("\\\\", "\\")
        elif separator:
            fields[key.replace(" ", "").lower()] = value.strip()
        else:
            strange = line
    return fields, metadata, strange


def _sizes(fields: dict[str, str], path: Path) -> list[int]:
    return axis_sizes(path, "sizes", fields["sizes"], int(plain(fields["dimension"])))


def _header(fields: dict[str, str], metadata: dict[str, str], path: Path, length: int, file_bytes: int) -> Header:
    sizes = _sizes(fields, path)
    dims = len(sizes)
    strange = fields.keys() - _UNDERSTOOD
    dtype = VOXEL_TYPES.get(fields["type"].lower())
    encoding = _ENCODING.get(fields["encoding"].lower())
    if strange or dtype is None or encoding is None or int(plain(fields.get("lineskip", 0))):
        raise UnsupportedHeader(f"{path}: {sorted(strange)} {fields['type']} {fields['encoding']}")
    endian = fields["endian"].lower() if ITEM_BYTES[dtype] > 1 and encoding != "text" else "little"
    if endian not in ("little", "big"):
        raise ReadError(f"{path}: endian is {endian!r}, expected little or big; export the file again")
    size_bytes = product(sizes) * ITEM_BYTES[dtype]
    channel_axes = _channel_axes(fields, path, dims)
    domain = sizes[channel_axes:]
    geometry = _geometry(fields, path, channel_axes, domain)
    least = {"raw": size_bytes, "text": 2 * product(sizes) - 1}.get(encoding, -(-size_bytes // MOST_INFLATED))
    data_path, offset = _data_place(fields, path, length, file_bytes, least, encoding)
    return Header(
        geometry=geometry,
        ndim=dimensions_of(domain),
        dtype=dtype,
        components=sizes[0] if channel_axes else 1,
        size_bytes=size_bytes,
        data_path=data_path,
        data_offset=0 if encoding == "gzip" else offset,
        encoding=encoding,
        file_format="NRRD",
        byte_order="big" if endian == "big" else "little",
        volumes=product(domain[3:]),
        stream_offset=offset if encoding == "gzip" else 0,
        metadata=metadata,
    )


def _channel_axes(fields: dict[str, str], path: Path, dims: int) -> int:
    """Return 1 if the fastest axis runs over the values of a voxel, 0 if all axes are spatial (or time)."""
    kinds = fields["kinds"].lower().split() if "kinds" in fields else ["domain"] * dims
    channels = [axis for axis, kind in enumerate(kinds) if kind not in _DOMAIN_KINDS]
    if len(kinds) != dims or channels not in ([], [0]) or (channels and "masked" in kinds[0]):
        raise UnsupportedHeader(f"{path}: kinds {kinds}")
    return len(channels)


def _vector(text: str, path: Path) -> Vector:
    text = text.strip()
    words = plain(text[1:-1]).split(",")
    if text[:1] != "(" or text[-1:] != ")" or len(words) != 3:
        raise ValueError(f"expected (x,y,z), got {text!r}")
    x, y, z = (float(word) for word in words)
    if not math.isfinite(x + y + z):
        raise UnsupportedHeader(f"{path}: vector {text!r}")
    return (x, y, z)


def _vectors(text: str, path: Path) -> list[Vector | None]:
    """Parse ``(1,0,0) none (0, 2, 0)``; the brackets may contain blanks."""
    vectors: list[Vector | None] = []
    for part in text.replace(")", ")\n").replace("none", "none\n").split("\n"):
        word = part.strip()
        if word == "none":
            vectors.append(None)
        elif word:
            if word.count(",") != 2:
                raise UnsupportedHeader(f"{path}: space directions {text!r}")
            vectors.append(_vector(word, path))
    return vectors


def _geometry(fields: dict[str, str], path: Path, channel_axes: int, domain: list[int]) -> Geometry:
    dims = len(domain)
    pad = 3 - dims
    size_zyx = to_zyx((domain + [1] * pad)[:3])
    if "spacedirections" not in fields:
        if "space" in fields or "spacedimension" in fields or "spaceorigin" in fields:
            raise UnsupportedHeader(f"{path}: a space without directions")
        words = fields["spacings"].split() if "spacings" in fields else ["1"] * (dims + channel_axes)
        spacing = [float(plain(word)) for word in words[channel_axes:]]
        if len(spacing) != dims or not all(0 < value < float("inf") for value in spacing):
            raise UnsupportedHeader(f"{path}: spacings {fields.get('spacings')}")
        return Geometry.as_stated(size_zyx, to_zyx((spacing + [1.0] * pad)[:3]))
    space = fields.get("space", "").lower()
    vectors = _vectors(fields["spacedirections"], path)
    spatial = [vector for vector in vectors[channel_axes:] if vector is not None]
    if (
        dims != 3
        or space not in _SIGNS
        or "spacings" in fields
        or len(vectors) != 3 + channel_axes
        or len(spatial) != 3
    ):
        raise UnsupportedHeader(f"{path}: {dims}-D in space {space!r} with directions {fields['spacedirections']!r}")
    units = _mm_per_unit(fields, path)
    spatial = [(x * units[0], y * units[1], z * units[2]) for x, y, z in spatial]
    signs = _SIGNS[space]
    lengths = [(x * x + y * y + z * z) ** 0.5 for x, y, z in spatial]
    if min(lengths) <= 0:
        raise UnsupportedHeader(f"{path}: a space direction of length 0")
    direction = tuple(signs[row] * spatial[axis][row] / lengths[axis] for row in range(3) for axis in range(3))
    if not is_orthonormal(direction):
        raise UnsupportedHeader(f"{path}: directions {direction} are not at right angles")
    origin = _vector(fields["spaceorigin"], path) if "spaceorigin" in fields else (0.0, 0.0, 0.0)
    x, y, z = (sign * value * unit for sign, value, unit in zip(signs, origin, units, strict=True))
    return Geometry.as_stated(size_zyx, to_zyx(lengths), (x, y, z), direction)


def _mm_per_unit(fields: dict[str, str], path: Path) -> Vector:
    """Return the length in mm of each coordinate's unit."""
    words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', fields.get("spaceunits", '"" "" ""'))]
    if len(words) != 3 or not all(word.lower() in _MM_PER_UNIT for word in words):
        raise ReadError(f"{path}: space units are {words}, expected three lengths such as mm; export the file again")
    x, y, z = (_MM_PER_UNIT[word.lower()] for word in words)
    return (x, y, z)


def _data_place(
    fields: dict[str, str], path: Path, length: int, file_bytes: int, least: int, encoding: Encoding
) -> tuple[Path, int]:
    """Return where the voxels (or their stream) start; raise an error if fewer than ``least`` bytes follow."""
    name = fields.get("datafile")
    skip = int(plain(fields.get("byteskip", 0)))
    if name is not None and (not name or name.split()[0] == "LIST" or "%" in name):
        raise UnsupportedHeader(f"{path}: data file {name!r}")
    if skip < -1 or (skip and encoding != "raw"):
        raise UnsupportedHeader(f"{path}: byte skip {skip} in {encoding} data")
    data_path, available = (path, file_bytes) if name is None else data_file(path, name)
    start = length if name is None else 0
    offset = available - least if skip < 0 else start + skip
    if offset < start or offset + least > available:
        raise ReadError(
            f"{data_path}: truncated: expected {least} bytes of voxels or more, "
            f"found {max(0, available - start)}; copy or export the file again"
        )
    return data_path, offset


def nrrd_header(
    geometry: Geometry,
    dtype: str,
    *,
    compressed: bool,
    components: int = 1,
    data_file: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Return the header of a little-endian NRRD in LPS.

    Parameters
    ----------
    geometry
        The grid.
    dtype
        Voxel type, as numpy names it.
    compressed
        Whether the data are a gzip stream.
    components
        Number of values per voxel.
    data_file
        Name of the detached data file; ``None`` if the voxels follow the header.
    metadata
        Key/value pairs; keys that the format does not allow are left out.
    """
    spacing, d = to_xyz(geometry.spacing_zyx), geometry.direction_xyz
    sizes = [str(size) for size in to_xyz(geometry.size_zyx)]
    directions = [_vector_text([d[3 * row + axis] * spacing[axis] for row in range(3)]) for axis in range(3)]
    kinds = ["domain"] * 3
    if components != 1:
        sizes, directions, kinds = [str(components), *sizes], ["none", *directions], ["vector", *kinds]
    lines = [
        "NRRD0004",
        f"type: {_TYPE[dtype]}",
        f"dimension: {len(sizes)}",
        f"space: {_LPS}",
        f"sizes: {' '.join(sizes)}",
        f"space directions: {' '.join(directions)}",
        f"kinds: {' '.join(kinds)}",
        "endian: little",
        f"encoding: {'gzip' if compressed else 'raw'}",
        f"space origin: {_vector_text(list(geometry.origin_xyz))}",
    ]
    for key, value in (metadata or {}).items():
        if (
            key
            and not key.startswith(("ITK_", "NRRD_", "#"))
            and ":" not in key
            and key.isprintable()
            and key.strip() == key
        ):
            escaped = value.replace("\\", "\\\\").replace("\r", "").replace("\n", "\\n")
            lines.append(f"{key}:={escaped}")
    if data_file is not None:
        lines.append(f"data file: {data_file}")
    return "\n".join([*lines, "", ""]).encode(errors="surrogateescape")


def _vector_text(values: list[float]) -> str:
    return f"({','.join(map(number_text, values))})"
