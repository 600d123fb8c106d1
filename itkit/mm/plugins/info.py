"""Learning rates and losses that are extreme or not finite: shown readably, recorded, never a crash."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import RuntimeInfoHook as _RuntimeInfoHook
from mmengine.logging import print_log
from mmengine.registry import HOOKS

from itkit.core.errors import ModelError
from itkit.io.json_files import write_json
from itkit.mm.records import plain

FILE = "extreme_values.json"
"""File in the work folder that names extreme and non-finite values of a training."""


@HOOKS.register_module(name="ReadableRuntimeInfoHook")
class RuntimeInfoHook(_RuntimeInfoHook):
    """Pass what happens in a training on to MMEngine's message hub, as its own hook does, whatever the values are.

    MMEngine's hook ends the training when a step puts out a tensor of several numbers, and its log shows a loss of 1e-9
    as 0.0000. This hook logs values that are extreme or not finite when they first occur and then now and again, and
    keeps them: in the message hub as ``train/extreme_values``, and in ``extreme_values.json`` of the work folder.

    Parameters
    ----------
    smallest, largest
        Absolute values outside these bounds are extreme; 0 is not.
    interval
        Steps between two messages about the same value.
    stop_on_nan
        End the training with an error when a loss is not finite.
    """

    def __init__(
        self, smallest: float = 1e-4, largest: float = 1e4, interval: int = 100, *, stop_on_nan: bool = False
    ) -> None:
        super().__init__()
        if not 0 <= smallest < largest:
            raise ValueError(f"RuntimeInfoHook: expected 0 <= smallest < largest; got {smallest} and {largest}")
        self.smallest, self.largest, self.interval = smallest, largest, max(1, interval)
        self.stop_on_nan = stop_on_nan
        self.found: dict[str, dict[str, Any]] = {}
        self._said: dict[tuple[str, str], int] = {}

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Record the step and the learning rates."""
        runner.message_hub.update_info("iter", runner.iter)
        for name, values in runner.optim_wrapper.get_lr().items():
            rate = values[0] if isinstance(values, list | tuple) and values else values
            self._record(runner, name, rate, is_rate=True)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Record what the step has put out.

        Raises
        ------
        ModelError
            When a loss is not finite and the training is to end then.
        """
        if not isinstance(outputs, dict):
            return
        wrong = [name for name, value in outputs.items() if self._record(runner, name, value) and "loss" in name]
        if wrong and self.stop_on_nan:
            self._write(runner)
            values = ", ".join(f"{name} is {_number(outputs[name])}" for name in wrong)
            raise ModelError(
                f"iteration {runner.iter + 1}: {values}; training ends (stop_on_nan); lower the learning rate, clip "
                "gradients, or look for the operation with --detect-anomaly"
            )

    def after_train(self, runner: Any) -> None:
        """Keep what was found."""
        super().after_train(runner)
        self._write(runner)

    def _record(self, runner: Any, name: str, value: Any, *, is_rate: bool = False) -> bool:
        """Record a value; return whether it is a number that is not finite."""
        number = _number(value)
        if number is None:
            runner.message_hub.update_info(f"train/{name}", plain(value))
            return False
        runner.message_hub.update_scalar(f"train/{name}", number)
        kind = self._kind(number, is_rate=is_rate)
        if kind:
            self._note(runner, name, number, kind)
        return not math.isfinite(number)

    def _kind(self, number: float, *, is_rate: bool) -> str:
        if math.isnan(number):
            return "nan"
        if math.isinf(number):
            return "infinite"
        if abs(number) > self.largest:
            return "very large"
        smallest = self.smallest * 1e-6 if is_rate else self.smallest  # learning rates of 1e-4 are usual
        return "very small" if 0 < abs(number) < smallest else ""

    def _note(self, runner: Any, name: str, number: float, kind: str) -> None:
        step = runner.iter + 1
        entry = self.found.setdefault(f"{name}: {kind}", {"first": step, "count": 0})
        entry |= {"last": step, "count": entry["count"] + 1, "value": f"{number:.6g}"}
        runner.message_hub.update_info("train/extreme_values", dict(self.found))
        before = self._said.get((name, kind))
        if before is None or step - before >= self.interval:
            self._said[name, kind] = step
            level = logging.WARNING if kind in ("nan", "infinite") else logging.INFO
            print_log(f"iteration {step}: {name} is {kind}: {number:.6g}", logger="current", level=level)
            self._write(runner)

    def _write(self, runner: Any) -> None:
        if self.found and is_main_process():
            write_json(Path(runner.work_dir) / FILE, self.found)


def _number(value: Any) -> float | None:
    """Return a single number of any kind; ``None`` for anything else."""
    if isinstance(value, bool | str) or value is None:
        return None
    try:
        item = value.item() if callable(getattr(value, "item", None)) else value
        return float(item)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None
