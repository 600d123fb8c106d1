"""The page of ``itkit demo``: what ran and what it cost, and what each command made of the cases."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from itkit.core.files import STATE_FOLDER
from itkit.core.geometry import Geometry, Triple, by
from itkit.core.slices import PLANES, Plane
from itkit.core.text import counted
from itkit.core.volume import Volume
from itkit.io.layouts import find_dataset, find_volumes, is_dataset
from itkit.io.sitk_toolkit import read_volume
from itkit.report.pages import (
    MISSING,
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
    swatch,
    table,
    tiles,
)
from itkit.report.pictures import Overlay, busiest_point, centre_point, class_statistics, slice_picture
from itkit.report.plots import bars, bland_altman, histogram
from itkit.report.windows import Window, window_of

_PIXEL_SHARE = 1 / 176
_WHITE = (255, 255, 255)
_MOST_PATCHES = 6


@dataclass(frozen=True)
class Step:
    """One command of the chain, its result and its cost."""

    command: str
    purpose: str
    summary: str
    wall_s: float
    bytes_written: int
    cases: int
    exit_code: int

    @property
    def name(self) -> str:
        """Name of the command."""
        return self.command.partition(" ")[0]


Pair = tuple[Volume, Volume]


def report_page(
    data: Path, out: Path, steps: Sequence[Step], names: Mapping[int, str], credit: str, *, most_cases: int = 3
) -> str:
    """Return the page.

    Parameters
    ----------
    data
        The dataset that the chain began with.
    out
        Folder of the results, by step: ``resampled``, ``patches``, ``augmented``, ``stats``, ``enhanced``,
        ``presegmented``, ``evaluation``. What is missing is left out.
    steps
        The commands that ran.
    names
        Names of the classes.
    credit
        Where the data comes from.
    most_cases
        Number of cases that are shown.
    """
    cases = list(find_dataset(data).pairs)[:most_cases]
    pairs = {case: (_pair(data, case), _pair(out / "resampled", case)) for case in cases}
    first = cases[0]
    parts: list[Cell | Section] = [_tiles(steps, cases, pairs), Section("What ran, and what it cost", _cost(steps))]
    parts.append(Section("Before and after", list(_before_and_after(pairs, names))))
    patches = list(_patches(out / "patches", first))
    if patches:
        parts.append(Section("Patches", patches))
    copies = list(_copies(out / "augmented", first, pairs[first][1]))
    if copies:
        parts.append(Section("Augmented copies", copies))
    for title, found in (
        ("Statistics", _statistics(out / "stats")),
        ("Enhanced intensities", _enhanced(out / "enhanced", first, pairs[first][1])),
        ("Pre-segmented and evaluated", _evaluated(out, cases, pairs)),
    ):
        listed = list(found)
        if listed:
            parts.append(Section(title, listed))
    return page("ITKIT demo", credit or "The whole chain on your data.", parts)


def _pair(root: Path, case: str) -> Pair:
    files = find_dataset(root).pairs[case]
    image = next(path for name, path in files.items() if name != "label")
    return read_volume(image), read_volume(files["label"], "label")


def _tiles(steps: Sequence[Step], cases: Sequence[str], pairs: Mapping[str, tuple[Pair, Pair]]) -> Html:
    classes = {value for (_, label), _ in pairs.values() for value in np.unique(label.array_zyx).tolist() if value}
    failed = sum(step.exit_code != 0 for step in steps)
    values: dict[str, Cell] = {
        "cases": str(len(cases)),
        "classes": str(len(classes)),
        "commands": str(len(steps)),
        "seconds in all": number(sum(step.wall_s for step in steps)),
        "commands that failed": str(failed),
    }
    return tiles(values, bad=["commands that failed"] if failed else [])


def _cost(steps: Sequence[Step]) -> list[Cell]:
    rows: list[list[TableCell]] = [
        [
            step.name,
            step.purpose,
            number(step.wall_s, 2),
            number(step.wall_s / step.cases, 2) if step.cases else MISSING,
            number(step.bytes_written / 1e6) if step.bytes_written else MISSING,
            step.summary,
        ]
        for step in steps
    ]
    head = ["command", "for", "s", "s a case", "MB written", "result"]
    lines = "\n".join(step.command for step in steps)
    plot = bars(
        [step.name for step in steps], [step.wall_s for step in steps], title="Time of each command", x="s", digits=2
    )
    shown = Html(f"<details><summary>The command lines</summary>{element('pre', lines).text}</details>")
    return [table(head, rows, marked=[step.exit_code != 0 for step in steps]), shown, cards([plot])]


def _before_and_after(pairs: Mapping[str, tuple[Pair, Pair]], names: Mapping[int, str]) -> Iterator[Cell]:
    yield element(
        "p",
        "Each pair of pictures shows one physical point, before on the left, after itk_orient and itk_resample on the "
        "right. Grids change; organs stay where they are.",
        kind="note",
    )
    grids: list[list[TableCell]] = []
    for case, (before, after) in pairs.items():
        yield element("h3", case)
        window = window_of(*before)
        point = busiest_point(before[1])
        scale = max(before[0].geometry.extent_zyx) * _PIXEL_SHARE
        shown = []
        for plane in PLANES:
            shown += [
                figure(f"{plane}, before", _drawn(before, plane, point, window, scale)),
                figure(f"{plane}, after", _drawn(after, plane, point, window, scale)),
            ]
        yield cards(shown)
        grids.append([case, "before", *_grid_cells(before[0].geometry)])
        grids.append([case, "after", *_grid_cells(after[0].geometry)])
    yield table(["case", "", "size ZYX", "spacing ZYX, mm", "extent ZYX, mm", "axes to"], grids, caption="Grids")
    for case, (before, after) in list(pairs.items())[:1]:
        yield from _class_parts(case, before, after, names)


def _drawn(pair: Pair, plane: Plane, point: Triple, window: Window, scale: float) -> Any:
    image, label = pair
    return slice_picture(image, [Overlay(label)], plane, point, window, mm_per_pixel=scale)


def _grid_cells(grid: Geometry) -> list[TableCell]:
    rows = (grid.size_zyx, grid.spacing_zyx, grid.extent_zyx)
    return [*(by(float(f"{value:.4g}") for value in row) for row in rows), grid.orientation]


def _class_parts(case: str, before: Pair, after: Pair, names: Mapping[int, str]) -> Iterator[Cell]:
    old, new = class_statistics(*before), class_statistics(*after)
    rows: list[list[TableCell]] = []
    for value, (volume_ml, mean) in old.items():
        new_ml, new_mean = new.get(value, (0.0, math.nan))
        numbers = (volume_ml, new_ml, 100 * (new_ml / volume_ml - 1), mean, new_mean)
        title = class_name(value, names.get(value, ""))
        rows.append([Ranked(title, float(value)), *(number(item) for item in numbers)])
    head = ["class", "volume before, ml", "after, ml", "change, %", "mean value before", "after"]
    yield table(head, rows, caption=f"Classes of {case}")
    first = [volume for volume, _ in old.values()]
    second = [new.get(value, (0.0, math.nan))[0] for value in old]
    titles = [f"{value} {names.get(value, '')}" for value in old]
    yield cards(
        [bland_altman(first, second, title="Class volumes, before and after resampling", unit="ml", names=titles)]
    )


def _patches(root: Path, case: str) -> Iterator[Cell]:
    if not is_dataset(root):
        return
    pairs = {name: files for name, files in find_dataset(root).pairs.items() if name.startswith(f"{case}_z")}
    if not pairs:
        return
    grids = {name: read_volume(files["label"], "label").geometry for name, files in pairs.items()}
    chosen = _far_apart({name: centre_point(grid) for name, grid in grids.items()}, _MOST_PATCHES)
    text = f"{counted(pairs, 'patch').replace('patchs', 'patches')} of {case}; these lie farthest from each other."
    yield element("p", text, kind="note")
    window: Window | None = None
    shown = []
    for name in chosen:
        image, label = _pair(root, name)
        window = window or window_of(image, label)
        point = centre_point(image.geometry)
        scale = max(image.geometry.extent_zyx) * _PIXEL_SHARE
        where = ", ".join(f"{value:.0f}" for value in point)
        picture = slice_picture(image, [Overlay(label)], "coronal", point, window, mm_per_pixel=scale)
        shown.append(figure(f"{name}; middle at ({where}) mm", picture))
    yield cards(shown)


def _far_apart(points: Mapping[str, Triple], most: int) -> list[str]:
    """Return names whose points lie far from each other: each next one is the farthest from those chosen before."""
    left = dict(sorted(points.items()))
    chosen = [next(iter(left))]
    while len(chosen) < min(most, len(points)):
        chosen.append(max(left, key=lambda name: min(math.dist(left[name], points[other]) for other in chosen)))
    return chosen


def _copies(root: Path, case: str, original: Pair) -> Iterator[Cell]:
    if not is_dataset(root):
        return
    copies = [name for name in find_dataset(root).pairs if name.rpartition("_")[0] == case]
    window, point = window_of(*original), centre_point(original[0].geometry)
    scale = max(original[0].geometry.extent_zyx) * _PIXEL_SHARE
    for plane in ("axial", "coronal"):
        shown = [figure(f"original, {plane}", _drawn(original, plane, point, window, scale))]
        shown += [
            figure(f"{name}, {plane}", _drawn(_pair(root, name), plane, point, window, scale)) for name in copies[:3]
        ]
        yield cards(shown)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _statistics(root: Path) -> Iterator[Cell]:
    found = _read(root / "stats.json")
    if found is None:
        return
    dataset = found["dataset"]
    rows: list[list[TableCell]] = []
    for region in ("whole", "foreground"):
        numbers = dataset["intensity"].get(region)
        if isinstance(numbers, dict) and "mean" in numbers:
            rows.append([region, *(number(numbers[key]) for key in numbers)])
            head = ["intensity", *numbers]
    if rows:
        yield table(head, rows, sorts=False, caption="Intensities of the resampled dataset, each case alike")
    text = f"Distributions, volumes of classes and outliers stand in {root.name}/stats.html, beside this page."
    yield element("p", text, kind="note")


def _enhanced(root: Path, case: str, before: Pair) -> Iterator[Cell]:
    files = find_volumes(root / "image") if (root / "image").is_dir() else {}
    if case not in files:
        return
    image = read_volume(files[case])
    point, scale = busiest_point(before[1]), max(image.geometry.extent_zyx) * _PIXEL_SHARE
    plots = []
    for title, volume in (("before", before[0]), ("after", image)):
        values = volume.array_zyx[np.isfinite(volume.array_zyx)].astype(np.float64)
        low, high = (float(value) for value in np.percentile(values, (0.1, 99.9)))
        counts, edges = np.histogram(values, np.linspace(low, high, 81))
        plots.append(histogram(edges.tolist(), counts.tolist(), title=f"{case}, {title}", x="value"))
    window = Window(float(image.array_zyx.min()), float(image.array_zyx.max()), "whole range")
    planes = [
        figure(f"enhanced, {plane}", slice_picture(image, [], plane, point, window, mm_per_pixel=scale))
        for plane in PLANES
    ]
    yield cards(plots)
    yield cards(planes)


def _evaluated(out: Path, cases: Sequence[str], pairs: Mapping[str, tuple[Pair, Pair]]) -> Iterator[Cell]:
    root = out / "presegmented"
    folder = root / "label" if (root / "label").is_dir() else root
    found = {
        name: path
        for name, path in (find_volumes(folder) if folder.is_dir() else {}).items()
        if STATE_FOLDER not in path.parts
    }
    references = find_volumes(out / "extracted") if (out / "extracted").is_dir() else {}
    evaluation = _read(out / "evaluation" / "evaluation.json")
    for case in cases:
        if case not in found:
            continue
        (image, _), label = pairs[case][1], read_volume(found[case], "label")
        overlays = [Overlay(label)]
        if evaluation is not None and case in references:
            overlays = [Overlay(read_volume(references[case], "label")), Overlay(label, _WHITE, 0.0)]
        point, scale = busiest_point(overlays[0].label), max(image.geometry.extent_zyx) * _PIXEL_SHARE
        window = window_of(image)
        yield cards(
            figure(f"{case}, {plane}", slice_picture(image, overlays, plane, point, window, mm_per_pixel=scale))
            for plane in PLANES
        )
    if evaluation is None:
        return
    yield colour_key([class_name(1, "reference"), Html(f"{swatch(_WHITE).text}outline of the pre-segmentation")])
    keys = ("dice", "nsd", "hd95_mm", "assd_mm", "volume_gt_ml", "volume_pred_ml")
    rows: list[list[TableCell]] = [
        [
            case,
            class_name(int(value), str(numbers.get("name") or "")),
            *(number(numbers.get(key), 3 if key in keys[:2] else 1) for key in keys),
        ]
        for case, labels in evaluation["cases"].items()
        for value, numbers in labels.items()
    ]
    head = ["case", "class", "Dice", "NSD", "HD95, mm", "ASSD, mm", "reference, ml", "pre-segmented, ml"]
    yield table(head, rows, caption="itk_evaluate; its whole page is evaluation/evaluation.html beside this one")
