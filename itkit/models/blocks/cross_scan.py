"""Selective scans of a map along several routes at once (cross scan and cross merge).

Liu et al., "VMamba: Visual State Space Model", NeurIPS 2024, arXiv:2401.10166, section 4.2;
here for any number of axes.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.models.blocks.selective_scan import selective_scan

if TYPE_CHECKING:
    from collections.abc import Sequence


class Route(NamedTuple):
    """A way through a map: its spatial axes from the slowest to the fastest, walked forwards or backwards."""

    axes: tuple[int, ...]
    backwards: bool


class ScanWeights(NamedTuple):
    """Weights of K routes over E channels with S states and step rank R."""

    x_proj_weight: Tensor
    """(K, R + 2 S, E): step numbers, input weights, output weights."""
    dt_projs_weight: Tensor
    """(K, E, R)"""
    dt_projs_bias: Tensor
    """(K, E)"""
    a_logs: Tensor
    """(K E, S)"""
    ds: Tensor
    """(K E,)"""


def both_ways(orders: Sequence[tuple[int, ...]]) -> tuple[Route, ...]:
    """Walk every order forwards, then every order backwards."""
    return tuple(Route(axes, backwards) for backwards in (False, True) for axes in orders)


CROSS = both_ways(((0, 1), (1, 0)))
"""The four routes of VMamba: row by row, column by column, and both reversed."""


def volume_routes(directions: int) -> tuple[Route, ...]:
    """Return routes through a volume.

    Parameters
    ----------
    directions
        6: each axis is once the fastest one, both ways; 12: all orders of the axes, both ways.

    Raises
    ------
    ValueError
        For another number.
    """
    if directions == 6:
        return both_ways(((0, 1, 2), (1, 2, 0), (2, 0, 1)))
    if directions == 12:
        return both_ways(tuple(itertools.permutations(range(3))))
    raise ValueError(f"directions: expected 6 or 12 routes through a volume; got {directions}")


def cross_scan(x: Tensor, routes: Sequence[Route]) -> Tensor:
    """Lay a map ``(N, E, *spatial)`` out as sequences ``(N, K, E, L)``, one a route."""
    sequences: dict[tuple[int, ...], Tensor] = {}
    laid = []
    for axes, backwards in routes:
        if axes not in sequences:
            sequences[axes] = x.permute(0, 1, *(axis + 2 for axis in axes)).flatten(2)
        laid.append(sequences[axes].flip(-1) if backwards else sequences[axes])
    return torch.stack(laid, dim=1)


def cross_merge(sequences: Tensor, routes: Sequence[Route], size: Sequence[int]) -> Tensor:
    """Bring sequences ``(N, K, E, L)`` back to their places and add them up: ``(N, E, *size)``."""
    by_axes: dict[tuple[int, ...], Tensor] = {}
    for (axes, backwards), sequence in zip(routes, sequences.unbind(1), strict=True):
        ordered = sequence.flip(-1) if backwards else sequence
        by_axes[axes] = by_axes[axes] + ordered if axes in by_axes else ordered
    total: Tensor | None = None
    for axes, sequence in by_axes.items():
        back = [2 + axes.index(axis) for axis in range(len(axes))]
        placed = sequence.reshape(*sequence.shape[:2], *(size[axis] for axis in axes)).permute(0, 1, *back)
        total = placed if total is None else total + placed
    if total is None:
        raise ValueError("routes: expected at least one; got none")
    return total


def scan_sequences(xs: Tensor, weights: ScanWeights) -> Tensor:
    """Scan sequences ``(N, K, E, L)``, each route with its own weights; the result is float32 or float64."""
    rank, states = weights.dt_projs_weight.shape[2], weights.a_logs.shape[1]
    projected = torch.matmul(weights.x_proj_weight, xs)
    steps, b, c = torch.split(projected, [rank, states, states], dim=2)
    work = torch.promote_types(xs.dtype, torch.float32)
    y = selective_scan(
        xs.flatten(1, 2).to(work),
        torch.matmul(weights.dt_projs_weight, steps).flatten(1, 2),
        -torch.exp(weights.a_logs.to(work)),
        b,
        c,
        weights.ds,
        weights.dt_projs_bias.flatten(),
    )
    return y.reshape(xs.shape)


def scan_map(x: Tensor, weights: ScanWeights, routes: Sequence[Route]) -> Tensor:
    """Scan a map along all routes and add up: ``(N, E, *spatial)`` to the same shape, at least in float32."""
    return cross_merge(scan_sequences(cross_scan(x, routes), weights), routes, x.shape[2:])


def initial_step_bias(*shape: int) -> Tensor:
    """Draw biases whose softplus is log-uniform in [0.001, 0.1], as Mamba does."""
    low, high = math.log(1e-3), math.log(1e-1)
    step = torch.exp(torch.rand(shape) * (high - low) + low).clamp(min=1e-4)
    return step + torch.log(-torch.expm1(-step))


def initial_rates(channels: int, states: int) -> Tensor:
    """Return the logarithms of the rates 1 to S for each channel, ``(channels, states)``."""
    return torch.log(torch.arange(1, states + 1, dtype=torch.float32)).repeat(channels, 1)


def initial_weights(routes: int, channels: int, states: int, rank: int, init: str = "v0") -> ScanWeights:
    """Create trainable weights in the way ``ssm_init`` names.

    Raises
    ------
    ValueError
        For an unknown way.
    """
    bound = channels**-0.5
    x_proj = torch.empty(routes, rank + 2 * states, channels).uniform_(-bound, bound)
    ds = torch.ones(routes * channels)
    if init == "v0":
        dt_weight = torch.empty(routes, channels, rank).uniform_(-(rank**-0.5), rank**-0.5)
        dt_bias = initial_step_bias(routes, channels)
        a_logs = initial_rates(routes * channels, states)
    elif init in {"v1", "v2"}:
        dt_weight, dt_bias = 0.1 * torch.rand(routes, channels, rank), 0.1 * torch.rand(routes, channels)
        make = torch.randn if init == "v1" else torch.zeros
        a_logs = make(routes * channels, states)
    else:
        raise ValueError(f"ssm_init: expected v0, v1 or v2; got {init!r}")
    return ScanWeights(*(nn.Parameter(t) for t in (x_proj, dt_weight, dt_bias, a_logs, ds)))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over axis 1 of a channels-first map."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(N, C, *spatial)``."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ChannelLinear(nn.Linear):
    """Linear layer over axis 1 of a channels-first map; loads 1x1 kernels ``(out, in, 1, 1)`` too."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, *spatial)`` to ``(N, out, *spatial)``."""
        return functional.linear(x.movedim(1, -1), self.weight, self.bias).movedim(-1, 1)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        key = f"{prefix}weight"
        if key in state_dict and state_dict[key].ndim > 2:
            state_dict[key] = state_dict[key].reshape(self.weight.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)
