"""Facts about nnU-Net's raw data format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from itkit.core.errors import LayoutError
from itkit.core.files import DATASET_META, VOLUME_EXTENSIONS, is_inner_name, split_extension
from itkit.core.operation import Unpaired
from itkit.core.text import counted, some
from itkit.dataset.convert.described import Description, find_described, modality_of, numbered_names
from itkit.dataset.convert.find import cases_of
from itkit.dataset.convert.params import ConvertDatasetParams
from itkit.dataset.convert.spec import VOLUME, DatasetSpec, Finding, FoundCase, Pattern, Quirk


def read_description(raw: Mapping[str, Any], root: Path) -> Description:
    """Read ``dataset.json`` of version 2 (name to value, or to the values of a region), or of version 1.

    Raises
    ------
    LayoutError
        When its files are not volumes.
    KeyError, TypeError, ValueError
        When labels or channels are missing or malformed.
    """
    ending = str(raw.get("file_ending", ".nii.gz"))
    if ending.lower() not in VOLUME_EXTENSIONS:
        raise LayoutError(f"{root}: file_ending {ending} holds no volumes; expected {', '.join(VOLUME_EXTENSIONS)}")
    channels = numbered_names(raw.get("channel_names", raw.get("modality", {})))
    if not channels:
        raise KeyError("channel_names")
    if all(str(key).isdigit() for key in raw["labels"]):
        labels = {int(value): str(name) for value, name in raw["labels"].items()}
        regions: dict[str, list[int]] = {}
    else:
        labels, regions = label_table(raw["labels"])
    about: dict[str, Any] = {"title": raw.get("name", root.name), "modality": modality_of(channels)}
    about["licence"] = raw.get("licence", raw.get("license", ""))
    told = {"citation": raw.get("citation") or raw.get("reference"), "homepage": raw.get("homepage")}
    about |= {name: text for name, text in told.items() if text and isinstance(text, str)}
    if regions:
        about |= {"regions": regions, "regions_class_order": raw.get("regions_class_order", [])}
    if "ignore" in labels.values():
        about["ignore"] = next(value for value, name in labels.items() if name == "ignore")
    return Description(labels, channels, about)


def label_table(raw: Mapping[str, Any]) -> tuple[dict[int, str], dict[str, list[int]]]:
    """Return names by value, and the regions; a value that occurs only in regions is named after the smallest one.

    Examples
    --------
    >>> label_table({"background": 0, "whole": [1, 2], "core": 2})
    ({0: 'background', 1: 'value 1 (whole)', 2: 'core'}, {'whole': [1, 2]})
    """
    table = {int(value): str(name) for name, value in raw.items() if not isinstance(value, list)}
    regions = {str(name): [int(value) for value in values] for name, values in raw.items() if isinstance(values, list)}
    for name, values in sorted(regions.items(), key=lambda item: len(item[1])):
        for value in values:
            table.setdefault(value, f"value {value} ({name})")
    return dict(sorted(table.items())), regions


def assemble(spec: DatasetSpec, root: Path, paths: list[str], raw: Mapping[str, Any]) -> Finding:
    """Find the cases in the standard folders, whose file names contain channel numbers, or in an explicit list."""
    listed = raw.get("dataset")
    if not isinstance(listed, dict):
        numbers = tuple(f"{number:04d}" for number in range(len(spec.channels)))
        finding = cases_of(replace(spec, channels=numbers), root, paths)
        return replace(finding, notes=(*finding.notes, *_wrong_count(finding, raw)))
    cases, unpaired = [], []
    for case_id, entry in sorted(listed.items()):
        try:
            names = [*entry["images"], *([entry["label"]] if entry.get("label") else [])]
            names = [str(name).removeprefix("./") for name in names]
        except (KeyError, TypeError, AttributeError) as error:
            raise LayoutError(f"{root / DATASET_META}: the files of case {case_id!r} are not understood") from error
        outside = [name for name in names if not is_inner_name(name)]
        if outside:
            raise LayoutError(
                f"{root / DATASET_META}: case {case_id!r} lists {outside[0]!r}, which lies outside the release; "
                "copy or link it into the release"
            )
        images = tuple(root / name for name in names[: len(entry["images"])])
        label = root / names[-1] if entry.get("label") else None
        missing = [path for path in (*images, *([label] if label else [])) if not path.is_file()]
        if missing:
            unpaired.append(Unpaired(case_id, missing[0], "file of this name, though dataset.json lists it"))
        else:
            cases.append(FoundCase(case_id, images, label, split="train"))
    named = {image for case in cases for image in (*case.images, case.label)}
    strange = [path for path in paths if root / path not in named and split_extension(path.rsplit("/", 1)[-1])]
    note = f"{DATASET_META} does not list {counted(strange, 'volume')}, left out: {some(strange)}"
    return Finding(tuple(cases), tuple(unpaired), notes=(note,) if strange else ())


def _wrong_count(finding: Finding, raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Say when ``dataset.json`` counts other training cases than there are."""
    said, there = (
        raw.get("numTraining"),
        sum(case.has_label and not case.problem for case in finding.cases if case.split == "train"),
    )
    if not isinstance(said, int) or said == there:
        return ()
    return (f"{DATASET_META} counts {counted(said, 'training case')}; {there} with image and label are there",)


def find(spec: DatasetSpec, source: Path, params: ConvertDatasetParams) -> Finding:
    """Find the cases of one dataset, or of all datasets of an ``nnUNet_raw`` folder."""
    del params
    return find_described(spec, source, read_description, assemble)


SPEC = DatasetSpec(
    name="nnunet",
    title="nnU-Net v2 raw data",
    patterns=(
        Pattern(
            "image",
            r"images(?P<split>Tr|Ts)/(?P<case>.+)_(?P<channel>\d{4})" + VOLUME,
            "imagesTr/hippocampus_001_0000.nii.gz",
        ),
        Pattern("label", r"labels(?:Tr|Ts)/(?P<case>.+?)" + VOLUME, "labelsTr/hippocampus_001.nii.gz"),
    ),
    labels={0: "background"},
    label_note="labels, regions and channels come from dataset.json; regions are kept as they are, not merged",
    modality=("CT", "MR"),
    splits={"Tr": "train", "Ts": "test"},
    homepage="https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md",
    licence="that of each dataset",
    citation=(
        "Isensee F. et al., nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation, "
        "Nat Methods 2021"
    ),
    find=find,
    quirks=(
        Quirk("a case name may end in _01", "exactly four digits are cut"),
        Quirk("dataset.json may list files", "followed within the release; missing ones are named, others refused"),
        Quirk("labels may be regions (lists of values)", "kept as regions in dataset.json; voxels keep their values"),
        Quirk("ignore is not background", "its value is kept and named"),
    ),
    sources=("nnU-Net's dataset_format.md and dataset.json code",),
)
