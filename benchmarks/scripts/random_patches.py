"""Count random 96³ pairs (image and label) a second, by way of storage.

Run: python random_patches.py PAIRS SCRATCH
Prints rows of a table: way, pairs a second, bytes on disk by raw bytes.
"""

import sys
import time
from pathlib import Path

import numpy as np

from itkit.io.formats.store import STORE_SUFFIX, PatchStore, write_store
from itkit.io.sitk_toolkit import read_volume, write_volume

SIZE = (96, 96, 96)
SECONDS = 3.0
source, scratch = Path(sys.argv[1]), Path(sys.argv[2])
scratch.mkdir(parents=True)
case = sorted((source / "image").iterdir())[0]
pair = {name: read_volume(source / name / case.name, name) for name in ("image", "label")}
raw_bytes = sum(volume.array_zyx.nbytes for volume in pair.values())
limits = [most - size + 1 for most, size in zip(pair["image"].geometry.size_zyx, SIZE, strict=True)]
windows = [
    tuple(slice(start, start + size) for start, size in zip(np.random.default_rng(n).integers(0, limits), SIZE, strict=True))
    for n in range(200)
]  # fmt: skip


def report(name, read, paths):
    read(windows[0])
    count, begin = 0, time.perf_counter()
    while (took := time.perf_counter() - begin) < SECONDS:
        boxes = read(windows[count % len(windows)])
        if count < 3:
            for kind, box in boxes.items():
                assert np.array_equal(box, pair[kind].array_zyx[windows[count]]), name
        count += 1
    size = f"{sum(path.stat().st_size for path in paths) / raw_bytes:.2f}" if paths else "-"
    print(f"| {name} | {count / took:.{0 if count / took >= 10 else 1}f} | {size} |")


def whole(folder, suffix):
    paths = {kind: folder / kind / f"{case.name.split('.')[0]}{suffix}" for kind in pair}
    return paths, lambda window: {
        kind: np.array(read_volume(path, kind).array_zyx[window]) for kind, path in paths.items()
    }


paths, read = whole(source, ".nii.gz")
report("`.nii.gz`, whole volume each time", read, paths.values())
for kind, volume in pair.items():
    write_volume(volume, scratch / kind / f"{case.name.split('.')[0]}.mha", compression="none")
paths, read = whole(scratch, ".mha")
report("uncompressed `.mha`, mapped", read, paths.values())
for kind, suffix in STORE_SUFFIX.items():
    for compression in ("none", "fast", "small"):
        path = scratch / f"{compression}{suffix}"
        write_store(path, pair, compression=compression)
        store = PatchStore(path)
        report(
            f"`--store {kind} --compression {compression}`",
            lambda window, store=store: {
                name: volume.array_zyx for name, volume in store.read([part.start for part in window], SIZE).items()
            },
            [path],
        )  # fmt: skip
from itkit.io.formats.shared_pieces import write_boxes  # noqa: E402

cuts = {}
for number, window in enumerate(windows[:20]):
    for kind, volume in pair.items():
        path = scratch / f"{number}_{kind}.mha"
        box = volume.with_array(
            volume.array_zyx[window], volume.geometry.crop(tuple(part.start for part in window), SIZE)
        )
        write_boxes(box, [(0, path)], SIZE[0], ())
        cuts[number, kind] = path
numbers = {tuple(part.start for part in window): number for number, window in enumerate(windows[:20])}
windows = windows[:20]
report(
    "patch files of `itk_patch` (compressed `.mha`)",
    lambda window: {
        kind: read_volume(cuts[numbers[tuple(part.start for part in window)], kind], kind).array_zyx for kind in pair
    },
    [],
)
