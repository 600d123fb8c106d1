"""``itkit demo``: the whole chain on real CT, and a page that shows what it did."""

from __future__ import annotations

import argparse
import base64
import html
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from itkit.catalogue import load
from itkit.core.errors import LayoutError
from itkit.core.extras import require
from itkit.core.geometry import Geometry
from itkit.core.thumbnail import class_colour
from itkit.core.volume import Volume
from itkit.engine.options import RunOptions
from itkit.engine.parameters import make_params, to_argv
from itkit.engine.runner import execute
from itkit.io.formats.inspect import sitk_module
from itkit.io.layouts import find_dataset
from itkit.io.meta import write_text
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.process.geometry import orient
from itkit.process.itk_aug import euler_matrix
from itkit.report.pictures import PLANES, class_statistics, slice_picture

_CHEST_CLASSES = {
    1: "ribs",
    2: "cervical vertebral column",
    3: "thoracic vertebral column",
    4: "lumbar vertebral column",
    5: "right lung",
    6: "left lung",
    7: "tissue",
}
_CREDIT = (
    "Chest CT and segmentation: CTChest4.nrrd and Segmentation.seg.nrrd of the Python package slicerio 1.4.0 "
    "(MIT licence, Andras Lasso, Perk Lab, Queen's University)."
)


@dataclass(frozen=True)
class Step:
    """One command of the chain and how it ended."""

    command: str
    summary: str
    seconds: float
    exit_code: int


def main(argv: Sequence[str]) -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="itkit demo",
        description="Check, orient, resample, cut, augment and relabel a dataset, and write a page that shows it.",
        epilog="example: itkit demo --data my_dataset --out demo-out",
    )
    parser.add_argument("--data", type=Path, help="dataset with image/ and label/ (default: a real chest CT)")
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="folder to write (default: demo-out)")
    arguments = parser.parse_args(list(argv))
    out: Path = arguments.out
    names: Mapping[int, str] = {}
    data = arguments.data
    if data is None:
        data, names = out / "raw", _CHEST_CLASSES
        write_chest_dataset(data)
    steps = run_chain(data, out, print)
    page = out / "report.html"
    write_text(page, report_page(data, out, steps, names, _CREDIT if arguments.data is None else ""))
    print(f"report: {page.resolve()}")
    return max(step.exit_code for step in steps)


def write_chest_dataset(root: Path) -> None:
    """Write a small dataset from one real chest CT: as released, with reversed axes, and on an oblique grid.

    Raises
    ------
    MissingExtraError
        When the package that carries the CT is not installed.
    """
    package = require("slicerio", extra="demo", why="the demo's chest CT")
    folder = Path(package.__file__).parent / "data"
    image, label = read_volume(folder / "CTChest4.nrrd"), read_volume(folder / "Segmentation.seg.nrrd", "label")
    image, label = replace(image, metadata={}), replace(label, metadata={})
    for case, change in chest_variants().items():
        for name, volume in (("image", image), ("label", label)):
            path = root / name / f"{case}.nii.gz"
            if not path.exists():
                write_volume(change(volume), path)


def chest_variants() -> dict[str, Callable[[Volume], Volume]]:
    """Return the demo's cases: how each is made from the chest CT."""

    def turned(volume: Volume) -> Volume:
        rotation = euler_matrix((12.0, -7.0, 5.0))
        direction = rotation @ np.array(volume.geometry.direction_xyz).reshape(3, 3)
        x, y, z = (float(value) for value in rotation @ np.array(volume.geometry.origin_xyz))
        grid = replace(volume.geometry, direction_xyz=tuple(direction.ravel().tolist()), origin_xyz=(x, y, z))
        return replace(volume, geometry=grid)

    return {
        "chest": lambda volume: volume,
        "chest_reversed": lambda volume: orient(volume, "SAR"),
        "chest_oblique": turned,
    }


def run_chain(data: Path, out: Path, say: Callable[[str], None]) -> list[Step]:
    """Run check, orient, resample, patch, aug and extract one after the other.

    Raises
    ------
    LayoutError
        When the data is no dataset.
    """
    pairs = find_dataset(data)
    if not pairs.pairs:
        raise LayoutError(f"{data}: no pair of image and label was found")
    first = next(iter(pairs.pairs.values()))
    classes = [value for value in np.unique(read_volume(first["label"], "label").array_zyx).tolist() if value][:2]
    oriented, resampled = out / "oriented", out / "resampled"
    plan: list[tuple[str, dict[str, Any]]] = [
        ("itk_check", {"mode": "check", "source": data, "deep": True}),
        ("itk_orient", {"source": data, "dest": oriented, "orient": "LPI"}),
        (
            "itk_resample",
            {"mode": "dataset", "source": oriented, "dest": resampled, "spacing": (4.0, 2.0, 2.0)},
        ),
        (
            "itk_patch",
            {
                "source": resampled,
                "dest": out / "patches",
                "patch_size": (64, 96, 96),
                "patch_stride": (48, 96, 96),
                "minimum_foreground_ratio": 0.05,
                "layout": "dataset",
                "pad": True,
            },
        ),
        (
            "itk_aug",
            {
                "source": resampled / "image",
                "label_source": resampled / "label",
                "dest": out / "augmented" / "image",
                "label_dest": out / "augmented" / "label",
                "number": 2,
                "random_rot": (15.0, 5.0, 5.0),
            },
        ),
        (
            "itk_extract",
            {
                "source": resampled / "label",
                "dest": out / "extracted",
                "mappings": tuple(f"{value}:{new}" for new, value in enumerate(classes, 1)),
            },
        ),
    ]
    return [_step(name, values, say) for name, values in plan]


def _step(name: str, values: Mapping[str, Any], say: Callable[[str], None]) -> Step:
    operation = load(name)
    params = make_params(operation.params, values)
    options = RunOptions(mp=True)
    command = " ".join([name, *to_argv(params, options)])
    say(f"$ {command}")
    result = execute(operation, params, options)
    for line in result.summary.lines:
        say(f"  {line}")
    text = result.summary.text()
    say(f"  {text}")
    seconds = sum(record.took_s for record in result.records)
    return Step(command, "; ".join([*result.summary.lines, text]), seconds, result.exit_code)


def png_uri(rgb: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    """Return a picture ``(rows, columns, 3)`` as a data URI that a page can hold."""
    sitk = sitk_module()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slice.png"
        sitk.WriteImage(sitk.GetImageFromArray(rgb, isVector=True), str(path))
        return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>ITKIT demo</title>
<style>
body {{ font: 15px/1.55 system-ui, sans-serif; margin: 0 auto; max-width: 78rem; padding: 1.5rem; color: #1c2330 }}
h1 {{ margin: 0 }} h2 {{ margin: 2.2rem 0 .4rem; border-bottom: 1px solid #dde2ea; padding-bottom: .2rem }}
table {{ border-collapse: collapse; margin: .5rem 0 }}
th, td {{ text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #eceff4; vertical-align: top }}
td.n {{ text-align: right; font-variant-numeric: tabular-nums }}
code {{ background: #f3f5f9; padding: .1rem .3rem; border-radius: 3px; font-size: .92em; overflow-wrap: anywhere }}
figure {{ display: inline-block; margin: .3rem .6rem .6rem 0; vertical-align: top }}
figcaption {{ font-size: .85em; color: #5b6577 }}
img {{ display: block; max-width: 100%; background: #000 }}
.key span {{ display: inline-block; width: .8em; height: .8em; margin: 0 .35em 0 1em; border-radius: 2px }}
.muted {{ color: #5b6577 }}
</style>
<h1>ITKIT demo</h1>
<p class="muted">{credit}</p>
{body}
</html>
"""


def report_page(
    data: Path, out: Path, steps: Sequence[Step], names: Mapping[int, str], credit: str, *, most_cases: int = 4
) -> str:
    """Return a self-contained page: what each command did, slices before and after, grids, class volumes."""
    cases = list(find_dataset(data).pairs)[:most_cases]
    body = ["<h2>What ran</h2>", _table(["command", "result", "s (all cases)"], [_step_row(step) for step in steps])]
    grids: list[list[str]] = []
    for case in cases:
        body.append(f"<h2>{html.escape(case)}</h2>")
        before, after = _pair(data, case), _pair(out / "resampled", case)
        for title, pair in (("before", before), ("after itk_orient and itk_resample", after)):
            body += ["<div>", *(_figure(f"{title}: {plane}", pair, plane) for plane in PLANES), "</div>"]
            grids.append([case, title, *_grid_cells(pair[0].geometry)])
        body.append(_class_table(before, after, names))
    body += ["<h2>Grids</h2>", _table(["case", "", "size ZYX", "spacing ZYX, mm", "extent ZYX, mm", "axes to"], grids)]
    body.append("<h2>Augmented copies</h2>")
    body += _folder_figures(out / "augmented", 4)
    body.append("<h2>Some patches</h2>")
    body += _folder_figures(out / "patches", 6)
    return _PAGE.format(credit=html.escape(credit), body="\n".join(body))


def _step_row(step: Step) -> list[str]:
    return [f"<code>{html.escape(step.command)}</code>", html.escape(step.summary), f"{step.seconds:.1f}"]


def _pair(root: Path, case: str) -> tuple[Volume, Volume]:
    files = find_dataset(root).pairs[case]
    return read_volume(files["image"]), read_volume(files["label"], "label")


def _folder_figures(root: Path, most: int) -> list[str]:
    cases = list(find_dataset(root).pairs)
    chosen = cases[:: max(1, math.ceil(len(cases) / most))]
    return [_figure(case, _pair(root, case), "coronal") for case in chosen]


def _figure(title: str, pair: tuple[Volume, Volume], plane: Any) -> str:
    uri = png_uri(slice_picture(*pair, plane, height_mm_per_pixel=1.4))
    caption = html.escape(title)
    return f'<figure><img alt="{caption}" src="{uri}"><figcaption>{caption}</figcaption></figure>'


def _grid_cells(grid: Geometry) -> list[str]:
    rows = (grid.size_zyx, grid.spacing_zyx, grid.extent_zyx)
    return [*(" x ".join(f"{value:.4g}" for value in row) for row in rows), grid.orientation]


def _class_table(before: tuple[Volume, Volume], after: tuple[Volume, Volume], names: Mapping[int, str]) -> str:
    old, new = class_statistics(*before), class_statistics(*after)
    rows = []
    for value, (volume_ml, mean) in old.items():
        new_ml, new_mean = new.get(value, (0.0, math.nan))
        red, green, blue = class_colour(value)
        key = f'<span class="key"><span style="background:rgb({red},{green},{blue})"></span></span>'
        numbers = (volume_ml, new_ml, 100 * (new_ml / volume_ml - 1), mean, new_mean)
        rows.append(
            [f"{key}{value} {html.escape(names.get(value, ''))}", *(f"{number:.1f}" for number in numbers)],
        )
    head = ["class", "volume before, ml", "after, ml", "change, %", "mean value before", "after"]
    return _table(head, rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = ["".join(f"<td{_number(cell)}>{cell}</td>" for cell in row) for row in rows]
    return f"<table><tr>{top}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _number(cell: str) -> str:
    return ' class="n"' if cell.replace(".", "").replace("-", "").isdigit() else ""
