"""Move CT volumes by rigid transforms that are written into their headers, with fresh noise.

Run: python make_moving.py SOURCE DEST CASES
Writes DEST/fixed and DEST/moving with the first cases of SOURCE.
"""

import os
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk


def main():
    source, dest, cases = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    for folder in ("fixed", "moving"):
        (dest / folder).mkdir(parents=True)
    for number, path in enumerate(sorted(source.glob("case_*"))[:cases]):
        os.link(path, dest / "fixed" / path.name)
        rng = np.random.default_rng([20262, number])
        image = sitk.ReadImage(str(path))
        array = sitk.GetArrayFromImage(image)
        array += np.rint(15 * rng.standard_normal(array.shape, np.float32)).astype(np.int16)
        moved = sitk.GetImageFromArray(array)
        moved.SetSpacing(image.GetSpacing())
        turn = sitk.Euler3DTransform()
        turn.SetRotation(*np.deg2rad(rng.uniform(-6, 6, 3)).tolist())
        moved.SetDirection(turn.GetMatrix())
        moved.SetOrigin(turn.TransformPoint((np.array(image.GetOrigin()) + rng.uniform(-10, 10, 3)).tolist()))
        sitk.WriteImage(moved, str(dest / "moving" / path.name), useCompression=True)


main()
