"""Find the cases of releases with a ``dataset.json`` (the Decathlon's tasks, nnU-Net's raw data), one or several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from itkit.core.errors import LayoutError
from itkit.core.files import DATASET_META
from itkit.core.text import counted, some
from itkit.dataset.convert.find import cases_of, walk_files
from itkit.dataset.convert.spec import DatasetSpec, Finding, FoundCase
from itkit.io.json_files import read_json
from itkit.io.layouts import IMAGE


@dataclass(frozen=True)
class Description:
    """The parts of a release's ``dataset.json`` that the converter uses.

    Parameters
    ----------
    labels
        Name of each label value.
    channels
        Names of the channels, in order.
    about
        Fields to copy to the converted dataset's ``dataset.json``.
    listed
        Files that it lists, relative to its folder.
    """

    labels: Mapping[int, str]
    channels: tuple[str, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    listed: tuple[str, ...] = ()


Reader = Callable[[Mapping[str, Any], Path], Description]
Assembler = Callable[[DatasetSpec, Path, list[str], Mapping[str, Any]], Finding]


def described_roots(source: Path, name: str = DATASET_META) -> dict[str, list[str]]:
    """Return each folder that contains a ``dataset.json`` (``""`` for the source itself), with the files below it.

    ``name`` is the name of this file, if it has another one.

    Raises
    ------
    LayoutError
        When there is no such folder.
    """
    paths = list(walk_files(source))
    roots = sorted(path[: -len(name)] for path in paths if f"/{path}".endswith(f"/{name}"))
    if not roots:
        raise LayoutError(f"{source}: no {name} in it or below; give a folder of the release as unpacked")
    if "" in roots:
        return {"": paths}
    return {root: [path.removeprefix(root) for path in paths if path.startswith(root)] for root in roots}


def find_described(
    spec: DatasetSpec, source: Path, read: Reader, assemble: Assembler | None = None, *, name: str = DATASET_META
) -> Finding:
    """Find the cases of all folders with a ``dataset.json``; several become sub-datasets named after their folders.

    Raises
    ------
    LayoutError
        When a ``dataset.json`` is broken or missing.
    """
    roots = described_roots(source, name)
    findings = []
    for root, paths in roots.items():
        group = root.rstrip("/").rsplit("/", 1)[-1] if len(roots) > 1 else ""
        findings.append(_find_one(spec, source / root / name, group, paths, read, assemble or _by_patterns))
    return Finding(
        tuple(case for finding in findings for case in finding.cases),
        tuple(item for finding in findings for item in finding.unpaired),
        tuple(item for finding in findings for item in finding.skipped),
        tuple(note for finding in findings for note in finding.notes),
        {name: about for finding in findings for name, about in finding.about.items()},
    )


def _by_patterns(spec: DatasetSpec, root: Path, paths: list[str], raw: Mapping[str, Any]) -> Finding:
    del raw
    return cases_of(spec, root, paths)


def _find_one(
    spec: DatasetSpec, path: Path, group: str, paths: list[str], read: Reader, assemble: Assembler
) -> Finding:
    root, raw = path.parent, read_json(path)
    if not isinstance(raw, dict):
        raise LayoutError(f"{path}: expected a JSON object")
    try:
        found = read(raw, root)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LayoutError(f"{path}: not understood ({type(error).__name__}: {error})") from error
    own = replace(spec, labels=found.labels, channels=found.channels)
    finding = assemble(own, root, paths, raw)
    there = set(paths)
    missing = [name for name in found.listed if name not in there]
    where = f"{group}: " if group else ""
    notes = [f"{where}{note}" for note in finding.notes]
    if missing:
        notes.append(f"{where}{path.name} lists {counted(missing, 'file')} that are not there: {some(missing)}")
    if not any(found.labels):
        notes.append(
            f"{where}{path.name} names no class: label values are kept without a name; itk_describe gives names"
        )
    about = {"labels": found.labels, "channels": list(found.channels), **found.about}

    def one(case: FoundCase) -> FoundCase:
        return replace(case, group=group, labels=found.labels, channels=found.channels)

    return replace(finding.with_cases(one), notes=tuple(notes), about={group: about})


def modality_of(channels: tuple[str, ...]) -> list[str]:
    """Return the modality, CT or MR, that the names of the channels indicate; nothing if they indicate none.

    Examples
    --------
    >>> modality_of(("FLAIR", "T1w")), modality_of(("CT",)), modality_of(("image",))
    (['MR'], ['CT'], [])
    """
    if channels in ((), (IMAGE,)):
        return []
    return ["CT"] if all(name.upper() == "CT" for name in channels) else ["MR"]


def numbered_names(table: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names in ``{"0": name, "1": name}``, in order of the numbers.

    Raises
    ------
    ValueError
        When a key is not a number.
    """
    return tuple(str(name) for _, name in sorted((int(number), name) for number, name in table.items()))


def listed_files(entries: Any) -> Iterator[str]:
    """Yield the files of a Decathlon list: texts, or mappings with ``image`` and ``label``."""
    for entry in entries if isinstance(entries, list) else ():
        for path in entry.values() if isinstance(entry, dict) else (entry,):
            yield str(path).removeprefix("./")
