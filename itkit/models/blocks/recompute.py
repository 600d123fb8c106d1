"""Gradient checkpointing that leaves batch-norm statistics as an ordinary forward pass would."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    before = [(norm, norm.momentum, torch.clone(norm.num_batches_tracked)) for norm in norms]  # type: ignore[arg-type]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, batches in before:
            norm.momentum = momentum
            norm.num_batches_tracked = batches


def recompute(module: nn.Module, *inputs: Any) -> Tensor:
    """Call a module without keeping its activations; the backward pass computes them again.

    The second computation does not update running batch-norm statistics, so training with and without checkpointing
    gives the same weights and buffers. Without gradients it is a plain call.
    """
    if not torch.is_grad_enabled():
        return module(*inputs)  # type: ignore[no-any-return]  # calling a module returns Any

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_kept(module)

    return checkpoint(module, *inputs, use_reentrant=False, context_fn=contexts)  # type: ignore[no-any-return]
