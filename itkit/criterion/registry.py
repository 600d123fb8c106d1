"""Losses by name: ours, your own and those of other packages; torch is imported only when a loss is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from itkit.core.errors import ModelError, PluginError
from itkit.core.extras import require
from itkit.core.plugins import Plugins, find_plugins, resolve
from itkit.core.text import did_you_mean
from itkit.criterion.cards import CARDS

if TYPE_CHECKING:
    from torch import nn

GROUP = "itkit.losses"
"""Group of the entry points by which packages register losses."""
LOSSES = {card.name: card.maker for card in CARDS}
"""Our losses; those with a network's name are the ones that its authors train it with."""
_Maker = TypeVar("_Maker", bound=Callable[..., Any])
_registered: dict[str, Callable[..., Any]] = {}
"""Losses that `register_loss` has made known in this process."""


def register_loss(name: str) -> Callable[[_Maker], _Maker]:
    """Make a loss of your own known to :func:`create_loss` and :func:`list_losses`.

    Decorates a module's class, or a function that returns a module; it is called with the options. A package registers
    a loss for all of its users by an entry point of the group ``itkit.losses``: the loss's name and the path of the
    class or function.

    Raises
    ------
    ModelError
        When another loss has the name. A class may be registered again, as when a notebook's cell is run twice.
    """

    def register(make: _Maker) -> _Maker:
        taken = LOSSES.get(name) or (_path_of(_registered[name]) if name in _registered else None)
        if taken is not None and taken != _path_of(make):
            raise ModelError(f"a loss is called {name!r} already ({taken}); take another name")
        _registered[name] = make
        return make

    return register


def _path_of(make: Callable[..., Any]) -> str:
    return f"{make.__module__}:{make.__qualname__}"


@cache
def _plugins() -> Plugins:
    return find_plugins(GROUP, taken=LOSSES)


def list_losses() -> list[str]:
    """List the names that :func:`create_loss` takes; needs no torch and imports no plug-in.

    Examples
    --------
    >>> "dice_ce" in list_losses()
    True
    """
    return sorted({*LOSSES, *_registered, *_plugins().by_name})


def create_loss(name: str, **options: Any) -> nn.Module:
    """Make a loss.

    Parameters
    ----------
    name
        One of :func:`list_losses`.
    **options
        Arguments of the loss.

    Returns
    -------
    torch.nn.Module
        Called with a network's output and the target, it returns a scalar.

    Raises
    ------
    ModelError
        When there is no such loss.
    TypeError
        For an option that the loss does not know.
    PluginError
        When another package's loss can't be imported; the package is named.
    MissingExtraError
        When torch is not installed.
    """
    plugins = _plugins()
    if name not in list_losses():
        refused = [message for message in plugins.refused if repr(name) in message]
        hint = did_you_mean(name, list_losses()) or "; list_losses() returns all names"
        raise ModelError(f"no loss is called {name!r}{hint}{''.join(f'; {message}' for message in refused)}")
    torch = require("torch", extra="train", why="making a loss")
    if name in LOSSES:
        make = resolve(LOSSES[name])
    else:
        make = _registered[name] if name in _registered else plugins.by_name[name].load()
    loss = make(**options)
    if not isinstance(loss, torch.nn.Module):
        fault = f"{_path_of(make)} must return a torch.nn.Module; got {loss!r}"
        package = plugins.by_name[name].package if name not in _registered else ""
        raise PluginError(f"{package}: {fault}") if package else ModelError(f"{name}: {fault}")
    return loss  # type: ignore[no-any-return]  # it was made by a path


def loss_of(plan: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]) -> nn.Module:
    """Make the loss that a plan describes.

    Parameters
    ----------
    plan
        A name; a mapping with ``name``, options, and optionally ``weight`` and ``deep_supervision``; or several of
        these, which are added. ``deep_supervision`` is true, or the weights of the outputs, finest first.

    Raises
    ------
    ModelError
        When there is no such loss, or it does not know an option.

    Examples
    --------
    >>> loss = loss_of(["dice", {"name": "cross_entropy", "weight": 0.5, "label_smoothing": 0.1}])  # doctest: +SKIP
    """
    if isinstance(plan, Mapping | str):
        return _part(plan)[0]
    require("torch", extra="train", why="making a loss")
    from itkit.criterion.modules import WeightedSum

    parts = [_part(part) for part in plan]
    return WeightedSum([loss for loss, _ in parts], [weight for _, weight in parts])


def _part(plan: str | Mapping[str, Any]) -> tuple[nn.Module, float]:
    options: dict[str, Any] = {"name": plan} if isinstance(plan, str) else dict(plan)
    if not isinstance(options.get("name"), str):
        raise ModelError(f"loss: expected a name; got {plan!r}")
    name, weight = options.pop("name"), options.pop("weight", 1.0)
    deep = options.pop("deep_supervision", False)
    try:
        loss = create_loss(name, **options)
    except TypeError as error:
        raise ModelError(f"loss {name!r}: {error}") from error
    if deep is not False:
        from itkit.criterion.modules import DeepSupervision

        loss = DeepSupervision(loss, None if deep is True else deep)
    return loss, weight
