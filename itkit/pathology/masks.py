"""``itk_wsi mask`` and ``annotate``: annotations to label masks, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.errors import CaseError, LayoutError, ParamsError, ReadError
from itkit.core.files import SERIES_META, Compression
from itkit.core.geometry import Geometry
from itkit.core.operation import (
    CaseInput,
    Collected,
    Context,
    InputFile,
    Job,
    Outcome,
    Place,
    Plan,
    Report,
    Target,
    Unpaired,
    Written,
)
from itkit.core.text import counted, some
from itkit.core.volume import Case
from itkit.io.dicom.outline import rings
from itkit.io.json_files import read_json
from itkit.io.layouts import require_destination
from itkit.pathology.annotations import SUFFIXES, Annotation, paint, read_annotations, write_geojson
from itkit.pathology.finding import MASK_META, PYRAMID, find_files
from itkit.pathology.params import WsiParams
from itkit.pathology.planning import SlideFacts, slide_jobs
from itkit.pathology.pyramid import write_pyramid
from itkit.pathology.scaling import scale_for, size_at
from itkit.pathology.slides import Slide, open_slide

_MASK, _REGIONS, _GEOJSON = "mask", "annotations", "geojson"
_MOST_CLASSES = 255
_LABEL = re.compile(r"(\d{1,19})=(.*\S.*)", re.ASCII)
_LARGEST_MASK = 1 << 30
"""Pixels of a mask that is turned to polygons: it is held in memory."""
_STRIP = 1 << 22
"""Pixels of a mask that are read at a time: slides give three values for each."""


def named_values(params: WsiParams) -> dict[str, int]:
    """Return the value of each class that ``--labels`` names.

    Raises
    ------
    ParamsError
        When a text has another form, a value is not 1 to 255, or a value or a name stands twice.
    """
    found: dict[str, int] = {}
    for text in params.labels:
        match = _LABEL.fullmatch(text)
        if match is None:
            raise ParamsError(f"--labels: expected VALUE=NAME, e.g. 1=tumour; got {text!r}")
        value, name = int(match[1]), match[2].strip()
        if not 1 <= value <= _MOST_CLASSES or value in found.values() or name in found:
            raise ParamsError(f"--labels: {text}: expected values 1 to {_MOST_CLASSES}, each value and name once")
        found[name] = value
    return found


def plan_masks(params: WsiParams) -> Plan:
    """Pair slides and annotations by their names, and number the classes of all of them."""
    assert params.annotations is not None
    assert params.dest is not None
    dest = params.dest
    files, twice = find_files(params.annotations, SUFFIXES, recursive=params.recursive, what="annotation")
    files = {name: path for name, path in files.items() if path.name != SERIES_META}  # annotate has written it
    slides = slide_jobs(params, lambda _: {_MASK: Target(dest, PYRAMID, "label")})
    values = named_values(params) or _numbered(files.values())
    stamp = repr(sorted(values.items()))
    jobs, lone = [], [*slides.unpaired, *twice]
    for job in slides.jobs:
        if job.case_id not in files:
            lone.append(Unpaired(job.case_id, job.inputs["slide"].path, "annotation"))
            continue
        path = files[job.case_id]
        inputs = {**job.inputs, _REGIONS: InputFile(path, "file")}
        details = (job.details, path, values)
        jobs.append(replace(job, inputs=inputs, output_ids=None, details=details, stamp=f"{job.stamp} {stamp}"))
    there = {job.case_id for job in slides.jobs}
    lone += [Unpaired(name, path, "slide") for name, path in files.items() if name not in there]
    if not jobs:
        raise LayoutError(f"no annotation in {params.annotations} has the name of a slide in {params.source}")
    return Plan(tuple(jobs), tuple(lone), dest)


def _numbered(files: Any) -> dict[str, int]:
    """Give each class of all annotations a number, in the order of their names; unreadable files fail later."""
    names: set[str] = set()
    for path in files:
        try:
            names.update(region.name for region in read_annotations(path))
        except ReadError:
            continue
    if len(names) > _MOST_CLASSES:
        raise ParamsError(
            f"the annotations have {len(names)} classes; a mask holds {_MOST_CLASSES}: pick some by --labels"
        )
    return {name: value for value, name in enumerate(sorted(names), 1)}


def mask_case(case: Case, params: WsiParams, context: Context) -> Outcome:
    """Paint the annotations of a slide."""
    del context
    facts: SlideFacts
    facts, path, values = case.details
    regions = read_annotations(path)
    with facts.open() as slide:
        scale = scale_for(slide, params.mpp)
        size = size_at(slide, scale)
        factor = scale.factor * slide.levels[scale.level].downsample
        ratio = [own / slide.mpp for own in slide.mpp_xy or ()]
        beyond = [region.name for region in regions if _lies_outside(region, slide.size_xy)]
    unknown = sorted({region.name for region in regions} - values.keys())
    warnings = [f"regions of {some(unknown)} are left out: --labels does not name them"] if unknown else []
    warnings += [f"beyond the slide: parts of {counted(beyond, 'region')}"] if beyond else []
    record = {
        "slide": facts.path.name,
        "mpp": scale.mpp,
        "px0_per_px": factor,
        "size_px": list(size),
        "labels": {str(value): name for name, value in values.items()},
        "regions": len(regions),
    }
    mpp_xy = (scale.mpp * ratio[0], scale.mpp * ratio[1])
    return Outcome(
        batches=(partial(_write_mask, case.id, regions, values, size, factor, mpp_xy),), facts=record, warnings=warnings
    )


def _lies_outside(region: Annotation, size_xy: tuple[int, int]) -> bool:
    left, top, right, bottom = region.bounds
    return left < 0 or top < 0 or right > size_xy[0] or bottom > size_xy[1]


def _write_mask(
    case_id: str,
    regions: tuple[Annotation, ...],
    values: Mapping[str, int],
    size: tuple[int, int],
    factor: float,
    mpp_xy: tuple[float, float],
    place: Place,
    compression: Compression,
) -> list[Written]:
    del compression

    def piece(left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
        return paint(regions, values, (left, top), (width, height), factor)

    write_pyramid(place(_MASK, case_id), size, piece, mpp_xy=mpp_xy, kind="mask")
    return [Written(_MASK, case_id)]


def collect_masks(params: WsiParams, run: Collected) -> Report:
    """Return ``mask_meta.json``: resolution and classes of every mask."""
    del params
    cases = {name: dict(record.facts) for name, record in sorted(run.all_records.items())}
    return Report((f"{len(cases)} masks",), files={Path(MASK_META): cases})


@dataclass(frozen=True)
class MaskFacts:
    """A mask's file, names of its classes by value, and pixels of level 0 of the slide for a pixel of the mask."""

    path: Path
    names: Mapping[int, str]
    factor: float | None


def plan_annotations(params: WsiParams) -> Plan:
    """List the masks of a folder; ``mask_meta.json`` there tells names and scale."""
    assert params.dest is not None
    require_destination(params.dest, params.source)
    files, twice = find_files(params.source, (PYRAMID, ".tif", ".tiff"), recursive=params.recursive, what="mask")
    folder = params.source if params.source.is_dir() else params.source.parent
    meta = read_json(folder / MASK_META) if (folder / MASK_META).is_file() else {}
    meta = meta if isinstance(meta, dict) else {}
    given = {value: name for name, value in named_values(params).items()}
    facts = {name: _mask_facts(path, meta.get(name), given) for name, path in files.items()}
    jobs = tuple(
        Job(
            name,
            {_MASK: InputFile(found.path, "file")},
            {_GEOJSON: Target(params.dest, ".geojson", "label")},
            details=found,
            stamp=repr((sorted(found.names.items()), found.factor)),
            sizes=_size_of(found.path),
        )
        for name, found in facts.items()
    )
    return Plan(jobs, tuple(twice), params.dest)


def _mask_facts(path: Path, meta: Any, given: Mapping[int, str]) -> MaskFacts:
    entry = meta if isinstance(meta, dict) else {}
    labels, factor = entry.get("labels"), entry.get("px0_per_px")
    names = {int(value): str(name) for value, name in labels.items()} if isinstance(labels, dict) else {}
    return MaskFacts(path, given or names, float(factor) if isinstance(factor, int | float) else None)


def _size_of(path: Path) -> dict[str, CaseInput]:
    """Return what is known of a mask's size before it is read; nothing of a damaged one, which fails later."""
    try:
        with open_slide(path, needs_mpp=False) as mask:
            width, height = mask.size_xy
    except ReadError:
        return {}
    return {_MASK: CaseInput(Geometry((1, height, width), (1.0, 1.0, 1.0)), "uint8", height * width)}


def annotate_case(case: Case, params: WsiParams, context: Context) -> Outcome:
    """Turn a mask to regions with holes, in pixels of level 0 of the slide."""
    del context
    facts: MaskFacts = case.details
    with open_slide(facts.path, needs_mpp=False) as mask:
        width, height = mask.size_xy
        if width * height > _LARGEST_MASK:
            raise CaseError(f"{facts.path.name}: {width} x {height} pixels are too many at once; make a coarser mask")
        factor = facts.factor
        if factor is None:
            if params.slide_mpp is None:
                raise CaseError(
                    f"{facts.path.name}: {MASK_META} beside it does not tell its scale; give --slide-mpp, the "
                    "resolution of the slide's level 0"
                )
            factor = mask.mpp / params.slide_mpp
        values = read_classes(mask)
    regions, nameless = outlined(values, facts.names, factor)
    warnings = [f"no name for the values {some(nameless)}: they are called class N"] if nameless else []
    text = write_geojson(regions)

    def write(place: Place, compression: Compression) -> list[Written]:
        del compression
        place(_GEOJSON, case.id).write_text(text, encoding="utf-8")
        return [Written(_GEOJSON, case.id)]

    return Outcome(batches=(write,), facts={"mask": facts.path.name, "regions": len(regions)}, warnings=warnings)


def read_classes(mask: Slide, level: int = 0) -> NDArray[np.uint8]:
    """Read a level of a mask whole, ``(Y, X)``, strip by strip."""
    width, height = mask.levels[level].size_xy
    values = np.empty((height, width), np.uint8)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        size = (width, min(rows, height - top))
        values[top : top + rows] = mask.read_region(level_px=(0, top), size=size, level=level)[..., 0]
    return values


def outlined(
    values: NDArray[np.uint8], names: Mapping[int, str], factor: float
) -> tuple[list[Annotation], tuple[str, ...]]:
    """Outline the regions of a mask.

    Parameters
    ----------
    values
        Classes ``(Y, X)``; 0 is no class.
    names
        Their names.
    factor
        Pixels of level 0 of the slide for a pixel of the mask.

    Returns
    -------
    list
        A region for each 4-connected part of a class, with its holes, in pixels of level 0.
    tuple
        The values that have no name.
    """
    there = [int(value) for value in np.flatnonzero(_counts(values)) if value]
    regions = [
        Annotation(names.get(value, f"class {value}"), (tuple((line[:, ::-1] + 0.5) * factor for line in part),))
        for value in there
        for part in rings(values == value)
    ]
    return regions, tuple(str(value) for value in there if value not in names)


def _counts(values: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the pixels of each class, row by row: numpy counts in 64-bit integers."""
    total = np.zeros(_MOST_CLASSES + 1, np.int64)
    for row in values:
        total += np.bincount(row, minlength=len(total))
    return total


def collect_annotations(params: WsiParams, run: Collected) -> Report:
    """Say how many regions were written."""
    del params
    total = sum(int(record.facts.get("regions", 0)) for record in run.all_records.values())
    return Report((f"{total} regions of {len(run.all_records)} masks",))
