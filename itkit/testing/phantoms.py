"""Volumes without symmetry whose values are known in closed form, so that a swapped or flipped axis fails a test.

Examples
--------
>>> l_shape(GRIDS["oblique"]).array_zyx.shape
(9, 14, 11)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.axes import to_xyz
from itkit.core.files import DATASET_META
from itkit.core.geometry import Geometry
from itkit.core.volume import Kind, Volume

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

GRIDS = {
    "plain": Geometry((9, 14, 11), (2.5, 0.8, 0.7), (-31.5, 12.25, 100.0)),
    "flipped": Geometry((9, 14, 11), (2.5, 0.8, 0.7), (31.5, 12.25, -100.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1)),
    "sagittal": Geometry((9, 14, 11), (2.5, 0.8, 0.7), (3.0, -1.0, 7.0), (0, 0, 1, 1, 0, 0, 0, -1, 0)),
    "oblique": Geometry(
        (9, 14, 11),
        (2.5, 0.8, 0.7),
        (-31.5, 12.25, 100.0),
        (0.8, -0.6 * 0.96, 0.6 * 0.28, 0.6, 0.8 * 0.96, -0.8 * 0.28, 0.0, 0.28, 0.96),
    ),
}
"""Grids with unequal sizes and spacings: parallel to the axes, reversed, permuted and oblique."""

RAMP_PER_MM_XYZ = (3.0, -2.0, 5.0)
"""Gradient of `ramp` along the physical axes, 1/mm."""


def points_xyz(grid: Geometry) -> NDArray[np.float64]:
    """Return the physical point of every voxel, ``(Z, Y, X, 3)``, mm."""
    z, y, x = np.meshgrid(*(np.arange(size) for size in grid.size_zyx), indexing="ij")
    steps = np.stack([x, y, z], axis=-1) * np.array(to_xyz(grid.spacing_zyx))
    direction = np.array(grid.direction_xyz).reshape(3, 3)
    return np.asarray(steps @ direction.T + np.array(grid.origin_xyz))


def ramp(grid: Geometry, dtype: DTypeLike = np.float64) -> Volume:
    """Return an image that is a linear function of the physical point, so that each value shows its position."""
    values = points_xyz(grid) @ np.array(RAMP_PER_MM_XYZ)
    return Volume(values.astype(dtype), grid)


def ramp_at(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the value that `ramp` has at physical points ``(…, 3)``."""
    return np.asarray(points @ np.array(RAMP_PER_MM_XYZ))


def l_shape(grid: Geometry, kind: Kind = "label", dtype: DTypeLike = np.uint8) -> Volume:
    """Return an L of three classes (1, 2, 3) with arms along different axes."""
    array: NDArray[Any] = np.zeros(grid.size_zyx, dtype=dtype)
    z, y, x = grid.size_zyx
    array[z // 4 : z // 2 + 1, y // 4 : y // 4 + 3, x // 4 :] = 1
    array[z // 4 : z // 2 + 1, y // 4 : 3 * y // 4 + 1, x // 4 : x // 4 + 3] = 2
    array[z // 4 :, y // 4 : y // 4 + 3, x // 4 : x // 4 + 3] = 3
    return Volume(array, grid, kind)


def ball(grid: Geometry, center_xyz: tuple[float, float, float], radius_mm: float, value: int = 1) -> Volume:
    """Return a label map of a ball: all voxels whose centres lie within the radius."""
    inside = np.linalg.norm(points_xyz(grid) - np.array(center_xyz), axis=-1) <= radius_mm
    return Volume((inside * value).astype(np.min_scalar_type(value)), grid, "label")


def noise(grid: Geometry, seed: int = 0, dtype: DTypeLike = np.int16) -> Volume:
    """Return an image of seeded noise, -1000 to 1000 (0 to 1000 for unsigned types)."""
    low = 0 if np.dtype(dtype).kind == "u" else -1000
    values = np.random.default_rng(seed).uniform(low, 1000, grid.size_zyx)
    return Volume(values.astype(dtype), grid)


def write_dataset(root: Path, cases: int = 3, *, suffix: str = ".nii.gz", seed: int = 0) -> list[str]:
    """Write a small dataset of ``case_<i>`` pairs on alternating grids; return the case ids."""
    from itkit.io.sitk_toolkit import write_volume

    ids = [f"case_{number:02d}" for number in range(cases)]
    for number, case in enumerate(ids):
        grid = list(GRIDS.values())[number % len(GRIDS)]
        write_volume(noise(grid, seed + number), root / "image" / f"{case}{suffix}")
        write_volume(l_shape(grid), root / "label" / f"{case}{suffix}")
    return ids


def write_channels(
    root: Path, cases: int = 3, *, channels: Sequence[str] = ("t1", "t2"), layout: str = "files", suffix: str = ".mha"
) -> list[str]:
    """Write a dataset whose cases have several images of different content; return the case ids.

    Parameters
    ----------
    root
        Folder to write: ``image/``, ``label/``, ``dataset.json``.
    cases
        Number of cases; they lie on alternating grids.
    channels
        Names of the channels.
    layout
        ``files``: one file ``<case>_<channel>`` per channel; ``vector``: one file per case; ``numbers``: nnU-Net's
        ``<case>_0000``; the name of a channel: a dataset of that channel alone.
    suffix
        Format of the files.
    """
    from itkit.io.json_files import write_json
    from itkit.io.sitk_toolkit import write_volume

    ids = [f"case_{number:02d}" for number in range(cases)]
    for number, case in enumerate(ids):
        grid = list(GRIDS.values())[(number + 3) % len(GRIDS)]  # begins with the oblique grid
        images = [noise(grid, 10 * number + place) for place, _ in enumerate(channels)]
        if layout == "vector":
            stack = np.stack([image.array_zyx for image in images], axis=-1)
            write_volume(Volume(stack, grid), root / "image" / f"{case}{suffix}")
        elif layout in channels:
            write_volume(images[list(channels).index(layout)], root / "image" / f"{case}{suffix}")
        else:
            endings = channels if layout == "files" else [f"{place:04d}" for place, _ in enumerate(channels)]
            for ending, image in zip(endings, images, strict=True):
                write_volume(image, root / "image" / f"{case}_{ending}{suffix}")
        write_volume(l_shape(grid), root / "label" / f"{case}{suffix}")
    if layout != "numbers":
        about = {
            "name": "phantoms",
            "channels": [layout] if layout in channels else list(channels),
            "labels": {"0": "background", "1": "arm", "2": "leg", "3": "foot"},
            "splits": {"train": ids[1:], "test": ids[:1]},
            "cases": {case: {"patient": case} for case in ids},
        }
        write_json(root / DATASET_META, about)
    return ids
