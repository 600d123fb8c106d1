"""Write a converted dataset as nnU-Net v2 raw data: ``itkit convert-dataset to_nnunet SOURCE DEST``.

The format: https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from itkit.core.errors import CaseError, LabelError, LayoutError
from itkit.core.fields import Group, PathRole, Positional
from itkit.core.files import DATASET_META
from itkit.core.grids import require_one_grid
from itkit.core.operation import Collected, Context, InputFile, Job, Operation, Outcome, Plan, Report, Target
from itkit.core.params import VolumeExtension
from itkit.core.text import counted, some
from itkit.core.volume import Case
from itkit.dataset.folder import DatasetFolder
from itkit.io.layouts import IMAGE, LABEL
from itkit.io.overlooked import advice
from itkit.io.sitk_toolkit import read_volume
from itkit.kernels.statistics import finite_summary
from itkit.process.common import OutputParams, converted
from itkit.process.itk_extract import remap_labels

_FOLDER = re.compile(r"Dataset\d{3}_.+")


class ToNnunetParams(OutputParams):
    """Write a converted dataset as nnU-Net v2 raw data; classes are numbered without gaps, as nnU-Net needs them."""

    source: Annotated[Path, PathRole("in_folder"), Positional("source")]
    """Folder with image/, label/ and dataset.json."""
    dest: Annotated[Path, PathRole("out_folder"), Positional("dest")]
    """Folder to write; nnU-Net wants it called DatasetNNN_Name."""
    ext: Annotated[VolumeExtension, Group("Output")] = ".nii.gz"
    """Format of the output files."""


@dataclass(frozen=True)
class _Details:
    """Files and numbers of one case."""

    images: tuple[Path, ...]
    label: Path | None
    mapping: Mapping[int, int]


def plan(params: ToNnunetParams) -> Plan:
    """List the cases of the dataset: those with a label go to ``imagesTr``, those without to ``imagesTs``.

    Raises
    ------
    LayoutError
        When the source is not a converted dataset, or its classes are regions.
    """
    from itkit.io.layouts import require_destination, require_folder

    if not (require_folder(params.source) / IMAGE).is_dir():
        raise LayoutError(
            f"{params.source} has no folder {IMAGE}; expected {IMAGE}/ and {LABEL}/{advice(params.source)}"
        )
    source = DatasetFolder(params.source)
    require_destination(params.dest, params.source)
    if not source.labels:
        raise LayoutError(
            f"{params.source}: its {DATASET_META} names no labels, and nnU-Net needs names; "
            f"give them with itk_describe {params.source} --labels 1=NAME 2=NAME"
        )
    mapping = numbers_of(source.labels, source.meta.get("ignore"))
    jobs = []
    for case in source.cases:
        where = "Tr" if case.label is not None else "Ts"
        numbers = range(len(source.channels))
        targets = {
            f"image{number}": Target(params.dest / f"images{where}", f"_{number:04d}{params.ext}", "image")
            for number in numbers
        }
        inputs = {f"image{number}": InputFile(path, "file") for number, path in enumerate(case.images)}
        if case.label is not None:
            targets["label"] = Target(params.dest / "labelsTr", params.ext, "label")
            inputs["label"] = InputFile(case.label, "file")
        details = _Details(case.images, case.label, mapping)
        jobs.append(Job(case.case_id, inputs, targets, (case.case_id.replace("/", "_"),), details, str(mapping)))
    notes = [*_notes_of_values(source.labels, mapping), *_notes_of_channel(source)]
    if not _FOLDER.fullmatch(params.dest.name):
        notes.append(f"nnU-Net finds folders called DatasetNNN_Name, not {params.dest.name}")
    return Plan(tuple(jobs), (), params.dest, tuple(notes), (source, mapping))


def numbers_of(labels: Mapping[int, str], ignore: int | None) -> dict[int, int]:
    """Return nnU-Net's number for each value: 0 stays 0, the others follow without gaps, the ignore value is last.

    Examples
    --------
    >>> numbers_of({3: "liver", -1: "unsure", 255: "ignore"}, 255)
    {0: 0, 3: 1, -1: 2, 255: 3}
    """
    foreground = sorted((value for value in labels if value not in (0, ignore)), key=lambda value: (value < 0, value))
    last = [] if ignore is None else [ignore]
    return {value: number for number, value in enumerate([0, *foreground, *last])}


def _notes_of_values(labels: Mapping[int, str], mapping: Mapping[int, int]) -> list[str]:
    notes = []
    if 0 not in labels:
        notes.append(f"{DATASET_META} does not name 0: it is taken for background")
    moved = [f"{value} ({labels[value]}) is {new}" for value, new in mapping.items() if new != value]
    if moved:
        notes.append(f"values are renumbered, as nnU-Net wants 0, 1, 2 … without gaps: {some(moved)}")
    return notes


def _notes_of_channel(source: DatasetFolder) -> list[str]:
    if channels_of(source) != (IMAGE,) or source.meta.get("modality"):
        return []
    return [
        f"the channel is called {IMAGE}: nnU-Net normalises CT only where it is called CT; "
        "if it is one, say so with itk_describe --modality CT"
    ]


def channels_of(source: DatasetFolder) -> tuple[str, ...]:
    """Return the channel names; the single channel of a CT dataset is named CT, so that nnU-Net normalises it as CT."""
    modality = source.meta.get("modality")
    is_ct = isinstance(modality, (str, list, tuple)) and {str(one).upper() for one in _listed(modality)} == {"CT"}
    return ("CT",) if source.channels == (IMAGE,) and is_ct else source.channels


def _listed(value: str | Sequence[Any]) -> Sequence[Any]:
    return (value,) if isinstance(value, str) else value


def export_case(case: Case, params: ToNnunetParams, context: Context) -> Outcome:
    """Write the channels and the renumbered label of one case."""
    details: _Details = case.details
    case_id = case.id.replace("/", "_")

    def volumes() -> Iterator[Case]:
        number = 0
        for path in details.images:
            volume = read_volume(path, threads=context.threads, channels=True)
            if volume.dtype.kind == "f" and (count := finite_summary(volume.array_zyx).n_nan):
                raise CaseError(
                    f"{case.id}: {counted(count, 'nan voxel')} in {path.name}, and nnU-Net accepts none; "
                    "give them a value, or take the case out of the dataset"
                )
            stack = volume.array_zyx[..., None] if volume.array_zyx.ndim == 3 else volume.array_zyx
            for channel in range(stack.shape[3]):
                one = volume.with_array(stack[..., channel])
                yield Case(case_id, {f"image{number}": converted(one, params)})
                number += 1
        if details.label is not None:
            label = read_volume(details.label, "label", threads=context.threads)
            require_one_grid(Case(case.id, {"image": volume, "label": label}))
            renumbered, counts = remap_labels(label, details.mapping)
            unnamed = [
                f"{value} ({counted(n, 'voxel')})" for value, n in counts.items() if value not in details.mapping
            ]
            if unnamed:
                raise LabelError(
                    f"{case.id}: label values without a name would become background: {some(unnamed)}; "
                    f"name them in {DATASET_META}, or make them 0 on purpose with itk_extract"
                )
            yield Case(case_id, {"label": renumbered})

    return Outcome(volumes(), {"has_label": details.label is not None})


def collect(params: ToNnunetParams, run: Collected) -> Report:
    """Return the report with nnU-Net's ``dataset.json``, including licence and labels from the source's own."""
    if run.dest is None or run.plan.details is None:
        return Report()
    source, mapping = run.plan.details
    regions = {name: [mapping[value] for value in values] for name, values in source.meta.get("regions", {}).items()}
    made_up = {f"value {value} ({name})" for name, values in source.meta.get("regions", {}).items() for value in values}
    labels: dict[str, Any] = {"background": 0, **regions}
    labels |= {name: mapping[value] for value, name in sorted(source.labels.items()) if value and name not in made_up}
    order = [mapping[value] for value in source.meta.get("regions_class_order", ())]
    kept = {key: source.meta[key] for key in ("licence", "citation", "homepage") if source.meta.get(key)}
    meta = {
        "channel_names": {str(number): name for number, name in enumerate(channels_of(source))},
        "labels": labels,
        **({"regions_class_order": order} if regions else {}),
        "numTraining": sum(bool(record.facts.get("has_label")) for record in run.all_records.values()),
        "file_ending": params.ext,
        "name": source.meta.get("title", run.dest.name),
        **kept,
        "original_values": {name: value for value, name in source.labels.items()},
    }
    return Report(files={Path(DATASET_META): meta})


OPERATION: Operation[Any] = Operation(
    "convert_to_nnunet",
    ToNnunetParams,
    plan,
    export_case,
    collect,
    example="itkit convert-dataset to_nnunet converted nnUNet_raw/Dataset001_Kidney --mp",
)

if __name__ == "__main__":
    from itkit.cli.datasets import run

    raise SystemExit(run(OPERATION, prog="nnUNet.export_nnunet"))
