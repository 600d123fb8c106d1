"""Measurements that do not compare two commands: kernels, sizes, scaling, linearity, random patches."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path

from measure import Cost, run
from report import Section, plot
from workplace import HERE, SCRIPTS, Workplace


def _median(runs: list[Cost], what: str = "wall_s") -> float:
    return statistics.median(getattr(cost, what) for cost in runs)


def _output(*words: object) -> list[str]:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def _resample(place: Workplace, source: Path, *more: str, spacing: str = "1.5") -> Callable[[], list[object]]:
    def command() -> list[object]:
        dest = place.fresh("ours")
        return [place.ours.command("itk_resample"), "dataset", source, dest, "--spacing", *[spacing] * 3, *more]

    return command


def raw_results(place: Workplace) -> None:
    """Keep the raw bytes of results, which the floor compresses."""
    for spacing in ("1.5", "1.0"):
        folder = place.data / "raw" / spacing
        if folder.exists():
            continue
        run(_resample(place, place.many / "nii.gz", "--mp", spacing=spacing)())
        _output(place.ours.python, SCRIPTS / "unpack.py", place.scratch / "ours", folder)
    for name, words in (
        ("cropped", ("itk_crop", "--to", "body")),
        ("enhanced", ("itk_enhance", "--clip", "-160", "240", "--normalize", "zscore")),
    ):
        folder = place.data / "raw" / name
        if not folder.exists():
            dest = place.fresh("ours")
            run([place.ours.command(words[0]), place.many / "nii.gz", dest, *words[1:], "--mp"])
            _output(place.ours.python, SCRIPTS / "unpack.py", dest, folder)
    named, folder = place.data / "named", place.data / "raw" / "same"
    if folder.exists():
        return
    named.mkdir(exist_ok=True)
    for name in ("image", "label"):  # a dataset of the same files whose classes have names, as nnU-Net needs them
        (named / name).symlink_to(place.many / "nii.gz" / name)
    labels = {"0": "background", **{str(value): f"class {value}" for value in range(1, 256)}}
    (named / "dataset.json").write_text(json.dumps({"modality": ["CT"], "labels": labels}))
    dest = place.fresh("ours")
    run([place.ours.command("itk_convert"), "format", named, dest, "--ext", ".mha", "--mp"])
    _output(place.ours.python, SCRIPTS / "unpack.py", dest, folder)


def kernels(place: Workplace, rounds: int) -> Section:
    """Run the kernels' own comparison."""
    lines = _output(place.ours.python, HERE / "kernels.py", "--rounds", rounds, "--only", "SimpleITK")
    text = [
        "CPU time of all threads, ours / SimpleITK's (aims for linear: 0.12 and 0.07). As in commands, our kernels reuse memory.",
        "",
        "```",
        *lines,
        "```",
    ]
    return Section("Kernels in memory", tuple(text))


def sizes(place: Workplace, rounds: int) -> Section:
    """Compare the sizes of our files with SimpleITK's default."""
    del rounds
    lines = ["| file | kind | ours / SimpleITK's bytes |", "|---|---|---|"]
    for suffix, aim in ((".mha", 1.02), (".nii.gz", 1.05)):
        dest = place.fresh("ours")
        run([place.ours.command("itk_orient"), place.pairs, dest, "LPI", "--mp", "--ext", suffix])
        total = [0, 0]
        for line in _output(place.itkit4.python, SCRIPTS / "sizes.py", dest, suffix):
            name, *numbers = line.split()
            ours, theirs = (int(number) for number in numbers)
            total = [total[0] + ours, total[1] + theirs]
            lines.append(f"| `{suffix}` | {name} | {ours / theirs:.3f} |")
        ratio = total[0] / total[1]
        lines.append(f"| `{suffix}` | both | **{ratio:.3f}** (aim {aim}: {'met' if ratio <= aim else 'missed'}) |")
    return Section("Sizes", tuple(lines))


def scaling(place: Workplace, rounds: int) -> Section:
    """Compare one core, one worker and two, and a single case on all cores."""
    first = sorted(os.sched_getaffinity(0))[:1]
    ways = (
        ("one case at a time, one core", _resample(place, place.many / "nii.gz"), set(first)),
        ("one case at a time, all cores", _resample(place, place.many / "nii.gz"), None),
        ("--workers 2", _resample(place, place.many / "nii.gz", "--workers", "2"), None),
    )
    runs = [[run(command(), cores=cores) for _ in range(rounds)] for _, command, cores in ways]
    base = _median(runs[0])
    lines = ["| itk_resample to 1.5 mm, all cases four times | wall s | cpu s | times faster |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {_median(costs):.2f} | {_median(costs, 'cpu_s'):.2f} | {base / _median(costs):.2f} |"
        for (name, _, _), costs in zip(ways, runs, strict=True)
    ]
    return Section("Scaling", tuple(lines))


def linearity(place: Workplace, rounds: int) -> Section:
    """Plot cost over voxels and over cases."""
    lines = []
    by_voxels, by_cases = [], []
    for slices in (20, 40, 80, 160):
        source = place.data / f"slices_{slices}"
        if not source.exists():
            script = [place.itkit4.python, SCRIPTS / "make_data.py", source, 1, slices, 512, 512]
            subprocess.run([str(word) for word in script], check=True, stdout=subprocess.DEVNULL)
        costs = [run(_resample(place, source / "nii.gz")()) for _ in range(rounds)]
        by_voxels.append((slices * 512 * 512 / 1e6, _median(costs, "cpu_s")))
    for cases in (4, 8, 16, 32):
        source = place.data / f"cases_{cases}"
        for name in ("image", "label"):
            (source / name).mkdir(parents=True, exist_ok=True)
            for number in range(cases):
                target = source / name / f"case_{number:03d}.nii.gz"
                if not target.exists():
                    os.link(place.data / "slices_20" / "nii.gz" / name / "case_00.nii.gz", target)
        costs = [run(_resample(place, source, "--mp")()) for _ in range(rounds)]
        by_cases.append((float(cases), _median(costs, "cpu_s")))
    for name, points in (("million voxels", by_voxels), ("cases", by_cases)):
        file = HERE / f"linearity_{name.split()[-1]}.svg"
        plot(file, points, name, "cpu s")
        lines += [f"![cpu over {name}]({file.name})", "", f"| {name} | cpu s |", "|---|---|"]
        lines += [f"| {x:.1f} | {y:.2f} |" for x, y in points] + [""]
    shutil.rmtree(place.scratch / "ours", ignore_errors=True)
    return Section("Cost against voxels and cases (itk_resample to 1.5 mm)", tuple(lines))


def random_patches(place: Workplace, rounds: int) -> Section:
    """Count random patches per second for each kind of storage."""
    del rounds
    lines = ["| random 96³ pairs from | a second | bytes / raw bytes |", "|---|---|---|"]
    lines += _output(place.ours.python, SCRIPTS / "random_patches.py", place.pairs, place.fresh("stores"))
    return Section("Random training patches", tuple(lines))
