"""Apply trained networks to whole volumes: sliding windows, the model folder, labels back on the original grid.

Nothing here imports torch until a network is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from itkit.core.lazy import lazy_names

if TYPE_CHECKING:
    from itkit.inference.model_folder import ModelFacts, ModelFolder, read_model, write_model
    from itkit.inference.predicting import InferenceSettings, Predictor, predict
    from itkit.inference.restoring import restore, restore_labels
    from itkit.inference.sliding import sliding_window

__all__ = [
    "InferenceSettings",
    "ModelFacts",
    "ModelFolder",
    "Predictor",
    "predict",
    "read_model",
    "restore",
    "restore_labels",
    "sliding_window",
    "write_model",
]

_HOMES = {
    "InferenceSettings": ".predicting",
    "ModelFacts": ".model_folder",
    "ModelFolder": ".model_folder",
    "Predictor": ".predicting",
    "predict": ".predicting",
    "read_model": ".model_folder",
    "restore": ".restoring",
    "restore_labels": ".restoring",
    "sliding_window": ".sliding",
    "write_model": ".model_folder",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
