"""Memory of a training step, measured before the first one: what the network keeps for its gradients, counted.

What was measured is no more than likely; a step for which there is not enough memory says what to lower.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from itkit.core.errors import ParamsError, ResourceError
from itkit.core.geometry import by

_MOST_VOXELS = 1 << 17
"""Voxels of a patch above which a smaller one is measured, and its size extrapolated."""
_OVERHEAD = 1.4
"""Part by which a process takes more than the tensors that are kept: gradients on their way, and gaps."""
_WORKER_BYTES = 96 << 20
"""What a loader worker takes beside its patches."""
_REFUSED = re.compile("out of memory|allocate memory|STATUS_ALLOC_FAILED")
"""How torch says in a ``RuntimeError`` that the system has no memory for it."""


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a training step.

    Parameters
    ----------
    fixed
        Weights, gradients, the optimiser's values and the moving average.
    per_patch
        What each patch of a batch takes.
    """

    fixed: int
    per_patch: int

    def of(self, batch: int) -> int:
        """Return the bytes of a batch."""
        return self.fixed + batch * self.per_patch

    def largest_batch(self, available: int) -> int:
        """Return how many patches fit."""
        return max(0, (available - self.fixed) // self.per_patch)


def measure_step(
    network: nn.Module,
    loss: Callable[[Any, Tensor], Tensor],
    channels: int,
    patch: Sequence[int],
    *,
    copies: int = 4,
    divisor: int = 16,
    dtype: torch.dtype = torch.float32,
) -> StepMemory:
    """Measure the memory of a step by a forward pass of one patch, smaller than it will be if that saves time.

    Parameters
    ----------
    network, loss
        What is trained; a copy of the network is used.
    channels
        Channels of the image.
    patch
        Sides of a patch: ZYX, or YX for a 2-D network.
    copies
        How often the weights are kept: themselves, gradients, and what the optimiser knows of each.
    divisor
        Sides of the smaller patch are multiples of it.
    dtype
        Type in which the network computes.
    """
    kept: dict[tuple[int, int], int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[(storage.data_ptr(), storage.nbytes())] = storage.nbytes()
        return tensor

    weights = sum(parameter.nbytes for parameter in network.parameters())
    own = {(one.untyped_storage().data_ptr(), one.untyped_storage().nbytes()) for one in network.parameters()}
    sides = _smaller(patch, divisor)
    device = next((one.device for one in network.parameters()), torch.device("cpu"))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        probe = copy.deepcopy(network).train()
        image = torch.rand(1, channels, *sides, device=device)
        target = torch.zeros(1, *sides, dtype=torch.int64, device=device)
        own |= {(one.untyped_storage().data_ptr(), one.untyped_storage().nbytes()) for one in probe.parameters()}
        mixed = torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), mixed:
            loss(probe(image), target)
    saved = sum(size for key, size in kept.items() if key not in own)
    share = math.prod(patch) / math.prod(sides)
    return StepMemory(copies * weights, round(_OVERHEAD * saved * share))


def _smaller(patch: Sequence[int], divisor: int) -> tuple[int, ...]:
    sides = list(patch)
    while math.prod(sides) > _MOST_VOXELS:
        longest = max(range(len(sides)), key=sides.__getitem__)
        half = -(-sides[longest] // (2 * divisor)) * divisor
        if half >= sides[longest]:
            break
        sides[longest] = half
    return tuple(sides)


def require_memory(step: StepMemory, available: int, *, batch: int, patch: Sequence[int], workers: int = 0) -> None:
    """Refuse a batch that does not fit into memory.

    Parameters
    ----------
    step
        What a step takes.
    available
        Bytes that are free.
    batch, patch
        Patches of a step, and their sides.
    workers
        Loader workers that take memory, too.

    Raises
    ------
    ParamsError
        When it does not fit; the message says how many patches do.

    Examples
    --------
    >>> require_memory(StepMemory(1 << 20, 1 << 30), 3 << 30, batch=4, patch=(96, 96, 96))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    itkit.core.errors.ParamsError: training.batch_size: a step of 4 patches ... the largest batch that fits is 2
    """
    free = available - workers * _WORKER_BYTES
    if step.of(batch) <= free:
        return
    most = step.largest_batch(free)
    advice = (
        f"the largest batch that fits is {most}"
        if most
        else "not even one patch fits; take a smaller training.patch_size, or training.use_checkpoint"
    )
    patches = "1 patch" if batch == 1 else f"{batch} patches"
    needed, there = step.of(batch) / 2**30, max(0, free) / 2**30
    raise ParamsError(
        f"training.batch_size: a step of {patches} of {by(patch)} voxels takes about {needed:.1f} GiB, of which "
        f"{there:.1f} GiB are free; {advice}"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory, on the CPU or a GPU.

    Examples
    --------
    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."))
    True
    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("The size of tensor a must match"))
    (True, False)
    """
    said = isinstance(error, RuntimeError) and _REFUSED.search(str(error))  # torch.OutOfMemoryError is one, too
    return bool(said) or isinstance(error, MemoryError)


def out_of_memory(run: Path, wanted: str, *, batch: int, patch: Sequence[int]) -> ResourceError:
    """Return the error of a training for which there is not enough memory.

    Parameters
    ----------
    run
        Its folder.
    wanted
        What memory was wanted for.
    batch, patch
        Patches of a step, and their sides.

    Examples
    --------
    >>> str(out_of_memory(Path("run"), "step 4", batch=2, patch=(64, 96, 96))).partition("; ")[0]
    'run: not enough memory for step 4 (2 patches of 64 x 96 x 96 voxels a step)'
    """
    patches = "1 patch" if batch == 1 else f"{batch} patches"
    return ResourceError(
        f"{run}: not enough memory for {wanted} ({patches} of {by(patch)} voxels a step); free memory, then the same "
        "command goes on, or lower training.batch_size or training.patch_size in a plan for another folder (-o)"
    )
