"""The log of a training that never was, for pictures of the pages that watch one."""

from __future__ import annotations

import json
from pathlib import Path


def write_log(run: Path, steps: int = 600, epoch: int = 50) -> None:
    """Write ``metrics.jsonl`` and an empty folder of overlays."""
    (run / "overlays").mkdir(parents=True)
    lines = []
    for step in range(1, steps + 1):
        loss = 0.15 + 0.9 / (1 + step / 60) + 0.05 * ((step * 7919) % 13 / 13 - 0.5)
        lines.append({"step": step, "epoch": step // epoch, "train_loss": loss, "learning_rate": 0.01, "seconds": step})
        if step % epoch == 0:
            dice = {name: {"dice": 0.95 - much / (1 + step / 80)} for name, much in (("liver", 0.5), ("spleen", 0.8))}
            mean = sum(one["dice"] for one in dice.values()) / len(dice)
            lines.append({"step": step, "epoch": step // epoch, "val_dice": mean, "classes": dice})
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
