"""The page of ``itk_stats``: outliers with pictures, distributions, classes, and a table of all cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from itkit.core.geometry import by
from itkit.core.text import counted, some
from itkit.core.thumbnail import class_colour
from itkit.core.volume import Volume
from itkit.kernels.labels import label_counts
from itkit.process.dataset_statistics import ROBUST_Z, SAME, Outlier, Pool
from itkit.report.pages import (
    Cell,
    Html,
    Ranked,
    Section,
    TableCell,
    cards,
    class_name,
    colour_key,
    element,
    figure,
    number,
    page,
    table,
    tiles,
)
from itkit.report.pictures import Overlay, three_planes
from itkit.report.plots import Group, Line, bars, box_plot, heat_map, histogram
from itkit.report.windows import window_of

_BINS = 80
_LEAST = 1e-290
_MOST_CLASSES = 40
Reader = Callable[[], "tuple[Volume, Volume | None] | str"]


def statistics_page(
    name: str,
    cases: Mapping[str, Any],
    dataset: Mapping[str, Any],
    found: Sequence[Outlier],
    pools: Mapping[str, Mapping[str, Pool]],
    pictures: Mapping[str, Reader],
    *,
    modality: str = "",
) -> str:
    """Return the page.

    Parameters
    ----------
    name
        Name of the dataset.
    cases, dataset
        The parts of these names of ``stats.json``.
    found
        The outliers.
    pools
        Intensities of the dataset, by channel and region.
    pictures
        For each case that is shown: a function that reads its image and label, or returns why it can't.
    modality
        Modality of the images, if it is known.
    """
    outlying = {item.case for item in found}
    classes = dataset["labels"]
    intro = (
        f"{counted(cases, 'case')}, median spacing {by(_short(dataset['median_spacing']))} mm, "
        f"median size {by(_short(dataset['median_size']))} voxels (Z Y X)."
    )
    numbers: dict[str, Cell] = {
        "cases": str(len(cases)),
        "classes": str(len(classes)),
        "orientations": some(dataset["orientations"], 3),
        "cases with outlying values": str(len(outlying)),
    }
    parts: list[Cell | Section] = [
        tiles(numbers, bad=["cases with outlying values"] if outlying else []),
        Section("Outliers", list(_outlier_parts(found, pictures, classes, modality))),
        Section("Grids", [cards(_grid_plots(cases)), _orientation_note(dataset)]),
        Section("Intensities", [cards(_intensity_plots(cases, pools))]),
    ]
    if classes:
        parts.append(Section("Classes", list(_class_parts(cases, classes))))
    parts.append(Section("Cases", [_case_table(cases, outlying)]))
    return page(f"Statistics of {name}", intro, parts)


def _short(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _outlier_parts(
    found: Sequence[Outlier], pictures: Mapping[str, Reader], classes: Mapping[str, Any], modality: str
) -> Iterator[Cell]:
    rule = (
        "A value is outlying when its robust z exceeds "
        f"{ROBUST_Z:g}: 0.6745 times its distance to the median, divided by the median absolute distance (MAD). "
        "Where more than half of the cases are equal, every other one is named."
    )
    yield element("p", rule, kind="note")
    if not found:
        yield element("p", "No case has an outlying value.")
        return
    rows: list[list[TableCell]] = [
        [item.case, item.what, f"{item.value:.6g}", number(item.z, 1), item.why] for item in found
    ]
    yield table(["case", "what", "value", "robust z", "why"], rows)
    shown: dict[int, str] = {}
    for case, read in pictures.items():
        volumes = read()
        yield element("h3", case)
        if isinstance(volumes, str):
            yield element("p", f"No picture: {volumes}", kind="note")
            continue
        image, label = volumes
        overlays = [Overlay(label)] if label is not None else []
        window = window_of(image, label, modality)
        drawn = three_planes(image, overlays, window=window)
        reasons = [item.what for item in found if item.case == case]
        yield element("p", f"outlying: {some(reasons, 6)} ({window.name})", kind="note")
        yield cards(figure(f"{case}, {plane}", picture) for plane, picture in drawn.items())
        if label is not None:
            values = label_counts(label.array_zyx)
            shown |= {value: classes.get(str(value), {}).get("name", str(value)) for value in values if value}
    if shown:
        yield colour_key(_class(value, name) for value, name in sorted(shown.items()))
    more = len({item.case for item in found}) - len(pictures)
    if more > 0:
        yield element("p", f"{counted(more, 'more case')} with outlying values, without a picture.", kind="note")


def _class(value: int, name: str) -> Html:
    return class_name(value, "" if name == str(value) else name)


def _counts(values: Sequence[float], *, bins: int = 20) -> tuple[list[float], list[float]]:
    low, high = min(values), max(values)
    if high - low <= max(SAME * max(abs(low), abs(high)), _LEAST):  # equal but for rounding
        margin = max(0.1 * max(abs(low), abs(high)), _LEAST)
        low, high = low - margin, high + margin
    counts, edges = np.histogram(np.asarray(values, dtype=np.float64), bins, (low, high))
    return edges.tolist(), counts.astype(float).tolist()


def _grid_plots(cases: Mapping[str, Any]) -> Iterator[Html]:
    for name, unit in (("spacing", "mm"), ("size", "voxels")):
        groups = [
            Group(axis, [case[name][place] for case in cases.values()], names=list(cases))
            for place, axis in enumerate("ZYX")
        ]
        yield box_plot(groups, title=f"{name.capitalize()} of each axis", x=f"{name}, {unit}")
    volumes = [float(np.prod(case["size"]) * np.prod(case["spacing"])) / 1e6 for case in cases.values()]
    edges, counts = _counts(volumes)
    yield histogram(edges, counts, title="Volume that an image covers", x="litres", y="cases")


def _orientation_note(dataset: Mapping[str, Any]) -> Html:
    told = ", ".join(f"{word}: {counted(count, 'case')}" for word, count in dataset["orientations"].items())
    return element("p", f"Axes x, y, z point to {told}.", kind="note")


def _intensity_plots(cases: Mapping[str, Any], pools: Mapping[str, Mapping[str, Pool]]) -> Iterator[Html]:
    for channel, regions in pools.items():
        prefix = f"{channel}: " if channel else ""
        for region, pool in regions.items():
            if pool.numbers is None:
                continue
            numbers = pool.numbers
            low, high = numbers["p0_5"], numbers["p99_5"]
            margin = 0.1 * (high - low) or 1.0
            edges = np.linspace(max(low - margin, numbers["min"]), min(high + margin, numbers["max"]), _BINS + 1)
            if edges[-1] <= edges[0]:
                continue
            counts, _ = np.histogram(pool.values, edges, weights=100 * pool.weights)
            marks = [Line("median", x=numbers["median"])]
            title = f"{prefix}intensities, {'foreground' if region == 'foreground' else 'whole image'}"
            yield histogram(
                edges.tolist(), counts.tolist(), title=title, x="value", y="% of voxels, each case alike", marks=marks
            )
        groups = []
        for region in regions:
            found = {key: _region(case, channel, region) for key, case in cases.items()}
            means = {key: numbers["mean"] for key, numbers in found.items() if numbers is not None}
            if means:
                groups.append(Group(region, list(means.values()), names=list(means)))
        yield box_plot(groups, title=f"{prefix}mean intensity of each case", x="value")


def _region(case: Mapping[str, Any], channel: str, region: str) -> Mapping[str, float] | None:
    intensity = case["intensity"] if channel == "" else case["intensity"].get(channel, {})
    numbers: Mapping[str, float] | None = intensity.get(region)
    return numbers


def _class_parts(cases: Mapping[str, Any], classes: Mapping[str, Any]) -> Iterator[Cell]:
    head = [
        "class", "cases", "median, ml", "5th pct., ml", "95th pct., ml", "median components", "most components",
        "cases at the border",
    ]  # fmt: skip
    rows: list[list[TableCell]] = [
        [
            Ranked(_class(int(value), own["name"]), float(value)),
            str(own["cases"]),
            *(number(own["ml"][key], 2) for key in ("median", "p5", "p95")),
            *(number(own["components"][key], 0) for key in ("median", "max")),
            str(own["touches_border"]),
        ]
        for value, own in classes.items()
    ]
    yield table(head, rows)
    drawn = dict(list(classes.items())[:_MOST_CLASSES])
    groups, names = [], []
    for value, own in drawn.items():
        there = {key: case["labels"][value]["ml"] for key, case in cases.items() if value in case["labels"]}
        names.append(value if own["name"] == value else f"{value} {own['name']}")
        groups.append(Group(names[-1], list(there.values()), class_colour(int(value)), list(there)))
    together = [
        [
            sum(row in case["labels"] and column in case["labels"] for case in cases.values()) / classes[row]["cases"]
            for column in drawn
        ]
        for row in drawn
    ]
    colours = [class_colour(int(value)) for value in drawn]
    yield cards(
        [
            box_plot(groups, title="Volume of each class", x="volume, ml (logarithmic)", is_logarithmic=True),
            bars(names, [own["cases"] for own in drawn.values()], title="Cases that have the class", x="cases",
                 colours=colours, digits=0),
            heat_map(names, names, together, title="Classes that occur together",
                     note="share of the cases with the row's class that also have the column's"),
        ]
    )  # fmt: skip
    if len(classes) > len(drawn):
        yield element("p", f"The plots show the first {len(drawn)} of {len(classes)} classes.", kind="note")


def _case_table(cases: Mapping[str, Any], outlying: set[str]) -> Html:
    rows: list[list[TableCell]] = []
    for name, case in cases.items():
        dtype = case["dtype"] if isinstance(case["dtype"], str) else some(case["dtype"].values())
        labels = case["labels"]
        rows.append(
            [
                name,
                Ranked(by(case["size"]), float(np.prod(case["size"]))),
                Ranked(by(_short(case["spacing"])), float(np.prod(case["spacing"]))),
                case["orientation"],
                dtype,
                str(len(labels)),
                number(sum(own["ml"] for own in labels.values()), 1),
                some(own["name"] for own in labels.values() if own["touches_border"]),
            ]
        )
    head = [
        "case", "size ZYX, voxels", "spacing ZYX, mm", "axes to", "type", "classes", "labelled, ml", "at the border",
    ]  # fmt: skip
    return table(head, rows, marked=[name in outlying for name in cases], caption="Coloured: outlying values")
