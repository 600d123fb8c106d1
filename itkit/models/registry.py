"""Names, cards and builders of the networks; torch is imported only when a network is built."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from itkit.core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from itkit.models.segmenter import Segmenter

FAMILIES = (
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


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """Where a network comes from, how it is built, and what it can do.

    Attributes
    ----------
    paper_parameters
        Parameter count that the paper states, None when it states none.
    spatial_dims
        Supported numbers of spatial axes; the first is the default.
    builder
        ``"module:callable"``, called with ``in_channels``, ``num_classes``, ``spatial_dims`` and options.
    options
        Options of the published configuration; a caller's options come on top.
    tiny
        Options that give a quick version with less than a million parameters.
    tiny_size
        Input side(s) for the tiny version, one integer or one per spatial axis (ZYX or YX).
    divisor
        Every input side must be a multiple of it.
    fixed_size
        The input size is the option ``image_size`` and can't change afterwards.
    unused
        Regular expressions (searched) of parameters that no forward pass uses; they stay loadable but are frozen.
    weights_origin
        Where the authors release weights, or ``"none released"``.
    """

    name: str
    family: str
    title: str
    paper: str
    year: int
    doi: str = ""
    repository: str
    code_licence: str
    weights_licence: str = "none released"
    weights_origin: str = "none released"
    spatial_dims: tuple[int, ...]
    builder: str
    options: Mapping[str, Any] = field(default_factory=dict)
    tiny: Mapping[str, Any] = field(default_factory=dict)
    tiny_size: int | tuple[int, ...] = 32
    divisor: int = 1
    minimum_size: int = 1
    fixed_size: bool = False
    unused: tuple[str, ...] = ()
    onnx: bool = True
    compiles: bool = True
    bf16: bool = True
    checkpointing: bool = False
    ddp_safe: bool = True
    deep_supervision: bool = False
    paper_parameters: int | None = None
    notes: str = ""


def resolve(path: str) -> Callable[..., Any]:
    """Import the attribute that ``"package.module:attribute"`` names."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)  # type: ignore[no-any-return]  # the card's promise


def _card_modules() -> list[Any]:
    return [import_module(f"itkit.models.{family}.card") for family in FAMILIES]


@cache
def _cards() -> Mapping[str, ModelCard]:
    found: dict[str, ModelCard] = {}
    for module in _card_modules():
        for card in module.CARDS:
            if card.name in found:
                raise ModelError(f"two cards are called {card.name!r}: {found[card.name].builder} and {card.builder}")
            found[card.name] = card
    return MappingProxyType(dict(sorted(found.items())))


@cache
def references() -> Mapping[str, str]:
    """Map each authors' class to ``"module:function"`` that builds it in the authors' form."""
    return MappingProxyType({k: v for module in _card_modules() for k, v in module.REFERENCES.items()})


def list_models(pattern: str = "*") -> list[str]:
    """List the registered names that match a shell pattern.

    Examples
    --------
    >>> list_models("mednext_?")
    ['mednext_b', 'mednext_l', 'mednext_m', 'mednext_s']
    """
    return [name for name in _cards() if fnmatchcase(name, pattern)]


def model_card(name: str) -> ModelCard:
    """Look up a network's card.

    Raises
    ------
    ModelError
        When there is no such network; the message names the closest ones.
    """
    try:
        return _cards()[name]
    except KeyError:
        close = difflib.get_close_matches(name.lower(), _cards(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else "list_models() gives all names"
        raise ModelError(f"no network is called {name!r}; {hint}") from None


def create_model(
    name: str,
    *,
    in_channels: int = 1,
    num_classes: int = 2,
    spatial_dims: int | None = None,
    pad: bool = True,
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
        For an unknown name, an unsupported number of axes or an unsupported option.
    TypeError
        For an option the builder does not know.
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
    arguments = {**card.options, **options}
    network = resolve(card.builder)(in_channels=in_channels, num_classes=num_classes, spatial_dims=dims, **arguments)
    for key, parameter in network.named_parameters():
        if any(re.search(pattern, key) for pattern in card.unused):
            parameter.requires_grad_(requires_grad=False)

    from itkit.models.segmenter import Segmenter

    return Segmenter(
        network,
        card,
        in_channels=in_channels,
        num_classes=num_classes,
        spatial_dims=dims,
        pad=pad,
        image_size=arguments.get("image_size") if card.fixed_size else None,
        deep_supervision=bool(arguments.get("deep_supervision", False)),
    )


def table(pattern: str = "*") -> list[dict[str, str]]:
    """List the registered networks as rows of text, for a command line or a page; needs no torch."""
    return [
        {
            "name": card.name,
            "title": card.title,
            "year": str(card.year),
            "dims": "/".join(f"{dims}D" for dims in card.spatial_dims),
            "divisor": str(card.divisor),
            "weights": card.weights_origin,
            "licence": card.code_licence,
            "paper": card.paper,
        }
        for card in map(model_card, list_models(pattern))
    ]
