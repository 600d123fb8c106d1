"""Keep what the tests need of reference files: one pair of logits and targets, values, every seventh gradient.

Each ``losses__<name>.npz`` holds logits ``(2, 4, 8, 10, 12)``, target, value and gradient of a loss of MONAI 1.6.1,
nnU-Net 2 or segmentation_models_pytorch 0.6, which its ``.json`` names. ``python shrink.py FOLDER`` writes
``losses.npz`` and ``losses.json`` beside this file.
"""

import json
import sys
from pathlib import Path

import numpy as np

STRIDE = 7


def main(folder):
    facts, arrays = {}, {}
    for path in sorted(folder.glob("losses__*.npz")):
        name = path.stem.removeprefix("losses__")
        with np.load(path) as stored:
            arrays["logits"] = stored["logits"]
            target = stored["target"][:, 0].astype(np.uint8)
            place = "target" if np.array_equal(arrays.setdefault("target", target), target) else f"target.{name}"
            arrays[place] = target
            arrays[f"grad.{name}"] = stored["grad"].ravel()[::STRIDE]
        facts[name] = {**json.loads(path.with_suffix(".json").read_text()), "target": place}
    here = Path(__file__).parent
    np.savez_compressed(here / "losses.npz", **arrays)
    (here / "losses.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
