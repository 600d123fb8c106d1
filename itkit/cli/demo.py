"""``itkit demo``: run the whole chain on a real chest CT, and write a page that shows the results."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from itkit.catalogue import load
from itkit.core.errors import LayoutError
from itkit.core.extras import require
from itkit.core.volume import Volume
from itkit.engine.options import RunOptions
from itkit.engine.parameters import make_params, to_argv
from itkit.engine.runner import execute
from itkit.io.layouts import find_dataset
from itkit.io.meta import write_text
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.process.geometry import orient
from itkit.process.itk_aug import euler_matrix
from itkit.report.chain import Step, report_page

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
    """Return the demo's cases, each with the function that makes it from the chest CT."""

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
        When the folder holds no pair of image and label.
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
