"""From MMEngine to ``itkit train``, and back: checkpoints and model folders, configurations and plans."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from itkit.core.errors import ItkitError, ModelError, ParamsError
from itkit.core.extras import require, require_torch
from itkit.core.fields import Axes, Bounds, Choices, FreeText, OnlyWith, PathRole, Positional, Unit
from itkit.core.params import OrientationCode, Params
from itkit.core.text import some
from itkit.core.tool import Tool
from itkit.inference.model_folder import Intensity, ModelFacts, NetworkFacts, read_model, write_model
from itkit.io.disk import write_bytes, write_text
from itkit.training.plan_file import Plan, make_plan, plan_text, read_plan

LOGGER = logging.getLogger(__name__)
TARGETS = ("model", "checkpoint", "plan", "config")
_PREFIX = "backbone."
_WRAPPERS = ("module.", "_orig_mod.")


class ConvertParams(Params):
    """Convert between MMEngine and itkit train.

    A checkpoint with its configuration becomes a model folder, which itk_infer and itkit export take (--to model), and
    a model folder becomes a checkpoint (--to checkpoint). A configuration becomes a plan (--to plan), and a plan a
    configuration (--to config). What one of them cannot say is named.
    """

    source: Annotated[Path, PathRole("in_file"), Positional()]
    """Checkpoint (.pth), model folder, configuration (.py) or plan (.toml)."""
    dest: Annotated[Path, PathRole("out_file"), Positional()]
    """Model folder or file to write."""
    to: Annotated[str, Choices(TARGETS)]
    """What to write: model, checkpoint, plan or config."""
    config: Annotated[Path | None, PathRole("in_file"), OnlyWith(to="model", note="the others need none")] = None
    """Configuration of the checkpoint (default: what the checkpoint holds cannot be trusted, so there is none)."""
    classes: Annotated[tuple[str, ...], FreeText("liver"), OnlyWith(to=("model", "plan"))] = ()
    """Names of the classes from 1 on (default: those of the configuration's dataset)."""
    channels: Annotated[tuple[str, ...], FreeText("CT"), OnlyWith(to=("model", "plan"))] = ()
    """Names of the channels (default: those of the dataset)."""
    spacing: Annotated[
        tuple[float, float, float] | None, Axes("ZYX"), Unit("mm"), Bounds(above=0), OnlyWith(to=("model", "plan"))
    ] = None
    """Spacing that the network has learned from (default: model: each volume's own; plan: the dataset's median)."""
    orient: Annotated[OrientationCode, OnlyWith(to=("model", "plan"))] = "LPS"
    """Orientation of the volumes that the network has learned from."""


def run(params: ConvertParams) -> int:
    """Convert, and return 0.

    Raises
    ------
    ParamsError, ModelError, WeightsError
        When the source is something else, or the target can't say what the source says.
    """
    if params.dest.exists() and not (params.to == "model" and params.dest.is_dir()):
        raise ParamsError(f"{params.dest} is there already; choose another name")
    if params.to == "model":
        if params.config is None:
            raise ParamsError("--to model: give the configuration of the checkpoint by --config")
        facts = facts_of_config(
            load(params.config),
            classes=params.classes,
            channels=params.channels,
            spacing=params.spacing or (-1, -1, -1),
            orient=params.orient,
        )
        write_model(params.dest, facts, weights_of_checkpoint(params.source))
    elif params.to == "checkpoint":
        checkpoint_of_model(params.source, params.dest)
    elif params.to == "plan":
        plan = plan_of_config(
            load(params.source),
            classes=params.classes,
            channels=params.channels,
            spacing=params.spacing,
            orient=params.orient,
        )
        write_text(params.dest, plan_text(plan))
    else:
        write_text(params.dest, config_of_plan(read_plan(params.source)))
    return 0


def load(path: Path) -> Any:
    """Load a configuration of MMEngine, which is code: only your own.

    Raises
    ------
    ParamsError
        When it can't be loaded.
    """
    require("mmengine", extra="mm", why="a configuration of MMEngine")
    from mmengine.config import Config

    try:
        return Config.fromfile(str(path))
    except Exception as error:
        raise ParamsError(f"{path}: can't be loaded as a configuration of MMEngine: {error}") from error


def weights_of_checkpoint(path: Path) -> dict[str, Any]:
    """Return a segmentor's network weights, with the names of the network itself. No code in the file is executed.

    Raises
    ------
    WeightsError
        When the file is damaged or holds no weights.
    ModelError
        When it is no checkpoint of a segmentor.
    """
    require_torch("a checkpoint")
    from itkit.models.checkpoints import read_weights

    weights = read_weights(path, entry=None)
    bare = {_unwrapped(key): value for key, value in weights.items()}
    found = {key.removeprefix(_PREFIX): value for key, value in bare.items() if key.startswith(_PREFIX)}
    if not found:
        raise ModelError(f"{path}: expected weights of a segmentor, backbone.…; it holds {some(weights, most=3)}")
    return found


def _unwrapped(key: str) -> str:
    for prefix in _WRAPPERS:
        key = key.removeprefix(prefix)
    return key


def checkpoint_of_model(source: Path, dest: Path) -> None:
    """Write the weights of a model folder as a checkpoint that MMEngine's ``load_from`` takes.

    Raises
    ------
    ModelError, WeightsError
        When there is no model, or its weights are damaged.
    WriteError
        When the checkpoint can't be written.
    """
    require_torch("a checkpoint")
    from itkit.models.checkpoints import torch_bytes

    model = read_model(source)
    network = model.load()
    state = {_PREFIX + key: value for key, value in network.state_dict().items()}
    classes = ("background", *model.facts.labels.values())
    write_bytes(dest, torch_bytes({"meta": {"dataset_meta": {"classes": classes}}, "state_dict": state}))


def network_of_config(config: Any) -> NetworkFacts:
    """Return which network of ours a configuration trains.

    Raises
    ------
    ModelError
        When its backbone is no network of ours, by name.
    """
    from itkit.models.registry import list_models

    model = config.get("model") or {}
    backbone = model.get("backbone")
    backbone = {"type": backbone} if isinstance(backbone, str) else plain_values(backbone or {})
    name = backbone.get("type")
    if name not in list_models():
        raise ModelError(
            f"model.backbone.type: expected the name of a network of ours (itkit models); got {name!r}; register yours "
            "as docs/how-to/write-a-plug-in.md says"
        )
    reserved = ("type", "in_channels", "num_classes", "spatial_dims")
    flat = _name(model.get("type")).startswith("mgam_Seg2D")
    return NetworkFacts(
        name=name,
        options={key: value for key, value in backbone.items() if key not in reserved},
        in_channels=int(backbone.get("in_channels", 1)),
        num_classes=int(backbone.get("num_classes", model.get("num_classes", 2))),
        spatial_dims=2 if backbone.get("spatial_dims", 2 if flat else 3) == 2 else 3,
    )


def facts_of_config(
    config: Any,
    *,
    classes: Sequence[str] = (),
    channels: Sequence[str] = (),
    spacing: tuple[float, float, float] = (-1, -1, -1),
    orient: str = "LPS",
) -> ModelFacts:
    """Return the description of a model folder that follows from a configuration.

    Parameters
    ----------
    config
        The configuration.
    classes, channels
        Their names, where the configuration's dataset does not say them.
    spacing, orient
        Of the volumes that the network has learned from.

    Raises
    ------
    ModelError
        When the network is none of ours, or names and numbers disagree.
    """
    network = network_of_config(config)
    data = _Data.of(config)
    names = list(classes or data.classes) or [f"class_{number}" for number in range(1, network.num_classes)]
    windows = config.model.get("inference") or {"patch_size": config.model.get("inference_PatchSize")}
    size = windows.get("patch_size") or data.patch_size
    if size is None:
        raise ModelError("model.inference: the configuration has no patch size for windows")
    size = tuple(size) if len(size) == 3 else (1, *size)
    try:
        return ModelFacts(
            network=network,
            channels=tuple(channels or data.channels[: network.in_channels]),
            labels=dict(enumerate(names, 1)),
            spacing=spacing,
            orient=orient,
            intensity=data.intensity,
            patch_size=size,
        )
    except ValueError as error:
        raise ModelError(f"the configuration does not make a model: {error}") from error


def plan_of_config(
    config: Any,
    *,
    classes: Sequence[str] = (),
    channels: Sequence[str] = (),
    spacing: tuple[float, float, float] | None = None,
    orient: str = "LPS",
) -> Plan:
    """Return the plan of ``itkit train`` that does what a configuration does; what it can't say is logged.

    Parameters
    ----------
    config, classes, channels, spacing, orient
        As for `facts_of_config`; without ``spacing``, the median of the dataset.

    Raises
    ------
    ModelError, ParamsError
        When the network is none of ours, or a value does not fit a plan.
    """
    network, data = network_of_config(config), _Data.of(config)
    loop, wrapper = config.train_cfg, config.optim_wrapper
    optimizer = plain_values(wrapper.optimizer)
    iters = loop.get("max_iters")
    if iters is None:
        raise ParamsError("train_cfg: a plan counts steps; give max_iters in place of max_epochs")
    steps = min(int(loop.get("val_interval", iters)), int(iters))
    names = list(classes or data.classes) or [f"class_{number}" for number in range(1, network.num_classes)]
    options = {key: value for key, value in optimizer.items() if key not in ("type", "lr")}
    clip = plain_values(wrapper.get("clip_grad") or {})
    for part in ("param_scheduler", "custom_hooks", "load_from"):
        if config.get(part):
            LOGGER.warning("%s: a plan has other means; not taken over", part)
    values: dict[str, Any] = {
        "dataset": {
            "path": str(data.root),
            "channels": list(channels or data.channels[: network.in_channels]),
            "labels": dict(enumerate(names, 1)),
        },
        "preprocess": {
            "spacing": list(spacing or data.median_spacing()),
            "orient": orient,
            "intensity": data.intensity.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
            | {"scheme": data.intensity.scheme},
        },
        "network": {"name": network.name, "options": dict(network.options)},
        "training": {
            "patch_size": list(data.patch_size or config.model.get("inference", {}).get("patch_size") or ()),
            "batch_size": int(config.train_dataloader.get("batch_size", 1)),
            "steps_per_epoch": steps,
            "epochs": max(1, -(-int(iters) // steps)),
            "learning_rate": float(optimizer.get("lr", 0.01)),
            "optimizer": _import_path(optimizer.get("type", "SGD")),
            "optimizer_options": options,
            "loss": [_loss(one) for one in _listed(config.model.get("criterion", "dice_ce"))],
            "deep_supervision": bool(network.options.get("deep_supervision", False)),
            "precision": "bf16" if config.model.get("use_half") else "32",
            "clip": float(clip.get("max_norm", 0.0)),
            "foreground": float(data.facts.get("foreground", 0.33)),
            "seed": int((config.get("randomness") or {}).get("seed") or 0),
            "accumulate": int(wrapper.get("accumulative_counts", 1)),
            "workers": int(config.train_dataloader.get("num_workers", 0)),
        },
        "split": {"file": data.split_file} if data.split_file else {},
        "validation": {"every": 1, "overlap": float((config.model.get("inference") or {}).get("overlap", 0.5))},
    }
    return make_plan(values, "configuration")


def config_of_plan(plan: Plan) -> str:
    """Return a configuration of MMEngine that does what a plan does, as text; what it can't say is logged."""
    training, prepare = plan.training, plan.preprocess
    LOGGER.warning(
        "preprocess.spacing, preprocess.orient: MMEngine's datasets take volumes as they are; bring them there first, "
        "with itk_resample --spacing %s --orient %s",
        " ".join(f"{value:g}" for value in prepare.spacing),
        prepare.orient,
    )
    intensity = prepare.intensity.model_dump(mode="json", exclude_none=True, exclude={"channels"})
    flat = training.patch_size[0] == 1
    size = training.patch_size[1:] if flat else training.patch_size
    backbone = {"type": plan.network.name, "in_channels": len(plan.dataset.channels), **plan.network.options}
    losses = training.loss if isinstance(training.loss, tuple) else (training.loss,)
    criteria = [one if isinstance(one, str) else {"type": one["name"], **_rest(one, "name")} for one in losses]
    optimizer = {
        "type": training.optimizer.rpartition(".")[2],
        "lr": training.learning_rate,
        **training.optimizer_options,
    }
    segmentor = "mgam_Seg2D_Lite" if flat else "mgam_Seg3D_Lite"
    values = {
        "ROOT": plan.dataset.path,
        "SPLIT": plan.split.file or "splits.json",
        "PATCH": tuple(size),
        "INTENSITY": intensity,
        "BATCH": training.batch_size,
        "WORKERS": training.workers,
        "FOREGROUND": training.foreground,
        "SEED": training.seed,
        "CLASSES": tuple(plan.dataset.labels.values()),
        "ITERS": training.epochs * training.steps_per_epoch,
        "EVERY": training.steps_per_epoch * plan.validation.every,
        "OPTIMIZER": optimizer,
        "CLIP": {"max_norm": training.clip} if training.clip else None,
        "ACCUMULATE": training.accumulate,
        "BACKBONE": backbone,
        "CRITERION": criteria,
        "COUNT": len(plan.dataset.labels) + 1,
        "WINDOWS": {"patch_size": tuple(size), "overlap": plan.validation.overlap},
        "HALF": training.precision != "32",
    }
    text = _CONFIG.replace("SEGMENTOR", segmentor)
    for name, value in values.items():
        text = text.replace(f"<{name}>", repr(value))
    return text


_CONFIG = '''"""A plan of itkit train as a configuration of MMEngine, for mmrun."""

from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.hooks import CheckpointHook, IterTimerHook, ParamSchedulerHook
from mmengine.optim import OptimWrapper, PolyLR
from mmengine.runner import IterBasedTrainLoop, TestLoop, ValLoop

from itkit.mm.datasets import NumberedSampler, VolumeDataset
from itkit.mm.metrics import Seg3DMetric
from itkit.mm.mgam_models import SEGMENTOR
from itkit.mm.mmeng_PlugIn import LoggerJSON, RuntimeInfoHook
from itkit.mm.preprocessing import AugmentVolume, NormalizeVolume, PackSeg3DInputs

data_root = <ROOT>
classes = <CLASSES>
normalize = dict(type=NormalizeVolume, **<INTENSITY>)
pack = dict(type=PackSeg3DInputs)
whole = dict(type=VolumeDataset, data_root=data_root, split="val", split_file=<SPLIT>, classes=classes,
             pipeline=[normalize, pack])
train_dataloader = dict(
    batch_size=<BATCH>, num_workers=<WORKERS>, sampler=dict(type=NumberedSampler), collate_fn=dict(type=pseudo_collate),
    dataset=dict(type=VolumeDataset, data_root=data_root, split="train", split_file=<SPLIT>, classes=classes,
                 patch_size=<PATCH>, foreground=<FOREGROUND>, seed=<SEED>,
                 pipeline=[normalize, dict(type=AugmentVolume), pack]),
)
val_dataloader = dict(batch_size=1, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=False),
                      collate_fn=dict(type=pseudo_collate), dataset=whole)
test_dataloader = val_dataloader
train_cfg = dict(type=IterBasedTrainLoop, max_iters=<ITERS>, val_interval=<EVERY>)
val_cfg = dict(type=ValLoop)
test_cfg = dict(type=TestLoop)
val_evaluator = dict(type=Seg3DMetric)
test_evaluator = dict(type=Seg3DMetric)
optim_wrapper = dict(type=OptimWrapper, optimizer=<OPTIMIZER>, clip_grad=<CLIP>, accumulative_counts=<ACCUMULATE>)
param_scheduler = [dict(type=PolyLR, power=0.9, by_epoch=False, begin=0, end=<ITERS>)]
default_hooks = dict(
    runtime_info=dict(type=RuntimeInfoHook), timer=dict(type=IterTimerHook), logger=dict(type=LoggerJSON),
    param_scheduler=dict(type=ParamSchedulerHook),
    checkpoint=dict(type=CheckpointHook, by_epoch=False, interval=<EVERY>, max_keep_ckpts=2, save_best="mDice",
                    rule="greater"),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=<SEED>)
model = dict(type=SEGMENTOR, backbone=<BACKBONE>, criterion=<CRITERION>, num_classes=<COUNT>, inference=<WINDOWS>,
             use_half=<HALF>)
'''


class _Data:
    """What a configuration's training data say."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.facts = facts
        self.root = Path(str(facts.get("data_root", "")))
        size = facts.get("patch_size")
        self.patch_size = None if size is None else tuple(size) if len(size) == 3 else (1, *size)
        self.intensity = Intensity(scheme="none")
        for step in facts.get("pipeline") or ():
            if _name(step.get("type")) == "NormalizeVolume":
                self.intensity = Intensity.model_validate(_rest(plain_values(step), "type"))
        self.split_file = self._relative(str(facts.get("split_file", "splits.json")))

    @classmethod
    def of(cls, config: Any) -> _Data:
        return cls((config.get("train_dataloader") or {}).get("dataset") or {})

    def _relative(self, name: str) -> str:
        path = self.root / name
        return str(path) if path.is_file() else ""

    def _folder(self) -> Any:
        from itkit.dataset.folder import DatasetFolder

        try:
            return DatasetFolder(self.root)
        except ItkitError:
            return None

    @property
    def classes(self) -> list[str]:
        given = list(self.facts.get("classes") or ())
        folder = None if given else self._folder()
        return given if folder is None else list(folder.class_names)

    @property
    def channels(self) -> tuple[str, ...]:
        folder = self._folder()
        return ("image",) if folder is None else tuple(folder.channels)

    def median_spacing(self) -> tuple[float, ...]:
        import numpy as np

        from itkit.io.formats.inspect import read_any_header

        folder = self._folder()
        if folder is None:
            raise ParamsError(f"{self.root}: no dataset whose median spacing could be taken; give --spacing")
        spacings = [read_any_header(case.images[0]).geometry.spacing_zyx for case in folder.cases]
        return tuple(float(value) for value in np.median(np.array(spacings), axis=0))


def plain_values(value: Any) -> Any:
    """Return a part of a configuration as plain dictionaries and lists."""
    if isinstance(value, Mapping):
        return {str(key): plain_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(item) for item in value]
    return value


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _rest(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in names}


def _name(kind: Any) -> str:
    """Return the name of a class, of a name, or of a class that is imported later."""
    text = kind if isinstance(kind, str) else getattr(kind, "__name__", None) or str(kind)
    return text.rpartition(".")[2]


def _import_path(kind: Any) -> str:
    if isinstance(kind, str):
        return kind if "." in kind else f"torch.optim.{kind}"
    text = str(kind)
    if isinstance(kind, type):
        return (
            f"torch.optim.{kind.__name__}"
            if kind.__module__.startswith("torch.optim")
            else f"{kind.__module__}.{kind.__name__}"
        )
    return text


def _loss(given: Any) -> Any:
    from itkit.criterion import list_losses

    options = {"type": given} if isinstance(given, str) else plain_values(given)
    if options.get("type") not in list_losses():
        raise ModelError(
            "model.criterion: a plan knows losses by name (itkit.criterion.list_losses()); got "
            f"{_name(options.get('type'))!r}"
        )
    more = _rest(options, "type")
    return options["type"] if not more else {"name": options["type"], **more}


TOOL = Tool(
    "itkit mm-convert",
    ConvertParams,
    run,
    "itkit mm-convert best_mDice_iter_60.pth model --to model --config mm_configdir/0.1.Phantoms/dynunet.py",
)
