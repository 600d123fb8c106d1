"""The page of ``itk_presegment``: what was found in each case, over the image."""

from __future__ import annotations

from collections.abc import Iterator

from itkit.core.operation import Collected
from itkit.core.thumbnail import class_colour
from itkit.io.layouts import LABEL
from itkit.process.presegmentation import NAMES, TargetName
from itkit.report.pages import Cell, TableCell, cards, class_name, colour_key, element, figure, number
from itkit.report.pictures import Overlay, three_planes
from itkit.report.plots import Group, box_plot
from itkit.report.results import Result, result_page, results_of
from itkit.report.windows import window_of

_LEAST_CASES = 3
"""Number of cases from which on a plot shows more than the table."""


def presegmentation_page(target: TargetName, run: Collected, modality: str = "") -> str:
    """Return the page.

    Parameters
    ----------
    target
        What was looked for.
    run
        The run.
    modality
        Modality of the images, if it is known.
    """
    names = NAMES[target]

    def row(result: Result) -> list[TableCell]:
        cells: list[TableCell] = []
        for value in map(str, names):
            cells += [number(result.facts["volumes_ml"].get(value), 1), str(result.facts["components"].get(value, 0))]
        return cells

    def draw(result: Result) -> Iterator[Cell]:
        image, label = result.given(), result.made(LABEL)
        assert image is not None
        assert label is not None
        window = window_of(image, label, modality)
        drawn = three_planes(image, [Overlay(label)], window=window)
        yield element("p", window.name, kind="note")
        yield cards(figure(f"{result.name}, {plane}", picture) for plane, picture in drawn.items())

    results = results_of(run)
    overview: list[Cell] = []
    if len(results) >= _LEAST_CASES:
        groups = [
            Group(name, [result.facts["volumes_ml"].get(str(value), 0.0) for result in results], class_colour(value),
                  [result.name for result in results])
            for value, name in names.items()
        ]  # fmt: skip
        overview.append(cards([box_plot(groups, title="Volume of each label", x="volume, ml")]))
    return result_page(
        f"Pre-segmentation: {target}",
        "Label maps from images by classical means. Look at every case that has a warning.",
        run,
        numbers={"target": target},
        key=colour_key(class_name(value, name) for value, name in names.items()),
        overview=overview,
        head=[f"{name}, {what}" for name in names.values() for what in ("ml", "components")],
        row=row,
        draw=draw,
        order=lambda result: 0,
    )
