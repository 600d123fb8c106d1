"""Write the voxels of a dataset as raw files. Run: python unpack.py DATASET DEST."""

import sys
from pathlib import Path

from itkit.io.sitk_toolkit import read_volume

source, dest = Path(sys.argv[1]), Path(sys.argv[2])
dest.mkdir(parents=True)
for name in ("image", "label"):
    for path in sorted((source / name).glob("*.mha")):
        read_volume(path, name).array_zyx.tofile(dest / f"{name}_{path.name.split('.')[0]}.raw")
