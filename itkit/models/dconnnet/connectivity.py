"""Directional connectivity: masks as links between neighbouring pixels, and back.

A class has eight maps, one for each neighbour, row by row: channel ``k`` of ``NEIGHBOURS`` is 1 where a pixel and that
neighbour both belong to the class. The opposite of ``k`` is ``7 - k``; outside the image nothing is linked.

Source: Z. Yang, S. Farsiu, "Directional connectivity-based segmentation of medical images", CVPR 2023,
arXiv:2304.00145; repository Zyun-Y/DconnNet.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""Offsets (row, column) of the eight neighbours, in channel order."""


def _neighbour(x: Tensor, direction: int, outside: float) -> Tensor:
    """Move ``(..., Y, X)`` so that each pixel holds the value of its neighbour."""
    down, right = NEIGHBOURS[direction]
    height, width = x.shape[-2:]
    padded = functional.pad(x, (1, 1, 1, 1), value=outside)
    return padded[..., 1 + down : 1 + down + height, 1 + right : 1 + right + width]


def _partners(maps: Tensor, outside: float = 0.0) -> Tensor:
    """Give, for each direction, what the neighbour there says of the way back; ``(N, C, 8, Y, X)``."""
    return torch.stack([_neighbour(maps[:, :, 7 - k], k, outside) for k in range(8)], dim=2)


def split_directions(channels: Tensor) -> Tensor:
    """View channels ``(N, 8 C, Y, X)`` as ``(N, C, 8, Y, X)``.

    Raises
    ------
    ValueError
        When the number of channels is no multiple of 8.
    """
    if channels.ndim != 4 or channels.shape[1] % 8:
        raise ValueError(f"connectivity maps: expected (N, 8 C, Y, X); got {tuple(channels.shape)}")
    return channels.reshape(channels.shape[0], -1, 8, *channels.shape[2:])


def connectivity_matrix(mask: Tensor) -> Tensor:
    """Turn binary masks ``(N, C, Y, X)`` into links ``(N, 8 C, Y, X)``.

    Examples
    --------
    >>> links = connectivity_matrix(torch.tensor([[[[1.0, 1.0, 0.0]]]]))
    >>> links[0, 4].tolist(), links[0, 3].tolist()
    ([[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    """
    return torch.stack([mask * _neighbour(mask, k, 0.0) for k in range(8)], dim=2).flatten(1, 2)


def bilateral_voting(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Let both ends of each link vote: multiply a map with its partner's.

    Parameters
    ----------
    maps
        Link strengths ``(N, C, 8, Y, X)``.

    Returns
    -------
    score, votes
        Greatest vote of each pixel ``(N, C, Y, X)``, and all votes ``(N, C, 8, Y, X)``.
    """
    votes = maps * _partners(maps)
    return votes.max(dim=2).values, votes


def mask_logits(channels: Tensor) -> Tensor:
    """Turn connectivity logits ``(N, 8 C, Y, X)`` into logits of the classes ``(N, C, Y, X)``.

    With several classes these are the voted scores to which the authors apply softmax. With one class the logit is
    positive exactly where both ends of one link have positive logits: the authors' decision, which thresholds first and
    votes then.
    """
    maps = split_directions(channels)
    if maps.shape[1] > 1:
        return bilateral_voting(maps)[0]
    return torch.minimum(maps, _partners(maps, torch.finfo(maps.dtype).min)).max(dim=2).values


def predict(channels: Tensor) -> Tensor:
    """Decide labels ``(N, 1, Y, X)``, int64, from connectivity logits: 0 or 1 for one class, else the class number."""
    logits = mask_logits(channels)
    if logits.shape[1] == 1:
        return (logits > 0).long()
    return logits.argmax(1, keepdim=True)
