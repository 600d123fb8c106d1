"""``itk_infer`` on slides: pieces at the network's resolution, their classes put together to a pyramid, and outlines.

A slide is cut into pieces that overlap by the network's windows, so that no window is cut: with fixed intensities and
windows placed as MONAI places them, a pixel gets the class that it would get if the whole slide were one image.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from itkit.core.errors import CaseError, ParamsError
from itkit.core.files import Compression
from itkit.core.geometry import Geometry, orientation_steps
from itkit.core.operation import CaseInput, Collected, InputFile, Job, Outcome, Place, Target, Unpaired, Written
from itkit.core.text import counted
from itkit.core.volume import Case
from itkit.inference.model_folder import Intensity, ModelFacts
from itkit.io.layouts import LABEL
from itkit.pathology.annotations import write_geojson
from itkit.pathology.finding import MASK_META, PYRAMID
from itkit.pathology.limits import OUTLINE_BYTES, SLIDE_BYTES
from itkit.pathology.masks import outlined, read_classes
from itkit.pathology.pieces import CHANNELS, Numbers, Segmented, piece_spacing, sampled, spans
from itkit.pathology.planning import SlideFacts, slide_facts
from itkit.pathology.pyramid import write_pyramid
from itkit.pathology.scaling import EQUAL, Scale, scale_for, size_at
from itkit.pathology.slides import Slide, open_slide
from itkit.pathology.tissue import find_tissue

if TYPE_CHECKING:
    from itkit.inference.itk_infer import InferParams
    from itkit.inference.predicting import Predictor

_REGIONS = "regions"
_MOST_OUTLINED = 1 << 25
"""Pixels of the level whose classes are outlined; a larger slide's regions come from a coarser level."""
_MOST_VALUE = 255
_UM = 1000.0


class Found(NamedTuple):
    """The slides of a source: a job for each, its targets, files without a name of their own, and what to say."""

    jobs: tuple[Job, ...]
    targets: Mapping[str, Target]
    extras: tuple[Unpaired, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SlideDetails:
    """A slide, the resolution at which its networks see it, and the order of their channels among red, green, blue."""

    facts: SlideFacts
    mpp: float
    order: tuple[int, ...]


def plan(params: InferParams, models: Sequence[ModelFacts]) -> Found:
    """List the slides of a source.

    Raises
    ------
    LayoutError
        When there is no slide.
    ParamsError
        When the networks can't see slides, or an option is not for slides.
    """
    for option, is_given in (
        ("--probabilities", params.probabilities),
        ("--save-logits", params.save_logits),
        (f"--ext {params.ext}", params.ext != ".mha"),
    ):
        if is_given:
            raise ParamsError(f"{option} is not for slides, whose classes are written as a pyramid ({PYRAMID})")
    mpp, order, notes = _seen_by(models)
    slides, twice = slide_facts(
        params.source, recursive=params.recursive, slide_mpp=params.slide_mpp, mpp_table=params.mpp_table
    )
    jobs = [
        Job(
            name,
            {"slide": InputFile(facts.path, "file")},
            details=SlideDetails(facts, mpp, order),
            stamp=facts.stamp,
            more_files=facts.more_files,
            sizes=_size_of(facts, mpp, models, params.overlap),
        )
        for name, facts in slides.items()
    ]
    targets = {
        LABEL: Target(params.dest, PYRAMID, "label"),
        _REGIONS: Target(params.dest, ".geojson", "label"),
    }
    return Found(tuple(jobs), targets, tuple(twice), notes)


def _seen_by(models: Sequence[ModelFacts]) -> tuple[float, tuple[int, ...], tuple[str, ...]]:
    """Return the resolution that networks see, the order of their channels, and what to say about it.

    Raises
    ------
    ParamsError
        When they can't see slides.
    """
    facts = models[0]
    if len(facts.channels) != len(CHANNELS):
        raise ParamsError(
            f"the model takes {counted(len(facts.channels), 'channel')} ({', '.join(facts.channels)}); slides have "
            f"{', '.join(CHANNELS)}"
        )
    if max(facts.values) > _MOST_VALUE:
        raise ParamsError(f"the model has the label value {max(facts.values)}; masks of slides hold 0 to {_MOST_VALUE}")
    plane = Geometry((1, 1, 1), (1.0, 1.0, 1.0))
    for model in models:
        if model.patch_size[0] != 1 or orientation_steps(plane, model.orient)[0][0] != 0:
            raise ParamsError(f"slides need a network of single planes; the model's windows are {model.patch_size} ZYX")
        if min(model.spacing[1:]) <= 0:
            raise ParamsError("the model does not say at which resolution it has learned (its spacing is -1 in plane)")
        if any(abs(length / facts.spacing[1] - 1) > EQUAL for length in model.spacing[1:]):
            raise ParamsError("slides have square pixels, of one resolution for all models; those of the models differ")
    names = [name.lower() for name in facts.channels]
    mpp = facts.spacing[1] * _UM
    if set(names) == set(CHANNELS):
        return mpp, tuple(CHANNELS.index(name) for name in names), ()
    there, wanted = ", ".join(CHANNELS), ", ".join(facts.channels)
    return mpp, (0, 1, 2), (f"the slides' channels ({there}) stand for the model's ({wanted}), in this order",)


def _size_of(facts: SlideFacts, mpp: float, models: Sequence[ModelFacts], overlap: float) -> dict[str, CaseInput]:
    """Return what is known of a slide's largest piece before it is read; nothing of a damaged slide, which fails."""
    try:
        with facts.open() as slide:
            size_xy = size_at(slide, scale_for(slide, mpp))
    except CaseError:
        return {}
    x, y = (max(one.stop - one.start for one in along) for along in spans(size_xy, models, overlap))
    shown = min(_MOST_OUTLINED, math.prod(size_xy))
    grid = Geometry((1, y, x), piece_spacing(models[0]))
    return {"slide": CaseInput(grid, "uint8", 2 * len(CHANNELS) * y * x, SLIDE_BYTES + OUTLINE_BYTES * shown)}


def segment(case: Case, params: InferParams, predictor: Predictor, threads: int) -> Outcome:
    """Return how the classes of a slide are written: as a pyramid, and as outlines."""
    settings = replace(predictor.settings, skip_air=False)  # that is for patients' bodies
    predictor = replace(predictor, settings=settings)
    return Segmenting(case.id, case.details.slide, predictor, threads, params.skip_air).outcome()


@dataclass(frozen=True, eq=False)
class Segmenting:
    """What is written of a slide: its classes as a pyramid, and their outlines.

    Parameters
    ----------
    case_id, details
        The slide.
    predictor, threads
        The networks, and how many threads they may use.
    skip_air
        Leave out pieces without tissue.
    """

    case_id: str
    details: SlideDetails
    predictor: Predictor
    threads: int
    skip_air: bool

    def outcome(self) -> Outcome:
        """Return how the files are written; the facts are known when they are."""
        facts: dict[str, Any] = {}
        warnings: list[str] = []
        write = partial(self._write, facts, warnings)
        return Outcome(batches=(write,), facts=facts, late_warnings=lambda: warnings)

    def _write(
        self, facts: dict[str, Any], warnings: list[str], place: Place, compression: Compression
    ) -> list[Written]:
        del compression
        begin = time.perf_counter()
        path, regions = place(LABEL, self.case_id), place(_REGIONS, self.case_id)
        with self.details.facts.open() as slide:
            scale = scale_for(slide, self.details.mpp)
            facts |= {"slide": slide.path.name, "read": scale.text(), "mpp": scale.mpp}
            facts["px0_per_px"] = scale.factor * slide.levels[scale.level].downsample
            segmented = self._segmented(slide, scale, path.parent)
            x, y = (scale.mpp * length / slide.mpp for length in slide.mpp_xy or ())
            write_pyramid(path, segmented.size_xy, segmented.piece, mpp_xy=(x, y), kind="mask")
        facts["size_px"] = list(segmented.size_xy)
        names = {value: name for value, name in self.predictor.facts.names.items() if value}
        facts["labels"] = {str(value): name for value, name in names.items()}
        facts |= _write_regions(path, regions, names, facts["px0_per_px"])
        facts |= {
            "pieces_without_tissue": segmented.left_out,
            "seconds": round(time.perf_counter() - begin, 3),
            "windows": segmented.windows,
            "voxels": {str(value): count for value, count in segmented.voxels.items()},
        }
        warnings += _remarks(scale, facts)
        return [Written(LABEL, self.case_id), Written(_REGIONS, self.case_id)]

    def _segmented(self, slide: Slide, scale: Scale, scratch: Path) -> Segmented:
        order, predictor = self.details.order, self.predictor
        own = _wants_own_numbers(predictor)
        tissue = find_tissue(slide) if self.skip_air or own else None
        if own and tissue is not None:
            side_yx = predictor.facts.patch_size[1:]
            predictor = _with_numbers(predictor, sampled(slide, scale, tissue, side_yx), order)
        return Segmented(
            slide,
            scale,
            order,
            predictor,
            scratch=scratch,
            threads=self.threads,
            tissue=tissue if self.skip_air else None,
        )


def _write_regions(mask: Path, out: Path, names: Mapping[int, str], px0: float) -> dict[str, Any]:
    """Outline the classes of a mask, at its finest level that is not too large; return facts about it."""
    with open_slide(mask) as opened:
        sizes = [math.prod(level.size_xy) for level in opened.levels]
        level = next((number for number, pixels in enumerate(sizes) if pixels <= _MOST_OUTLINED), len(sizes) - 1)
        regions, _ = outlined(read_classes(opened, level), names, px0 * opened.levels[level].downsample)
        mpp = opened.level_mpp(level)
    out.write_text(write_geojson(regions), encoding="utf-8")
    return {"regions": len(regions), "regions_mpp": mpp, "regions_level": level}


def _remarks(scale: Scale, facts: Mapping[str, Any]) -> Iterator[str]:
    if facts["regions_level"]:
        yield f"the outlines come from a coarser level ({facts['regions_mpp']:.4g} µm per pixel): the slide is large"
    if scale.factor < 1:
        own = scale.factor * scale.mpp
        yield f"the finest level has {own:.4g} µm per pixel: the network sees it enlarged"
    if not any(count for value, count in facts["voxels"].items() if value != "0"):
        yield "no pixel of any class was found; is the slide of the kind that the network has learned?"


def _wants_own_numbers(predictor: Predictor) -> bool:
    """Whether a network wants intensities by an image's own mean and standard deviation."""
    rules = (loaded.model.facts.intensity for loaded in predictor.models)
    return any(rule.of(name).scheme == "zscore" for rule in rules for name in predictor.facts.channels)


def _with_numbers(predictor: Predictor, numbers: Numbers, order: Sequence[int]) -> Predictor:
    """Return networks that take a slide's mean and standard deviation where they want those of an image."""
    mean, sd = (values[list(order)].tolist() for values in numbers)
    fixed = {
        name: Intensity(scheme="ct", low=0, high=255, mean=mean[place], sd=sd[place] or 1.0)
        for place, name in enumerate(predictor.facts.channels)
    }
    models = []
    for loaded in predictor.models:
        facts = loaded.model.facts
        rules = {name: facts.intensity.of(name) for name in facts.channels}
        rules = {name: fixed[name] if rule.scheme == "zscore" else rule for name, rule in rules.items()}
        changed = facts.model_copy(update={"intensity": Intensity(scheme="none", channels=rules)})
        models.append(replace(loaded, model=replace(loaded.model, facts=changed)))
    return replace(predictor, models=tuple(models))


def collect(run: Collected) -> dict[Path, Any]:
    """Return ``mask_meta.json``, so that the result is a folder of masks for ``itk_wsi``."""
    return {Path(MASK_META): {name: dict(record.facts) for name, record in sorted(run.all_records.items())}}
