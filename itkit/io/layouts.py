"""Folders as users lay them out: ``image`` + ``label``, flat folders, trees."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from itkit.core.errors import LayoutError
from itkit.core.files import split_extension
from itkit.core.operation import Unpaired

IMAGE, LABEL = "image", "label"


def find_volumes(folder: Path, *, recursive: bool = False) -> dict[str, Path]:
    """Map case id to path of every volume file in a folder, sorted by id.

    Hidden names are ignored. With ``recursive`` the id is the relative path without extension, in POSIX form.

    Raises
    ------
    LayoutError
        When the folder can't be listed, or two files share one id.
    """
    found: dict[str, Path] = {}
    for prefix, name in _walk(folder, recursive=recursive):
        parts = split_extension(name)
        if parts is None:
            continue
        case_id, path = prefix + parts[0], folder / (prefix + name)
        if case_id in found:
            raise LayoutError(
                f"{folder}: two files for case {case_id!r}: {found[case_id].name} and {name}; keep one of them"
            )
        found[case_id] = path
    return dict(sorted(found.items()))


def _walk(folder: Path, *, recursive: bool) -> Iterator[tuple[str, str]]:
    """Yield (relative folder with a trailing slash, file name); links to folders are followed, loops are not."""
    pending = [("", folder, frozenset({os.path.realpath(folder)}))]
    while pending:
        prefix, current, above = pending.pop()
        try:
            entries = list(os.scandir(current))
        except OSError as error:
            raise LayoutError(f"{current}: can't be listed ({error.strerror})") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                real = os.path.realpath(entry.path)
                if recursive and real not in above:
                    pending.append((f"{prefix}{entry.name}/", Path(entry.path), above | {real}))
            else:
                yield prefix, entry.name


def require_folder(folder: Path, what: str = "source") -> Path:
    """Return the folder, or say why it can't be used.

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
    """Return a destination that may be written, or say why it may not; creates nothing.

    Raises
    ------
    LayoutError
        When it equals or lies inside a source (links resolved), is not a folder, or can't be written.
    """
    real = dest.resolve()
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
    # a superuser passes every permission check, yet not a read-only mount
    return not (hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY)


@dataclass(frozen=True)
class Pairs:
    """Image and label of each case, and files without a partner."""

    pairs: Mapping[str, Mapping[str, Path]]
    unpaired: tuple[Unpaired, ...]


def find_pairs(image_folder: Path, label_folder: Path, *, recursive: bool = False) -> Pairs:
    """Pair the files of two folders by case id, whatever their extensions.

    Raises
    ------
    LayoutError
        When a folder is missing, or two files of one folder share an id.
    """
    require_folder(image_folder, "image")
    require_folder(label_folder, "label")
    images = find_volumes(image_folder, recursive=recursive)
    labels = find_volumes(label_folder, recursive=recursive)
    unpaired = [Unpaired(case, path, LABEL) for case, path in images.items() if case not in labels]
    unpaired += [Unpaired(case, path, IMAGE) for case, path in labels.items() if case not in images]
    return Pairs(
        {case: {IMAGE: path, LABEL: labels[case]} for case, path in images.items() if case in labels},
        tuple(sorted(unpaired, key=lambda item: item.case_id)),
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
        )
    return find_pairs(root / IMAGE, root / LABEL, recursive=recursive)


def is_dataset(root: Path) -> bool:
    """Whether a folder holds ``image`` and ``label`` folders."""
    return (root / IMAGE).is_dir() and (root / LABEL).is_dir()
