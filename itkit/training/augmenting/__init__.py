"""Augmentation of training patches, the same in a loader's workers and on the device.

`Augmentation` draws and applies; `AugmentSettings` is the section ``[augment]`` of a plan.
"""

from __future__ import annotations

from itkit.training.augmenting.augmentation import Augmentation
from itkit.training.augmenting.settings import AugmentSettings
from itkit.training.augmenting.spatial import SpatialMap, draw_map

__all__ = ["AugmentSettings", "Augmentation", "SpatialMap", "draw_map"]
