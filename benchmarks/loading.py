"""One augmented patch from store to tensor beside nnU-Net's, MONAI's and TorchIO's loaders; prints a table.

All draw nnU-Net's augmentations with its probabilities, a third of the patches around foreground. Each side runs in a
process of its own with one thread, in turns; CPU seconds a patch, imports and the first patches left out. ITKIT reads
prepared cases (mapped arrays), nnU-Net its own store (Blosc2); MONAI and TorchIO find the volumes in memory.

Usage::

    python benchmarks/loading.py --rounds 3 --peers /path/to/a/venv/with/nnunetv2/monai/torchio/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
CASE_ZYX, CASES = (160, 224, 224), 2
FOREGROUND = 0.33
WARM = 4
AIMS = {96: (("the best of them", 0.25),), 128: (("MONAI", 0.4),)}


def write_cases(root):
    """Write CT-like cases as ITKIT reads them, and the same normalised arrays for the others."""
    from scripts.make_data import make_pair

    from itkit.core.geometry import Geometry
    from itkit.core.volume import Volume
    from itkit.dataset.folder import DatasetFolder
    from itkit.io.sitk_toolkit import write_volume
    from itkit.training.prepared import PreparedFolder

    for number in range(CASES):
        for part, array in zip(("image", "label"), make_pair(CASE_ZYX, number), strict=True):
            (root / part).mkdir(parents=True, exist_ok=True)
            write_volume(Volume(array, Geometry(CASE_ZYX, (1.0, 1.0, 1.0)), part), root / part / f"c{number}.mha")
    folder = PreparedFolder(root / "prepared", plan_of(root, 96))
    for number, case in enumerate(DatasetFolder(root).cases):
        found = folder.prepare(case)
        np.save(root / f"{number}_image.npy", found.image())
        np.save(root / f"{number}_label.npy", found.label())


def plan_of(root, size):
    from itkit.training.plan_file import make_plan

    return make_plan(
        {
            "dataset": {
                "path": str(root), "channels": ["CT"], "labels": {n: f"organ {n}" for n in range(1, 15)}
            },
            "preprocess": {
                "spacing": [1, 1, 1],
                "intensity": {"scheme": "ct", "low": -500, "high": 500, "mean": 0, "sd": 200},
            },
            "network": {"name": "unet"},
            "training": {"patch_size": [size] * 3, "foreground": FOREGROUND},
        }
    )  # fmt: skip


def arrays(root):
    for number in range(CASES):
        yield np.load(root / f"{number}_image.npy"), np.load(root / f"{number}_label.npy")


def itkit(root, size, seed):
    from itkit.dataset.folder import DatasetFolder
    from itkit.training.augmenting import Augmentation
    from itkit.training.patches import TrainingPatches
    from itkit.training.prepared import PreparedFolder

    plan = plan_of(root, size)
    folder = PreparedFolder(root / "prepared", plan)
    cases = [folder.prepare(case) for case in DatasetFolder(root).cases]
    training = plan.training
    patches = TrainingPatches(
        cases, training.patch_size, 1 << 40, foreground=training.foreground, seed=seed,
        augmentation=Augmentation(plan.augment),
    )  # fmt: skip
    return lambda number: patches[number]["image"]


def nnunet(root, size, seed):
    from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
    from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    np.random.seed(seed)  # noqa: NPY002 - what nnU-Net draws from
    store = root / f"nnunet_{size}"
    if not store.exists():
        store.mkdir()
        for number, (image, label) in enumerate(arrays(root)):
            places = {
                value: np.pad(np.argwhere(label == value)[:10000], ((0, 0), (1, 0))) for value in np.unique(label)[1:]
            }
            block, chunk = comp_blosc2_params(image.shape, (size,) * 3, image.itemsize)
            seg_block, seg_chunk = comp_blosc2_params(image.shape, (size,) * 3, 1)
            nnUNetDatasetBlosc2.save_case(
                image, label[None].astype(np.int8), {"class_locations": places}, str(store / f"c{number}"),
                chunks=chunk, blocks=block, chunks_seg=seg_chunk, blocks_seg=seg_block,
            )  # fmt: skip
    angles = (-np.pi / 6, np.pi / 6)
    transforms = nnUNetTrainer.get_training_transforms((size,) * 3, angles, None, (0, 1, 2), False, [False])

    class Labels:
        all_labels, has_ignore_label = list(range(1, 15)), False

    loader = nnUNetDataLoader(
        nnUNetDatasetBlosc2(str(store)), 1, get_patch_size((size,) * 3, angles, angles, angles, (0.85, 1.25)),
        (size,) * 3, Labels(), FOREGROUND, probabilistic_oversampling=True, transforms=transforms,
    )  # fmt: skip
    return lambda _: next(loader)["data"][0]


def monai(root, size, seed):
    import monai.transforms as t
    import torch

    angle, both = np.pi / 6, ["image", "label"]
    sigma = (0.5, 1.0)
    share = FOREGROUND / (1 - FOREGROUND)
    steps = [
        t.RandCropByPosNegLabeld(
            both, "label", (size,) * 3, pos=share, neg=1, fg_indices_key="fg", bg_indices_key="bg"
        ),
        t.RandAffined(
            both, prob=0.36, rotate_range=(angle,) * 3, scale_range=(-0.3, 0.4), mode=("bilinear", "nearest"),
            padding_mode="zeros",
        ),
        t.RandGaussianNoised("image", prob=0.1, std=0.3),
        t.RandGaussianSmoothd("image", sigma, sigma, sigma, prob=0.1),
        t.RandScaleIntensityd("image", 0.25, prob=0.15),
        t.RandScaleIntensityFixedMeand("image", 0.25, preserve_range=True, prob=0.15),
        t.RandSimulateLowResolutiond("image", prob=0.125, zoom_range=(0.5, 1.0)),
        t.RandAdjustContrastd("image", prob=0.1, gamma=(0.7, 1.5), invert_image=True, retain_stats=True),
        t.RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.5), retain_stats=True),
        *(t.RandFlipd(both, prob=0.5, spatial_axis=axis) for axis in range(3)),
    ]  # fmt: skip
    augment = t.Compose(steps).set_random_state(seed)
    ready = []
    for image, label in arrays(root):
        one = {"image": torch.from_numpy(image), "label": torch.from_numpy(label[None])}
        flat = label.ravel() > 0
        ready.append({**one, "fg": np.flatnonzero(flat), "bg": np.flatnonzero(~flat)})
    return lambda number: augment(dict(ready[number % CASES]))[0]["image"]


def torchio(root, size, seed):
    import torch
    import torchio as tio

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    coarse = tio.RandomAnisotropy(downsampling=(1, 2), p=0.125)
    augment = tio.Compose(
        [
            tio.RandomAffine(scales=(0.7, 1.4), degrees=30, isotropic=True, p=0.36),
            tio.RandomNoise(std=(0, 0.3), p=0.1),
            tio.RandomBlur(std=(0.5, 1), p=0.1),
            coarse,
            tio.RandomGamma(log_gamma=(-0.36, 0.4), p=0.37),
            tio.RandomFlip(axes=(0, 1, 2)),
        ]
    )
    subjects = [
        tio.Subject(image=tio.ScalarImage(tensor=torch.from_numpy(image)), label=tio.LabelMap(tensor=label[None]))
        for image, label in arrays(root)
    ]
    samplers = [tio.UniformSampler(size), tio.LabelSampler(size, "label")]

    def patch(number):
        sampler = samplers[rng.random() < FOREGROUND]
        return augment(next(sampler(subjects[number % CASES], 1)))["image"].data

    return patch


SIDES = {"ITKIT": itkit, "nnU-Net": nnunet, "MONAI": monai, "TorchIO": torchio}


def child(side, root, size, count, seed):
    import torch

    torch.set_num_threads(1)
    draw = SIDES[side](root, size, seed)
    for number in range(WARM):
        assert tuple(draw(number).shape) == (1, size, size, size), side
    begin = time.process_time()
    for number in range(WARM, WARM + count):
        draw(number)
    print(json.dumps((time.process_time() - begin) / count))


def run(python, side, root, size, count, seed):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    if side == "ITKIT":
        environment["PYTHONPATH"] = str(HERE.parent)
    call = [python, __file__, "--child", side, root, size, count, seed]
    done = subprocess.run([str(word) for word in call], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side}: {done.stderr[-2000:]}")
    return float(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=150, help="patches of each side in a round")
    parser.add_argument("--sizes", type=int, nargs="+", default=(96, 128))
    parser.add_argument("--sides", nargs="+", default=list(SIDES))
    parser.add_argument("--peers", default=sys.executable, help="Python that has nnunetv2, monai and torchio")
    parser.add_argument("--child", nargs=5)
    args = parser.parse_args()
    if args.child:
        side, root, *numbers = args.child
        child(side, Path(root), *map(int, numbers))
        return
    print("| one augmented patch | " + " | ".join(f"{side}, CPU s" for side in args.sides) + " | ratios |")
    print("|---|" + "---|" * (len(args.sides) + 1))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_cases(root)
        for size in args.sizes:
            costs = {side: [] for side in args.sides}
            for seed in range(args.rounds):
                for side in args.sides:
                    python = sys.executable if side == "ITKIT" else args.peers
                    costs[side].append(run(python, side, root, size, args.count, seed))
            middle = {side: statistics.median(found) for side, found in costs.items()}
            others = {side: cost for side, cost in middle.items() if side != "ITKIT"}
            told = []
            for name, aim in AIMS.get(size, ()) if others else ():
                peer = min(others.values()) if name not in others else others[name]
                ratio = middle["ITKIT"] / peer
                told.append(f"{ratio:.2f} of {name} (aim {aim}: {'met' if ratio <= aim else 'missed'})")
            cells = [f"{size}³", *(f"{cost:.4f}" for cost in middle.values()), "; ".join(told)]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
