"""What plans share: files that io has found become the jobs of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from itkit.core.operation import InputFile, InputKind, Job, Target, Unpaired
from itkit.core.volume import Kind
from itkit.io.layouts import IMAGE, LABEL, Pairs, find_volumes, require_folder


def pair_jobs(pairs: Pairs, dest: Path, suffix: str) -> list[Job]:
    """Return jobs that map pairs to ``dest/image`` and ``dest/label``."""
    targets: dict[str, Target] = {
        IMAGE: Target(dest / IMAGE, suffix, "image"),
        LABEL: Target(dest / LABEL, suffix, "label"),
    }
    kinds: dict[str, InputKind] = {IMAGE: "image", LABEL: "label"}
    return [
        Job(case, {name: InputFile(path, kinds[name]) for name, path in files.items()}, targets)
        for case, files in pairs.pairs.items()
    ]


def single_jobs(volumes: Mapping[str, Path], dest: Path, suffix: str, kind: Kind) -> list[Job]:
    """Return jobs that map single files of one kind to ``dest``."""
    return [
        Job(case, {kind: InputFile(path, kind)}, {kind: Target(dest, suffix, kind)}) for case, path in volumes.items()
    ]


@dataclass(frozen=True)
class Many:
    """Cases that several folders share.

    Parameters
    ----------
    cases
        File of each case by the name of its folder; a case that a folder lacks has no entry for it.
    unpaired
        Files of cases that some folder lacks; ``lacks`` names the first such folder.
    """

    cases: Mapping[str, Mapping[str, Path]]
    unpaired: tuple[Unpaired, ...]

    def complete(self) -> dict[str, Mapping[str, Path]]:
        """Return the cases that every folder has."""
        lone = {item.case_id for item in self.unpaired}
        return {case: files for case, files in self.cases.items() if case not in lone}


def find_many(folders: Mapping[str, Path], *, recursive: bool = False) -> Many:
    """Find the files of several folders by case id, whatever their extensions.

    Raises
    ------
    LayoutError
        When a folder is missing, or two files of one folder share an id.
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
