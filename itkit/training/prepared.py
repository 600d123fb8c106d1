"""Cases as a network sees them, kept on disk: each is oriented, resampled and normalised once, then mapped into memory.

Loader workers map the arrays, so that none holds a volume, and a patch costs a copy.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.bounded import parse_json, read_bounded
from itkit.core.dataset_meta import channel_places
from itkit.core.errors import CaseError, GeometryMismatchError
from itkit.core.grids import grid_difference
from itkit.core.text import some
from itkit.core.volume import Volume
from itkit.inference.preparing import Preparation, prepare_image, prepare_label
from itkit.io.disk import commit_files, hidden_beside, left_by_dead_runs, sync_files, writing
from itkit.io.formats.headers import volume_files
from itkit.io.formats.store import PatchStore, store_kind
from itkit.io.json_files import json_line
from itkit.io.layouts import IMAGE
from itkit.io.sitk_toolkit import read_volume
from itkit.kernels.draws import Foreground, count_foreground
from itkit.kernels.labels import remap
from itkit.kernels.padding import SLAB
from itkit.process.lost import lost_classes, missing_classes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from itkit.dataset.folder import CaseFiles
    from itkit.training.plan_file import Plan

IMAGE_FILE, LABEL_FILE, FACTS_FILE = "image.npy", "label.npy", "case.json"
_QUIET_S = 60.0
"""Seconds after which a half-written file of a process that is not on this machine is nobody's."""
_FORMAT = 3  # changes with the content of the files, so that older ones are made anew


@dataclass(frozen=True)
class PreparedCase:
    """A prepared case on disk.

    Parameters
    ----------
    case_id
        The case.
    folder
        Folder of its files.
    """

    case_id: str
    folder: Path

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """What was found when it was prepared: ``classes`` and ``counts`` of its foreground.

        ``lost`` names the classes that are so small that no voxel of the resampled label has them; ``content`` is a
        digest of the voxels and grids of image and label as they were read.
        """
        facts: Mapping[str, Any] = parse_json(read_bounded(self.folder / FACTS_FILE))
        return facts

    @cached_property
    def foreground(self) -> Foreground:
        """Where its classes lie, by slab of planes."""
        classes = tuple(self.facts["classes"])
        counts = self.facts["counts"]  # of a label without any class, each row is empty
        return Foreground(classes, np.array(counts, np.int64).reshape(len(counts), len(classes)))

    @property
    def spacing_zyx(self) -> tuple[float, float, float]:
        """Spacing, mm."""
        z, y, x = self.facts["spacing"]
        return (z, y, x)

    def image(self) -> NDArray[np.float32]:
        """Map the image ``(C, Z, Y, X)``, float32."""
        return _mapped(self.folder / IMAGE_FILE)

    def label(self) -> NDArray[Any]:
        """Map the label ``(Z, Y, X)``: number of the class, 0 for background."""
        return _mapped(self.folder / LABEL_FILE)


def _read(
    case: CaseFiles, there: Sequence[str], wanted: Sequence[str], threads: int
) -> tuple[list[Volume], Volume | None]:
    """Read images and label of a case, from volume files or from a store; the channels come as they are wanted.

    Raises
    ------
    CaseError
        When a file can't be read.
    """
    if store_kind(case.images[0]) is None:
        images = [read_volume(path, channels=True, threads=threads) for path in case.images]
        label = None if case.label is None else read_volume(case.label, "label", threads=threads)
        return _ordered(images, there, wanted), label
    store = PatchStore(case.images[0])
    volumes = store.read((0, 0, 0), store.geometry.size_zyx)
    by_name = {name: volume for name, volume in volumes.items() if volume.kind == "image"}
    label = next((volume for volume in volumes.values() if volume.kind == "label"), None)
    own = [name.removeprefix(f"{IMAGE}_") for name in by_name]
    names = own if channel_places(own, wanted) is not None else there
    return _ordered(list(by_name.values()), names, wanted), label if case.label is not None else None


def _ordered(images: list[Volume], there: Sequence[str], wanted: Sequence[str]) -> list[Volume]:
    """Return channels in the order in which they are wanted; other names are taken as they come."""
    places = channel_places(there, wanted)
    if places is None or places == sorted(places):
        return images
    if len(images) == len(places):
        return [images[place] for place in places]
    array = images[0].array_zyx
    if len(images) == 1 and array.shape[3:] == (len(places),):
        return [images[0].with_array(np.ascontiguousarray(array[..., places]))]
    return images


def _digest(volumes: Iterable[Volume]) -> str:
    """Return a digest of voxels and grids; it does not depend on the files' format, names or dates."""
    digest = hashlib.sha256()
    for volume in volumes:
        array, grid = volume.array_zyx, volume.geometry
        place = (grid.spacing_zyx, grid.origin_xyz, grid.direction_xyz)
        digest.update(json_line([volume.kind, array.dtype.str, array.shape, place]).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _mapped(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CaseError(
            f"{path}: the prepared case can't be read ({error}); delete its folder to make it anew"
        ) from error
    return array


@dataclass(frozen=True)
class PreparedFolder:
    """Prepared cases of a plan; what follows from other files or settings lies in another folder.

    Parameters
    ----------
    root
        Where prepared cases are kept.
    plan
        The plan; its sections dataset and preprocess decide what is kept.
    """

    root: Path
    plan: Plan
    _values: Mapping[int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        values = {value: number for number, value in enumerate(self.plan.dataset.labels, 1)}
        object.__setattr__(self, "_values", values)

    @property
    def preparation(self) -> Preparation:
        """What is done to images."""
        prepare = self.plan.preprocess
        return Preparation(self.plan.dataset.channels, prepare.spacing, prepare.orient, prepare.intensity)

    def place(self, case: CaseFiles, channels: Sequence[str] = ()) -> Path:
        """Return the folder of a case; it depends on its files, as they are now, on their channels, and on the plan."""
        files = [*case.images, *([case.label] if case.label is not None else [])]
        each = [part for path in files for part in volume_files(path)]
        states = [(path.name, stat.st_size, stat.st_mtime_ns) for path in each for stat in [path.stat()]]
        rules = (self.plan.preprocess.model_dump(mode="json"), self.plan.dataset.channels, sorted(self._values))
        places = channel_places(channels, self.plan.dataset.channels)
        moved = () if places is None or places == sorted(places) else (places,)
        digest = hashlib.sha256(repr((_FORMAT, case.case_id, states, rules, *moved)).encode()).hexdigest()
        return self.root / digest[:24]

    def prepare(
        self, case: CaseFiles, *, channels: Sequence[str] = (), threads: int = 1, needs_label: bool = True
    ) -> PreparedCase:
        """Prepare a case, unless it is prepared already.

        Parameters
        ----------
        case
            The case.
        channels
            Names of its channels in the order of its files; the plan has them in an order of its own.
        threads
            Threads to use.
        needs_label
            Refuse a case without a label; otherwise it is all background.

        Raises
        ------
        CaseError
            When there is no label, a class is unknown to the plan, voxels are nan, or a file can't be read. The message
            does not name the case.
        WriteError
            When the folder can't be written; the message names it.
        GeometryMismatchError
            When image and label lie on different grids.
        """
        folder = self.place(case, channels)
        done = PreparedCase(case.case_id, folder)
        if (folder / FACTS_FILE).is_file():
            return done
        if case.label is None and needs_label:
            raise CaseError("no label")
        images, whole = _read(case, channels, self.plan.dataset.channels, threads)
        if whole is None and needs_label:
            raise CaseError("no label")
        image = prepare_image(images, self.preparation, threads=threads)
        if whole is None:
            nothing = np.zeros(image.geometry.size_zyx, np.uint8)
            facts = {"lost": [], "content": _digest(images)}
            self._write(done, image.array_czyx, nothing, image.geometry.spacing_zyx, facts)
            return done
        if reason := grid_difference(image.source, whole.geometry):
            raise GeometryMismatchError(reason)
        if unknown := missing_classes(whole, self._values):
            raise CaseError(f"class {some(map(str, sorted(unknown)))} of the label is not in the plan (dataset.labels)")
        label = prepare_label(whole, image.geometry, threads=threads)
        names = self.plan.dataset.labels
        lost = [names[value] for value in sorted(lost_classes(whole, label))]
        numbers, _ = remap(label.array_zyx, self._values, dtype=np.uint8 if len(self._values) < 256 else np.int32)
        facts = {"lost": lost, "content": _digest([*images, whole])}
        self._write(done, image.array_czyx, numbers, image.geometry.spacing_zyx, facts)
        return done

    @staticmethod
    def _write(
        case: PreparedCase,
        image: NDArray[np.float32],
        label: NDArray[Any],
        spacing: tuple[float, float, float],
        more: Mapping[str, Any],
    ) -> None:
        found = count_foreground(lambda number: label[number * SLAB : (number + 1) * SLAB], len(label))
        facts = {
            "case": case.case_id,
            "spacing": spacing,
            "size": label.shape,
            "classes": found.classes,
            "counts": found.counts.tolist(),
            **more,
        }
        final = [case.folder / name for name in (IMAGE_FILE, LABEL_FILE, FACTS_FILE)]
        staged = [hidden_beside(path) for path in final]
        with writing(case.folder.parent, image.nbytes + label.nbytes):
            try:
                case.folder.mkdir(parents=True, exist_ok=True)
                _tidy(case.folder)
                for path, array in zip(staged, (image, label), strict=False):
                    _save(path, np.ascontiguousarray(array))
                staged[2].write_text(json.dumps(facts), encoding="utf-8")
                sync_files(staged)
                commit_files(list(zip(staged, final, strict=True)))  # facts come last: with them, a case is complete
            finally:
                for path in staged:
                    path.unlink(missing_ok=True)


def _tidy(folder: Path) -> None:
    """Remove what a killed process has left of a case; another machine may be writing the same case just now."""
    for path in left_by_dead_runs(folder):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _QUIET_S:
                path.unlink()


def _save(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)  # numpy's own writer forgets why the system refused
