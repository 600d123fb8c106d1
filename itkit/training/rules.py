"""The rules of planning that need no network: what spacing, intensities, augmentation and folds follow from.

They are those of nnU-Net v2 in spirit (Isensee et al., "nnU-Net: a self-configuring method for deep learning-based
biomedical image segmentation", Nature Methods 18 (2021), doi:10.1038/s41592-020-01008-z; its
``default_experiment_planner.py``, https://github.com/MIC-DKFZ/nnUNet). Each returns a value and the reason for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from itkit.core.text import counted, some
from itkit.inference.model_folder import Intensity
from itkit.training.fingerprint import Fingerprint, Triple

ANISOTROPIC = 3.0
"""An axis is coarse if its spacing is more than this many times the larger one of the others."""
_SHRUNK = 0.75
"""Cropping shrinks a volume if less than this part of it is left."""
_THIN = 3.0
"""A patch is thin if its longest side has more than this many times the voxels of its shortest one."""
_LONG = 1.5
"""The same for a slice."""
MOST_FOLDS = 5
_COLOURS = {"red", "green", "blue"}
"""Channels of pictures, whose values mean the same in all of them, as HU do."""
_SIDE = re.compile(r"(?i)(^|[^a-z])(left|right|links|rechts|[lr])([^a-z]|$)")


def target_spacing(fingerprint: Fingerprint) -> tuple[Triple, str]:
    """Return the spacing that the network sees: the median, and along a coarse axis the 10th percentile."""
    spacings = np.array([case.spacing_zyx for case in fingerprint.cases.values()])
    median = fingerprint.median_spacing
    coarse = int(np.argmax(median))
    others = [value for axis, value in enumerate(median) if axis != coarse]
    of_cases = f"of {counted(len(spacings), 'case')}"
    if fingerprint.is_flat or median[coarse] <= ANISOTROPIC * max(others):
        return _rounded(median), f"the median {of_cases}"
    fine = float(np.percentile(spacings[:, coarse], 10))
    chosen = list(median)
    chosen[coarse] = max(fine, max(others))
    why = (
        f"the median {of_cases}; along {'ZYX'[coarse]}, whose median of {median[coarse]:g} mm is more than "
        f"{ANISOTROPIC:g} times the others', the 10th percentile"
    )
    return _rounded(chosen), why


def _rounded(values: Sequence[float]) -> Triple:
    z, y, x = (round(float(value), 6) for value in values)
    return (z, y, x)


def is_ct(fingerprint: Fingerprint, channel: str) -> bool | None:
    """Whether a channel holds HU: by its name or the modality; ``None`` if only the values can tell."""
    if re.match(r"(?i)ct(\b|_|$)", channel):
        return True
    if fingerprint.modality:
        return fingerprint.modality.upper() == "CT" and len(fingerprint.channels) == 1
    return None


def intensity_scheme(fingerprint: Fingerprint) -> tuple[Intensity, str]:
    """Return what is done to the intensities: CT by the dataset's foreground, colours by its pixels, others by volume.

    The colours of pictures have one scale, so the mean of a picture would only tell how much of it is empty.
    """
    if {channel.lower() for channel in fingerprint.channels} == _COLOURS:
        colours = {name: _colour(fingerprint.intensity[name]["whole"]) for name in fingerprint.channels}
        first = next(iter(colours.values()))
        return first.model_copy(update={"channels": colours}), "colours: mean and sd of all pixels of the dataset"
    boxes = [case.nonzero for case in fingerprint.cases.values()]
    part = float(np.median([0.0 if box is None else box for box in boxes]))
    within = "nonzero" if part < _SHRUNK else "all"
    zscore = Intensity(scheme="zscore", within=within)
    of_box = f"the box of all voxels that are not 0 holds {part:.0%} of a volume (median)"
    rules: dict[str, Intensity] = {}
    reasons: dict[str, str] = {}
    for channel in fingerprint.channels:
        known = is_ct(fingerprint, channel)
        numbers = fingerprint.intensity[channel]["foreground"]
        whole = fingerprint.intensity[channel]["whole"]
        guessed = known is None and whole is not None and _like_hu(whole)
        rules[channel] = zscore
        if not (known or guessed):
            stated = f"modality {fingerprint.modality}" if fingerprint.modality else "not CT by its values"
            reasons[channel] = f"{stated}; {of_box}"
        elif numbers is None or numbers["std"] == 0 or numbers["p0_5"] >= numbers["p99_5"]:
            reasons[channel] = f"CT, but all labelled voxels have one value; {of_box}"
        else:
            low, high, mean, sd = (round(float(numbers[name]), 4) for name in ("p0_5", "p99_5", "mean", "std"))
            rules[channel] = Intensity(scheme="ct", low=low, high=high, mean=mean, sd=sd)
            source = "CT" if known else "CT by its values, which reach from air to tissue in HU"
            reasons[channel] = f"{source}: 0.5 and 99.5 percentile, mean and sd of the labelled voxels"
    first = rules[fingerprint.channels[0]]
    if all(rule == first for rule in rules.values()):
        return first, reasons[fingerprint.channels[0]]
    others = {channel: rule for channel, rule in rules.items() if rule != zscore}
    return zscore.model_copy(update={"channels": others}), "; ".join(
        f"{channel}: {reason}" for channel, reason in reasons.items()
    )


def _colour(numbers: Mapping[str, float] | None) -> Intensity:
    """Return the rule of a colour: nothing is clipped off."""
    if numbers is None or numbers["std"] == 0:
        return Intensity(scheme="none")
    low, high, mean, sd = (round(float(numbers[name]), 4) for name in ("min", "max", "mean", "std"))
    return Intensity(scheme="ct", low=min(low, 0.0), high=max(high, 255.0), mean=mean, sd=sd)


def _like_hu(numbers: Mapping[str, float]) -> bool:
    from itkit.report.windows import guess_modality

    return bool(guess_modality(np.array([numbers["p0_5"], numbers["p99_5"]])))


def augmentation(
    patch_zyx: Sequence[int], spacing_zyx: Sequence[float], labels: Sequence[str], orient: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what augmentation does otherwise than by default, and the reasons by key."""
    values: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    z, y, x = patch_zyx
    if z == 1:
        is_long = max(y, x) > _LONG * min(y, x)
        values["rotation_degrees"] = 15.0 if is_long else 180.0
        reasons["rotation_degrees"] = f"slices of {y} x {x} voxels: {'long' if is_long else 'about as high as wide'}"
    elif max(patch_zyx) > _THIN * z:
        values["in_plane"], values["rotation_degrees"] = True, 180.0
        reasons["in_plane"] = f"the patch has {z} planes of {y} x {x} voxels, {spacing_zyx[0]:g} mm apart"
        reasons["rotation_degrees"] = "turned within the planes alone"
    axes = "YX" if z == 1 else "ZYX"
    sided = [name for name in labels if (match := _SIDE.search(name)) and _other_side(name, match, labels)]
    if sided:
        across = "ZYX"[2 - next(place for place, letter in enumerate(orient) if letter in "LR")]
        axes = axes.replace(across, "")
        reasons["mirror"] = f"not along {across}: mirrored, {some(sided, most=2)} would be the other side's"
    if axes != "ZYX":
        values["mirror"] = axes
    return values, reasons


def _other_side(name: str, match: re.Match[str], labels: Sequence[str]) -> bool:
    """Whether there is a class of the same name for the other side."""
    head, tail = name[: match.start(2)].lower(), name[match.end(2) :].lower()
    return any(
        other != name and other.lower().startswith(head) and other.lower().endswith(tail) and _SIDE.search(other)
        for other in labels
    )


def fold_count(cases: int, wanted: int | None) -> tuple[int, str, str]:
    """Return how many folds there are, the reason, and a warning or an empty text."""
    asked = MOST_FOLDS if wanted is None else wanted
    if cases == 1:
        warning = "there is one case: it trains and validates, so the metrics say how well it is known by heart"
        return 1, "there is one case", warning
    if asked > cases:
        why = f"{counted(cases, 'case')}; each validates once"
        return cases, why, f"{counted(cases, 'case')} can't be dealt into {asked} folds: {cases} it is"
    if asked == 1:
        return 1, "as asked: all cases train and validate", ""
    return asked, "as asked" if wanted is not None else f"{counted(cases, 'case')}, as nnU-Net", ""
