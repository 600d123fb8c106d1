"""The page of ``itk_crop``: the box of each case in its whole volume, and what is left, at the same physical point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from itkit.core.geometry import by
from itkit.core.operation import Collected
from itkit.core.slices import PLANES
from itkit.core.volume import Volume
from itkit.io.layouts import LABEL
from itkit.process.crops import CropBox
from itkit.report.pages import Cell, Html, Ranked, TableCell, cards, colour_key, element, figure, number, swatch
from itkit.report.pictures import Overlay, busiest_point, centre_point, slice_picture
from itkit.report.plots import Group, box_plot
from itkit.report.results import Result, result_page, results_of, side_by_side
from itkit.report.windows import window_of

_PIXEL_SHARE = 1 / 174
_BOX_COLOUR = (255, 255, 255)
_LEAST_CASES = 3


def crop_page(run: Collected, *, is_pasted: bool = False, modality: str = "") -> str:
    """Return the page.

    Parameters
    ----------
    run
        The run.
    is_pasted
        Whether volumes were put back on their original grids.
    modality
        Modality of the images, if it is known.
    """
    results = results_of(run)
    boxes = {result.name: CropBox.from_facts(result.facts) for result in results}

    def row(result: Result) -> list[TableCell]:
        box = boxes[result.name]
        kept = _size(box)
        return [
            Ranked(by(box.source_zyx), float(np.prod(box.source_zyx))),
            Ranked(by(kept), float(np.prod(kept))),
            number(100 * _share(box), 1),
            by(box.start_zyx),
            by(box.padded_zyx) if any(box.padded_zyx) else "",
        ]

    def draw(result: Result) -> Iterator[Cell]:
        box = boxes[result.name]
        pairs = [(result.given(), result.given(LABEL)), (result.made(), result.made(LABEL))]
        whole, part = pairs[::-1] if is_pasted else pairs
        small = part[1] if part[0] is None else part[0]
        large = whole[1] if whole[0] is None else whole[0]
        assert small is not None
        assert large is not None
        point = centre_point(small.geometry) if part[1] is None else busiest_point(part[1])
        scale = max(large.geometry.extent_zyx) * _PIXEL_SHARE
        window = None if whole[0] is None else window_of(whole[0], whole[1], modality)
        drawn = (
            ("whole", whole[0], [*_labels(whole[1]), Overlay(_mask(large, box), _BOX_COLOUR, 0.0)]),
            ("box", part[0], _labels(part[1])),
        )
        if window is not None:
            yield element("p", window.name, kind="note")
        yield from side_by_side(
            [
                figure(f"{plane}, {name}", slice_picture(image, overlays, plane, point, window, mm_per_pixel=scale))
                for name, image, overlays in drawn
            ]
            for plane in PLANES
        )

    voxels = sum(int(np.prod(box.source_zyx)) for box in boxes.values())
    kept = sum(int(np.prod(_size(box))) for box in boxes.values())
    overview: list[Cell] = []
    if len(results) >= _LEAST_CASES:
        groups = [
            Group(axis, [_size(box)[place] for box in boxes.values()], names=list(boxes))
            for place, axis in enumerate("ZYX")
        ]
        overview.append(cards([box_plot(groups, title="Size of the boxes, with padding", x="voxels")]))
    what = "Volumes put back on their original grids" if is_pasted else "Volumes cut to boxes"
    return result_page(
        "Paste back" if is_pasted else "Crop",
        f"{what}; every voxel keeps its physical point. Both pictures of a row show the same point at the same scale.",
        run,
        numbers={"voxels in the boxes": f"{number(100 * kept / voxels if voxels else None)} %"},
        key=colour_key([Html(f"{swatch(_BOX_COLOUR).text}the box")]),
        overview=overview,
        head=["whole ZYX, voxels", "box ZYX, voxels", "share, %", "start ZYX", "of it padding ZYX"],
        row=row,
        draw=draw,
        order=lambda result: _share(boxes[result.name]),
    )


def _size(box: CropBox) -> tuple[int, ...]:
    return tuple(size + more for size, more in zip(box.size_zyx, box.padded_zyx, strict=True))


def _share(box: CropBox) -> float:
    """Return the share of a volume's voxels that lie in the box."""
    return float(np.prod(box.size_zyx)) / float(np.prod(box.source_zyx))


def _labels(label: Volume | None) -> Sequence[Overlay]:
    return [] if label is None else [Overlay(label)]


def _mask(whole: Volume, box: CropBox) -> Volume:
    mask = np.zeros(whole.geometry.size_zyx, np.uint8)
    z, y, x = (slice(start, start + size) for start, size in zip(box.start_zyx, box.size_zyx, strict=True))
    mask[z, y, x] = 1
    return Volume(mask, whole.geometry, "label")
