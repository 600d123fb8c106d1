"""Parameters that a network registers under several names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn


def with_all_names(network: nn.Module, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Give a tensor all of its names, where a file was written with some of them (as ``safetensors`` does).

    Parameters
    ----------
    network
        The network, whose parameters may have several names each.
    weights
        Tensors of a file.
    """
    names: dict[int, list[str]] = {}
    for key, parameter in network.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(key)
    full = dict(weights)
    for group in names.values():
        known = next((weights[key] for key in group if key in weights), None)
        if known is not None:
            full.update({key: weights.get(key, known) for key in group})
    return full
