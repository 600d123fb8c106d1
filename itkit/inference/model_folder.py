"""The model folder: ``model.safetensors`` and ``model.json``, all that is needed to apply a trained network.

Training writes it (`write_model`), ``itk_infer``, ``itkit export`` and ``itkit serve`` read it (`read_model`). Nothing
in it is executed: the weights are a table of numbers, and the description is checked before it is believed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from typing_extensions import Self

from itkit.core.bounded import parse_json, read_bounded
from itkit.core.errors import ModelError, WeightsError
from itkit.core.extras import require_torch
from itkit.core.params import OrientationCode
from itkit.core.text import some
from itkit.core.version import VERSION
from itkit.io.disk import commit_files, hidden_beside, sync_files

if TYPE_CHECKING:
    from torch import Tensor, nn

MODEL_JSON, MODEL_WEIGHTS = "model.json", "model.safetensors"
CHECKPOINT_ENTRY = "itkit_model"
"""Entry of a training checkpoint that holds the content of its ``model.json``."""
_RESERVED = {"name", "in_channels", "num_classes", "spatial_dims", "pretrained"}
_MOST_JSON_BYTES = 16 << 20
_PREFIXES = ("", "network.", "model.", "net.")


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False, protected_namespaces=())


class NetworkFacts(_Facts):
    """Which network it is.

    ``name`` and ``options`` are those of `itkit.models.create_model`; ``reference`` is a document for
    `itkit.models.from_reference` instead.
    """

    name: str
    options: Mapping[str, Any] = {}
    in_channels: int = Field(1, ge=1, le=1000)
    num_classes: int = Field(ge=1, le=65536)
    spatial_dims: Literal[2, 3] = 3
    reference: Mapping[str, Any] | None = None

    @field_validator("options")
    @classmethod
    def _no_reserved(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        if taken := sorted(_RESERVED & options.keys()):
            raise ValueError(f"{some(taken)} can't be an option of the network")
        return options


class Intensity(_Facts):
    """What is done to the intensities before the network sees them.

    Attributes
    ----------
    scheme
        ``ct``: clip to ``low`` and ``high``, subtract ``mean``, divide by ``sd``, the same numbers for all volumes.
        ``zscore``: subtract a volume's own mean and divide by its own standard deviation. ``none``: nothing.
    low, high, mean, sd
        Numbers of ``ct``: as a rule the foreground's 0.5 and 99.5 percentiles, mean and standard deviation.
    within
        Voxels that count for ``zscore``: ``all``, or ``nonzero`` (any channel differs from 0, holes filled); the others
        are then 0.
    channels
        Other rules for some channels, by name.
    """

    scheme: Literal["ct", "zscore", "none"] = "zscore"
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    sd: float | None = None
    within: Literal["all", "nonzero"] = "all"
    channels: Mapping[str, Intensity] = {}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.scheme == "ct":
            if None in (self.low, self.high, self.mean, self.sd):
                raise ValueError("the scheme ct needs low, high, mean and sd")
            if not (self.numbers[0] < self.numbers[1] and self.numbers[3] > 0):
                raise ValueError(f"the scheme ct needs low < high and sd > 0; got {self.numbers}")
        return self

    @property
    def numbers(self) -> tuple[float, float, float, float]:
        """Low, high, mean and sd of the scheme ``ct``."""
        assert self.low is not None
        assert self.high is not None
        assert self.mean is not None
        assert self.sd is not None
        return (self.low, self.high, self.mean, self.sd)

    def of(self, channel: str) -> Intensity:
        """Return the rule of a channel."""
        return self.channels.get(channel, self)


class ModelFacts(_Facts):
    """The content of ``model.json``: all that must be known of a trained network beside its weights.

    Attributes
    ----------
    itkit
        Version of ITKIT that wrote it.
    network
        Which network it is.
    channels
        Names of the input channels, in the network's order.
    labels
        Name of each label value but 0; in order of their values, they are the network's classes from 1 on.
    spacing
        Spacing that the network sees, mm, ZYX; -1 along an axis: that of each volume.
    orient
        Directions to which the axes X, Y, Z point when the network sees a volume.
    intensity
        What is done to the intensities.
    patch_size
        Voxels of a window, ZYX; one plane for a 2-D network.
    metrics
        What was measured, by name.
    training_digest
        Digest of the training split.
    licence
        Licence of the weights.
    weights_sha256
        Digest of ``model.safetensors``; empty to leave it unchecked.
    """

    itkit: str = VERSION
    network: NetworkFacts
    channels: tuple[str, ...]
    labels: Mapping[int, str]
    spacing: tuple[float, float, float]
    orient: OrientationCode = "LPS"
    intensity: Intensity = Intensity()
    patch_size: tuple[int, int, int]
    metrics: Mapping[str, Any] = {}
    training_digest: str | None = None
    licence: str = ""
    weights_sha256: str = ""

    @field_validator("spacing")
    @classmethod
    def _possible_spacing(cls, spacing: tuple[float, float, float]) -> tuple[float, float, float]:
        if not all(value == -1 or value > 0 for value in spacing):
            raise ValueError(f"expected spacings > 0 mm, or -1 to keep an axis; got {spacing}")
        return spacing

    @field_validator("labels")
    @classmethod
    def _possible_labels(cls, labels: Mapping[int, str]) -> Mapping[int, str]:
        if wrong := [value for value in labels if abs(value) >= 2**31]:
            raise ValueError(f"expected values of 32-bit integers; got {wrong[0]}")
        return labels

    @model_validator(mode="after")
    def _agree(self) -> Self:
        network = self.network
        if len(self.channels) != network.in_channels:
            raise ValueError(f"{len(self.channels)} channels are named, the network takes {network.in_channels}")
        if len(self.values) != network.num_classes:
            raise ValueError(
                f"{len(self.values)} classes (background among them) are named, the network has {network.num_classes}"
            )
        if min(self.patch_size) < 1 or (network.spatial_dims == 2 and self.patch_size[0] != 1):
            wanted = "one plane" if network.spatial_dims == 2 else "sides >= 1"
            raise ValueError(f"patch_size: expected {wanted} (ZYX); got {self.patch_size}")
        return self

    @property
    def values(self) -> tuple[int, ...]:
        """Label value of each class of the network, background first."""
        return (0, *sorted(value for value in self.labels if value != 0))

    @property
    def names(self) -> dict[int, str]:
        """Name of each label value, background included."""
        return {value: self.labels.get(value, "background") for value in self.values}

    @property
    def window_size(self) -> tuple[int, ...]:
        """Voxels of a window as `itkit.models.windows.SlidingWindow` takes them: two numbers for a 2-D network."""
        return self.patch_size[1:] if self.network.spatial_dims == 2 else self.patch_size

    def to_json(self) -> str:
        """Return the content of ``model.json``.

        Raises
        ------
        ValueError
            When a value is nan or infinite.
        """
        values = self.model_dump(mode="json")
        values["intensity"] = _given(values["intensity"])
        values["network"] = _given(values["network"])
        return json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not set: numbers of another scheme, an unused form of the network."""
    given = {key: value for key, value in values.items() if value not in (None, {}) or key == "options"}
    if "channels" in given:
        given["channels"] = {name: _given(rule) for name, rule in given["channels"].items()}
    return given


@dataclass(frozen=True)
class ModelFolder:
    """A trained network on disk.

    Parameters
    ----------
    path
        The folder, or the checkpoint.
    facts
        What its description says.
    weights
        File with the weights.
    """

    path: Path
    facts: ModelFacts
    weights: Path

    @property
    def digest(self) -> str:
        """SHA-256 of description and weights: equal digests give equal predictions.

        Raises
        ------
        OSError
            When the weights can't be read.
        """
        weights = self.facts.weights_sha256
        if not weights or self.weights.name != MODEL_WEIGHTS:
            with self.weights.open("rb") as file:
                weights = file_digest(file)
        return hashlib.sha256((weights + self.facts.to_json()).encode()).hexdigest()

    def load(self, device: Any = "cpu") -> nn.Module:
        """Build the network, fill it with the weights, and put it on a device, in evaluation mode.

        Raises
        ------
        ModelError
            When the network is unknown here, or an option is wrong.
        WeightsError
            When the weights are unsafe, damaged or those of another network.
        MissingExtraError
            When torch is not installed.
        """
        require_torch("a trained network")
        from itkit.models.checkpoints import read_weights

        if self.facts.weights_sha256 and self.weights.name == MODEL_WEIGHTS:
            with self.weights.open("rb") as file:
                if file_digest(file) != self.facts.weights_sha256:
                    raise WeightsError(
                        f"{self.weights}: not the weights that {MODEL_JSON} describes; copy both files of a model"
                    )
        network = build_network(self.facts.network, self.path)
        _fill(network, read_weights(self.weights), self.weights)
        return network.eval().to(device)


def file_digest(file: Any) -> str:
    """Return the SHA-256 digest of an open file, in hexadecimal digits."""
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()


def build_network(facts: NetworkFacts, where: Path | str = "network") -> nn.Module:
    """Build the network that a description names, with its initial weights.

    Raises
    ------
    ModelError
        When it is unknown here, or an option is wrong.
    """
    from itkit.models import create_model, from_reference

    try:
        if facts.reference is not None:
            return from_reference(facts.reference)
        return create_model(
            facts.name,
            in_channels=facts.in_channels,
            num_classes=facts.num_classes,
            spatial_dims=facts.spatial_dims,
            **facts.options,
        )
    except (TypeError, ValueError, KeyError) as error:
        raise ModelError(f"{where}: the network {facts.name!r} can't be built: {error}") from error


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Copy weights into a network; every one must be there, and of the same shape."""
    state = network.state_dict()
    prefix = max(_PREFIXES, key=lambda text: sum(text + key in tensors for key in state))
    found = {key: tensors[prefix + key] for key in state if prefix + key in tensors}
    faults = [f"{key} is missing" for key in state if key not in found]
    faults += [
        f"{key} has shape {tuple(found[key].shape)} instead of {tuple(state[key].shape)}"
        for key in found
        if found[key].shape != state[key].shape
    ]
    own = {prefix + key for key in state}
    faults += [f"{key} is unknown" for key in tensors if key.startswith(prefix) and key not in own]
    if faults:
        raise WeightsError(f"{source}: the weights are those of another network: {some(faults, most=3)}")
    network.load_state_dict(found)


def write_model(folder: Path, facts: ModelFacts, network: nn.Module | Mapping[str, Tensor]) -> ModelFolder:
    """Write a model folder; an earlier one is replaced, and a kill leaves no half-written file.

    Parameters
    ----------
    folder
        The folder, e.g. ``RUN/model``; it is made if it is missing.
    facts
        The content of ``model.json``; ``weights_sha256`` is filled in.
    network
        The network, or its weights by name (e.g. those of a moving average).

    Raises
    ------
    OSError
        When a file can't be written.
    """
    from itkit.models.checkpoints import write_safetensors

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = network if isinstance(network, Mapping) else network.state_dict()
    weights, description = folder / MODEL_WEIGHTS, folder / MODEL_JSON
    staged = {hidden_beside(weights): weights, hidden_beside(description): description}
    new_weights, new_description = staged
    try:
        write_safetensors(new_weights, tensors)
        with new_weights.open("rb") as file:
            facts = facts.model_copy(update={"weights_sha256": file_digest(file)})
        new_description.write_text(facts.to_json(), encoding="utf-8")
        sync_files([new_weights, new_description])
        commit_files(list(staged.items()))
    finally:
        for path in staged:
            path.unlink(missing_ok=True)
    return ModelFolder(folder, facts, weights)


def read_model(path: Path | str) -> ModelFolder:
    """Find and check a trained network; its weights are not read yet.

    Parameters
    ----------
    path
        A model folder; a run of ``itkit train`` (its ``model`` folder is taken); or a checkpoint (``.ckpt``), which
        holds the description as ``itkit_model`` or lies in the ``checkpoints`` folder of a run.

    Raises
    ------
    ModelError
        When there is no model, or its description is malformed.
    WeightsError
        When a checkpoint is unsafe or damaged.
    """
    path = Path(path)
    if path.is_file() and path.suffix.lower() in (".ckpt", ".pt", ".pth"):
        return _of_checkpoint(path)
    folder = path.parent if path.name in (MODEL_JSON, MODEL_WEIGHTS) and path.is_file() else path
    for place in (folder, folder / "model"):
        if (place / MODEL_JSON).is_file():
            return ModelFolder(place, read_facts(place / MODEL_JSON), place / MODEL_WEIGHTS)
    if not path.exists():
        raise ModelError(f"{path}: no such model")
    if (path / "checkpoints").is_dir():
        raise ModelError(f"{path}: the run has no model yet; train on: its first validation writes one")
    raise ModelError(f"{path}: expected a model folder ({MODEL_JSON} and {MODEL_WEIGHTS}), a run or a .ckpt file")


def _of_checkpoint(path: Path) -> ModelFolder:
    require_torch("a checkpoint")
    from itkit.models.checkpoints import read_content

    content = read_content(path)
    inside = content.get(CHECKPOINT_ENTRY) if isinstance(content, Mapping) else None
    if inside is not None:
        return ModelFolder(path, parse_facts(inside, f"{path}: {CHECKPOINT_ENTRY}"), path)
    for beside in (path.parent / MODEL_JSON, path.parent.parent / "model" / MODEL_JSON):
        if beside.is_file():
            return ModelFolder(path, read_facts(beside), path)
    raise ModelError(
        f"{path}: a checkpoint without a description: expected an entry {CHECKPOINT_ENTRY!r} in it, or {MODEL_JSON} "
        "beside it or in the run's model folder"
    )


def read_facts(path: Path) -> ModelFacts:
    """Read a ``model.json``.

    Raises
    ------
    ModelError
        When it can't be read, or is malformed; the message names the key.
    """
    try:
        values = parse_json(read_bounded(path, _MOST_JSON_BYTES), parse_constant=_refused)
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise ModelError(f"{path}: not readable as a description of a model: {reason}") from error
    return parse_facts(values, path)


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}, which is not JSON")


def parse_facts(values: Any, where: Path | str = MODEL_JSON) -> ModelFacts:
    """Check the content of a ``model.json``.

    Raises
    ------
    ModelError
        When a key is missing or a value is impossible; the message names the key.
    """
    if not isinstance(values, Mapping):
        raise ModelError(f"{where}: expected a JSON object with the description of a model")
    try:
        return ModelFacts.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise ModelError(f"{where}: {f'{key}: ' if key else ''}{said}") from error


def training_digest(cases: Sequence[str]) -> str:
    """Return the digest of a training split: of its case ids, in any order.

    Examples
    --------
    >>> training_digest(["b", "a"]) == training_digest(["a", "b"])
    True
    """
    return hashlib.sha256("\n".join(sorted(cases)).encode()).hexdigest()


def plain_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics for ``model.json``: what is nan or infinite becomes null.

    Examples
    --------
    >>> plain_metrics({"dice": 0.5, "hd95_mm": float("inf")})
    {'dice': 0.5, 'hd95_mm': None}
    """
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in metrics.items()
    }
