"""nnU-Net's ``plans.json`` into options of :func:`itkit.models.create_model`; needs no torch.

Both forms of nnU-Net v2 are read: plans with an ``architecture`` entry (2.4 and newer), and older ones with
``UNet_class_name``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from itkit.core.bounded import parse_json, read_bounded
from itkit.core.errors import ModelError
from itkit.core.files import DATASET_META
from itkit.models.unet.topology import features_of

LOGGER = logging.getLogger(__name__)
NETWORKS = {"PlainConvUNet": "unet", "ResidualEncoderUNet": "resenc_unet"}
"""Classes of ``dynamic_network_architectures`` to names of networks."""
_SHAPE = frozenset({
    "features_per_stage",
    "kernel_sizes",
    "strides",
    "n_conv_per_stage",
    "n_blocks_per_stage",
    "n_conv_per_stage_decoder",
    "conv_bias",
    "deep_supervision",
    "stem_channels",
    "nonlin_first",
})  # fmt: skip
_LAYERS = frozenset({
    "n_stages",
    "conv_op",
    "norm_op",
    "norm_op_kwargs",
    "dropout_op",
    "dropout_op_kwargs",
    "nonlin",
    "nonlin_kwargs",
})  # fmt: skip
_ACTIVATIONS = {"LeakyReLU": "leaky_relu", "ReLU": "relu", "GELU": "gelu", "SiLU": "silu"}
_CONFIGURATIONS = ("3d_fullres", "2d")
"""Configurations that are tried, in this order, when none is named."""


def from_nnunet_plans(
    plans: Mapping[str, Any] | str | Path,
    configuration: str | None = None,
    *,
    dataset: Mapping[str, Any] | str | Path | None = None,
) -> dict[str, Any]:
    """Read what nnU-Net v2 has planned, as arguments of :func:`itkit.models.create_model`.

    Parameters
    ----------
    plans
        ``plans.json``, its content, or the folder of a trained model (``nnUNetTrainer__nnUNetPlans__3d_fullres``),
        which holds ``dataset.json`` beside it and whose name ends with the configuration.
    configuration
        ``"3d_fullres"``, ``"2d"``, ``"3d_lowres"``, ``"3d_cascade_fullres"`` or another one of the plans; by default
        that of the folder, or ``3d_fullres`` where there is one, else ``2d``.
    dataset
        ``dataset.json``, or its content: channels and labels.

    Returns
    -------
    dict
        ``name``, ``in_channels``, ``num_classes``, ``spatial_dims`` and the options of the network. Its keys are those
        of nnU-Net's checkpoints. Regions have one logit each, for a sigmoid; the ignore label has none.

    Raises
    ------
    ModelError
        For plans of nnU-Net v1, an unknown configuration, network or layer, and for missing facts; the message names
        what was expected.

    Notes
    -----
    nnU-Net sorts axes by spacing; where ``transpose_forward`` is not 0, 1, 2 a warning says so, because the network
    then expects images whose axes are sorted likewise.
    """
    found, configuration = _read(plans, configuration)
    if dataset is None and not isinstance(plans, Mapping) and Path(plans).is_dir():
        dataset = Path(plans) / DATASET_META
    if dataset is None:
        raise ModelError("dataset: give dataset.json too, which says how many channels and labels there are")
    facts = dataset if isinstance(dataset, Mapping) else _json(dataset)
    where = f"plans {found.get('plans_name', '')}, configuration {configuration}"
    settings = _resolve(found["configurations"], configuration)
    name, arguments = _architecture(settings, where)
    dims, options = layers_of(arguments, where=where)
    axes = list(found.get("transpose_forward", range(3)))
    if axes != sorted(axes):
        LOGGER.warning("%s: nnU-Net transposes images by %s before this network; do so, too", where, axes)
    heads, foreground = _heads(facts, where)
    channels = len(facts.get("channel_names") or facts.get("modality") or ())
    if not channels:
        raise ModelError("dataset: expected channel_names (or modality) with at least one channel; found none")
    cascade = foreground if settings.get("previous_stage") else 0
    return {
        "name": name,
        "in_channels": channels + cascade,
        "num_classes": heads,
        "spatial_dims": dims,
        **options,
    }


def layers_of(arguments: Mapping[str, Any], *, where: str = "architecture") -> tuple[int, dict[str, Any]]:
    """Translate arguments of an authors' class into the number of axes and options of our builders.

    Raises
    ------
    ModelError
        For an argument or a layer that our networks do not have.
    """
    unknown = sorted(key for key, value in arguments.items() if key not in _SHAPE | _LAYERS and value is not None)
    if unknown:
        raise ModelError(f"{where}: our networks have no {', '.join(unknown)}")
    conv = _class_name(arguments.get("conv_op"))
    if conv not in {"Conv2d", "Conv3d"}:
        raise ModelError(f"{where}: conv_op: expected torch's Conv2d or Conv3d; got {conv}")
    dims = int(conv[-2])
    options = {key: _plain(value) for key, value in arguments.items() if key in _SHAPE and value is not None}
    stages = arguments.get("n_stages") or len(arguments["strides"])
    for key in ("strides", "kernel_sizes", "features_per_stage"):
        if isinstance(options.get(key), int):
            options[key] = [options[key]] * stages
    norm = _class_name(arguments.get("norm_op"))
    norms = {f"InstanceNorm{dims}d": "instance", f"BatchNorm{dims}d": "batch", "None": "none"}
    if norm not in norms:
        raise ModelError(f"{where}: norm_op: expected {', '.join(norms)}; got {norm}")
    options.setdefault("conv_bias", False)
    options["norm"] = norms[norm]
    options["norm_options"] = dict(arguments.get("norm_op_kwargs") or {})
    activation = _class_name(arguments.get("nonlin"))
    if activation not in _ACTIVATIONS:
        raise ModelError(f"{where}: nonlin: expected {', '.join(_ACTIVATIONS)}; got {activation}")
    options["activation"] = _ACTIVATIONS[activation]
    options["activation_options"] = dict(arguments.get("nonlin_kwargs") or {})
    dropout = _class_name(arguments.get("dropout_op"))
    if dropout not in {"None", f"Dropout{dims}d"}:
        raise ModelError(f"{where}: dropout_op: expected Dropout{dims}d or null; got {dropout}")
    if dropout != "None":
        options["dropout"] = float((arguments.get("dropout_op_kwargs") or {}).get("p", 0.5))
    return dims, options


def _read(plans: Mapping[str, Any] | str | Path, configuration: str | None) -> tuple[Mapping[str, Any], str]:
    if isinstance(plans, Mapping):
        found = plans
    else:
        path = Path(plans)
        if path.is_dir():
            configuration = configuration or path.resolve().name.rpartition("__")[2]
            path = path / "plans.json"
        found = _json(path)
    if "configurations" not in found:
        wanted = "plans of nnU-Net v2, with an entry 'configurations'"
        raise ModelError(f"plans: expected {wanted}; found {', '.join(map(repr, list(found)[:6])) or 'nothing'}")
    names = list(found["configurations"])
    for name in (configuration,) if configuration else _CONFIGURATIONS:
        if name in names:
            return found, name
    raise ModelError(f"configuration: expected one of {', '.join(names)}; got {configuration}")


def _json(path: str | Path) -> dict[str, Any]:
    try:
        content = parse_json(read_bounded(Path(path)))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: expected a JSON file of nnU-Net v2 ({error})") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: expected a JSON object; got {type(content).__name__}")
    return content


def _resolve(configurations: Mapping[str, Any], name: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """Follow ``inherits_from``; entries of the heir win."""
    if name in seen or name not in configurations:
        raise ModelError(
            f"configuration {(*seen, name)[0]}: inherits from {name!r}, which is missing or inherits itself"
        )
    own = dict(configurations[name])
    parent = own.get("inherits_from")
    return own if parent is None else {**_resolve(configurations, parent, (*seen, name)), **own}


def _architecture(settings: Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """Return the network's name and its arguments, rebuilt where the plans are of the older form."""
    if "architecture" in settings:
        path = str(settings["architecture"]["network_class_name"])
        arguments = dict(settings["architecture"]["arch_kwargs"])
    else:
        path = str(settings.get("UNet_class_name"))
        arguments = _older_form(settings) if path in NETWORKS else {}
    kind = path.rpartition(".")[2]
    if kind not in NETWORKS:
        raise ModelError(f"{where}: network: expected {' or '.join(NETWORKS)}; got {path}")
    return NETWORKS[kind], arguments


def _older_form(settings: Mapping[str, Any]) -> dict[str, Any]:
    dims = len(settings["patch_size"])
    counts = settings["n_conv_per_stage_encoder"]
    widest = settings["unet_max_num_features"]
    features = features_of(len(counts), dims, settings["UNet_base_num_features"], most=widest)
    return {
        "conv_op": f"Conv{dims}d",
        "norm_op": f"InstanceNorm{dims}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
        "conv_bias": True,
        "features_per_stage": features,
        "strides": settings["pool_op_kernel_sizes"],
        "kernel_sizes": settings["conv_kernel_sizes"],
        ("n_conv_per_stage" if settings["UNet_class_name"] == "PlainConvUNet" else "n_blocks_per_stage"): counts,
        "n_conv_per_stage_decoder": settings["n_conv_per_stage_decoder"],
    }


def _heads(dataset: Mapping[str, Any], where: str) -> tuple[int, int]:
    """Return the logits of a dataset, and its number of labels but background."""
    labels = dataset.get("labels")
    if not isinstance(labels, Mapping) or "background" not in labels:
        raise ModelError(f"{where}: dataset: expected labels as in nnU-Net v2: names to values, with 'background'")
    given = [_values(value) for name, value in labels.items() if name != "ignore"]
    values = {value for group in given for value in group}
    regions = [group for group in given if set(group) != {0}]
    has_regions = any(len(group) > 1 for group in given)
    return (len(regions) if has_regions else len(values)), len(values - {0})


def _values(label: Any) -> list[int]:
    return (
        [int(value) for value in label] if isinstance(label, Sequence) and not isinstance(label, str) else [int(label)]
    )


def _class_name(layer: Any) -> str:
    """Name a layer that is given by its path, or as a class."""
    return str(getattr(layer, "__name__", layer)).rpartition(".")[2]


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else value
