"""The page of an export: what the file holds, how much it differs from the original, and pictures of where it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from itkit.core.geometry import Geometry
from itkit.core.slices import PLANES
from itkit.core.text import format_bytes, some
from itkit.core.volume import Volume
from itkit.report.pages import Cell, Section, cards, class_name, colour_key, element, figure, page, swatch, table, tiles
from itkit.report.pictures import Overlay, slice_picture
from itkit.report.windows import Window as Greys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from itkit.core.geometry import Triple
    from itkit.deploy.parity import Difference, Parity
    from itkit.deploy.sample import Window
    from itkit.inference.model_folder import ModelFacts

_CHANGED = (255, 0, 160)
_LONGEST_SIDE = 240
_MOST_CLASSES = 24


def parity_page(
    name: str,
    facts: ModelFacts,
    parity: Parity,
    windows: Sequence[Window],
    *,
    files: Sequence[Path],
    about: Mapping[str, str],
) -> str:
    """Return the page.

    Parameters
    ----------
    name
        Name of the model.
    facts
        Its description.
    parity
        What the comparison has found; its differences belong to the windows, in their order.
    windows
        What both networks have seen.
    files
        The exported files.
    about
        More rows about the export: name and value.
    """
    verdict = "the same within the tolerance" if parity.ok else "not the same: do not use this export"
    intro = f"{name}, computed by {parity.backend}: {verdict}."
    numbers = {
        "largest difference of a probability": f"{parity.max_abs:.1e}",
        "largest difference of a logit, of their range": f"{parity.max_rel:.1e}",
        f"of {parity.voxels:,} voxels change their class": f"{parity.changed_voxels:,}",
        "lowest Dice of a class": f"{parity.min_dice:.6f}",
    }
    bad = [] if parity.ok else list(numbers)[:2]
    limit = (
        f"The difference of a logit, the mean difference of a probability ({parity.mean_abs:.1e}) and the share of "
        f"voxels that change their class may be {parity.tolerance:g} at most."
    )
    parts: list[Cell | Section] = [
        tiles(numbers, bad=bad),
        element("p", limit, kind="muted"),
        Section("Where they differ most", _pictures(facts, parity, windows)),
        Section("What was exported", [_table(facts, parity, files, about)]),
    ]
    return page(f"Export of {name}", intro, parts)


def _pictures(facts: ModelFacts, parity: Parity, windows: Sequence[Window]) -> list[Cell]:
    pairs = list(zip(parity.differences, windows, strict=True))
    seen = sorted(pairs, key=lambda pair: -float(np.nan_to_num(pair[0].probability, nan=np.inf).max()))
    parts: list[Cell] = []
    for difference, window in seen[:2]:
        parts += _window(facts, difference, window)
    present = np.unique(np.concatenate([difference.expected.ravel() for difference, _ in seen[:2]]))
    names = dict(zip(range(len(facts.values)), facts.names.items(), strict=True))
    shown = [names[number] for number in present.tolist() if number in names and number != 0]
    key = [class_name(value, name) for value, name in shown[:_MOST_CLASSES]]
    changed = element("span", swatch(_CHANGED), " class changes")
    return [colour_key([*key, changed]), *parts]


def _window(facts: ModelFacts, difference: Difference, window: Window) -> list[Cell]:
    grid = window.geometry
    image = Volume(window.array_czyx[0], grid)
    values = np.asarray(facts.values)
    expected, found = (_label(values, numbers, grid) for numbers in (difference.expected, difference.found))
    changed = Volume(_on_grid(difference.expected != difference.found, grid).astype(np.uint8), grid, "label")
    amount = _on_grid(difference.probability, grid)
    most = float(np.nan_to_num(amount).max())
    place = np.unravel_index(int(np.nan_to_num(amount, nan=0).argmax()), amount.shape)
    at_xyz: Triple = grid.point_xyz((float(place[0]), float(place[1]), float(place[2])))
    low, high = (float(value) for value in np.percentile(window.array_czyx[0], (1, 99)))
    greys = Greys(low, high if high > low else low + 1, "")
    scale = max(grid.extent_zyx) / _LONGEST_SIDE
    heat = Volume(amount, grid)
    mark = Overlay(changed, colour=_CHANGED, fill=0.8)
    planes = [plane for plane in PLANES if facts.network.spatial_dims == 3 or plane == PLANES[0]]
    parts: list[Cell] = []
    for plane in planes:
        pictures = {
            "original": slice_picture(image, [Overlay(expected)], plane, at_xyz, greys, mm_per_pixel=scale),
            "export": slice_picture(image, [Overlay(found), mark], plane, at_xyz, greys, mm_per_pixel=scale),
            f"difference of the probability, white is {most:.1e}": slice_picture(
                heat, [mark], plane, at_xyz, Greys(0.0, most or 1.0, ""), mm_per_pixel=scale
            ),
        }
        parts.append(cards([figure(f"{plane}: {what}", picture) for what, picture in pictures.items()]))
    return parts


def _label(values: NDArray[np.int64], numbers: NDArray[np.int64], grid: Geometry) -> Volume:
    known = (numbers >= 0) & (numbers < len(values))
    table_ = values.astype(np.int32)
    return Volume(_on_grid(np.where(known, table_[np.where(known, numbers, 0)], 0), grid), grid, "label")


def _on_grid(array: NDArray[np.generic], grid: Geometry) -> NDArray[np.generic]:
    """Return the only window of a batch as ``(Z, Y, X)``."""
    return np.ascontiguousarray(array.reshape(grid.size_zyx))


def _table(facts: ModelFacts, parity: Parity, files: Sequence[Path], about: Mapping[str, str]) -> Cell:
    spacing = "that of each image" if set(facts.spacing) == {-1} else " x ".join(f"{mm:g}" for mm in facts.spacing)
    rows = {
        "network": facts.network.name,
        "channels": ", ".join(facts.channels),
        "classes": f"{len(facts.values)}: {some(list(facts.names.values()), most=_MOST_CLASSES)}",
        "spacing, mm ZYX": spacing,
        "axes point to": facts.orient,
        "intensity": facts.intensity.scheme,
        "window, voxels ZYX": " x ".join(map(str, facts.patch_size)),
        "sizes compared": ", ".join(" x ".join(map(str, size)) for size in parity.sizes),
        **about,
        **{path.name: format_bytes(path.stat().st_size) for path in files if path.is_file()},
    }
    return table(["what", "value"], [[name, value] for name, value in rows.items()], sorts=False)
