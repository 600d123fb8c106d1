"""What only a GPU can show, in one run of less than ten minutes: training, inference, memory, augmentation, planning.

Usage::

    python benchmarks/gpu_check.py                # writes GPU.md beside it; says "no GPU" where there is none, and ends with 0
    python benchmarks/gpu_check.py --device cpu   # the same parts, small, on the CPU: a test of this script; writes nothing

Each part stands alone: one that fails is named, the others go on, and the script ends with 1. No part begins after eight
minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
LAST_BEGIN_S = 480
WARM = 5
SPREAD = 0.03
"""Part by which the first loss of 16 bits may differ from that of 32."""


@dataclass(frozen=True)
class Scale:
    """How large the parts are on a device."""

    patch: int
    features: tuple[int, ...]
    batch: int
    steps: int
    precisions: tuple[str, ...]
    workers: int
    augmented: int
    minutes: float


SCALES = {
    "cuda": Scale(96, (32, 64, 128, 256, 320), 2, 60, ("32", "bf16", "16"), 8, 128, 30),
    "cpu": Scale(32, (8, 16, 24), 2, 8, ("32", "bf16"), 0, 32, 0.5),
}


class Check:
    """The run: a device, a folder with data, and what was found."""

    def __init__(self, device, root):
        self.device, self.root, self.scale = device, root, SCALES[device]
        self.lines, self.wrong, self.found = [], [], []

    def table(self, title, *columns):
        self.say(f"\n## {title}\n", "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|")

    def row(self, *cells):
        self.say("| " + " | ".join(str(cell) for cell in cells) + " |")

    def say(self, *lines):
        self.lines += lines
        print("\n".join(lines), flush=True)

    def expect(self, holds, what):
        self.found.append(f"- {'holds' if holds else '**does not hold**'}: {what}")
        if not holds:
            self.wrong.append(what)

    def tell(self):
        """Write what a part was expected to show."""
        if self.found:
            self.say("", *self.found)
        self.found = []

    def plan(self, **training):
        from itkit.training.plan_file import make_plan

        scale, augment = self.scale, training.pop("augment", {})
        stages = len(scale.features)
        return make_plan(
            {
                "dataset": {"path": str(self.root / "data"), "channels": ["CT"], "labels": self.labels},
                "preprocess": {
                    "spacing": [1, 1, 1] if self.device == "cpu" else [3, 3, 3],
                    "intensity": {"scheme": "ct", "low": -160, "high": 240, "mean": 40, "sd": 80},
                },
                "network": {
                    "name": "unet",
                    "options": {"strides": [1] + [2] * (stages - 1), "features_per_stage": list(scale.features)},
                },
                "training": {
                    "patch_size": [scale.patch] * 3, "batch_size": scale.batch, "epochs": 1, "optimizer": "torch.optim.AdamW",
                    "optimizer_options": {}, "learning_rate": 1e-3, "scheduler": "constant",
                    "steps_per_epoch": scale.steps, "workers": scale.workers, "foreground": 1.0, **training,
                },
                "augment": augment,
                "split": {"folds": 1},
            }
        )  # fmt: skip

    @property
    def labels(self):
        path = self.root / "data" / "dataset.json"
        found = json.loads(path.read_text())["labels"] if path.is_file() else {1: "box"}
        return {int(value): name for value, name in found.items() if int(value) > 0}


def write_data(device, folder):
    """Write the CT that comes with ITKIT; two small cases for a CPU."""
    if device == "cpu":
        from scripts.make_boxes import write_cases

        write_cases(folder)
    else:
        from itkit.cli.demo import write_torso_dataset

        write_torso_dataset(folder)


def synchronized(device):
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def trained(check, name, **plan):
    """Train, and return losses, seconds of each step after the warm ones, and the largest memory, bytes."""
    import torch
    from lightning.pytorch import Callback

    from itkit.lightning import fit

    class Clock(Callback):
        times = ()

        def on_train_batch_end(self, *_):
            self.times = (*self.times, synchronized(check.device))

    if check.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    clock, run = Clock(), check.root / name
    fit(
        check.plan(**plan), run, prepared=check.root / "prepared",
        accelerator="gpu" if check.device == "cuda" else "cpu", callbacks=[clock], on_event=lambda _: None,
        enable_progress_bar=False,
    )  # fmt: skip
    peak = torch.cuda.max_memory_allocated() if check.device == "cuda" else 0
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [event["train_loss"] for event in events if "train_loss" in event]
    gaps = [after - before for before, after in zip(clock.times, clock.times[1:], strict=False)][WARM:]
    return losses, statistics.median(gaps), peak


def machine(check):
    import torch

    check.say(f"# {'GPU' if check.device == 'cuda' else 'The same parts on a CPU'}\n", "Written by `make gpu-check`.\n")
    where = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    if check.device == "cuda":
        facts = torch.cuda.get_device_properties(0)
        where = f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, compute {facts.major}.{facts.minor}; {where}"
    check.say(f"{where}; PyTorch {torch.__version__}, CUDA {torch.version.cuda}, Python {platform.python_version()}")


def precisions(check):
    """Training steps in each type: they learn, and 16 bits begin where 32 do."""
    scale = check.scale
    check.table(
        f"Training steps: U-Net {scale.features}, {scale.batch} patches of {scale.patch}³, {scale.workers} loader workers",
        "precision", "ms a step (median)", "patches a second", "peak GiB", "first loss", "mean of the last ten",
    )  # fmt: skip
    first = {}
    for precision in scale.precisions:
        losses, seconds, peak = trained(check, f"run_{precision}", precision=precision)
        ends = statistics.mean(losses[-10:])
        first[precision] = losses[0]
        check.row(
            precision, f"{1000 * seconds:.1f}", f"{scale.batch / seconds:.1f}", f"{peak / 2**30:.2f}",
            f"{losses[0]:.4f}", f"{ends:.4f}",
        )  # fmt: skip
        check.expect(all(map(math.isfinite, losses)), f"{precision}: all losses are finite")
        if check.device == "cuda":
            check.expect(ends < losses[0], f"{precision}: the loss falls")
    for precision, loss in first.items():
        near = abs(loss / first["32"] - 1)
        check.expect(near <= SPREAD, f"{precision}: the first loss differs from that of 32 bits by {near:.4f} of it")


def memory(check):
    """What `itkit train` expects of a step before it begins, beside what the step takes."""
    import torch

    from itkit.lightning import SegmentationTask
    from itkit.training.memory import measure_step

    types = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}
    check.table("Memory of a step", "precision", "expected before the first step, GiB", "measured, GiB")
    for precision in check.scale.precisions:
        task = SegmentationTask(check.plan(precision=precision)).to(check.device)
        patch = (check.scale.patch,) * 3
        expected = measure_step(task.network, task.loss, 1, patch, dtype=types[precision]).of(check.scale.batch)
        peak = 0
        if check.device == "cuda":
            del task
            torch.cuda.empty_cache()
            peak = trained(check, f"memory_{precision}", precision=precision, steps_per_epoch=WARM + 3)[2]
            check.expect(peak <= 1.25 * expected, f"{precision}: a step takes no more than 1.25 of what was expected")
        check.row(precision, f"{expected / 2**30:.2f}", f"{peak / 2**30:.2f}" if peak else "-")


def augmentation(check):
    """Augmentation on the device: as on the CPU, and what it costs."""
    import numpy as np
    import torch

    from itkit.training.augmenting import Augmentation, AugmentSettings

    size = check.scale.augmented
    image = torch.randn(1, size, size, size, generator=torch.Generator().manual_seed(0)).clamp_(-3, 3)
    label = (image[0] > 0.5).to(torch.uint8)
    there = image.to(check.device), label.to(check.device)
    quiet = AugmentSettings(
        noise=0, rotation=1, scale=1, elastic=1, blur=1, blur_per_channel=1, brightness=1, contrast=1,
        low_resolution=1, low_resolution_per_channel=1, gamma=1, gamma_inverted=1,
    )  # fmt: skip
    worst, changed = 0.0, 0.0
    for seed in range(4):
        mine, others = (
            Augmentation(quiet)(*pair, np.random.default_rng(seed)) for pair in ((image, label), there)
        )  # fmt: skip
        gap = (mine[0] - others[0].cpu()).abs()
        worst = max(worst, float(torch.quantile(gap.flatten()[:: max(1, gap.numel() // 10**6)], 0.999)))
        changed = max(changed, float((mine[1] != others[1].cpu()).float().mean()))
    check.expect(
        worst < 0.02 and changed < 1e-3,
        f"augmented on {check.device} as on the CPU: 99.9 % of the voxels within {worst:.1e}, {changed:.1e} of the labels differ",
    )
    check.table(f"Augmentation of a patch of {size}³", "where", "kinds", "ms a patch")
    places = {"CPU, one thread": (image, label), **({"GPU": there} if check.device == "cuda" else {})}
    threads = torch.get_num_threads()
    for where, pair in places.items():
        torch.set_num_threads(1 if where != "GPU" else threads)
        for kinds, settings in (("nnU-Net's, with their probabilities", AugmentSettings()), ("all at once", quiet)):
            augment, count = Augmentation(settings), 40 if settings is not quiet else 8
            augment(*pair, np.random.default_rng(99))
            begin = synchronized(check.device)
            for seed in range(count):
                augment(*pair, np.random.default_rng(seed))
            check.row(where, kinds, f"{1000 * (synchronized(check.device) - begin) / count:.1f}")
    torch.set_num_threads(threads)
    check.table("Training steps by where patches are augmented", "augment.on", "loader workers", "ms a step (median)")
    for where, workers in (("worker", check.scale.workers), ("device", min(2, check.scale.workers))):
        losses, seconds, _ = trained(
            check, f"augment_{where}", precision=check.scale.precisions[1], workers=workers,
            augment={"on": where}, steps_per_epoch=min(30, check.scale.steps),
        )  # fmt: skip
        check.row(where, workers, f"{1000 * seconds:.1f}")
        check.expect(all(map(math.isfinite, losses)), f"augmented on the {where}: all losses are finite")


def infer(check, device, *options):
    """Apply the network that was trained in 32 bits from the shell; return label maps and seconds of the cases."""
    from itkit.io.sitk_toolkit import read_volume

    dest = check.root / "-".join(["found", device, *(option.strip("-") for option in options)])
    words = ["infer", check.root / "run_32", check.root / "data" / "image", dest, "--device", device, *options]
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "itkit", *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - begin
    cases = json.loads((dest / "infer_meta.json").read_text())["cases"]
    spent = sum(case["seconds"] for case in cases.values())
    return {path.name: read_volume(path, "label").array_zyx for path in sorted(dest.glob("*.mha"))}, wall, spent


def mean_dice(one, other):
    import numpy as np

    scores = []
    for name, label in one.items():
        for value in np.unique(label)[1:]:
            a, b = label == value, other[name] == value
            scores.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    return float(np.mean(scores)) if scores else 1.0


def inference(check):
    """`itk_infer` on the GPU: the CPU's labels in 32 bits, and how far 16 bits and --skip-air are from them."""
    cpu, wall, spent = infer(check, "cpu")
    voxels = sum(label.size for label in cpu.values())
    check.table(
        f"`itk_infer`, {len(cpu)} volumes, {voxels / 1e6:.1f} million voxels", "device", "options", "s, start-up included",
        "s of the volumes", "labels that differ from the CPU's", "mean Dice with the CPU's",
    )  # fmt: skip
    check.row("cpu", "-", f"{wall:.1f}", f"{spent:.1f}", "-", "-")
    for options in ((), ("--batch", "4"), ("--precision", "bf16"), ("--precision", "16"), ("--skip-air",)):
        if check.device == "cpu" and "16" in options:
            continue
        found, wall, spent = infer(check, check.device, *options)
        differ = sum(int((found[name] != label).sum()) for name, label in cpu.items()) / voxels
        score = mean_dice(cpu, found)
        check.row(
            check.device, " ".join(options) or "-", f"{wall:.1f}", f"{spent:.1f}", f"{differ:.1e}", f"{score:.5f}"
        )
        if not options:
            check.expect(differ <= 1e-3 and score >= 0.999, "the labels of 32 bits are the CPU's, but for rounding")


def planning(check):
    """`itkit plan` on this device: how near its expectation of a step is."""
    path, scale = check.root / "plan.toml", check.scale
    words = ["plan", check.root / "data", "-o", path, "--device", check.device, "--minutes", scale.minutes]
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "itkit", *map(str, words)], check=True, capture_output=True, text=True)
    took = time.perf_counter() - begin
    check.say(
        f"\n## `itkit plan`\n\nIt took {took:.0f} s and says:\n\n```",
        done.stdout.replace(str(check.root), "").strip(),
        "```",
    )


PARTS = (machine, precisions, memory, inference, augmentation, planning)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=tuple(SCALES), default="cuda")
    parser.add_argument("--parts", nargs="+", default=[part.__name__ for part in PARTS])
    parser.add_argument("--no-write", action="store_true")
    args = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
    sys.path.insert(0, str(HERE.parent))
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        print("no GPU")
        return 0
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_data(args.device, root / "data")
        check = Check(args.device, root)
        for part in PARTS:
            if part.__name__ not in args.parts:
                continue
            if time.monotonic() - begin > LAST_BEGIN_S:
                check.expect(False, f"there was time for {part.__name__}")
                continue
            try:
                part(check)
                check.tell()
            except (Exception, SystemExit):  # noqa: BLE001 - the other parts go on
                text = traceback.format_exc()
                check.say("", f"{part.__name__} failed:", "", "```", text.strip()[-1500:].replace(str(root), ""), "```")
                check.wrong.append(part.__name__)
        check.say(
            f"\n{time.monotonic() - begin:.0f} s; {'all holds' if not check.wrong else 'wrong: ' + '; '.join(check.wrong)}."
        )
    if args.device == "cuda" and not args.no_write:
        with contextlib.suppress(OSError):
            (HERE / "GPU.md").write_text("\n".join(check.lines) + "\n", encoding="utf-8")
    return 1 if check.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
