"""What a user writes by hand to merge label maps with SimpleITK and numpy: the first source that claims a voxel wins.

Run: python combine_loop.py DEST SOURCE:CLASS [SOURCE:CLASS ...]
"""

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

dest = Path(sys.argv[1])
rules = [(Path(word.rpartition(":")[0]), int(word.rpartition(":")[2])) for word in sys.argv[2:]]
dest.mkdir(parents=True)
for path in sorted(rules[0][0].glob("*.nii.gz")):
    result = None
    for number, (source, value) in enumerate(rules, 1):
        image = sitk.ReadImage(str(source / path.name))
        mask = sitk.GetArrayViewFromImage(image) == value
        result = np.zeros(mask.shape, np.uint8) if result is None else result
        result[mask & (result == 0)] = number
    new = sitk.GetImageFromArray(result)
    new.CopyInformation(image)
    sitk.WriteImage(new, str(dest / f"{path.name.removesuffix('.nii.gz')}.mha"), True)
