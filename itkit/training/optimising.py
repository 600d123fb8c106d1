"""Optimisers by import path, and learning rates by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from itkit.core.errors import ParamsError, PluginError
from itkit.core.plugins import resolve

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from itkit.training.plan_file import TrainingSection

Curve = Callable[[int], float]
"""Maps the number of finished epochs to a factor of the learning rate."""


def poly(epochs: int, exponent: float = 0.9) -> Curve:
    """Return the curve (1 - epoch / epochs)^exponent, nnU-Net's.

    Examples
    --------
    >>> curve = poly(10)
    >>> curve(0), round(curve(5), 3), curve(10)
    (1.0, 0.536, 0.0)
    """
    return lambda epoch: float(max(0.0, 1 - epoch / epochs) ** exponent)


def warmup_cosine(epochs: int, warmup_epochs: int = 10) -> Curve:
    """Return a curve that rises linearly for some epochs, and then falls to 0 along half a cosine.

    Examples
    --------
    >>> curve = warmup_cosine(12, warmup_epochs=2)
    >>> curve(0), curve(1), curve(2), round(curve(7), 3), round(curve(12), 3)
    (0.5, 1.0, 1.0, 0.5, 0.0)
    """
    warm = min(warmup_epochs, epochs)

    def curve(epoch: int) -> float:
        if epoch < warm:
            return (epoch + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (epoch - warm) / max(1, epochs - warm))))

    return curve


def constant(epochs: int) -> Curve:
    """Return the curve that is 1 everywhere."""
    return lambda _epoch: 1.0


CURVES: Mapping[str, Callable[..., Curve]] = {"poly": poly, "warmup_cosine": warmup_cosine, "constant": constant}


def make_optimizer(training: TrainingSection, parameters: Any) -> Optimizer:
    """Make the optimiser of a plan.

    Raises
    ------
    ParamsError
        When it can't be imported, or does not take an option.
    """
    from torch.optim import Optimizer as Base

    options = {"lr": training.learning_rate, **training.optimizer_options}
    made: Optimizer = _made("training.optimizer", training.optimizer, Base, parameters, **options)
    return made


def make_scheduler(training: TrainingSection, optimizer: Optimizer) -> LRScheduler:
    """Make the scheduler of a plan; it is stepped after each epoch.

    Raises
    ------
    ParamsError
        When it can't be imported, or does not take an option.
    """
    from torch.optim.lr_scheduler import LambdaLR
    from torch.optim.lr_scheduler import LRScheduler as Base

    curve = CURVES.get(training.scheduler)
    if curve is None:
        options = training.scheduler_options
        made: LRScheduler = _made("training.scheduler", training.scheduler, Base, optimizer, **options)
        return made
    try:
        return LambdaLR(optimizer, curve(training.epochs, **training.scheduler_options))
    except TypeError as error:
        raise ParamsError(f"training.scheduler_options: {error}") from error


def _made(key: str, path: str, kind: type[Any], *arguments: Any, **options: Any) -> Any:
    module, _, name = path.rpartition(".")
    if not module:
        known = f"{', '.join(CURVES)}, or " if key.endswith("scheduler") else ""
        raise ParamsError(f"{key}: expected {known}an import path such as torch.optim.AdamW; got {path!r}")
    try:
        make = resolve(f"{module}:{name}")
    except (ImportError, AttributeError, PluginError) as error:
        raise ParamsError(f"{key}: {path!r} can't be imported ({error})") from error
    if not (isinstance(make, type) and issubclass(make, kind)):  # a plan of others must not call whatever it likes
        raise ParamsError(f"{key}: expected a class derived from {kind.__module__}.{kind.__qualname__}; got {path!r}")
    try:
        return make(*arguments, **options)
    except (TypeError, ValueError) as error:
        raise ParamsError(f"{key}_options: {path}: {error}") from error
