"""Scales of plots: round ticks, their texts, and the place of a value."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_ROUNDING = 1e-12  # share of a value below which a difference is rounding
_LEAST_STEP, GREATEST = 1e-290, 1e300  # steps and ends that 64-bit floats can count with
_BEYOND = 10.0  # lengths of a scale


@dataclass(frozen=True)
class Scale:
    """Maps values from ``low`` to ``high`` to places from ``start`` to ``end``; ``start`` may be the greater one."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Return the place of a value; one far outside the scale lies a few lengths beyond it, where nothing is drawn.

        Examples
        --------
        >>> Scale(0, 10, 100, 300).place(5)
        200.0
        """
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, -_BEYOND), 1 + _BEYOND) * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Return round values on the scale: multiples of 1, 2 or 5 times a power of ten.

        Examples
        --------
        >>> Scale(-3, 103, 0, 1).ticks()
        [0.0, 50.0, 100.0]
        """
        step = _round_step((self.high - self.low) / most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [step * n for n in range(first, last + 1)]


@dataclass(frozen=True)
class LogScale(Scale):
    """A scale on which equal factors have equal lengths; ``low`` and ``high`` are powers of ten."""

    def place(self, value: float) -> float:
        """Return the place of a value greater than 0.

        Examples
        --------
        >>> LogScale(1, 100, 0, 50).place(10)
        25.0
        """
        low = math.log10(self.low)
        share = (math.log10(_countable(value)) - low) / (math.log10(self.high) - low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Return powers of ten."""
        first, last = round(math.log10(self.low)), round(math.log10(self.high))
        step = math.ceil((last - first) / most)
        return [10.0**power for power in range(first, last + 1, step)]


def log_scale_of(values: Iterable[float], start: float, end: float) -> LogScale:
    """Return a logarithmic scale that holds all finite values greater than 0.

    Examples
    --------
    >>> log_scale_of([0.3, 20.0], 0, 1).ticks()
    [0.1, 1.0, 10.0, 100.0]
    """
    found = [_countable(value) for value in values if 0 < value < math.inf] or [1.0]
    first, last = math.floor(math.log10(min(found)) + 1e-9), math.ceil(math.log10(max(found)) - 1e-9)
    return LogScale(10.0**first, 10.0 ** max(last, first + 1), start, end)


def scale_of(values: Iterable[float], start: float, end: float, *, with_zero: bool = False) -> Scale:
    """Return a scale with round ends that holds all finite values.

    Values that differ by rounding alone lie in the middle of a scale that is a tenth of them wide to each side.

    Examples
    --------
    >>> scale_of([3, 97.0], 0, 1)
    Scale(low=0.0, high=100.0, start=0, end=1)
    """
    finite = [min(max(value, -GREATEST), GREATEST) for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if with_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low <= max(_ROUNDING * max(abs(low), abs(high)), _LEAST_STEP):
        margin = abs(low) * 0.1 if abs(low) > _LEAST_STEP else 1.0
        low, high = low - margin, high + margin
    step = _round_step((high - low) / 5)
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return Scale(low, high, start, end)


def tick_texts(scale: Scale) -> list[tuple[float, str]]:
    """Return the ticks of a scale with their texts, which have as many digits as it takes to tell them apart.

    Examples
    --------
    >>> [text for _, text in tick_texts(scale_of([1234567.0, 1234569.0], 0, 1))]
    ['1234567', '1234567.5', '1234568', '1234568.5', '1234569']
    >>> [text for _, text in tick_texts(scale_of([123456000.0, 123464000.0], 0, 1))][:2]
    ['123456000', '123458000']
    """
    values = scale.ticks()
    texts = [tick_text(value) for value in values]
    greatest = max(map(abs, values), default=0.0)
    for digits in range(max(7, len(f"{greatest:.0f}")) if greatest < 1e15 else 7, 18):
        if len({*texts}) == len({*values}):
            break
        texts = [f"{value:.{digits}g}" for value in values]
    return list(zip(values, texts, strict=True))


def tick_text(value: float) -> str:
    """Return a tick as short as its value allows.

    Examples
    --------
    >>> [tick_text(value) for value in (0.0, 0.30000000000000004, 1200.0, 800000.0, 2500000.0, 1e-5)]
    ['0', '0.3', '1200', '800k', '2.5M', '1e-05']
    """
    if 1e4 <= abs(value) < 1e6 and value % 100 == 0:
        return f"{value / 1e3:g}k"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.4g}M" if abs(value) < 1e12 else f"{value:.3g}"
    return f"{value or 0.0:.6g}"


def _countable(value: float) -> float:
    return min(max(value, _LEAST_STEP), GREATEST)


def _round_step(least: float) -> float:
    """Return the smallest 1, 2 or 5 times a power of ten that is at least a value."""
    least = _countable(least)
    power = 10.0 ** math.floor(math.log10(least))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9)))
