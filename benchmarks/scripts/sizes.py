"""Sizes of a run's volumes against SimpleITK's default compression of the same voxels.

Run: python sizes.py FOLDER SUFFIX
Prints our bytes and SimpleITK's, of images and of labels.
"""

import sys
import tempfile
from pathlib import Path

import SimpleITK as sitk

folder, suffix = Path(sys.argv[1]), sys.argv[2]
with tempfile.TemporaryDirectory() as scratch:
    for name in ("image", "label"):
        ours = theirs = 0
        for path in sorted((folder / name).glob(f"*{suffix}")):
            again = Path(scratch) / f"again{suffix}"
            sitk.WriteImage(sitk.ReadImage(str(path)), str(again), useCompression=True)
            ours, theirs = ours + path.stat().st_size, theirs + again.stat().st_size
        print(name, ours, theirs)
