"""Functions that the plans of several operations share: they turn the files that ``io`` has found into jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from itkit.core.dataset_meta import DatasetMeta
from itkit.core.errors import LayoutError
from itkit.core.operation import Carry, InputFile, Job, Jobs, Target, Unpaired
from itkit.core.volume import Kind
from itkit.io.dataset_meta import FoundMeta
from itkit.io.layouts import (
    IMAGE,
    LABEL,
    Alone,
    Images,
    Paired,
    Pairs,
    Volumes,
    find_dataset,
    find_images,
    find_volumes,
    is_dataset,
    require_folder,
)


def inputs_of(files: Mapping[str, Path], images: Images) -> dict[str, InputFile]:
    """Return the input files of a job, by volume name."""
    return {
        name: InputFile(path, "label") if name == LABEL else InputFile(path, "image", _components(name, images))
        for name, path in files.items()
    }


def _components(name: str, images: Images) -> tuple[int, ...]:
    return images.components if name == IMAGE else (1,)


def targets_of(names: Iterable[str], image_folder: Path, label_folder: Path, suffix: str) -> dict[str, Target]:
    """Return the targets of a case's volumes; the file of a channel keeps the channel's name at its end.

    Examples
    --------
    >>> found = targets_of(("image_t1", "image_t2", "label"), Path("out/image"), Path("out/label"), ".mha")
    >>> [target.path("case").as_posix() for target in found.values()]
    ['out/image/case_t1.mha', 'out/image/case_t2.mha', 'out/label/case.mha']
    """
    return {
        name: Target(label_folder, suffix, "label")
        if name == LABEL
        else Target(image_folder, f"{name.removeprefix(IMAGE)}{suffix}", "image")
        for name in names
    }


def pair_jobs(pairs: Pairs, dest: Path, suffix: str) -> Sequence[Job]:
    """Return jobs that map pairs to ``dest/image`` and ``dest/label``."""
    return _jobs(pairs.pairs, pairs.images, dest / IMAGE, dest / LABEL, suffix)


def image_jobs(images: Images, dest: Path, suffix: str) -> Sequence[Job]:
    """Return jobs that map the images of a folder to ``dest``."""
    return _jobs(images.cases, images, dest, dest, suffix)


def _jobs(
    cases: Mapping[str, Mapping[str, Path]], images: Images, image_folder: Path, label_folder: Path, suffix: str
) -> Sequence[Job]:
    @cache
    def targets(names: tuple[str, ...]) -> Mapping[str, Target]:
        return targets_of(names, image_folder, label_folder, suffix)

    def job(case: str) -> Job:
        files = cases[case]
        return Job(case, inputs_of(files, images), targets(tuple(files)), problem=images.problems.get(case, ""))

    first = next(iter(cases), None)
    shared = targets(tuple(cases[first])) if first is not None and isinstance(images.cases, Alone) else None
    reads = cases.texts if isinstance(cases, (Alone, Paired)) else None
    return Jobs([*cases], job, (image_folder, label_folder), shared, reads)


def single_jobs(volumes: Mapping[str, Path], dest: Path, suffix: str, kind: Kind) -> Sequence[Job]:
    """Return jobs that map single files of one kind to ``dest``."""
    targets: Mapping[str, Target] = {kind: Target(dest, suffix, kind)}
    name: str = kind
    reads = (lambda case: {name: volumes.text(case)}) if isinstance(volumes, Volumes) else None
    return Jobs(
        [*volumes], lambda case: Job(case, {kind: InputFile(volumes[case], kind)}, targets), (dest,), targets, reads
    )


@dataclass(frozen=True)
class Found:
    """The cases of a folder of images or of a dataset, as jobs.

    Parameters
    ----------
    jobs
        One job for each case: it writes what it reads.
    unpaired
        Files that belong to no case.
    described
        The dataset's description.
    is_dataset
        Whether the source has the folder ``image``; then the results go to ``image`` and ``label`` as well.
    """

    jobs: Sequence[Job]
    unpaired: tuple[Unpaired, ...]
    described: FoundMeta
    is_dataset: bool


def find_cases(source: Path, dest: Path, suffix: str, *, recursive: bool = False) -> Found:
    """List the cases of a dataset, of a dataset without labels, or of a flat folder of images.

    Raises
    ------
    LayoutError
        When the source is missing, or two files have the same id.
    """
    require_folder(source)
    if is_dataset(source):
        pairs = find_dataset(source, recursive=recursive)
        return Found(pair_jobs(pairs, dest, suffix), pairs.unpaired, pairs.images.described, is_dataset=True)
    has_images = (source / IMAGE).is_dir()
    folder, into = (source / IMAGE, dest / IMAGE) if has_images else (source, dest)
    images = find_images(folder, recursive=recursive)
    return Found(image_jobs(images, into, suffix), images.extras, images.described, is_dataset=has_images)


def carry(
    described: FoundMeta, *folders: Path, change: Callable[[DatasetMeta], DatasetMeta] | None = None
) -> Carry | None:
    """Return the request to write a dataset's ``dataset.json`` to the result folders; ``None`` if it has none."""
    return None if described.meta is None else Carry(described.meta, folders, change)


def label_folder(folder: Path, what: str) -> Path:
    """Return the folder of the label maps: the folder itself, or ``label`` of a dataset.

    Parameters
    ----------
    folder
        Folder of label maps, or a dataset.
    what
        What the folder is, for messages.

    Raises
    ------
    LayoutError
        When the folder is missing, or it is unclear which of the two is meant.
    """
    require_folder(folder, what)
    inside = folder / LABEL
    if not inside.is_dir():
        return folder
    if find_volumes(folder):
        raise LayoutError(f"{what}: {folder} holds volumes and a folder {LABEL}; give the one that is meant")
    return inside


@dataclass(frozen=True)
class Many:
    """The cases of several folders.

    Parameters
    ----------
    cases
        Files of each case, by the name of the folder they lie in; a folder without a file of the case has no entry.
    unpaired
        Files of cases that are missing from some folder; ``lacks`` names the first such folder.
    """

    cases: Mapping[str, Mapping[str, Path]]
    unpaired: tuple[Unpaired, ...]

    def complete(self) -> dict[str, Mapping[str, Path]]:
        """Return the cases that have a file in every folder."""
        lone = {item.case_id for item in self.unpaired}
        return {case: files for case, files in self.cases.items() if case not in lone}


def find_many(folders: Mapping[str, Path], *, recursive: bool = False) -> Many:
    """Find the files of several folders and match them by case id; extensions may differ.

    Raises
    ------
    LayoutError
        When a folder is missing, or two files in one folder have the same id.
    """
    found = {name: find_volumes(require_folder(folder, name), recursive=recursive) for name, folder in folders.items()}
    cases: dict[str, dict[str, Path]] = {}
    for name, volumes in found.items():
        for case, path in volumes.items():
            cases.setdefault(case, {})[name] = path
    unpaired = [
        Unpaired(case, path, next(name for name in folders if name not in files))
        for case, files in sorted(cases.items())
        if len(files) < len(folders)
        for path in files.values()
    ]
    return Many(dict(sorted(cases.items())), tuple(unpaired))
