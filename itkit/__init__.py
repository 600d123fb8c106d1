"""ITKIT: from any pile of CT/MR volumes to a clean, uniform, training-ready dataset.

The names below load on first use, so that ``import itkit`` costs nothing.

Examples
--------
>>> import itkit
>>> sorted(name for name in itkit.__all__ if name.islower())[:3]
['augment', 'crop_patches', 'orient']
"""

from __future__ import annotations

from importlib import import_module

from itkit.core.version import VERSION

TYPE_CHECKING = False  # as typing has it, which takes longer to import than the rest
if TYPE_CHECKING:
    from typing import Any

    from itkit.core.geometry import Geometry as Geometry
    from itkit.core.grids import resampled_grid as resampled_grid
    from itkit.core.volume import Case as Case
    from itkit.core.volume import Volume as Volume
    from itkit.engine.api import run as run
    from itkit.engine.parameters import schema as schema
    from itkit.io.anything import read as read
    from itkit.io.sitk_toolkit import write_volume as write
    from itkit.process.geometry import orient as orient
    from itkit.process.itk_aug import augment as augment
    from itkit.process.itk_extract import remap_labels as remap_labels
    from itkit.process.itk_patch import crop_patches as crop_patches
    from itkit.process.itk_resample import resample as resample

__version__ = VERSION

_HOMES = {
    "Case": "itkit.core.volume:Case",
    "Geometry": "itkit.core.geometry:Geometry",
    "Volume": "itkit.core.volume:Volume",
    "augment": "itkit.process.itk_aug:augment",
    "crop_patches": "itkit.process.itk_patch:crop_patches",
    "orient": "itkit.process.geometry:orient",
    "read": "itkit.io.anything:read",
    "remap_labels": "itkit.process.itk_extract:remap_labels",
    "resample": "itkit.process.itk_resample:resample",
    "resampled_grid": "itkit.core.grids:resampled_grid",
    "run": "itkit.engine.api:run",
    "schema": "itkit.engine.parameters:schema",
    "write": "itkit.io.sitk_toolkit:write_volume",
}
__all__ = [
    "Case",
    "Geometry",
    "Volume",
    "augment",
    "crop_patches",
    "orient",
    "read",
    "remap_labels",
    "resample",
    "resampled_grid",
    "run",
    "schema",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'itkit' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
