"""The networks that a server has loaded, and what it does with an image."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itkit.core.errors import ModelError, ResourceError
from itkit.core.operation import CaseInput
from itkit.core.thumbnail import class_colour
from itkit.deploy.server.volumes import SegKind, read_upload, remove_inputs, write_result
from itkit.engine.resources import available_memory, format_bytes
from itkit.inference.itk_infer import InferParams, least_memory, memory
from itkit.inference.predicting import InferenceSettings, Predictor, Room

if TYPE_CHECKING:
    from itkit.deploy.server.jobs import Job
    from itkit.inference.backends import Backend
    from itkit.inference.model_folder import ModelFacts

_NOT_IN_NAMES = re.compile(r"[^\w.-]+")
_GENERIC = {"model", "exported", "onnx", "openvino"}


@dataclass(frozen=True, eq=False)
class Served:
    """A network that is loaded.

    Parameters
    ----------
    name
        How clients call it.
    path
        Where it lies; clients are not told.
    predictor
        The network.
    """

    name: str
    path: Path
    predictor: Predictor

    @property
    def facts(self) -> ModelFacts:
        """Its description."""
        return self.predictor.facts

    @property
    def backend(self) -> str:
        """What computes it."""
        return self.predictor.models[0].backend

    def to_json(self) -> dict[str, Any]:
        """Return what clients are told."""
        facts = self.facts
        return {
            "name": self.name,
            "network": facts.network.name,
            "backend": self.backend,
            "device": self.predictor.models[0].device,
            "channels": list(facts.channels),
            "labels": [
                {"value": value, "name": name, "color": list(class_colour(value))}
                for value, name in facts.names.items()
                if value != 0
            ],
            "spacing": list(facts.spacing),
            "orient": facts.orient,
            "patch_size": list(facts.patch_size),
            "intensity": facts.intensity.scheme,
            "licence": facts.licence,
            "training_digest": facts.training_digest,
        }


def load_models(
    paths: Sequence[Path],
    settings: InferenceSettings,
    *,
    backend: Backend = "auto",
    device: str = "auto",
    threads: int = 1,
) -> dict[str, Served]:
    """Load networks, by name.

    Raises
    ------
    ModelError
        When one can't be used.
    """
    found: dict[str, Served] = {}
    for path in paths:
        predictor = Predictor.load([path], settings, backend=backend, device=device, threads=threads)
        name = _name_of(path, predictor.facts, found)
        found[name] = Served(name, path, predictor)
    return found


def _name_of(path: Path, facts: ModelFacts, taken: Mapping[str, Served]) -> str:
    """Return a name that tells models apart: that of the file or folder, or the first above it that says something."""
    absolute = path.absolute()
    parts = [absolute.stem if absolute.is_file() else absolute.name, *(one.name for one in absolute.parents)]
    said = next((part for part in parts if part and part.lower() not in _GENERIC), facts.network.name)
    base = _NOT_IN_NAMES.sub("_", _composed(said)).strip("_.") or facts.network.name
    return base if base not in taken else next(f"{base}_{n}" for n in range(2, 10_000) if f"{base}_{n}" not in taken)


def _composed(name: str) -> str:
    """Return a name with each letter as one character; some systems store an umlaut as a letter and its dots."""
    return unicodedata.normalize("NFC", name)


def segment(
    served: Served, paths: Sequence[Path], job: Job, *, wanted: str, kind: SegKind, threads: int
) -> tuple[Path, dict[str, Any]]:
    """Segment an uploaded image, and return the file of the label map and facts about it.

    Raises
    ------
    CaseError
        When the image can't be read or segmented.
    ResourceError
        When there is too little memory.
    """
    given = read_upload(paths, served.facts, job.folder)
    if given.template is None:  # a segmentation refers to the files of its series
        remove_inputs(job.folder)
    room = _room(served, given.images[0], job.folder)
    prediction = served.predictor.predict(given.images, threads=threads, room=room, progress=job.advance)
    result = write_result(prediction.label, given, served.facts, job.folder, wanted, kind)
    remove_inputs(job.folder)
    names = served.facts.names
    facts = {
        "file": result.name,
        "labels": [
            {"value": value, "name": names[value], "color": list(class_colour(value)), "voxels": count}
            for value, count in prediction.voxels.items()
            if value != 0
        ],
        "windows": prediction.windows,
        "notes": list(prediction.notes),
    }
    return result, facts


def _room(served: Served, image: Any, scratch: Path) -> Room:
    """Return what lies in memory, as ``itk_infer`` decides it.

    Raises
    ------
    ResourceError
        When the image does not fit into the memory that is free.
    """
    params = InferParams(model=served.path, source=scratch, dest=scratch, backend=served.backend)
    inputs = {"image": CaseInput(image.geometry, str(image.dtype), 0)}
    free = available_memory()
    least = least_memory(inputs, params)
    if least > free:
        raise ResourceError(
            f"this image needs {format_bytes(least)} of memory; the server has {format_bytes(free)} free"
        )
    fits = memory(inputs, params) <= free
    return Room(sums=fits, probabilities=fits, logits=fits, scratch=scratch)


def find_served(models: Mapping[str, Served], name: str) -> Served:
    """Return a model by its name; an empty one means the only model.

    Raises
    ------
    ModelError
        When there is none.
    """
    if not name and len(models) == 1:
        return next(iter(models.values()))
    if (composed := _composed(name)) in models:
        return models[composed]
    known = ", ".join(models)
    raise ModelError(f"no model is called {name[:100]!r}; there are: {known}" if name else f"which model? {known}")
