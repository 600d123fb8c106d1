"""The plan of a training: a commented TOML file that ``itkit plan`` writes, people edit, and ``itkit train`` follows.

One model says what a plan may hold. The comments of the file, the check of what is read, and the values given on the
command line (``training.batch_size=4``) all follow from it.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

from itkit.core.bounded import parse_toml
from itkit.core.errors import ParamsError
from itkit.core.params import OrientationCode
from itkit.core.text import did_you_mean
from itkit.core.toml import read_toml, toml_value
from itkit.inference.model_folder import Intensity
from itkit.training.augmenting.settings import AugmentSettings

Length = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


def _label_values(labels: Mapping[int, str]) -> Mapping[int, str]:
    if not labels or min(labels) < 1:
        raise ValueError("expected a name for each label value from 1 on; 0 is the background")
    return dict(sorted(labels.items()))


def _as_text(value: Any) -> Any:
    return str(value) if type(value) is int else value  # training.precision=16, as people write it


class Section(BaseModel):
    """A section of a plan; an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), use_attribute_docstrings=True
    )


class DatasetSection(Section):
    """The cases to learn from."""

    path: str
    """the dataset: image/ and label/, or a folder of stores (itk_patch --store); relative to this file"""
    channels: tuple[str, ...]
    """names of the channels of an image, in the network's order"""
    labels: Annotated[Mapping[int, str], AfterValidator(_label_values)]
    """name of each label value; the network learns these classes and the background"""


class PreprocessSection(Section):
    """What the network sees of a volume."""

    spacing: tuple[Length, Length, Length]
    """spacing, mm, Z Y X"""
    orient: OrientationCode = "LPS"
    """directions to which the axes X, Y, Z point"""
    intensity: Intensity = Intensity()
    """ct: clip, subtract the mean, divide by the sd; zscore: each volume by its own; none"""


class NetworkSection(Section):
    """The network."""

    name: str
    """one of `itkit models`"""
    options: Mapping[str, Any] = {}
    """options of the network"""
    weights: str = ""
    """file to start from: weights, a checkpoint or a model folder; empty for random ones"""


class TrainingSection(Section):
    """How it learns."""

    patch_size: tuple[Count, Count, Count]
    """voxels of a patch, Z Y X; 1 plane for a 2-D network"""
    batch_size: Count = 2
    """patches a step"""
    steps_per_epoch: Count = 250
    """steps between two looks at the learning rate; an epoch"""
    epochs: Count = 1000
    """epochs"""
    learning_rate: Annotated[float, Field(gt=0)] = 0.01
    """learning rate at the start"""
    optimizer: str = "torch.optim.SGD"
    """import path of the optimiser"""
    optimizer_options: Mapping[str, Any] = {"momentum": 0.99, "nesterov": True, "weight_decay": 3e-5}
    """its other arguments"""
    scheduler: str = "poly"
    """poly, warmup_cosine, constant, or the import path of a scheduler that is stepped once an epoch"""
    scheduler_options: Mapping[str, Any] = {}
    """its arguments: exponent (poly, 0.9); warmup_epochs (warmup_cosine, 10)"""
    loss: str | Mapping[str, Any] | tuple[str | Mapping[str, Any], ...] = {
        "name": "dice_ce",
        "include_background": False,
    }
    """name of a loss; a table with name, weight and options; or several of these, which are added"""
    deep_supervision: bool = True
    """also compare the coarser outputs of a network that has them"""
    precision: Annotated[Literal["32", "bf16", "16"], BeforeValidator(_as_text)] = "32"
    """type in which the network computes"""
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.33
    """part of the patches that have a voxel of a class, all classes equally likely, at their centre"""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """decides the initial weights, every patch and its augmentation"""
    workers: Annotated[int, Field(ge=0)] = 2
    """processes that load patches; 0: none. They do not change the result"""
    accumulate: Count = 1
    """batches whose gradients are added up before a step of the optimiser"""
    clip: Annotated[float, Field(ge=0)] = 12.0
    """largest norm of the gradient; 0 for no limit"""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """decay of the moving average of the weights that is validated and kept; 0: none"""
    compile: bool = False
    """torch.compile the network"""
    use_checkpoint: bool = False
    """recompute activations instead of keeping them: less memory, more time; for networks that can"""


class SplitSection(Section):
    """Which cases are learnt from, which are validated."""

    file: str = ""
    """splits.json of itk_split (or splits_final.json), relative to this file; empty: folds are drawn"""
    folds: Annotated[int, Field(ge=1)] = 5
    """parts of the cases; each fold validates on one. 1: validate on the training cases themselves"""


class ValidationSection(Section):
    """How whole volumes are validated."""

    every: Count = 10
    """epochs between two validations; the last epoch ends with one, too"""
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """part of a sliding window that the next one covers again"""
    patience: Annotated[int, Field(ge=0)] = 0
    """validations without a better mean Dice after which training ends; 0: never early"""


class Plan(Section):
    """A whole plan."""

    dataset: DatasetSection
    preprocess: PreprocessSection
    network: NetworkSection
    training: TrainingSection
    augment: AugmentSettings = AugmentSettings()
    split: SplitSection = SplitSection()
    validation: ValidationSection = ValidationSection()

    @model_validator(mode="after")
    def _agree(self) -> Self:
        unknown = set(self.preprocess.intensity.channels) - set(self.dataset.channels)
        if unknown:
            raise ValueError(f"preprocess.intensity.channels: no channel {sorted(unknown)[0]!r} in dataset.channels")
        return self


def read_plan(path: str | Path, overrides: Iterable[str] = ()) -> Plan:
    """Read a plan.

    Parameters
    ----------
    path
        The TOML file.
    overrides
        Values that replace those of the file, as ``section.key=value``; see `with_overrides`.

    Raises
    ------
    ParamsError
        When the file can't be read, a key is unknown, or a value impossible. The message names key, value and what is
        allowed.
    """
    values = read_toml(Path(path))
    return make_plan(with_overrides(values, overrides), str(path))


def with_overrides(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Replace values of a plan.

    Parameters
    ----------
    values
        Sections of a plan.
    overrides
        ``section.key=value`` or ``section.key.key=value``. A value is written as in TOML; a bare word is a text.

    Raises
    ------
    ParamsError
        When there is no ``=``, or no section.

    Examples
    --------
    >>> with_overrides({"training": {"epochs": 10}}, ["training.epochs=3", "network.name=unet", "augment.on=device"])
    {'training': {'epochs': 3}, 'network': {'name': 'unet'}, 'augment': {'on': 'device'}}
    """
    result = {name: _copied(section) for name, section in values.items()}
    for text in overrides:
        name, separator, value = text.partition("=")
        keys = name.strip().split(".")
        if not separator or len(keys) < 2 or not all(keys):
            raise ParamsError(f"{text!r}: expected section.key=value, as in training.batch_size=4")
        table = result
        for key in keys[:-1]:
            inner = table.setdefault(key, {})
            if not isinstance(inner, dict):
                raise ParamsError(f"{text!r}: {key} is a value, not a section")
            table = inner
        table[keys[-1]] = _toml_value(value.strip())
    return result


def overridden(overrides: Iterable[str]) -> list[str]:
    """Return the keys, as ``section.key``, whose values are replaced.

    Examples
    --------
    >>> overridden(["training.epochs=3", "network.options.strides=[1, 2]"])
    ['training.epochs', 'network.options']
    """
    return [".".join(text.partition("=")[0].strip().split(".")[:2]) for text in overrides]


def _copied(value: Any) -> Any:
    return {key: _copied(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value


def _toml_value(text: str) -> Any:
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text


def make_plan(values: Mapping[str, Any], where: str = "plan") -> Plan:
    """Check the values of a plan.

    Raises
    ------
    ParamsError
        When a key is unknown or missing, or a value impossible; each is named.
    """
    try:
        return Plan.model_validate(values)
    except ValidationError as error:
        wrong = dict.fromkeys(_explain(item) for item in error.errors())
        raise ParamsError(f"{where}: {'; '.join(wrong)}") from error


def _explain(item: Any) -> str:
    keys = [str(part) for part in item["loc"]]
    key = ".".join(keys)
    message = str(item["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if item["type"] == "extra_forbidden":
        known = known_keys(keys[:-1])
        kind = "key" if len(keys) > 1 else "section"
        return f"unknown {kind} {key}{did_you_mean(keys[-1], known)} (there are {', '.join(known)})"
    if item["type"] == "missing" and isinstance(item["loc"][-1], int):
        return f"{'.'.join(keys[:-1])}: too few values; got {_short(item['input'])}"
    if item["type"] == "missing":
        return f"missing {key}"
    if not keys:
        return message
    return f"{key}: {message[:1].lower()}{message[1:]}; got {_short(item['input'])}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def moved_plan(plan: Plan, base: Path, folder: Path) -> Plan:
    """Return a plan for another folder: paths that are relative to ``base`` become relative to ``folder``."""

    def moved(text: str) -> str:
        return text if not text or Path(text).is_absolute() else os.path.relpath(base / text, folder)

    return plan.model_copy(
        update={
            "dataset": plan.dataset.model_copy(update={"path": moved(plan.dataset.path)}),
            "network": plan.network.model_copy(update={"weights": moved(plan.network.weights)}),
            "split": plan.split.model_copy(update={"file": moved(plan.split.file)}),
        }
    )


def known_keys(section: Iterable[str] = ()) -> list[str]:
    """Return the keys of a section, or the sections of a plan."""
    model: Any = Plan
    for name in section:
        field = getattr(model, "model_fields", {}).get(name)
        model = None if field is None else field.annotation
    return list(getattr(model, "model_fields", {}))


HEAD = "A plan for itkit train: what it learns from, the network, and how. Edit it as you like."
_WIDTH = 116


def description_lines(name: str) -> list[str]:
    """Return the comment that says what a key, ``section.key``, is; none for other names.

    Examples
    --------
    >>> description_lines("training.batch_size")
    ['patches a step']
    """
    model: Any = Plan
    for part in name.split("."):
        field = getattr(model, "model_fields", {}).get(part)
        model = None if field is None else field.annotation
    return [] if field is None else textwrap.wrap(" ".join((field.description or "").split()), _WIDTH)


def plan_text(
    plan: Plan, reasons: Mapping[str, str] | None = None, remarks: Mapping[str, Iterable[str]] | None = None
) -> str:
    """Write a plan as TOML, each value with a comment that says what it is, or from which number it follows.

    Parameters
    ----------
    plan
        The plan.
    reasons
        By ``section.key``: the number that a value follows from, in words; it stands beside the meaning of the key.
    remarks
        More lines of comment, as `itkit.training.remarks` reads them.

    Examples
    --------
    >>> values = {"dataset": {"path": "ct", "channels": ["CT"], "labels": {1: "liver"}}, "network": {"name": "unet"},
    ...           "preprocess": {"spacing": [3, 1, 1]}, "training": {"patch_size": [32, 64, 64]}}
    >>> plan = make_plan(values)
    >>> text = plan_text(plan, {"preprocess.spacing": "the median of 12 cases"})
    >>> print(text.split("[network]")[0].split("[pre")[1].rstrip())
    process]
    # spacing, mm, Z Y X
    # -> the median of 12 cases
    spacing = [3.0, 1.0, 1.0]
    # directions to which the axes X, Y, Z point
    orient = "LPS"
    # ct: clip, subtract the mean, divide by the sd; zscore: each volume by its own; none
    intensity = { scheme = "zscore", within = "all" }
    """
    reasons, remarks = reasons or {}, remarks or {}
    lines = [f"# {HEAD}"]
    for name, value in plan:
        lines += ["", *_comment(remarks.get(name, ())), f"[{name}]"]
        for key in type(value).model_fields:
            where = f"{name}.{key}"
            reason = textwrap.wrap(f"-> {reasons[where]}", _WIDTH) if reasons.get(where) else []
            lines += _comment([*description_lines(where), *reason, *remarks.get(where, ())])
            lines.append(f"{key} = {toml_value(_plain(getattr(value, key)))}")
    return "\n".join([*lines, *_comment(remarks.get("", ()))]) + "\n"


def _comment(lines: Iterable[str]) -> list[str]:
    return [f"# {line}" for line in lines]


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {key: inner for key, inner in value.model_dump(mode="json").items() if inner not in (None, {})}
    return value
