"""Segmentation networks: a registry of cards, builders, and released weights.

Nothing here imports torch until a network is built.

Examples
--------
>>> from itkit.models import list_models, model_card
>>> "mednext_s" in list_models("mednext*")
True
>>> model_card("mednext_s").divisor
16
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from itkit.core.lazy import lazy_names

if TYPE_CHECKING:
    from itkit.models.card import ModelCard, Weights
    from itkit.models.pretrained import LoadReport, load_pretrained
    from itkit.models.reference import from_reference
    from itkit.models.registry import create_model, list_models, model_card, register_model, table
    from itkit.models.unet.plans import from_nnunet_plans

__all__ = [
    "LoadReport",
    "ModelCard",
    "Weights",
    "create_model",
    "from_nnunet_plans",
    "from_reference",
    "list_models",
    "load_pretrained",
    "model_card",
    "register_model",
    "table",
]

_HOMES = {
    "LoadReport": ".pretrained",
    "ModelCard": ".card",
    "Weights": ".card",
    "create_model": ".registry",
    "from_nnunet_plans": ".unet.plans",
    "from_reference": ".reference",
    "list_models": ".registry",
    "load_pretrained": ".pretrained",
    "model_card": ".registry",
    "register_model": ".registry",
    "table": ".registry",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
