"""The log of a training that never was, for pictures of the pages that watch one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import itkit
from itkit.core.thumbnail import png
from itkit.inference.model_folder import Intensity
from itkit.training.overlays import overlay_picture

TORSO = Path(itkit.__file__).parent / "data" / "torso"
_CLASSES = {"liver": 5, "spleen": 1, "kidney_right": 2}
"""Classes of the training, in their order, and their values in the torso's label."""
_MISSED_AT_FIRST = dict(zip(_CLASSES, (0.5, 0.8, 0.55), strict=True))


def write_log(run: Path, steps: int = 600, epoch: int = 50) -> None:
    """Write ``metrics.jsonl`` and an empty folder of overlays."""
    (run / "overlays").mkdir(parents=True)
    lines = []
    for step in range(1, steps + 1):
        loss = 0.15 + 0.9 / (1 + step / 60) + 0.05 * ((step * 7919) % 13 / 13 - 0.5)
        lines.append({"step": step, "epoch": step // epoch, "train_loss": loss, "learning_rate": 0.01, "seconds": step})
        if step % epoch == 0:
            dice = {name: {"dice": 0.95 - much / (1 + step / 80)} for name, much in _MISSED_AT_FIRST.items()}
            mean = sum(one["dice"] for one in dice.values()) / len(dice)
            lines.append({"step": step, "epoch": step // epoch, "val_dice": mean, "classes": dice})
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def overlay() -> bytes:
    """Draw a picture as a training draws one of a validation case; what it found is the truth, a voxel off."""
    image, truth = (itkit.read(TORSO / f"{kind}.nii.gz", kind) for kind in ("image", "label"))
    kept = np.zeros_like(truth.array_zyx)
    for number, value in enumerate(_CLASSES.values(), 1):
        kept[truth.array_zyx == value] = number
    drawn = overlay_picture(
        image.array_zyx.astype(np.float32),
        kept,
        np.roll(kept, (1, 2), (1, 2)),
        spacing_zyx=image.spacing_zyx,
        orient=image.geometry.orientation,
        intensity=Intensity(scheme="ct", low=-1000.0, high=1000.0, mean=0.0, sd=1.0),
        values=range(len(_CLASSES) + 1),
    )
    return png(drawn)
