"""ITKIT: from any pile of CT/MR volumes to a clean, uniform, training-ready dataset.

All names load on first use, so that ``import itkit`` costs nothing. ``dir(itkit)`` shows them: functions of one volume
(`read`, `orient`, `resample` …), `metrics`, which compares label maps, a function for every command and converter
(`orient_dataset`, `convert_kits23` …), and `run`, which runs any operation by its name.

Examples
--------
>>> import itkit
>>> [name for name in dir(itkit) if name.startswith("orient")]
['orient', 'orient_dataset']
"""

from __future__ import annotations

TYPE_CHECKING = False  # like typing.TYPE_CHECKING; importing typing takes longer than all the rest
if TYPE_CHECKING:
    from typing import Any

    from itkit import metrics as metrics
    from itkit.commands import *  # noqa: F403 - a function for every operation
    from itkit.core.errors import ItkitError as ItkitError
    from itkit.core.geometry import Geometry as Geometry
    from itkit.core.grids import resampled_grid as resampled_grid
    from itkit.core.volume import Case as Case
    from itkit.core.volume import Volume as Volume
    from itkit.engine.api import operations as operations
    from itkit.engine.api import run as run
    from itkit.engine.parameters import schema as schema
    from itkit.io.anything import read as read
    from itkit.io.sitk_toolkit import write_volume
    from itkit.process.geometry import orient as orient
    from itkit.process.itk_aug import augment as augment
    from itkit.process.itk_extract import remap_labels as remap_labels
    from itkit.process.itk_patch import crop_patches as crop_patches
    from itkit.process.itk_resample import resample as resample

    write = write_volume
    __version__: str

_HOMES = {
    "Case": "itkit.core.volume:Case",
    "Geometry": "itkit.core.geometry:Geometry",
    "ItkitError": "itkit.core.errors:ItkitError",
    "Volume": "itkit.core.volume:Volume",
    "__version__": "itkit.core.version:VERSION",
    "augment": "itkit.process.itk_aug:augment",
    "crop_patches": "itkit.process.itk_patch:crop_patches",
    "metrics": "itkit.metrics",
    "operations": "itkit.engine.api:operations",
    "orient": "itkit.process.geometry:orient",
    "read": "itkit.io.anything:read",
    "remap_labels": "itkit.process.itk_extract:remap_labels",
    "resample": "itkit.process.itk_resample:resample",
    "resampled_grid": "itkit.core.grids:resampled_grid",
    "run": "itkit.engine.api:run",
    "schema": "itkit.engine.parameters:schema",
    "write": "itkit.io.sitk_toolkit:write_volume",
}


if not TYPE_CHECKING:  # hidden from type checkers, so that they report names that do not exist

    def __getattr__(name: str) -> Any:
        if name == "__all__":
            return [public for public in __dir__() if not public.startswith("_")]
        from importlib import import_module

        if name in _HOMES:
            module, _, attribute = _HOMES[name].partition(":")
            home = import_module(module)
            return getattr(home, attribute) if attribute else home
        functions = () if name.startswith("_") else import_module("itkit.commands").FUNCTIONS
        if name not in functions:
            raise AttributeError(f"module 'itkit' has no attribute {name!r}")
        return getattr(import_module("itkit.commands"), name)


def __dir__() -> list[str]:
    from itkit.commands import FUNCTIONS

    return sorted([*_HOMES, *FUNCTIONS])
