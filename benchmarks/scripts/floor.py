"""The least that a resampling run can do: inflate every input once, deflate every result once, write it.

Run: python floor.py SOURCE RESULTS DEST WORKERS
RESULTS holds the raw bytes of the results; ISA-L is the codec, and every worker has its share of the cases.
"""

import mmap
import os
import sys
from pathlib import Path

from isal import igzip, isal_zlib

SOURCE, RESULTS, DEST = (Path(word) for word in sys.argv[1:4])
WORKERS = int(sys.argv[4])
PIECE = 4 << 20


def inflate(path):
    with igzip.open(path) as file:
        while file.read(1 << 20):
            pass


def deflate(path, dest):
    with path.open("rb") as file, dest.open("wb") as out:
        plain = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        stream = isal_zlib.compressobj(2, isal_zlib.DEFLATED, 15)
        for start in range(0, len(plain), PIECE):
            out.write(stream.compress(plain[start : start + PIECE]))
        out.write(stream.flush())
        out.flush()
        os.fsync(out.fileno())


def work(share):
    for name in ("image", "label"):
        for path in sorted((SOURCE / name).glob("case_*"))[share::WORKERS]:
            case = path.name.split(".")[0]
            inflate(path)
            deflate(RESULTS / f"{name}_{case}.raw", DEST / f"{name}_{case}.z")


DEST.mkdir(parents=True)
children = []
for share in range(WORKERS):
    child = os.fork()
    if child == 0:
        work(share)
        os._exit(0)
    children.append(child)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
