"""Kill a training at random moments until it has ended, and compare it with one that was never disturbed.

``python tests/training/kill_training.py FOLDER [--kills 20] [--seed 0]`` writes a small dataset and a plan into the
folder, trains once undisturbed, and once with so many ``kill -9`` to the process and its loader workers: three of four
at a random moment after a step, the others at any moment since the start. The losses of all steps and the final weights
must be equal bit for bit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import write_volume
from itkit.training.plan_file import make_plan, plan_text

CALL = [
    sys.executable,
    "-c",
    "import sys; from itkit.cli.main import command; sys.argv[0] = 'itkit'; sys.exit(command())",
]


def write_plan(folder):
    """Write two small cases and a plan of 40 short epochs, with workers, dropout, a moving average and augmentation."""
    rng = torch.Generator().manual_seed(0)
    for number in range(2):
        grid = Geometry((16, 20, 24), (2.0, 1.0, 1.0))
        label = torch.zeros(grid.size_zyx, dtype=torch.uint8)
        label[4:9, 3 + number : 9, 10:20] = 1
        image = torch.randint(-300, 300, grid.size_zyx, dtype=torch.int16, generator=rng) + label * 200
        for part, values, kind in (("image", image, "image"), ("label", label, "label")):
            (folder / "ct" / part).mkdir(parents=True, exist_ok=True)
            write_volume(Volume(values.numpy(), grid, kind), folder / "ct" / part / f"case_{number}.mha")
    plan = make_plan(
        {
            "dataset": {"path": "ct", "channels": ["CT"], "labels": {1: "box"}},
            "preprocess": {"spacing": [2, 1, 1]},
            "network": {
                "name": "unet",
                "options": {"strides": [1, 2], "features_per_stage": [4, 8], "dropout": 0.2},
            },
            "training": {"patch_size": [8, 16, 16], "epochs": 40, "steps_per_epoch": 4, "workers": 1, "ema": 0.9},
            "augment": {"elastic": 0.3, "rotation": 0.5},
            "split": {"folds": 1},
            "validation": {"every": 4},
        }
    )
    path = folder / "plan.toml"
    path.write_text(plan_text(plan), encoding="utf-8")
    return path


def start(plan, run, output=subprocess.DEVNULL):
    words = [*CALL, "train", str(plan), "-o", str(run), "--device", "cpu", "--progress", "json"]
    return subprocess.Popen(words, stdout=output, text=True, start_new_session=True)


def steps_of(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [(line["step"], line["train_loss"]) for line in map(json.loads, lines) if "train_loss" in line]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    plan, rng = write_plan(arguments.folder), random.Random(arguments.seed)
    calm, run = arguments.folder / "calm", arguments.folder / "killed"
    begin = time.monotonic()
    assert start(plan, calm).wait() == 0
    whole = time.monotonic() - begin
    killed = 0
    while killed < arguments.kills:
        process = start(plan, run, subprocess.PIPE)
        if rng.random() < 0.25:
            time.sleep(rng.uniform(0, whole / 2))
        else:
            seen = next((line for line in process.stdout if '"event": "step"' in line), None)
            assert seen is not None, "it has ended: more epochs are needed for so many kills"
            time.sleep(rng.uniform(0, whole / 40))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
        done = steps_of(run)[-1][0] if (run / "metrics.jsonl").is_file() else 0
        sys.stdout.write(f"kill {killed}: after step {done}\n")
        sys.stdout.flush()
    assert start(plan, run).wait() == 0
    assert steps_of(run) == steps_of(calm), "losses differ"
    ends = [torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for path in (calm, run)]
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0]), "weights differ"
    sys.stdout.write(f"{killed} kills: {len(steps_of(run))} losses and {len(ends[0])} tensors equal bit for bit\n")


if __name__ == "__main__":
    main()
