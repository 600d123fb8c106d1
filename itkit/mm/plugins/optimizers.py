"""Optimisers: only parameters that learn reach them; half precision without a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from itkit.core.errors import ModelError


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class mgam_OptimWrapperConstructor(DefaultOptimWrapperConstructor):  # noqa: N801 - a given name
    """Give the optimiser only parameters that need gradients, with and without ``paramwise_cfg``.

    MMEngine's constructor leaves frozen parameters out with ``paramwise_cfg`` alone; without it they take part, take
    memory, and appear in checkpoints. The model stays as it is. Parameters are those of MMEngine's constructor.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Return the optimiser wrapper of a model.

        Raises
        ------
        ModelError
            When no parameter needs gradients.
        """
        inner: Any = model.module if is_model_wrapper(model) else model
        learning = [parameter for parameter in inner.parameters() if parameter.requires_grad]
        if not learning:
            raise ModelError("the optimiser has nothing to learn: no parameter of the model needs gradients")
        if self.paramwise_cfg:
            return super().__call__(inner)
        optimizer = OPTIMIZERS.build({**self.optimizer_cfg}, default_args={"params": learning})
        wrapper = {"type": "OptimWrapper", **self.optim_wrapper_cfg}
        return OPTIM_WRAPPERS.build(wrapper, default_args={"optimizer": optimizer})


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(OptimWrapper):
    """Compute in bfloat16 on the CPU; weights and their gradients stay float32, so that no scaling is needed.

    MMEngine's ``AmpOptimWrapper`` refuses to work without a GPU. Parameters are those of ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Compute in bfloat16 within the context."""
        with super().optim_context(model), torch.autocast("cpu", torch.bfloat16):
            yield
