"""Group the files of a release into cases by their names; list files without a partner and files left out."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from itkit.core.bounded import NotRegular, open_regular
from itkit.core.errors import LayoutError, ParamsError
from itkit.core.files import split_extension
from itkit.core.operation import Unpaired
from itkit.core.text import counted, key_of, some
from itkit.dataset.convert.spec import DatasetSpec, Finding, FoundCase, Pattern, Skipped
from itkit.io.layouts import channels_missing
from itkit.io.overlooked import look_like_pairs, note_of_pairs
from itkit.io.walk import is_folder
from itkit.process.common import stamp_of

if TYPE_CHECKING:
    from itkit.dataset.convert.params import ConvertDatasetParams


_BLOCK = 1 << 20
_COPY_OF_A_BROWSER = re.compile(r"(.*?)(?: \(\d{1,3}\)| - Copy| copy)((?:\.[A-Za-z0-9]+)+)")


@dataclass
class _Files:
    """The files of one case."""

    pattern: Pattern
    groups: Mapping[str, str]
    images: dict[str, Path] = field(default_factory=dict)
    labels: dict[str, Path] = field(default_factory=dict)
    parts: dict[str, Path] = field(default_factory=dict)
    split: str = ""
    problem: str = ""


def walk_files(folder: Path) -> Iterator[str]:
    """Yield the relative POSIX path of every file, sorted folder by folder; names that start with a dot are ignored.

    Raises
    ------
    LayoutError
        When a folder can't be listed.
    """
    pending, seen = [""], {os.path.realpath(folder)}
    while pending:
        prefix = pending.pop()
        try:
            entries = sorted(os.scandir(folder / prefix), key=lambda entry: entry.name)
        except OSError as error:
            raise LayoutError(f"{folder / prefix}: can't be listed ({error.strerror})") from error
        below = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not is_folder(entry):
                yield f"{prefix}{entry.name}"
            elif (real := os.path.realpath(entry.path)) not in seen:
                seen.add(real)
                below.append(f"{prefix}{entry.name}/")
        pending += reversed(below)


def find_by_patterns(spec: DatasetSpec, source: Path, params: ConvertDatasetParams) -> Finding:
    """Group the files that a spec's patterns match into cases.

    Raises
    ------
    LayoutError
        When a folder can't be listed.
    """
    del params
    return cases_of(spec, source, walk_files(source))


def cases_of(spec: DatasetSpec, source: Path, paths: Iterable[str]) -> Finding:
    """Group files, given as relative paths, into cases; see `find_by_patterns`."""
    compiled = [(pattern, re.compile(pattern.regex)) for pattern in spec.patterns]
    paths, copies = _without_copies(list(paths))
    strange: list[str] = []
    alike: list[str] = []
    gathered: dict[tuple[str, str], _Files] = {}
    ignored: dict[str, list[str]] = {}
    notes: list[str] = []
    corrected: dict[tuple[str, str], str] = {}
    for path in paths:
        found = next(((p, m) for p, regex in compiled if (m := regex.fullmatch(path)) is not None), None)
        if found is None:
            strange += [path] if split_extension(path.rsplit("/", 1)[-1]) is not None else []
            continue
        pattern, match = found
        groups = {name: value or "" for name, value in match.groupdict().items()}
        if pattern.role == "ignored":
            ignored.setdefault(pattern.why, []).append(path)
            continue
        case_id = pattern.case.format(**groups)
        key = (groups.get("group", ""), case_id)
        files = gathered.setdefault(key, _Files(pattern, groups))
        if pattern.role == "image":
            files.pattern, files.groups = pattern, groups
            files.split = spec.splits.get(groups.get("split", ""), pattern.split)
            table, name = files.images, groups.get("channel", "")
        elif pattern.role == "part":
            table, name = files.parts, groups["part"]
        else:
            if pattern.role == "correction":
                corrected[key] = pattern.why
            table, name = files.labels, pattern.role
        if name not in table:
            table[name] = source / path
        elif same_content(table[name], source / path):
            alike.append(f"{path} of {case_id}")
        else:
            files.problem = files.problem or (
                f"{case_id} is there twice, and the two differ: {table[name]} and {source / path}; keep one of them"
            )
    cases, unpaired = _assemble(spec, gathered)
    if copies:
        notes.append(f"left out: {counted(copies, 'file')} that a browser saved twice: {some(copies)}")
    if alike:
        notes.append(f"used once: {counted(alike, 'file')} there twice with the same content: {some(alike)}")
    if strange and gathered:
        notes.append(f"no part of the release, left out: {counted(strange, 'volume')}: {some(strange, 4)}")
    if corrected:
        names = [name for _, name in sorted(corrected)]
        notes.append(
            f"{len(names)} labels were replaced by corrections ({next(iter(corrected.values()))}): {some(names)}"
        )
    unlabelled = [case.case_id for case in cases if not case.has_label]
    if unlabelled and len(unlabelled) < len(cases):
        notes.append(f"{counted(unlabelled, 'case')} without label, image only: {some(unlabelled)}")
    orphans = {item.case_id: item.path for item in unpaired if item.lacks == "image"}
    notes += note_of_pairs(look_like_pairs(dict.fromkeys(unlabelled, source), orphans), one_folder=False)
    skipped = [Skipped(names[0], why, len(names)) for why, names in ignored.items()]
    notes += [f"left out ({item.why}): {counted(item.count, 'file')}, the first is {item.path}" for item in skipped]
    return Finding(tuple(cases), tuple(unpaired), tuple(skipped), tuple(notes))


def _without_copies(paths: list[str]) -> tuple[list[str], list[str]]:
    """Return the paths without copies made by a browser or file manager, and the copies."""
    there = set(paths)
    copies = [path for path in paths if (match := _COPY_OF_A_BROWSER.fullmatch(path)) and match[1] + match[2] in there]
    return [path for path in paths if path not in set(copies)], copies


def same_content(a: Path, b: Path) -> bool:
    """Return whether two files have the same content; gzip files are compared unpacked."""

    def opened(path: Path, files: ExitStack) -> IO[bytes]:
        file = files.enter_context(open_regular(path))
        is_packed = path.name.lower().endswith(".gz")
        return cast("IO[bytes]", files.enter_context(gzip.open(file))) if is_packed else file

    try:
        with ExitStack() as files:
            left, right = opened(a, files), opened(b, files)
            while True:
                one, other = left.read(_BLOCK), right.read(_BLOCK)
                if one != other or not one:
                    return one == other
    except (OSError, NotRegular, EOFError, zlib.error):  # unreadable files do not count as the same
        return False


def looked_for(spec: DatasetSpec) -> str:
    """Return an example of a release's file names for each role, for messages."""
    examples = {pattern.role: pattern.example for pattern in reversed(spec.patterns) if pattern.role != "ignored"}
    return ", ".join(f"{role} {example}" for role, example in sorted(examples.items()))


def _assemble(spec: DatasetSpec, gathered: Mapping[tuple[str, str], _Files]) -> tuple[list[FoundCase], list[Unpaired]]:
    values = {key_of(name): value for value, name in spec.labels.items()}
    cases: list[FoundCase] = []
    unpaired: list[Unpaired] = []
    for (group, case_id), files in sorted(gathered.items()):
        label = files.labels.get("correction", files.labels.get("label"))
        if not files.images:
            orphan = label or next(iter(files.parts.values()))
            unpaired.append(Unpaired(case_id, orphan, "image"))
            continue
        wanted = spec.channels if len(spec.channels) > 1 else tuple(files.images)[:1]
        present = [name for name in wanted if name in files.images]
        problem = files.problem
        if len(present) < len(wanted) and "" not in files.images:
            missing = [name for name in wanted if name not in present]
            problem = problem or channels_missing(missing, beside=next(iter(files.images.values())))
        parts = sorted((values[key_of(name)], path) for name, path in files.parts.items() if key_of(name) in values)
        strange = sorted(name for name in files.parts if key_of(name) not in values)
        warnings = [f"no class of this name is known, left out: {some(strange)}"] if strange else []
        if "correction" in files.labels:
            warnings.append(f"label replaced by the correction {files.labels['correction'].name} ({_why(spec)})")
        cases.append(
            FoundCase(
                case_id,
                tuple(files.images.values()) if "" in files.images else tuple(files.images[name] for name in present),
                label,
                tuple(parts),
                split=files.split,
                patient=files.groups.get("patient", ""),
                group=group,
                warnings=tuple(warnings),
                problem=problem,
                stamp=stamp_of([path for _, path in parts]) if parts else "",
            )
        )
    return cases, unpaired


def _why(spec: DatasetSpec) -> str:
    """Return the reason that the spec states for its corrections."""
    return next((pattern.why for pattern in spec.patterns if pattern.role == "correction"), "")


def choose_variant(spec: DatasetSpec, source: Path, variant: str) -> DatasetSpec:
    """Return the release of a family that the files belong to.

    A release fits if it has images and knows every class that the files name. If several fit, the one whose classes all
    occur is chosen.

    Raises
    ------
    ParamsError
        When ``variant`` is not the name of a release in the family.
    LayoutError
        When no release fits, or several do.
    """
    family = {one.name: one for one in spec.variants} or {spec.name: spec}
    if variant != "auto":
        names = {**{name.removeprefix(f"{spec.name}_"): one for name, one in family.items()}, **family}
        if variant not in names:
            raise ParamsError(f"--variant: expected auto or one of {', '.join(sorted(names))}; got {variant!r}")
        return names[variant]
    if len(family) == 1:
        return next(iter(family.values()))
    paths, _ = _without_copies(list(walk_files(source)))
    fits = {name: share for name, one in family.items() if (share := _share(one, paths)) > 0}
    best = [name for name, share in fits.items() if share == 1] if len(fits) > 1 else list(fits)
    if len(best) != 1:
        known = "; ".join(f"{name}: {looked_for(one)}" for name, one in family.items())
        found = f"it could be {', '.join(fits)}" if fits else f"no known release has these files (looked for {known})"
        raise LayoutError(f"{source}: can't tell which release of {spec.title} this is: {found}; give --variant")
    return family[best[0]]


def _share(spec: DatasetSpec, paths: Iterable[str]) -> float:
    """Return the fraction of a release's classes that occur; 0 if it does not fit, 1 if files name no classes."""
    images = [re.compile(pattern.regex) for pattern in spec.patterns if pattern.role == "image"]
    parts = [re.compile(pattern.regex) for pattern in spec.patterns if pattern.role == "part"]
    has_image = False
    named: set[str] = set()
    for path in paths:
        has_image = has_image or any(regex.fullmatch(path) for regex in images)
        named |= {key_of(match["part"]) for regex in parts if (match := regex.fullmatch(path)) is not None}
    known = {key_of(name) for value, name in spec.labels.items() if value}
    if not has_image or not named <= known:
        return 0.0
    return len(named) / len(known) if parts else 1.0


def selected(finding: Finding, params: ConvertDatasetParams) -> Finding:
    """Keep the cases that ``--only`` and ``--require-label`` select, and name those that the latter leaves out."""
    cases = list(finding.cases)
    if params.only:
        cases = [case for case in cases if any(fnmatchcase(case.case_id, pattern) for pattern in params.only)]
    notes = list(finding.notes)
    if params.require_label:
        without = [case.case_id for case in cases if not case.has_label]
        cases = [case for case in cases if case.has_label]
        if without:
            notes.append(f"left out: {counted(without, 'case')} without label: {some(without)}")
    return replace(finding, cases=tuple(cases), notes=tuple(notes))
