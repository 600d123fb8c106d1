"""Augmentation of training patches, the same in a loader's workers and on the device.

`Augmentation` draws and applies; `AugmentSettings` is the section ``[augment]`` of a plan. The settings need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from itkit.core.lazy import lazy_names

if TYPE_CHECKING:
    from itkit.training.augmenting.augmentation import Augmentation
    from itkit.training.augmenting.settings import AugmentSettings
    from itkit.training.augmenting.spatial import SpatialMap, draw_map

__all__ = ["AugmentSettings", "Augmentation", "SpatialMap", "draw_map"]

_HOMES = {
    "AugmentSettings": ".settings",
    "Augmentation": ".augmentation",
    "SpatialMap": ".spatial",
    "draw_map": ".spatial",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
