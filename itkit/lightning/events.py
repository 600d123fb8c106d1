"""What a training tells while it runs, as events in the form of `itkit.engine.progress`: bars, logs and programs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as pl
import torch

Event = Mapping[str, Any]
EventSink = Callable[[Event], None]
NAME = "itkit train"
_SMOOTHING = 0.9


def memory_bytes() -> int | None:
    """Return the most memory that training has taken: of the GPU if there is one, else of this process."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Reporter(pl.Callback):
    """Turns what happens into events.

    Parameters
    ----------
    sink
        Called with each event, by the first process alone.
    patches_per_step
        Patches of a step of one process.
    """

    def __init__(self, sink: EventSink, patches_per_step: int) -> None:
        self.sink = sink
        self.patches_per_step = patches_per_step
        self._last_s = 0.0
        self._step = 0
        self._rate = 0.0
        self._step_s: float | None = None
        self._validation_s = 0.0
        self._validation_begin = 0.0
        self._volumes = 0

    def on_train_start(self, trainer: pl.Trainer, _task: pl.LightningModule) -> None:
        """Begin to measure."""
        self._last_s, self._step = time.monotonic(), trainer.global_step

    def on_train_epoch_start(self, *_: Any) -> None:
        """Leave out what lies between epochs."""
        self._last_s = time.monotonic()

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Note the learning rate of a step; after the last one of an epoch it is another."""
        self._rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: pl.Trainer, task: Any, *_: Any) -> None:
        """Tell the loss and the speed of a step."""
        if trainer.global_step == self._step:
            return
        now = time.monotonic()
        took, self._last_s, self._step = now - self._last_s, now, trainer.global_step
        keep = _SMOOTHING if self._step_s is not None else 0.0
        self._step_s = keep * (self._step_s or 0.0) + (1 - keep) * took
        if not trainer.is_global_zero:
            return
        self.sink(
            {
                "event": "step",
                "step": trainer.global_step,
                "epoch": trainer.current_epoch,
                "train_loss": float(trainer.callback_metrics["train_loss"]),
                "learning_rate": self._rate,
                "patches_per_s": self.patches_per_step * trainer.world_size / max(self._step_s, 1e-9),
                "memory_bytes": memory_bytes(),
                "seconds_left": self._left(trainer, task),
            }
        )

    def _left(self, trainer: pl.Trainer, task: Any) -> float:
        plan = task.plan
        training, every = plan.training, min(plan.validation.every, plan.training.epochs)
        steps = training.epochs * training.steps_per_epoch - trainer.global_step
        validations = -(-training.epochs // every) - trainer.current_epoch // every
        return float(steps * (self._step_s or 0.0) + validations * self._validation_s)

    def on_validation_start(self, *_: Any) -> None:
        """Begin to measure a validation."""
        self._validation_begin, self._volumes = time.monotonic(), 0

    def on_validation_batch_end(self, trainer: pl.Trainer, _task: Any, _outputs: Any, batch: Any, *_: Any) -> None:
        """Tell which volume was validated."""
        self._volumes += 1
        took = time.monotonic() - self._validation_begin
        if trainer.is_global_zero:
            count = sum(int(number) for number in trainer.num_val_batches)
            self.sink(
                {
                    "event": "volume",
                    "case": batch["case"][0],
                    "number": self._volumes,
                    "total": count,
                    "volumes_per_s": self._volumes / max(took, 1e-9),
                }
            )

    def on_validation_end(self, trainer: pl.Trainer, task: Any) -> None:
        """Tell the metrics."""
        self._validation_s = time.monotonic() - self._validation_begin
        if trainer.is_global_zero:
            self.sink(
                {
                    "event": "validation",
                    "step": trainer.global_step,
                    "epoch": trainer.current_epoch,
                    "val_dice": float(trainer.callback_metrics["val_dice"]),
                    "classes": task.last_metrics,
                    "seconds": self._validation_s,
                }
            )
        self._last_s = time.monotonic()
