"""Make CT-like chests: a body on a table, two lungs with vessels, trachea and main bronchi, noise.

Run: python make_chest.py FOLDER CASES Z Y X
Writes FOLDER/case_NN.nii.gz.
"""

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

EXTENT_XYZ = (380.0, 330.0, 300.0)


def make_chest(size_zyx, seed):
    rng = np.random.default_rng([20261, seed])
    z, y, x = (
        ((np.arange(n, dtype=np.float32) + 0.5) / n - 0.5).reshape([-1 if axis == i else 1 for axis in range(3)])
        * extent
        for i, (n, extent) in enumerate(zip(size_zyx, EXTENT_XYZ[::-1], strict=True))
    )

    def ellipsoid(centre, radii):
        return sum(((axis - c) / r) ** 2 for axis, c, r in zip((x, y, z), centre, radii, strict=True)) <= 1

    image = np.full(size_zyx, -1000, np.float32)
    image[np.broadcast_to(abs(y - 130) < 3, size_zyx) & (abs(x) < 170)] = 100
    body = (x / 160) ** 2 + (y / 110) ** 2 + 0 * z <= 1
    image[body] = 40
    right, left = ellipsoid((-75, 0, -20), (55, 78, 120)), ellipsoid((80, 5, -25), (48, 72, 112))
    image[right | left] = -850
    for _ in range(40):
        centre = rng.uniform((-120, -70, -130), (120, 70, 90))
        image[ellipsoid(centre, rng.uniform(2, 9, 3)) & (right | left)] = 40
    slant = np.clip((40 - z) / 40, 0, 1)
    for side in (-1, 1):
        image[(np.hypot(x - side * 45 * slant, y - 10) <= 7) & (z <= 40) & (z >= 0)] = -990
    image[(np.hypot(x, y - 10) <= 9) & (z >= 20)] = -990
    image[(np.hypot(x, y - 80) <= 18) & (abs(z) < 1e9)] = 500
    image += np.random.default_rng(seed).standard_normal(size_zyx, dtype=np.float32) * np.where(body, 20, 8)
    return np.clip(np.rint(image), -1024, 3071).astype(np.int16)


def main():
    folder, cases, size_zyx = Path(sys.argv[1]), int(sys.argv[2]), tuple(int(word) for word in sys.argv[3:6])
    folder.mkdir(parents=True)
    for number in range(cases):
        image = sitk.GetImageFromArray(make_chest(size_zyx, number))
        image.SetSpacing([extent / n for extent, n in zip(EXTENT_XYZ, size_zyx[::-1], strict=True)])
        sitk.WriteImage(image, str(folder / f"case_{number:02d}.nii.gz"), useCompression=True)


main()
