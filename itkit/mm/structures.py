"""Data elements of MMEngine for volumes: what travels between dataset, model, metric and hooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement, PixelData

from itkit.core.errors import ArgumentError

_DIMS = 3


class VolumeData(BaseDataElement):
    """Arrays or tensors ``(C, Z, Y, X)`` of one size; ``(Z, Y, X)`` gets a channel of its own.

    The counterpart of MMEngine's ``PixelData`` for volumes.

    Examples
    --------
    >>> volume = VolumeData(data=torch.zeros(2, 3, 4))
    >>> volume.data.shape, volume.shape
    (torch.Size([1, 2, 3, 4]), (2, 3, 4))
    >>> volume[:1, 1:, ::2].shape
    (1, 2, 2)
    """

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field.

        Raises
        ------
        ArgumentError
            When it is no array of this size.
        """
        if name in ("_metainfo_fields", "_data_fields"):
            super().__setattr__(name, value)
            return
        if not isinstance(value, torch.Tensor | np.ndarray) or value.ndim not in (_DIMS, _DIMS + 1):
            got = getattr(value, "shape", type(value).__name__)
            raise ArgumentError(f"VolumeData.{name}: expected an array (C, Z, Y, X) or (Z, Y, X); got {got}")
        if value.ndim == _DIMS:
            value = value[None]
        if self.shape is not None and tuple(value.shape[-_DIMS:]) != self.shape:
            raise ArgumentError(
                f"VolumeData.{name}: expected the size {self.shape} (Z, Y, X); got {tuple(value.shape)}"
            )
        super().__setattr__(name, value)

    def __getitem__(self, places: Sequence[Any]) -> VolumeData:
        """Cut a box out of all fields: one slice or number for each of Z, Y and X."""
        if len(places) != _DIMS:
            raise ArgumentError(f"VolumeData: expected 3 slices (Z, Y, X); got {len(places)}")
        box = (slice(None), *(slice(at, at + 1 or None) if isinstance(at, int) else at for at in places))
        cut = VolumeData(metainfo=self.metainfo)
        for name in self.keys():
            setattr(cut, name, self.get(name)[box])
        return cut

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Size ZYX of all fields; ``None`` while there is none."""
        for value in self.values():
            z, y, x = value.shape[-_DIMS:]
            return (int(z), int(y), int(x))
        return None


class _SegSample(BaseDataElement):
    """A sample with truth, prediction and logits; each is a data element of `kind`."""

    kind: type[BaseDataElement]

    @property
    def gt_sem_seg(self) -> Any:
        """The truth: number of the class of each voxel."""
        return self._gt_sem_seg

    @gt_sem_seg.setter
    def gt_sem_seg(self, value: Any) -> None:
        self.set_field(value, "_gt_sem_seg", dtype=self.kind)

    @gt_sem_seg.deleter
    def gt_sem_seg(self) -> None:
        del self._gt_sem_seg

    @property
    def pred_sem_seg(self) -> Any:
        """The prediction: number of the class of each voxel."""
        return self._pred_sem_seg

    @pred_sem_seg.setter
    def pred_sem_seg(self, value: Any) -> None:
        self.set_field(value, "_pred_sem_seg", dtype=self.kind)

    @pred_sem_seg.deleter
    def pred_sem_seg(self) -> None:
        del self._pred_sem_seg

    @property
    def seg_logits(self) -> Any:
        """The logits of all classes."""
        return self._seg_logits

    @seg_logits.setter
    def seg_logits(self, value: Any) -> None:
        self.set_field(value, "_seg_logits", dtype=self.kind)

    @seg_logits.deleter
    def seg_logits(self) -> None:
        del self._seg_logits


class Seg3DDataSample(_SegSample):
    """What is known of a volume: ``gt_sem_seg``, ``pred_sem_seg`` and ``seg_logits``, each a `VolumeData`.

    The names are those of MMSegmentation's ``SegDataSample``.

    Examples
    --------
    >>> sample = Seg3DDataSample(metainfo={"case": "case_01"})
    >>> sample.gt_sem_seg = VolumeData(data=torch.ones(2, 3, 4, dtype=torch.uint8))
    >>> sample.case, sample.gt_sem_seg.shape
    ('case_01', (2, 3, 4))
    """

    kind = VolumeData


class Seg2DDataSample(_SegSample):
    """The same for slices, with MMEngine's ``PixelData``; it needs no MMSegmentation."""

    kind = PixelData
