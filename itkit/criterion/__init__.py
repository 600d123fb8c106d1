"""Losses by name or as functions: ``functional``, modules over it in ``modules``, and the networks' own losses.

Nothing here imports torch until a loss is made, nor MONAI until one that it computes is called.

Examples
--------
>>> from itkit.criterion import list_losses
>>> "dice_ce" in list_losses()
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from itkit.core.lazy import lazy_names
from itkit.criterion.cards import CARDS

if TYPE_CHECKING:
    from itkit.criterion.dconnnet import DconnLoss
    from itkit.criterion.ege_unet import EGEUNetLoss
    from itkit.criterion.modules import (
        BoundaryLoss,
        ClDiceLoss,
        CrossEntropyLoss,
        DeepSupervision,
        DiceCELoss,
        DiceClDiceLoss,
        DiceFocalLoss,
        DiceLoss,
        FocalLoss,
        FocalTverskyLoss,
        GeneralizedDiceLoss,
        HausdorffDTLoss,
        JaccardLoss,
        LogHausdorffDTLoss,
        LovaszLoss,
        SurfaceCELoss,
        TopKLoss,
        TverskyLoss,
        WeightedSum,
    )
    from itkit.criterion.registry import create_loss, list_losses, loss_of, register_loss
    from itkit.criterion.unet3plus import UNet3PlusLoss

__all__ = [
    "BoundaryLoss",
    "ClDiceLoss",
    "CrossEntropyLoss",
    "DconnLoss",
    "DeepSupervision",
    "DiceCELoss",
    "DiceClDiceLoss",
    "DiceFocalLoss",
    "DiceLoss",
    "EGEUNetLoss",
    "FocalLoss",
    "FocalTverskyLoss",
    "GeneralizedDiceLoss",
    "HausdorffDTLoss",
    "JaccardLoss",
    "LogHausdorffDTLoss",
    "LovaszLoss",
    "SurfaceCELoss",
    "TopKLoss",
    "TverskyLoss",
    "UNet3PlusLoss",
    "WeightedSum",
    "create_loss",
    "list_losses",
    "loss_of",
    "register_loss",
]
_HOMES = {
    **{card.class_name: card.maker.partition(":")[0] for card in CARDS},
    **dict.fromkeys(("DeepSupervision", "WeightedSum"), "itkit.criterion.modules"),
    **dict.fromkeys(("create_loss", "list_losses", "loss_of", "register_loss"), "itkit.criterion.registry"),
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
