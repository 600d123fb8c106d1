"""How EfficientNet's widths, depths and padding follow from its two coefficients.

Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, arXiv:1905.11946; rules
of rounding as in the official TensorFlow code (github.com/tensorflow/tpu, models/official/efficientnet).
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from itkit.core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

STEM_WIDTH = 32
HEAD_WIDTH = 1280
SQUEEZE_RATIO = 0.25


class Variant(NamedTuple):
    """Coefficients of width and depth, side of the training images, dropout of the classifier."""

    width: float
    depth: float
    image_size: int
    dropout: float


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "b0": Variant(1.0, 1.0, 224, 0.2),
        "b1": Variant(1.0, 1.1, 240, 0.2),
        "b2": Variant(1.1, 1.2, 260, 0.3),
        "b3": Variant(1.2, 1.4, 300, 0.3),
        "b4": Variant(1.4, 1.8, 380, 0.4),
        "b5": Variant(1.6, 2.2, 456, 0.4),
        "b6": Variant(1.8, 2.6, 528, 0.5),
        "b7": Variant(2.0, 3.1, 600, 0.5),
        "b8": Variant(2.2, 3.6, 672, 0.5),
        "l2": Variant(4.3, 5.3, 800, 0.5),
    }
)


class Stage(NamedTuple):
    """A run of blocks: repeats, kernel, stride of the first block, expansion, widths before and after."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    in_channels: int
    out_channels: int


_BASE = (
    Stage(1, 3, 1, 1, 32, 16),
    Stage(2, 3, 2, 6, 16, 24),
    Stage(2, 5, 2, 6, 24, 40),
    Stage(3, 3, 2, 6, 40, 80),
    Stage(3, 5, 1, 6, 80, 112),
    Stage(4, 5, 2, 6, 112, 192),
    Stage(1, 3, 1, 6, 192, 320),
)


def variant(name: str) -> Variant:
    """Look up a variant.

    Raises
    ------
    ValueError
        When the name is unknown.
    """
    if name not in VARIANTS:
        raise ModelError(f"variant must be one of {', '.join(VARIANTS)}; got {name!r}")
    return VARIANTS[name]


def round_width(channels: int, coefficient: float | None, divisor: int = 8, minimum: int | None = None) -> int:
    """Scale a width and round it to a multiple of ``divisor`` that loses less than a tenth.

    Examples
    --------
    >>> round_width(32, 1.2), round_width(32, 0.25), round_width(33, None)
    (40, 8, 33)
    """
    if not coefficient:
        return channels
    scaled = channels * coefficient
    rounded = max(minimum or divisor, int(scaled + divisor / 2) // divisor * divisor)
    return int(rounded + divisor if rounded < 0.9 * scaled else rounded)


def scaled_stages(
    width: float | None, depth: float | None, divisor: int = 8, minimum: int | None = None
) -> tuple[Stage, ...]:
    """Return the seven stages for the coefficients.

    Examples
    --------
    >>> [stage.repeats for stage in scaled_stages(1.0, 1.1)]
    [2, 3, 3, 4, 4, 5, 2]
    """
    return tuple(
        stage._replace(
            repeats=math.ceil(depth * stage.repeats) if depth else stage.repeats,
            in_channels=round_width(stage.in_channels, width, divisor, minimum),
            out_channels=round_width(stage.out_channels, width, divisor, minimum),
        )
        for stage in _BASE
    )


def map_stages(stages: tuple[Stage, ...]) -> tuple[int, ...]:
    """Return the indices of the stages whose output is the last of its size.

    Examples
    --------
    >>> map_stages(scaled_stages(1.0, 1.0))
    (0, 1, 2, 4, 6)
    """
    last = len(stages) - 1
    return tuple(index for index in range(last + 1) if index == last or stages[index + 1].stride > 1)
