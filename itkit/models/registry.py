"""Networks by name: ours, your own and those of other packages; torch is imported only when one is built."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from itkit.core.errors import ModelError, PluginError
from itkit.core.extras import require
from itkit.core.plugins import find_plugins, resolve
from itkit.core.text import close_words
from itkit.models.card import WHOLE, ModelCard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from itkit.core.plugins import Plugin
    from itkit.models.card import Weights
    from itkit.models.segmenter import Segmenter

LOGGER = logging.getLogger(__name__)
GROUP = "itkit.models"
"""Group of the entry points by which packages register networks."""
FAMILIES = (
    "unet",
    "dynunet",
    "swin_unetr",
    "mednext",
    "unetr",
    "unet3plus",
    "vmamba",
    "segmamba",
    "swin_umamba",
    "segformer",
    "segformer3d",
    "efficientformer",
    "efficientnet",
    "da_transunet",
    "dconnnet",
    "lm_net",
    "ege_unet",
    "dsnet",
    "moco",
)
"""Folders beside this module; each has a ``card.py`` with ``CARDS`` and ``REFERENCES``."""
_Builder = TypeVar("_Builder", bound="Callable[..., Any]")
_registered: dict[str, ModelCard] = {}
"""Cards of networks that `register_model` has made known in this process."""


def register_model(card: ModelCard) -> Callable[[_Builder], _Builder]:
    """Make a network of your own known to :func:`create_model`, :func:`list_models` and all that builds on them.

    Decorates the function or class that builds the network; it is called with ``in_channels``, ``num_classes``,
    ``spatial_dims`` and options, and returns a module that maps images to logits. A package registers a network for
    all of its users by an entry point of the group ``itkit.models``: the network's name, and the path of its card or
    of the decorated function.

    Parameters
    ----------
    card
        What is known about the network. Its builder is what is decorated.

    Raises
    ------
    ModelError
        When another network has the card's name. A function may be registered again, as when a notebook's cell is
        run twice.

    Examples
    --------
    ::

        @register_model(ModelCard(name="my_network", spatial_dims=(2, 3), divisor=8))
        def build(in_channels, num_classes, spatial_dims, width=32):
            return MyNetwork(in_channels, num_classes, spatial_dims, width)


        network = create_model("my_network", num_classes=4, width=16)
    """

    def register(build: _Builder) -> _Builder:
        known = _own_cards().get(card.name) or _registered.get(card.name)
        if known is not None and _path_of(known.builder) != _path_of(build):
            raise ModelError(
                f"a network is called {card.name!r} already ({_path_of(known.builder)}); take another name"
            )
        _registered[card.name] = replace(card, builder=build)
        return build

    return register


def _path_of(builder: str | Callable[..., Any]) -> str:
    return builder if isinstance(builder, str) else f"{builder.__module__}:{builder.__qualname__}"


def _card_modules() -> list[Any]:
    return [import_module(f"itkit.models.{family}.card") for family in FAMILIES]


@cache
def _own_cards() -> Mapping[str, ModelCard]:
    found: dict[str, ModelCard] = {}
    for module in _card_modules():
        for card in module.CARDS:
            if card.name in found:
                raise ModelError(f"two cards are called {card.name!r}: {found[card.name].builder} and {card.builder}")
            found[card.name] = card
    return MappingProxyType(found)


@cache
def _plugged() -> tuple[Mapping[str, ModelCard], tuple[str, ...]]:
    """Return the cards that other packages register, and a message for each registration that is refused."""
    plugins = find_plugins(GROUP, taken=_own_cards())
    cards, refused = {}, list(plugins.refused)
    for name, plugin in plugins.by_name.items():
        try:
            cards[name] = _plugged_card(plugin)
        except PluginError as error:
            refused.append(str(error))
    for message in refused:
        LOGGER.warning("%s", message)
    return MappingProxyType(cards), tuple(refused)


def _plugged_card(plugin: Plugin) -> ModelCard:
    value = plugin.load()
    known = _registered.get(plugin.name)
    card = known if known is not None and known.builder is value else value
    if not isinstance(card, ModelCard):
        wanted = f"a ModelCard called {plugin.name!r}, or a function that register_model decorates under this name"
        raise PluginError(f"{plugin.package}: {plugin.path}: expected {wanted}; got {type(value).__name__}")
    if card.name != plugin.name or not card.builder:
        fault = "without a builder" if card.name == plugin.name else f"called {card.name!r}"
        raise PluginError(f"{plugin.package}: {plugin.path}: the card of the plug-in {plugin.name!r} is {fault}")
    if known is not None and _path_of(known.builder) != _path_of(card.builder):
        raise PluginError(f"{plugin.package}: a network is called {plugin.name!r} already ({_path_of(known.builder)})")
    return card


def _cards() -> Mapping[str, ModelCard]:
    return dict(sorted({**_plugged()[0], **_registered, **_own_cards()}.items()))


@cache
def references() -> Mapping[str, str]:
    """Map each authors' class to ``"module:function"`` that builds it in the authors' form."""
    return MappingProxyType({k: v for module in _card_modules() for k, v in module.REFERENCES.items()})


def list_models(pattern: str = "*", *, plugins: bool = True) -> list[str]:
    """List the registered names that match a shell pattern.

    Parameters
    ----------
    pattern
        Shell pattern of the names.
    plugins
        List your own networks and those of other packages, too.

    Examples
    --------
    >>> list_models("mednext_?")
    ['mednext_b', 'mednext_l', 'mednext_m', 'mednext_s']
    """
    return [name for name in (_cards() if plugins else sorted(_own_cards())) if fnmatchcase(name, pattern)]


def model_card(name: str) -> ModelCard:
    """Look up a network's card.

    Raises
    ------
    ModelError
        When there is no such network; the message names the closest ones.
    """
    cards = _cards()
    if name in cards:
        return cards[name]
    refused = [message for message in _plugged()[1] if repr(name) in message]
    close = close_words(name.lower(), cards, most=3, likeness=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "itkit models lists all names"
    raise ModelError(f"no network is called {name!r}; {'; '.join(refused) or hint}")


def create_model(
    name: str,
    *,
    in_channels: int = 1,
    num_classes: int = 2,
    spatial_dims: int | None = None,
    pad: bool = True,
    pretrained: bool | str = False,
    **options: Any,
) -> Segmenter:
    """Build a network that maps images to logits of the same size.

    Parameters
    ----------
    name
        One of :func:`list_models`.
    in_channels, num_classes
        Channels of the image and of the logits.
    spatial_dims
        2 or 3; by default the first that the network's card names.
    pad
        Pad inputs whose sides don't fit by repeating their border, and crop the logits. Otherwise such inputs are an
        error that names the nearest size that fits.
    pretrained
        Fill the network with weights of its authors: True for the first of its card that can be downloaded, or the
        data that they were trained on, e.g. ``"ImageNet"``. The licence of the weights is the card's.
    **options
        Arguments of the network's builder (``use_checkpoint``, ``deep_supervision``, widths, ...); they override the
        card's published configuration.

    Returns
    -------
    Segmenter
        ``(N, in_channels, Z, Y, X)`` or ``(N, in_channels, Y, X)`` to ``(N, num_classes, ...)``.

    Raises
    ------
    ModelError
        For an unknown name, an unsupported number of axes or an unsupported option, and for weights that the authors
        have not released as a file that can be downloaded.
    TypeError
        For an option the builder does not know.
    MissingExtraError
        When torch is not installed.
    WeightsError
        When the weights can't be downloaded or do not fit.
    """
    card = model_card(name)
    dims = card.spatial_dims[0] if spatial_dims is None else spatial_dims
    if dims not in card.spatial_dims:
        supported = " or ".join(map(str, card.spatial_dims))
        raise ModelError(f"{name}: spatial_dims must be {supported}; got {dims}")
    for key, value in (("in_channels", in_channels), ("num_classes", num_classes)):
        if value < 1:
            raise ModelError(f"{name}: {key} must be at least 1; got {value}")
    for key, flag in (("use_checkpoint", card.checkpointing), ("deep_supervision", card.deep_supervision)):
        if not flag and options.pop(key, False):
            raise ModelError(f"{name}: {key} is not available in this network")
    weights = _weights_of(card, pretrained) if pretrained else None
    torch = require("torch", extra="train", why="building a network")
    arguments = {**card.options, **options}
    build = resolve(card.builder) if isinstance(card.builder, str) else card.builder
    network = build(in_channels=in_channels, num_classes=num_classes, spatial_dims=dims, **arguments)
    if not isinstance(network, torch.nn.Module):
        raise ModelError(f"{name}: {_path_of(card.builder)} must return a torch.nn.Module; got {network!r}")
    for key, parameter in network.named_parameters():
        if any(re.search(pattern, key) for pattern in card.unused):
            parameter.requires_grad_(requires_grad=False)

    from itkit.models.segmenter import Segmenter

    model = Segmenter(
        network,
        card,
        in_channels=in_channels,
        num_classes=num_classes,
        spatial_dims=dims,
        pad=pad,
        image_size=arguments.get("image_size") if card.fixed_size else None,
        deep_supervision=bool(arguments.get("deep_supervision", False)),
    )
    if weights is not None:
        from itkit.models.pretrained import load_pretrained

        load_pretrained(model, weights.url, sha256=weights.sha256 or None, partial=weights.what != WHOLE)
    return model


def _weights_of(card: ModelCard, wanted: bool | str) -> Weights:
    files = [weights for weights in card.weights if weights.url]
    for weights in files:
        if wanted is True or weights.trained_on.lower() == str(wanted).lower():
            return weights
    if isinstance(wanted, str) and files:
        known = " or ".join(repr(weights.trained_on) for weights in files)
        raise ModelError(f"{card.name}: pretrained: expected True or {known}; got {wanted!r}")
    raise ModelError(
        f"{card.name}: pretrained: its authors' weights can't be downloaded directly ({card.weights_origin}); "
        "give a file to load_pretrained"
    )


def table(pattern: str = "*") -> list[dict[str, str]]:
    """List the registered networks as rows of text, for a command line or a page; needs no torch."""
    return [
        {
            "name": card.name,
            "title": card.title or card.name,
            "year": "" if card.year is None else str(card.year),
            "dims": "/".join(f"{dims}D" for dims in card.spatial_dims),
            "divisor": str(card.divisor),
            "weights": card.weights_origin,
            "licence": card.code_licence,
            "paper": card.paper,
        }
        for card in map(model_card, list_models(pattern))
    ]
