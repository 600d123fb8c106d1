"""From what was measured of a dataset, and of this machine, to a plan: every value with the number it follows from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from itkit.core.boxes import window_starts
from itkit.core.errors import ModelError, ParamsError
from itkit.core.geometry import by
from itkit.core.text import counted, format_bytes, format_seconds, some
from itkit.models.card import ModelCard
from itkit.models.registry import model_card
from itkit.models.unet.topology import features_of, plan_stages
from itkit.training import rules
from itkit.training.fingerprint import Fingerprint
from itkit.training.plan_file import Plan, make_plan
from itkit.training.probing import Cost, Facts, Machine, Run, Size
from itkit.training.wishes import PlanParams

Index = tuple[int, int, int]
GIB = 2**30
_DEFAULT_BYTES = 8 * GIB
_CPU_MINUTES = 10.0
_CPU_FEATURES = 8
"""Channels of the first stage of a U-Net that is trained on a CPU; 32 on a GPU, as nnU-Net's."""
_BATCH = {3: 2, 2: 12}
"""Patches a step that nnU-Net plans for 3-D and 2-D; never fewer than 2, as far as memory allows."""
_LEAST_BATCH = 2
_LEAST_STEPS = 1000
"""A patch is made smaller until as many steps fit into the time."""
_FLOOR = {3: 32, 2: 64}
"""For the sake of time, no side of a patch becomes shorter than this (if the volumes are longer)."""
_FIELD_OF_VIEW = {3: 256, 2: 2048}
_CPU_FIELD_OF_VIEW = {3: 96, 2: 512}
"""Side of the largest patch that is considered, voxels; of other spacings along the axes, the same volume."""
_PART_OF_DATA = 0.05
"""Largest part of the voxels of the dataset that a batch holds, so that steps differ."""
_STEPS, _EPOCHS = 250, 1000
_VALIDATING = 0.2
"""Part of the time that validations take."""
_CPU_OVERLAP, _OVERLAP = 0.25, 0.5
_UNETS = ("unet",)
"""Families whose strides and kernels follow from patch and spacing."""
_RECIPES: Mapping[str, tuple[str, float, Mapping[str, Any], str, str]] = {
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


class Measures(Protocol):
    """What measures networks: `itkit.training.probing.Prober`."""

    def machine(self) -> Machine:
        """Return where the network is trained."""

    def facts(self, plan: Plan) -> Facts:
        """Return what the network of a plan takes."""

    def run(self, plan: Plan, sizes: Sequence[Size]) -> list[Run]:
        """Measure training steps of some sizes."""

    def patch_seconds(self, plan: Plan) -> float:
        """Return the time that a loader needs for a patch."""


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
    run
        A step of the plan, measured; extrapolated if it takes too long to be tried.
    is_measured
        Whether the step was measured at its own size.
    step_seconds
        Expected time of a step with its patches loaded.
    validation_seconds
        Expected time of one validation.
    validations
        How many there are.
    warnings
        What the user should know.
    """

    plan: Plan
    reasons: Mapping[str, str]
    machine: Machine
    parameters: int
    run: Run
    is_measured: bool
    step_seconds: float
    validation_seconds: float
    validations: int
    warnings: tuple[str, ...]

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.plan.training.steps_per_epoch * self.plan.training.epochs

    @property
    def seconds(self) -> float:
        """Expected time of the run of one fold."""
        return self.steps * self.step_seconds + self.validations * self.validation_seconds


@dataclass
class _Draft:
    """A plan in the making: the sections of the file, and the reasons."""

    values: dict[str, dict[str, Any]]
    reasons: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def put(self, key: str, value: Any, reason: str = "") -> None:
        section, _, name = key.partition(".")
        self.values.setdefault(section, {})[name] = value
        if reason:
            self.reasons[key] = reason

    def plan(self, **training: Any) -> Plan:
        return make_plan({**self.values, "training": {**self.values["training"], **training}})


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
    draft = _Draft({})
    _data(draft, fingerprint, wishes, path)
    dims = _dims(card, fingerprint, wishes)
    workers = min(2 if machine.device == "cpu" else 8, max(0, cores - 1))
    draft.put("training.seed", wishes.seed)
    draft.put("training.workers", workers, f"{counted(cores, 'core')}")
    _precision(draft, card, machine)
    _recipe(draft, _RECIPES.get(card.family, _NNUNET))
    limits = _limits(wishes, machine, memory)
    search = _Search(draft, card, fingerprint, wishes, measures, dims, limits)
    size, cost = search.size()
    _augment(draft, fingerprint, size.patch_zyx)
    plan = draft.plan()
    run, is_measured = _confirmed(measures, plan, size, cost)
    if run.peak_bytes > 1.1 * limits.nbytes:
        draft.warnings.append(
            f"a step needs {format_bytes(run.peak_bytes)}, more than the {format_bytes(limits.nbytes)} that it may: "
            f"try a smaller --patch-size than {by(size.patch_zyx)} or --batch-size"
        )
    step_seconds = _with_loading(run.seconds, measures.patch_seconds(plan), size.batch, workers, machine, cores)
    known = _Known(machine, measures.facts(plan), run, is_measured, step_seconds)
    return _schedule(draft, fingerprint, wishes, limits, known)


def _data(draft: _Draft, fingerprint: Fingerprint, wishes: PlanParams, path: str) -> None:
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


def _precision(draft: _Draft, card: ModelCard, machine: Machine) -> None:
    if machine.device == "cpu":
        draft.put("training.precision", "32", "on a CPU")
    elif machine.bf16 and card.bf16:
        draft.put("training.precision", "bf16", f"{machine.name} computes in bf16")
    else:
        draft.put("training.precision", "16", f"{machine.name}")


def _recipe(draft: _Draft, recipe: tuple[str, float, Mapping[str, Any], str, str]) -> None:
    optimizer, rate, options, scheduler, why = recipe
    draft.put("training.learning_rate", rate, "for this optimiser")
    draft.put("training.optimizer", optimizer, why)
    draft.put("training.optimizer_options", dict(options))
    draft.put("training.scheduler", scheduler)


def _augment(draft: _Draft, fingerprint: Fingerprint, patch: Sequence[int]) -> None:
    labels = list(fingerprint.labels.values())
    values, reasons = rules.augmentation(patch, draft.values["preprocess"]["spacing"], labels, fingerprint.orient)
    draft.values["augment"] = values
    draft.reasons |= {f"augment.{key}": reason for key, reason in reasons.items()}


@dataclass(frozen=True)
class _Limits:
    """What a step may cost."""

    nbytes: int
    why_bytes: str
    run_seconds: float | None
    why_seconds: str

    @property
    def step_seconds(self) -> float:
        if self.run_seconds is None:
            return math.inf
        return self.run_seconds * (1 - _VALIDATING) / _LEAST_STEPS


def _limits(wishes: PlanParams, machine: Machine, memory: int) -> _Limits:
    free = machine.memory or memory
    usable = int(0.9 * free)
    nbytes = min(wishes.memory or _DEFAULT_BYTES, usable)
    why = f"{format_bytes(nbytes)} on {machine.name}"
    if nbytes < (wishes.memory or _DEFAULT_BYTES):
        why += f", of which {format_bytes(free)} are free"
    is_cpu = machine.device == "cpu"
    minutes = wishes.minutes or (_CPU_MINUTES if is_cpu else None)
    source = "as asked" if wishes.minutes else "the default on a CPU (--minutes)"
    return _Limits(nbytes, why, None if minutes is None else 60 * minutes, f"{minutes or 0:g} min, {source}")


class _Search:
    """The search for the largest patch and batch that memory and time allow.

    Strides and kernels of a U-Net are planned for each patch, so its divisor changes with it; other networks keep
    theirs.
    """

    def __init__(
        self,
        draft: _Draft,
        card: ModelCard,
        fingerprint: Fingerprint,
        wishes: PlanParams,
        measures: Measures,
        dims: int,
        limits: _Limits,
    ) -> None:
        self.draft, self.card, self.wishes, self.measures, self.dims = draft, card, wishes, measures, dims
        self.limits = limits
        self.spacing = tuple(draft.values["preprocess"]["spacing"])
        self.median = fingerprint.median_size(self.spacing)
        self.voxels = sum(math.prod(case.resampled(self.spacing)) for case in fingerprint.cases.values())
        self.is_cpu = measures.machine().device == "cpu"
        self.is_planned = card.family in _UNETS and not wishes.options.keys() & {"strides", "patch_size"}
        draft.put("network.name", card.name, "as asked" if wishes.network != "unet" else "")
        self._use((1, 256, 256) if dims == 2 else (128, 128, 128))
        self.facts = measures.facts(draft.plan())

    def _use(self, patch: Sequence[int]) -> None:
        """Write a patch and the network for it into the draft."""
        self.draft.put("training.patch_size", list(patch))
        options = dict(self.wishes.options)
        if self.is_planned:
            own = list(patch[3 - self.dims :])
            distances = list(self.spacing[3 - self.dims :])
            stages = plan_stages(own, distances)
            options = {"patch_size": own, "spacing": distances, **options}
            if self.is_cpu and "features_per_stage" not in options:
                options["features_per_stage"] = list(features_of(len(stages.strides), self.dims, _CPU_FEATURES))
        self.draft.put("network.options", options)

    def size(self) -> tuple[Size, Cost]:
        """Return the patches of a step, and what steps cost."""
        if self.facts.image_size is not None:
            return self._of_fixed_size()
        start = self._fit(self.wishes.patch_size or self._largest())
        self._use(start)
        cost = self._cost(start)
        least = self.wishes.batch_size or _LEAST_BATCH
        patch, limited = start, ""
        while self.wishes.patch_size is None and (limit := self._over(cost, Size(least, patch))):
            smaller = self._smaller(patch, limit)
            if smaller is None:
                break
            patch, limited = smaller, limit
        self._use(patch)
        if left := self._over(cost, Size(least, patch)):
            self._tell_over(cost, Size(least, patch), left)
        shape = f"the median volume has {by(self.median)} voxels"
        self.draft.reasons["training.patch_size"] = (
            f"as asked; {shape}"
            if self.wishes.patch_size
            else f"no larger one fits into the {limited}; {shape}"
            if limited
            else f"{shape}"
        )  # fmt: skip
        self._network_reason()
        batch = self.wishes.batch_size or self._batch(cost, patch)
        self.draft.put("training.batch_size", batch, self.draft.reasons.pop("batch", "as asked"))
        return Size(batch, patch), cost

    def _largest(self) -> Index:
        """Return the largest patch that makes sense: as long along each axis in mm, and no larger than the volumes."""
        axes = range(3 - self.dims, 3)
        inverse = [1 / self.spacing[axis] for axis in axes]
        side = (_CPU_FIELD_OF_VIEW if self.is_cpu else _FIELD_OF_VIEW)[self.dims]
        scale = side / math.prod(inverse) ** (1 / self.dims)
        sides = [
            min(max(1, round(value * scale)), self.median[axis]) for value, axis in zip(inverse, axes, strict=True)
        ]
        if self.is_planned:  # its first stage halves the planes
            sides[-2:] = [max(side, 8) for side in sides[-2:]]
        return _index([1] * (3 - self.dims) + sides)

    def _divisor(self, patch: Sequence[int]) -> tuple[Index, Index]:
        """Return the numbers whose multiples the sides of a patch are, and its shortest sides."""
        if self.is_planned:
            stages = plan_stages(list(patch[3 - self.dims :]), list(self.spacing[3 - self.dims :]))
            divisor, least = stages.divisor, stages.minimum_size
        else:
            divisor, least = self.facts.divisor, self.facts.minimum
        front = [1] * (3 - self.dims)
        return _index([*front, *divisor]), _index([*front, *least])

    def _fit(self, patch: Sequence[int]) -> Index:
        """Return a patch of sides that fit the network, none shorter than asked."""
        divisor, least = self._divisor(patch)
        fitted = _index(
            [
                max(-(-low // step) * step, -(-side // step) * step)
                for side, step, low in zip(patch, divisor, least, strict=True)
            ]
        )
        if self.wishes.patch_size is not None and fitted != _index(patch):
            self.draft.warnings.append(
                f"--patch-size {by(patch)}: {self.card.name} takes multiples of {by(divisor)}; planned {by(fitted)}"
            )
        return fitted

    def _smaller(self, patch: Index, limit: str) -> Index | None:
        """Return a patch that is shorter along the axis where it covers most of the volumes; ``None`` without one."""
        divisor, least = self._divisor(patch)
        floor = _FLOOR[self.dims] if limit != "memory" else 1
        by_cover = sorted(range(3 - self.dims, 3), key=lambda axis: -patch[axis] / self.median[axis])
        for axis in by_cover:
            shorter = list(patch)
            shorter[axis] -= divisor[axis]
            low = max(8 if self.is_planned else least[axis], min(floor, self.median[axis]))
            if shorter[axis] < low:
                continue
            fitted = self._fit_down(shorter)
            if fitted is not None and math.prod(fitted) < math.prod(patch):
                return fitted
        return None

    def _fit_down(self, patch: Sequence[int]) -> Index | None:
        divisor, least = self._divisor(patch)
        if any(side < low for side, low in zip(patch, least, strict=True)):
            return None
        return _index([-(-side // step) * step for side, step in zip(patch, divisor, strict=True)])

    def _over(self, cost: Cost, size: Size) -> str:
        """Return which limit a step exceeds; empty if none."""
        if cost.nbytes(size.voxels) > self.limits.nbytes:
            return "memory"
        return "time" if cost.seconds(size.voxels) > self.limits.step_seconds else ""

    def _tell_over(self, cost: Cost, size: Size, limit: str) -> None:
        if limit == "time":
            return  # it is told with the steps that are left
        needed = f"{format_bytes(cost.nbytes(size.voxels))} for {size.batch} patches of {by(size.patch_zyx)}"
        if self.wishes.patch_size is None:
            raise ParamsError(
                f"{self.card.name} needs {needed} (extrapolated), the smallest that it takes here, and has "
                f"{self.limits.why_bytes}: give more --memory, --batch-size 1 or another --network"
            )
        voxels = math.prod(size.patch_zyx)
        fits = next((n for n in range(size.batch - 1, 0, -1) if not self._over(cost, Size(n, size.patch_zyx))), None)
        hint = f"--batch-size {fits} fits" if fits else f"{by(size.patch_zyx)} = {voxels:,} voxels are too many"
        raise ParamsError(
            f"--patch-size: a step needs {needed} (extrapolated), and has {self.limits.why_bytes}: {hint}"
        )

    def _cost(self, patch: Index) -> Cost:
        """Measure two steps that are small beside those of the plan, and return the line through them.

        Both have several patches, because torch convolves a single one by another algorithm on one core.
        """
        batch = min(_LEAST_BATCH, self.wishes.batch_size or _LEAST_BATCH)
        small = self._scaled(patch, min(32**3 if self.is_cpu else 64**3, math.prod(patch) // 8))
        large = self._scaled(patch, 3 * math.prod(small))
        first = Size(batch, small)
        second = Size(batch, large) if math.prod(large) > math.prod(small) else Size(2 * batch, small)
        return Cost(*self.measures.run(self.draft.plan(), [first, second]))

    def _scaled(self, patch: Index, voxels: int) -> Index:
        """Return a patch of about as many voxels that the network planned for ``patch`` takes."""
        divisor, least = self._divisor(patch)
        scale = min(1.0, (voxels / math.prod(patch)) ** (1 / self.dims))
        return _index(
            [
                max(-(-low // step) * step, min(side, round(side * scale / step) * step))
                for side, step, low in zip(patch, divisor, least, strict=True)
            ]
        )

    def _batch(self, cost: Cost, patch: Index) -> int:
        """Return how many patches memory, time and the size of the dataset allow."""
        most_of_data = max(_LEAST_BATCH, int(_PART_OF_DATA * self.voxels / math.prod(patch)))
        usual = _BATCH[self.dims]
        most = min(most_of_data, usual if self.limits.run_seconds is not None else 64)
        batch = _LEAST_BATCH
        while batch < most and not self._over(cost, Size(batch + 1, patch)):
            batch += 1
        if batch == _LEAST_BATCH:
            why = "the fewest, so that a patch can be large"
        elif batch == most_of_data:
            why = f"{_PART_OF_DATA:.0%} of the voxels of all cases"
        else:
            why = "nnU-Net's" if batch == most else "what memory and time allow"
        self.draft.reasons["batch"] = why
        return batch

    def _network_reason(self) -> None:
        if self.is_planned:
            channels = f"; {_CPU_FEATURES} channels in its first stage for a CPU, 32 on a GPU" if self.is_cpu else ""
            self.draft.reasons["network.options"] = f"strides and kernels follow from patch and spacing{channels}"

    def _of_fixed_size(self) -> tuple[Size, Cost]:
        """Return patches of the only size that a network takes."""
        own = self.facts.image_size
        assert own is not None
        wanted = self.wishes.patch_size
        if wanted is not None and _index([1] * (3 - self.dims) + list(own)) != wanted:
            self.draft.put("network.options", {**self.wishes.options, "image_size": _side(wanted[3 - self.dims :])})
            self.facts = self.measures.facts(self.draft.plan(patch_size=list(wanted)))
            own = self.facts.image_size or own
        patch = _index([1] * (3 - self.dims) + list(own))
        self.draft.put("training.patch_size", list(patch), f"the only size that {self.card.name} takes with image_size")
        cost = Cost(*self.measures.run(self.draft.plan(), [Size(1, patch), Size(2, patch)]))
        batch = self.wishes.batch_size or _LEAST_BATCH
        if self._over(cost, Size(batch, patch)) == "memory" and self.wishes.batch_size is None:
            batch = 1
        if self._over(cost, Size(batch, patch)) == "memory":
            raise ParamsError(
                f"{self.card.name} needs {format_bytes(cost.nbytes(batch * math.prod(patch)))} for {batch} patches of "
                f"{by(patch)}, and has {self.limits.why_bytes}: give more --memory, or a smaller image_size by "
                "--patch-size"
            )
        self.draft.put("training.batch_size", batch, "as asked" if self.wishes.batch_size else "what memory allows")
        return Size(batch, patch), cost


def _confirmed(measures: Measures, plan: Plan, size: Size, cost: Cost) -> tuple[Run, bool]:
    """Return a step of the plan's own size: measured, unless it takes too long to be tried."""
    expected = cost.seconds(size.voxels)
    if expected < 20:
        return measures.run(plan, [size])[0], True
    nbytes = cost.nbytes(size.voxels)
    return Run(size.voxels, expected, cost.forward_seconds(size.voxels), nbytes, nbytes), False


def _with_loading(
    seconds: float, patch_seconds: float, batch: int, workers: int, machine: Machine, cores: int
) -> float:
    """Return the time of a step with its patches loaded: beside it on a GPU, by the same cores on a CPU."""
    loading = batch * patch_seconds
    if workers == 0:
        return seconds + loading
    if machine.device == "cpu":
        return max(seconds + loading / cores, loading / workers)
    return max(seconds, loading / workers)


@dataclass(frozen=True)
class _Known:
    machine: Machine
    facts: Facts
    run: Run
    is_measured: bool
    step_seconds: float


def _schedule(draft: _Draft, fingerprint: Fingerprint, wishes: PlanParams, limits: _Limits, known: _Known) -> Planned:
    """Decide steps, epochs and validations, and return the plan."""
    overlap = _CPU_OVERLAP if known.machine.device == "cpu" else _OVERLAP
    draft.put("validation.overlap", overlap, "a CPU takes long for more" if overlap == _CPU_OVERLAP else "")
    one = _validation_seconds(draft, fingerprint, known.run, overlap)
    total = None if limits.run_seconds is None else _affordable(limits.run_seconds, one, known.step_seconds)
    step = f"{format_seconds(known.step_seconds)} a step ({'measured' if known.is_measured else 'extrapolated'})"
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
        _recipe(draft, _QUICK)
    run_seconds = steps * epochs * known.step_seconds
    share = _VALIDATING / (1 - _VALIDATING) if limits.run_seconds is not None else 0.1
    count = max(
        1, min(epochs, 10 if limits.run_seconds is not None else 100, int(share * run_seconds / max(one, 1e-9)))
    )
    every = -(-epochs // count)
    draft.put("validation.every", every, f"a validation takes about {format_seconds(one)}")
    if total is not None and steps * epochs < _LEAST_STEPS // 2 and None in (wishes.steps, wishes.epochs):
        draft.warnings.append(
            f"only {steps * epochs} steps fit into {limits.why_seconds}: a network learns little in them; give more "
            "--minutes, a smaller --patch-size, or train on a GPU"
        )
    plan = draft.plan()
    return Planned(
        plan=plan,
        reasons=dict(draft.reasons),
        machine=known.machine,
        parameters=known.facts.parameters,
        run=known.run,
        is_measured=known.is_measured,
        step_seconds=known.step_seconds,
        validation_seconds=one,
        validations=epochs // min(every, epochs),
        warnings=tuple(draft.warnings),
    )


def _affordable(seconds: float, validation: float, step: float) -> int:
    """Return how many steps fit into the time beside validations, which take half of it at most."""
    validating = min(seconds / 2, max(_VALIDATING * seconds, validation))
    return max(1, int((seconds - validating) / step))


def _validation_seconds(draft: _Draft, fingerprint: Fingerprint, run: Run, overlap: float) -> float:
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


def _index(values: Sequence[int]) -> Index:
    z, y, x = values
    return (int(z), int(y), int(x))


def _side(sides: Sequence[int]) -> int | list[int]:
    return sides[0] if len(set(sides)) == 1 else list(sides)
