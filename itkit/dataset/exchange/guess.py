"""Propose patterns for `itk_collect` from the names in a folder; nothing is opened or changed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

from itkit.core.files import split_extension
from itkit.core.text import counted, some
from itkit.dataset.convert.find import walk_files
from itkit.dataset.exchange.patterns import ANY_FORMAT, PathPattern, sort_paths
from itkit.io.overlooked import advice

_LABEL_WORDS = {
    "seg", "segs", "segmentation", "segmentations", "label", "labels", "labelmap", "labelstr", "labelsts", "mask",
    "masks", "gt", "groundtruth", "ground", "truth", "annotation", "annotations", "manual", "roi", "contour", "organs",
}  # fmt: skip
"""Words of file and folder names that say that a file is a label."""
_WORD = re.compile(r"[A-Za-z]+|\d+")
_DICOM = (".dcm", ".dicom", ".ima")
_MARKS = "_-. "
_STAR = 100
"""Letters that a star counts for: where a name is enough, it is better."""
_MOST = 12
"""Shapes of names that are tried for images, and for labels; the commonest first."""


@dataclass(frozen=True)
class _File:
    """A volume file: its folder, and its name without and with extension."""

    folder: str
    stem: str
    ending: str


def guess(source: Path) -> list[str]:
    """Return the lines of a proposal: the command, how many cases it finds, and what fits no pattern.

    Parameters
    ----------
    source
        Any folder.
    """
    paths = list(walk_files(source))
    files = [_File(folder, *parts) for path in paths if (parts := _split(path)) for folder in [path.rpartition("/")[0]]]
    proposals = list(_proposals(files, paths))
    if len({file.ending for file in files}) > 1:
        proposals += _proposals([replace(file, ending=ANY_FORMAT) for file in files], paths)
    scored = [(_score(paths, patterns), patterns) for patterns in proposals]
    scored = [(score, patterns) for score, patterns in scored if score[1] > 0]
    if not scored:
        return [f"{source}: no pattern fits its {counted(paths, 'file')}: {some(paths, 4)}{advice(source)}"]
    best = max(scored, key=lambda item: item[0])[1]
    return _lines(source, paths, best)


def _split(path: str) -> tuple[str, str] | None:
    return split_extension(path.rsplit("/", 1)[-1])


def _proposals(files: Sequence[_File], paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield patterns of images and labels that may fit; an empty text stands for none."""
    folders = sorted({file.folder for file in files})
    depths = {_depth(folder) for folder in folders}
    for depth in sorted(depths - {0}):
        for level in range(depth):
            yield from _by_folder([file for file in files if _depth(file.folder) >= depth], level)
    yield from _by_name(files)
    dicom = sorted({path.rpartition("/")[0] for path in paths if path.lower().endswith(_DICOM) or "." not in path})
    for level in range(max((folder.count("/") + 1 for folder in dicom if folder), default=0)):
        shapes = Counter(_with_case(folder, level) for folder in dicom if folder.count("/") >= level)
        common = [shape for shape, _ in shapes.most_common(2)]
        yield from ((shape, label) for label in ["", *_labels_beside(files, level)] for shape in common)


def _labels_beside(files: Sequence[_File], level: int) -> list[str]:
    """Return the commonest shapes of labels in folders with the case at a level."""
    shapes: Counter[str] = Counter()
    for file in files:
        if _depth(file.folder) > level:
            name = file.stem.replace(file.folder.split("/")[level], "{case}") + file.ending
            shapes[f"{_with_case(file.folder, level)}/{name}"] += 1
    return [shape for shape, _ in shapes.most_common() if _is_label(shape)][:_MOST]


def _depth(folder: str) -> int:
    return folder.count("/") + 1 if folder else 0


def _with_case(folder: str, level: int) -> str:
    parts = folder.split("/")
    return "/".join([*parts[:level], "{case}", *parts[level + 1 :]])


def _by_folder(files: Sequence[_File], level: int) -> Iterator[tuple[str, str]]:
    """Yield patterns for trees with a folder for each case at a level."""
    shapes: dict[str, set[str]] = {}
    for file in files:
        parts = file.folder.split("/")
        if len(parts) <= level:
            continue
        case = parts[level]
        name = file.stem.replace(case, "{case}") + file.ending
        shapes.setdefault(f"{_with_case(file.folder, level)}/{name}", set()).add(case)
    cases = {case for own in shapes.values() for case in own}
    if any(case.lower() in _LABEL_WORDS for case in cases):  # a folder of labels is no case
        return
    common = [shape for shape, own in shapes.items() if len(own) > len(cases) / 2 and len(cases) > 1]
    if not common and len(cases) > 1:  # names that are different in every folder
        common = sorted({re.sub(r"[^/]*(?=\.[^/]*$)", "*", shape, count=1) for shape in shapes}, key=len)[:1]
    yield from _roles(common)


def _by_name(files: Sequence[_File]) -> Iterator[tuple[str, str]]:
    """Yield patterns for folders of files that are named after their cases."""
    shapes: Counter[str] = Counter()
    stems = {file.stem for file in files}
    for file in files:
        folder = f"{file.folder}/" if file.folder else ""
        shapes[f"{folder}{{case}}{file.ending}"] += 1
        numbered = re.fullmatch(r"([A-Za-z]+)\d+", file.stem)
        if numbered is not None:
            shapes[f"{folder}{numbered[1]}{{case}}{file.ending}"] += 1
        for mark in _MARKS:
            head, _, tail = file.stem.rpartition(mark)
            start, _, rest = file.stem.partition(mark)
            if rest and start.isalpha():
                shapes[f"{folder}{start}{mark}{{case}}{file.ending}"] += 1
            if not head or not tail or not _is_ending(tail, head, mark, stems):
                continue
            shapes[f"{folder}{{case}}{mark}{tail}{file.ending}"] += 1
    shapes.update(_in_any_folder(shapes))
    images, labels = _apart([shape for shape, _ in shapes.most_common()])
    by_folder: dict[str, list[str]] = {}
    for shape in images:
        if "{case}." not in shape:
            by_folder.setdefault(shape.rpartition("/")[0], []).append(shape)
    channels = [_with_channel(sorted(group)) for group in by_folder.values() if len(group) > 1]
    for label in [*labels[:_MOST], ""]:
        yield from ((image, label) for image in (*channels[:_MOST], *images[:_MOST]))


def _in_any_folder(shapes: Counter[str]) -> Counter[str]:
    """Return the shapes of names that stand in several folders, with ``*`` for the first folder that differs."""
    found: Counter[str] = Counter()
    folders: dict[str, set[str]] = {}
    for shape, count in shapes.items():
        first, slash, rest = shape.partition("/")
        if slash:
            found[f"*/{rest}"] += count
            folders.setdefault(f"*/{rest}", set()).add(first)
    return Counter({shape: count for shape, count in found.items() if len(folders[shape]) > 1})


def _is_ending(tail: str, head: str, mark: str, stems: set[str]) -> bool:
    """Whether the end of a name is a mark that other cases have, too, and not the number of the case."""
    if re.fullmatch(r"\d{4}", tail):
        return head in stems or f"{head}{mark}0001" in stems or tail == "0000"
    return not tail.isdigit()


def _apart(shapes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the shapes of images and those of labels."""
    labels = [shape for shape in shapes if _is_label(shape)]
    return [shape for shape in shapes if shape not in labels], labels


def _is_label(shape: str) -> bool:
    words = {word.lower() for word in _WORD.findall(shape.replace("{case}", " "))}
    return bool(words & _LABEL_WORDS)


def _roles(shapes: Sequence[str]) -> Iterator[tuple[str, str]]:
    images, labels = _apart(shapes)
    if not images:
        return
    image = images[0] if len(images) == 1 else _with_channel(images)
    if len(labels) > 1:
        yield image, _with_channel(labels).replace("{channel}", "{part}")
    yield from ((image, label) for label in labels[:1])
    yield image, ""


def _with_channel(shapes: Sequence[str]) -> str:
    """Return the pattern of shapes that differ in one piece of their names."""
    first, last = min(shapes), max(shapes)
    start = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    folder, _, head = first[:start].rpartition("/")
    cut = max((head.rfind(mark) for mark in "_-}"), default=-1) + 1
    head = head[:cut] if cut else ""
    ending = ANY_FORMAT if first.endswith(ANY_FORMAT) else (_split(first) or ("", ""))[1]
    return f"{folder}/{head}{{channel}}{ending}" if folder else f"{head}{{channel}}{ending}"


def _score(paths: Sequence[str], patterns: tuple[str, str]) -> tuple[bool, int, int, int]:
    """Return how good patterns are: whether labels have images, then how many cases, files that fit, few fixed letters.

    Without a label, the files that fit come before the cases.
    """
    try:
        parsed = _parsed(patterns)
    except ValueError:
        return (False, 0, 0, 0)
    found, _, unclear = sort_paths(paths, parsed)
    by_role = {role: [one for one in found if one.pattern.role == role] for role in ("image", "label", "part")}
    images = Counter((one.values["case"], one.values.get("channel")) for one in by_role["image"])
    labels = Counter((one.values["case"], one.values.get("part")) for one in [*by_role["label"], *by_role["part"]])
    doubled = any(count > 1 for count in (*images.values(), *labels.values()))
    if unclear or doubled or not images:
        return (False, 0, 0, 0)
    image_cases, label_cases = {case for case, _ in images}, {case for case, _ in labels}
    lone = len(label_cases - image_cases) + (len(image_cases - label_cases) if label_cases else 0)
    pairs = len(image_cases & label_cases)
    letters = sum(pattern.weight + _STAR * pattern.text.count("*") for pattern in parsed)
    fit = len(found)  # a folder of DICOM files counts once, like a volume file
    if not pairs:
        return False, fit, max(1, len(image_cases) - lone), -letters
    return True, max(1, 2 * pairs + len(image_cases) - lone), fit, -letters


def _parsed(patterns: tuple[str, str]) -> list[PathPattern]:
    image, label = patterns
    found = [PathPattern.parse(image, "image")]
    if label:
        found.append(PathPattern.parse(label, "part" if "{part}" in label else "label"))
    return found


def _lines(source: Path, paths: Sequence[str], patterns: tuple[str, str]) -> list[str]:
    image, label = patterns
    found, rest, _ = sort_paths(paths, _parsed(patterns))
    images = [one for one in found if one.pattern.role == "image"]
    labels = [one for one in found if one.pattern.role != "image"]
    cases, labelled = {one.values["case"] for one in images}, {one.values["case"] for one in labels}
    words = [f"itk_collect {quote(str(source))} DEST --image {quote(image)}"]
    words += [f"--label {quote(label)}"] if label else []
    lines = [" ".join(words)]
    channels = sorted({one.values["channel"] for one in images if "channel" in one.values})
    parts = sorted({one.values["part"] for one in labels if "part" in one.values})
    lines.append(f"{counted(len(cases), 'case')}: {some(sorted(cases), 4)}")
    if channels:
        lines.append(f"{counted(channels, 'channel')}: {some(channels)}")
    if parts:
        lines.append(f"{counted(parts, 'class').replace('classs', 'classes')}: {some(parts)}")
    if label:
        lines.append(f"{counted(len(cases & labelled), 'case')} with label")
    lone = sorted(cases ^ labelled) if label else []
    if lone:
        lines.append(f"{counted(lone, 'case')} without image or without label: {some(lone)}")
    if rest:
        lines.append(f"{counted(rest, 'file')} {'fits' if len(rest) == 1 else 'fit'} no pattern: {some(rest)}")
    return lines
