"""Loss and momentum schedule of MoCo v3, which needs no queue.

Source: X. Chen et al., "An empirical study of training self-supervised vision transformers", ICCV 2021,
arXiv:2104.02057.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, distributed
from torch.nn import functional

from itkit.models.moco.moco import gather


def contrastive_loss(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """Contrast each query with the keys of the batch, of all processes together.

    Parameters
    ----------
    query, key
        Encoder outputs ``(N, dim)`` before normalisation, pairs in the same row.
    temperature
        Temperature of the softmax; the loss is scaled by twice its value.
    """
    query, key = functional.normalize(query, dim=1), functional.normalize(key.detach(), dim=1)
    first = 0
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        key, first = gather(key), distributed.get_rank() * query.shape[0]
    labels = torch.arange(query.shape[0], device=query.device) + first
    return 2 * temperature * functional.cross_entropy(query @ key.T / temperature, labels)


def symmetric_loss(views: tuple[Tensor, Tensor], keys: tuple[Tensor, Tensor], temperature: float = 1.0) -> Tensor:
    """Contrast the queries of either view with the keys of the other, each ``(N, dim)``."""
    return contrastive_loss(views[0], keys[1], temperature) + contrastive_loss(views[1], keys[0], temperature)


def momentum_at(epoch: float, epochs: float, base: float = 0.99) -> float:
    """Return the key encoder's momentum, rising from ``base`` to 1 along half a cosine.

    Examples
    --------
    >>> momentum_at(0, 100), momentum_at(100, 100)
    (0.99, 1.0)
    """
    return 1 - 0.5 * (1 + math.cos(math.pi * epoch / epochs)) * (1 - base)
