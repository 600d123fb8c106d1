"""Find files that no command would read: other formats, volumes in other folders, pairs whose names differ."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from itkit.core.files import IMAGE_LIKE, VOLUME_EXTENSIONS, image_like, split_extension
from itkit.core.text import counted, some
from itkit.io.walk import is_folder, walk

_MOST_LOOKED_AT = 100_000
_DETACHED = (".mhd", ".nhdr")
_IN_ONE_FILE = tuple({*VOLUME_EXTENSIONS} - {*_DETACHED})
_MARKS = re.compile(r"(?i)(?:[_.-](?:0000|seg|segmentation|label|labels|mask|gt|msk|lbl|annotation|image|img|ct|mr))+$")
_LABEL_MARKS = re.compile(r"(?i)[_.-](?:seg|segmentation|label|labels|mask|gt|msk|lbl|annotation)$")
LABEL_FOLDERS = ("label", "labels", "masks", "mask", "seg", "segs", "segmentations", "annotations", "labelstr")
_IMAGES = ("images", "img", "imgs", "volumes", "scans", "imagestr")
_LABELS = LABEL_FOLDERS[1:]
_COLLECT = "itk_collect can sort them (itk_collect FOLDER DEST --guess proposes how)"
_NNUNET = re.compile(r"Dataset\d{3}_.+")


def not_read(folder: Path, read: Collection[Path] = (), *, recursive: bool = False) -> tuple[str, ...]:
    """Return notes that count and name the image-like files of a folder that are not read as volumes.

    Data files of an ``.mhd`` or ``.nhdr`` in the same folder do not count, nor do the files that are read otherwise.

    Raises
    ------
    LayoutError
        When the folder can't be listed.
    """
    found: dict[tuple[str, ...], list[str]] = {}
    with_headers: set[str] = set()
    for prefix, name in walk(folder, recursive=recursive, passing=_IN_ONE_FILE):
        group = image_like(name)
        if group and (not read or folder / (prefix + name) not in read):
            found.setdefault(group, []).append(prefix + name)
        elif name.lower().endswith(_DETACHED):
            with_headers.add(prefix)
    notes = []
    for group, (what, help_) in IMAGE_LIKE.items():
        names = sorted(
            name for name in found.get(group, ()) if ".raw" not in group or _folder_of(name) not in with_headers
        )
        if names:
            notes.append(f"{folder}: {counted(names, 'file')} not read ({what}): {some(names, 4)}; {help_}")
    return tuple(notes)


def _folder_of(name: str) -> str:
    return name[: name.rfind("/") + 1]


def advice(folder: Path) -> str:
    """Return advice on a folder without the expected volumes, to append to a message: what it holds, what to do."""
    below = sorted(entry.name for entry in _entries(folder) if is_folder(entry) and not entry.name.startswith("."))
    holds = {name: count for name in below if (count := _volumes(folder / name))}
    layout, own = other_layout(folder), _volumes(folder)
    parts = [] if not layout else [layout]
    if {"image", "label"} <= holds.keys():
        parts.append(f"it is a dataset: give {folder / 'image'} or {folder / 'label'}, or choose the mode dataset")
    elif _is_part(folder):
        parts.append(f"it is a part of the dataset {folder.parent}: give that folder")
    elif not layout and not holds and not own and (deeper := _first_below(folder)):
        parts.append(f"volumes lie deeper, e.g. {deeper}: give the folder that holds them")
    elif not layout and holds:
        where = some((f"{name}/ ({counted(count, 'volume')})" for name, count in holds.items()), 4)
        parts.append(
            f"volumes lie one level down, in {where}: give that folder, or add -r where the command has it; {_COLLECT}"
        )
    if own and not _is_part(folder):
        parts.append(f"{counted(own, 'volume')} lie in {folder} itself: move them to image/ and label/")
    parts += not_read(folder)
    return "".join(f"; {part}" for part in parts)


def _is_part(folder: Path) -> bool:
    """Return whether a folder is the ``image`` or ``label`` of a dataset."""
    parts = ("image", "label")
    return folder.name in parts and all((folder.parent / name).is_dir() for name in parts)


def other_layout(folder: Path) -> str:
    """Return what a folder of nnU-Net's or another layout is called, and what makes image/ and label/ of it."""
    lower = {entry.name.lower(): entry.name for entry in _entries(folder) if is_folder(entry)}
    images = next((lower[name] for name in _IMAGES if name in lower), None)
    labels = next((lower[name] for name in _LABELS if name in lower), None)
    if "imagestr" in lower or any(map(_NNUNET.fullmatch, lower.values())):
        return (
            f"{folder} looks like nnU-Net raw data: make a dataset of it with "
            f"itkit convert-dataset nnunet {folder} DEST"
        )
    if images is None and labels is None:
        return ""
    here = [f"{name}/" for name in (images, labels) if name is not None]
    wanted = [new for new, name in (("image/", images), ("label/", labels)) if name is not None]
    rule = f"pairs are looked for in image/ and label/; rename to {' and '.join(wanted)}; {_COLLECT}"
    return f"{folder} holds {' and '.join(here)}: {rule}"


def _first_below(folder: Path) -> str:
    """Return the first volume file that lies anywhere below a folder."""
    names = islice(walk(folder, recursive=True), _MOST_LOOKED_AT)
    return next((prefix + name for prefix, name in names if split_extension(name) is not None), "")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except OSError:  # the code that reads the folder reports it
        return []


def _volumes(folder: Path) -> int:
    return sum(split_extension(entry.name) is not None for entry in _entries(folder) if not is_folder(entry))


def plain_name(case_id: str) -> str:
    """Return the form of a case's name for comparisons: composed letters, no image or label mark at its end.

    Examples
    --------
    >>> plain_name("p1_seg"), plain_name("p1.seg"), plain_name("p1_0000"), plain_name("_seg")
    ('p1', 'p1', 'p1', '_seg')
    """
    name = unicodedata.normalize("NFC", case_id)
    return _MARKS.sub("", name) or name


def look_like_pairs(images: Mapping[str, Path], labels: Mapping[str, Path]) -> list[tuple[str, str]]:
    """Return pairs of image and label whose names differ only by a mark, or by the encoding of letters.

    Examples
    --------
    >>> look_like_pairs({"p1_0000": Path("image/p1_0000.mha")}, {"p1_seg": Path("label/p1_seg.mha")})
    [('p1_0000', 'p1_seg')]
    """
    by_name: dict[str, list[str]] = {}
    for case in labels:
        by_name.setdefault(plain_name(case), []).append(case)
    return [(case, twins[0]) for case in images if len(twins := by_name.get(plain_name(case), [])) == 1]


def pairs_in_one_folder(cases: Collection[str]) -> list[tuple[str, str]]:
    """Return the cases of one folder that look like an image and its label: ``x`` or ``x_0000``, and ``x_seg``.

    Examples
    --------
    >>> pairs_in_one_folder(["a", "a_seg", "b_0000", "b.seg", "c"])
    [('a', 'a_seg'), ('b_0000', 'b.seg')]
    """
    by_name: dict[str, list[str]] = {}
    for case in cases:
        by_name.setdefault(plain_name(case), []).append(case)
    return list(_image_and_label(by_name.values()))


def _image_and_label(groups: Iterable[list[str]]) -> Iterator[tuple[str, str]]:
    for group in groups:
        labels = [case for case in group if _LABEL_MARKS.search(case)]
        images = [case for case in group if case not in labels]
        if len(labels) == 1 and images:
            yield images[0], labels[0]


def note_of_pairs(pairs: Collection[tuple[str, str]], *, one_folder: bool) -> tuple[str, ...]:
    """Return a note about files that look like pairs but are not paired, and how to rename them."""
    if not pairs:
        return ()
    shown = some((f"{image} and {label}" for image, label in pairs), 4)
    what = "pair of files looks" if len(pairs) == 1 else "pairs of files look"
    if one_folder:
        rule = f"to pair them, move images to image/ and labels to label/, under one name each; {_COLLECT}"
    elif any(unicodedata.normalize("NFC", image) == unicodedata.normalize("NFC", label) for image, label in pairs):
        rule = "their letters are encoded in two ways (NFC and NFD): rename one file of each to the other's name"
    else:
        rule = (
            "an image and its label are a pair when their names are the same but for the extension: rename one of "
            f"each; {_COLLECT}"
        )
    return (f"{len(pairs)} {what} like image and label ({shown}); {rule}",)
