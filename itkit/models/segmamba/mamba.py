"""Tri-oriented Mamba layer: forward, backward and across slices.

Xing et al., "SegMamba", MICCAI 2024, arXiv:2401.13560, section 2.2; parameter names as in github.com/ge-xing/SegMamba.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.models.blocks.causal_conv import causal_conv1d
from itkit.models.blocks.cross_scan import ScanWeights, initial_rates, initial_step_bias, scan_sequences

_DIRECTIONS = ("", "_b", "_s")
"""Suffixes of the parameters: forward, backward, across slices."""


def interleave(tokens: Tensor, pieces: int) -> Tensor:
    """Cut the last axis into `pieces` and take their first tokens, then their second ones, and so on.

    Examples
    --------
    >>> interleave(torch.arange(6), 2).tolist()
    [0, 3, 1, 4, 2, 5]
    """
    return tokens.reshape(*tokens.shape[:-1], pieces, -1).transpose(-1, -2).flatten(-2)


class TriMamba(nn.Module):
    """Three selective scans of one token sequence, added up under one gate.

    Parameters
    ----------
    dim
        Width C; the inner width is 2 C.
    slices
        Number of pieces that the third scan goes across.
    d_state, d_conv
        States, and length of the causal convolutions.
    """

    def __init__(self, dim: int, slices: int, d_state: int = 16, d_conv: int = 4) -> None:
        super().__init__()
        inner, rank = 2 * dim, math.ceil(dim / 16)
        self.slices = slices
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        for suffix in _DIRECTIONS:
            self.add_module(f"conv1d{suffix}", nn.Conv1d(inner, inner, d_conv, groups=inner, padding=d_conv - 1))
            self.add_module(f"x_proj{suffix}", nn.Linear(inner, rank + 2 * d_state, bias=False))
            dt_proj = nn.Linear(rank, inner)
            nn.init.uniform_(dt_proj.weight, -(rank**-0.5), rank**-0.5)
            with torch.no_grad():
                dt_proj.bias.copy_(initial_step_bias(inner))
            self.add_module(f"dt_proj{suffix}", dt_proj)
            self.register_parameter(f"A{suffix}_log", nn.Parameter(initial_rates(inner, d_state)))
            self.register_parameter(f"D{suffix}", nn.Parameter(torch.ones(inner)))
        self.out_proj = nn.Linear(inner, dim, bias=False)

    def _stacked(self, pattern: str) -> Tensor:
        return torch.stack([self.get_parameter(pattern.format(suffix)) for suffix in _DIRECTIONS])

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix tokens ``(N, L, C)``; L must be divisible by the number of slices."""
        length = tokens.shape[1]
        if length % self.slices:
            raise ValueError(
                f"tokens: expected a multiple of {self.slices} (slices) at this stage; got {length}; "
                "image sides must be multiples of 16 whose sixteenths multiply to a multiple of 8"
            )
        x, z = self.in_proj(tokens).transpose(1, 2).chunk(2, dim=1)
        ordered = torch.cat([x, x.flip(-1), interleave(x, self.slices)], dim=1)
        kernels, biases = self._stacked("conv1d{}.weight").flatten(0, 1), self._stacked("conv1d{}.bias").flatten()
        filtered = functional.silu(causal_conv1d(ordered, kernels, biases))
        weights = ScanWeights(
            self._stacked("x_proj{}.weight"),
            self._stacked("dt_proj{}.weight"),
            self._stacked("dt_proj{}.bias"),
            self._stacked("A{}_log").flatten(0, 1),
            self._stacked("D{}").flatten(),
        )
        scanned = scan_sequences(filtered.reshape(x.shape[0], 3, -1, length), weights)
        forwards, backwards, across = scanned.unbind(1)
        y = forwards + backwards.flip(-1) + interleave(across, length // self.slices)
        out: Tensor = self.out_proj((y.to(z.dtype) * functional.silu(z)).transpose(1, 2))
        return out
