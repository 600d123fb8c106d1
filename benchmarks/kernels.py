"""Ratios of CPU time: the kernels against SimpleITK, numpy and a plain copy, taken in turns.

Run: python benchmarks/kernels.py [--rounds N] [--size Z Y X] [--only WORD]
Times are of all threads together; a ratio below 1 means that the kernel needs less. Kernels use the memory of their
results again, as they do within commands.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import SimpleITK as sitk

from itkit.core.axes import to_xyz
from itkit.core.geometry import Geometry
from itkit.kernels.affine import affine_pair
from itkit.kernels.buffers import reused_buffers
from itkit.kernels.dispatch import backend
from itkit.kernels.labels import label_counts, remap
from itkit.kernels.layout import reorient
from itkit.kernels.patches import patch_classes, patch_foreground
from itkit.kernels.sampling import axis_aligned_indices, index_affine
from itkit.kernels.separable import sample_linear, sample_nearest
from itkit.kernels.statistics import finite_summary, min_max


def phantom(size_zyx):
    """Return a CT-like image (a body with organs and noise) and a label map of the organs."""
    rng = np.random.default_rng(7)
    z, y, x = (
        np.linspace(-1, 1, n, dtype=np.float32).reshape([-1 if a == i else 1 for a in range(3)])
        for i, n in enumerate(size_zyx)
    )
    image = np.where((y / 0.7) ** 2 + (x / 0.9) ** 2 < 1, 40, -1000).astype(np.int16) + np.zeros(size_zyx, np.int16)
    label = np.zeros(size_zyx, np.uint8)
    for value in range(1, 15):
        cz, cy, cx = rng.uniform(-0.6, 0.6, 3)
        ball = ((z - cz) / 0.4) ** 2 + ((y - cy) / 0.15) ** 2 + ((x - cx) / 0.15) ** 2 < 1
        label[ball], image[ball] = value, 20 * value
    return image + rng.integers(-20, 20, size_zyx, dtype=np.int16), label


def resized(grid, spacing_zyx):
    size = tuple(int(n * a / b + 0.5) for n, a, b in zip(grid.size_zyx, grid.spacing_zyx, spacing_zyx, strict=True))
    start = tuple(
        ((n * a) - (m * b)) / 2 / a - 0.5 + b / a / 2
        for n, m, a, b in zip(grid.size_zyx, size, grid.spacing_zyx, spacing_zyx, strict=True)
    )
    return Geometry(size, spacing_zyx, grid.point_xyz(start), grid.direction_xyz)


def as_itk(array, grid):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(to_xyz(grid.spacing_zyx))
    image.SetOrigin(grid.origin_xyz)
    image.SetDirection(grid.direction_xyz)
    return image


def itk_resample(image, grid, interpolator, transform=None):
    return sitk.Resample(
        image,
        to_xyz(grid.size_zyx),
        transform or sitk.Transform(),
        interpolator,
        grid.origin_xyz,
        to_xyz(grid.spacing_zyx),
        grid.direction_xyz,
        -1024 if interpolator == sitk.sitkLinear else 0,
    )


def contests(size_zyx):
    """Name, kernel, reference."""
    image, label = phantom(size_zyx)
    grid = Geometry(size_zyx, (1.0, 0.8, 0.8), (-200.0, -180.0, 30.5))
    itk_image, itk_label = as_itk(image, grid), as_itk(label, grid)
    for spacing in (1.5, 1.0):
        target = resized(grid, (spacing,) * 3)
        indices = axis_aligned_indices(grid, target)
        yield (
            f"linear to {spacing} mm / SimpleITK",
            lambda i=indices: sample_linear(image, i),
            lambda t=target: itk_resample(itk_image, t, sitk.sitkLinear),
        )
        yield (
            f"nearest to {spacing} mm / SimpleITK",
            lambda i=indices: sample_nearest(label, i),
            lambda t=target: itk_resample(itk_label, t, sitk.sitkNearestNeighbor),
        )
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.1, -0.07, 0.2)
    center = grid.point_xyz(tuple((n - 1) / 2 for n in size_zyx))
    turn.SetCenter(center)
    matrix, offset = index_affine(grid, grid, turn.GetMatrix(), center)
    yield (
        "rotation of a pair / SimpleITK",
        lambda: affine_pair(image, label, size_zyx, matrix, offset, fill=-1024),
        lambda: (
            itk_resample(itk_image, grid, sitk.sitkLinear, turn),
            itk_resample(itk_label, grid, sitk.sitkNearestNeighbor, turn),
        ),
    )
    for name, axes, flips in (
        ("flip", (0, 1, 2), (True, True, True)),
        ("XYZ->YZX", (1, 0, 2), (False, True, False)),
        ("transposition", (2, 1, 0), (True, False, False)),
    ):
        yield (f"reorient, {name} / copy", lambda a=axes, f=flips: reorient(image, a, f), image.copy)
    mapping = {value: 15 - value for value in range(1, 15)}
    table = np.array([mapping.get(value, 0) for value in range(256)], dtype=np.uint8)
    yield "label_counts / copy", lambda: label_counts(label), label.copy
    yield "label_counts / np.unique", lambda: label_counts(label), lambda: np.unique(label, return_counts=True)
    yield "remap with counts / copy", lambda: remap(label, mapping, dtype="uint8"), label.copy
    yield "remap with counts / numpy lookup", lambda: remap(label, mapping, dtype="uint8"), lambda: table[label]
    yield "min_max int16 / copy", lambda: min_max(image), image.copy
    real = image.astype(np.float32)
    yield "finite_summary float32 / copy", lambda: finite_summary(real), real.copy
    starts = [sorted({*range(0, n - 96, 48), n - 96}) for n in size_zyx]
    yield "patch_foreground 96/48 / copy", lambda: patch_foreground(label, starts, (96, 96, 96)), label.copy
    yield "patch_classes 96/48 / copy", lambda: patch_classes(label, starts, (96, 96, 96)), label.copy


def cpu_ms(function):
    begin = time.process_time()
    function()
    return (time.process_time() - begin) * 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, nargs=3, default=(160, 512, 512), metavar=("Z", "Y", "X"))
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    print(f"backend: {backend()}; {options.size} voxels ZYX; median CPU ms of {options.rounds} rounds")
    for name, kernel, reference in contests(tuple(options.size)):
        if options.only not in name:
            continue
        with reused_buffers():  # as in a command, of which a worker does one case after another
            cpu_ms(kernel), cpu_ms(reference)
            pairs = [(cpu_ms(kernel), cpu_ms(reference)) for _ in range(options.rounds)]
        ours, theirs = (statistics.median(values) for values in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"{name:40} {ours:9.1f} {theirs:9.1f}   ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
