"""Facts about the Medical Segmentation Decathlon."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from itkit.dataset.convert.described import Description, find_described, listed_files, modality_of, numbered_names
from itkit.dataset.convert.params import ConvertDatasetParams
from itkit.dataset.convert.spec import VOLUME, DatasetSpec, Finding, Pattern, Quirk


def read_task(raw: Mapping[str, Any], root: Path) -> Description:
    """Read a task's ``dataset.json``.

    Raises
    ------
    KeyError, ValueError
        When it lacks labels or channels.
    """
    del root
    channels = numbered_names(raw["modality"])
    about = {
        "title": f"Medical Segmentation Decathlon: {raw.get('name', '')}",
        "modality": modality_of(channels),
        "licence": raw.get("licence", raw.get("license", "CC-BY-SA 4.0")),
        "version": raw.get("release", raw.get("relase", "")),
    }
    labels = {int(value): str(name) for value, name in raw["labels"].items()}
    return Description(labels, channels, about, tuple(listed_files([*raw.get("training", []), *raw.get("test", [])])))


def find(spec: DatasetSpec, source: Path, params: ConvertDatasetParams) -> Finding:
    """Find the cases of one task, or of all tasks in a folder."""
    del params
    return find_described(spec, source, read_task)


SPEC = DatasetSpec(
    name="msd",
    title="Medical Segmentation Decathlon",
    patterns=(
        Pattern(
            "image",
            r"images(?P<split>Tr|Ts)/(?P<case>[A-Za-z]+_\d+)" + VOLUME,
            "imagesTr/spleen_2.nii.gz",
        ),
        Pattern("label", r"labelsTr/(?P<case>[A-Za-z]+_\d+)" + VOLUME, "labelsTr/spleen_2.nii.gz"),
    ),
    labels={0: "background"},
    label_note="labels and channels come from each task's dataset.json",
    modality=("CT", "MR"),
    splits={"Tr": "train", "Ts": "test"},
    homepage="http://medicaldecathlon.com/",
    licence="CC-BY-SA 4.0",
    citation="Antonelli M. et al., The medical segmentation decathlon, Nat Commun 2022",
    find=find,
    quirks=(
        Quirk("every tar holds ._* files beside the real ones", "names that start with a dot are ignored"),
        Quirk("tasks 1 and 5 are 4-D: the last dimension is the channel", "one file per channel, or one vector file"),
        Quirk("case numbers are only unique within a task", "each task becomes a dataset in its own sub-folder"),
        Quirk("task 10 has float32 images and labels", "labels become integers, images keep their type"),
        Quirk("the key is release in some tasks, relase in others", "both are read"),
    ),
    sources=("MONAI's list of archives", "nnU-Net's converter", "dataset.json files as quoted in public repositories"),
    unverified=("dtypes apart from task 10",),
)
