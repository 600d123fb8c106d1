"""Fingerprint, plan and prepared store of six CT beside nnU-Net's ``nnUNetv2_plan_and_preprocess``; prints a table.

Each side is a command of its own, start-up included, one process at a time on one core, in turns. ITKIT is measured
without and with the training steps that ``itkit plan`` takes to measure the network; nnU-Net takes none.

Usage::

    python benchmarks/planning.py --rounds 3 --nnunet-bin /path/to/a/venv/with/nnunetv2/bin
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import measure

SPACINGS_ZYX = ((2.5, 0.8, 0.8), (3.0, 0.7, 0.7), (2.0, 0.9, 0.9))


def make(root, size):
    """Write six CT of different spacings, and the same as nnU-Net's raw dataset."""
    from scripts.make_data import make_pair

    from itkit.core.geometry import Geometry
    from itkit.core.volume import Volume
    from itkit.io.sitk_toolkit import write_volume

    for number in range(6):
        grid = Geometry(size, SPACINGS_ZYX[number % 3], (-204.4, -180.0, 30.5))
        for part, array in zip(("image", "label"), make_pair(size, number), strict=True):
            path = root / "raw" / part / f"case_{number:02d}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_volume(Volume(array, grid, part), path)
    (root / "raw" / "dataset.json").write_text(
        '{"modality": ["CT"], "channels": ["CT"], "labels": {'
        + ", ".join(f'"{n}": "{"organ_" + str(n) if n else "background"}"' for n in range(15))
        + "}}"
    )


class NoSteps:
    """Costs that nobody has measured, as nnU-Net's formula supposes them for its own network."""

    def machine(self):
        from itkit.training.probing import Machine

        return Machine("cuda", "GPU", 1 << 40, bf16=True)

    def facts(self, plan):
        from itkit.training.probing import Facts

        return Facts(0, (32, 32, 32), (64, 64, 64), None)

    def run(self, plan, sizes):
        from itkit.training.probing import Run

        return [Run(s.voxels, 1e-7 * s.voxels, 2e-8 * s.voxels, b := 10**9 + 1800 * s.voxels, b) for s in sizes]

    def patch_seconds(self, plan):
        return 0.0


def ours(root, dest, steps):
    """Measure, plan and prepare."""
    import itkit
    from itkit.core.dataset_meta import DatasetMeta
    from itkit.dataset.folder import DatasetFolder
    from itkit.io.json_files import read_json
    from itkit.training.fingerprint import read_fingerprint
    from itkit.training.plan_file import plan_text
    from itkit.training.planning import plan_dataset
    from itkit.training.prepared import PreparedFolder
    from itkit.training.wishes import PlanParams

    itkit.run("itk_stats", source=root / "raw", dest=dest / "stats", workers=1)
    meta = DatasetMeta(read_json(root / "raw" / "dataset.json"))
    found = read_fingerprint(read_json(dest / "stats" / "stats.json"), meta)
    wishes = PlanParams(dataset=root / "raw")
    if steps:
        from itkit.training.probing import Prober

        with Prober("cpu") as prober:
            planned = plan_dataset(found, wishes, prober, path=str(root / "raw"), cores=1, memory=8 << 30)
    else:
        planned = plan_dataset(found, wishes, NoSteps(), path=str(root / "raw"), cores=1, memory=8 << 30)
    (dest / "plan.toml").write_text(plan_text(planned.plan, planned.reasons))
    prepared = PreparedFolder(dest / "prepared", planned.plan)
    for case in DatasetFolder(root / "raw").cases:
        prepared.prepare(case)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, nargs=3, default=(100, 320, 320))
    parser.add_argument("--nnunet-bin", type=Path, required=False)
    parser.add_argument("--ours", nargs=3)
    args = parser.parse_args()
    if args.ours:
        ours(Path(args.ours[0]), Path(args.ours[1]), args.ours[2] == "steps")
        return
    os.environ.update(OMP_NUM_THREADS="1", PYTHONPATH=str(Path(__file__).parents[1]))
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        root = Path(folder)
        make(root, tuple(args.size))
        names = {"nnUNet_raw": "nnunet", "nnUNet_preprocessed": "preprocessed", "nnUNet_results": "results"}
        os.environ.update({name: str(root / place) for name, place in names.items()})
        convert = [sys.executable, "-m", "itkit", "convert", "nnunet", root / "raw", root / "nnunet" / "Dataset001_CT"]
        subprocess.run(convert, check=True, capture_output=True)
        plan = ["nnUNetv2_plan_and_preprocess", "-d", "1", "-c", "3d_fullres", "-npfp", "1", "-np", "1"]
        sides = {
            "ITKIT": [sys.executable, __file__, "--ours", root, root / "out", "none"],
            "ITKIT with measured steps": [sys.executable, __file__, "--ours", root, root / "out", "steps"],
            "nnU-Net": [args.nnunet_bin / plan[0], *plan[1:]],
        }
        costs = {name: [] for name in sides}
        for _ in range(args.rounds):
            for name, command in sides.items():
                for place in ("out", "preprocessed"):
                    shutil.rmtree(root / place, ignore_errors=True)
                    (root / place).mkdir()
                costs[name].append(measure.run(command, cores={0}, sample_memory=True))
        print("| fingerprint, plan and store of 6 CT | CPU s | of nnU-Net's | peak MiB | of nnU-Net's |")
        print("|---|---|---|---|---|")
        for name, found in costs.items():
            cpu = statistics.median(cost.cpu_s for cost in found)
            part = statistics.median(a.cpu_s / b.cpu_s for a, b in zip(found, costs["nnU-Net"], strict=True))
            memory = max(cost.peak_bytes for cost in found)
            share = memory / max(cost.peak_bytes for cost in costs["nnU-Net"])
            print(f"| {name} | {cpu:.1f} | {part:.2f} | {memory / 2**20:.0f} | {share:.2f} |")


if __name__ == "__main__":
    main()
