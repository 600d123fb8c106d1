"""ITKIT's training beside nnU-Net's own trainer: the same cases, network, patch, batch and steps; prints a table.

24 small volumes with noise and three classes: a large one, a small dark one in its border, and a bent bright tube. 16
are trained on, 8 validate. nnU-Net plans its network for the patch, with a quarter of its channels so that a CPU can
train it; ITKIT's plan has the network that this plan names. With each seed, both start from the weights that nnU-Net
draws: with so few channels, whether a small class is found early depends on them more than on the trainer
(``--own-weights`` lets ITKIT draw its own). Both predict with the weights of the last step, by sliding windows that
overlap by a half, without mirroring; the Dice is the mean over cases and classes.

Usage::

    python benchmarks/quality.py --seeds 3 --nnunet-bin /path/to/a/venv/with/nnunetv2/bin
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SIZE, PATCH, BATCH = (40, 44, 48), 24, 2
CASES, TRAIN = 24, 16
LABELS = {1: "organ", 2: "lesion", 3: "vessel"}
FEATURES = (8, 16, 32, 64)
NAME = "Dataset001_Noise"


def case(number):
    """Return an image and its label map."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng([15, number])
    places = np.moveaxis(np.indices(SIZE), 0, -1).astype(float)
    label = np.zeros(SIZE, np.uint8)
    centre = np.array(SIZE) * rng.uniform(0.35, 0.65, 3)
    radii = rng.uniform((8, 9, 10), (12, 13, 14))
    bumps = gaussian_filter(rng.normal(size=SIZE), 4)
    label[(((places - centre) / radii) ** 2).sum(-1) + 0.3 * bumps / bumps.std() < 1] = 1
    start, slope, bend = rng.uniform(6, 34, 2), rng.uniform(-0.3, 0.3, 2), rng.uniform(2, 5, 2)
    z = places[..., 0]
    line = [start[k] + slope[k] * z + bend[k] * np.sin(z / 7 + k) for k in (0, 1)]
    label[(places[..., 1] - line[0]) ** 2 + (places[..., 2] - line[1]) ** 2 < rng.uniform(2.5, 3.5) ** 2] = 3
    direction = rng.normal(size=3)
    middle = centre + 0.8 * radii * direction / np.linalg.norm(direction)
    label[((places - middle) ** 2).sum(-1) < rng.uniform(3.5, 5.5) ** 2] = 2
    shades = np.array([0.0, 1.0, -1.5, 2.0])
    waves = gaussian_filter(rng.normal(size=SIZE), 6)
    return (shades[label] + 0.7 * rng.normal(size=SIZE) + 0.4 * waves / waves.std()).astype(np.float32), label


def use(root):
    """Make nnU-Net's folders, and tell it of them."""
    names = {"nnUNet_raw": "raw", "nnUNet_preprocessed": "preprocessed", "nnUNet_results": "results"}
    for name, place in names.items():
        (root / place).mkdir(exist_ok=True)
        os.environ[name] = str(root / place)


def write_cases(root):
    """Write the dataset in ITKIT's layout and in nnU-Net's, and the split for both."""
    from itkit.core.geometry import Geometry
    from itkit.core.volume import Volume
    from itkit.io.sitk_toolkit import write_volume

    for number in range(CASES):
        for part, array in zip(("image", "label"), case(number), strict=True):
            path = root / "data" / part / f"case_{number:02d}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_volume(Volume(array, Geometry(SIZE, (1.0, 1.0, 1.0)), part), path)
    facts = {
        "modality": ["MR"],
        "channels": ["MR"],
        "labels": {"0": "background", **{str(k): v for k, v in LABELS.items()}},
    }
    (root / "data" / "dataset.json").write_text(json.dumps(facts))
    convert = [sys.executable, "-m", "itkit", "convert", "nnunet", root / "data", root / "raw" / NAME]
    subprocess.run(convert, check=True, capture_output=True)
    names = [f"case_{number:02d}" for number in range(CASES)]
    split = [{"train": names[:TRAIN], "val": names[TRAIN:]}]
    (root / "splits_final.json").write_text(json.dumps(split))


def plan_nnunet(root, commands):
    """Let nnU-Net plan, make the plan small, and let it preprocess."""
    subprocess.run(
        [commands / "nnUNetv2_plan_and_preprocess", "-d", "1", "-c", "3d_fullres", "-npfp", "1", "-np", "1", "--no_pp"],
        check=True,
        capture_output=True,
    )
    folder = root / "preprocessed" / NAME
    path = folder / "nnUNetPlans.json"
    plans = json.loads(path.read_text())
    settings = plans["configurations"]["3d_fullres"]
    layers = settings["architecture"]["arch_kwargs"]
    stages = len(FEATURES)
    settings |= {"patch_size": [PATCH] * 3, "batch_size": BATCH}
    layers |= {
        "n_stages": stages,
        "features_per_stage": list(FEATURES),
        "strides": [[1, 1, 1], *[[2, 2, 2]] * (stages - 1)],
        "kernel_sizes": [[3, 3, 3]] * stages,
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
    }
    path.write_text(json.dumps(plans))
    preprocess = [commands / "nnUNetv2_preprocess", "-d", "1", "-c", "3d_fullres", "-np", "1"]
    subprocess.run(preprocess, check=True, capture_output=True)
    (folder / "splits_final.json").write_text((root / "splits_final.json").read_text())
    return path


def write_plan(root, nnunet_plan, args):
    """Write ITKIT's plan; all that is not named here is as `itkit plan` and `itkit train` have it by default."""
    from itkit.models import from_nnunet_plans
    from itkit.training.plan_file import make_plan, plan_text

    network = from_nnunet_plans(nnunet_plan, "3d_fullres", dataset=root / "raw" / NAME / "dataset.json")
    own = ("name", "in_channels", "num_classes", "spatial_dims")
    plan = make_plan(
        {
            "dataset": {"path": "data", "channels": ["MR"], "labels": LABELS},
            "preprocess": {"spacing": [1, 1, 1], "intensity": {"scheme": "zscore"}},
            "network": {"name": network["name"], "options": {k: v for k, v in network.items() if k not in own}},
            "training": {
                "patch_size": [PATCH] * 3, "batch_size": BATCH, "epochs": args.epochs,
                "steps_per_epoch": args.steps, "workers": 0,
                "foreground": 0.5,  # nnU-Net's third of two patches is one of them
            },
            "split": {"file": "splits_final.json"},
            "validation": {"every": args.epochs},
        }
    )  # fmt: skip
    (root / "plan.toml").write_text(plan_text(plan))


def dice(root, predictions):
    """Return the mean Dice of each class over the validation cases."""
    from itkit.io.sitk_toolkit import read_volume

    found = {value: [] for value in LABELS}
    for number in range(TRAIN, CASES):
        truth = case(number)[1]
        path = next(Path(predictions).glob(f"case_{number:02d}.*"))
        label = read_volume(path, "label").array_zyx
        for value, scores in found.items():
            a, b = truth == value, label == value
            scores.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    return [float(np.mean(scores)) for scores in found.values()]


def timed(command, log, environment):
    begin = os.times()
    with log.open("w") as file:
        done = subprocess.run(
            [str(word) for word in command], env={**os.environ, **environment}, stdout=file, stderr=file, check=False
        )
    if done.returncode:
        raise SystemExit(f"{log}: {log.read_text()[-2000:]}")
    end = os.times()
    return end.children_user + end.children_system - begin.children_user - begin.children_system


def start(root, seed, args):
    """Return a file of the weights from which nnU-Net starts with a seed."""
    path = root / f"start_{seed}.pth"
    if not path.exists():
        words = [args.nnunet_bin / "python", HERE / "scripts" / "nnunet_train.py", seed, 1, 1, path]
        timed(words, root / f"start_{seed}.log", {"nnUNet_results": str(root / "results"), "PYTHONPATH": ""})
    return path


def ours(root, seed, args):
    run, itkit = root / f"run_{seed}", [sys.executable, "-m", "itkit"]
    train = [*itkit, "train", root / "plan.toml", "-o", run, "--device", "cpu", f"training.seed={seed}", *args.set]
    if not args.own_weights:
        train.append(f"network.weights={start(root, seed, args).name}")
    took = timed(train, root / f"itkit_{seed}.log", {})
    source = root / "validation"
    if not source.exists():
        source.mkdir()
        for number in range(TRAIN, CASES):
            name = f"case_{number:02d}.nii.gz"
            (source / name).symlink_to(root / "data" / "image" / name)
    infer = [*itkit, "infer", run / "checkpoints" / "last.ckpt", source, root / f"found_{seed}", "--device", "cpu"]
    subprocess.run([*infer, "--window-scheme", "nnunet"], check=True, capture_output=True)
    return dice(root, root / f"found_{seed}"), took


def theirs(root, seed, args):
    results = root / f"results_{seed}"
    results.mkdir()
    more = {"nnUNet_results": str(results), "nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1", "PYTHONPATH": ""}
    python = args.nnunet_bin / "python"
    words = [python, HERE / "scripts" / "nnunet_train.py", seed, args.epochs, args.steps]
    took = timed(words, root / f"nnunet_{seed}.log", more)
    return dice(root, next(results.rglob("validation"))), took


SIDES = {"ITKIT": ours, "nnU-Net": theirs}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--steps", type=int, default=20, help="steps of an epoch")
    parser.add_argument("--sides", nargs="+", default=list(SIDES))
    parser.add_argument("--set", nargs="*", default=[], help="other values of ITKIT's plan, as section.key=value")
    parser.add_argument("--own-weights", action="store_true", help="let ITKIT draw its initial weights")
    parser.add_argument("--nnunet-bin", type=Path, required=True)
    parser.add_argument("--keep", type=Path, help="a folder to work in, which is kept")
    args = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", PYTHONPATH=str(HERE.parent))
    with tempfile.TemporaryDirectory() as folder:
        root = args.keep or Path(folder)
        root.mkdir(exist_ok=True)
        use(root)
        if not (root / "plan.toml").exists():
            write_cases(root)
            write_plan(root, plan_nnunet(root, args.nnunet_bin), args)
        names = ", ".join(LABELS.values())
        print(f"| seed | side | mean Dice | {names} | CPU s |\n|---|---|---|---|---|")
        means = {side: [] for side in args.sides}
        for seed in range(args.first, args.first + args.seeds):
            for side in args.sides:
                found, took = SIDES[side](root, seed, args)
                means[side].append(statistics.mean(found))
                each = ", ".join(f"{one:.3f}" for one in found)
                print(f"| {seed} | {side} | {means[side][-1]:.4f} | {each} | {took:.0f} |", flush=True)
        for side, found in means.items():
            print(f"| mean | {side} | {statistics.mean(found):.4f} | | |")
        if len(means) == len(SIDES):
            difference = statistics.mean(means["ITKIT"]) - statistics.mean(means["nnU-Net"])
            verdict = "met" if difference >= -0.01 else "missed"
            print(f"\nITKIT - nnU-Net: {difference:+.4f} (aim: not below by more than 0.01: {verdict})")


if __name__ == "__main__":
    main()
