"""Per-class metrics of MMEngine's validation and test, from a confusion matrix that is added up over all cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from torch import Tensor

from itkit.core.errors import CaseError
from itkit.training.counts import ClassCounts

_KINDS = {"Dice": "dice", "IoU": "iou", "Recall": "recall", "Precision": "precision"}


def confusion(found: Tensor, true: Tensor, classes: int, ignore: int | None = None) -> Tensor:
    """Return how many voxels of each class (rows) were found to be of each class (columns), int64.

    Parameters
    ----------
    found, true
        Label maps of one size.
    classes
        Number of classes.
    ignore
        Value of the truth whose voxels don't count.

    Raises
    ------
    CaseError
        When sizes differ, or a value is no class.

    Examples
    --------
    >>> confusion(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 2, 255]), 3, ignore=255).tolist()
    [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    """
    if found.shape != true.shape:
        raise CaseError(f"prediction and truth differ in size: {tuple(found.shape)} and {tuple(true.shape)} voxels")
    found, true = found.flatten().long(), true.flatten().long().to(found.device)
    if ignore is not None:
        counts = true != ignore
        found, true = found[counts], true[counts]
    for name, values in (("prediction", found), ("truth", true)):
        if values.numel() and not (int(values.min()) >= 0 and int(values.max()) < classes):
            raise CaseError(
                f"the {name} has a value {int(values.max())}; there are {classes} classes (0 to {classes - 1})"
            )
    return torch.bincount(true * classes + found, minlength=classes**2).reshape(classes, classes).cpu()


@METRICS.register_module()
class Seg3DMetric(BaseMetric):
    """Dice, IoU, recall and precision of each class but the background, and their means.

    Voxels are added up over all cases, and over all processes, before anything is divided. A class that is neither
    there nor found has no value (``None``) and does not count for the mean. Names are ``mDice``, ``Dice_<class>`` and
    so on; values lie between 0 and 1.

    Parameters
    ----------
    ignore_index
        Value of the truth whose voxels don't count.
    metrics
        Some of ``Dice``, ``IoU``, ``Recall``, ``Precision``.
    num_classes
        Number of classes; by default that of the dataset's ``classes``.
    keep_confusion
        Add the confusion matrix to the metrics, rows are true classes.
    **kwargs
        ``collect_device``, ``prefix`` and others of MMEngine's ``BaseMetric``.
    """

    def __init__(
        self,
        ignore_index: int | None = 255,
        metrics: Sequence[str] = tuple(_KINDS),
        num_classes: int | None = None,
        *,
        keep_confusion: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if unknown := [name for name in metrics if name not in _KINDS]:
            raise ValueError(f"Seg3DMetric: expected some of {', '.join(_KINDS)}; got {unknown[0]!r}")
        self.ignore_index, self.metrics, self.keep_confusion = ignore_index, tuple(metrics), keep_confusion
        self._classes = num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, background first.

        Raises
        ------
        ValueError
            When nothing says how many classes there are.
        """
        names = tuple((self.dataset_meta or {}).get("classes", ()))
        if self._classes is not None and len(names) != self._classes:
            names = tuple(f"class_{number}" for number in range(self._classes))
        if not names:
            raise ValueError("Seg3DMetric: the dataset has no metainfo with classes; give num_classes")
        return names

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Count the voxels of a batch; each case is one result, so that copies that fill a batch are left out."""
        del data_batch
        classes = len(self.class_names)
        for sample in data_samples:
            predicted, true = (_field(sample, name) for name in ("pred_sem_seg", "gt_sem_seg"))
            try:
                self.results.append(confusion(predicted, true, classes, self.ignore_index).numpy())
            except CaseError as error:
                case = sample.get("case", "a case")
                raise CaseError(f"{case}: {error}") from error

    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        """Return the metrics of all cases."""
        names = self.class_names
        matrix = torch.from_numpy(sum(results, np.zeros((len(names), len(names)), np.int64)))
        counts = ClassCounts(len(names))
        counts.both, counts.found, counts.true = matrix.diagonal(), matrix.sum(0), matrix.sum(1)
        by_class = counts.metrics(names[1:])
        found: dict[str, Any] = {}
        for kind in self.metrics:
            values = [of_class[_KINDS[kind]] for of_class in by_class.values()]
            known = [value for value in values if value is not None]
            found[f"m{kind}"] = sum(known) / len(known) if known else None
        for name, of_class in by_class.items():
            found |= {f"{kind}_{name}": of_class[_KINDS[kind]] for kind in self.metrics}
        MMLogger.get_current_instance().info("\n" + table(by_class, self.metrics))
        return {**found, "confusion": matrix.tolist()} if self.keep_confusion else found


def _field(sample: Any, name: str) -> Tensor:
    """Return the label map of a data element, or of the dictionary that MMEngine's evaluator makes of it."""
    element = sample[name] if isinstance(sample, Mapping) else getattr(sample, name)
    data: Tensor = element["data"] if isinstance(element, Mapping) else element.data
    return data[0] if data.ndim > 2 and data.shape[0] == 1 else data


def table(by_class: Mapping[str, Mapping[str, float | None]], kinds: Sequence[str]) -> str:
    """Return the metrics as lines of text, a class a line.

    Examples
    --------
    >>> print(table({"liver": {"dice": 0.5}, "cyst": {"dice": None}}, ["Dice"]))
    class    Dice
    liver  0.5000
    cyst        -
    """
    width = max([5, *(len(name) for name in by_class)])
    lines = ["  ".join(["class".ljust(width), *(f"{kind:>{max(6, len(kind))}}" for kind in kinds)])]
    for name, of_class in by_class.items():
        cells = [
            f"{'-' if (value := of_class[_KINDS[kind]]) is None else f'{value:.4f}':>{max(6, len(kind))}}"
            for kind in kinds
        ]
        lines.append("  ".join([name.ljust(width), *cells]))
    return "\n".join(lines)
