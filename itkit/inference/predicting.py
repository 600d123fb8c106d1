"""From a volume to its label map: prepare, slide, put back on the volume's own grid, plane by plane.

A `Predictor` holds one or several networks. For each volume, the windows of every network are visited from low to high
Z; finished planes of logits become planes on the volume's own grid, where the classes are taken at once (of several
networks: from the mean of their softmax). Neither the logits of a whole volume nor its probabilities are in memory,
unless they are asked for.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.errors import CaseError, ModelError
from itkit.core.extras import require_torch
from itkit.core.geometry import orientation_steps
from itkit.core.volume import Volume
from itkit.inference.backends import BackendName, LoadedModel, load_model
from itkit.inference.preparing import Preparation, Prepared, prepare_image
from itkit.inference.restoring import (
    Indices,
    Part,
    indices_of_grids,
    label_table,
    largest_of,
    planes_of,
    require_numbers,
)
from itkit.process.body import body_mask
from itkit.process.geometry import orient
from itkit.process.itk_resample import resample

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from itkit.inference.model_folder import ModelFacts

_CHUNK_BYTES = 16 << 20


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
        When the networks do not know the same classes and channels, or see volumes in different orientations.
    """

    models: tuple[LoadedModel, ...]
    settings: InferenceSettings = field(default_factory=InferenceSettings)

    def __post_init__(self) -> None:
        require_alike([(str(loaded.model.path), loaded.model.facts) for loaded in self.models])

    @classmethod
    def load(
        cls,
        models: Sequence[Path | str],
        settings: InferenceSettings | None = None,
        *,
        backend: BackendName = "torch",
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

        Raises
        ------
        CaseError
            When the image does not fit the networks, or their output is nan.
        """
        room = room or Room()
        source = images[0].geometry
        runs = [_Run(loaded, self.settings, images, threads, room, logits=logits) for loaded in self.models]
        classes = self.facts.network.num_classes
        axes, flips = orientation_steps(source, self.facts.orient)
        table = label_table(self.facts.values, classes)
        label = np.empty(source.size_zyx, table.dtype)
        turned_label = _turned_view(label, axes, flips)
        shape = (*source.size_zyx, classes)
        soft = room.array(shape, np.float16, in_memory=room.probabilities) if probabilities else None
        turned_soft = None if soft is None else _turned_view(soft, axes, flips)
        counts = np.zeros(classes, np.int64)
        with _torch_threads(threads):
            for start, largest, values in _answers(runs, threads, soft=probabilities):
                place = slice(start, start + len(largest))
                counts += np.bincount(largest.reshape(-1), minlength=classes)
                turned_label[place] = table[largest]
                if turned_soft is not None and values is not None:
                    turned_soft[place] = np.moveaxis(values, 0, -1)
        voxels = dict(zip(self.facts.values, counts.tolist(), strict=True))
        notes = tuple(dict.fromkeys(note for run in runs for note in run.notes))
        if not counts[1:].any():
            notes += ("no voxel of any class was found; is the image of the kind that the network has learned?",)
        return Prediction(
            Volume(label, source, "label"),
            sum(run.windows for run in runs),
            voxels,
            None if soft is None else Volume(soft, source),
            tuple(run.saved for run in runs if run.saved is not None),
            notes,
        )


def require_alike(models: Sequence[tuple[str, ModelFacts]]) -> None:
    """Raise an error unless the answers of several networks can be averaged.

    Raises
    ------
    ModelError
        When their classes, channels or orientations differ.
    """
    first_name, first = models[0]
    for name, facts in models[1:]:
        for what in ("names", "channels", "orient"):
            one, other = getattr(first, what), getattr(facts, what)
            if one != other:
                word = {"names": "classes", "orient": "orientations"}.get(what, what)
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
        require_torch("a trained network")
        import torch

        from itkit.models.windows import SlidingWindow

        facts = loaded.model.facts
        self.facts = facts
        self.windows = 0
        self.notes: list[str] = []
        self.saved: Volume | None = None
        preparation = Preparation.of(facts)
        prepared = prepare_image(images, preparation, threads=threads)
        self.indices: Indices = indices_of_grids(prepared.geometry, prepared.turned)
        self._tensor = torch.from_numpy(prepared.array_czyx)[None]
        self._mask = self._body(images[0], prepared, threads) if settings.skip_air else None
        self._loaded = loaded
        self._sliding = SlidingWindow(
            patch_size=facts.window_size,
            overlap=settings.overlap,
            scheme=settings.scheme,  # type: ignore[arg-type]  # checked there
            batch=settings.batch,
            flips=settings.flips,
            precision=settings.precision,  # type: ignore[arg-type]
            device=loaded.device,
            max_bytes=None if room.sums else 0,
            scratch=room.scratch,
        )
        if logits:
            size = (*prepared.geometry.size_zyx, facts.network.num_classes)
            self.saved = Volume(room.array(size, np.float32, in_memory=room.logits), prepared.geometry)

    def _body(self, image: Volume, prepared: Prepared, threads: int) -> Tensor | None:
        import torch

        body = body_mask(image)
        if not body.array_zyx.any():
            self.notes.append("--skip-air: no body was found; every window was seen")
            return None
        turned = orient(body, self.facts.orient, threads=threads)
        on_grid = resample(turned, prepared.geometry, threads=threads)
        return torch.from_numpy(np.ascontiguousarray(on_grid.array_zyx != 0))[None]

    def _network(self, windows: Tensor) -> Any:
        self.windows += len(windows)
        return self._loaded.network(windows)

    def parts(self) -> Iterator[Part]:
        """Yield finished planes of logits, ``(K, planes, Y, X)``."""
        expected = self.facts.network.num_classes
        for start, logits in self._sliding.slabs(self._network, self._tensor, self._mask):
            values = logits[0].cpu().numpy()
            if len(values) != expected:
                raise ModelError(f"{self._loaded.model.path}: the network gives {len(values)} classes, not {expected}")
            if self.saved is not None:
                self.saved.array_zyx[start : start + values.shape[1]] = np.moveaxis(values, 0, -1)
            yield start, values
        self.windows //= 2 ** len(self._sliding.flips)
        self._mask = None


_Answer = tuple[int, "NDArray[Any]", "NDArray[np.float32] | None"]
"""The first plane, the class numbers ``(planes, Y, X)``, the probabilities ``(K, planes, Y, X)``."""


def _answers(runs: Sequence[_Run], threads: int, *, soft: bool) -> Iterator[_Answer]:
    """Yield the answer of one or several networks on the volume's own grid, a few planes at a time."""
    if len(runs) == 1:
        (run,) = runs
        for planes in planes_of(run.parts(), run.indices):
            values = None
            if soft:
                values = np.stack([planes.of_class(number, threads) for number in range(len(planes.source))])
                _softmax(values)
            yield planes.start, largest_of(planes, threads=threads), values
        return
    for start, planes_of_runs in enumerate(zip(*(_soft_planes(run, threads) for run in runs), strict=True)):
        mean: NDArray[np.float32] = np.stack(planes_of_runs).mean(axis=0)
        yield start, mean.argmax(axis=0).astype(np.uint16)[None], mean[:, None]


def _soft_planes(run: _Run, threads: int) -> Iterator[NDArray[np.float32]]:
    """Yield the probabilities ``(K, Y, X)`` of one plane after another."""
    classes = run.facts.network.num_classes
    for planes in planes_of(run.parts(), run.indices, _CHUNK_BYTES // classes):
        values = np.stack([planes.of_class(number, threads) for number in range(classes)])
        _softmax(values)
        for number in range(values.shape[1]):
            yield values[:, number]


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
    """Limit the threads of torch for a while."""
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
    backend: BackendName = "torch",
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

    Examples
    --------
    >>> import itkit.inference
    >>> itkit.inference.predict("run/model", "ct.nii.gz")  # doctest: +SKIP
    Volume(label, 120 x 512 x 512 voxels ZYX, 2.5 x 0.8 x 0.8 mm ZYX, LPS, uint8, 31.5 MB)
    """
    from itkit.io.anything import read

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
    one_by_one: Iterable[Any] = [volume] if isinstance(volume, Volume | str | Path) else volume
    channels = len(predictor.facts.channels) > 1
    images = [item if isinstance(item, Volume) else read(item, channels=channels) for item in one_by_one]
    if not images:
        raise CaseError("no image is given")
    return predictor.predict(images, threads=threads).label
