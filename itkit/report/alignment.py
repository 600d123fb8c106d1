"""The page of ``itk_align``: fixed and moving images laid over each other, before and after, at the same point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from itkit.core.geometry import Geometry, Triple, orientation_steps
from itkit.core.operation import Collected
from itkit.core.slices import PLANES, Plane
from itkit.core.volume import Volume
from itkit.io.layouts import LABEL
from itkit.process.itk_resample import resample
from itkit.report.pages import Cell, Html, TableCell, cards, colour_key, element, figure, number, swatch
from itkit.report.pictures import Overlay, busiest_point, centre_point, fused_picture, nearest_voxel, slice_picture
from itkit.report.plots import Group, box_plot
from itkit.report.results import Result, result_page, results_of, side_by_side
from itkit.report.windows import Window, window_of

_PIXEL_SHARE = 1 / 174
_FIXED, _MAGENTA, _GREEN, _GREY = "fixed", (255, 0, 255), (0, 255, 0), (190, 190, 190)
_LEAST_CASES = 3


def alignment_page(transform: str, metric: str, run: Collected, modality: str = "") -> str:
    """Return the page.

    Parameters
    ----------
    transform, metric
        Kind of transform and metric, as the user chose them.
    run
        The run.
    modality
        Modality of the images, if it is known.
    """
    results = results_of(run)

    def row(result: Result) -> list[TableCell]:
        facts = result.facts
        return [
            number(facts["metric_before"], 4),
            number(facts["metric_after"], 4),
            number(facts["displacement_mm"], 1),
            number(100 * facts["overlap"], 0),
            str(facts["iterations"]),
            facts["stop"].split(". ")[0],  # the optimizer's own numbers follow; the metadata holds them
        ]

    def draw(result: Result) -> Iterator[Cell]:
        fixed, before, after, label = result.given(_FIXED), result.given(), result.made(), result.made(LABEL)
        assert fixed is not None
        assert before is not None
        assert after is not None
        point = centre_point(fixed.geometry) if label is None else busiest_point(label)
        scale = max(fixed.geometry.extent_zyx) * _PIXEL_SHARE
        own, other = window_of(fixed, None, modality), window_of(before, None, modality)
        yield from side_by_side(
            _row(fixed, {"before": before, "after": after}, label, plane, point, (own, other), scale)
            for plane in PLANES
        )

    overview: list[Cell] = [
        element("p", f"The metric is {metric}: less is better. Displacement is the mean over the patient.", kind="note")
    ]
    if len(results) >= _LEAST_CASES:
        moved = Group("all cases", [result.facts["displacement_mm"] for result in results],
                      names=[result.name for result in results])  # fmt: skip
        overview.append(cards([box_plot([moved], title="Mean displacement of the patient", x="mm")]))
    keys = ((_MAGENTA, "fixed image alone"), (_GREEN, "moving image alone"), (_GREY, "both agree"))
    intro = "Magenta and green fringes are what does not fit. All pictures of a row show the same physical point."
    return result_page(
        f"Alignment: {transform}",
        intro,
        run,
        numbers={"transform": transform},
        key=colour_key(Html(f"{swatch(colour).text}{name}") for colour, name in keys),
        overview=overview,
        head=["metric before", "after", "displacement, mm", "overlap, %", "iterations", "stopped because"],
        row=row,
        draw=draw,
        order=lambda result: -result.facts["displacement_mm"],
    )


def _row(
    fixed: Volume,
    moving: Mapping[str, Volume],
    label: Volume | None,
    plane: Plane,
    point: Triple,
    windows: tuple[Window, Window],
    scale: float,
) -> list[Html]:
    """Draw a plane of the fixed image under each state of the moving image, and the moved label over it."""
    grid = slab_of(fixed.geometry, plane, point)
    layer = resample(fixed, grid)
    found = []
    for name, volume in moving.items():
        pair = (layer, resample(volume, grid))
        found.append(figure(f"{plane}, {name}", fused_picture(pair, windows, plane, point, mm_per_pixel=scale)))
    if label is not None:
        overlays = [Overlay(resample(label, grid))]
        picture = slice_picture(layer, overlays, plane, point, windows[0], mm_per_pixel=scale)
        found.append(figure(f"{plane}, fixed image with moved label", picture))
    return found


def slab_of(grid: Geometry, plane: Plane, point_xyz: Triple) -> Geometry:
    """Return the one layer of voxels of a grid that a picture of a plane shows."""
    axis = orientation_steps(grid, "LPS")[0][PLANES.index(plane)]
    start, size = [0, 0, 0], list(grid.size_zyx)
    start[axis], size[axis] = nearest_voxel(grid, point_xyz)[axis], 1
    return grid.crop((start[0], start[1], start[2]), (size[0], size[1], size[2]))
