"""What a validation counts: voxels of each class in truth and prediction, added up over volumes that are not kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class ClassCounts:
    """Voxels by class: found and true, found, true; sums over a dataset.

    `itkit.metrics` compares two volumes on the CPU, case by case, from their joint histogram; this one adds up tensors
    where they are, on a graphics card too, and keeps no volume.

    Parameters
    ----------
    classes
        How many classes there are, background included.
    """

    classes: int
    both: Tensor = field(init=False)
    found: Tensor = field(init=False)
    true: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all volumes."""
        self.both, self.found, self.true = torch.zeros(3, self.classes, dtype=torch.int64)

    def add(self, found: Tensor, true: Tensor) -> None:
        """Count a volume: two label maps of one size, with the numbers of the classes."""
        for classes, sums in ((found, self.found), (true, self.true), (true[found == true], self.both)):
            sums += torch.bincount(classes.flatten().long(), minlength=self.classes).cpu()

    def metrics(self, names: Sequence[str]) -> dict[str, dict[str, float | None]]:
        """Return Dice, IoU, precision and recall of each class but the background.

        Parameters
        ----------
        names
            Names of the classes from 1 on.

        Returns
        -------
        dict
            By class and metric; ``None`` where it is not defined: a class that is neither there nor found has no Dice.

        Examples
        --------
        >>> counts = ClassCounts(3)
        >>> counts.add(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 1]))
        >>> counts.metrics(["liver", "tumor"])["liver"]
        {'dice': 0.8, 'iou': 0.6666666666666666, 'precision': 0.6666666666666666, 'recall': 1.0}
        >>> counts.metrics(["liver", "tumor"])["tumor"]["dice"] is None
        True
        """
        result = {}
        for number, name in enumerate(names, 1):
            both, found, true = (int(sums[number]) for sums in (self.both, self.found, self.true))
            result[name] = {
                "dice": _share(2 * both, found + true),
                "iou": _share(both, found + true - both),
                "precision": _share(both, found),
                "recall": _share(both, true),
            }
        return result


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
