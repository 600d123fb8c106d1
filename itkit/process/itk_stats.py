"""``itk_stats``: what a dataset holds (grids, intensities, classes), and which cases lie far from the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np

from itkit.core.dataset_meta import DatasetMeta
from itkit.core.errors import CaseError, ItkitError, LayoutError
from itkit.core.fields import PathRole, Positional, Short, Unkeyed
from itkit.core.grids import require_one_grid
from itkit.core.operation import CaseInput, Collected, Context, InputFile, Job, Operation, Outcome, Plan, Report
from itkit.core.params import Params
from itkit.core.text import counted, csv_text, some
from itkit.core.version import VERSION
from itkit.core.volume import Case, Volume, is_image
from itkit.io.layouts import LABEL, require_destination, require_folder
from itkit.io.overlooked import advice
from itkit.io.streams.checksums import CHECKSUMS
from itkit.kernels.arrays import Box, outer_box
from itkit.kernels.distribution import Distribution, distribution, distributions
from itkit.process.dataset_statistics import (
    REGIONS,
    SAME_SPACING,
    Outlier,
    Pool,
    intensity_numbers,
    label_numbers,
    outliers,
    packed,
    pooled,
    summary_of,
    unpacked,
)
from itkit.process.plans import find_cases

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAME = "itk_stats"
_COMPARED = ("mean", "std")
"""Which intensity numbers are compared between cases to find outliers."""
MOST_PICTURES = 4
_FILES = ("stats.json", "stats.csv", "stats.html")


class StatsParams(Params):
    """Measure a dataset: grids, intensities, classes, outliers; the fingerprint that planning and checking need."""

    source: Annotated[Path, PathRole("in_folder", "dataset"), Positional("dataset")]
    """Dataset to measure: image/ with label/, image/ alone, or a folder of images."""
    dest: Annotated[Path, PathRole("out_folder"), Positional("out")]
    """Folder for stats.json, stats.csv and stats.html."""
    recursive: Annotated[bool, Short("-r"), Unkeyed()] = False
    """Search sub-folders."""


class _Details(NamedTuple):
    """What `collect` needs: the description of the dataset, and the files of every case."""

    meta: DatasetMeta
    files: Mapping[str, Mapping[str, InputFile]]


def plan(params: StatsParams) -> Plan:
    """List the cases of the dataset.

    Raises
    ------
    LayoutError
        When the source holds no image.
    """
    source = require_folder(params.source, "dataset")
    require_destination(params.dest, source)
    found = find_cases(source, params.dest, "", recursive=params.recursive)
    if not found.jobs:
        raise LayoutError(f"{source}: no image was found{advice(source)}")
    meta = found.described.meta or DatasetMeta({})
    jobs = tuple(replace(job, targets={}, details=_channel_names(job, meta)) for job in found.jobs)
    files = {job.case_id: job.inputs for job in jobs}  # a shard's plan has its own jobs alone
    results = tuple(params.dest / name for name in _FILES)
    return Plan(jobs, found.unpaired, params.dest, found.described.notes, _Details(meta, files), writes=results)


def _channel_names(job: Job, meta: DatasetMeta) -> dict[str, tuple[str, ...]]:
    """Return the names of the channels that each image of a job holds; empty for the only channel of a case."""
    images = [name for name in job.inputs if is_image(name)]
    if images == ["image"]:
        return {"image": meta.channels if meta.has_vectors else ()}
    if len(images) == 1:
        return {}
    by_ending = dict(zip(meta.endings, meta.channels, strict=True))
    endings = {name: name.removeprefix("image_") for name in images}
    return {name: (by_ending.get(ending, ending),) for name, ending in endings.items()}


def stats_case(case: Case, params: StatsParams, context: Context) -> Outcome:
    """Measure one case; the facts also hold its values in a short form, from which the dataset's follow."""
    del params, context
    require_one_grid(case)
    label = case.volumes.get(LABEL)
    inside = None if label is None else _foreground(label.array_zyx)
    intensity: dict[str, Any] = {}
    values: dict[str, Any] = {}
    dtypes: dict[str, str] = {}
    warnings = []
    channels = dict(_channels(case))
    for channel, image in channels.items():
        parts = (
            {"whole": distribution(image)}
            if inside is None
            else dict(zip(REGIONS, distributions(image, inside), strict=True))
        )
        intensity[channel] = {
            region: intensity_numbers(parts[region]) if region in parts else None for region in REGIONS
        }
        _require_finite(intensity[channel], channel)
        values[channel] = {region: packed(part) for region, part in parts.items() if part.size}
        dtypes[channel] = image.dtype.name
        lost = parts["whole"].n_other
        if lost:
            where = f"image {channel}" if channel else "image"
            warnings.append(f"{where}: {counted(lost, 'voxel')} nan or infinite; left out of its intensities")
    grid = case.grid(case.names[0])
    measured = {
        "size": list(grid.size_zyx),
        "spacing": list(grid.spacing_zyx),
        "orientation": grid.orientation,
        "dtype": dtypes if len(set(dtypes.values())) > 1 else next(iter(dtypes.values())),
        "intensity": intensity.get("", intensity),
        "nonzero_box": _box(outer_box(list(channels.values()))),
        "labels": {} if label is None else label_numbers(label),
    }
    if label is not None and not measured["labels"]:
        warnings.append("the label is empty: no class but 0")
    return Outcome(facts={"case": measured, "values": values, "digest": _digest(channels)}, warnings=warnings)


def _digest(channels: Mapping[str, NDArray[Any]]) -> str:
    """Return what is equal for cases whose images are the same voxel for voxel, whatever their format and grid."""
    words: list[str] = []
    for channel, array in channels.items():
        data = np.ascontiguousarray(array).data
        sums = [f"{checksum.of(data):08x}" for checksum in CHECKSUMS.values()]  # two, ten times as fast as a digest
        words += [channel, array.dtype.name, "x".join(map(str, array.shape)), *sums]
    return " ".join(words)


def _require_finite(intensity: Mapping[str, Mapping[str, float] | None], channel: str) -> None:
    """Refuse values whose squares exceed double precision.

    Raises
    ------
    CaseError
        When a number is not finite.
    """
    for numbers in intensity.values():
        if numbers is not None and not np.isfinite(list(numbers.values())).all():
            where = f"image {channel}" if channel else "image"
            raise CaseError(
                f"{where}: values from {numbers['min']:.4g} to {numbers['max']:.4g}: too large for their standard "
                "deviation; is the file damaged?"
            )


def _box(box: Box | None) -> dict[str, list[int]] | None:
    return box and {"start": [part.start for part in box], "size": [part.stop - part.start for part in box]}


def _foreground(label_zyx: NDArray[Any]) -> NDArray[Any]:
    """Return a mask of the classes above 0; without negative ones, the label map is one itself."""
    return label_zyx if label_zyx.dtype.kind == "u" else label_zyx > 0


def _channels(case: Case) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield each channel's name, empty if the case has only one, and its voxels."""
    for name in case.names:
        if not is_image(name):
            continue
        array = case.volumes[name].array_zyx
        names: Sequence[str] = case.details.get(name, ())
        if array.ndim == 3:
            yield (names[0] if len(names) == 1 else ""), array
            continue
        for number in range(array.shape[3]):
            channel = names[number] if len(names) == array.shape[3] else str(number)
            yield channel, np.ascontiguousarray(array[..., number])


def collect(params: StatsParams, run: Collected) -> Report:
    """Return ``stats.json``, ``stats.csv`` and ``stats.html``."""
    if not run.all_records:
        return Report() if run.options["dry_run"] else Report(("no case was measured: the files were not written",))
    details: _Details = run.plan.details
    meta = details.meta
    cases = {name: _with_names(record.facts["case"], meta.labels) for name, record in sorted(run.all_records.items())}
    values = {name: record.facts["values"] for name, record in run.all_records.items()}
    pools = _pools(cases, values)
    dataset = _dataset_numbers(cases, pools)
    found = sorted(find_outliers(cases), key=lambda item: item.case)
    shown = [asdict(item) for item in found]
    same = _same_images({name: record.facts.get("digest", name) for name, record in sorted(run.all_records.items())})
    head = {"itkit": VERSION, "operation": _NAME, "params": params.absolute_values()}
    from itkit.report.statistics import statistics_page

    pictures = {case: _volumes(details.files.get(case)) for case in _furthest(found)}
    files = {
        Path(_FILES[0]): {**head, "cases": cases, "dataset": dataset, "outliers": shown, "same_images": same},
        Path(_FILES[1]): csv_text(_rows(cases)),
        Path(_FILES[2]): statistics_page(
            meta.values.get("name", params.source.absolute().name),
            cases,
            dataset,
            found,
            pools,
            pictures,
            modality=meta.modality,
        ),
    }
    return Report((*_lines(cases, meta, found), *_lines_of_same(same)), files=files)


def _same_images(digests: Mapping[str, str]) -> list[list[str]]:
    """Return the groups of cases with the same images."""
    groups: dict[str, list[str]] = {}
    for case, digest in digests.items():
        groups.setdefault(digest, []).append(case)
    return [group for group in groups.values() if len(group) > 1]


def _lines_of_same(groups: Sequence[Sequence[str]]) -> Iterator[str]:
    if groups:
        same = some([" = ".join(group) for group in groups])
        yield f"warning: the same image, voxel for voxel: {same}; keep one of them before you split"


def _with_names(case: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, Any]:
    labels = {value: {**numbers, "name": names.get(int(value), value)} for value, numbers in case["labels"].items()}
    return {**case, "labels": labels}


def _by_channel(case: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the intensities of each channel; the only channel of a case has an empty name."""
    intensity: Mapping[str, Any] = case["intensity"]
    return {"": intensity} if intensity.keys() == set(REGIONS) else intensity


def _pools(cases: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, dict[str, Pool]]:
    """Return the pooled intensities by channel and region."""
    found: dict[str, dict[str, list[tuple[Mapping[str, Any], Distribution]]]] = {}
    for name, case in cases.items():
        for channel, regions in _by_channel(case).items():
            own = found.setdefault(channel, {region: [] for region in REGIONS})
            for region, numbers in regions.items():
                if numbers is not None:
                    own[region].append((numbers, unpacked(values[name][channel][region])))
    return {channel: {region: pooled(parts) for region, parts in own.items()} for channel, own in found.items()}


def _dataset_numbers(cases: Mapping[str, Any], pools: Mapping[str, Mapping[str, Pool]]) -> dict[str, Any]:
    intensity = {
        channel: {region: pool.numbers for region, pool in regions.items()} for channel, regions in pools.items()
    }
    axes = {
        name: {axis: summary_of([case[name][place] for case in cases.values()]) for place, axis in enumerate("ZYX")}
        for name in ("spacing", "size")
    }
    return {
        "cases": len(cases),
        "median_spacing": [numbers["median"] for numbers in axes["spacing"].values()],
        "median_size": [numbers["median"] for numbers in axes["size"].values()],
        **axes,
        "orientations": _tally(case["orientation"] for case in cases.values()),
        "intensity": intensity.get("", intensity),
        "labels": {value: _class_numbers(cases, value) for value in _classes(cases)},
    }


def _tally(words: Iterator[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return dict(sorted(found.items()))


def _classes(cases: Mapping[str, Any]) -> list[str]:
    return sorted({value for case in cases.values() for value in case["labels"]}, key=int)


def _class_numbers(cases: Mapping[str, Any], value: str) -> dict[str, Any]:
    own = [case["labels"][value] for case in cases.values() if value in case["labels"]]
    return {
        "name": own[0]["name"],
        "cases": len(own),
        "voxels": sum(numbers["voxels"] for numbers in own),
        "ml": summary_of([numbers["ml"] for numbers in own]),
        "components": summary_of([numbers["components"] for numbers in own]),
        "touches_border": sum(numbers["touches_border"] for numbers in own),
    }


def find_outliers(cases: Mapping[str, Any]) -> Iterator[Outlier]:
    """Yield the cases of ``stats.json`` that lie far from the others in spacing, size, class volume or intensity."""
    for name, unit, tolerance in (("spacing", "mm", SAME_SPACING), ("size", "voxels", 0.0)):
        for place, axis in enumerate("ZYX"):
            values = {key: case[name][place] for key, case in cases.items()}
            yield from outliers(f"{name} {axis}", values, unit, tolerance=tolerance)
    for value in _classes(cases):
        there = {key: case["labels"][value] for key, case in cases.items() if value in case["labels"]}
        name = next(iter(there.values()))["name"]
        what = f"volume of {value}" if name == value else f"volume of {value} {name}"
        yield from outliers(what, {key: numbers["ml"] for key, numbers in there.items()}, "ml")
    found: dict[tuple[str, str], dict[str, Mapping[str, float]]] = {}
    for key, case in cases.items():
        for channel, regions in _by_channel(case).items():
            for region, measured in regions.items():
                if measured is not None:
                    found.setdefault((channel, region), {})[key] = measured
    for (channel, region), of_cases in found.items():
        spread = float(np.median([measured["std"] for measured in of_cases.values()]))
        for number in _COMPARED:
            what = " ".join(filter(None, ("intensity", channel, region, number)))
            yield from outliers(what, {key: measured[number] for key, measured in of_cases.items()}, scale=spread)


def _furthest(found: Sequence[Outlier]) -> list[str]:
    """Return the cases whose pictures are shown: those that lie farthest out."""
    reach: dict[str, float] = {}
    for item in found:
        distance = float("inf") if item.z is None else abs(item.z)
        reach[item.case] = max(reach.get(item.case, 0.0), distance)
    return sorted(reach, key=lambda case: (-reach[case], case))[:MOST_PICTURES]


def _volumes(files: Mapping[str, InputFile] | None) -> Any:
    """Return a function that reads the first image and the label of a case, or a message why it can't."""

    def read() -> tuple[Volume, Volume | None] | str:
        from itkit.io.sitk_toolkit import read_volume

        if files is None:
            return "its files are no longer in the source"
        try:
            file = next(file for name, file in files.items() if is_image(name))
            image = read_volume(file.path, channels=file.components != (1,))
            label = files.get(LABEL)
            return image, None if label is None else read_volume(label.path, "label")
        except ItkitError as error:
            return str(error)

    return read


def _rows(cases: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Yield the lines of ``stats.csv``."""
    axes = [f"{name}_{axis}" for name in ("size", "spacing") for axis in "zyx"]
    numbers = list(
        dict.fromkeys(
            (channel, region, number)
            for case in cases.values()
            for channel, regions in _by_channel(case).items()
            for region, found in regions.items()
            for number in found or ()
        )
    )
    classes = _classes(cases)
    names = {value: numbers["name"] for case in cases.values() for value, numbers in case["labels"].items()}
    titles = {value: value if name == value else f"{value}_{name}" for value, name in names.items()}
    per_class = ("voxels", "ml", "components", "touches_border")
    yield [
        "case", *axes, "orientation", "dtype",
        *("_".join(filter(None, parts)) for parts in numbers),
        *(f"{titles[value]}_{what}" for value in classes for what in per_class),
    ]  # fmt: skip
    for name, case in cases.items():
        dtype = case["dtype"] if isinstance(case["dtype"], str) else " ".join(case["dtype"].values())
        found = _by_channel(case)
        yield [
            name, *case["size"], *case["spacing"], case["orientation"], dtype,
            *(((found.get(channel) or {}).get(region) or {}).get(number, "") for channel, region, number in numbers),
            *(_csv(case["labels"].get(value, {}).get(what, "")) for value in classes for what in per_class),
        ]  # fmt: skip


def _csv(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _lines(cases: Mapping[str, Any], meta: DatasetMeta, found: Sequence[Outlier]) -> Iterator[str]:
    there = {int(value) for value in _classes(cases)}
    if meta.labels and any(case["labels"] for case in cases.values()):
        absent = [f"{value} ({name})" for value, name in sorted(meta.labels.items()) if value and value not in there]
        nameless = [str(value) for value in sorted(there - meta.labels.keys())]
        if absent:
            yield f"warning: no case holds class {some(absent)}, which dataset.json names"
        if nameless:
            yield f"warning: dataset.json has no name for class {some(nameless)}"
    if found:
        outlying = list(dict.fromkeys(item.case for item in found))
        yield f"{counted(outlying, 'case')} with outlying values: {some(outlying)}; stats.html says why"


def memory(inputs: Mapping[str, CaseInput], params: StatsParams) -> int:
    """Estimate the memory of a case: its volumes, the mask of the foreground, and one channel's sorted values."""
    del params
    images = [item for name, item in inputs.items() if is_image(name)]
    largest = max((item.nbytes for item in images), default=0)
    is_float = any(item.dtype.startswith("float") for item in images)
    return sum(item.nbytes for item in inputs.values()) + (3 if is_float else 2) * largest


OPERATION: Operation[Any] = Operation(
    _NAME,
    StatsParams,
    plan,
    stats_case,
    collect,
    example="itk_stats raw raw-stats --mp",
    memory=memory,
    version=3,  # notices cases with the same image
)
__all__ = ["OPERATION", "StatsParams", "find_outliers"]
