"""From what was measured of a dataset, and of this machine, to a plan: every value with the number it follows from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from itkit.core.errors import ModelError, ParamsError
from itkit.core.geometry import by
from itkit.core.text import counted, format_bytes, some
from itkit.models.card import ModelCard
from itkit.models.registry import model_card
from itkit.training import rules
from itkit.training.fingerprint import Fingerprint
from itkit.training.patch_search import Measures, PatchSearch, limits_of
from itkit.training.plan_draft import Draft
from itkit.training.plan_file import Plan
from itkit.training.probing import Cost, Machine, Run, Size
from itkit.training.scheduling import Timing, Validations, put_recipe, put_schedule, with_loading
from itkit.training.wishes import PlanParams


@dataclass(frozen=True)
class Planned:
    """A plan and what stands behind it.

    Parameters
    ----------
    plan
        The plan.
    reasons
        By ``section.key``: the measured number that the value follows from.
    machine
        Where it was measured.
    parameters
        Parameters of the network.
    timing
        What was measured of a step.
    validations
        How many there are, and how long one takes.
    warnings
        What the user should know.
    """

    plan: Plan
    reasons: Mapping[str, str]
    machine: Machine
    parameters: int
    timing: Timing
    validations: Validations
    warnings: tuple[str, ...]

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.plan.training.steps_per_epoch * self.plan.training.epochs

    @property
    def seconds(self) -> float:
        """Expected time of the run of one fold."""
        return self.steps * self.timing.step_seconds + self.validations.number * self.validations.seconds


def plan_dataset(
    fingerprint: Fingerprint, wishes: PlanParams, measures: Measures, *, path: str, cores: int, memory: int
) -> Planned:
    """Plan a training.

    Parameters
    ----------
    fingerprint
        What was measured of the dataset.
    wishes
        What the user wants otherwise.
    measures
        Measures the network on the device.
    path
        The dataset as the plan names it.
    cores, memory
        Cores and free bytes of this machine.

    Raises
    ------
    ModelError
        When the network is unknown, or can't be trained on these data.
    ParamsError
        When the wishes can't be met.
    """
    card = model_card(wishes.network)
    machine = measures.machine()
    draft = Draft({})
    _data(draft, fingerprint, wishes, path)
    dims = _dims(card, fingerprint, wishes)
    workers = min(2 if machine.is_cpu else 8, max(0, cores - 1))
    draft.put("training.seed", wishes.seed)
    draft.put("training.workers", workers, f"{counted(cores, 'core')}")
    _precision(draft, card, machine)
    put_recipe(draft, card.family)
    limits = limits_of(wishes, machine, memory)
    search = PatchSearch(draft, card, fingerprint, wishes, measures, dims, limits)
    size, cost = search.size()
    _augment(draft, fingerprint, size.patch_zyx)
    plan = draft.plan()
    run, is_measured = _confirmed(measures, plan, size, cost)
    if run.peak_bytes > 1.1 * limits.nbytes:
        draft.warnings.append(
            f"a step needs {format_bytes(run.peak_bytes)}, more than the {format_bytes(limits.nbytes)} that it may: "
            f"try a smaller --patch-size than {by(size.patch_zyx)} or --batch-size"
        )
    step_seconds = with_loading(run.seconds, measures.patch_seconds(plan), size.batch, workers, machine, cores)
    timing = Timing(run, is_measured, step_seconds)
    validations = put_schedule(draft, fingerprint, wishes, machine, limits, timing)
    return Planned(
        plan=draft.plan(),
        reasons=dict(draft.reasons),
        machine=machine,
        parameters=measures.facts(plan).parameters,
        timing=timing,
        validations=validations,
        warnings=tuple(draft.warnings),
    )


def _data(draft: Draft, fingerprint: Fingerprint, wishes: PlanParams, path: str) -> None:
    """Decide what does not depend on the network."""
    cases = counted(len(fingerprint.cases), "case")
    draft.put("dataset.path", path)
    draft.put("dataset.channels", list(fingerprint.channels), f"in all {cases}")
    draft.put("dataset.labels", dict(fingerprint.labels), "the classes that the label maps hold")
    if wishes.spacing is not None:
        draft.put(
            "preprocess.spacing", list(wishes.spacing), f"as asked; the median is {by(fingerprint.median_spacing)}"
        )
    else:
        spacing, why = rules.target_spacing(fingerprint)
        draft.put("preprocess.spacing", list(spacing), why)
    turned = f"{fingerprint.turned} of {cases} are turned" if fingerprint.turned else f"{cases} have these axes"
    draft.put("preprocess.orient", fingerprint.orient, f"{'as asked; ' if wishes.orient else ''}{turned}")
    intensity, why = rules.intensity_scheme(fingerprint)
    draft.put("preprocess.intensity", intensity.model_dump(exclude_none=True, exclude_defaults=False), why)
    if wishes.split is not None:
        draft.put("split.file", str(wishes.split), "as asked")
    else:
        folds, why, warning = rules.fold_count(len(fingerprint.cases), wishes.folds)
        draft.put("split.folds", folds, why)
        draft.warnings += [warning] if warning else []
    if fingerprint.absent:
        draft.warnings.append(f"no case has {some(fingerprint.absent)}, which dataset.json names; left out")
    rare = [fingerprint.labels[value] for value, count in fingerprint.class_cases.items() if count == 1]
    if rare and len(fingerprint.cases) > 1 and draft.values["split"].get("folds", 0) > 1:
        draft.warnings.append(
            f"{some(rare, most=5)} {'is' if len(rare) == 1 else 'are'} in one case only: "
            "the fold that validates on it has no case to learn from"
        )


def _dims(card: ModelCard, fingerprint: Fingerprint, wishes: PlanParams) -> int:
    """Return the number of axes of the network."""
    wanted = None if wishes.patch_size is None else 2 if wishes.patch_size[0] == 1 else 3
    if fingerprint.is_flat and wanted == 3:
        raise ParamsError(f"--patch-size {by(wishes.patch_size or ())}: the volumes have one plane; give 1 Y X")
    dims = wanted or (2 if fingerprint.is_flat or 3 not in card.spatial_dims else 3)
    if dims not in card.spatial_dims:
        what = "the volumes have one plane" if fingerprint.is_flat else f"a patch of {by(wishes.patch_size or ())}"
        can = " or ".join(f"{dims}-D" for dims in sorted(card.spatial_dims))
        raise ModelError(f"{card.name} is a {can} network, but {what}; choose another one of itkit models")
    return dims


def _precision(draft: Draft, card: ModelCard, machine: Machine) -> None:
    if machine.is_cpu:
        draft.put("training.precision", "32", "on a CPU")
    elif machine.bf16 and card.bf16:
        draft.put("training.precision", "bf16", f"{machine.name} computes in bf16")
    else:
        draft.put("training.precision", "16", f"{machine.name}")


def _augment(draft: Draft, fingerprint: Fingerprint, patch: Sequence[int]) -> None:
    labels = list(fingerprint.labels.values())
    values, reasons = rules.augmentation(patch, draft.values["preprocess"]["spacing"], labels, fingerprint.orient)
    draft.values["augment"] = values
    draft.reasons |= {f"augment.{key}": reason for key, reason in reasons.items()}


def _confirmed(measures: Measures, plan: Plan, size: Size, cost: Cost) -> tuple[Run, bool]:
    """Return a step of the plan's own size: measured, unless it takes too long to be tried."""
    expected = cost.seconds(size.voxels)
    if expected < 20:
        return measures.run(plan, [size])[0], True
    nbytes = cost.nbytes(size.voxels)
    return Run(size.voxels, expected, cost.forward_seconds(size.voxels), nbytes, nbytes), False
