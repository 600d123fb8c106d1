"""Selective scan of state-space networks in plain PyTorch: linear memory, differentiable, traceable.

The recurrence is that of Mamba (Gu & Dao, arXiv:2312.00752, algorithm 2). The length is cut into blocks that fit the
cache, and a block into segments that advance side by side; only the states at the blocks' borders are kept for the
backward pass, which computes the others again. Decays are multiplied, never divided, so nothing overflows.
"""

from __future__ import annotations

import functools
import importlib
import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["selective_scan"]

_BLOCK_ELEMENTS = {"cpu": 1 << 18, "cuda": 1 << 24}
"""States computed at once: what a core's cache holds, or what keeps a GPU busy."""
_STEP_ELEMENTS = {"cpu": 1 << 13, "cuda": 1 << 19}
"""States advanced by one call: enough to hide the cost of the call."""


def selective_scan(
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor | None = None,
    delta_bias: Tensor | None = None,
) -> Tensor:
    """Run the selective state-space recurrence over sequences.

    ``step = softplus(delta + delta_bias)``; ``h_l = exp(step_l a) h_(l-1) + step_l b_l u_l`` with ``h_0 = 0``;
    ``y_l = sum_s c_l h_l + d u_l``. Half types are computed in float32, float64 stays float64, whatever autocast says.

    Parameters
    ----------
    u, delta
        Sequences and raw steps, ``(N, P, L)``.
    a
        Negative rates, ``(P, S)``.
    b, c
        Input and output weights, ``(N, G, S, L)``; channel ``p`` belongs to group ``p // (P / G)``.
    d, delta_bias
        Skip weight and bias of the step, ``(P,)`` each.

    Returns
    -------
    Tensor
        ``(N, P, L)`` in the type of `u`.

    Raises
    ------
    ValueError
        When the shapes do not fit together.

    Notes
    -----
    On CUDA the kernel of the package ``mamba_ssm`` does the work where it is installed. Under ``torch.export``, ONNX
    export and ``torch.jit.trace`` a scan by doubling stands in, whose graph grows with the logarithm of the length.

    Examples
    --------
    >>> ones = torch.ones(1, 1, 3)
    >>> half = torch.full((1, 1, 3), math.log(math.e - 1))  # a step of 1
    >>> selective_scan(ones, half, torch.tensor([[math.log(0.5)]]), ones[None], ones[None]).flatten().tolist()
    [1.0, 1.5, 1.75]
    """
    _check_shapes(u, delta, a, b, c)
    with torch.autocast(u.device.type, enabled=False):
        work = torch.promote_types(u.dtype, torch.float32)
        rates, skip, bias = (None if t is None else t.to(work) for t in (a, d, delta_bias))
        kernel = _cuda_kernel() if u.is_cuda and work == torch.float32 and not _is_tracing() else None
        if kernel is not None:
            return kernel(
                u.to(work), delta.to(work), rates, b.to(work), c.to(work), D=skip, delta_bias=bias, delta_softplus=True
            ).to(u.dtype)
        raw = delta.to(work) if bias is None else delta.to(work) + bias[:, None]
        step, sequence = functional.softplus(raw), u.to(work)
        if _is_tracing():
            y = _scan_by_doubling(sequence, step, a.to(work), b.to(work), c.to(work))
        else:
            y = _scan(sequence, step, a.to(work), b.to(work), c.to(work))[0]
        if skip is not None:
            y = torch.addcmul(y, skip[:, None], sequence)
        return y.to(u.dtype)


def _check_shapes(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> None:
    n, channels, length = u.shape
    groups, states = b.shape[1], a.shape[1]
    if delta.shape != u.shape:
        raise ValueError(f"delta: expected the shape of u, {tuple(u.shape)}; got {tuple(delta.shape)}")
    if a.shape[0] != channels:
        raise ValueError(f"a: expected {channels} rows, one a channel of u; got {a.shape[0]}")
    if channels % groups:
        raise ValueError(f"u: expected channels divisible by the {groups} groups of b; got {channels}")
    for name, tensor in (("b", b), ("c", c)):
        if tuple(tensor.shape) != (n, groups, states, length):
            raise ValueError(f"{name}: expected {(n, groups, states, length)}; got {tuple(tensor.shape)}")


def _is_tracing() -> bool:
    jit: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]  # public, without annotations
    return jit or torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()


@functools.cache
def _cuda_kernel() -> Callable[..., Tensor] | None:
    """Find the fused kernel of ``mamba_ssm``; None where the package is absent or does not load."""
    try:
        module = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    except (ImportError, OSError, RuntimeError):
        return None
    kernel: Callable[..., Tensor] = module.selective_scan_fn
    return kernel


def _scan_by_doubling(u: Tensor, step: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Scan by the doubling of Hillis and Steele: no loop over positions, all states at once."""
    n, channels, length = u.shape
    groups, states = b.shape[1], b.shape[2]
    per_group = channels // groups
    decay = torch.exp(step.unsqueeze(2) * a[None, :, :, None])  # (N, P, S, L)
    drive = (step * u).reshape(n, groups, per_group, 1, length) * b.unsqueeze(2)
    state = drive.reshape(n, channels, states, length)
    shift = 1
    while shift < length:
        reached = state[..., shift:] + decay[..., shift:] * state[..., :-shift]
        state = torch.cat([state[..., :shift], reached], dim=-1)
        decay = torch.cat([decay[..., :shift], decay[..., shift:] * decay[..., :-shift]], dim=-1)
        shift *= 2
    y = (state.reshape(n, groups, per_group, states, length) * c.unsqueeze(2)).sum(dim=3)
    return y.reshape(n, channels, length)


class _Plan(NamedTuple):
    """How a scan is cut: blocks one after the other, of `segments` side by side with `steps` positions each."""

    blocks: int
    segments: int
    steps: int

    @property
    def length(self) -> int:
        return self.segments * self.steps


def _plan(length: int, width: int, device: str) -> _Plan:
    """Cut `length` positions of `width` states each."""
    kind = device if device in _BLOCK_ELEMENTS else "cuda"
    target = min(length, max(1, _BLOCK_ELEMENTS[kind] // width))
    blocks = math.ceil(length / target)
    per_block = math.ceil(length / blocks)
    # A second pass and the segments' hand-over have to pay for themselves: never fewer steps than segments.
    segments = min(math.ceil(_STEP_ELEMENTS[kind] / width), math.isqrt(per_block))
    if width * 4 >= _STEP_ELEMENTS[kind]:
        segments = 1
    return _Plan(blocks, segments, math.ceil(per_block / segments))


class _Block(NamedTuple):
    """One block's tensors in the order in which they are scanned, (T, K, N, G, X): steps, segments, the rest."""

    u: Tensor
    step: Tensor
    b: Tensor
    c: Tensor


def _cut(sequence: Tensor, index: int, plan: _Plan, groups: int) -> Tensor:
    """Take one block of (N, P, L) as (T, K, N, G, P/G), zeros after the end; a step of 0 keeps the state."""
    start = index * plan.length
    part = sequence[..., start : start + plan.length]
    if part.shape[-1] < plan.length:
        part = functional.pad(part, (0, plan.length - part.shape[-1]))
    n = part.shape[0]
    return part.reshape(n, groups, -1, plan.segments, plan.steps).permute(4, 3, 0, 1, 2).contiguous()


def _uncut(blocks: list[Tensor], plan: _Plan, shape: torch.Size) -> Tensor:
    """Put blocks of (T, K, N, G, X) together again, in the shape they were cut from; contiguous, as the fakes say."""
    stacked = torch.stack(blocks)  # (blocks, T, K, N, G, X)
    joined = stacked.permute(3, 4, 5, 0, 2, 1).reshape(*stacked.shape[3:], plan.blocks * plan.length)
    return joined[..., : shape[-1]].reshape(shape).contiguous()


def _cut_all(u: Tensor, step: Tensor, b: Tensor, c: Tensor, index: int, plan: _Plan) -> _Block:
    groups = b.shape[1]
    return _Block(*(_cut(t.flatten(1, -2), index, plan, groups) for t in (u, step, b, c)))


def _decay_and_drive(block: _Block, rates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what multiplies and what joins the state, (T, K, N, G, S, E), and the decay over whole segments."""
    decay = (block.step.unsqueeze(-2) * rates).exp_()
    drive = block.b.unsqueeze(-1) * (block.step * block.u).unsqueeze(-2)
    whole = (block.step.sum(0).unsqueeze(-2) * rates).exp_()
    return decay, drive, whole


def _forward_states(decay: Tensor, drive: Tensor, whole: Tensor, start: Tensor) -> Tensor:
    """Turn `drive` into the states, in place; return the states that enter each segment."""
    decays, drives = decay.unbind(0), drive.unbind(0)
    entry = torch.empty_like(drives[0])
    entry[0] = start
    segments = entry.shape[0]
    if segments > 1:
        local = drives[0].clone()
        for i in range(1, len(drives)):
            torch.addcmul(drives[i], decays[i], local, out=local)
        for k in range(1, segments):
            torch.addcmul(local[k - 1], whole[k - 1], entry[k - 1], out=entry[k])
    before = entry
    for decay_here, here in zip(decays, drives, strict=True):
        here.addcmul_(decay_here, before)
        before = here
    return entry


def _backward_states(decay: Tensor, drive: Tensor, whole: Tensor, start: Tensor) -> Tensor:
    """Turn `drive`, the states' own gradients, into whole gradients, in place; return what leaves at the front."""
    decays, drives = decay.unbind(0), drive.unbind(0)
    entry = torch.empty_like(drives[0])
    segments, last = entry.shape[0], len(drives) - 1
    entry[-1] = start
    if segments > 1:
        local = drives[last].clone()
        for i in range(last - 1, -1, -1):
            torch.addcmul(drives[i], decays[i + 1], local, out=local)
        local.mul_(decays[0])
        for k in range(segments - 1, 0, -1):
            torch.addcmul(local[k], whole[k], entry[k], out=entry[k - 1])
    drives[last].add_(entry)
    for i in range(last - 1, -1, -1):
        drives[i].addcmul_(decays[i + 1], drives[i + 1])
    return decays[0][0] * drives[0][0]


def _over_states(weight: Tensor, states: Tensor) -> Tensor:
    """Weighted sum over the states: (…, S), (…, S, E) -> (…, E)."""
    if weight.shape[-1] == 1:
        return weight * states.squeeze(-2)
    return torch.matmul(weight.unsqueeze(-2), states).squeeze(-2)


def _over_channels(states: Tensor, weight: Tensor) -> Tensor:
    """Weighted sum over the channels of a group: (…, S, E), (…, E) -> (…, S)."""
    return torch.matmul(states, weight.unsqueeze(-1)).squeeze(-1)


def _grouped_rates(a: Tensor, groups: int) -> Tensor:
    """(P, S) -> (G, S, E)."""
    return a.reshape(groups, -1, a.shape[1]).transpose(1, 2).contiguous()


def _plan_for(u: Tensor, b: Tensor) -> _Plan:
    return _plan(u.shape[2], u.shape[0] * u.shape[1] * b.shape[2], u.device.type)


@torch.library.custom_op("itkit::selective_scan", mutates_args=())
def _scan(u: Tensor, step: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Scan with positive steps; the second result holds the states that enter the blocks."""
    plan, groups = _plan_for(u, b), b.shape[1]
    rates = _grouped_rates(a, groups)
    state = rates.new_zeros(u.shape[0], *rates.shape)
    borders, outputs = [], []
    for index in range(plan.blocks):
        borders.append(state)
        block = _cut_all(u, step, b, c, index, plan)
        decay, states, whole = _decay_and_drive(block, rates)
        _forward_states(decay, states, whole, state)
        state = states[-1, -1].clone()
        outputs.append(_over_states(block.c, states))
    return _uncut(outputs, plan, u.shape), torch.stack(borders)


@_scan.register_fake
def _scan_fake(u: Tensor, step: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    del step, a, c
    n, channels = u.shape[:2]
    groups, states = b.shape[1], b.shape[2]
    return u.new_empty(u.shape), u.new_empty(_plan_for(u, b).blocks, n, groups, states, channels // groups)


@torch.library.custom_op("itkit::selective_scan_backward", mutates_args=())
def _scan_gradients(
    u: Tensor, step: Tensor, a: Tensor, b: Tensor, c: Tensor, borders: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `_scan` with respect to its five arguments; states are computed again, block by block."""
    plan, groups = _plan_for(u, b), b.shape[1]
    rates = _grouped_rates(a, groups)
    rates_grad = torch.zeros_like(rates)
    carry = torch.zeros_like(borders[0])
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for index in reversed(range(plan.blocks)):
        block = _cut_all(u, step, b, c, index, plan)
        grad_y = _cut(grad, index, plan, groups)
        decay, states, whole = _decay_and_drive(block, rates)
        entry = _forward_states(decay, states, whole, borders[index])
        grad_c = _over_channels(states, grad_y)
        grad_states = block.c.unsqueeze(-1) * grad_y.unsqueeze(-2)
        carry = _backward_states(decay, grad_states, whole, carry)
        grad_b = _over_channels(grad_states, block.step * block.u)
        grad_drive = _over_states(block.b, grad_states)
        exponent = grad_states.mul_(decay)  # becomes the gradient of step * rate
        exponent[1:].mul_(states[:-1])
        exponent[0].mul_(entry)
        grad_step = torch.addcmul((exponent * rates).sum(-2), grad_drive, block.u)
        rates_grad += exponent.mul_(block.step.unsqueeze(-2)).sum((0, 1, 2))
        parts.append((grad_drive.mul_(block.step), grad_step, grad_b, grad_c))
    parts.reverse()
    shapes = (u.shape, u.shape, b.shape, c.shape)
    grad_u, grad_step, grad_b, grad_c = (
        _uncut([part[i] for part in parts], plan, shape) for i, shape in enumerate(shapes)
    )
    return grad_u, grad_step, rates_grad.transpose(1, 2).reshape(a.shape), grad_b, grad_c


@_scan_gradients.register_fake
def _scan_gradients_fake(
    u: Tensor, step: Tensor, a: Tensor, b: Tensor, c: Tensor, borders: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    del borders, grad
    one, two, three, four, five = (tensor.new_empty(tensor.shape) for tensor in (u, step, a, b, c))
    return one, two, three, four, five


def _keep(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[1])


def _backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor, _: Tensor) -> tuple[Tensor, ...]:
    with torch.autocast(grad.device.type, enabled=False):
        gradients: tuple[Tensor, ...] = _scan_gradients(*ctx.saved_tensors, grad)  # type: ignore[attr-defined]  # set by save_for_backward
    return gradients


_scan.register_autograd(_backward, setup_context=_keep)
