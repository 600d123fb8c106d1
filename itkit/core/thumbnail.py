"""A small picture of a volume for notebooks: its middle axial slice as PNG, made without an imaging package.

The PNG follows the specification (https://www.w3.org/TR/png-3): 8-bit RGB, no filter, one stream.
"""

from __future__ import annotations

import colorsys
import struct
import zlib
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from itkit.core.geometry import Geometry
from itkit.core.slices import plane_slice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LONGEST_SIDE = 256


def class_colour(value: int) -> tuple[int, int, int]:
    """Return the colour of a class (RGB, 0 to 255): hues a golden angle apart, so that successive classes differ."""
    red, green, blue = colorsys.hsv_to_rgb((value * 0.61803398875) % 1.0, 0.75, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def middle_slice(array_zyx: NDArray[Any], grid: Geometry, *, is_label: bool) -> NDArray[np.uint8]:
    """Draw the middle axial slice of a volume, in radiological view and true proportions.

    Parameters
    ----------
    array_zyx
        Voxels ``(Z, Y, X)`` in any orientation, or ``(Z, Y, X, C)``, of which the first channel is drawn.
    grid
        Grid of the voxels.
    is_label
        Whether the values are classes. Classes are drawn in colours, 0 in black; an image is drawn in grey, from its
        1st to its 99th percentile.

    Returns
    -------
    numpy.ndarray
        ``(rows, columns, 3)``, 8-bit RGB, at most 256 pixels long; the patient's right is on the left, anterior is at
        the top.
    """
    import numpy as np

    z, y, x = grid.size_zyx
    plane, extent_mm = plane_slice(array_zyx, grid, "axial", (z // 2, y // 2, x // 2))
    least_mm = min(extent / size for extent, size in zip(extent_mm, plane.shape, strict=True))
    mm_per_pixel = max(least_mm, max(extent_mm) / _LONGEST_SIDE)
    height, width = (max(1, round(length / mm_per_pixel)) for length in extent_mm)
    plane = plane[np.arange(height) * plane.shape[0] // height][:, np.arange(width) * plane.shape[1] // width]
    return _coloured(plane) if is_label else _grey(plane)


def _grey(plane: NDArray[Any]) -> NDArray[np.uint8]:
    import numpy as np

    values = plane.astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 0.0)
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / ((high - low) or 1.0)
    return np.repeat((np.clip(scaled, 0, 1) * 255).round().astype(np.uint8)[..., None], 3, axis=2)


def _coloured(plane: NDArray[Any]) -> NDArray[np.uint8]:
    import numpy as np

    rgb = np.zeros((*plane.shape, 3), np.uint8)
    for value in np.unique(plane):
        if value != 0:
            rgb[plane == value] = class_colour(int(value))
    return rgb


def png(rgb: NDArray[np.uint8]) -> bytes:
    """Return a picture ``(rows, columns, 3)`` as the bytes of a PNG file."""
    height, width, _ = rgb.shape
    rows = b"".join(b"\0" + row.tobytes() for row in rgb)  # 0: no filter
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)),
            _chunk(b"IDAT", zlib.compress(rows)),
            _chunk(b"IEND", b""),
        )
    )


def png_uri(rgb: NDArray[np.uint8]) -> str:
    """Return a picture ``(rows, columns, 3)`` as a data URI for HTML."""
    return data_uri(png(rgb))


def data_uri(data: bytes) -> str:
    """Return the bytes of a PNG file as a data URI for HTML."""
    return f"data:image/png;base64,{b64encode(data).decode()}"


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
