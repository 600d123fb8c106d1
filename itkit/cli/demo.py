"""``itkit demo``: run the whole chain on a real CT of a torso, and write a page that shows the results."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import model_validator

from itkit.catalogue import load
from itkit.core.errors import ItkitError, LayoutError
from itkit.core.fields import PathRole
from itkit.core.files import DATASET_META
from itkit.core.params import Params
from itkit.core.tool import Tool
from itkit.core.volume import Volume
from itkit.engine.options import RunOptions
from itkit.engine.parameters import make_params, to_argv
from itkit.engine.runner import execute
from itkit.io.dataset_meta import find_dataset_meta, read_dataset_meta
from itkit.io.disk import write_text
from itkit.io.json_files import write_json
from itkit.io.layouts import Pairs, find_dataset
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.process.geometry import orient
from itkit.process.itk_aug import euler_matrix
from itkit.report.chain import Step, report_page
from itkit.report.windows import is_ct

_TORSO = Path(__file__).parents[1] / "data" / "torso"
_CREDIT = (
    "CT and labels: example files of TotalSegmentator 2.18.0 (Apache License 2.0, Jakob Wasserthal and others); "
    "the labels were made by TotalSegmentator."
)
_LONGEST_LINE = 200  # what is longer stands in the terminal alone
_BONES = ("vertebrae", "rib_", "sacrum", "hip_", "femur_")


@dataclass(frozen=True)
class Planned:
    """A command of the chain: its parameters, and what it is for."""

    command: str
    values: Mapping[str, Any]
    purpose: str


class DemoParams(Params):
    """Check, orient, resample, cut, augment, measure, normalize, pre-segment and evaluate a dataset; show all of it."""

    data: Annotated[Path | None, PathRole("in_folder", holds="dataset")] = None
    """Dataset with image/ and label/ (default: a real CT of a torso, which ITKIT brings along)."""
    out: Annotated[Path, PathRole("out_folder")] = Path("demo-out")
    """Folder to write."""
    only_data: Annotated[Path | None, PathRole("out_folder")] = None
    """Write the CT as a dataset of three cases to this folder, and stop."""

    @model_validator(mode="after")
    def _check_one_task(self) -> DemoParams:
        if self.only_data is not None and self.data is not None:
            raise ValueError("--only-data writes ITKIT's CT, and runs nothing on --data; leave one of them out")
        return self


def run(params: DemoParams) -> int:
    """Run the demo and return its exit code."""
    out, data = params.out, params.data
    if params.only_data is not None:
        _refuse_other_cases(params.only_data)
        write_torso_dataset(params.only_data)
        print(f"{params.only_data}: one CT of a torso on three grids, with labels")
        return 0
    if data is None:
        data = out / "raw"
        write_torso_dataset(data)
    steps = run_chain(data, out, print)
    page = out / "report.html"
    names = find_dataset_meta(data).labels
    write_text(page, report_page(data, out, steps, names, _CREDIT if params.data is None else ""))
    print(f"report: {page.resolve()}")
    return max(step.exit_code for step in steps)


def torso() -> tuple[Volume, Volume]:
    """Return the CT that comes with this package, and its labels."""
    return read_volume(_TORSO / "image.nii.gz"), read_volume(_TORSO / "label.nii.gz", "label")


def _refuse_other_cases(root: Path) -> None:
    ours = {f"{case}.nii.gz" for case in variants("torso")}
    for folder in (root / "image", root / "label"):
        others = [path.name for path in folder.glob("[!.]*") if path.name not in ours] if folder.is_dir() else []
        if others:
            raise LayoutError(f"{folder}: holds {min(others)}, which is not of the demo; name a folder of its own")


def write_torso_dataset(root: Path) -> None:
    """Write a small dataset from one real CT: as released, with reversed axes, and on an oblique grid."""
    image, label = torso()
    for case, change in variants("torso").items():
        for name, volume in (("image", image), ("label", label)):
            path = root / name / f"{case}.nii.gz"
            if not path.exists():
                write_volume(change(volume), path)
    if not (root / DATASET_META).exists():
        write_json(root / DATASET_META, dict(read_dataset_meta(_TORSO / DATASET_META).values))


def variants(name: str) -> dict[str, Callable[[Volume], Volume]]:
    """Return the demo's cases, each with the function that makes it from a volume."""

    def turned(volume: Volume) -> Volume:
        rotation = euler_matrix((12.0, -7.0, 5.0))
        direction = rotation @ np.array(volume.geometry.direction_xyz).reshape(3, 3)
        x, y, z = (float(value) for value in rotation @ np.array(volume.geometry.origin_xyz))
        grid = replace(volume.geometry, direction_xyz=tuple(direction.ravel().tolist()), origin_xyz=(x, y, z))
        return replace(volume, geometry=grid)

    return {
        name: lambda volume: volume,
        f"{name}_reversed": lambda volume: orient(volume, "SAR"),
        f"{name}_oblique": turned,
    }


def plan_chain(data: Path, out: Path) -> Iterator[Planned]:
    """Yield the commands of the chain, first to last.

    Raises
    ------
    LayoutError
        When the folder holds no pair of image and label.
    """
    pairs = find_dataset(data)
    if not pairs.pairs:
        raise LayoutError(f"{data}: no pair of image and label was found")
    names = find_dataset_meta(data).labels
    bones = [value for value, name in names.items() if name.startswith(_BONES)]
    resampled = out / "resampled"
    yield Planned("itk_check", {"mode": "check", "source": data, "deep": True}, "is every file readable and paired?")
    yield Planned("itk_orient", {"source": data, "dest": out / "oriented", "orient": "LPI"}, "axes in one order")
    yield Planned(
        "itk_resample",
        {"mode": "dataset", "source": out / "oriented", "dest": resampled, "spacing": (2.5, 2.0, 2.0)},
        "one spacing; nothing moves",
    )
    yield Planned(
        "itk_patch",
        {
            "source": resampled,
            "dest": out / "patches",
            "patch_size": (64, 80, 80),
            "patch_stride": (48, 64, 64),
            "minimum_foreground_ratio": 0.05,
            "layout": "dataset",
            "pad": True,
        },
        "patches that know where they lie",
    )
    yield Planned(
        "itk_aug",
        {
            "source": resampled / "image",
            "label_source": resampled / "label",
            "dest": out / "augmented" / "image",
            "label_dest": out / "augmented" / "label",
            "number": 2,
            "random_rot": (15.0, 5.0, 5.0),
            "random_scale": (0.1, 0.1, 0.1),
        },
        "turned and scaled copies",
    )
    classes = bones or _first_classes(pairs)
    mappings = [f"{value}:1" for value in bones] or [f"{value}:{new}" for new, value in enumerate(classes, 1)]
    yield Planned(
        "itk_extract",
        {"source": resampled / "label", "dest": out / "extracted", "mappings": tuple(mappings), "merge": bool(bones)},
        "all bones as one class" if bones else "two classes, renumbered",
    )
    yield Planned("itk_stats", {"source": resampled, "dest": out / "stats"}, "what the dataset holds; outliers")
    is_scan = is_ct(_first_image(pairs))
    clip = ("clip -160 240",) if is_scan else ()
    yield Planned(
        "itk_enhance",
        {"source": resampled, "dest": out / "enhanced", "steps": (*clip, "normalize zscore")},
        "clipped and normalized",
    )
    target = "bone" if bones and is_scan else "body" if is_scan else "nonzero"
    cleaning = {"closing_mm": 8.0, "fill_holes": True} if target == "bone" else {}  # marrow is softer than 200 HU
    yield Planned(
        "itk_presegment",
        {"source": resampled, "dest": out / "presegmented", "target": target, **cleaning},
        f"a first label without a network: {target}",
    )
    if target == "bone":
        yield Planned(
            "itk_evaluate",
            {"gt": out / "extracted", "pred": out / "presegmented", "dest": out / "evaluation"},
            "how far such a label gets",
        )


def _first_image(pairs: Pairs) -> Volume:
    return read_volume(next(iter(next(iter(pairs.pairs.values())).values())))


def _first_classes(pairs: Pairs) -> list[int]:
    label = read_volume(next(iter(pairs.pairs.values()))["label"], "label")
    return [value for value in np.unique(label.array_zyx).tolist() if value][:2]


def run_chain(data: Path, out: Path, say: Callable[[str], None]) -> list[Step]:
    """Run the commands of the chain one after the other."""
    return [_step(planned, say) for planned in plan_chain(data, out)]


def _step(planned: Planned, say: Callable[[str], None]) -> Step:
    operation = load(planned.command)
    params = make_params(operation.params, planned.values)
    options = RunOptions(mp=True)
    command = shlex.join([planned.command, *to_argv(params, options)])
    say(f"$ {command}")
    begin = time.perf_counter()
    try:
        result = execute(operation, params, options)
    except ItkitError as error:  # the others go on; the page says what happened
        say(f"  {error}")
        return Step(command, planned.purpose, str(error), time.perf_counter() - begin, 0, 0, 2)
    wall_s = time.perf_counter() - begin
    for line in result.summary.lines:
        say(f"  {line}")
    text = result.summary.text()
    say(f"  {text}")
    dest = planned.values.get("dest")
    written = _bytes(dest.parent if planned.command == "itk_aug" else dest) if isinstance(dest, Path) else 0
    short = [line for line in result.summary.lines if len(line) <= _LONGEST_LINE]
    summary = "; ".join([text.partition("; details:")[0], *short])
    return Step(command, planned.purpose, summary, wall_s, written, len(result.records), result.exit_code)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


TOOL = Tool("itkit demo", DemoParams, run, "itkit demo --data my_dataset --out demo-out")
