"""A loss: cross entropy with smoothed targets."""

from typing import Any


def make(smoothing: float = 0.1) -> Any:
    """Return the loss: it is called with logits ``(N, C, ...)`` and class numbers ``(N, ...)``."""
    from torch import nn

    return nn.CrossEntropyLoss(label_smoothing=smoothing)
