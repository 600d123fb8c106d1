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

    priority = "LOWEST"

    def __init__(self) -> None:
        self._state: Any = None

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add the state of the random numbers."""
        state = {"torch": torch.get_rng_state(), "numpy": _numpy_state(), "python": random.getstate()}
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state()
        checkpoint[_RANDOM] = all_gather_object(state) if get_world_size() > 1 else [state]

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


def _numpy_state() -> tuple[Any, ...]:
    state: Any = np.random.get_state()  # noqa: NPY002 - what transforms of others draw from
    kind, keys, place, has_gauss, gauss = state
    return (kind, keys.tolist(), place, has_gauss, gauss)
