"""From the shell to the first training step, and to the prediction of a small volume, beside nnU-Net; prints a table.

The same prepared cases and network on both sides (those of ``quality.py``), in turns, start-up included; wall and CPU
seconds of all processes.

Usage::

    python benchmarks/startup.py --rounds 5 --nnunet-bin /path/to/a/venv/with/nnunetv2/bin
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path

import quality

HERE = Path(__file__).parent
ITKIT = [sys.executable, "-m", "itkit"]
PLAIN = {"PYTHONPATH": "", "nnUNet_def_n_proc": "1"}


def measured(command, ready, environment):
    """Run a command until it is ready, or ends; return wall and CPU seconds of it and its processes."""
    before, begin = os.times(), time.perf_counter()
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            [str(word) for word in command], env={**os.environ, **environment}, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        while child.poll() is None and not ready():
            time.sleep(0.005)
        wall = time.perf_counter() - begin
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        elif child.returncode not in (0, -signal.SIGKILL):
            log.seek(0)
            raise SystemExit(f"{command}: {log.read().decode()[-2000:]}")
        child.wait()
    after = os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def never():
    return False


def first_step(root, args):
    run = root / "run_first"
    shutil.rmtree(run, ignore_errors=True)
    metrics = run / "metrics.jsonl"
    words = [*ITKIT, "train", root / "plan.toml", "-o", run, "--device", "cpu", "--progress", "none"]
    return measured(words, lambda: metrics.is_file() and metrics.stat().st_size > 0, {})


def first_step_nnunet(root, args):
    words = [
        args.nnunet_bin / "python",
        HERE / "scripts" / "nnunet_first_step.py",
        "1",
        "3d_fullres",
        "0",
        "-device",
        "cpu",
    ]
    return measured(words, never, PLAIN)


def first_step_bare(root, args):
    return measured([sys.executable, HERE / "scripts" / "lightning_first_step.py", root / "plan.toml"], never, {})


def predicted(root, args):
    found = root / "found"
    shutil.rmtree(found, ignore_errors=True)
    words = [*ITKIT, "infer", root / "run", root / "one", found, "--device", "cpu", "--window-scheme", "nnunet"]
    cost = measured(words, never, {})
    assert len(list(found.glob("*.mha"))) == 1
    return cost


def predicted_nnunet(root, args):
    found = root / "found_nnunet"
    shutil.rmtree(found, ignore_errors=True)
    words = ["nnUNetv2_predict", "-i", root / "one_nnunet", "-o", found, "-d", "1", "-c", "3d_fullres", "-f", "0"]
    more = ["-device", "cpu", "--disable_tta", "-npp", "1", "-nps", "1"]
    cost = measured([args.nnunet_bin / words[0], *words[1:], *more], never, PLAIN)
    assert len(list(found.glob("*.nii.gz"))) == 1
    return cost


AIM = 0.3
JOBS = {
    "`itkit train` to its first step / `nnUNetv2_train`": (AIM, first_step, first_step_nnunet),
    "`itkit train` to its first step / a bare script with Lightning, one step": (None, first_step, first_step_bare),
    "`itk_infer` of a volume of 40 x 44 x 48 / `nnUNetv2_predict`": (AIM, predicted, predicted_nnunet),
}


def prepare(root, args):
    """Prepare the cases for both, and train both for one step, so that there is something to predict with."""
    quality.write_cases(root)
    quality.write_plan(root, quality.plan_nnunet(root, args.nnunet_bin), Namespace(epochs=1, steps=1))
    words = [*ITKIT, "train", root / "plan.toml", "-o", root / "run", "--device", "cpu", "--progress", "none"]
    subprocess.run(words, check=True, capture_output=True)
    nnunet = [args.nnunet_bin / "python", HERE / "scripts" / "nnunet_train.py", "0", "1", "1"]
    subprocess.run([str(word) for word in nnunet], check=True, capture_output=True, env={**os.environ, **PLAIN})
    for place, ending in (("one", ""), ("one_nnunet", "_0000")):
        (root / place).mkdir()
        name = f"case_{quality.TRAIN:02d}"
        shutil.copy(root / "data" / "image" / f"{name}.nii.gz", root / place / f"{name}{ending}.nii.gz")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nnunet-bin", type=Path, required=True)
    parser.add_argument("--only", default="", help="jobs with this in their name")
    args = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", PYTHONPATH=str(HERE.parent))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        quality.use(root)
        prepare(root, args)
        print("| from the shell | wall, ours / theirs | wall s | CPU, ours / theirs | CPU s |\n|---|---|---|---|---|")
        for name, (aim, *sides) in JOBS.items():
            if args.only not in name:
                continue
            costs = [[side(root, args) for side in sides] for _ in range(args.rounds)]
            cells = []
            for kind in (0, 1):
                ours, theirs = ([cost[side][kind] for cost in costs] for side in (0, 1))
                ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
                verdict = f" (aim {aim}: {'met' if ratio <= aim else 'missed'})" if kind == 0 and aim else ""
                cells += [f"{ratio:.2f}{verdict}", f"{statistics.median(ours):.1f} / {statistics.median(theirs):.1f}"]
            print("| " + " | ".join([name, *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
