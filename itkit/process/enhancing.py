"""Steps that change intensities: what they are called, what they take, and what each does to an image."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.axes import to_xyz
from itkit.core.bounded import parse_json, read_bounded
from itkit.core.errors import ArgumentError, CaseError, ParamsError
from itkit.core.fields import Step
from itkit.core.volume import Volume
from itkit.kernels.arrays import to_dtype
from itkit.kernels.denoising import gaussian, nlm, noise_sd
from itkit.kernels.equalizing import clahe
from itkit.process.intensities import Intensities, intensities

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?"
_COUNT = r"[1-9]\d*"
NORMALIZATIONS = ("zscore", "minmax", "percentile", "robust")
FILTERS = {"median": "1vox", "gaussian": "1vox", "curvature": "1vox", "nlm": "2vox"}
"""Kinds of filters, with their default strengths."""
_CHOICE = "|".join
N4_SHRINK = 4
"""Factor by which N4 shrinks the image in which it looks for the bias field."""

KINDS: Mapping[str, Step] = {
    "clip": Step("LO HI", "Clip values to a range.", (_NUMBER, _NUMBER)),
    "window": Step("LEVEL WIDTH", "Show a window as 0 to 1: clip to it, then scale it.", (_NUMBER, _NUMBER)),
    "normalize": Step(
        "{" + ",".join(NORMALIZATIONS) + "}",
        "Subtract mean, divide by standard deviation (zscore); minimum and maximum become 0 and 1 (minmax); likewise "
        "--percentiles, with values beyond them clipped (percentile); subtract median, divide by interquartile range "
        "(robust). --within says which voxels count.",
        (_CHOICE(NORMALIZATIONS),),
    ),
    "rescale": Step("LO HI", "Scale the image's minimum and maximum to two values.", (_NUMBER, _NUMBER)),
    "n4": Step(
        "[SHRINK]",
        "Correct the bias field of MR by N4, which looks for it in an image shrunk by this factor (default: "
        f"{N4_SHRINK}), within --within, or else within Otsu's mask.",
        (_COUNT,),
        optional=1,
    ),
    "denoise": Step(
        "{" + ",".join(FILTERS) + "} [STRENGTH]",
        "Smooth by median (strength: radius), gaussian (standard deviation), curvature flow (as far as a gaussian of "
        "this standard deviation) or non-local means (nlm; radius of the search). A strength is a number with mm or "
        "vox, e.g. 1.5mm.",
        (_CHOICE(FILTERS), r"(\d+\.?\d*|\.\d+)(mm|vox)"),
        optional=1,
    ),
    "match": Step("REFERENCE", "Match the histogram to that of a volume file, as SimpleITK does.", (r"(?s).+",)),
    "equalize": Step("", "Equalize the histogram locally, with limited contrast (CLAHE); the range is kept."),
    "statistics": Step(
        "FILE",
        "Normalize by numbers of a dataset in stats.json of itk_stats, as nnU-Net does with CT: clip to the "
        "foreground's 0.5 and 99.5 percentiles, subtract mean, divide by standard deviation.",
        (r"(?s).+",),
    ),
}
"""The kinds of steps, in the order in which the help shows them."""
OF_FILES = ("match", "statistics")
"""Kinds whose value is a path."""


@dataclass(frozen=True)
class Setting:
    """What several steps share.

    Parameters
    ----------
    percentiles
        Percentiles of ``normalize percentile``.
    levels, points
        Histogram levels and match points of ``match``.
    references
        The volume of each step ``match``, by the path in the step.
    foreground
        Numbers of ``statistics``: mean, std, p0_5, p99_5.
    spacing_zyx
        Distance between voxels, mm.
    threads
        Threads for SimpleITK; the result does not depend on it.
    """

    percentiles: tuple[float, float] = (0.5, 99.5)
    levels: int = 256
    points: int = 1
    references: Mapping[str, Volume] = field(default_factory=dict)
    foreground: Mapping[str, float] = field(default_factory=dict)
    spacing_zyx: tuple[float, float, float] = (1.0, 1.0, 1.0)
    threads: int = 1


Facts = dict[str, Any]
Result = tuple[Intensities, list[Facts]]


def canonical(text: str) -> str:
    """Return a step in the form in which it is kept: each number in its shortest form, one blank between words.

    Raises
    ------
    ArgumentError
        When the kind is unknown, or its values are wrong.

    Examples
    --------
    >>> canonical("clip  -160.0 2.4e2"), canonical("denoise gaussian"), canonical("n4")
    ('clip -160 240', 'denoise gaussian 1vox', 'n4 4')
    """
    import re

    name, _, rest = text.strip().partition(" ")
    if name not in KINDS:
        raise ArgumentError(f"no step {name!r}; there are {', '.join(KINDS)}")
    kind = KINDS[name]
    words = [rest.strip()] if name in OF_FILES and rest.strip() else rest.split()
    least = len(kind.values) - kind.optional
    fits = least <= len(words) <= len(kind.values) and all(
        re.fullmatch(pattern, word, re.IGNORECASE) for pattern, word in zip(kind.values, words, strict=False)
    )
    if not fits:
        raise ArgumentError(f"--{name}: expected {kind.metavar or 'no value'}; got {rest.strip()!r}")
    if name in OF_FILES:
        return f"{name} {words[0]}"
    words = [word.lower() for word in words]
    if name == "n4":
        words = words or [str(N4_SHRINK)]
    if name == "denoise":
        amount, unit = _strength(words[1] if len(words) > 1 else FILTERS[words[0]])
        if amount <= 0:
            raise ArgumentError(f"--denoise: expected a strength > 0; got {words[1]}")
        words = [words[0], f"{_plain(amount)}{unit}"]
    if name in ("clip", "window", "rescale"):
        first, second = map(float, words)
        if not (math.isfinite(first) and math.isfinite(second)):
            raise ArgumentError(f"--{name}: expected finite numbers; got {rest.strip()}")
        if (name == "clip" and first >= second) or (name == "rescale" and first == second):
            raise ArgumentError(f"--{name}: expected LO < HI; got {rest.strip()}")
        if name == "window" and second <= 0:
            raise ArgumentError(f"--window: expected a width > 0; got {rest.strip()}")
        words = [_plain(first), _plain(second)]
    return " ".join([name, *words])


def _plain(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _strength(text: str) -> tuple[float, str]:
    unit = "vox" if text.lower().endswith("vox") else "mm"
    return float(text[: -len(unit)]), unit


def enhance_step(image: Intensities, text: str, setting: Setting) -> Result:
    """Do one step.

    Parameters
    ----------
    image
        The image.
    text
        The step, as `canonical` returns it.
    setting
        What several steps share.

    Returns
    -------
    image, facts
        The new image, and its entries in ``enhance_meta.json``.

    Raises
    ------
    CaseError
        When the values that a step divides by do not differ, the result is constant, or numbers do not hold it.
    """
    name, _, rest = text.partition(" ")
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            new, facts = _DO[name](image, rest, setting)
    except ArithmeticError as error:
        low, high = image.all().extremes()
        raise CaseError(
            f"--{text}: values from {low!r} to {high!r} are too large, or too close to each other, to compute with"
        ) from error
    image = new
    low, high = image.all().extremes()
    if not (math.isfinite(low) and math.isfinite(high)):
        raise CaseError(f"after --{text}, voxels are nan or infinite")
    if low == high:
        raise CaseError(f"after --{text}, all voxels are {low:g}")
    return image, facts


def _clipped(image: Intensities, low: float, high: float, *, keeps_type: bool) -> tuple[Intensities, int]:
    clamped = image.all().count(lambda values: (values < low) | (values > high))
    return image.changed(lambda values: np.clip(values, low, high), keeps_type=keeps_type), clamped


def _scaled(image: Intensities, shift: float, scale: float, name: str) -> Intensities:
    """Return ``(x - shift) / scale``."""
    if not (math.isfinite(scale) and scale > 0):
        raise CaseError(f"--{name}: the voxels it counts are all {shift:g}; there is nothing to divide by")
    return image.changed(
        lambda values: (values - values.dtype.type(shift)) / values.dtype.type(scale), keeps_type=False
    )


def _clip(image: Intensities, rest: str, setting: Setting) -> Result:
    del setting
    low, high = map(float, rest.split())
    keeps = low.is_integer() and high.is_integer() and _fits(image, low, high)
    image, clamped = _clipped(image, low, high, keeps_type=keeps or image.array.dtype.kind == "f")
    return image, [{"name": "clip", "lo": low, "hi": high, "clamped": clamped}]


def _fits(image: Intensities, low: float, high: float) -> bool:
    """Whether clipping gives no value that the image's type can't hold."""
    if image.array.dtype.kind == "f":
        return True
    info, (least, most) = np.iinfo(image.array.dtype), image.all().extremes()
    return all(info.min <= min(max(value, low), high) <= info.max for value in (least, most))


def _window(image: Intensities, rest: str, setting: Setting) -> Result:
    del setting
    level, width = map(float, rest.split())
    low, high = level - width / 2, level + width / 2
    image, clamped = _clipped(image, low, high, keeps_type=False)
    facts = {"name": "window", "level": level, "width": width, "lo": low, "hi": high, "clamped": clamped}
    return _scaled(image, low, width, "window"), [facts]


def _normalize(image: Intensities, rest: str, setting: Setting) -> Result:
    sample = image.within()
    facts: Facts = {"name": rest}
    if rest == "zscore":
        shift, scale = sample.mean_and_sd()
        facts |= {"mean": shift, "sd": scale}
    elif rest == "robust":
        first, shift, third = sample.percentiles(25, 50, 75)
        scale = third - first
        facts |= {"median": shift, "iqr": scale}
    elif rest == "minmax":
        shift, high = sample.extremes()
        scale = high - shift
        facts |= {"min": shift, "max": high}
    else:
        shift, high = sample.percentiles(*setting.percentiles)
        scale = high - shift
        facts |= {"percentiles": list(setting.percentiles), "lo": shift, "hi": high}
        image, facts["clamped"] = _clipped(image, shift, high, keeps_type=False)
    return _scaled(image, shift, scale, f"normalize {rest}"), [{**facts, "voxels": sample.size}]


def _rescale(image: Intensities, rest: str, setting: Setting) -> Result:
    del setting
    low, high = map(float, rest.split())
    least, most = image.all().extremes()
    ratio = (high - low) / (most - least)
    image = image.changed(lambda values: (values - least) * ratio + low, keeps_type=False)
    return image, [{"name": "rescale", "lo": low, "hi": high, "min": least, "max": most}]


def _statistics(image: Intensities, rest: str, setting: Setting) -> Result:
    del rest
    low, high, mean, sd = (setting.foreground[name] for name in ("p0_5", "p99_5", "mean", "std"))
    image, clamped = _clipped(image, low, high, keeps_type=False)
    facts = [{"name": "clip", "lo": low, "hi": high, "clamped": clamped}, {"name": "zscore", "mean": mean, "sd": sd}]
    return _scaled(image, mean, sd, "statistics"), facts


def _n4(image: Intensities, rest: str, setting: Setting) -> Result:
    from itkit.io.sitk_toolkit import itk_threads

    shrink = int(rest)
    array = np.ascontiguousarray(image.voxels(), np.float32)
    with itk_threads(1) as sitk:  # with more, it would add up in another order, and the result would differ
        whole = _itk(sitk, array, setting)
        if image.mask is None:
            mask = sitk.OtsuThreshold(whole, 0, 1, 200)
        else:
            mask = _itk(sitk, image.mask.astype(np.uint8), setting)
        factors = [min(shrink, size) for size in whole.GetSize()]
        small, small_mask = sitk.Shrink(whole, factors), sitk.Shrink(mask, factors)
        n4 = sitk.N4BiasFieldCorrectionImageFilter()
        try:
            own = n4.Execute(small, small_mask)
        except RuntimeError as error:
            raise CaseError("--n4: no bias field was found; is the mask large enough?") from error
        bias = sitk.Exp(n4.GetLogBiasFieldAsImage(whole))
        corrected = own if factors == [1, 1, 1] else whole / sitk.Cast(bias, whole.GetPixelID())
        field = sitk.GetArrayViewFromImage(bias)
        facts: Facts = {
            "name": "n4",
            "shrink": shrink,
            "mask": "otsu" if image.mask is None else "within",
            "iterations": [int(count) for count in n4.GetMaximumNumberOfIterations()],
            "field_min": float(field.min()),
            "field_max": float(field.max()),
        }
        array = np.asarray(sitk.GetArrayFromImage(corrected))
    return image.with_voxels(array), [facts]


def _itk(sitk: Any, array: NDArray[Any], setting: Setting) -> Any:
    """Return an image with spacing; origin and direction change no intensity."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(to_xyz(setting.spacing_zyx))
    return image


def _denoise(image: Intensities, rest: str, setting: Setting) -> Result:
    kind, text = rest.split()
    amount, unit = _strength(text)
    voxels = tuple(amount / step if unit == "mm" else amount for step in setting.spacing_zyx)
    facts: Facts = {"name": "denoise", "kind": kind, "strength": amount, "unit": unit}
    most = _MOST_OF_GAUSSIAN if kind == "gaussian" else _MOST_VOXELS
    if max(voxels) > most:
        raise CaseError(
            f"--denoise {rest}: that is {max(voxels):.4g} voxels here, and {most} is the most that {kind} takes"
        )
    if kind == "median":
        return _median(image, voxels, setting), [facts]
    array = np.ascontiguousarray(image.voxels(), np.float32)
    if kind == "gaussian":
        return image.with_voxels(gaussian(array, voxels)), [facts]
    if kind == "curvature":
        return image.with_voxels(_curvature(array, amount, unit, setting)), [facts]
    sd = noise_sd(array, image.mask)
    radius = tuple(max(0, math.floor(value + 0.5)) for value in voxels)
    return image.with_voxels(nlm(array, radius, sd)), [{**facts, "noise_sd": sd, "search": list(radius)}]


def _median(image: Intensities, voxels: Sequence[float], setting: Setting) -> Intensities:
    from itkit.io.sitk_toolkit import itk_threads

    radius = [max(0, math.floor(value + 0.5)) for value in voxels]
    with itk_threads(setting.threads) as sitk:
        result = sitk.Median(_itk(sitk, image.voxels(), setting), to_xyz(radius))
        return image.with_voxels(np.asarray(sitk.GetArrayFromImage(result)), keeps_type=True)


_MOST_VOXELS = 30
"""Greatest strength in voxels of filters that take a time which grows with its power of two or three."""
_MOST_OF_GAUSSIAN = 100_000
_FLOW_STEP = 0.0625
"""Time step of curvature flow for voxels of size 1, below which it is stable in three dimensions."""


def _curvature(array: NDArray[Any], amount: float, unit: str, setting: Setting) -> NDArray[Any]:
    """Let the level sets flow by their curvature for the time in which heat spreads as far as a gaussian."""
    from itkit.io.sitk_toolkit import itk_threads

    with itk_threads(setting.threads) as sitk:
        image = _itk(sitk, array, setting)
        if unit == "vox":
            image.SetSpacing((1.0, 1.0, 1.0))
        step = _FLOW_STEP * min(image.GetSpacing()) ** 2
        count = max(1, math.ceil(amount**2 / 2 / step))
        return np.asarray(sitk.GetArrayFromImage(sitk.CurvatureFlow(image, amount**2 / 2 / count, count)))


def _match(image: Intensities, rest: str, setting: Setting) -> Result:
    from itkit.io.sitk_toolkit import itk_threads

    array = image.voxels()
    reference = to_dtype(setting.references[rest].array_zyx, array.dtype)
    with itk_threads(setting.threads) as sitk:
        pair = (sitk.GetImageFromArray(np.ascontiguousarray(part)) for part in (array, reference))
        result = sitk.HistogramMatching(*pair, setting.levels, setting.points, True)
        array = np.asarray(sitk.GetArrayFromImage(result))
    facts = {"name": "match", "reference": Path(rest).name, "levels": setting.levels, "points": setting.points}
    return image.with_voxels(array, keeps_type=True), [{**facts, "threshold_at_mean": True}]


def _equalize(image: Intensities, rest: str, setting: Setting) -> Result:
    del rest, setting
    array, facts = clahe(np.ascontiguousarray(image.voxels(), np.float32))
    return image.with_voxels(array), [{"name": "equalize", **facts}]


_DO: Mapping[str, Callable[[Intensities, str, Setting], Result]] = {
    "clip": _clip,
    "window": _window,
    "normalize": _normalize,
    "rescale": _rescale,
    "n4": _n4,
    "denoise": _denoise,
    "match": _match,
    "equalize": _equalize,
    "statistics": _statistics,
}


def enhance(
    volume: Volume, steps: Sequence[str], *, mask: NDArray[np.bool_] | None = None, setting: Setting | None = None
) -> tuple[Volume, list[Facts]]:
    """Change the intensities of a 3-D image by steps, in their order.

    Parameters
    ----------
    volume
        Image.
    steps
        Steps, e.g. ``["clip -160 240", "normalize zscore"]``; see ``itk_enhance --help``.
    mask
        Where statistics come from, ``(Z, Y, X)``; ``None`` for all voxels.
    setting
        What several steps share.

    Returns
    -------
    Volume
        The new image: of the type of the image if it holds what comes out (after ``clip``, a median or a matched
        histogram), else 32-bit floats.
    list of dict
        The numbers of each step.

    Raises
    ------
    CaseError
        When the image, or the result of a step, is constant or holds nan or infinities.

    Examples
    --------
    >>> from itkit.core.geometry import Geometry
    >>> image = Volume(np.array([[[-500, 0, 100, 900]]], np.int16), Geometry((1, 1, 4), (1.0, 1.0, 1.0)))
    >>> new, facts = enhance(image, ["clip -100 300", "rescale 0 1"])
    >>> new.array_zyx.tolist(), facts[0]
    ([[[0.0, 0.25, 0.5, 1.0]]], {'name': 'clip', 'lo': -100.0, 'hi': 300.0, 'clamped': 2})
    """
    image, facts = enhanced(volume, steps, mask=mask, setting=setting)
    return volume.with_array(image.voxels()), facts


def enhanced(
    volume: Volume, steps: Sequence[str], *, mask: NDArray[np.bool_] | None = None, setting: Setting | None = None
) -> tuple[Intensities, list[Facts]]:
    """Return what `enhance` returns, with the intensities not yet looked up."""
    image = intensities(volume.array_zyx, mask)
    shared = setting or Setting(spacing_zyx=volume.spacing_zyx)
    facts: list[Facts] = []
    for text in steps:
        image, more = enhance_step(image, canonical(text), shared)
        facts += more
    return image, facts


def foreground_numbers(path: Path, channel: str = "") -> dict[str, float]:
    """Read the intensity numbers of a dataset's foreground from ``stats.json`` of ``itk_stats``.

    Parameters
    ----------
    path
        The file.
    channel
        Name of the channel, if the file tells channels apart.

    Raises
    ------
    ParamsError
        When the file can't be read, or lacks the numbers.
    """
    where = f"--statistics {path}"
    try:
        found = parse_json(read_bounded(path))
        numbers = found["dataset"]["intensity"]
        if "foreground" not in numbers:
            numbers = numbers[channel] if channel in numbers else next(iter(numbers.values()))
        numbers = numbers["foreground"]
        values = {name: float(numbers[name]) for name in ("mean", "std", "p0_5", "p99_5")}
    except OSError as error:
        raise ParamsError(f"{where}: can't be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration, OverflowError) as error:
        lacks = "expected dataset.intensity.foreground with mean, std, p0_5 and p99_5, as itk_stats writes it"
        raise ParamsError(f"{where}: {lacks}") from error
    if not all(map(math.isfinite, values.values())):
        raise ParamsError(f"{where}: the foreground's numbers are not finite")
    return values
