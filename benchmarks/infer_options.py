"""What the quicker ways of ``itk_infer`` cost in Dice: a trained model and a dataset with labels; prints a table.

Usage::

    python benchmarks/infer_options.py RUN_OR_MODEL DATASET --cases 1
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import measure
import numpy as np

WAYS = {
    "as it is (overlap 0.5, 32 bits)": (),
    "`--overlap 0.25`": ("--overlap", "0.25"),
    "`--overlap 0`": ("--overlap", "0"),
    "`--precision bf16`": ("--precision", "bf16"),
    "`--skip-air`": ("--skip-air",),
    "`--flips YX`": ("--flips", "YX"),
}


def dice(one, other):
    values = np.unique(other)
    pairs = [(one == value, other == value) for value in values[values > 0]]
    return [2 * float((a & b).sum()) / float(a.sum() + b.sum()) for a, b in pairs]


def main():
    from itkit.io.sitk_toolkit import read_volume

    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--cases", type=int, default=1)
    args = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", PYTHONPATH=str(Path(__file__).parent.parent))
    model = next(path for path in (args.model / "model", args.model) if (path / "model.json").is_file())
    known = {int(value) for value in json.loads((model / "model.json").read_text())["labels"]}
    images = sorted((args.dataset / "image").iterdir())[: args.cases]
    print(
        "| way | windows | CPU s | mean Dice with the truth | difference | least Dice of a class with the first row |\n|---|---|---|---|---|---|"
    )
    first = None
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "image").mkdir()
        for path in images:
            (root / "image" / path.name).symlink_to(path.resolve())
        for number, (name, options) in enumerate(WAYS.items()):
            dest = root / f"found_{number}"
            words = [sys.executable, "-m", "itkit", "infer", model, root / "image", dest, "--device", "cpu", *options]
            cost = measure.run(words)
            windows = sum(
                one["windows"] for one in json.loads((dest / "infer_meta.json").read_text())["cases"].values()
            )
            found = [read_volume(path, "label").array_zyx for path in sorted(dest.glob("*.mha"))]
            truth = [read_volume(args.dataset / "label" / path.name, "label").array_zyx for path in images]
            truth = [np.where(np.isin(label, list(known)), label, 0) for label in truth]
            score = statistics.mean(one for pair in zip(found, truth, strict=True) for one in dice(*pair))
            first = first or (found, score)
            least = min(one for pair in zip(found, first[0], strict=True) for one in dice(*pair))
            print(
                f"| {name} | {windows} | {cost.cpu_s:.1f} | {score:.4f} | {score - first[1]:+.4f} | {least:.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
