"""Stochastic depth: whole residual branches are dropped for single samples in training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from itkit.core.errors import ModelError


class DropPath(nn.Module):
    """Drop a residual branch for random samples and scale the others to keep the expectation.

    Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, arXiv:1603.09382. Identity in evaluation mode.

    Parameters
    ----------
    rate
        Probability, in [0, 1), that a sample's branch is dropped.

    Raises
    ------
    ValueError
        When the rate lies outside [0, 1).
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ModelError(f"drop path rate must lie in [0, 1); got {rate}")
        self.rate = float(rate)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, ...)`` with some samples set to zero."""
        if self.rate == 0.0 or not self.training:
            return x
        keep = 1.0 - self.rate
        mask = torch.empty((x.shape[0],) + (1,) * (x.ndim - 1), dtype=x.dtype, device=x.device).bernoulli_(keep)
        return x * mask / keep

    def extra_repr(self) -> str:
        """Show the rate."""
        return f"rate={self.rate}"


def linear_rates(rate: float, blocks: int) -> list[float]:
    """Return one drop rate a block, rising linearly from 0 to ``rate``.

    Examples
    --------
    >>> linear_rates(0.2, 3)
    [0.0, 0.1, 0.2]
    """
    return [rate * block / max(1, blocks - 1) for block in range(blocks)]
