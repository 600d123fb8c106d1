"""A MONAI bundle: a folder that ``monai.bundle`` loads and runs, without ITKIT.

The network is traced to TorchScript. MONAI's volumes are ``(C, X, Y, Z)``; the traced module turns windows to the
network's ``(C, Z, Y, X)`` and its logits back, so that MONAI's transforms and inferer work on them as on any other
network.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from itkit.core.extras import require, require_torch
from itkit.core.version import VERSION
from itkit.deploy.writers import METADATA, quiet, run_torchscript, traced, write_script

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from itkit.inference.model_folder import Intensity, ModelFacts

BUNDLE_FILES = ("configs/metadata.json", "configs/inference.json", "models/model.ts", "models/model.pt")
_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20220324.json"


def write_bundle(network: nn.Module, facts: ModelFacts, folder: Path) -> None:
    """Write a bundle.

    Parameters
    ----------
    network
        The network, in evaluation mode.
    facts
        Its description.
    folder
        Folder to write to; it is there.

    Raises
    ------
    ModelError
        When the network can't be traced.
    MissingExtraError
        When MONAI is not installed.
    """
    torch = require_torch("itkit export")
    from itkit.models.checkpoints import torch_bytes

    require("monai", extra="train", why="itkit export --to bundle")
    for part in ("configs", "models"):
        (folder / part).mkdir()
    module = _turned(network, facts)
    example = torch.zeros(1, facts.network.in_channels, *_xyz(facts))
    configs = {"metadata": metadata(facts), "inference": inference(facts)}
    for name, values in configs.items():
        (folder / "configs" / f"{name}.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    inside = {METADATA: facts.to_json(), **{f"{name}.json": json.dumps(values) for name, values in configs.items()}}
    with quiet():
        script = traced(module, example, facts.network.name)
    write_script(script, folder / "models" / "model.ts", inside)
    (folder / "models" / "model.pt").write_bytes(torch_bytes(script.state_dict()))


def _xyz(facts: ModelFacts) -> tuple[int, ...]:
    z, y, x = facts.patch_size
    return (x, y) if facts.network.spatial_dims == 2 else (x, y, z)


def _turned(network: nn.Module, facts: ModelFacts) -> nn.Module:
    """Wrap a network so that it takes windows ``(N, C, X, Y, Z)``."""
    torch = require_torch("itkit export")

    class Turned(torch.nn.Module):  # type: ignore[name-defined,misc]  # torch is imported on demand
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.order = (0, 1, 3, 2) if facts.network.spatial_dims == 2 else (0, 1, 4, 3, 2)

        def forward(self, image: Any) -> Any:
            made = self.network(image.permute(self.order))
            logits = made[0] if isinstance(made, list | tuple) else made
            return logits.permute(self.order).contiguous()

    module: nn.Module = Turned().eval()
    return module


def run_bundle(folder: Path, windows: NDArray[Any]) -> NDArray[Any]:
    """Return the logits of a bundle's network for windows ``(N, C, ...)`` as ITKIT has them."""
    order = (0, 1, 3, 2) if windows.ndim == 4 else (0, 1, 4, 3, 2)
    given = np.ascontiguousarray(windows.transpose(order))
    found: NDArray[Any] = run_torchscript(folder / "models" / "model.ts", given).transpose(order)
    return found


def metadata(facts: ModelFacts) -> dict[str, Any]:
    """Return ``metadata.json``: MONAI's facts, and the whole ``model.json`` as ``itkit_model``."""
    import torch

    monai = require("monai", extra="train", why="itkit export --to bundle")
    size = list(_xyz(facts))
    names = dict(enumerate(facts.names.values()))
    return {
        "schema": _SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported by ITKIT {VERSION}"},
        "monai_version": monai.__version__.split("+")[0],
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": require("numpy", extra="train", why="itkit export").__version__,
        "optional_packages_version": {"nibabel": "5.3.0", "scipy": "1.11.4"},
        "task": "segmentation",
        "description": f"{facts.network.name}: {', '.join(name for name in facts.names.values())}",
        "authors": "",
        "copyright": facts.licence or "not stated",
        "label_values": {str(number): value for number, value in enumerate(facts.values)},
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "hounsfield" if facts.intensity.scheme == "ct" else "magnitude",
                    "modality": ", ".join(facts.channels),
                    "num_channels": facts.network.in_channels,
                    "spatial_shape": size,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": {str(number): name for number, name in enumerate(facts.channels)},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": facts.network.num_classes,
                    "spatial_shape": size,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": {str(number): name for number, name in names.items()},
                }
            },
        },
        METADATA: json.loads(facts.to_json()),
    }


def inference(facts: ModelFacts) -> dict[str, Any]:
    """Return ``inference.json``: images of a folder in, label maps out.

    Notes
    -----
    Intensities are normalised on the image's own grid, then axes are turned and voxels resampled, as ITKIT does it: the
    new grid covers the same box, which MONAI's own ``Spacingd`` does not keep (its first voxel's centre stays where it
    was, or with ``scale_extent`` moves by the sign of the origin). Logits go back to the image's grid linearly, and
    there the largest wins.
    """
    before: list[dict[str, Any]] = [
        {"_target_": "LoadImaged", "keys": "image", "image_only": True, "ensure_channel_first": True},
        {"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"},
        *_intensity(facts),
        {"_target_": "Orientationd", "keys": "image", "axcodes": facts.orient, "labels": None},
    ]
    if any(mm > 0 for mm in facts.spacing):
        before += [
            {"_target_": "CopyItemsd", "keys": "image", "names": "grid"},
            {"_target_": "Lambdad", "keys": "grid", "func": f"${_grid(facts)}"},
            {"_target_": "ResampleToMatchd", "keys": "image", "key_dst": "grid", "mode": "bilinear"},
            {"_target_": "DeleteItemsd", "keys": "grid"},
        ]
    window: list[Any] = list(_xyz(facts))
    inferer: dict[str, Any] = {
        "_target_": "SlidingWindowInferer",
        "roi_size": window,
        "sw_batch_size": 1,
        "overlap": 0.5,
        "mode": "gaussian",
    }
    if facts.network.spatial_dims == 2:
        inferer = {
            "_target_": "SliceInferer", "roi_size": window, "spatial_dim": 2, "sw_batch_size": 1, "overlap": 0.5,
            "mode": "gaussian",
        }  # fmt: skip
    values = list(facts.values)
    apply: list[dict[str, Any]] = [
        {"_target_": "CopyItemsd", "keys": "image", "names": "pred"},
        {"_target_": "EnsureTyped", "keys": "pred", "device": "@device"},
        {"_target_": "Lambdad", "keys": "pred", "func": "$lambda image: image[None]"},
        {"_target_": "Lambdad", "keys": "pred", "func": "$functools.partial(@inferer, network=@network)"},
        {"_target_": "Lambdad", "keys": "pred", "func": "$lambda logits: logits[0]"},
        {"_target_": "EnsureTyped", "keys": "pred", "device": "cpu"},
    ]
    after: list[dict[str, Any]] = [
        {
            "_target_": "Invertd",
            "keys": "pred",
            "transform": "@preprocessing",
            "orig_keys": "image",
            "nearest_interp": False,
            "to_tensor": True,
        },
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {"_target_": "Lambdad", "keys": "pred", "func": f"$lambda x: torch.as_tensor({values})[x.long()]"},
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "output_ext": ".nii.gz",
            "output_postfix": "label",
            "output_dtype": "$np.int16" if max(map(abs, values)) < 1 << 15 else "$np.int32",
            "resample": False,
            "separate_folder": False,
        },
    ]
    return {
        "imports": _imports(before),
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/labels'",
        "datalist": "$sorted(glob.glob(os.path.join(@dataset_dir, '*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)",
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": before},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "inferer": inferer,
        "inference": {"_target_": "Compose", "transforms": apply},
        "postprocessing": {"_target_": "Compose", "transforms": after},
        "apply": {"_target_": "Compose", "transforms": ["@inference", "@postprocessing"]},
        "run": ["$[None for _ in map(@apply, @dataset)]"],
    }


def _imports(transforms: list[dict[str, Any]]) -> list[str]:
    text = json.dumps(transforms)
    needed = {"monai.data": "import monai", "ndimage.": "from scipy import ndimage"}
    always = [f"import {name}" for name in ("functools", "glob", "os", "numpy as np", "torch")]
    return [f"${line}" for line in (*always, *(line for name, line in needed.items() if name in text))]


def _grid(facts: ModelFacts) -> str:
    """Return the text of a function: from an image ``(C, X, Y, Z)`` of MONAI to the grid that the network sees.

    `itkit.core.grids.resampled_grid` has the rule. The grid's one value takes no memory.
    """
    wanted = [float(mm) for mm in reversed(list(facts.spacing))]
    given = (
        "(lambda affine, size: (lambda old: (lambda new: (affine, size, old, new, np.maximum(1, np.floor(np.round("
        f"size * old / new, 6) + 0.5)).astype(int)))(np.where(np.array({wanted}) > 0, {wanted}, old)))("
        "np.linalg.norm(affine[:3, :3], axis=0)))(image.affine.numpy(), np.array(image.shape[1:]))"
    )
    made = (
        "(lambda affine, size, old, new, count: monai.data.MetaTensor(torch.zeros(()).expand(1, *count.tolist()), "
        "affine=np.matmul(affine, np.block([[np.diag(new / old), "
        "((size - 1 - (count - 1) * new / old) / 2)[:, None]], [np.zeros(3), 1]]))))"
    )
    return f"lambda image: {made}(*{given})"


def _intensity(facts: ModelFacts) -> list[dict[str, Any]]:
    rules = [facts.intensity.of(name) for name in facts.channels]
    if all(rule.scheme == "none" for rule in rules):
        return []
    if len(set(map(repr, rules))) > 1 or any(rule.scheme == "zscore" and rule.within == "nonzero" for rule in rules):
        of_channels = ", ".join(f"lambda x, inside: {_normalised(rule)}" for rule in rules)
        inside = "torch.as_tensor(ndimage.binary_fill_holes((np.asarray(image) != 0).any(0)))"
        found = f"torch.stack([rule(x, inside) for rule, x in zip([{of_channels}], image.as_tensor())])"
        kept = "meta=image.meta, applied_operations=image.applied_operations"
        made = f"(lambda inside: monai.data.MetaTensor({found}, {kept}))({inside})"
        return [{"_target_": "Lambdad", "keys": "image", "func": f"$lambda image: {made}"}]
    if rules[0].scheme == "ct":
        low, high, mean, sd = rules[0].numbers
        return [
            {"_target_": "ThresholdIntensityd", "keys": "image", "threshold": low, "above": True, "cval": low},
            {"_target_": "ThresholdIntensityd", "keys": "image", "threshold": high, "above": False, "cval": high},
            {"_target_": "NormalizeIntensityd", "keys": "image", "subtrahend": mean, "divisor": sd},
        ]
    return [{"_target_": "NormalizeIntensityd", "keys": "image", "channel_wise": True}]


def _normalised(rule: Intensity) -> str:
    """Return the text of what a rule does to a channel ``x``."""
    if rule.scheme == "none":
        return "x"
    if rule.scheme == "ct":
        low, high, mean, sd = rule.numbers
        return f"(x.clip({low}, {high}) - {mean}) / {sd}"
    if rule.within == "all":
        return "(x - x.mean()) / x.std(correction=0)"
    return "torch.where(inside, (x - x[inside].mean()) / x[inside].std(correction=0), 0.0)"
