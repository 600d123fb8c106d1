"""What a window shows of a training, from the folder into which ``itkit train`` writes: curves, pictures, a line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

from itkit.training.history import METRICS_JSONL, History, add, dice_of, parse_line

PICTURES = "overlays"
LOSS, DICE = "Loss by step", "Dice of the validation by step"
_MOST_BYTES = 1 << 24
_MOST_POINTS = 1500
_MOST_PICTURES = 500
_MEAN_OF = 25

Points = Sequence[tuple[float, float]]


def is_training(folder: Path) -> bool:
    """Return whether a folder is one of a training that has begun."""
    return (folder / METRICS_JSONL).is_file()


class RunLog:
    """The log of a run, read on from where it was left."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / METRICS_JSONL
        self.history = History()
        self._at = 0

    def update(self) -> bool:
        """Read what has been added; return whether there is anything new. A log that was begun anew is read anew."""
        try:
            size = self.path.stat().st_size
            if size < self._at:
                self.history, self._at = History(), 0
            if size == self._at:
                return False
            with self.path.open("rb") as file:
                file.seek(self._at)
                data = file.read(_MOST_BYTES)
        except OSError:
            return False
        whole = data.rfind(b"\n") + 1
        self._at += whole
        for line in data[:whole].decode("utf-8", "replace").splitlines():
            add(self.history, parse_line(line))
        return whole > 0


def curves_of(history: History) -> dict[str, dict[str, Points]]:
    """Return the curves of a training by plot and name; the first of a plot is the one that counts.

    Examples
    --------
    >>> from itkit.training.history import Step, Validation
    >>> history = History([Step(1, 0, 0.5, 0.01, 1.0)], [Validation(1, 0, 0.8, {"liver": {"dice": 0.8}})])
    >>> curves_of(history)["Dice of the validation by step"]
    {'mean': [(1.0, 0.8)], 'liver': [(1.0, 0.8)]}
    """
    each = [(float(one.step), one.train_loss) for one in history.steps]
    losses: dict[str, Points] = {"each": thinned(each)}
    if len(each) > _MEAN_OF:
        losses = {f"mean of {_MEAN_OF}": thinned(_running_mean(each)), **losses}
    names = dict.fromkeys(name for one in history.validations for name in one.classes)
    dice = {"mean": dice_of(history)} | {name: dice_of(history, name) for name in names}
    return {LOSS: losses, DICE: {name: thinned([(float(x), y) for x, y in line]) for name, line in dice.items()}}


def _running_mean(points: Points) -> Points:
    mean, total = [], 0.0
    for at, (step, value) in enumerate(points):
        total += value - (points[at - _MEAN_OF][1] if at >= _MEAN_OF else 0.0)
        mean.append((step, total / min(at + 1, _MEAN_OF)))
    return mean


def thinned(points: Points) -> Points:
    """Return as many points of a curve as a plot can show, the last among them."""
    step = max(1, len(points) // _MOST_POINTS)
    return [*points[:-1:step], *points[-1:]]


def state_of(name: str, history: History) -> str:
    """Return how far a training is, in a line.

    Examples
    --------
    >>> state_of("run", History())
    'run: nothing has been logged yet; metrics.jsonl is waited for.'
    """
    parts = []
    if history.steps:
        last = history.steps[-1]
        parts.append(f"step {last.step}, epoch {last.epoch}, loss {last.train_loss:.4g}")
    if history.best is not None:
        parts.append(f"best Dice {history.best.val_dice:.4f} after step {history.best.step}")
    return f"{name}: " + ("; ".join(parts) or f"nothing has been logged yet; {METRICS_JSONL} is waited for.")


def pictures_in(folder: Path) -> dict[Path, int]:
    """Return the pictures of validation cases, with the time at which each was written, ns."""
    found: dict[Path, int] = {}
    for path in islice(sorted(_pngs(folder / PICTURES)), _MOST_PICTURES):
        try:
            found[path] = path.stat().st_mtime_ns
        except OSError:  # it is being replaced
            continue
    return found


def _pngs(folder: Path) -> Iterable[Path]:
    for here, _, names in os.walk(folder):
        yield from (Path(here) / name for name in names if name.endswith(".png"))


def last_values(curves: Mapping[str, Points]) -> str:
    """Return the last value of each curve, for those who hear a plot."""
    last = [f"{name} {points[-1][1]:.4g}" for name, points in curves.items() if points]
    return "last values: " + ", ".join(last) if last else "nothing yet"
