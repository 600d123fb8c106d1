"""``itk_convert bids``: a dataset as BIDS raw data with the labels as derivatives; and back.

Sources: the Brain Imaging Data Structure, https://bids-specification.readthedocs.io (entities, ``dataset_description``,
derivatives ``_dseg`` with a table of labels), and BIDS extension proposal 24 for CT. BIDS itself has no names for CT,
nor for MR contrasts that it does not list: such files keep the form of its names, and ``.bidsignore`` lists them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from itkit.core.errors import LayoutError
from itkit.core.files import SERIES_META, split_extension
from itkit.core.operation import Collected, Plan, Report, Target, Unpaired
from itkit.core.text import some
from itkit.core.thumbnail import class_colour
from itkit.core.version import VERSION
from itkit.dataset.convert.described import modality_of
from itkit.dataset.convert.enrich import read_table
from itkit.dataset.convert.find import walk_files
from itkit.dataset.convert.params import ConvertDatasetParams
from itkit.dataset.convert.spec import DatasetSpec, Finding, FoundCase
from itkit.dataset.exchange.direction import Direction
from itkit.dataset.exchange.params import ConvertParams
from itkit.dataset.exchange.release import finding_of, listed_case, plain_spec, release
from itkit.dataset.exchange.source import Source, SourceCase, export_case, export_plan, read_source
from itkit.io.json_files import read_json
from itkit.io.layouts import IMAGE

DESCRIPTION = "dataset_description.json"
_BIDS = "1.10.0"
_DERIVED = "derivatives/itkit"
_DESC = "desc-itkit"
_CHANNELS = "Channels"
"""Key of the description, beside those of BIDS, that lists the endings of the channels in their order."""
_NAMES = "ChannelNames"
"""Key that lists what the dataset calls these channels."""
_CREDITS = {"licence": "License", "citation": "HowToAcknowledge"}
"""Keys of the description for what ``dataset.json`` says of whose data these are."""
_KNOWN = {
    "T1w": ("t1", "t1w", "t1n", "t1wi", "t1weighted"),
    "ce-gadolinium_T1w": ("t1c", "t1ce", "t1gd", "t1post", "t1contrast", "t1wce"),
    "T2w": ("t2", "t2w", "t2wi", "t2weighted"),
    "FLAIR": ("flair", "t2f", "t2flair", "fla"),
    "PDw": ("pd", "pdw"),
    "T2starw": ("t2star", "t2starw", "t2s"),
    "angio": ("angio", "tof", "mra"),
}
"""Names of channels for each contrast of BIDS."""
_SUFFIXES = {name: suffix for suffix, names in _KNOWN.items() for name in names}
_RAW = re.compile(
    r"(?P<sub>sub-[A-Za-z0-9]+)/(?:(?P<ses>ses-[A-Za-z0-9]+)/)?(?:anat|ct|pet)/(?P=sub)_(?:(?P=ses)_)?(?P<channel>.+)"
)
_SEGMENTED = re.compile(
    r"derivatives/(?P<pipeline>[^/]+)/(?P<sub>sub-[A-Za-z0-9]+)/(?:(?P<ses>ses-[A-Za-z0-9]+)/)?(?:\w+/)?"
    r"(?P=sub)_(?:(?P=ses)_)?(?P<rest>.*)dseg"
)


class _Name(NamedTuple):
    """Folder and last part of the file names of a channel, and whether BIDS knows them."""

    folder: str
    ending: str
    is_known: bool


def plan_bids(params: ConvertParams) -> Plan:
    """List the cases: each becomes a subject.

    Raises
    ------
    LayoutError
        When the source is not a dataset.
    """
    source = read_source(params.source)
    names = names_of(source.shown_channels, source.modality)
    strange = [name for name, own in zip(source.shown_channels, names, strict=True) if not own.is_known]
    note = f"BIDS has no name for {some(strange)}: these images keep the form of its names, .bidsignore lists them"
    return export_plan(
        source,
        params,
        partial(_place, params, names),
        out_id=lambda case: subject_of(case.case_id),
        notes=(note,) if strange else (),
    )


def subject_of(case_id: str) -> str:
    """Return the subject of a case.

    Examples
    --------
    >>> subject_of("site_1/case-07")
    'sub-site1case07'
    """
    return "sub-" + (re.sub(r"[^A-Za-z0-9]", "", case_id) or "0")


def names_of(channels: Sequence[str], modality: Sequence[str]) -> list[_Name]:
    """Return how the files of each channel are called.

    Examples
    --------
    >>> [name.ending for name in names_of(("t1", "T1ce", "adc"), ("MR",))]
    ['T1w', 'ce-gadolinium_T1w', 'adc']
    """
    found = [_name_of(channel, modality) for channel in channels]
    counts = Counter(name.ending for name in found)
    return [
        name if counts[name.ending] == 1 else name._replace(ending=f"acq-{_alphanumeric(channel)}_{name.ending}")
        for channel, name in zip(channels, found, strict=True)
    ]


def _name_of(channel: str, modality: Sequence[str]) -> _Name:
    key = _alphanumeric(channel).lower()
    kinds = {one.upper() for one in modality}
    if key in _SUFFIXES:
        return _Name("anat", _SUFFIXES[key], is_known=True)
    if key in ("pet", "pt"):
        return _Name("pet", "pet", is_known=True)
    if key in ("ct", "cta") or (kinds == {"CT"} and key == IMAGE):
        return _Name("ct", "ct", is_known=False)
    return _Name("anat", _alphanumeric(channel) or IMAGE, is_known=False)


def _alphanumeric(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", name)


def _place(params: ConvertParams, names: list[_Name], case: SourceCase, channel: int | None) -> Target:
    subject = subject_of(case.case_id)
    if channel is None:
        return Target(params.dest / _DERIVED / subject / names[0].folder, f"_{_DESC}_dseg{params.ext}", "label")
    name = names[channel]
    return Target(params.dest / subject / name.folder, f"_{name.ending}{params.ext}", "image")


def collect_bids(params: ConvertParams, run: Collected) -> Report:
    """Return the descriptions of data and derivatives, the table of subjects and the table of labels."""
    del params
    source: Source = run.plan.details
    values = source.meta.values
    name = values.get("title") or values.get("name") or source.root.absolute().name
    channels = names_of(source.shown_channels, source.modality)
    endings = [one.ending for one in channels]
    made = {"GeneratedBy": [{"Name": "ITKIT", "Version": VERSION}]}
    raw = {
        "Name": name,
        "BIDSVersion": _BIDS,
        "DatasetType": "raw",
        _CHANNELS: endings,
        _NAMES: list(source.channels),
        **{key: values[name] for name, key in _CREDITS.items() if values.get(name)},
        **made,
    }
    derived = {"Name": f"{name}: labels", "BIDSVersion": _BIDS, "DatasetType": "derivative", **made}
    subjects = [(record.facts["id"], case, record.facts["split"]) for case, record in run.all_records.items()]
    columns = {
        "case": {"Description": "Name of the case in the dataset that this one was made of"},
        "split": {"Description": "Part of the dataset that the case belongs to, e.g. train, val or test"},
    }
    labels = {value: text for value, text in sorted(source.meta.labels.items()) if value}
    unknown = [one for one in channels if not one.is_known]
    ignored = [".itkit/", SERIES_META, *dict.fromkeys(_ignored(one) for one in unknown)]
    files: dict[Path, Any] = {
        Path(DESCRIPTION): raw,
        Path("README"): f"{name}\n\n{values.get('citation', '')}\n\nMade by itk_convert bids (ITKIT {VERSION}).\n",
        Path("participants.tsv"): _tsv([("participant_id", "case", "split"), *sorted(subjects)]),
        Path("participants.json"): columns,
        Path(".bidsignore"): "\n".join(ignored) + "\n",
    }
    if any(record.facts["has_label"] for record in run.all_records.values()):
        rows = [(value, text, "#{:02x}{:02x}{:02x}".format(*class_colour(value))) for value, text in labels.items()]
        files[Path(_DERIVED) / DESCRIPTION] = derived
        files[Path(_DERIVED) / f"{_DESC}_dseg.tsv"] = _tsv([("index", "name", "color"), *rows])
    return Report(files=files)


def _ignored(name: _Name) -> str:
    """Return the pattern of the files, or the folders, of a channel that BIDS does not know."""
    return f"**/*_{name.ending}.nii*" if name.folder == "anat" else f"**/{name.folder}"


def _tsv(rows: Sequence[Sequence[object]]) -> str:
    """Return rows as a table with tabs; ``n/a`` stands for an empty cell, as BIDS wants it."""
    return "".join("\t".join(re.sub(r"\s+", " ", str(cell)) or "n/a" for cell in row) + "\n" for row in rows)


def find(spec: DatasetSpec, source: Path, params: ConvertDatasetParams) -> Finding:
    """Find the subjects (and sessions) with anatomical images, CT or PET, and their segmentations.

    Raises
    ------
    LayoutError
        When there is no such subject.
    """
    del spec, params
    paths = list(walk_files(source))
    images: dict[str, dict[str, str]] = {}
    labels: dict[str, list[str]] = {}
    for path in paths:
        stem = split_extension(path)
        raw, segmented = (pattern.fullmatch(stem[0]) if stem else None for pattern in (_RAW, _SEGMENTED))
        if raw is not None:
            images.setdefault(_case_of(raw), {})[raw["channel"]] = path
        elif segmented is not None:
            labels.setdefault(_case_of(segmented), []).append(path)
    if not images:
        raise LayoutError(f"{source}: no subject with images in anat/, ct/ or pet/ (sub-01/anat/sub-01_T1w.nii.gz)")
    description = read_json(source / DESCRIPTION)
    channels = _in_order(dict.fromkeys(name for files in images.values() for name in files), description)
    tables = {path for path in paths if path.endswith("_dseg.tsv")}
    names = {path: _labels_of(source, path, tables) for listed in labels.values() for path in listed}
    common = next(iter(names.values()), {0: "background"})
    listed = _participants(source)
    found = [
        *_cases(source, set(paths), images, labels, channels, names, listed),
        *(Unpaired(case, source / own[0], IMAGE) for case, own in labels.items() if case not in images),
    ]
    named = {path for files in images.values() for path in files.values()} | names.keys()
    finding = finding_of(found, paths, named)
    stated = description if isinstance(description, Mapping) else {}
    shown = _named(channels, stated)
    shown = (IMAGE,) if shown == ("ct",) else shown
    told = {name: stated[key] for name, key in _CREDITS.items() if stated.get(key) and isinstance(stated[key], str)}
    about = {
        "name": stated.get("Name", source.absolute().name),
        "modality": ["CT"] if channels == ("ct",) else modality_of(channels),
        "labels": common,
        "channels": list(shown),
        **told,
    }
    return replace(finding.with_cases(lambda case: replace(case, channels=shown)), about={"": about})


def _named(channels: tuple[str, ...], stated: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a description calls channels; their endings, if it does not name each of them."""
    stated_names = stated.get(_NAMES)
    names = tuple(map(str, stated_names)) if isinstance(stated_names, list) else ()
    fits = stated.get(_CHANNELS) == list(channels) and len({*names}) == len(names) == len(channels)
    return names if fits else channels


def _in_order(channels: Iterable[str], description: Any) -> tuple[str, ...]:
    """Return channels in the order that a description states; others follow."""
    stated = description.get(_CHANNELS) if isinstance(description, Mapping) else None
    order = stated if isinstance(stated, list) else []
    return tuple(sorted(channels, key=lambda name: order.index(name) if name in order else len(order)))


def _case_of(match: re.Match[str]) -> str:
    return match["sub"] + (f"_{match['ses']}" if match["ses"] else "")


def _participants(source: Path) -> Mapping[str, Mapping[str, str]]:
    """Return the rows of ``participants.tsv`` by subject."""
    path = source / "participants.tsv"
    rows = read_table(path, delimiter="\t") if path.is_file() else ()
    return {row.get("participant_id", ""): {k: v for k, v in row.items() if v != "n/a"} for row in rows}


def _labels_of(source: Path, path: str, tables: set[str]) -> dict[int, str]:
    """Return the names of a segmentation's values: from the table beside it, or one above it with the same entities."""
    stem = (split_extension(path) or (path, ""))[0]
    folder, _, name = stem.rpartition("/")
    entities = set(name.split("_"))
    fitting = [
        table
        for table in tables
        if f"{folder}/".startswith(table.rpartition("/")[0])
        and set(table.rpartition("/")[2].removesuffix(".tsv").split("_")) <= entities
    ]
    found: dict[int, str] = {0: "background"}
    for row in read_table(source / max(fitting, key=len), delimiter="\t") if fitting else ():
        if re.fullmatch(r"-?\d{1,18}", row.get("index", "")) and row.get("name"):
            found[int(row["index"])] = row["name"]
    return found


def _cases(
    source: Path,
    there: set[str],
    images: Mapping[str, Mapping[str, str]],
    labels: Mapping[str, list[str]],
    channels: Sequence[str],
    names: Mapping[str, dict[int, str]],
    listed: Mapping[str, Mapping[str, str]],
) -> Iterator[FoundCase | Unpaired]:
    known = Counter(row.get("case", "") for row in listed.values())
    for case, files in sorted(images.items()):
        row = listed.get(case.partition("_")[0], {})
        own = row.get("case", "")
        lacking = [name for name in channels if name not in files]
        label = labels.get(case, [])
        yield listed_case(
            source,
            there,
            own if own and known[own] == 1 and "_ses-" not in case else case,
            [files[name] for name in channels if name in files],
            label,
            problem=f"{case} has no image {some(lacking)}, as other subjects have" if lacking else "",
            split=row.get("split", ""),
            patient=case.partition("_")[0],
            labels=names[label[0]] if label else None,
        )


TO = Direction(plan_bids, export_case, collect_bids)
FROM = release(plain_spec("bids", "data in the Brain Imaging Data Structure", find))
