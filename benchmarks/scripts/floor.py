"""The least that a resampling run can do: inflate every input once, deflate every result once, write it.

Run: python floor.py SOURCE RESULTS DEST WORKERS [BYTES OF A RESULTING IMAGE'S VOXEL]
RESULTS holds the raw bytes of the results. The codec is the one that commands use; every worker has its share of
the cases, and uses its memory again.
"""

import mmap
import os
import sys
from pathlib import Path

from itkit.io.streams.inflate import inflate as inflated
from itkit.kernels.buffers import reuse_buffers
from itkit.kernels.deflate import deflate as deflated

SOURCE, RESULTS, DEST = (Path(word) for word in sys.argv[1:4])
WORKERS, IMAGE_BYTES = int(sys.argv[4]), int(sys.argv[5]) if len(sys.argv) > 5 else 2
PIECE = 4 << 20


def inflate(path):
    with path.open("rb", buffering=0) as file:
        file.seek(-4, os.SEEK_END)
        size = int.from_bytes(file.read(4), "little")  # the end of a gzip stream says it
        file.seek(0)
        inflated(file, skip=0, size=size)


def deflate(path, dest, item_bytes):
    with path.open("rb") as file, dest.open("wb") as out:
        plain = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        for start in range(0, len(plain), PIECE):
            piece = plain[start : start + PIECE]
            out.write(deflated(piece, item_bytes=item_bytes, row_bytes=0, last=start + PIECE >= len(plain)))
        out.flush()
        os.fsync(out.fileno())


def work(share):
    reuse_buffers()
    for name, item_bytes in (("image", IMAGE_BYTES), ("label", 1)):
        for path in sorted((SOURCE / name).glob("case_*"))[share::WORKERS]:
            case = path.name.split(".")[0]
            inflate(path)
            deflate(RESULTS / f"{name}_{case}.raw", DEST / f"{name}_{case}.z", item_bytes)


DEST.mkdir(parents=True)
children = []
for share in range(WORKERS):
    child = os.fork()
    if child == 0:
        work(share)
        os._exit(0)
    children.append(child)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
