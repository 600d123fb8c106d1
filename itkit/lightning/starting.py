"""Weights to start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from itkit.core.errors import WeightsError
from itkit.inference.model_folder import read_model
from itkit.models.pretrained import LoadReport, load_pretrained

if TYPE_CHECKING:
    from itkit.lightning.task import SegmentationTask


def start_weights(task: SegmentationTask, path: Path) -> LoadReport:
    """Fill a network, and its moving average, with weights to start from.

    Parameters
    ----------
    task
        Its network is filled.
    path
        A file of weights, a checkpoint, a model folder or a run. Those of an encoder fill the encoder.

    Raises
    ------
    WeightsError
        When there is no such file, or nothing in it fits.
    """
    if not path.exists():
        raise WeightsError(f"network.weights: {path}: no such file")
    file = read_model(path).weights if path.is_dir() else path
    report = load_pretrained(task.network, file, partial=True)
    if task.averaged is not None:
        task.averaged.module.load_state_dict(task.network.state_dict())
    return report
