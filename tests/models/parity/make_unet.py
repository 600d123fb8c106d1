"""Make the fixtures ``unet_*``: what nnU-Net plans for real data, and the networks that it builds.

    python make_unet.py PREPROCESSED      # an environment with nnunetv2 and torch; any CPU

``PREPROCESSED`` is ``nnUNet_preprocessed`` after ``nnUNetv2_extract_fingerprint`` and ``nnUNetv2_plan_experiment`` with
the planners ExperimentPlanner and nnUNetPlannerResEnc{M,L,XL} (nnU-Net 2.8.1, plans with ``architecture``), and
ExperimentPlanner and ResEncUNetPlanner of nnU-Net 2.2.1 (the older form; plans named ``old*``). The data are the CT of
``itkit/data/torso`` resampled to 3 mm; to 5, 0.8, 0.8 mm; to 1.5 mm, with two channels; and to 1.2, 1.2, 4.5 mm with
regions (ZYX), three crops each.

- ``unet_plans.json``: for each plans file, its content without intensities, the dataset's channels and labels, and for each
  configuration the number of parameters and a digest of names and shapes of the network that
  ``nnunetv2.utilities.get_network_from_plans`` builds.
- ``unet_stages.json``: strides, kernels and divisors that ``get_pool_and_conv_props`` gives for random spacings and patches.
- ``unet_narrow_*.npz`` and ``.json``: outputs of planned networks with an eighth of the channels (``fill.record``).
"""
import hashlib
import json
import sys
from pathlib import Path

import fill
import numpy as np
import torch

HERE = Path(__file__).parent
KEEP = ("patch_size", "spacing", "previous_stage", "inherits_from", "architecture", "UNet_class_name",
        "UNet_base_num_features", "n_conv_per_stage_encoder", "n_conv_per_stage_decoder", "num_pool_per_axis",
        "pool_op_kernel_sizes", "conv_kernel_sizes", "unet_max_num_features")


def digest(module):
    rows = [[key, list(value.shape)] for key, value in module.state_dict().items()]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def planned(plans, dataset, configuration):
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(json.loads(json.dumps(plans)))
    settings = manager.get_configuration(configuration)
    inputs = determine_num_input_channels(manager, settings, dataset)
    heads = manager.get_label_manager(dataset).num_segmentation_heads
    arguments = (settings.network_arch_class_name, settings.network_arch_init_kwargs,
                 settings.network_arch_init_kwargs_req_import, inputs, heads)

    def build(deep_supervision=True, divide=1):
        kwargs = dict(arguments[1])
        if divide > 1:
            kwargs["features_per_stage"] = [max(4, n // divide) for n in kwargs["features_per_stage"]]
        network = get_network_from_plans(arguments[0], kwargs, *arguments[2:], deep_supervision=deep_supervision)
        return network, {"input_channels": inputs, "num_classes": heads, **kwargs}

    return arguments[0], build


def stages():
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    rng = np.random.default_rng(14)
    rows = []
    for index in range(120):
        dims = 3 if index % 3 else 2
        spacing = [round(float(v), 2) for v in rng.choice([0.5, 0.7, 0.8, 1.0, 1.6, 2.0, 3.0, 5.0, 6.5], dims)]
        patch = [int(v) for v in rng.integers(8, 300, dims)]
        try:
            _, strides, kernels, _, divisor = get_pool_and_conv_props(spacing, patch, 4, 999999)
        except ValueError:  # its own fault: no axis is left within twice the finest spacing
            continue
        rows.append({"spacing": spacing, "patch_size": patch, "strides": strides, "kernel_sizes": kernels,
                     "divisor": [int(v) for v in divisor]})
    return rows


def main(root):
    found, narrow = {}, []
    for path in sorted(Path(root).glob("*/*Plans.json")):
        plans = json.loads(path.read_text())
        dataset = json.loads((path.parent / "dataset.json").read_text())
        plans = {key: plans[key] for key in ("dataset_name", "plans_name", "transpose_forward", "configurations")}
        plans["configurations"] = {name: {key: value for key, value in settings.items() if key in KEEP}
                                   for name, settings in plans["configurations"].items()}
        networks = {}
        for name in plans["configurations"]:
            kind, build = planned(plans, dataset, name)
            with torch.device("meta"):
                network, config = build()
            networks[name] = {"class": kind.rpartition(".")[2], "input_channels": config["input_channels"],
                              "num_classes": config["num_classes"], "tensors": len(network.state_dict()),
                              "parameters": sum(p.numel() for p in network.parameters()), "digest": digest(network)}
            narrow.append((path.parent.name, plans["plans_name"], name, kind, build))
        facts = {key: dataset[key] for key in ("channel_names", "labels", "regions_class_order") if key in dataset}
        found[f"{path.parent.name}/{path.stem}"] = {"plans": plans, "dataset": facts, "networks": networks}
        print(path, {name: facts["parameters"] for name, facts in networks.items()})
    (HERE / "unet_plans.json").write_text(json.dumps(found, separators=(",", ":")).replace('"Dataset', '\n"Dataset') + "\n")
    rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in stages())
    (HERE / "unet_stages.json").write_text(f"[\n{rows}\n]\n")
    wanted = {("Dataset702_TorsoThick", "nnUNetPlans", "3d_fullres"): ("plain_thick", True),
              ("Dataset703_TorsoFine", "nnUNetPlans", "2d"): ("plain_2d", False),
              ("Dataset702_TorsoThick", "nnUNetResEncUNetMPlans", "3d_fullres"): ("resenc_thick", True),
              ("Dataset704_TorsoSagittal", "nnUNetResEncUNetMPlans", "2d"): ("resenc_2d", False)}
    for dataset, plans_name, configuration, kind, build in narrow:
        short, supervised = wanted.get((dataset, plans_name, configuration), (None, None))
        if short is None:
            continue
        torch.manual_seed(0)
        network, config = build(deep_supervision=supervised, divide=8)
        sides = np.prod(config["strides"], axis=0) * 2
        meta = {
            "paper": "nnU-Net (Nature Methods 2021)",
            "official_repo": "MIC-DKFZ/dynamic-network-architectures",
            "commit": "release 0.4.4",
            "official_class": kind,
            "config": {**{k: v for k, v in config.items() if k != "deep_supervision"}, "deep_supervision": supervised},
            "paper_parameter_count": None,
            "notes": f"Planned by nnU-Net 2.8.1 for {dataset}, {plans_name}, {configuration}; an eighth of the channels.",
        }
        fill.record(network, f"unet_narrow_{short}", HERE, meta, (1, config["input_channels"], *map(int, sides)))
        print(short, config["strides"], sides)


if __name__ == "__main__":
    main(sys.argv[1])
