"""``itk_convert nnunet``: a dataset as nnU-Net v2 raw data; ``from-nnunet`` reads such data.

The format: https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from itkit.core.files import DATASET_META
from itkit.core.operation import Collected, Plan, Report
from itkit.core.text import some
from itkit.dataset.exchange.direction import Direction
from itkit.dataset.exchange.params import ConvertParams
from itkit.dataset.exchange.release import release
from itkit.dataset.exchange.source import (
    Source,
    credits_of,
    export_case,
    export_plan,
    note_of_validation,
    place_by_part,
    read_source,
    require_names,
)
from itkit.dataset.nnUNet.meta import SPEC
from itkit.io.layouts import IMAGE

_FOLDER = re.compile(r"Dataset\d{3}_.+")


def plan_nnunet(params: ConvertParams) -> Plan:
    """List the cases: those with a label go to ``imagesTr``, those without and the test set to ``imagesTs``.

    Raises
    ------
    LayoutError
        When the source is not a dataset, or has no names of classes.
    """
    source = read_source(params.source)
    labels = require_names(source)
    mapping = numbers_of(labels, source.meta.values.get("ignore"))
    notes = [
        *note_of_validation(source, "nnU-Net's raw data"),
        *_notes_of_values(labels, mapping),
        *_notes_of_channel(source),
    ]
    if not _FOLDER.fullmatch(params.dest.name):
        notes.append(f"nnU-Net finds folders called DatasetNNN_Name, not {params.dest.name}")
    return export_plan(
        source,
        params,
        partial(place_by_part, params, [f"_{number:04d}" for number, _ in enumerate(source.channels)]),
        mapping=mapping,
        accepts_nan=False,
        out_id=lambda case: case.flat_id,
        notes=tuple(notes),
    )


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


def _notes_of_channel(source: Source) -> list[str]:
    if source.shown_channels != (IMAGE,) or source.modality:
        return []
    return [
        f"the channel is called {IMAGE}: nnU-Net normalises CT only where it is called CT; "
        "if it is one, say so with itk_describe --modality CT"
    ]


def collect_nnunet(params: ConvertParams, run: Collected) -> Report:
    """Return nnU-Net's ``dataset.json``, with licence and labels from the source's own."""
    if run.dest is None:
        return Report()
    source: Source = run.plan.details
    values, labels = source.meta.values, source.meta.labels
    mapping = numbers_of(labels, values.get("ignore"))
    given = values.get("regions", {})
    regions = {name: [mapping[value] for value in those] for name, those in given.items()}
    made_up = {f"value {value} ({name})" for name, those in given.items() for value in those}
    named: dict[str, Any] = {"background": 0, **regions}
    named |= {name: mapping[value] for value, name in sorted(labels.items()) if value and name not in made_up}
    order = [mapping[value] for value in values.get("regions_class_order", ())]
    meta = {
        "channel_names": {str(number): name for number, name in enumerate(source.shown_channels)},
        "labels": named,
        **({"regions_class_order": order} if regions else {}),
        "numTraining": sum(record.facts.get("part") == "Tr" for record in run.all_records.values()),
        "file_ending": params.ext,
        "name": values.get("title") or values.get("name") or run.dest.name,
        **credits_of(values),
        "original_values": {name: value for value, name in labels.items()},
    }
    return Report(files={Path(DATASET_META): meta})


TO = Direction(plan_nnunet, export_case, collect_nnunet)
FROM = release(SPEC)
