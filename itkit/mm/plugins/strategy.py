"""FSDP2 for MMEngine's flexible runner: sharded training, whole checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmengine._strategy import DDPStrategy  # its only home, and where MMEngine's own guide imports strategies from
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.registry import MODEL_WRAPPERS, STRATEGIES
from torch import distributed, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from itkit.core.errors import WeightsError


@STRATEGIES.register_module()
class RemasteredFSDP_Strategy(DDPStrategy):  # noqa: N801 - a given name
    """Train with FSDP2, on GPUs (NCCL) or CPUs (gloo), by ``FlexibleRunner``.

    Checkpoints are whole: the first process gathers model and optimiser, with the names of the model that is not
    sharded. Any number of processes, also one without FSDP, loads them; optimiser states have names in place of
    numbers.

    Parameters
    ----------
    model_wrapper
        Options of `RemasteredFSDP`, e.g. ``dict(shard_modules=["TransformerBlock"])``.
    **kwargs
        See MMEngine's strategies.
    """

    def __init__(self, *, model_wrapper: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(model_wrapper=dict(model_wrapper or {}), **kwargs)

    def _setup_distributed(self, launcher: str = "pytorch", backend: str = "nccl", **kwargs: Any) -> None:
        """Join the processes; without a GPU by gloo, which MMEngine's own strategies do not."""
        if torch.cuda.is_available():
            super()._setup_distributed(launcher, backend, **kwargs)
        elif not distributed.is_initialized():
            distributed.init_process_group("gloo")

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if is_model_wrapper(model):
            return model
        model = self.convert_model(model.to(get_device()))
        wrapped: nn.Module = MODEL_WRAPPERS.build(
            dict(self.model_wrapper), default_args={"type": "RemasteredFSDP", "module": model}
        )
        return wrapped

    @property
    def _inner(self) -> nn.Module:
        inner: nn.Module = self.model.module if is_model_wrapper(self.model) else self.model
        return inner

    def model_state_dict(self) -> dict[str, Any]:
        """Return the whole weights, on the CPU of the first process; the others return nothing."""
        return get_model_state_dict(self._inner, options=_WHOLE)

    def optim_state_dict(self) -> dict[str, Any]:
        """Return the whole state of the optimiser, by the names of parameters, on the CPU of the first process."""
        state: dict[str, Any] = dict(
            get_optimizer_state_dict(self._inner, self.optim_wrapper.optimizer, options=_WHOLE)
        )
        extra = {key: value for key, value in self.optim_wrapper.state_dict().items() if key not in _OF_OPTIMIZERS}
        return {**state, **extra}

    def load_model_state_dict(
        self, state_dict: dict[str, Any], *, strict: bool = False, revise_keys: Any = ((r"^module\.", ""),)
    ) -> None:
        """Share whole weights out among the processes.

        Raises
        ------
        WeightsError
            When ``strict`` and names are missing or unknown.
        """
        for pattern, replacement in revise_keys:
            state_dict = {re.sub(pattern, replacement, key): value for key, value in state_dict.items()}
        if not is_model_wrapper(self.model):
            found = self.model.load_state_dict(state_dict, strict=False)
        else:
            options = StateDictOptions(full_state_dict=True, strict=False)
            found = set_model_state_dict(self._inner, state_dict, options=options)
        wrong = [f"{name} is missing" for name in found.missing_keys]
        wrong += [f"{name} is unknown" for name in found.unexpected_keys]
        if wrong and strict:
            raise WeightsError(f"the checkpoint is that of another model: {', '.join(wrong[:5])}")
        if wrong:
            self.logger.warning(f"the checkpoint does not fit the model in all: {', '.join(wrong[:20])}")

    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Share a whole state of the optimiser out among the processes."""
        state = {key: value for key, value in state_dict.items() if key in _OF_OPTIMIZERS}
        options = StateDictOptions(full_state_dict=True)
        set_optimizer_state_dict(self._inner, self.optim_wrapper.optimizer, optim_state_dict=state, options=options)
        if extra := {key: value for key, value in state_dict.items() if key not in _OF_OPTIMIZERS}:
            now = self.optim_wrapper.optimizer.state_dict()
            self.optim_wrapper.load_state_dict({**now, **extra})

    def save_checkpoint(
        self,
        filename: str,
        *,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        extra_ckpt: dict[str, Any] | None = None,
        callback: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Gather model and optimiser from all processes, and save them in the first one."""
        from mmengine.runner import save_checkpoint

        checkpoint: dict[str, Any] = {"state_dict": self.model_state_dict()}
        if save_optimizer and hasattr(self, "optim_wrapper"):
            checkpoint["optimizer"] = self.optim_state_dict()
        if save_param_scheduler and hasattr(self, "param_schedulers"):
            checkpoint["param_schedulers"] = self.scheduler_state_dict()
        extra = dict(extra_ckpt or {})
        extra["meta"] = {**extra.get("meta", {}), "seed": self.seed}
        checkpoint |= extra
        if callback is not None:
            callback(checkpoint)
        if is_main_process():
            save_checkpoint(checkpoint, filename)
        if distributed.is_initialized():
            distributed.barrier()  # nobody may look for the file before it is there


_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
_OF_OPTIMIZERS = ("state", "param_groups")
