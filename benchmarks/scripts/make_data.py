"""Make CT-like pairs: a body with organs, smooth structure and noise, so that gzip reaches about 2.3.

Run: python make_data.py FOLDER CASES Z Y X
Writes FOLDER/nii.gz and FOLDER/mha, each with image/ and label/, as SimpleITK compresses by default.
"""

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

SPACING_XYZ = (0.8, 0.8, 1.0)
ORIGIN_XYZ = (-204.4, -180.0, 30.5)
CLASSES = 15


def make_pair(size_zyx, seed):
    rng = np.random.default_rng([20260, seed])
    z, y, x = (
        np.linspace(-1, 1, n, dtype=np.float32).reshape([-1 if axis == i else 1 for axis in range(3)])
        for i, n in enumerate(size_zyx)
    )
    noise = rng.standard_normal(size_zyx, dtype=np.float32)
    body = (y / 0.66) ** 2 + (x / 0.88) ** 2 + 0 * z < 1
    image = np.where(body, 40, -1000).astype(np.float32)
    label = np.zeros(size_zyx, np.uint8)
    for value in range(1, CLASSES):
        center, radii = rng.uniform(-0.55, 0.55, 3), rng.uniform((0.15, 0.06, 0.06), (0.5, 0.2, 0.2))
        distance = sum(((axis - c) / r) ** 2 for axis, c, r in zip((z, y, x), center, radii, strict=True))
        organ = (distance + 0.4 * noise < 1) & body
        label[organ] = value
        image[organ] = rng.uniform(-120, 250)
    waves = sum(
        rng.uniform(5, 25) * np.sin(rng.uniform(2, 12) * axis + rng.uniform(0, 6)) for axis in (z, y, x) for _ in "ab"
    )
    image += np.where(body, waves + 11 * noise, 5 * noise)
    return np.clip(np.rint(image), -1024, 3071).astype(np.int16), label


def main():
    folder, cases, size_zyx = Path(sys.argv[1]), int(sys.argv[2]), tuple(int(word) for word in sys.argv[3:6])
    for number in range(cases):
        for name, array in zip(("image", "label"), make_pair(size_zyx, number), strict=True):
            volume = sitk.GetImageFromArray(array)
            volume.SetSpacing(SPACING_XYZ)
            volume.SetOrigin(ORIGIN_XYZ)
            for suffix in (".nii.gz", ".mha"):
                path = folder / suffix[1:] / name / f"case_{number:02d}{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                sitk.WriteImage(volume, str(path), useCompression=True)
                print(f"{name}/{path.name}: {array.nbytes / path.stat().st_size:.2f} to 1")


if __name__ == "__main__":
    main()
