"""A page about a chain of commands: what ran, slices before and after, grids and class volumes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from itkit.core.geometry import Geometry
from itkit.core.slices import PLANES, Plane
from itkit.core.volume import Volume
from itkit.io.layouts import find_dataset
from itkit.io.sitk_toolkit import read_volume
from itkit.report.pages import Cell, Html, cards, class_name, element, figure, page, table
from itkit.report.pictures import Overlay, centre_point, class_statistics, slice_picture
from itkit.report.windows import CT_WINDOWS


@dataclass(frozen=True)
class Step:
    """One command of the chain, and its result."""

    command: str
    summary: str
    seconds: float
    exit_code: int


def report_page(
    data: Path, out: Path, steps: Sequence[Step], names: Mapping[int, str], credit: str, *, most_cases: int = 4
) -> str:
    """Return a self-contained page: what each command did, slices before and after, grids and class volumes."""
    cases = list(find_dataset(data).pairs)[:most_cases]
    parts: list[Cell] = [
        element("h2", "What ran"),
        table(["command", "result", "s (all cases)"], [_step_row(step) for step in steps]),
    ]
    grids: list[list[Cell]] = []
    for case in cases:
        parts.append(element("h2", case))
        before, after = _pair(data, case), _pair(out / "resampled", case)
        for title, pair in (("before", before), ("after itk_orient and itk_resample", after)):
            figures = [_figure(f"{title}: {plane}", pair, plane) for plane in PLANES]
            parts.append(cards(figures))
            grids.append([case, title, *_grid_cells(pair[0].geometry)])
        parts.append(_class_table(before, after, names))
    head = ["case", "", "size ZYX", "spacing ZYX, mm", "extent ZYX, mm", "axes to"]
    parts += [element("h2", "Grids"), table(head, grids)]
    parts += [element("h2", "Augmented copies"), *_folder_figures(out / "augmented", 4)]
    parts += [element("h2", "Some patches"), *_folder_figures(out / "patches", 6)]
    return page("ITKIT demo", credit, parts)


def _step_row(step: Step) -> list[Cell]:
    return [element("code", step.command), step.summary, f"{step.seconds:.1f}"]


def _pair(root: Path, case: str) -> tuple[Volume, Volume]:
    files = find_dataset(root).pairs[case]
    return read_volume(files["image"]), read_volume(files["label"], "label")


def _folder_figures(root: Path, most: int) -> list[Html]:
    cases = list(find_dataset(root).pairs)
    chosen = cases[:: max(1, math.ceil(len(cases) / most))]
    return [_figure(case, _pair(root, case), "coronal") for case in chosen]


def _figure(title: str, pair: tuple[Volume, Volume], plane: Plane) -> Html:
    image, label = pair
    window, point = CT_WINDOWS["soft tissue"], centre_point(image.geometry)
    return figure(title, slice_picture(image, [Overlay(label)], plane, point, window, mm_per_pixel=1.4))


def _grid_cells(grid: Geometry) -> list[str]:
    rows = (grid.size_zyx, grid.spacing_zyx, grid.extent_zyx)
    return [*(" x ".join(f"{value:.4g}" for value in row) for row in rows), grid.orientation]


def _class_table(before: tuple[Volume, Volume], after: tuple[Volume, Volume], names: Mapping[int, str]) -> Html:
    old, new = class_statistics(*before), class_statistics(*after)
    rows: list[list[Cell]] = []
    for value, (volume_ml, mean) in old.items():
        new_ml, new_mean = new.get(value, (0.0, math.nan))
        numbers = (volume_ml, new_ml, 100 * (new_ml / volume_ml - 1), mean, new_mean)
        rows.append([class_name(value, names.get(value, "")), *(f"{number:.1f}" for number in numbers)])
    head = ["class", "volume before, ml", "after, ml", "change, %", "mean value before", "after"]
    return table(head, rows)
