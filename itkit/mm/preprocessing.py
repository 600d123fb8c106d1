"""Transforms of a dataset's pipeline, and the preprocessor that makes a batch of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS, TRANSFORMS
from mmengine.structures import PixelData
from torch import Tensor
from torch.nn import functional

from itkit.core.errors import ArgumentError, CaseError
from itkit.inference.model_folder import Intensity
from itkit.inference.preparing import foreground, normalized
from itkit.mm.structures import Seg2DDataSample, Seg3DDataSample, VolumeData
from itkit.training.augmenting import Augmentation
from itkit.training.augmenting.settings import AugmentSettings

META = ("case", "number", "start", "spacing", "origin", "direction", "img_path")
"""Entries of a pipeline's result that a data sample keeps."""


@TRANSFORMS.register_module()
class NormalizeVolume:
    """Normalise intensities as everywhere in ITKIT; see `itkit.inference.model_folder.Intensity`.

    Parameters
    ----------
    scheme
        ``ct`` (with ``low``, ``high``, ``mean``, ``sd``), ``zscore`` (of the array that comes: of a patch, the patch's)
        or ``none``.
    **numbers
        Further fields of the scheme.
    """

    def __init__(self, scheme: str = "ct", **numbers: Any) -> None:
        self.rule = Intensity.model_validate({"scheme": scheme, **numbers})

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Normalise ``results["img"]``, ``(C, Z, Y, X)``."""
        image, rule = results["img"], self.rule
        mask = None
        if rule.scheme == "zscore" and rule.within == "nonzero":
            from itkit.core.geometry import Geometry
            from itkit.core.volume import Volume

            grid = Geometry(image.shape[1:], (1.0, 1.0, 1.0))
            mask = foreground([Volume(np.ascontiguousarray(channel), grid) for channel in image])
        results["img"] = np.stack([normalized(np.ascontiguousarray(channel), rule, mask) for channel in image])
        return results


@TRANSFORMS.register_module()
class AugmentVolume:
    """Turn, scale, bend, mirror a patch, and change its intensities: the augmentation of ``itkit train``.

    Parameters
    ----------
    **settings
        See `itkit.training.augmenting.settings.AugmentSettings`.
    """

    def __init__(self, **settings: Any) -> None:
        self.augmentation = Augmentation(AugmentSettings.model_validate(settings))

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change ``img`` and ``gt_seg_map`` together; what is drawn follows from ``results["rng"]``."""
        image = torch.from_numpy(np.ascontiguousarray(results["img"], np.float32))
        label = results.get("gt_seg_map")
        classes = None if label is None else torch.from_numpy(np.ascontiguousarray(label).astype(np.int64))
        made, of_it = self.augmentation(image, classes, results["rng"], results.get("spacing", (1.0, 1.0, 1.0)))
        results["img"] = made.numpy()
        if of_it is not None:
            results["gt_seg_map"] = of_it.numpy()
        return results


@TRANSFORMS.register_module()
class PackSeg3DInputs:
    """Make a sample of what a pipeline has made: ``inputs`` and a `Seg3DDataSample`; of a slice a `Seg2DDataSample`.

    Parameters
    ----------
    meta_keys
        Entries that the data sample keeps.
    """

    def __init__(self, meta_keys: Sequence[str] = META) -> None:
        self.meta_keys = tuple(meta_keys)

    def __call__(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``{"inputs": Tensor (C, Z, Y, X), "data_samples": Seg3DDataSample}``.

        Raises
        ------
        CaseError
            When image and label differ in size.
        """
        image = torch.from_numpy(np.ascontiguousarray(results["img"], np.float32))
        flat = image.ndim == 3
        sample = (Seg2DDataSample if flat else Seg3DDataSample)(
            metainfo={key: results[key] for key in self.meta_keys if key in results}
        )
        label = results.get("gt_seg_map")
        if label is not None:
            if tuple(label.shape) != tuple(image.shape[1:]):
                raise CaseError(
                    f"{results.get('case', 'a case')}: image and label differ in size: {tuple(image.shape[1:])} and "
                    f"{tuple(label.shape)} voxels"
                )
            classes = torch.from_numpy(np.ascontiguousarray(label).astype(np.int64))
            sample.gt_sem_seg = (PixelData if flat else VolumeData)(data=classes[None])
        return {"inputs": image, "data_samples": sample}


@MODELS.register_module()
class SegDataPreProcessor(BaseDataPreprocessor):
    """Stack the samples of a batch on the model's device.

    Parameters
    ----------
    mean, std
        Subtracted from and divided into each channel; ``None`` for nothing.
    size
        Size to which training samples are padded at their end; ``None``: all samples of a batch must be equal.
    pad_val, seg_pad_val
        What images and labels are padded with.
    non_blocking
        Copy to the device in the background.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        size: Sequence[int] | None = None,
        pad_val: float = 0.0,
        seg_pad_val: int = 255,
        *,
        non_blocking: bool = False,
    ) -> None:
        super().__init__(non_blocking)
        if (mean is None) != (std is None):
            raise ArgumentError("SegDataPreProcessor: give both mean and std, or none")
        self.size, self.pad_val, self.seg_pad_val = size, pad_val, seg_pad_val
        self.mean: Tensor | None
        self.std: Tensor | None
        self.register_buffer(
            "mean", None if mean is None else torch.tensor(mean, dtype=torch.float32), persistent=False
        )
        self.register_buffer("std", None if std is None else torch.tensor(std, dtype=torch.float32), persistent=False)

    def forward(self, data: Any, training: bool = False) -> Any:
        """Return the batch: ``inputs`` stacked to ``(N, C, …)``, a list where sizes differ in a test."""
        batch = self.cast_data(data)
        inputs, samples = batch["inputs"], batch.get("data_samples")
        images = list(inputs.unbind(0)) if isinstance(inputs, Tensor) else list(inputs)
        images = [self._normalised(image.float()) for image in images]
        if training and self.size is not None:
            images, samples = self._padded(images, samples, self.size)
        same = all(image.shape == images[0].shape for image in images)
        if training and not same:
            sizes = sorted({tuple(image.shape) for image in images})
            raise ArgumentError(f"the samples of a batch differ in size: {sizes}; cut patches, or give size")
        return {**batch, "inputs": torch.stack(images) if same else images, "data_samples": samples}

    def _normalised(self, image: Tensor) -> Tensor:
        if self.mean is None or self.std is None:
            return image
        ones = [1] * (image.ndim - 1)
        return (image - self.mean.view(-1, *ones)) / self.std.view(-1, *ones)

    def _padded(self, images: list[Tensor], samples: Any, size: Sequence[int]) -> tuple[list[Tensor], Any]:
        padded = [functional.pad(image, _missing(image, size), value=self.pad_val) for image in images]
        for image, sample in zip(images, samples or (), strict=False):
            if "gt_sem_seg" in sample:
                label = functional.pad(sample.gt_sem_seg.data, _missing(image, size), value=self.seg_pad_val)
                sample.gt_sem_seg = type(sample.gt_sem_seg)(data=label)
        return padded, samples


def _missing(image: Tensor, size: Sequence[int]) -> list[int]:
    """Return what `functional.pad` adds to reach a size, last axis first."""
    if len(size) != image.ndim - 1 or any(n > wanted for n, wanted in zip(image.shape[1:], size, strict=False)):
        raise ArgumentError(
            f"SegDataPreProcessor: a sample {tuple(image.shape[1:])} does not fit into size {tuple(size)}"
        )
    missing = [wanted - side for side, wanted in zip(image.shape[1:], size, strict=True)]
    return [n for count in reversed(missing) for n in (0, count)]
