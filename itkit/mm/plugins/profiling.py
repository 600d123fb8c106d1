"""Training by iterations with PyTorch's profiler."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_rank
from mmengine.logging import print_log
from mmengine.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop

from itkit.core.errors import ArgumentError
from itkit.core.text import did_you_mean

_FLAGS = ("record_shapes", "profile_memory", "with_stack", "with_flops")
_KEYS = ("schedule", "out_dir", "activities", *_FLAGS, "rows")
_SCHEDULE = {"wait": 1, "warmup": 1, "active": 3, "repeat": 1, "skip_first": 0}


@LOOPS.register_module()
class IterBasedTrainLoop_SupportProfiler(IterBasedTrainLoop):  # noqa: N801 - a given name
    """MMEngine's loop of iterations, which profiles some of them; training goes on as if nothing had happened.

    Parameters
    ----------
    runner, dataloader, max_iters, val_begin, val_interval, dynamic_intervals
        See MMEngine's ``IterBasedTrainLoop``; others are passed on to it, too.
    profiler
        ``None``: no profiler. ``True``, or a dictionary with some of ``schedule`` (``wait``, ``warmup``, ``active``,
        ``repeat``, ``skip_first`` of `torch.profiler.schedule`; a repeat of 0 profiles to the end), ``out_dir``
        (default: ``profile`` in the work folder; relative paths lie in the work folder), ``activities`` (some of
        ``"cpu"``, ``"cuda"``; default: all there are), ``record_shapes``, ``profile_memory``, ``with_stack``,
        ``with_flops``, and ``rows`` (of the table of operations, 30).

    Notes
    -----
    Each cycle writes a trace ``rank<R>_<n>.pt.trace.json`` (for Perfetto, chrome://tracing or TensorBoard) and a table
    ``rank<R>_<n>.txt``.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        max_iters: int,
        *args: Any,
        profiler: Mapping[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(runner, dataloader, max_iters, *args, **kwargs)
        settings = dict(profiler) if isinstance(profiler, Mapping) else {}
        if unknown := sorted(settings.keys() - set(_KEYS)):
            raise ArgumentError(f"profiler: unknown {unknown[0]!r}{did_you_mean(unknown[0], _KEYS)}")
        schedule = dict(settings.get("schedule") or {})
        if unknown := sorted(schedule.keys() - _SCHEDULE.keys()):
            raise ArgumentError(f"profiler.schedule: unknown {unknown[0]!r}{did_you_mean(unknown[0], _SCHEDULE)}")
        self.profiler_schedule = {**_SCHEDULE, **schedule}
        self._settings = settings
        self._is_on = bool(profiler) or isinstance(profiler, Mapping)
        self._profiler: Any = None
        self._left = 0
        self._cycles = 0

    @property
    def profile_dir(self) -> Path:
        """Where traces and tables are written."""
        return Path(self.runner.work_dir) / (self._settings.get("out_dir") or "profile")

    def run(self) -> Any:
        """Train."""
        if self._is_on:
            self._start()
        try:
            return super().run()
        finally:
            self._stop()

    def run_iter(self, data_batch: Sequence[Any]) -> None:
        """Train one iteration."""
        super().run_iter(data_batch)
        if self._profiler is None:
            return
        self._profiler.step()
        self._left -= 1
        if self._left == 0:
            self._stop()

    def _start(self) -> None:
        times = self.profiler_schedule
        cycle = times["wait"] + times["warmup"] + times["active"]
        self._left = times["skip_first"] + cycle * times["repeat"] if times["repeat"] else -1
        self.profile_dir.mkdir(parents=True, exist_ok=True)
        flags: dict[str, Any] = {key: bool(self._settings.get(key)) for key in _FLAGS}
        self._profiler = torch.profiler.profile(
            activities=self._activities(),
            schedule=torch.profiler.schedule(**times),
            on_trace_ready=self._write,
            **flags,
        )
        self._profiler.start()
        print_log(f"profiling; traces go to {self.profile_dir}", logger="current")

    def _activities(self) -> list[Any]:
        known = {"cpu": torch.profiler.ProfilerActivity.CPU, "cuda": torch.profiler.ProfilerActivity.CUDA}
        given = self._settings.get("activities")
        if given is None:
            return [known["cpu"], *([known["cuda"]] if torch.cuda.is_available() else [])]
        if unknown := [name for name in given if name not in known]:
            raise ArgumentError(f"profiler.activities: expected some of cpu, cuda; got {unknown[0]!r}")
        return [known[name] for name in given]

    def _write(self, profile: Any) -> None:
        name = f"rank{get_rank()}_{self._cycles}"
        self._cycles += 1
        profile.export_chrome_trace(str(self.profile_dir / f"{name}.pt.trace.json"))
        table = profile.key_averages().table(
            sort_by="self_cpu_time_total", row_limit=int(self._settings.get("rows", 30))
        )
        (self.profile_dir / f"{name}.txt").write_text(table, encoding="utf-8")

    def _stop(self) -> None:
        profiler, self._profiler = self._profiler, None
        if profiler is None:
            return
        profiler.stop()
        print_log(f"profiled; {self._cycles} cycles in {self.profile_dir}", logger="current", level=logging.INFO)
