"""Measure what one more case costs: two sizes of a dataset of tiny pairs, and the slope between them (Linux).

Run: python benchmarks/scale.py [--sizes 2000 10000] [--rounds N] [--python PYTHON] [--scratch FOLDER] [--only WORD]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

LINKS = 50_000
"""Hard links to one file; ext4 allows 65,000."""
VOXELS = 8
PATCH, PATCHES_PER_AXIS = 4, 5
"""Voxels along an axis of a patch, and patches along an axis of a volume that is cut."""
_SAMPLE_S = 0.02
_OF_RUNS = "run-"


@dataclass(frozen=True)
class Cost:
    """Cost of one run; the peak is that of the main process alone."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    disk_bytes: int = 0


@dataclass(frozen=True)
class Row:
    """One line of the table: what is measured, its unit, the aim, and the value a case."""

    what: str
    unit: str
    aim: float
    value: Callable[[dict[str, list[Cost]], dict[str, list[Cost]], int], float]


def make_pairs(folder: Path, count: int, side: int = VOXELS) -> Path:
    """Make a dataset of pairs of cubes with a side of some voxels, most of them hard links."""
    done = folder / "done"
    if done.exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = -3 5 7\nCenterOfRotation = 0 0 0\nAnatomicalOrientation = RAI\n"
        f"ElementSpacing = 0.7 0.8 2.5\nDimSize = {side} {side} {side}\n"
    )
    voxels = side**3
    bytes_of = {
        "image": (header + "ElementType = MET_SHORT\nElementDataFile = LOCAL\n").encode()
        + b"".join((value % 1200 - 200).to_bytes(2, "little", signed=True) for value in range(voxels)),
        "label": (header + "ElementType = MET_UCHAR\nElementDataFile = LOCAL\n").encode()
        + bytes(value // 100 % 6 for value in range(voxels)),
    }
    for name, data in bytes_of.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            path = f"{folder}/{name}/case_{number:07d}.mha"
            if number % LINKS == 0:
                first = path
                Path(path).write_bytes(data)
            else:
                os.link(first, path)
    done.touch()
    os.sync()
    time.sleep(2.5)  # files as young as this are not known by their times
    return folder


def make_index(folder: Path, count: int) -> Path:
    """Make the index of a release of SA-Med2D-20M with some entries, without the images."""
    done = folder / "done"
    if done.exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with (folder / "SAMed2D_v1.json").open("w") as file:
        for number in range(count):
            name = f"ct_00--AMOS{number % 20}--case{number // 200:06d}--x_{number % 10000:04d}"
            masks = [f"masks/{name}--0001_000.png", f"masks/{name}--0003_000.png"]
            file.write(f'{"," if number else "{"}\n"images/{name}.png": {json.dumps(masks)}')
        file.write("\n}\n")
    classes = {f"AMOS{number}": {f"organ {value}": value for value in range(16)} for number in range(20)}
    (folder / "SAMed2D_v1_class_mapping_id.json").write_text(json.dumps(classes))
    done.touch()
    return folder


def run(argv: list[str]) -> Cost:
    """Run a command; its main process's peak is read while it runs.

    Raises
    ------
    SystemExit
        When it fails.
    """
    with tempfile.TemporaryFile() as output:
        before = os.times()
        begin = time.perf_counter()
        process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT)
        peak = _Peak(process.pid)
        peak.start()
        code = process.wait()
        wall = time.perf_counter() - begin
        after = os.times()
        peak.ended.set()
        peak.join()
        if code:
            output.seek(0)
            raise SystemExit(f"{' '.join(argv)} ended with {code}:\n{output.read()[-2000:].decode()}")
    cpu = sum(after[2:4]) - sum(before[2:4])
    return Cost(wall, cpu, peak.bytes)


class _Peak(threading.Thread):
    """Reads the high-water mark of a process's memory."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.status, self.bytes, self.ended = Path(f"/proc/{pid}/status"), 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(_SAMPLE_S):
            try:
                words = self.status.read_text().split()
            except OSError:
                continue
            if "VmHWM:" in words:
                self.bytes = max(self.bytes, 1024 * int(words[words.index("VmHWM:") + 1]))


def new_folder(place: Path) -> Path:
    """Return a new folder; all of them are removed in the end.

    ext4 looks for places of new files among those of files that were removed in the last minutes, in vain: to remove
    tens of thousands before each measurement would make a run cost up to a seventh more.
    """
    return Path(tempfile.mkdtemp(dir=place, prefix=_OF_RUNS)) / "dest"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("manifest*.jsonl"))


def measure(place: Path, python: str, count: int, only: str) -> Iterator[tuple[str, Cost]]:
    """Measure all runs for one number of pairs, once."""
    source = make_pairs(place / f"pairs-{count}", count)
    dest = new_folder(place)
    index = source / "series_meta.json"

    def itkit(*words: object) -> Cost:
        return run([python, "-m", "itkit", *map(str, words), "--progress", "none"])

    if only in "check":
        index.unlink(missing_ok=True)
        yield "check", itkit("check", "check", source)
        yield "check again", itkit("check", "check", source)
    if only in "orient":
        cost = itkit("orient", source, dest, "LPI", "--mp")
        yield "orient", Cost(cost.wall_s, cost.cpu_s, cost.peak_bytes, _size(dest / ".itkit"))
        yield "orient again", itkit("orient", source, dest, "LPI", "--mp")
    if only in "patch":
        side = PATCH * PATCHES_PER_AXIS
        cubes = make_pairs(place / f"cubes-{count}", max(1, count // PATCHES_PER_AXIS**3), side)
        sizes = ("--patch-size", PATCH, "--patch-stride", PATCH, "--compression", "none")
        dest = new_folder(place)
        yield "patch", itkit("patch", cubes, dest, *sizes)
        yield "patch again", itkit("patch", cubes, dest, *sizes)
    if only in "index":
        release = make_index(place / f"index-{count}", count)
        dest = new_folder(place)
        yield "index", itkit("convert-dataset", "sa_med2d_20m", release, dest, "--dry-run")


def _slope(name: str, of: Callable[[Cost], float], scale: float) -> Callable[..., float]:
    def value(small: dict[str, list[Cost]], large: dict[str, list[Cost]], more: int) -> float:
        ends = [statistics.median(map(of, costs[name])) for costs in (small, large)]
        return scale * (ends[1] - ends[0]) / more

    return value


def _wall(cost: Cost) -> float:
    return cost.wall_s


def _cpu(cost: Cost) -> float:
    return cost.cpu_s


def _peak(cost: Cost) -> float:
    return cost.peak_bytes


def _disk(cost: Cost) -> float:
    return cost.disk_bytes


ROWS = (
    Row("itk_check, first", "ms", 0.15, _slope("check", _wall, 1e3)),
    Row("itk_check, first: cores", "ms", 0.15, _slope("check", _cpu, 1e3)),
    Row("itk_check, with index", "ms", 0.05, _slope("check again", _wall, 1e3)),
    Row("itk_check, memory", "KB", 1.0, _slope("check", _peak, 1e-3)),
    Row("itk_orient --mp", "ms", 1.0, _slope("orient", _wall, 1e3)),
    Row("itk_orient --mp: cores", "ms", 2.0, _slope("orient", _cpu, 1e3)),
    Row("itk_orient --mp, memory of the main process", "KB", 1.0, _slope("orient", _peak, 1e-3)),
    Row("second run, all skipped", "ms", 0.12, _slope("orient again", _wall, 1e3)),
    Row("second run, all skipped: memory", "KB", 1.0, _slope("orient again", _peak, 1e-3)),
    Row("manifest", "KB", 0.4, _slope("orient", _disk, 1e-3)),
    Row("itk_patch, a patch (two files): cores", "ms", 2.0, _slope("patch", _cpu, 1e3)),
    Row("itk_patch, a patch: memory", "KB", 1.0, _slope("patch", _peak, 1e-3)),
    Row("itk_patch again, a patch: cores", "ms", 0.12, _slope("patch again", _cpu, 1e3)),
    Row("SA-Med2D's index, an entry: cores", "ms", 0.02, _slope("index", _cpu, 1e3)),
    Row("SA-Med2D's index, an entry: memory", "KB", 0.1, _slope("index", _peak, 1e-3)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs=2, default=(2_000, 10_000))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--python", default=sys.executable, help="Python of the environment to measure")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / "itkit-scale")
    parser.add_argument("--only", default="", help="check, orient, patch or index")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    options = parser.parse_args()
    costs: tuple[dict[str, list[Cost]], ...] = ({}, {})
    try:
        for _ in range(options.rounds):
            for size, found in zip(options.sizes, costs, strict=True):
                for name, cost in measure(options.scratch, options.python, size, options.only):
                    found.setdefault(name, []).append(cost)
                    print(f"{size:>8} {name:<14} {cost.wall_s:7.2f} s wall {cost.cpu_s:7.2f} s cpu "
                          f"{cost.peak_bytes / 1e6:6.0f} MB", flush=True)  # fmt: skip
    finally:
        for folder in options.scratch.glob(f"{_OF_RUNS}*"):
            shutil.rmtree(folder, ignore_errors=True)
    small, large = costs
    more = options.sizes[1] - options.sizes[0]
    print(f"\n| a case, between {options.sizes[0]} and {options.sizes[1]} pairs | measured | aim |\n|---|---|---|")
    numbers = {}
    for row in ROWS:
        try:
            value = row.value(small, large, more)
        except KeyError:
            continue
        numbers[row.what] = value
        print(f"| {row.what} | {value:.3f} {row.unit} | {row.aim} |")
    if options.json is not None:
        options.json.write_text(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
