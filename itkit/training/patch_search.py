"""The largest patch and batch that memory and time allow a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from itkit.core.errors import ParamsError
from itkit.core.geometry import by
from itkit.core.text import format_bytes
from itkit.models.card import ModelCard
from itkit.models.unet.topology import features_of, plan_stages
from itkit.training.fingerprint import Fingerprint
from itkit.training.plan_draft import Draft
from itkit.training.plan_file import Plan
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
LEAST_STEPS = 1000
"""A patch is made smaller until as many steps fit into the time."""
_FLOOR = {3: 32, 2: 64}
"""For the sake of time, no side of a patch becomes shorter than this (if the volumes are longer)."""
_FIELD_OF_VIEW = {3: 256, 2: 2048}
_CPU_FIELD_OF_VIEW = {3: 96, 2: 512}
"""Side of the largest patch that is considered, voxels; of other spacings along the axes, the same volume."""
_PART_OF_DATA = 0.05
"""Largest part of the voxels of the dataset that a batch holds, so that steps differ."""
VALIDATING = 0.2
"""Part of the time that validations take."""
_UNETS = ("unet",)
"""Families whose strides and kernels follow from patch and spacing."""


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
class Limits:
    """What a step may cost: bytes, and seconds of the whole run (``None``: no limit), with their reasons."""

    nbytes: int
    why_bytes: str
    run_seconds: float | None
    why_seconds: str

    @property
    def step_seconds(self) -> float:
        """Longest time of a step, so that enough of them fit into the run."""
        if self.run_seconds is None:
            return math.inf
        return self.run_seconds * (1 - VALIDATING) / LEAST_STEPS


def limits_of(wishes: PlanParams, machine: Machine, memory: int) -> Limits:
    """Return what a step may cost on a machine with so many free bytes."""
    free = machine.memory or memory
    usable = int(0.9 * free)
    nbytes = min(wishes.memory or _DEFAULT_BYTES, usable)
    why = f"{format_bytes(nbytes)} on {machine.name}"
    if nbytes < (wishes.memory or _DEFAULT_BYTES):
        why += f", of which {format_bytes(free)} are free"
    minutes = wishes.minutes or (_CPU_MINUTES if machine.is_cpu else None)
    source = "as asked" if wishes.minutes else "the default on a CPU (--minutes)"
    return Limits(nbytes, why, None if minutes is None else 60 * minutes, f"{minutes or 0:g} min, {source}")


class PatchSearch:
    """The search for the largest patch and batch that memory and time allow.

    Strides and kernels of a U-Net are planned for each patch, so its divisor changes with it; other networks keep
    theirs.
    """

    def __init__(
        self,
        draft: Draft,
        card: ModelCard,
        fingerprint: Fingerprint,
        wishes: PlanParams,
        measures: Measures,
        dims: int,
        limits: Limits,
    ) -> None:
        self.draft, self.card, self.wishes, self.measures, self.dims = draft, card, wishes, measures, dims
        self.limits = limits
        self.spacing = tuple(draft.values["preprocess"]["spacing"])
        self.median = fingerprint.median_size(self.spacing)
        self.voxels = sum(math.prod(case.resampled(self.spacing)) for case in fingerprint.cases.values())
        self.is_cpu = measures.machine().is_cpu
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


def _index(values: Sequence[int]) -> Index:
    z, y, x = values
    return (int(z), int(y), int(x))


def _side(sides: Sequence[int]) -> int | list[int]:
    return sides[0] if len(set(sides)) == 1 else list(sides)
