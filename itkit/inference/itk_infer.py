"""``itk_infer``: label maps from images by trained networks, on the images' own grids.

Whole slides are taken, too: `itkit.pathology.segmenting` lists them and applies the networks to them.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator

from itkit.catalogue import SLIDE_SEGMENTER
from itkit.core.dataset_meta import DatasetMeta, channel_places
from itkit.core.errors import LayoutError, ParamsError
from itkit.core.extras import require_torch
from itkit.core.fields import Advanced, Bounds, Group, Later, PathRole, Pattern, Positional, Short, Unit, Unkeyed
from itkit.core.files import SLIDE_EXTENSIONS, STATE_FOLDER, Compression, split_extension, volume_suffix
from itkit.core.grids import require_one_grid
from itkit.core.operation import (
    Carry,
    CaseInput,
    Collected,
    Context,
    InputFile,
    Job,
    Operation,
    Outcome,
    Place,
    Plan,
    Report,
    Target,
    Written,
)
from itkit.core.params import Params, VolumeExtension
from itkit.core.text import counted
from itkit.core.volume import Case, Volume
from itkit.inference.backends import DEVICE, Backend, backend_of, choose_device, device_name, find_model
from itkit.inference.needs import Need, need_of_grid, require_disk
from itkit.io.dataset_meta import FoundMeta
from itkit.io.formats.store import STORE_SUFFIX, require_store, write_store
from itkit.io.layouts import IMAGE, LABEL, Images, find_description, find_images, require_destination
from itkit.process.common import case_meta, stamp_of
from itkit.process.plans import image_jobs

if TYPE_CHECKING:
    from itkit.inference.model_folder import ModelFolder
    from itkit.inference.predicting import Predictor
    from itkit.process.dicom_cases import DicomCase

_NAME = "itk_infer"
_PROBABILITIES, _LOGITS = "probabilities", "logits"
_SLIDES = "slides"
_SLIDE_MODALITY = "SM"
"""What DICOM calls slide microscopy."""


def _axes(text: str) -> str:
    axes = text.upper()
    if not re.fullmatch(r"[ZYX]{1,3}", axes) or len(set(axes)) < len(axes):
        raise ValueError(f"expected some of the axes Z, Y, X, each once, such as ZYX or X; got {text!r}")
    return "".join(axis for axis in "ZYX" if axis in axes)


class InferParams(Params):
    """Predict label maps with a trained network, on each image's own grid."""

    model: Annotated[Path, PathRole("in_file"), Positional("model")]
    """Model folder, a run of itkit train, or a checkpoint (.ckpt); for another backend, an exported model."""
    source: Annotated[Path, PathRole("in_folder"), Positional("source")]
    """Folder of images, a dataset (then its images), one volume file, a folder of DICOM series, or whole slides."""
    dest: Annotated[Path, PathRole("out_folder"), Positional("dest")]
    """Folder to write; the label maps of a dataset go to its sub-folder label."""
    ensemble: Annotated[tuple[Path, ...], PathRole("in_file"), Unkeyed(), Group("Network")] = ()
    """More models: the mean of the softmax of all of them counts."""
    backend: Annotated[Backend, Group("Network")] = "auto"
    """What computes the network: torch, or onnx or openvino for a model of itkit export; auto: what its file is for."""
    device: Annotated[str, Pattern(DEVICE), AfterValidator(device_name), Unkeyed(), Group("Network")] = "auto"
    """auto (the GPU if there is one), cpu, cuda or cuda:N."""
    precision: Annotated[Literal["32", "bf16", "16"], Group("Network")] = "32"
    """Type in which the network computes; sums are 32-bit floats whatever it is."""
    overlap: Annotated[float, Bounds(least=0, below=1), Group("Windows")] = 0.5
    """Part of a window that the next one covers again."""
    window_scheme: Annotated[Literal["monai", "nnunet"], Group("Windows")] = "monai"
    """Places of the windows: steps of equal length and a last one at the end, or even distances."""
    flips: Annotated[Annotated[str, Pattern(r"^[ZYXzyx]{1,3}$"), AfterValidator(_axes)] | None, Group("Windows")] = None
    """Average over windows mirrored along these axes, e.g. ZYX or X; each axis doubles the time (default: none)."""
    batch: Annotated[int, Bounds(least=1), Unkeyed(), Group("Windows")] = 1
    """Windows that the network sees at once."""
    skip_air: Annotated[bool, Group("Windows")] = False
    """Leave out windows without any voxel of the patient's body; of slides, pieces without tissue."""
    probabilities: Annotated[bool, Group("Output")] = False
    """Also write the softmax of all classes: probabilities/<case>.b2z, 16-bit floats on the image's grid."""
    save_logits: Annotated[bool, Group("Output"), Advanced()] = False
    """Also write the logits of all classes on the network's grid: logits/<case>.b2z, 32-bit floats."""
    recursive: Annotated[bool, Short("-r"), Unkeyed()] = False
    """Search sub-folders."""
    ext: Annotated[VolumeExtension, Group("Output")] = ".mha"
    """Format of the label maps; those of slides are pyramids (.ome.tif), with a .geojson each."""
    slide_mpp: Annotated[Annotated[float, Bounds(above=0), Unit("µm/pixel")] | None, Later(), Group("Slides")] = None
    """Resolution of level 0 of slides whose files do not tell it."""
    mpp_table: Annotated[Path | None, PathRole("in_file"), Later(), Group("Slides")] = None
    """CSV file with the columns slide and mpp: the resolution of single slides."""

    @property
    def models(self) -> tuple[Path, ...]:
        """All models."""
        return (self.model, *self.ensemble)


@dataclass(frozen=True)
class _Details:
    """What the plan knows of a case: the names of its channels' volumes in the network's order, or its series.

    ``components`` is the order of the values of one vector file; ``slide`` is what `SLIDE_SEGMENTER` knows of a slide.
    """

    names: tuple[str, ...] = ()
    components: tuple[int, ...] | None = None
    series: DicomCase | None = None
    slide: Any = None


@lru_cache(maxsize=8)
def _found(path: Path, backend: Backend, stamp: str) -> ModelFolder:
    del stamp  # the same file, read again when it has changed
    return find_model(path, backend)


def _models(params: InferParams) -> list[ModelFolder]:
    stamps = [stamp_of([path / "model.json" if path.is_dir() else path]) for path in params.models]
    return [_found(path, params.backend, stamp) for path, stamp in zip(params.models, stamps, strict=True)]


def plan(params: InferParams) -> Plan:
    """List the images of the source.

    Raises
    ------
    ModelError, WeightsError, MissingExtraError
        When a model can't be used here.
    LayoutError
        When the source holds no image.
    ParamsError
        When the dataset has other channels than the model.
    """
    backends = {backend_of(path, params.backend) for path in params.models}
    if "torch" in backends:
        _require_installed()
    elif params.precision != "32":
        raise ParamsError(
            f"--precision {params.precision} is a setting of --backend torch; other backends compute in the type of "
            "their file"
        )
    if params.device.startswith("cuda"):
        for backend in sorted(backends):
            choose_device(params.device, backend)
    models = _models(params)
    from itkit.inference.predicting import require_alike

    require_alike([(str(model.path), model.facts) for model in models])
    for model in models:
        if "Z" in (params.flips or "") and model.facts.network.spatial_dims == 2:
            raise ParamsError(
                f"--flips {params.flips}: {model.path} sees single planes: expected some of the axes YX, each once"
            )
    if params.probabilities or params.save_logits:
        require_store("blosc2")
    found = _find_source(params)
    require_destination(params.dest, *([params.source] if params.source.is_dir() else []))
    stamp = "+".join(model.digest[:16] for model in models)
    targets = found.targets or _targets(params, found.label_folder, len(models))
    jobs = tuple(
        replace(job, targets=targets, details=details, stamp=f"{stamp}+{job.stamp}" if job.stamp else stamp)
        for job, details in found.jobs
    )
    facts = models[0].facts
    meta = found.described.meta or DatasetMeta({})
    change = partial(DatasetMeta.with_labels, labels=facts.names)
    require_disk(jobs, params, models)
    notes = (*found.described.notes, *found.notes)
    details = _SLIDES if found.targets else None
    return Plan(jobs, found.extras, params.dest, notes, details, carries=Carry(meta, (params.dest,), change))


def _require_installed() -> None:
    """Raise an error if torch is not installed, without importing it: worker processes start faster that way.

    Raises
    ------
    MissingExtraError
        When it is not installed.
    """
    from importlib.util import find_spec

    if find_spec("torch") is None:
        require_torch(_NAME)


@dataclass(frozen=True)
class _Source:
    jobs: Sequence[tuple[Job, _Details]]
    label_folder: Path
    described: FoundMeta
    extras: Any = ()
    notes: tuple[str, ...] = ()
    targets: Mapping[str, Target] | None = None


def _find_source(params: InferParams) -> _Source:
    source, dest = params.source, params.dest
    if not source.exists():
        raise LayoutError(f"source {source} does not exist")
    if volume_suffix(dest) and not dest.is_dir():
        raise LayoutError(
            f"destination {dest} looks like a file; give a folder, the label map is named after the image"
        )
    if source.is_file():
        parts = split_extension(source.name)
        if parts is None and _may_be_slide(source):
            return _of_slides(params)
        if parts is None:
            raise LayoutError(f"source {source} is not a volume file")
        images = Images({parts[0]: {IMAGE: source}}, described=find_description(source.parent))
        meta = images.described.meta
        if meta is not None and meta.has_vectors:
            images = replace(images, components=(1, len(meta.channels)))
        return _of_images(images, dest, params)
    inside = source / IMAGE
    images = find_images(inside if inside.is_dir() else source, recursive=params.recursive)
    if not images.cases and not inside.is_dir():
        found = _of_dicom(params)
        if found is None and any(map(_may_be_slide, source.rglob("*") if params.recursive else source.glob("*"))):
            found = _of_slides(params)
        if found is not None:
            return found
    return _of_images(images, dest / LABEL if inside.is_dir() else dest, params)


def _of_images(images: Images, label_folder: Path, params: InferParams) -> _Source:
    wanted = _models(params)[0].facts.channels
    order, notes = _channel_order(images, wanted)
    jobs = []
    for job in image_jobs(images, label_folder, params.ext):
        names = tuple(job.inputs)
        if order is not None and len(names) == len(order):
            jobs.append((job, _Details(tuple(names[place] for place in order))))
        else:
            jobs.append((job, _Details(names, tuple(order) if order is not None and len(order) > 1 else None)))
    return _Source(jobs, label_folder, images.described, images.extras, notes)


def _may_be_slide(path: Path) -> bool:
    return path.name.lower().endswith(SLIDE_EXTENSIONS) and not path.name.startswith(".")


def _slides() -> Any:
    return import_module(SLIDE_SEGMENTER)


def _of_slides(params: InferParams) -> _Source:
    found = _slides().plan(params, [model.facts for model in _models(params)])
    jobs = [(job, _Details(slide=job.details)) for job in found.jobs]
    return _Source(jobs, params.dest, FoundMeta(), found.extras, found.notes, found.targets)


def _channel_order(images: Images, wanted: Sequence[str]) -> tuple[Sequence[int] | None, tuple[str, ...]]:
    """Return, for each channel of the model, its place among those of the dataset; and notes.

    Raises
    ------
    ParamsError
        When the dataset has more or fewer channels than the model.
    """
    meta = images.described.meta
    there = () if meta is None else meta.channels
    if not there:
        return None, ()
    if len(there) != len(wanted):
        raise ParamsError(
            f"the model takes {counted(len(wanted), 'channel')} ({', '.join(wanted)}); the dataset has {len(there)} "
            f"({', '.join(there)})"
        )
    if (places := channel_places(there, wanted)) is not None:
        return places, ()
    note = f"the dataset's channels ({', '.join(there)}) stand for the model's ({', '.join(wanted)}), in this order"
    return list(range(len(there))), (note,)


def _of_dicom(params: InferParams) -> _Source | None:
    """Return the series of a folder of DICOM files, or its slides; ``None`` if it holds none."""
    if not any(path.is_file() for path in params.source.rglob("*")):
        return None
    from itkit.io.dcm_toolkit import case_name
    from itkit.process.dicom_cases import find_dicom_cases

    cases, refused = find_dicom_cases(params.source, labels=False)
    if not cases:
        return None
    if all(case.series.modality == _SLIDE_MODALITY for case in cases):
        return _of_slides(params)
    names = [case_name(case.series) for case in cases]
    if len(cases) == 1:
        names = [params.source.absolute().name]
    jobs = {}
    for name, case in sorted(zip(names, cases, strict=True), key=lambda item: (item[0], item[1].series.uid)):
        own = name if name not in jobs else next(f"{name}_{n}" for n in range(2, 10_000) if f"{name}_{n}" not in jobs)
        size = {}
        if case.geometry is not None:
            voxels = math.prod(case.geometry.size_zyx)
            size = {IMAGE: CaseInput(case.geometry, "int32", 4 * voxels, reading=4 * voxels)}
        job = Job(
            own,
            {IMAGE: InputFile(case.series.files[0], "file")},
            stamp=stamp_of(case.files),
            more_files=tuple(case.files),
            problem=case.fault,
            sizes=size,
        )
        jobs[own] = (job, _Details(series=case))
    notes = tuple(f"left out: {item.path.name}: {item.reason}" for item in refused if item.series)
    return _Source([jobs[name] for name in sorted(jobs)], params.dest, FoundMeta(), notes=notes)


def _targets(params: InferParams, label_folder: Path, models: int) -> dict[str, Target]:
    targets = {LABEL: Target(label_folder, params.ext, "label")}
    suffix = STORE_SUFFIX["blosc2"]
    if params.probabilities:
        targets[_PROBABILITIES] = Target(params.dest / _PROBABILITIES, suffix, "image")
    for number in range(models if params.save_logits else 0):
        folder = params.dest / (_LOGITS if models == 1 else f"{_LOGITS}_{number}")
        targets[f"{_LOGITS}{number}"] = Target(folder, suffix, "image")
    return targets


def _need_of(inputs: Mapping[str, CaseInput], params: InferParams) -> Need | None:
    grids = [item.geometry for item in inputs.values()]
    if not grids:
        return None
    return need_of_grid(grids[0], sum(item.nbytes for item in inputs.values()), params, _models(params))


def memory(inputs: Mapping[str, CaseInput], params: InferParams) -> int:
    """Estimate the memory of a case: torch, network and windows, the image, and the sums of unfinished planes."""
    need = _need_of(inputs, params)
    return 0 if need is None else need.fixed + need.sums + need.probabilities + need.logits


def least_memory(inputs: Mapping[str, CaseInput], params: InferParams) -> int:
    """Estimate the memory of a case whose sums, probabilities and logits lie in files; pieces of slides do not."""
    need = _need_of(inputs, params)
    if need is None:
        return 0
    return need.fixed + (need.sums + need.probabilities if "slide" in inputs else 0)


@lru_cache(maxsize=1)
def _predictor(
    models: tuple[Path, ...], digests: tuple[str, ...], backend: Backend, device: str, threads: int
) -> Predictor:
    """Load the networks, once in a process."""
    from itkit.inference.predicting import Predictor

    del digests
    return Predictor.load(models, backend=backend, device=device, threads=threads)


def _prepared(params: InferParams, threads: int) -> Predictor:
    """Return the networks with the settings that are asked for."""
    from itkit.inference.predicting import InferenceSettings

    digests = tuple(model.digest for model in _models(params))
    is_torch = all(backend_of(path, params.backend) == "torch" for path in params.models)
    predictor = _predictor(params.models, digests, params.backend, params.device, 1 if is_torch else threads)
    settings = InferenceSettings(
        overlap=params.overlap,
        scheme=params.window_scheme,
        batch=params.batch,
        flips=params.flips or "",
        precision=params.precision,
        skip_air=params.skip_air,
    )
    return replace(predictor, settings=settings)


def infer_case(case: Case, params: InferParams, context: Context) -> Outcome:
    """Predict the label map of one case."""
    from itkit.inference.predicting import Room

    start = time.perf_counter()
    if case.details.slide is not None:
        outcome: Outcome = _slides().segment(case, params, _prepared(params, context.threads), context.threads)
        return outcome
    images = _images_of(case)
    models = _models(params)
    read_bytes = sum(image.array_zyx.nbytes for image in images)
    need = need_of_grid(images[0].geometry, read_bytes, params, models)
    room = math.inf if context.memory is None else context.memory - need.fixed
    fits = {}
    for name in ("sums", _PROBABILITIES, _LOGITS):
        fits[name] = getattr(need, name) <= room
        room -= getattr(need, name) if fits[name] else 0
    scratch = params.dest / STATE_FOLDER
    found = _prepared(params, context.threads).predict(
        images,
        threads=context.threads,
        probabilities=params.probabilities,
        logits=params.save_logits,
        room=Room(**fits, scratch=scratch if scratch.is_dir() else None),
    )
    stores: dict[str, Volume] = {}
    if found.probabilities is not None:
        stores[_PROBABILITIES] = found.probabilities
    stores |= {f"{_LOGITS}{number}": volume for number, volume in enumerate(found.logits)}
    facts = {
        "seconds": round(time.perf_counter() - start, 3),
        "windows": found.windows,
        "voxels": {str(value): count for value, count in found.voxels.items()},
    }
    batches = [partial(_write_store, name, case.id, volume) for name, volume in stores.items()]
    return Outcome((Case(case.id, {LABEL: found.label}),), facts, found.notes, batches=batches)


def _write_store(name: str, case_id: str, volume: Volume, place: Place, compression: Compression) -> list[Written]:
    kind = _PROBABILITIES if name == _PROBABILITIES else _LOGITS
    write_store(place(name, case_id), {kind: volume}, compression=compression)
    return [Written(name, case_id)]


def _images_of(case: Case) -> list[Volume]:
    """Return the channels of a case in the network's order."""
    details: _Details = case.details
    if details.series is not None:
        from itkit.io.dcm_toolkit import read_series

        details.series.require_grid()
        return [read_series(details.series.series)]
    require_one_grid(case)
    images = [case.volumes[name] for name in details.names]
    order = details.components
    if len(images) == 1 and images[0].array_zyx.ndim == 4 and order is not None and list(order) != sorted(order):
        images = [images[0].with_array(images[0].array_zyx[..., list(order)])]
    return images


def collect(params: InferParams, run: Collected) -> Report:
    """Return ``infer_meta.json``."""
    models = [_described(model) for model in _models(params)]
    more = _slides().collect(run) if run.plan.details == _SLIDES else {}
    return Report(files={**case_meta("infer_meta.json", _NAME, params, run, models=models), **more})


def _described(model: ModelFolder) -> dict[str, Any]:
    return {
        "network": model.facts.network.name,
        "digest": model.digest,
        "labels": {str(value): name for value, name in model.facts.names.items()},
        "licence": model.facts.licence,
    }


OPERATION: Operation[Any] = Operation(
    _NAME,
    InferParams,
    plan,
    infer_case,
    collect,
    example="itk_infer run/model raw predicted --device auto",
    memory=memory,
    least_memory=least_memory,
)
