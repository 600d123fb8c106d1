"""What is known about a network before it is built: its source, its abilities, its released weights. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from itkit.core.errors import ModelError

NONE_RELEASED = "none released"
WHOLE = "the whole network"
ENCODER = "the encoder"


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """One set of weights that a network's authors have released.

    Attributes
    ----------
    trained_on
        Data that the weights were trained on, e.g. ``"ImageNet"``; :func:`create_model` selects weights by it.
    page
        Page of the authors on which the weights are linked.
    url
        The file itself; empty where the authors' links lead to a page that only a browser can use.
    sha256
        SHA-256 of the file in hexadecimal digits, or the first eight or more of them, as file names of ``torch.hub``
        carry them; empty where the authors state none.
    licence
        Licence of the weights.
    what
        What the file fills: ``"the whole network"`` or ``"the encoder"``; the rest then keeps its initial values.
    """

    trained_on: str
    page: str
    url: str = ""
    sha256: str = ""
    licence: str = "not stated"
    what: str = WHOLE

    def __post_init__(self) -> None:
        if self.sha256 and not re.fullmatch(r"[0-9a-f]{8,64}", self.sha256):
            raise ModelError(f"sha256 of weights: expected 8 to 64 lowercase hexadecimal digits; got {self.sha256!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """Where a network comes from, how it is built, and what it can do.

    A card of your own needs a name and the numbers of axes; the rest says nothing more than the defaults do.

    Attributes
    ----------
    name
        Name under which :func:`create_model` builds the network.
    family
        Folder of the network in this package; empty for other packages' networks.
    paper_parameters
        Parameter count that the paper states, None when it states none.
    spatial_dims
        Supported numbers of spatial axes; the first is the default.
    builder
        Function or class that builds the network, or its path ``"module:callable"``, so that a list of networks
        imports none. It is called with ``in_channels``, ``num_classes``, ``spatial_dims`` and the options.
    options
        Options of the published configuration; a caller's options come on top.
    tiny
        Options of a quick version with less than a million parameters.
    tiny_size
        Input side(s) for the tiny version, one integer or one per spatial axis (ZYX or YX).
    divisor
        Every input side must be a multiple of it.
    fixed_size
        The input size is the option ``image_size`` and can't change afterwards.
    built_by
        Package whose class the network is, where its code is not of this package, e.g. ``"monai"``.
    unused
        Regular expressions (searched) of parameters that no forward pass uses; they stay loadable but are frozen.
    head, stem
        Regular expressions (searched) of the parameters whose outputs follow the number of classes, and of those whose
        inputs follow the number of image channels; only these are adapted when weights for other numbers are loaded.
    head_inputs
        The same for parameters whose inputs follow the number of classes, because logits go through them.
    weights
        Released weights, the usual ones first.
    """

    name: str
    family: str = ""
    title: str = ""
    paper: str = ""
    year: int | None = None
    doi: str = ""
    repository: str = ""
    code_licence: str = "not stated"
    weights: tuple[Weights, ...] = ()
    spatial_dims: tuple[int, ...]
    builder: str | Callable[..., Any] = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    tiny: Mapping[str, Any] = field(default_factory=dict)
    tiny_size: int | tuple[int, ...] = 32
    divisor: int = 1
    minimum_size: int = 1
    fixed_size: bool = False
    built_by: str = ""
    unused: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    stem: tuple[str, ...] = ()
    head_inputs: tuple[str, ...] = ()
    onnx: bool = True
    compiles: bool = True
    bf16: bool = True
    checkpointing: bool = False
    ddp_safe: bool = True
    deep_supervision: bool = False
    paper_parameters: int | None = None
    notes: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise ModelError(f"name of a network: expected letters, digits, '_', '.' or '-'; got {self.name!r}")
        if not self.spatial_dims or not set(self.spatial_dims) <= {1, 2, 3}:
            raise ModelError(f"{self.name}: spatial_dims: expected some of 1, 2 and 3; got {self.spatial_dims!r}")

    @property
    def weights_origin(self) -> str:
        """Text that says where the authors release weights, or that they do not."""
        places = (f"{weights.trained_on}: {weights.url or weights.page}" for weights in self.weights)
        return "; ".join(places) or NONE_RELEASED

    @property
    def weights_licence(self) -> str:
        """Text that names the licences of the released weights."""
        return "; ".join(dict.fromkeys(weights.licence for weights in self.weights)) or NONE_RELEASED
