"""NIfTI (``.nii``, ``.nii.gz``): parse header bytes to a `Header`, and write them.

This follows the format's definition (nifti1.h and nifti2.h, https://nifti.nimh.nih.gov) and its documentation of qform
and sform.
"""

from __future__ import annotations

import math
import struct
from operator import sub
from typing import TYPE_CHECKING, NamedTuple

from itkit.core.affines import Affine, affine_ras, geometry_from_affine
from itkit.core.axes import to_xyz, to_zyx
from itkit.core.errors import GeometryError, ReadError, WriteError
from itkit.core.geometry import GRID_TOLERANCE_MM, Geometry, by
from itkit.io.formats.gate import MOST_AXES
from itkit.io.formats.header_model import (
    ITEM_BYTES,
    ByteOrder,
    Encoding,
    Header,
    UnsupportedHeader,
    product,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HEADER_BYTES = 540
"""Number of bytes that contain the longer of the two kinds of header."""
VOXEL_OFFSET = 352
_DATATYPE = {
    256: "int8", 2: "uint8", 4: "int16", 512: "uint16", 8: "int32", 768: "uint32", 1024: "int64", 1280: "uint64",
    16: "float32", 64: "float64",
}  # fmt: skip
_CODE = {dtype: code for code, dtype in _DATATYPE.items()}
_RGB = {128: 3, 2304: 4}
_FARTHEST = 1e12
_PLANAR_INTENTS = frozenset({1004, 1005, 1006, 1007})
_VECTOR_INTENT = 1007
_KNOWN_FRAMES = range(1, 6)
"""Codes of qform and sform that the format knows; any other says nothing, as in nibabel."""
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_LARGEST_SIZE = 32767
_MOST_BITS = 256
_TEXTS = ("descrip", "aux_file", "intent_name")
_PIXDIM_TOLERANCE = 1e-5
_QUATERNION_NOISE = 2e-7
"""Error of a = sqrt(1 - b^2 - c^2 - d^2) from storing b, c and d as float32; it matters if a is small."""
_HALF_TURN_1, _HALF_TURN_2 = 1e-7, 1e-15
"""Below this square of a, a rotation counts as half a turn; NIfTI-1 stores float32 quaternions, NIfTI-2 float64."""


class _Fields(NamedTuple):
    dims: tuple[int, ...]
    intent: int
    datatype: int
    pixdim: tuple[float, ...]
    voxel_offset: int
    slope: float
    intercept: float
    units: int
    qform_code: int
    sform_code: int
    quatern: tuple[float, ...]
    srow: tuple[float, ...]
    texts: tuple[bytes, bytes, bytes]
    magic: bytes


def _fields1(head: bytes, mark: str) -> _Fields:
    values = struct.unpack_from(mark + "40x 8h 12x 2h 4x 11f 3x B 24x 80s 24s 2h 18f 16s 3s", head)
    offset, slope, intercept, units, descrip, aux_file, qform, sform = values[18:26]
    return _Fields(
        values[:8], values[8], values[9], values[10:18], int(offset), slope, intercept, units, qform, sform,
        values[26:32], values[32:44], (descrip, aux_file, values[44]), values[45],
    )  # fmt: skip


def _fields2(head: bytes, mark: str) -> _Fields:
    unpack = struct.unpack_from
    (datatype,) = unpack(mark + "h", head, 12)
    offset, slope, intercept = unpack(mark + "q2d", head, 168)
    qform, sform = unpack(mark + "2i", head, 344)
    units, intent = unpack(mark + "2i", head, 500)
    return _Fields(
        unpack(mark + "8q", head, 16), intent, datatype, unpack(mark + "8d", head, 104), offset, slope, intercept,
        units, qform, sform, unpack(mark + "6d", head, 352), unpack(mark + "12d", head, 400),
        (head[240:320], head[320:344], head[508:524]), head[4:7],
    )  # fmt: skip


def claimed_bytes(head: bytes, path: Path) -> int:
    """Return the bytes of the voxels and of what lies before them in a file whose type of voxels we don't know.

    Raises
    ------
    ReadError
        When the header is no NIfTI, or claims what no file holds.
    """
    if len(head) < VOXEL_OFFSET - 4:
        raise ReadError(f"{path}: truncated: expected a NIfTI header of 348 bytes, found {len(head)}; copy it again")
    order, version = _kind(head, path)
    mark = "<" if order == "little" else ">"
    try:
        fields = (_fields1 if version == 1 else _fields2)(head, mark)
        bits = int(struct.unpack_from(mark + "h", head, 72 if version == 1 else 14)[0])
    except (ValueError, OverflowError, struct.error) as error:
        raise ReadError(f"{path}: NIfTI header is broken ({error}); export the file again") from error
    if fields.magic != (b"n+1" if version == 1 else b"n+2"):
        raise ReadError(f"{path}: ANALYZE, or one of a header/image pair; convert it to .nii.gz first")
    count = fields.dims[0]
    if not 1 <= count <= MOST_AXES or min(fields.dims[1 : count + 1]) < 0 or not 0 < bits <= _MOST_BITS:
        raise ReadError(f"{path}: NIfTI dim is {fields.dims} of {bits} bits; the header is damaged")
    if fields.voxel_offset < 0:
        raise ReadError(f"{path}: NIfTI vox_offset is {fields.voxel_offset}; the header is damaged")
    return fields.voxel_offset + product([max(size, 1) for size in fields.dims[1 : count + 1]]) * bits // 8


def parse_nifti(
    head: bytes,
    path: Path,
    available: int,
    *,
    encoding: Encoding = "raw",
    assume_spacing: tuple[float, float, float] | None = None,
) -> Header:
    """Parse the first `HEADER_BYTES` (or all bytes of a tiny file) of a single-file NIfTI-1 or NIfTI-2.

    The sform is used if its code is set, else the qform. A file with neither gets the axes as they are stored, as in
    ITK. In some files whose qform and sform differ, ITK prefers the qform; ITKIT follows the standard and adds a
    warning. If the sform is not the grid of a volume (sheared, an axis of length 0, nan), a valid qform replaces it,
    with a warning.

    Parameters
    ----------
    head
        The bytes, uncompressed.
    path
        The file.
    available
        Greatest possible number of bytes in the uncompressed stream.
    encoding
        ``"raw"`` or ``"gzip"``.
    assume_spacing
        Spacing ZYX, mm, for a file that states none.

    Raises
    ------
    ReadError
        When the file is not NIfTI, is broken or truncated, states no spacing or an incomplete scaling, or its grid is
        sheared.
    UnsupportedHeader
        For ANALYZE, header/image pairs, vector and complex voxels.
    """
    if len(head) < VOXEL_OFFSET - 4:
        raise ReadError(f"{path}: truncated: expected a NIfTI header of 348 bytes, found {len(head)}; copy it again")
    order, version = _kind(head, path)
    if version == 2 and len(head) < HEADER_BYTES:
        raise ReadError(f"{path}: truncated: expected a NIfTI-2 header of 540 bytes, found {len(head)}; copy it again")
    mark = "<" if order == "little" else ">"
    try:
        fields = (_fields1 if version == 1 else _fields2)(head, mark)
    except (ValueError, OverflowError) as error:  # vox_offset is nan or infinite
        raise ReadError(f"{path}: NIfTI header is broken (vox_offset: {error}); export the file again") from error
    if fields.magic != (b"n+1" if version == 1 else b"n+2"):
        raise UnsupportedHeader(f"{path}: ANALYZE or a header/image pair")
    count = fields.dims[0]
    if not 1 <= count <= MOST_AXES or min(fields.dims[1 : min(count, 2) + 1]) < 1:
        raise ReadError(f"{path}: NIfTI dim is {fields.dims}, expected 1 to 7 sizes > 0; the header is damaged")
    sizes = [max(size, 1) for size in fields.dims[1 : count + 1]]
    dtype = "uint8" if fields.datatype in _RGB else _DATATYPE.get(fields.datatype)
    if dtype is None or fields.intent in _PLANAR_INTENTS or fields.voxel_offset < VOXEL_OFFSET:
        if not sum(map(abs, (*fields.quatern, *fields.srow, *fields.pixdim))) < _FARTHEST:  # nan, too: ITK would hang
            raise ReadError(f"{path}: NIfTI orientation holds nan, infinite or huge values; the header is damaged")
        if fields.datatype in _RGB and fields.intent in _PLANAR_INTENTS:  # ITK would write beyond its memory
            raise ReadError(f"{path}: NIfTI holds vectors of colours (intent {fields.intent}); the header is damaged")
        raise UnsupportedHeader(f"{path}: datatype {fields.datatype}, intent {fields.intent}")
    components = _RGB.get(fields.datatype, 1)
    size_bytes = product(sizes) * components * ITEM_BYTES[dtype]
    if fields.voxel_offset + size_bytes > available:
        raise ReadError(
            f"{path}: truncated: expected {size_bytes} bytes of voxels, "
            f"the file has room for {max(0, available - fields.voxel_offset)}; copy or export the file again"
        )
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    geometry, warnings = _geometry(fields, sizes, path, assume_spacing)
    slope, intercept = _scaling(fields, path)
    texts = zip(_TEXTS, fields.texts, strict=True)
    return Header(
        geometry=geometry,
        ndim=len(sizes),
        dtype=dtype,
        components=components,
        size_bytes=size_bytes,
        data_path=path,
        data_offset=fields.voxel_offset,
        encoding=encoding,
        file_format=f"NIfTI-{version}",
        byte_order=order,
        volumes=product(sizes[3:]),
        slope=slope,
        inter=intercept,
        metadata={
            key: text for key, raw in texts if raw[0] and (text := raw.split(b"\0")[0].decode("latin-1").strip())
        },
        warnings=warnings,
    )


def _kind(head: bytes, path: Path) -> tuple[ByteOrder, int]:
    orders: tuple[tuple[ByteOrder, str], ...] = (("little", "<i"), ("big", ">i"))
    for order, layout in orders:
        (size,) = struct.unpack_from(layout, head)
        if size in (348, 540):
            return order, 1 if size == 348 else 2
    raise ReadError(f"{path}: expected a NIfTI header, found {head[:4]!r}; is the extension right?")


def _scaling(fields: _Fields, path: Path) -> tuple[float, float]:
    """Return slope and intercept; a slope of 0, or nan for both, means no scaling."""
    slope, intercept = fields.slope, fields.intercept
    if slope == 0 or (math.isnan(slope) and (math.isnan(intercept) or intercept == 0)):
        return 1.0, 0.0
    if not math.isfinite(slope + intercept):
        raise ReadError(
            f"{path.name}: NIfTI scaling is incomplete: scl_slope {slope:g}, scl_inter {intercept:g}; "
            "the meaning of the stored values is unknown: export the file again"
        )
    return slope, intercept


def _geometry(
    fields: _Fields, sizes: list[int], path: Path, assume_spacing: tuple[float, float, float] | None
) -> tuple[Geometry, tuple[str, ...]]:
    unit = _MM_PER_UNIT.get(fields.units & 7, 1.0)
    size_zyx = to_zyx([*sizes, 1, 1][:3])
    stated = [bool(step) and math.isfinite(step) for step in fields.pixdim[1:4]]
    steps = [abs(step) * unit if known else unit for step, known in zip(fields.pixdim[1:4], stated, strict=True)]
    lacking = "".join("XYZ"[axis] for axis in range(min(len(sizes), 3)) if not stated[axis])
    if fields.sform_code in _KNOWN_FRAMES:
        try:
            return _from_sform(fields, size_zyx, steps, unit)
        except GeometryError as error:
            if fields.qform_code not in _KNOWN_FRAMES or lacking or not math.isfinite(sum(fields.quatern)):
                if len(sizes) < 3:
                    raise UnsupportedHeader(f"{path}: {len(sizes)}-D, {error}") from error
                raise ReadError(
                    f"{path.name}: NIfTI sform: {error}, and there is no valid qform to use instead; "
                    "resample the image to a rectangular grid first, e.g. with 3D Slicer or nilearn.image.resample_img"
                ) from error
            warning = f"the sform is not a grid ({error}): the qform was taken"
            return _from_qform(fields, size_zyx, steps, unit), (warning,)
    if lacking and assume_spacing is None:
        pixdim = ", ".join(f"{step:g}" for step in to_zyx(fields.pixdim[1:4]))
        raise ReadError(
            f"{path.name}: the spacing along {' and '.join(lacking)} is not stated (pixdim ZYX: {pixdim}; no sform); "
            "state it on purpose: itk_convert format SOURCE DEST --assume-spacing Z Y X"
        )
    negative = "".join("XYZ"[axis] for axis in range(min(len(sizes), 3)) if fields.pixdim[axis + 1] < 0)
    notes: tuple[str, ...] = (f"pixdim is negative along {negative}: taken without its sign",) if negative else ()
    if lacking and assume_spacing is not None:
        steps = list(to_xyz(assume_spacing))
        notes = (
            *notes,
            f"the file states no spacing along {' and '.join(lacking)}: {assume_spacing} mm ZYX was assumed",
        )
    if fields.qform_code not in _KNOWN_FRAMES:
        unknown = "neither sform nor qform is set: orientation and origin unknown"
        return Geometry.as_stated(size_zyx, to_zyx(steps)), (unknown, *notes)
    if not math.isfinite(sum(fields.quatern)):
        raise ReadError(f"{path}: NIfTI orientation holds nan or infinite values; the header is damaged")
    return _from_qform(fields, size_zyx, steps, unit), notes


def _from_sform(
    fields: _Fields, size_zyx: tuple[int, int, int], steps: list[float], unit: float
) -> tuple[Geometry, tuple[str, ...]]:
    """Return the grid of the sform, and warnings where other parts of the header contradict it.

    Raises
    ------
    GeometryError
        When the sform is not the grid of a volume.
    """
    if not math.isfinite(sum(fields.srow)):
        raise GeometryError("it holds nan or infinite values")
    r = [value * unit for value in fields.srow] if unit != 1 else fields.srow
    affine: Affine = (
        (r[0], r[1], r[2], r[3]),
        (r[4], r[5], r[6], r[7]),
        (r[8], r[9], r[10], r[11]),
        (0.0, 0.0, 0.0, 1.0),
    )
    grid = geometry_from_affine(affine, size_zyx)
    warnings = []
    found = to_xyz(grid.spacing_zyx)
    if all(abs(a - b) <= _PIXDIM_TOLERANCE * b for a, b in zip(steps, found, strict=True)):
        grid = Geometry.as_stated(size_zyx, to_zyx(steps), grid.origin_xyz, grid.direction_xyz)
    else:
        warnings.append(
            f"pixdim {by(to_zyx(steps))} and the sform's spacing {by(grid.spacing_zyx)} mm ZYX differ: sform kept"
        )
    if fields.qform_code in _KNOWN_FRAMES and math.isfinite(sum(fields.quatern)):
        other = _from_qform(fields, size_zyx, steps, unit)
        far = _distance(grid, other)
        if far > GRID_TOLERANCE_MM and far > GRID_TOLERANCE_MM + _quaternion_doubt(fields) * sum(grid.extent_zyx):
            warnings.append(f"sform and qform differ by up to {far:.4g} mm: sform kept")
    return grid, tuple(warnings)


def _distance(a: Geometry, b: Geometry) -> float:
    """Return `Geometry.grid_distance_mm`, with a shortcut for grids that agree (in nearly all files)."""
    if a.spacing_zyx == b.spacing_zyx:
        bound: float = sum(map(abs, map(sub, a.origin_xyz, b.origin_xyz)))
        bound += max(map(abs, map(sub, a.direction_xyz, b.direction_xyz))) * sum(a.extent_zyx) * 3
        if bound <= GRID_TOLERANCE_MM:
            return bound
    return a.grid_distance_mm(b)


def _quaternion_doubt(fields: _Fields) -> float:
    """Return the angle (radians) by which a rotation may be wrong because its quaternion is stored in float32."""
    b, c, d = fields.quatern[:3]
    a = math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    return 2 * _QUATERNION_NOISE / max(a, math.sqrt(_QUATERNION_NOISE))


def _from_qform(fields: _Fields, size_zyx: tuple[int, int, int], steps: list[float], unit: float) -> Geometry:
    """Return the grid of the qform: a rotation, given as a unit quaternion, and qfac, which may flip the third axis."""
    b, c, d, qx, qy, qz = fields.quatern
    rest = 1.0 - (b * b + c * c + d * d)
    if rest < (_HALF_TURN_2 if b"2" in fields.magic else _HALF_TURN_1):  # half a turn; the rest is rounding
        norm = (b * b + c * c + d * d) ** 0.5
        a, b, c, d = 0.0, b / norm, c / norm, d / norm
    else:
        a = rest**0.5
    f = -1.0 if fields.pixdim[0] < 0 else 1.0
    direction = (
        -(a * a + b * b - c * c - d * d), -2 * (b * c - a * d), -2 * (b * d + a * c) * f,
        -2 * (b * c + a * d), -(a * a + c * c - b * b - d * d), -2 * (c * d - a * b) * f,
        2 * (b * d - a * c), 2 * (c * d + a * b), (a * a + d * d - c * c - b * b) * f,
    )  # fmt: skip
    return Geometry.as_stated(size_zyx, to_zyx(steps), (-qx * unit, -qy * unit, qz * unit), direction)


def nifti_header(
    geometry: Geometry,
    dtype: str,
    *,
    components: int = 1,
    metadata: Mapping[str, str] | None = None,
    is_series: bool = False,
) -> bytes:
    """Return the 352 bytes before the voxels of a little-endian ``.nii``; sform and qform get code 1, as in ITK.

    Parameters
    ----------
    geometry
        The grid.
    dtype
        Voxel type, as numpy names it.
    components
        Number of values per voxel; several are stored one component after the other, as NIfTI requires.
    metadata
        ``descrip``, ``aux_file`` and ``intent_name`` are kept, cut to the length that fits.
    is_series
        Whether the values of a voxel are those of successive volumes of a 4-D file, not of a vector.

    Raises
    ------
    WriteError
        When an axis is longer than NIfTI-1 can store.
    """
    size_xyz, steps = to_xyz(geometry.size_zyx), to_xyz(geometry.spacing_zyx)
    if max(*size_xyz, components) > _LARGEST_SIZE:
        raise WriteError(
            f"size {geometry.size_zyx} voxels ZYX: NIfTI-1 holds {_LARGEST_SIZE} along an axis; write .mha"
        )
    affine = affine_ras(geometry)
    quaternion, qfac = _quaternion(geometry)
    is_vector = components > 1 and not is_series
    dims = (3, *size_xyz, 1, 1, 1, 1) if components == 1 else (4, *size_xyz, components, 1, 1, 1)
    dims = (5, *size_xyz, 1, components, 1, 1) if is_vector else dims
    text = {key: (metadata or {}).get(key, "").encode("latin-1", "replace") for key in _TEXTS}
    head = bytearray(VOXEL_OFFSET)
    pack = struct.pack_into
    pack("<i", head, 0, 348)
    head[38] = ord("r")
    pack("<8h", head, 40, *dims)
    pack("<3h", head, 68, _VECTOR_INTENT if is_vector else 0, _CODE[dtype], 8 * ITEM_BYTES[dtype])
    pack("<8f", head, 76, qfac, *steps, 1 if dims[0] == 4 else 0, 1 if is_vector else 0, 0, 0)
    pack("<3f", head, 108, VOXEL_OFFSET, 1.0, 0.0)
    head[123] = 2 | 8  # mm and seconds
    pack("80s24s2h", head, 148, text["descrip"][:79], text["aux_file"][:23], 1, 1)
    pack("<6f", head, 256, *quaternion, *(row[3] for row in affine[:3]))
    pack("<12f", head, 280, *affine[0], *affine[1], *affine[2])
    pack("16s4s", head, 328, text["intent_name"][:15], b"n+1")
    return bytes(head)


def _quaternion(geometry: Geometry) -> tuple[tuple[float, float, float], float]:
    """Return b, c, d of the RAS direction's unit quaternion (a >= 0), and qfac."""
    d = geometry.direction_xyz
    m = [[(-d[3 * row + axis] if row < 2 else d[3 * row + axis]) for axis in range(3)] for row in range(3)]
    determinant = (
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
        - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    )
    qfac = -1.0 if determinant < 0 else 1.0
    for row in m:
        row[2] *= qfac
    trace = (m[0][0], m[1][1], m[2][2])
    squares = (
        1 + trace[0] + trace[1] + trace[2], 1 + trace[0] - trace[1] - trace[2],
        1 - trace[0] + trace[1] - trace[2], 1 - trace[0] - trace[1] + trace[2],
    )  # fmt: skip
    largest = max(range(4), key=lambda index: squares[index])
    r2 = squares[largest]  # four times the square of that component
    x, y, z = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xy, xz, yz = m[0][1] + m[1][0], m[0][2] + m[2][0], m[1][2] + m[2][1]
    a, b, c, e = ((r2, x, y, z), (x, r2, xy, xz), (y, xy, r2, yz), (z, xz, yz, r2))[largest]
    norm = (a * a + b * b + c * c + e * e) ** 0.5 * (-1.0 if a < 0 else 1.0)
    return (b / norm, c / norm, e / norm), qfac
