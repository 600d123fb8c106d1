"""From a volume to its label map: prepare, slide, put back on the volume's own grid, plane by plane.

A `Predictor` holds one or several networks. For each volume, the windows of a network are visited from low to high Z;
finished blocks of logits become voxels on the volume's own grid, where the classes are taken at once. Neither the
logits of a whole volume nor its probabilities are in memory, unless they are asked for. Of several networks, the
softmax is added up on the volume's own grid, in memory or in a file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.arguments import expect
from itkit.core.errors import CaseError, ModelError, ParamsError
from itkit.core.extras import require_torch
from itkit.core.geometry import Geometry, orientation_steps
from itkit.core.volume import Volume
from itkit.inference.array_windows import ArrayWindows
from itkit.inference.backends import Backend, LoadedModel, load_model
from itkit.inference.preparing import Preparation, Prepared, prepare_image
from itkit.inference.restoring import (
    Part,
    Piece,
    indices_of_grids,
    label_table,
    largest_of,
    pieces_of,
    require_numbers,
)
from itkit.models.window_sums import window_grid
from itkit.process.body import body_mask
from itkit.process.geometry import orient
from itkit.process.itk_resample import resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from itkit.inference.model_folder import ModelFacts


@dataclass(frozen=True, kw_only=True)
class InferenceSettings:
    """How networks are applied.

    Parameters
    ----------
    overlap, scheme, batch, flips, precision
        See `itkit.models.windows.SlidingWindow`.
    skip_air
        Leave out windows without a voxel of the patient's body.
    """

    overlap: float = 0.5
    scheme: str = "monai"
    batch: int = 1
    flips: str = ""
    precision: str = "32"
    skip_air: bool = False


@dataclass(frozen=True, kw_only=True)
class Room:
    """What of a prediction lies in memory; the rest lies in files without a name.

    Parameters
    ----------
    sums, probabilities, logits
        Whether the sums of unfinished planes, the probabilities and the saved logits lie in memory.
    scratch
        Folder of the files; ``None`` for the system's temporary folder.
    """

    sums: bool = True
    probabilities: bool = True
    logits: bool = True
    scratch: Path | None = None

    def array(self, shape: Sequence[int], dtype: Any, *, in_memory: bool) -> NDArray[Any]:
        """Return an array, in memory or in a file."""
        if in_memory:
            return np.empty(shape, dtype)
        with tempfile.TemporaryFile(dir=self.scratch, prefix="itkit-") as file:  # the map keeps it open
            return np.memmap(file, dtype, "w+", shape=tuple(shape))


@dataclass(frozen=True, eq=False)
class Prediction:
    """What networks say of one volume.

    Parameters
    ----------
    label
        The label map, on the volume's own grid, with the label values of training.
    windows
        How many windows the networks have seen.
    voxels
        Number of voxels of each label value.
    probabilities
        Softmax ``(Z, Y, X, K)``, float16, on the volume's own grid, if it was asked for.
    logits
        Logits ``(Z, Y, X, K)``, float32, of each network on its own grid, if they were asked for.
    notes
        What the user should know.
    """

    label: Volume
    windows: int
    voxels: dict[int, int]
    probabilities: Volume | None = None
    logits: tuple[Volume, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Predictor:
    """One or several trained networks that are applied to volumes.

    Parameters
    ----------
    models
        The networks; of several, the mean of the softmax counts.
    settings
        How they are applied.

    Raises
    ------
    ModelError
        When the networks do not know the same classes or channels.
    """

    models: tuple[LoadedModel, ...]
    settings: InferenceSettings = field(default_factory=InferenceSettings)

    def __post_init__(self) -> None:
        require_alike([(str(loaded.model.path), loaded.model.facts) for loaded in self.models])
        others = {loaded.backend for loaded in self.models} - {"torch"}
        if others and self.settings.precision != "32":
            raise ParamsError(
                f"--precision {self.settings.precision} is a setting of --backend torch; the backend {min(others)} "
                "computes in the type of its file"
            )

    @classmethod
    def load(
        cls,
        models: Sequence[Path | str],
        settings: InferenceSettings | None = None,
        *,
        backend: Backend = "auto",
        device: str = "auto",
        threads: int = 1,
    ) -> Predictor:
        """Load networks; see `itkit.inference.backends.load_model`."""
        loaded = tuple(load_model(path, backend, device=device, threads=threads) for path in models)
        return cls(loaded, settings or InferenceSettings())

    @property
    def facts(self) -> ModelFacts:
        """What is known of the first network."""
        return self.models[0].model.facts

    def predict(
        self,
        images: Sequence[Volume],
        *,
        threads: int = 1,
        probabilities: bool = False,
        logits: bool = False,
        room: Room | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Prediction:
        """Predict the label map of one case.

        Parameters
        ----------
        images
            The channels in the networks' order: a volume for each, or one volume ``(Z, Y, X, C)``.
        threads
            Threads to use.
        probabilities, logits
            Whether to return them.
        room
            What lies in memory; by default everything.
        progress
            Called with the finished part, from 0 to 1, after each batch of windows; what it raises ends the work.

        Raises
        ------
        CaseError
            When the image does not fit the networks, or their output is nan.
        """
        room = room or Room()
        answers = _Answers(self, images[0].geometry, room, soft=probabilities)
        windows, saved, notes = 0, [], list[str]()
        uses_torch = any(loaded.backend == "torch" for loaded in self.models)
        with _torch_threads(threads) if uses_torch else nullcontext():
            for number, loaded in enumerate(self.models):
                run = _Run(loaded, self.settings, images, threads, room, logits=logits)
                if progress is not None:
                    run.tell = partial(_tell, progress, number, len(self.models))
                axes, flips = orientation_steps(images[0].geometry, loaded.model.facts.orient)
                for piece in run.pieces():
                    answers.add(piece, axes, flips, threads)
                windows += run.windows
                saved += [run.saved] if run.saved is not None else []
                notes += run.notes
                del run  # its image and its sums, before those of the next one
        label, counts = answers.label()
        voxels = dict(zip(self.facts.values, counts, strict=True))
        if not any(counts[1:]):
            notes.append("no voxel of any class was found; is the image of the kind that the network has learned?")
        return Prediction(label, windows, voxels, answers.probabilities(), tuple(saved), tuple(dict.fromkeys(notes)))


class _Answers:
    """What networks say of each voxel of the volume's own grid."""

    def __init__(self, predictor: Predictor, source: Geometry, room: Room, *, soft: bool) -> None:
        facts = predictor.facts
        self._source, self._room = source, room
        self._count = len(predictor.models)
        self._table = label_table(facts.values, facts.network.num_classes)
        classes = len(self._table)
        self._numbers = np.zeros(source.size_zyx, np.uint8 if classes <= 256 else np.uint16)
        self._soft = None
        if self._count > 1:
            self._soft = room.array((classes, *source.size_zyx), np.float32, in_memory=room.probabilities)
            self._soft[...] = 0
        elif soft:
            self._soft = room.array((classes, *source.size_zyx), np.float16, in_memory=room.probabilities)
        self._is_wanted = soft

    def add(self, piece: Piece, axes: Sequence[int], flips: Sequence[bool], threads: int) -> None:
        """Take in a piece of a grid whose axes are turned."""
        place = (piece.planes, piece.rows)
        if self._count == 1:
            _turned_view(self._numbers, axes, flips)[place] = largest_of(piece, threads=threads)
        if self._soft is not None:
            values = np.stack([piece.of_class(number, threads) for number in range(len(piece.source))])
            _softmax(values)
            for channel, one in zip(self._soft, values, strict=True):
                turned = _turned_view(channel, axes, flips)
                if self._count == 1:
                    turned[place] = one
                else:
                    turned[place] += one

    def label(self) -> tuple[Volume, list[int]]:
        """Return the label map, and how many voxels each class has."""
        classes = len(self._table)
        if self._count > 1:
            assert self._soft is not None
            for plane, numbers in enumerate(self._numbers):
                numbers[...] = self._soft[:, plane].argmax(axis=0)
        counts = np.bincount(self._numbers.reshape(-1), minlength=classes) if classes > 256 else _counts(self._numbers)
        if not np.array_equal(self._table, np.arange(classes)):
            values = np.empty(self._numbers.shape, self._table.dtype)
            for plane, numbers in zip(values, self._numbers, strict=True):
                plane[...] = self._table[numbers]
        else:
            values = self._numbers.astype(self._table.dtype, copy=False)
        return Volume(values, self._source, "label"), counts[:classes].tolist()

    def probabilities(self) -> Volume | None:
        """Return the mean of the softmax, ``(Z, Y, X, K)``, if it was asked for."""
        if not self._is_wanted:
            return None
        assert self._soft is not None
        shape = (*self._source.size_zyx, len(self._table))
        result = self._room.array(shape, np.float16, in_memory=self._room.probabilities)
        for plane in range(len(result)):
            result[plane] = np.moveaxis(self._soft[:, plane] / np.float32(self._count), 0, -1)
        return Volume(result, self._source)


def _counts(numbers: NDArray[Any]) -> NDArray[np.int64]:
    total = np.zeros(256, np.int64)
    for plane in numbers:
        total += np.bincount(plane.reshape(-1), minlength=256)
    return total


def require_alike(models: Sequence[tuple[str, ModelFacts]]) -> None:
    """Raise an error unless the answers of several networks can be averaged.

    Raises
    ------
    ModelError
        When their classes or channels differ.
    """
    first_name, first = models[0]
    for name, facts in models[1:]:
        for what, word in (("names", "classes"), ("channels", "channels")):
            one, other = getattr(first, what), getattr(facts, what)
            if one != other:
                raise ModelError(f"{first_name} and {name} can't be averaged: their {word} differ: {one} and {other}")


class _Run:
    """One network on one volume."""

    def __init__(
        self,
        loaded: LoadedModel,
        settings: InferenceSettings,
        images: Sequence[Volume],
        threads: int,
        room: Room,
        *,
        logits: bool,
    ) -> None:
        facts = loaded.model.facts
        self.facts = facts
        self.windows = 0
        self.tell: Callable[[float], None] | None = None
        self.notes: list[str] = []
        self.saved: Volume | None = None
        preparation = Preparation.of(facts)
        prepared = prepare_image(images, preparation, threads=threads)
        self._indices = indices_of_grids(prepared.geometry, prepared.turned)
        self._array = prepared.array_czyx[None]
        self._mask = self._body(images[0], prepared, threads) if settings.skip_air else None
        self._loaded, self._settings, self._room = loaded, settings, room
        if logits:
            size = (*prepared.geometry.size_zyx, facts.network.num_classes)
            self.saved = Volume(room.array(size, np.float32, in_memory=room.logits), prepared.geometry)

    def _body(self, image: Volume, prepared: Prepared, threads: int) -> NDArray[np.bool_] | None:
        body = body_mask(image)
        if not body.array_zyx.any():
            self.notes.append("--skip-air: no body was found; every window was seen")
            return None
        turned = orient(body, self.facts.orient, threads=threads)
        on_grid = resample(turned, prepared.geometry, threads=threads)
        return np.ascontiguousarray(on_grid.array_zyx != 0)[None]

    def _network(self, windows: Any) -> Any:
        found = self._loaded.network(windows)
        self.windows += len(windows)
        if self.tell is not None:
            self.tell(min(1.0, self.windows / self._most_windows()))
        return found

    def _most_windows(self) -> int:
        """Return how many windows the network will see, if none is left out."""
        settings = self._settings
        grid = window_grid(self._array.shape[2:], self.facts.patch_size, settings.overlap, settings.scheme)  # type: ignore[arg-type]
        return int(len(grid) * 2 ** len(settings.flips))

    def _blocks(self) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
        """Yield finished blocks of logits ``(K, planes, rows, X)`` of what computes the network."""
        wanted: dict[str, Any] = {
            "patch_size": self.facts.window_size,
            "overlap": self._settings.overlap,
            "scheme": self._settings.scheme,
            "batch": self._settings.batch,
            "flips": self._settings.flips,
            "max_bytes": None if self._room.sums else 0,
            "scratch": self._room.scratch,
        }
        if self._loaded.backend != "torch":
            for block in ArrayWindows(**wanted).blocks(self._network, self._array, self._mask):
                yield block.plane, block.row, block.logits[0]
            return
        torch = require_torch("a trained network")
        from itkit.models.windows import SlidingWindow

        sliding = SlidingWindow(**wanted, precision=self._settings.precision, device=self._loaded.device)  # type: ignore[arg-type]  # checked there
        mask = None if self._mask is None else torch.from_numpy(self._mask)
        for block in sliding.blocks(self._network, torch.from_numpy(self._array), mask):
            yield block.plane, block.row, block.logits[0].cpu().numpy()

    def _parts(self) -> Iterator[Part]:
        expected = self.facts.network.num_classes
        for plane, row, values in self._blocks():
            if len(values) != expected:
                raise ModelError(
                    f"{self._loaded.model.weights}: the network gives {len(values)} classes, not {expected}"
                )
            if self.saved is not None:
                place = (slice(plane, plane + values.shape[1]), slice(row, row + values.shape[2]))
                self.saved.array_zyx[place] = np.moveaxis(values, 0, -1)
            yield plane, row, values

    def pieces(self) -> Iterator[Piece]:
        """Yield the logits on the volume's own grid, turned as the network sees it."""
        yield from pieces_of(self._parts(), self._indices, self._array.shape[2:])
        self.windows //= 2 ** len(self._settings.flips)


def _tell(progress: Callable[[float], None], number: int, count: int, share: float) -> None:
    progress((number + share) / count)


def _softmax(values: NDArray[np.float32]) -> None:
    """Turn logits ``(K, …)`` into probabilities, in place."""
    require_numbers(values)
    values -= values.max(axis=0)
    np.exp(values, out=values)
    values /= values.sum(axis=0)


def _turned_view(array: NDArray[Any], axes_zyx: Sequence[int], flips_zyx: Sequence[bool]) -> NDArray[Any]:
    """View an array with its first three axes turned: what is written to the view stands in the array."""
    view: NDArray[Any] = array.transpose(*axes_zyx, *range(3, array.ndim))
    return view[tuple(slice(None, None, -1 if flip else 1) for flip in flips_zyx)]


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    """Limit the threads of torch for a while, if it computes."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def predict(
    model_dir: Path | str | Sequence[Path | str] | Predictor,
    volume: Volume | Path | str | Sequence[Volume | Path | str],
    *,
    overlap: float | None = None,
    scheme: str | None = None,
    batch: int | None = None,
    flips: str | None = None,
    precision: str | None = None,
    skip_air: bool | None = None,
    backend: Backend = "auto",
    device: str = "auto",
    threads: int = 1,
) -> Volume:
    """Predict the label map of a volume with a trained network.

    Parameters
    ----------
    model_dir
        The model folder, a run of ``itkit train``, a checkpoint, several of them (the mean of their softmax counts), or
        a `Predictor`, which is loaded once for many volumes.
    volume
        An image, or the channels of one in the network's order; a path is read.
    overlap, scheme, batch, flips, precision, skip_air
        See `InferenceSettings`; those that are not given are as there, or as in the `Predictor`.
    backend, device
        What computes, and where.
    threads
        Threads to use.

    Returns
    -------
    Volume
        The label map on the grid of the image, with the label values of training.

    Raises
    ------
    ModelError, WeightsError
        When the model can't be used.
    CaseError
        When the volume can't be read or does not fit the network.
    ArgumentError
        When it is something else.

    Examples
    --------
    >>> import itkit.inference
    >>> itkit.inference.predict("run/model", "ct.nii.gz")  # doctest: +SKIP
    Volume(label, 120 x 512 x 512 voxels ZYX, 2.5 x 0.8 x 0.8 mm ZYX, LPS, uint8, 31.5 MB)
    """
    from itkit.io.anything import read

    one_by_one = list(volume) if isinstance(volume, Sequence) and not isinstance(volume, str) else [volume]
    for item in one_by_one:
        expect(item, (Volume, str, Path), "predict: volume", "a Volume (Volume.from_sitk makes one) or a path")
    given = {"overlap": overlap, "scheme": scheme, "batch": batch, "flips": flips, "precision": precision}
    changes: dict[str, Any] = {
        name: value for name, value in {**given, "skip_air": skip_air}.items() if value is not None
    }
    if isinstance(model_dir, Predictor):
        predictor = replace(model_dir, settings=replace(model_dir.settings, **changes))
    else:
        paths = [model_dir] if isinstance(model_dir, str | Path) else list(model_dir)
        settings = InferenceSettings(**changes)
        predictor = Predictor.load(paths, settings, backend=backend, device=device, threads=threads)
    channels = len(predictor.facts.channels) > 1
    images = [item if isinstance(item, Volume) else read(item, channels=channels) for item in one_by_one]
    if not images:
        raise CaseError("no image is given")
    return predictor.predict(images, threads=threads).label
