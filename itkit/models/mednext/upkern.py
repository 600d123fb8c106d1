"""UpKern: start a large-kernel MedNeXt from a trained small-kernel one (Roy et al., arXiv:2303.09975, section 2.3)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from itkit.core.errors import WeightsError
from itkit.models.blocks.by_dims import resize
from itkit.models.mednext.network import MedNeXt

if TYPE_CHECKING:
    from collections.abc import Mapping


def upkern(target: nn.Module, source: nn.Module | Mapping[str, Tensor]) -> nn.Module:
    """Fill ``target`` with the weights of a network of the same configuration but another kernel size.

    Depthwise kernels are resized linearly, everything else is copied. Works in 2-D and 3-D, in both directions.

    Parameters
    ----------
    target
        The network to fill, in place.
    source
        The trained network, or its ``state_dict`` (a ``module.`` prefix is removed).

    Returns
    -------
    torch.nn.Module
        ``target``.

    Raises
    ------
    WeightsError
        When channels differ.

    Warns
    -----
    UserWarning
        When the source lacks weights of the target, e.g. deep-supervision heads; they keep their values.
    """
    given = source.state_dict() if isinstance(source, nn.Module) else source
    weights = {key.removeprefix("module."): value for key, value in given.items()}
    state = target.state_dict()
    absent = [key for key in state if key not in weights]
    if absent:
        warnings.warn(f"the source has no {', '.join(absent)}: left as initialised", stacklevel=2)
    state.update({key: _fit(key, weights[key], value) for key, value in state.items() if key in weights})
    target.load_state_dict(state)
    return target


def _fit(key: str, weight: Tensor, target: Tensor) -> Tensor:
    if weight.shape == target.shape:
        return weight
    if weight.ndim < 3 or weight.ndim != target.ndim or weight.shape[:2] != target.shape[:2]:
        raise WeightsError(f"{key}: {tuple(weight.shape)} can't become {tuple(target.shape)}; only kernels may differ")
    return resize(weight, target.shape[2:])


def small_from_config(config: Mapping[str, Any], official_class: str) -> nn.Module:
    """Build the source network of a weight transfer described by ``small`` and ``large`` arguments."""
    del official_class
    return MedNeXt(**config["small"])


def large_from_config(config: Mapping[str, Any]) -> nn.Module:
    """Build the target network of a weight transfer described by ``small`` and ``large`` arguments."""
    return MedNeXt(**config["large"])
