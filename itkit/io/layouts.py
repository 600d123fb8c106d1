"""Find the volumes in users' folders: ``image`` + ``label``, flat folders, trees."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from itkit.core.errors import LayoutError
from itkit.core.files import split_extension
from itkit.core.operation import Unpaired
from itkit.core.text import counted, some
from itkit.io.dataset_meta import FoundMeta, find_dataset_meta
from itkit.io.overlooked import advice
from itkit.io.segments import with_segments
from itkit.io.walk import walk

IMAGE, LABEL = "image", "label"


class Volumes(Mapping[str, Path]):
    """The volume files of a folder by case id; of each, only the id and the extension are kept."""

    def __init__(self, folder: Path, extensions: Mapping[str, str]) -> None:
        self._folder = folder
        self._extensions = extensions
        self._base = os.fspath(folder / "_")[:-1]

    def text(self, case: str) -> str:
        """Return the path of a case's file as text."""
        return f"{self._base}{case}{self._extensions[case]}"

    def __getitem__(self, case: str) -> Path:
        return self._folder / f"{case}{self._extensions[case]}"

    def __contains__(self, case: object) -> bool:
        return case in self._extensions

    def __iter__(self) -> Iterator[str]:
        return iter(self._extensions)

    def __len__(self) -> int:
        return len(self._extensions)

    def __repr__(self) -> str:
        return f"{dict(self)!r}"

    def ending(self, *extensions: str) -> dict[str, Path]:
        """Return the files whose names end so, in any letter case."""
        return {
            case: self[case] for case, end in self._extensions.items() if f"{case}{end}".lower().endswith(extensions)
        }

    def sharing(self, cases: Mapping[str, Any]) -> Volumes:
        """Return the same files; ids that another mapping has, too, are kept in memory once."""
        same = {case: case for case in cases if case in self._extensions}
        return Volumes(self._folder, {same.get(case, case): end for case, end in self._extensions.items()})


def find_volumes(folder: Path, *, recursive: bool = False, but: Collection[str] = ()) -> Volumes:
    """Return the path of every volume file in a folder by case id, sorted by id.

    Hidden names are ignored. With ``recursive``, the id is the relative path without extension, in POSIX form.

    Parameters
    ----------
    folder
        The folder.
    recursive
        Search sub-folders.
    but
        Names of sub-folders that are left out.

    Raises
    ------
    LayoutError
        When the folder can't be listed, or two files have the same id.
    """
    found: dict[str, str] = {}
    for prefix, name in walk(folder, recursive=recursive, but=but):
        parts = split_extension(name)
        if parts is None:
            continue
        case_id = prefix + parts[0]
        if case_id in found:
            first = f"{parts[0]}{found[case_id]}"
            raise LayoutError(f"{folder}: two files for case {case_id!r}: {first} and {name}; keep one of them")
        found[case_id] = sys.intern(parts[1])
    return Volumes(folder, {case: found[case] for case in sorted(found)})


def require_folder(folder: Path, what: str = "source") -> Path:
    """Return the folder, or raise an error that says why it can't be used.

    Raises
    ------
    LayoutError
        When it is missing or not a folder.
    """
    if not folder.exists():
        raise LayoutError(f"{what} folder {folder} does not exist")
    if not folder.is_dir():
        raise LayoutError(f"{what} {folder} is not a folder")
    return folder


def require_destination(dest: Path, *sources: Path) -> Path:
    """Return a writable destination, or raise an error that says why it can't be used; create nothing.

    Raises
    ------
    LayoutError
        When it equals or lies inside a source (links resolved), is not a folder, or can't be written; or when ``..``
        goes up from a link, so that the path has two meanings.
    """
    real = dest.resolve()
    if ".." in dest.parts and real != Path(os.path.abspath(dest)).resolve():  # noqa: PTH100 - it does not follow links
        raise LayoutError(f"destination {dest}: '..' goes up from a link; give the path itself, {real}")
    for source in sources:
        real_source = source.resolve()
        if real == real_source:
            raise LayoutError(f"destination {dest} is the source folder; choose another one")
        if real_source in real.parents:
            raise LayoutError(f"destination {dest} lies inside the source folder {source}; choose one outside it")
    existing = next(folder for folder in (real, *real.parents) if folder.exists())
    if not existing.is_dir():
        raise LayoutError(f"destination {dest}: {existing} is not a folder")
    if not _is_writable(existing):
        raise LayoutError(f"destination {dest} can't be written (no permission in {existing})")
    return dest


def _is_writable(folder: Path) -> bool:
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    # a superuser passes every permission check, but can't write to a read-only mount
    return not (hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY)


@dataclass(frozen=True)
class Images:
    """The images of a folder, by case.

    Parameters
    ----------
    cases
        Files of each case by the name of the volume: ``image``, or one ``image_<channel>`` per channel, in order.
    problems
        Why a case is incomplete: which channels are missing.
    extras
        Files that match no channel.
    components
        The numbers of values per voxel that an image file may have.
    described
        The dataset's description, which lists the channels, if one was found.
    """

    cases: Mapping[str, Mapping[str, Path]]
    problems: Mapping[str, str] = field(default_factory=dict)
    extras: tuple[Unpaired, ...] = ()
    components: tuple[int, ...] = (1,)
    described: FoundMeta = field(default_factory=FoundMeta)


_PART_OF_DATASET = re.compile(r"(?i:image|label)s?(?:Tr|Ts|Va)?")
_NUMBERED = re.compile(r"(?s:(.+))_([0-9]{4})")


def find_description(folder: Path) -> FoundMeta:
    """Find the ``dataset.json`` of a dataset, of a folder of volumes, or of the images or labels of a dataset."""
    is_part = _PART_OF_DATASET.fullmatch(folder.absolute().name) is not None
    return find_dataset_meta(folder, folder.absolute().parent) if is_part else find_dataset_meta(folder)


def find_images(
    folder: Path,
    *,
    recursive: bool = False,
    labels: Collection[str] | None = None,
    described: FoundMeta | None = None,
) -> Images:
    """Find the images of a folder; the files of a case's channels belong together.

    The channels are those that ``dataset.json`` lists: one file ``<case>_<channel>`` for each, or one file of vectors
    per case. They may also be nnU-Net's ``<case>_0000``, ``<case>_0001``, if its ``dataset.json`` says so or, without
    one, if all file names have that form.

    Parameters
    ----------
    folder
        Folder of images.
    recursive
        Search sub-folders.
    labels
        Cases that have a label, or ``None`` if there are no labels to compare with. Then each file that matches no
        channel may be an image of one channel, and a number alone does not make a file a channel.
    described
        The dataset's description, to use instead of the one in the folder.

    Raises
    ------
    LayoutError
        When the folder is missing or can't be listed, or two files have the same id.
    """
    files = find_volumes(require_folder(folder, "image"), recursive=recursive)
    described = find_description(folder) if described is None else described
    if labels is None:
        described = with_segments(described, files.ending(".seg.nrrd"))
    endings = _endings(described, files, labels)
    if not endings:
        return Images(Alone(files), {}, (), _components(described, labels), described)
    found: dict[str, dict[str, Path]] = {}
    rest: dict[str, Path] = {}
    for file_id, path in files.items():
        case, ending = _split_channel(file_id, endings)
        if ending:
            found.setdefault(case, {})[ending] = path
        else:
            rest[file_id] = path
    components = _components(described, labels)
    is_vector = components != (1,)
    whole = {
        case: path
        for case, path in rest.items()
        if not found or (is_vector and case in (labels or ()) and case not in found)
    }
    lacks = f"channel of this name ({some(endings)})"
    cases: dict[str, dict[str, Path]] = {case: {IMAGE: path} for case, path in whole.items()}
    problems = {}
    for case, channels in found.items():
        cases[case] = {f"{IMAGE}_{ending}": channels[ending] for ending in endings if ending in channels}
        missing = [f"{case}_{ending}" for ending in endings if ending not in channels]
        if missing:
            problems[case] = channels_missing(missing, beside=next(iter(channels.values())))
    return Images(
        dict(sorted(cases.items())),
        problems,
        tuple(Unpaired(case, path, lacks) for case, path in rest.items() if case not in whole),
        components,
        described,
    )


def _components(described: FoundMeta, labels: Collection[str] | None) -> tuple[int, ...]:
    """Return the numbers of values per voxel that an image may have."""
    if described.meta is None or not described.meta.has_vectors:
        return (1,)
    count = len(described.meta.channels)
    return (count,) if labels is not None else (1, count)


class Alone(Mapping[str, Mapping[str, Path]]):
    """Images of which each is a case."""

    def __init__(self, files: Volumes) -> None:
        self._files = files

    def text(self, case: str) -> str:
        """Return the path of a case's file as text."""
        return self._files.text(case)

    def texts(self, case: str) -> dict[str, str]:
        """Return the paths of a case's files as text, by the names of the volumes."""
        return {IMAGE: self._files.text(case)}

    def __getitem__(self, case: str) -> Mapping[str, Path]:
        return {IMAGE: self._files[case]}

    def __contains__(self, case: object) -> bool:
        return case in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


class Paired(Mapping[str, Mapping[str, Path]]):
    """Images with their labels."""

    def __init__(self, images: Mapping[str, Mapping[str, Path]], labels: Volumes) -> None:
        self._images, self._labels = images, labels
        self._count = sum(case in labels for case in images)

    def texts(self, case: str) -> dict[str, str]:
        """Return the paths of a case's files as text, by the names of the volumes."""
        images = self._images
        if isinstance(images, Alone):
            files = images.texts(case)
        else:
            files = {name: str(path) for name, path in images[case].items()}
        files[LABEL] = self._labels.text(case)
        return files

    def __getitem__(self, case: str) -> Mapping[str, Path]:
        return {**self._images[case], LABEL: self._labels[case]}

    def __contains__(self, case: object) -> bool:
        return case in self._images and case in self._labels

    def __iter__(self) -> Iterator[str]:
        return (case for case in self._images if case in self._labels)

    def __len__(self) -> int:
        return self._count


def channels_missing(names: Collection[str], *, beside: Path) -> str:
    """Return why a case fails whose channels are not all there.

    Examples
    --------
    >>> channels_missing(["c1_0001"], beside=Path("c1_0000.nii.gz"))
    '1 channel missing: no c1_0001 beside c1_0000.nii.gz'
    """
    return f"{counted(names, 'channel')} missing: no {some(names)} beside {beside.name}"


def _split_channel(file_id: str, endings: Collection[str]) -> tuple[str, str]:
    """Return the case and the channel of a file; the channel is the longest that its name ends with."""
    fitting = [ending for ending in endings if file_id.endswith(f"_{ending}")]
    ending = max(fitting, key=len, default="")
    case = file_id.removesuffix(f"_{ending}") if ending else file_id
    return (case, ending) if case and not case.endswith("/") else (file_id, "")


def _endings(described: FoundMeta, files: Mapping[str, Path], labels: Collection[str] | None) -> tuple[str, ...]:
    """Return the ending of each channel's files; empty if a case has only one image."""
    meta = described.meta
    if meta is not None and meta.channels:
        is_numbered = not meta.is_ours and bool(labels) and not set(labels or ()) & files.keys()
        return meta.endings if len(meta.channels) > 1 or is_numbered else ()
    numbers: dict[str, set[str]] = {}
    for file_id in files if labels is not None else ():
        match = _NUMBERED.fullmatch(file_id)
        if match is None:
            return ()
        numbers.setdefault(match[1], set()).add(match[2])
    every = sorted({number for there in numbers.values() for number in there})
    if labels:  # their names show whether a number belongs to the channel or to the case
        is_channels = not set(labels) & files.keys() and bool(set(labels) & numbers.keys())
    else:
        is_first = every == [f"{number:04d}" for number in range(len(every))]
        is_channels = is_first and sum(len(there) == len(every) for there in numbers.values()) > 1
    return tuple(every) if is_channels and max(map(len, numbers.values()), default=0) > 1 else ()


@dataclass(frozen=True)
class Pairs:
    """The images and the label of each case, and the files without a partner.

    Parameters
    ----------
    pairs
        Files of each case by the name of the volume, images first.
    unpaired
        Files that belong to no pair; for a case without a label, its first image.
    images
        All images found, including those without a label.
    lone_labels
        Labels without an image.
    """

    pairs: Mapping[str, Mapping[str, Path]]
    unpaired: tuple[Unpaired, ...]
    images: Images
    lone_labels: Mapping[str, Path] = field(default_factory=dict)

    @property
    def lone_images(self) -> dict[str, Mapping[str, Path]]:
        """Files of each case that has no label."""
        return {case: self.images.cases[case] for case in self.images.cases if case not in self.pairs}


def find_pairs(image_folder: Path, label_folder: Path, *, recursive: bool = False) -> Pairs:
    """Pair the images and labels of two folders by case id; extensions may differ.

    Raises
    ------
    LayoutError
        When a folder is missing, or two files in one folder have the same id.
    """
    require_folder(image_folder, "image")
    labels = find_volumes(require_folder(label_folder, "label"), recursive=recursive)
    images = find_images(image_folder, recursive=recursive, labels=labels.keys())
    images = replace(images, described=with_segments(images.described, labels.ending(".nrrd", ".nhdr")))
    labels = labels.sharing(images.cases)
    lone_labels = {case: labels[case] for case in labels if case not in images.cases}
    unpaired = [
        Unpaired(case, next(iter(images.cases[case].values())), LABEL) for case in images.cases if case not in labels
    ]
    unpaired += [Unpaired(case, path, IMAGE) for case, path in lone_labels.items()]
    return Pairs(
        Paired(images.cases, labels),
        tuple(sorted([*unpaired, *images.extras], key=lambda item: item.case_id)),
        images,
        lone_labels,
    )


def find_dataset(root: Path, *, recursive: bool = False) -> Pairs:
    """Pair ``root/image`` with ``root/label``.

    Raises
    ------
    LayoutError
        When the root or one of the two folders is missing.
    """
    require_folder(root)
    missing = [name for name in (IMAGE, LABEL) if not (root / name).is_dir()]
    if missing:
        raise LayoutError(
            f"{root} has no folder {' and no folder '.join(missing)}; expected {root}/image and {root}/label"
            f"{advice(root)}"
        )
    return find_pairs(root / IMAGE, root / LABEL, recursive=recursive)


def is_dataset(root: Path) -> bool:
    """Return whether a folder contains the folders ``image`` and ``label``."""
    return (root / IMAGE).is_dir() and (root / LABEL).is_dir()
