"""Sliding windows beside MONAI's, and logits back on the original grid beside nnU-Net's; prints a table.

Each side runs in a process of its own, in turns. CPU time and memory are those of the work alone: without imports, and
above what was in memory before it began.

Usage::

    python benchmarks/inference.py --rounds 3 --nnunet-python /path/to/a/venv/with/nnunetv2/bin/python
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

PATCH, VOLUME = (96, 96, 96), (192, 224, 224)
LOW, HIGH = (80, 120, 120), (133, 205, 211)


def network(classes):
    import torch

    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Conv3d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(8, classes, 1))
    return layers.eval()


def volume():
    import torch

    return torch.randn(1, 1, *VOLUME, generator=torch.Generator().manual_seed(1))


def monai_windows(classes):
    import torch
    from monai.inferers import sliding_window_inference

    net, image = network(classes), volume()

    def work():
        with torch.no_grad():
            logits = sliding_window_inference(image, PATCH, 1, net, overlap=0.5, mode="gaussian")
            return logits.argmax(1).to(torch.uint8).numpy()

    return work


def our_windows(classes):
    from itkit.models.windows import SlidingWindow

    net, image = network(classes), volume()
    return lambda: SlidingWindow(patch_size=PATCH, overlap=0.5).labels(net, image).numpy()


def logits():
    import numpy as np
    from scipy.ndimage import zoom

    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(9, 8, 12, 12)).astype(np.float32)
    smooth = np.stack([zoom(one, (10, 10, 10), order=1) for one in coarse])
    return (smooth + rng.normal(size=smooth.shape) * 0.1).astype(np.float32)


def spacings():
    return (1.5,) * 3, tuple(1.5 * low / high for low, high in zip(LOW, HIGH, strict=True))


def nnunet_restore(_):
    import torch
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

    torch.set_num_threads(1)
    values = logits()

    def work():
        found = resample_data_or_seg_to_shape(
            values, HIGH, *spacings(), is_seg=False, order=1, order_z=0, force_separate_z=None
        )
        return torch.from_numpy(found).argmax(0).numpy().astype("uint8")

    return work


def our_restore(_):
    from itkit.inference import restore_labels

    values = logits()
    return lambda: restore_labels(values, HIGH, *spacings())


SIDES = {f.__name__: f for f in (monai_windows, our_windows, nnunet_restore, our_restore)}


def child(name, classes, out):
    import numpy as np

    work = SIDES[name](classes)
    peak = Path("/proc/self/clear_refs")
    before = resident()
    peak.write_text("5")  # the highest mark starts again from here
    begin = time.process_time()
    found = work()
    cost = {"cpu_s": time.process_time() - begin, "mib": (highest() - before) / 1024}
    np.save(out, found)
    print(json.dumps(cost))


def resident():
    return status("VmRSS")


def highest():
    return status("VmHWM")


def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def run(python, name, classes, out):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if "our" in name:
        environment["PYTHONPATH"] = str(Path(__file__).parent.parent)
    call = [python, __file__, "--child", name, str(classes), str(out)]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def compare(title, ours, theirs, classes, rounds, folder):
    import numpy as np

    costs = {0: [], 1: []}
    for _ in range(rounds):
        for side, (python, name) in enumerate((ours, theirs)):
            costs[side].append(run(python, name, classes, folder / f"{side}.npy"))
    pairs = list(zip(*costs.values(), strict=True))
    cpu = statistics.median(a["cpu_s"] / b["cpu_s"] for a, b in pairs)
    mine, other = (statistics.median(cost["mib"] for cost in costs[side]) for side in (0, 1))
    seconds = [statistics.median(cost["cpu_s"] for cost in costs[side]) for side in (0, 1)]
    a, b = np.load(folder / "0.npy"), np.load(folder / "1.npy")
    differ = int((a != b).sum())
    print(
        f"| {title} | {cpu:.2f} | {seconds[0]:.2f} / {seconds[1]:.2f} | {mine / other:.2f} | {mine:.0f} / {other:.0f} | "
        f"{differ} of {a.size} |"
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nnunet-python", default="")
    parser.add_argument("--child", nargs=3)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], int(args.child[1]), args.child[2])
        return
    print(
        "| job | CPU, ours / theirs | CPU s | memory, ours / theirs | MiB | labels that differ |\n|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        for classes in (9, 61):
            title = f"sliding window, {classes} classes, to labels / MONAI"
            compare(
                title, (sys.executable, "our_windows"), (sys.executable, "monai_windows"), classes, args.rounds, here
            )
        if args.nnunet_python:
            title = "logits to the original grid, 9 classes / nnU-Net"
            compare(
                title, (sys.executable, "our_restore"), (args.nnunet_python, "nnunet_restore"), 9, args.rounds, here
            )


if __name__ == "__main__":
    main()
