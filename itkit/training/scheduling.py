"""How a network is trained: optimiser, steps, epochs and validations, in the time that there is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from itkit.core.boxes import window_starts
from itkit.core.text import format_seconds
from itkit.training import rules
from itkit.training.fingerprint import Fingerprint
from itkit.training.patch_search import LEAST_STEPS, VALIDATING, Limits
from itkit.training.plan_draft import Draft
from itkit.training.probing import Machine, Run
from itkit.training.wishes import PlanParams

_STEPS, _EPOCHS = 250, 1000
_CPU_OVERLAP, _OVERLAP = 0.25, 0.5
_Recipe: TypeAlias = tuple[str, float, Mapping[str, Any], str, str]
_RECIPES: Mapping[str, _Recipe] = {
    "mednext": ("torch.optim.AdamW", 1e-3, {}, "poly", "as in the paper of MedNeXt (arXiv:2303.09975)"),
    **{
        family: ("torch.optim.AdamW", 1e-4, {"weight_decay": 1e-5}, "warmup_cosine", "as UNETR is trained")
        for family in (
            "unetr", "swin_unetr", "vmamba", "segmamba", "swin_umamba", "segformer", "segformer3d", "efficientformer",
            "da_transunet",
        )
    },
}  # fmt: skip
"""Optimiser, learning rate, options, schedule and source by family; others are trained as nnU-Net trains."""
_NNUNET = (
    "torch.optim.SGD", 0.01, {"momentum": 0.99, "nesterov": True, "weight_decay": 3e-5}, "poly", "as nnU-Net trains"
)  # fmt: skip
_FEW_STEPS = 10_000
_QUICK = ("torch.optim.AdamW", 2e-3, {"weight_decay": 1e-4}, "poly", "in so few steps, AdamW learns more than SGD")


def put_recipe(draft: Draft, family: str) -> None:
    """Decide optimiser, learning rate and schedule for a family of networks."""
    _put(draft, _RECIPES.get(family, _NNUNET))


def _put(draft: Draft, recipe: _Recipe) -> None:
    optimizer, rate, options, scheduler, why = recipe
    draft.put("training.learning_rate", rate, "for this optimiser")
    draft.put("training.optimizer", optimizer, why)
    draft.put("training.optimizer_options", dict(options))
    draft.put("training.scheduler", scheduler)


def with_loading(seconds: float, patch_seconds: float, batch: int, workers: int, machine: Machine, cores: int) -> float:
    """Return the time of a step with its patches loaded: beside it on a GPU, by the same cores on a CPU."""
    loading = batch * patch_seconds
    if workers == 0:
        return seconds + loading
    if machine.is_cpu:
        return max(seconds + loading / cores, loading / workers)
    return max(seconds, loading / workers)


@dataclass(frozen=True)
class Timing:
    """What was measured of a plan's step.

    Parameters
    ----------
    run
        A step of the plan, measured; extrapolated if it takes too long to be tried.
    is_measured
        Whether the step was measured at its own size.
    step_seconds
        Expected time of a step with its patches loaded.
    """

    run: Run
    is_measured: bool
    step_seconds: float


class Validations(NamedTuple):
    """How many validations a run has, and how long one takes."""

    number: int
    seconds: float


def put_schedule(
    draft: Draft, fingerprint: Fingerprint, wishes: PlanParams, machine: Machine, limits: Limits, timing: Timing
) -> Validations:
    """Decide steps, epochs and validations."""
    overlap = _CPU_OVERLAP if machine.is_cpu else _OVERLAP
    draft.put("validation.overlap", overlap, "a CPU takes long for more" if overlap == _CPU_OVERLAP else "")
    one = _validation_seconds(draft, fingerprint, timing.run, overlap)
    total = None if limits.run_seconds is None else _affordable(limits.run_seconds, one, timing.step_seconds)
    step = f"{format_seconds(timing.step_seconds)} a step ({'measured' if timing.is_measured else 'extrapolated'})"
    if wishes.steps is not None:
        steps, why = wishes.steps, "as asked"
    elif total is None:
        steps, why = _STEPS, "as nnU-Net"
    else:
        steps = min(_STEPS, max(1, total // (wishes.epochs or 20)))
        why = f"{step}; {limits.why_seconds}"
    draft.put("training.steps_per_epoch", steps, why)
    if wishes.epochs is not None:
        epochs, why = wishes.epochs, "as asked"
    elif total is None:
        epochs, why = _EPOCHS, "as nnU-Net"
    else:
        epochs, why = max(1, total // steps), f"{total:,} steps fit into {limits.why_seconds}"
    draft.put("training.epochs", epochs, why)
    if steps * epochs < _FEW_STEPS and draft.values["training"]["optimizer"] == _NNUNET[0]:
        _put(draft, _QUICK)
    run_seconds = steps * epochs * timing.step_seconds
    share = VALIDATING / (1 - VALIDATING) if limits.run_seconds is not None else 0.1
    count = max(
        1, min(epochs, 10 if limits.run_seconds is not None else 100, int(share * run_seconds / max(one, 1e-9)))
    )
    every = -(-epochs // count)
    draft.put("validation.every", every, f"a validation takes about {format_seconds(one)}")
    if total is not None and steps * epochs < LEAST_STEPS // 2 and None in (wishes.steps, wishes.epochs):
        draft.warnings.append(
            f"only {steps * epochs} steps fit into {limits.why_seconds}: a network learns little in them; give more "
            "--minutes, a smaller --patch-size (1 Y X: slices) or fewer classes (itk_extract), or train on a GPU"
        )
    return Validations(-(-epochs // every), one)


def _affordable(seconds: float, validation: float, step: float) -> int:
    """Return how many steps fit into the time beside validations, which take half of it at most."""
    validating = min(seconds / 2, max(VALIDATING * seconds, validation))
    return max(1, int((seconds - validating) / step))


def _validation_seconds(draft: Draft, fingerprint: Fingerprint, run: Run, overlap: float) -> float:
    """Return the time to validate the cases of a fold by sliding windows."""
    patch, batch = draft.values["training"]["patch_size"], draft.values["training"]["batch_size"]
    spacing = draft.values["preprocess"]["spacing"]
    windows = [
        math.prod(
            len(window_starts(size, side, overlap)) for size, side in zip(case.resampled(spacing), patch, strict=True)
        )
        for case in fingerprint.cases.values()
    ]
    folds = draft.values["split"].get("folds", rules.MOST_FOLDS)
    return sum(windows) / int(folds) * run.forward_seconds / int(batch)
