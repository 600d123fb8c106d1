"""Hooks that make a resumed training go on exactly, and only in its own folder."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS

_PATHS = ("best_ckpt", "last_ckpt")
_RANDOM = "itkit_random_state"


@HOOKS.register_module()
class LocalCheckpointsHook(Hook):
    """Let a resumed training know only checkpoints of its own folder.

    MMEngine keeps absolute paths in its checkpoints. A training that is resumed in a copy of its folder would delete
    the best checkpoint of the original, because it is no longer the best one.
    """

    priority = "HIGH"

    def before_train(self, runner: Any) -> None:
        """Replace the folders of all checkpoints that the resumed state names."""
        hub = runner.message_hub
        folder = self._folder(runner)
        for key, value in list(hub.runtime_info.items()):
            if key.startswith(_PATHS) and isinstance(value, str):
                hub.update_info(key, str(folder / value.replace("\\", "/").rpartition("/")[2]))

    @staticmethod
    def _folder(runner: Any) -> Path:
        """Return where the checkpoint hook writes: the work folder, or one of its name in ``out_dir``."""
        work = Path(runner.work_dir)
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and hook.out_dir not in (None, runner.work_dir):
                return Path(str(hook.out_dir)) / work.name
        return work


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Keep the state of all random numbers of every process in checkpoints, and go on with it."""

    priority = "LOW"  # before the checkpoint hook

    def __init__(self) -> None:
        self._state: Any = None
        self._gathered: tuple[int, list[Any]] = (-1, [])

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Gather the states of all processes if a checkpoint is due; MMEngine saves it in the first one alone."""
        if any(
            hook.every_n_train_iters(runner, hook.interval, hook.save_begin)
            or (hook.save_last and hook.is_last_train_iter(runner))
            for hook in _checkpoint_hooks(runner)
            if not hook.by_epoch
        ):
            self._gather(runner)

    def after_train_epoch(self, runner: Any) -> None:
        """Gather the states if a checkpoint is due."""
        if any(
            hook.every_n_epochs(runner, hook.interval, hook.save_begin)
            or (hook.save_last and hook.is_last_train_epoch(runner))
            for hook in _checkpoint_hooks(runner)
            if hook.by_epoch
        ):
            self._gather(runner)

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        """Gather the states: the best checkpoint may be saved."""
        if any(hook.save_best for hook in _checkpoint_hooks(runner)):
            self._gather(runner)

    def _gather(self, runner: Any) -> None:
        if get_world_size() > 1:
            self._gathered = (runner.iter, all_gather_object(_random_state()))

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add the state of the random numbers."""
        step, states = self._gathered
        if get_world_size() == 1:
            checkpoint[_RANDOM] = [_random_state()]
        elif step == runner.iter:
            checkpoint[_RANDOM] = states

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Keep the state until the first step."""
        states = checkpoint.get(_RANDOM)
        if isinstance(states, list) and len(states) == get_world_size():
            self._state = states[get_rank()]

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Go on with the random numbers where the checkpoint was written."""
        state, self._state = self._state, None
        if state is None or runner.iter == 0:
            return
        torch.set_rng_state(state["torch"].cpu())
        kind, keys, place, has_gauss, gauss = state["numpy"]
        np.random.set_state((kind, np.array(keys, np.uint32), place, has_gauss, gauss))  # noqa: NPY002 - the global one
        version, numbers, following = state["python"]
        random.setstate((version, tuple(numbers), following))
        if "cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda"].cpu())


def _checkpoint_hooks(runner: Any) -> list[Any]:
    return [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]


def _random_state() -> dict[str, Any]:
    kind, keys, place, has_gauss, gauss = np.random.get_state()  # noqa: NPY002 - what transforms of others draw from
    state = {
        "torch": torch.get_rng_state(),
        "numpy": (kind, np.asarray(keys).tolist(), place, has_gauss, gauss),
        "python": random.getstate(),
    }
    return {**state, "cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else state
