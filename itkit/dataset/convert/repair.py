"""Read NIfTI files whose sform is not quite orthonormal on the nearest rectangular grid, and report it.

AbdomenCT-1K and TotalSegmentator contain such files; ITK refuses them.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from itertools import product
from pathlib import Path

import numpy as np

from itkit.core.axes import to_xyz
from itkit.core.bounded import NotRegular, open_regular
from itkit.core.errors import ReadError
from itkit.core.files import volume_suffix
from itkit.io.formats.header_model import MOST_INFLATED, Header, UnsupportedHeader
from itkit.io.formats.inspect import read_any_header
from itkit.io.formats.nifti import HEADER_BYTES, parse_nifti

LARGEST_COSINE = 0.02
"""A greater deviation from right angles than this (about one degree) is a sheared grid, not rounding."""
_LAYOUTS = {348: (254, 280, "h", "12f"), 540: (348, 400, "i", "12d")}


def open_header(path: Path) -> tuple[Header, tuple[str, ...]]:
    """Read a volume's header; a NIfTI with nearly rectangular axes gets the nearest rectangular grid.

    Returns
    -------
    tuple
        The header, and what the user should know about it.

    Raises
    ------
    ReadError
        When the file can't be read as a volume, or its grid is sheared by more than rounding.
    """
    try:
        header = read_any_header(path)
    except ReadError:
        repaired = _rectified(path)
        if repaired is None:
            raise
        header, distance_mm = repaired
        off = f"voxels up to {distance_mm:.2g} mm off"
        note = f"axes are not at right angles; read on the nearest rectangular grid ({off})"
        return header, (note, *header.warnings)
    return header, header.warnings


def _rectified(path: Path) -> tuple[Header, float] | None:
    """Return a header with the nearest orthonormal axes and how far it moves voxels; ``None`` if that does not help."""
    if volume_suffix(path) not in (".nii", ".nii.gz"):
        return None
    try:
        with open_regular(path) as file:
            is_gzip = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            stream = gzip.GzipFile(fileobj=file) if is_gzip else file
            head = bytearray(stream.read(HEADER_BYTES))
        mark = next((mark for mark in "<>" if struct.unpack_from(mark + "i", head)[0] in _LAYOUTS), None)
    except (OSError, NotRegular, EOFError, zlib.error, struct.error):
        return None
    if mark is None:
        return None
    code_at, matrix_at, code_type, matrix_type = _LAYOUTS[struct.unpack_from(mark + "i", head)[0]]
    try:
        (code,) = struct.unpack_from(mark + code_type, head, code_at)
        affine = np.array(struct.unpack_from(mark + matrix_type, head, matrix_at)).reshape(3, 4)
    except struct.error:
        return None
    lengths = np.linalg.norm(affine[:, :3], axis=0)
    if code <= 0 or not np.isfinite(affine).all() or not (lengths > 0).all():
        return None
    axes = affine[:, :3] / lengths
    if np.abs(axes.T @ axes - np.eye(3)).max() > LARGEST_COSINE:
        return None
    left, _, right = np.linalg.svd(axes)
    new = affine.copy()
    new[:, :3] = (left @ right) * lengths
    struct.pack_into(mark + matrix_type, head, matrix_at, *new.ravel())
    available = path.stat().st_size * (MOST_INFLATED if is_gzip else 1)
    try:
        header = parse_nifti(bytes(head), path, available, encoding="gzip" if is_gzip else "raw")
    except (ReadError, UnsupportedHeader):
        return None
    corners = product(*((0, size - 1) for size in to_xyz(header.geometry.size_zyx)))
    ends = np.array(list(corners))
    moved = np.linalg.norm(ends @ (new - affine)[:, :3].T, axis=1).max()
    return header, float(moved)
