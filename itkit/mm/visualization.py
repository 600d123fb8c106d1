"""Pictures of predictions in three planes, for MMEngine's visualisation backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from itkit.core.geometry import Geometry
from itkit.core.thumbnail import png
from itkit.core.volume import Volume
from itkit.io.disk import write_bytes
from itkit.report.pictures import Overlay, busiest_point, three_planes

_GAP = 4


@HOOKS.register_module()
class Seg3DVisualizationHook(Hook):
    """Draw truth and prediction over the image, axial, coronal and sagittal, where most classes are.

    The upper row shows the truth, the lower row the prediction. Pictures are written to ``overlays/<stage>`` of the
    work folder and given to the runner's visualiser, whose backends keep them too (local files, TensorBoard).

    Parameters
    ----------
    interval
        Every how many cases of a validation or test one is drawn.
    most
        Most cases that are drawn in one validation or test.
    longest_side
        Length of a volume's longest side, pixels.
    to_visualizer
        Give pictures to the visualiser's backends.
    """

    def __init__(
        self, interval: int = 1, most: int = 8, longest_side: int = 192, *, to_visualizer: bool = True
    ) -> None:
        if interval < 1 or most < 0 or longest_side < 8:
            raise ValueError("Seg3DVisualizationHook: expected interval >= 1, most >= 0 and longest_side >= 8")
        self.interval, self.most, self.longest_side, self.to_visualizer = interval, most, longest_side, to_visualizer

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Draw what was validated."""
        self._draw(runner, "val", batch_idx, data_batch, outputs, step=getattr(runner, "iter", 0))

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Draw what was tested."""
        self._draw(runner, "test", batch_idx, data_batch, outputs, step=batch_idx)

    def _draw(self, runner: Any, stage: str, number: int, batch: Any, outputs: Any, *, step: int) -> None:
        if number % self.interval or number // self.interval >= self.most or not outputs:
            return
        picture = overlay_picture(batch["inputs"][0], outputs[0], longest_side=self.longest_side)
        case = str(outputs[0].get("case", f"{get_rank()}_{number}")).replace("/", "_")
        folder = Path(runner.work_dir) / "overlays" / stage
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{case}_{step}" if stage == "val" else case
        write_bytes(folder / f"{name}.png", png(picture))
        if self.to_visualizer:
            runner.visualizer.add_image(f"{stage}_{case}", picture, step)


def overlay_picture(image: torch.Tensor, sample: Any, *, longest_side: int = 192) -> np.ndarray[Any, Any]:
    """Return a picture ``(rows, columns, 3)``, uint8, of a volume or a slice: the truth above, the prediction below.

    Parameters
    ----------
    image
        ``(C, Z, Y, X)`` or ``(C, Y, X)``; the first channel is shown.
    sample
        A data sample with ``pred_sem_seg`` and, if there is one, ``gt_sem_seg``. Its meta information may have
        ``spacing`` (ZYX, mm), ``origin`` and ``direction``.
    longest_side
        Length of the volume's longest side, pixels.
    """
    array = _volume_array(image[0])
    grid = _grid(array.shape, sample)
    shown = Volume(array.astype(np.float32), grid)
    labels = [
        Volume(_volume_array(getattr(sample, name).data[0]).astype(np.int32), grid)
        for name in ("gt_sem_seg", "pred_sem_seg")
        if name in sample
    ]
    rows = []
    at = None
    for label in labels:
        at = busiest_point(labels[0]) if at is None else at
        planes = three_planes(shown, [Overlay(label)], at_xyz=at, longest_side=longest_side)
        rows.append(_beside([picture.rgb for picture in planes.values()]))
    return np.concatenate([part for row in rows for part in (row, np.zeros((_GAP, row.shape[1], 3), np.uint8))][:-1])


def _volume_array(values: torch.Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = values.detach().float().cpu().numpy()
    return array if array.ndim == 3 else array[None]


def _grid(size: Sequence[int], sample: Any) -> Geometry:
    z, y, x = size
    spacing = sample.get("spacing", (1.0, 1.0, 1.0))
    more: Mapping[str, Any] = {
        target: tuple(sample.get(source))
        for target, source in (("origin_xyz", "origin"), ("direction_xyz", "direction"))
        if sample.get(source) is not None
    }
    return Geometry((z, y, x), tuple(spacing), **more)


def _beside(pictures: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    height = max(picture.shape[0] for picture in pictures)
    parts = []
    for picture in pictures:
        frame = np.zeros((height, picture.shape[1], 3), np.uint8)
        frame[: picture.shape[0]] = picture
        parts += [frame, np.zeros((height, _GAP, 3), np.uint8)]
    return np.concatenate(parts[:-1], axis=1)
