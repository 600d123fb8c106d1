"""Volumes and headers that the attacks share."""

import numpy as np
import pytest

from itkit.core.geometry import Geometry
from itkit.io.sitk_toolkit import write_volume
from itkit.testing import phantoms

GRID = Geometry((3, 4, 5), (2.0, 1.0, 1.0))
VOLUMES = (".mha", ".mhd", ".raw", ".zraw", ".nii.gz")


def meta(size, data, *, dims=3, kind="MET_UCHAR", binary="True", more=""):
    return (
        f"ObjectType = Image\nNDims = {dims}\nBinaryData = {binary}\nElementSpacing = 1 1 2\n{more}"
        f"DimSize = {size}\nElementType = {kind}\nElementDataFile = {data}\n"
    )


def nrrd(size, data, *, encoding="raw", more=""):
    return (
        f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: {size}\nencoding: {encoding}\n{more}"
        + (f"data file: {data}\n" if data else "")
        + "\n"
    )


def folder_with(folder, files, good=("good_a", "good_b")):
    """Make a folder of two good volumes and some files."""
    for number, name in enumerate(good):
        write_volume(phantoms.noise(GRID, number), folder / f"{name}.mha", compression="none")
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def made(folder):
    """Return the bytes of the volume files of a folder, by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.name.endswith(VOLUMES) and ".itkit" not in path.parts
    }


def pair(root, cases=1, grid=GRID):
    """Make a dataset of pairs."""
    for number in range(cases):
        write_volume(phantoms.noise(grid, number), root / "image" / f"case_{number}.nii.gz")
        write_volume(phantoms.l_shape(grid), root / "label" / f"case_{number}.nii.gz")
    return root


def zeros(folder, name, size_zyx, dtype=np.int16):
    """Write an uncompressed volume of zeros."""
    folder.mkdir(exist_ok=True)
    kinds = {np.int16: "MET_SHORT", np.uint8: "MET_UCHAR"}
    size = " ".join(map(str, size_zyx[::-1]))
    (folder / name).write_bytes(meta(size, "LOCAL", kind=kinds[dtype]).encode() + np.zeros(size_zyx, dtype).tobytes())


def first_quick(values, count=1):
    """Return parameters of a test, those after the first ones for the slow run; a tuple holds several parameters."""
    rest = [value if isinstance(value, tuple) else (value,) for value in [*values][count:]]
    return [*[*values][:count], *(pytest.param(*value, marks=pytest.mark.slow) for value in rest)]
