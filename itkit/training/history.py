"""What a training has logged: losses of steps, metrics of validations (``metrics.jsonl`` and ``metrics.csv``)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from itkit.core.bounded import parse_json
from itkit.core.text import csv_text as table_text
from itkit.io.json_files import json_line

METRICS_JSONL, METRICS_CSV = "metrics.jsonl", "metrics.csv"


class Step(NamedTuple):
    """A step of the optimiser."""

    step: int
    """Its number, from 1 on."""
    epoch: int
    train_loss: float
    learning_rate: float
    seconds: float
    """Seconds of training until its end, those of interrupted runs included."""


class Validation(NamedTuple):
    """A validation of whole volumes."""

    step: int
    epoch: int
    val_dice: float
    classes: Mapping[str, Mapping[str, float | None]]
    """Metrics by class: ``dice``, ``iou``, ``precision`` and ``recall``."""


class EpochRow(NamedTuple):
    """An epoch, as a row of ``metrics.csv``."""

    epoch: int
    step: int
    """The epoch's last step."""
    train_loss: float
    """Mean loss of the epoch's steps."""
    learning_rate: float
    validation: Validation | None
    seconds: float


@dataclass
class History:
    """All that was logged.

    Parameters
    ----------
    steps, validations
        In the order in which they ended.
    """

    steps: list[Step] = field(default_factory=list)
    validations: list[Validation] = field(default_factory=list)

    @property
    def best(self) -> Validation | None:
        """The validation with the highest mean Dice; of equal ones the first."""
        return max(self.validations, key=lambda one: one.val_dice, default=None)

    def until(self, step: int) -> History:
        """Return what was logged up to a step."""
        return History(
            [one for one in self.steps if one.step <= step], [one for one in self.validations if one.step <= step]
        )

    def epochs(self) -> Iterator[EpochRow]:
        """Yield the epochs that have begun."""
        validated = {one.epoch: one for one in self.validations}
        by_epoch: dict[int, list[Step]] = {}
        for step in self.steps:
            by_epoch.setdefault(step.epoch, []).append(step)
        for epoch, steps in by_epoch.items():
            loss = sum(one.train_loss for one in steps) / len(steps)
            last = steps[-1]
            yield EpochRow(epoch, last.step, loss, last.learning_rate, validated.get(epoch), last.seconds)


def parse_line(line: str) -> Step | Validation | None:
    """Return what a line of ``metrics.jsonl`` says; ``None`` for one that a kill has cut.

    Examples
    --------
    >>> parse_line('{"step": 3, "epoch": 0, "train_loss": 0.5}').train_loss
    0.5
    >>> parse_line('{"step": 3, "epo') is parse_line('{"step": 1e999}') is None
    True
    """
    try:
        values = parse_json(line)
        step, epoch = int(values["step"]), int(values.get("epoch", 0))
        if "val_dice" in values:
            classes = {name: _metrics(of) for name, of in values.get("classes", {}).items()}
            return Validation(step, epoch, _finite(values["val_dice"]), classes)
        rate, seconds = float(values.get("learning_rate", math.nan)), float(values.get("seconds", math.nan))
        return Step(step, epoch, float(values["train_loss"]), rate, seconds)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def _metrics(values: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: None if value is None else _finite(value) for name, value in values.items()}


def _finite(value: Any) -> float:
    if not math.isfinite(number := float(value)):
        raise ValueError(f"expected a number, got {value}")
    return number


def read_history(path: Path) -> History:
    """Read ``metrics.jsonl``; without one, nothing was logged yet.

    Raises
    ------
    OSError
        When it can't be read.
    """
    history = History()
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                add(history, parse_line(line))
    except FileNotFoundError:
        pass
    return history


def add(history: History, one: Step | Validation | None) -> None:
    """Add what a line says."""
    if isinstance(one, Step):
        history.steps.append(one)
    elif isinstance(one, Validation):
        history.validations.append(one)


def dice_of(history: History, name: str | None = None) -> list[tuple[float, float]]:
    """Return the Dice of a class, or the mean of all, after each validation."""
    if name is None:
        return [(one.step, one.val_dice) for one in history.validations]
    found = ((one.step, one.classes.get(name, {}).get("dice")) for one in history.validations)
    return [(step, dice) for step, dice in found if dice is not None]


def as_line(one: Step | Validation) -> str:
    r"""Return a line of ``metrics.jsonl``: strict JSON.

    Examples
    --------
    >>> as_line(Step(3, 0, 0.5, 0.01, 7.5))
    '{"step": 3, "epoch": 0, "train_loss": 0.5, "learning_rate": 0.01, "seconds": 7.5}\n'
    """
    return json_line(one._asdict()) + "\n"


def jsonl_text(history: History) -> str:
    """Return the content of ``metrics.jsonl``: each validation follows the step after which it was made."""
    lines: list[Step | Validation] = sorted(
        [*history.steps, *history.validations], key=lambda one: (one.step, isinstance(one, Validation))
    )
    return "".join(map(as_line, lines))


def csv_text(rows: Iterable[EpochRow], names: Sequence[str]) -> str:
    """Return the content of ``metrics.csv``.

    Parameters
    ----------
    rows
        The epochs.
    names
        Names of the classes from 1 on. Their cells are empty in epochs without a validation.

    Examples
    --------
    >>> print(csv_text([EpochRow(0, 4, 0.5, 0.01, None, 2.0)], ["liver"]), end="")
    epoch,step,train_loss,learning_rate,val_dice,liver_dice,seconds
    0,4,0.5,0.01,,,2.0
    """
    dice = [f"{name}_dice" for name in names]
    head = ["epoch", "step", "train_loss", "learning_rate", "val_dice", *dice, "seconds"]
    return table_text([head, *(_cells(row, names) for row in rows)])


def _cells(row: EpochRow, names: Sequence[str]) -> list[Any]:
    found = row.validation
    dice = [None if found is None else found.classes.get(name, {}).get("dice") for name in names]
    mean = None if found is None else found.val_dice
    return [row.epoch, row.step, row.train_loss, row.learning_rate, mean, *dice, round(row.seconds, 3)]
