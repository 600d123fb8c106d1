"""``itk_convert msd`` and ``monai``, and back: the Decathlon's folders, and lists of files as MONAI reads them.

Sources: http://medicaldecathlon.com (folders, ``dataset.json``; channels of a case are the volumes of one 4-D file) and
the documentation of ``monai.data.load_decathlon_datalist`` (an image may be a list of files, one for each channel;
``validation`` beside ``training`` and ``test``).
"""

from __future__ import annotations

import os.path
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from itkit.core.errors import LayoutError
from itkit.core.files import DATASET_META, split_extension
from itkit.core.operation import Collected, Plan, Report, Unpaired
from itkit.core.text import file_part, some
from itkit.dataset.convert.described import (
    Description,
    find_described,
    modality_of,
    numbered_names,
)
from itkit.dataset.convert.params import ConvertDatasetParams
from itkit.dataset.convert.spec import DatasetSpec, Finding, FoundCase
from itkit.dataset.exchange.direction import Direction
from itkit.dataset.exchange.params import ConvertParams
from itkit.dataset.exchange.release import finding_of, listed_case, plain_spec, release
from itkit.dataset.exchange.source import (
    VALIDATION,
    Source,
    export_case,
    export_plan,
    note_of_validation,
    paths_of,
    place_by_part,
    read_source,
)
from itkit.dataset.nnUNet.meta import label_table
from itkit.io.json_files import read_json
from itkit.io.layouts import IMAGE

DATALIST = "datalist.json"
"""List of the cases for MONAI; ``dataset.json`` holds the same lists."""
_MARKS = "_-."
_LISTS = {"training": "train", "validation": "val", "test": "test", "testing": "test"}


def plan_msd(params: ConvertParams) -> Plan:
    """List the cases; the channels of a case become one file.

    Raises
    ------
    LayoutError
        When the source is not a dataset.
    """
    source = read_source(params.source)
    notes = (*note_of_validation(source, "the Decathlon"), *_notes(source))
    return _plan(source, params, stack=True, notes=notes)


def plan_monai(params: ConvertParams) -> Plan:
    """List the cases; each channel of a case is a file.

    Raises
    ------
    LayoutError
        When the source is not a dataset.
    """
    source = read_source(params.source)
    return _plan(source, params, stack=False, notes=_notes(source))


def _plan(source: Source, params: ConvertParams, *, stack: bool, notes: tuple[str, ...]) -> Plan:
    endings = ("",) if stack or len(source.channels) == 1 else tuple(f"_{file_part(one)}" for one in source.channels)
    place = partial(place_by_part, params, endings)
    return export_plan(source, params, place, stack=stack, out_id=lambda case: case.flat_id, notes=notes)


def _notes(source: Source) -> tuple[str, ...]:
    if source.meta.labels:
        return ()
    return (f"{DATASET_META} names no classes: values are kept without a name; itk_describe gives names",)


def collect_msd(params: ConvertParams, run: Collected) -> Report:
    """Return the Decathlon's ``dataset.json``."""
    source: Source = run.plan.details
    training, test = [], []
    for _, part, _, images, label in _cases(run, source):
        if part == "Tr":
            training.append({"image": f"./{images[0]}", "label": f"./{label}"})
        else:
            test.append(f"./{images[0]}")
    return Report(files={Path(DATASET_META): {**_about(source, run), "training": training, "test": test}})


def collect_monai(params: ConvertParams, run: Collected) -> Report:
    """Return ``dataset.json`` and ``datalist.json``, with the lists that MONAI reads."""
    source: Source = run.plan.details
    lists: dict[str, list[dict[str, Any]]] = {"training": [], "validation": [], "test": []}
    for _, part, split, images, label in _cases(run, source):
        name = "test" if part == "Ts" else "validation" if split in VALIDATION else "training"
        image = images[0] if len(images) == 1 else images
        lists[name].append({"image": image, **({"label": label} if label else {})})
    about = _about(source, run)
    shown = {name: cases for name, cases in lists.items() if cases or name != "validation"}
    return Report(files={Path(DATASET_META): {**about, **shown}, Path(DATALIST): {**about, **shown}})


def _cases(run: Collected, source: Source) -> Iterator[tuple[str, str, str, list[str], str]]:
    """Yield id, part, split and files of each finished case."""
    for case, record in sorted(run.all_records.items()):
        images, label = paths_of(record, source)
        if images:
            yield case, str(record.facts["part"]), str(record.facts["split"]), images, label


def _about(source: Source, run: Collected) -> dict[str, Any]:
    values, parts = source.meta.values, [record.facts.get("part") for record in run.all_records.values()]
    return {
        "name": values.get("title") or values.get("name") or source.root.absolute().name,
        "description": values.get("description", ""),
        "reference": values.get("citation") or values.get("homepage") or "",
        "licence": values.get("licence", ""),
        "release": str(values.get("version", "")),
        "tensorImageSize": "4D" if len(source.channels) > 1 else "3D",
        "modality": {str(number): name for number, name in enumerate(source.shown_channels)},
        "labels": {"0": "background", **{str(value): name for value, name in sorted(source.meta.labels.items())}},
        "numTraining": parts.count("Tr"),
        "numTest": parts.count("Ts"),
    }


def read_list(raw: Mapping[str, Any], root: Path) -> Description:
    """Read classes and channels of a list of files: those of the Decathlon, or what its first case shows.

    Raises
    ------
    KeyError
        When it lists no cases.
    TypeError, ValueError
        When a part of it is malformed.
    """
    entries = [entry for name in _LISTS for entry in raw.get(name) or ()]
    if not entries:
        raise KeyError("training")
    labels = raw.get("labels") or {}
    table = (
        {int(value): str(name) for value, name in labels.items()} if _is_by_value(labels) else label_table(labels)[0]
    )
    channels = numbered_names(raw.get("modality") or raw.get("channel_names") or {})
    first = max((_files(entry, "image") for entry in entries), key=len)
    if not channels or (len(first) > 1 and len(first) != len(channels)):
        endings = _parts_of(first)[1]
        channels = tuple(ending or IMAGE for ending in endings)
    about = {
        "name": raw.get("name") or root.name,
        "modality": modality_of(channels),
        "licence": raw.get("licence", raw.get("license", "")),
        "version": raw.get("release", raw.get("relase", "")),
        "citation": raw.get("reference", ""),
    }
    return Description(table, channels, {name: value for name, value in about.items() if value != ""})


def _is_by_value(labels: Mapping[str, Any]) -> bool:
    return all(str(key).lstrip("-").isdigit() for key in labels)


def _files(entry: Any, role: str) -> list[str]:
    """Return the files of an entry: a text, a list of texts, or an object with ``image`` and ``label``."""
    value = entry.get(role) if isinstance(entry, dict) else entry if role == "image" else None
    listed = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return [os.path.normpath(str(name)).replace(os.sep, "/") for name in listed]


def _parts_of(names: list[str]) -> tuple[str, list[str]]:
    """Return the case that files belong to, and what each file's name adds to it.

    Examples
    --------
    >>> _parts_of(["a/p_1_t1.nii.gz", "a/p_1_t2.nii.gz"]), _parts_of(["a/p_1.nii.gz"])
    (('p_1', ['t1', 't2']), ('p_1', ['']))
    """
    stems = [(split_extension(name.rsplit("/", 1)[-1]) or (name.rsplit("/", 1)[-1], ""))[0] for name in names]
    if len(stems) == 1:
        return stems[0], [""]
    count = next(
        (n for n, letters in enumerate(zip(*stems, strict=False)) if len({*letters}) > 1), min(map(len, stems))
    )
    common = stems[0][:count]
    case = common[: max(common.rfind(mark) for mark in _MARKS) + 1].rstrip(_MARKS)
    return case or common, [stem.removeprefix(case).lstrip(_MARKS) for stem in stems]


def listed(spec: DatasetSpec, root: Path, paths: list[str], raw: Mapping[str, Any]) -> Finding:
    """Find the cases that a list names; a file outside the folder fails its case."""
    del spec
    found: list[FoundCase | Unpaired] = []
    named: set[str] = set()
    there = set(paths)
    test_labels = {path for path in there if path.startswith("labelsTs/")}
    for name, split in _LISTS.items():
        for entry in raw.get(name) or ():
            images, labels = _files(entry, "image"), _files(entry, "label")
            if not images:
                raise LayoutError(f"{root}: an entry of {name!r} names no image: {str(entry)[:80]}")
            case_id = _parts_of(images)[0]
            if not labels:
                labels = [path for path in test_labels if _parts_of([path])[0] == case_id]
            facts = {"fold": entry["fold"]} if isinstance(entry, dict) and isinstance(entry.get("fold"), int) else {}
            named.update([*images, *labels])
            found.append(listed_case(root, there, case_id, images, labels, split=split, facts=facts))
    return _with_own_ids(finding_of(found, paths, named))


def _with_own_ids(finding: Finding) -> Finding:
    """Return the finding with ids of their own: cases of one name get the name of their split before it."""
    counts = Counter(case.case_id for case in finding.cases)
    return finding.with_cases(
        lambda case: replace(case, case_id=f"{case.split}_{case.case_id}") if counts[case.case_id] > 1 else case
    )


def find_msd(spec: DatasetSpec, source: Path, params: ConvertDatasetParams) -> Finding:
    """Find the cases of one task, or of all tasks in a folder."""
    del params
    return find_described(spec, source, read_list, listed)


def find_monai(spec: DatasetSpec, source: Path, params: ConvertDatasetParams) -> Finding:
    """Find the cases of a list of files: ``datalist.json``, ``dataset.json``, or the only JSON file with such a list.

    Raises
    ------
    LayoutError
        When there is no such file, or there are several.
    """
    del params
    names = [DATALIST, DATASET_META, *sorted(path.name for path in source.glob("*.json"))]
    lists = {name: raw for name in names if isinstance(raw := read_json(source / name), dict) and _lists_cases(raw)}
    own = [name for name in (DATALIST, DATASET_META) if name in lists] or list(lists)
    if not own:
        raise LayoutError(f"{source}: no JSON file in it lists cases (training, validation, test)")
    if own[0] not in (DATALIST, DATASET_META) and len(own) > 1:
        raise LayoutError(f"{source}: several lists of cases: {some(own)}; call the right one {DATALIST}")
    return find_described(spec, source, read_list, listed, name=own[0])


def _lists_cases(raw: Mapping[str, Any]) -> bool:
    return any(isinstance(raw.get(name), list) and raw[name] for name in _LISTS)


TO_MSD = Direction(plan_msd, export_case, collect_msd)
FROM_MSD = release(plain_spec("msd", "data in the Decathlon's layout", find_msd))
TO_MONAI = Direction(plan_monai, export_case, collect_monai)
FROM_MONAI = release(plain_spec("monai", "data listed for MONAI", find_monai))
