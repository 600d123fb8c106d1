import hashlib
import json
import logging
from pathlib import Path

import pytest
import torch

from itkit.core.errors import ModelError
from itkit.models import create_model, from_nnunet_plans, from_reference, load_pretrained
from itkit.models.unet.network import PRESET_PATCH
from itkit.models.unet.topology import plan_stages
from tests.models.parity import fill

PARITY = Path(__file__).parent / "parity"
RUN = sorted(path.stem for path in PARITY.glob("unet_narrow_*.npz"))
PLANS = json.loads((PARITY / "unet_plans.json").read_text())
CASES = [(plans, configuration) for plans, case in PLANS.items() for configuration in case["networks"]]
TINY = {"strides": ((1, 1, 1), (1, 2, 2), (2, 2, 2)), "features_per_stage": (4, 6, 8)}


def spec_of(arch):
    return json.loads((PARITY / f"{arch}.json").read_text())


def digest(module):
    rows = [[key, list(value.shape)] for key, value in module.state_dict().items()]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


@pytest.mark.parametrize("arch", RUN)
def test_outputs_equal_the_authors(arch):
    report = fill.check(from_reference(spec_of(arch)), arch)
    assert report["ok"], report
    assert report["same_order"]
    assert not report["hints"]


@pytest.mark.parametrize(("plans", "configuration"), CASES)
def test_networks_that_nnunet_plans_for_real_data_have_its_keys(plans, configuration):
    case = PLANS[plans]
    wanted = case["networks"][configuration]
    options = from_nnunet_plans(case["plans"], configuration, dataset=case["dataset"])
    assert options["name"] == {"PlainConvUNet": "unet", "ResidualEncoderUNet": "resenc_unet"}[wanted["class"]]
    assert (options["in_channels"], options["num_classes"]) == (wanted["input_channels"], wanted["num_classes"])
    with torch.device("meta"):
        network = create_model(**options)
    assert sum(p.numel() for p in network.parameters()) == wanted["parameters"]
    assert len(network.state_dict()) == wanted["tensors"]
    assert digest(network) == wanted["digest"]


def test_the_plans_cover_what_nnunet_makes():
    settings = [(PLANS[plans]["plans"]["configurations"][name], PLANS[plans]["plans"]) for plans, name in CASES]
    assert {"architecture" in entry for entry, _ in settings if "inherits_from" not in entry} == {True, False}
    assert any("previous_stage" in entry for entry, _ in settings)
    assert any(plans["transpose_forward"] != [0, 1, 2] for _, plans in settings)
    strides = [
        plan_stages(entry["patch_size"], entry["spacing"]).strides for entry, _ in settings if "spacing" in entry
    ]
    assert any(len(set(stage)) > 1 for rows in strides for stage in rows)


@pytest.mark.parametrize("row", json.loads((PARITY / "unet_stages.json").read_text()), ids=str)
def test_strides_and_kernels_are_those_of_nnunet(row):
    stages = plan_stages(row["patch_size"], row["spacing"])
    assert [list(stage) for stage in stages.strides] == row["strides"]
    assert [list(stage) for stage in stages.kernel_sizes] == row["kernel_sizes"]
    assert list(stages.divisor) == row["divisor"]


@pytest.mark.parametrize("plans", [plans for plans in PLANS if "old" not in plans])
def test_a_patch_and_a_spacing_give_the_planned_network(plans):
    case = PLANS[plans]
    entry = case["plans"]["configurations"]["3d_fullres"]
    given = from_nnunet_plans(case["plans"], dataset=case["dataset"])
    with torch.device("meta"):
        planned = create_model(
            given["name"],
            in_channels=given["in_channels"],
            num_classes=given["num_classes"],
            patch_size=entry["patch_size"],
            spacing=entry["spacing"],
        )
    assert digest(planned) == case["networks"]["3d_fullres"]["digest"]


def test_transposed_axes_are_told(caplog):
    case = next(case for case in PLANS.values() if case["plans"]["transpose_forward"] != [0, 1, 2])
    with caplog.at_level(logging.WARNING):
        from_nnunet_plans(case["plans"], dataset=case["dataset"])
    assert f"transposes images by {case['plans']['transpose_forward']}" in caplog.text


def test_the_folder_of_a_trained_model_is_read(tmp_path):
    case = PLANS["Dataset702_TorsoThick/nnUNetPlans"]
    folder = tmp_path / "nnUNetTrainer__nnUNetPlans__2d"
    folder.mkdir()
    (folder / "plans.json").write_text(json.dumps(case["plans"]))
    (folder / "dataset.json").write_text(json.dumps(case["dataset"]))
    named = from_nnunet_plans(case["plans"], "2d", dataset=case["dataset"])
    assert from_nnunet_plans(folder) == named
    assert from_nnunet_plans(folder, "3d_fullres")["spatial_dims"] == 3


@pytest.mark.parametrize("name", ["unet", "resenc_unet"])
def test_a_checkpoint_of_nnunet_fills_the_network_and_changes_axes_apart(tmp_path, name):
    source = create_model(name, in_channels=2, num_classes=4, **TINY)
    file = {"network_weights": source.state_dict(), "init_args": {"plans": {}}, "trainer_name": "nnUNetTrainer"}
    torch.save(file, tmp_path / "checkpoint_final.pth")
    filled = create_model(name, in_channels=2, num_classes=4, deep_supervision=True, **TINY)
    report = load_pretrained(filled, tmp_path / "checkpoint_final.pth", strict=True)
    assert report.complete
    image = torch.randn(1, 2, 8, 24, 16)
    with torch.no_grad():
        assert torch.equal(filled.eval()(image), source.eval()(image))


def test_names_that_a_file_holds_once_are_completed(tmp_path):
    source = create_model("resenc_unet", **TINY)
    once = {key: value for key, value in source.state_dict().items() if key in dict(source.named_parameters())}
    assert len(once) < len(source.state_dict())
    torch.save(once, tmp_path / "w.pth")
    filled = create_model("resenc_unet", **TINY)
    assert load_pretrained(filled, tmp_path / "w.pth").complete
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in filled.state_dict().items())


def test_the_divisor_is_of_each_axis():
    network = create_model("unet", **TINY).eval()
    assert network.divisor == (2, 4, 4)
    assert network.input_size((9, 17, 16)) == (10, 20, 16)
    with pytest.raises(
        ValueError, match=r"multiple of \(2, 4, 4\) and at least \(4, 8, 8\): nearest is \(10, 16, 16\)"
    ):
        create_model("unet", pad=False, **TINY)(torch.zeros(1, 1, 9, 17, 16))


def test_training_lists_every_stage_and_otherwise_its_heads_are_frozen():
    network = create_model("unet", deep_supervision=True, **TINY).train()
    assert len(network(torch.randn(1, 1, 4, 8, 8))) == 2
    single = create_model("unet", **TINY)
    assert [key for key, p in single.named_parameters() if not p.requires_grad] == [
        "decoder.seg_layers.0.weight",
        "decoder.seg_layers.0.bias",
    ]


def test_weights_start_as_nnunet_draws_them():
    network = create_model("resenc_unet", strides=(1, 2), features_per_stage=(32, 64), n_blocks_per_stage=1)
    weight = network.encoder.stages[1].blocks[0].conv2.conv.weight
    assert weight.std().item() == pytest.approx((2 / (1 + 1e-4) / (64 * 27)) ** 0.5, rel=0.02)
    assert not network.encoder.stages[1].blocks[0].conv2.norm.weight.any()
    assert network.encoder.stages[1].blocks[0].conv1.norm.weight.eq(1).all()


def test_presets_differ_where_their_patch_asks_for_it():
    def stages(preset, dims):
        with torch.device("meta"):
            return create_model("resenc_unet", preset=preset, spatial_dims=dims).network.encoder.stages

    assert [len(stages(preset, 3)) for preset in PRESET_PATCH] == [6, 6, 6]
    assert [len(stages(preset, 2)) for preset in PRESET_PATCH] == [8, 8, 9]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": (1,)}, "at least two stages"),
        ({"strides": (1, 2), "kernel_sizes": (3,)}, "kernel_sizes: expected 2 values"),
        ({"strides": (1, 2), "kernel_sizes": 2}, "odd numbers"),
        ({"strides": ((1, 1), (2, 2))}, "strides: expected 3 positive numbers"),
        ({"strides": (1, 2), "features_per_stage": (4, 8, 8)}, "features_per_stage: expected 2"),
        ({"strides": (1, 2), "n_conv_per_stage_decoder": (1, 1)}, "n_conv_per_stage_decoder: expected 1"),
        ({"patch_size": (64, 64)}, "patch_size: expected 3 numbers"),
        ({"patch_size": (64, 64, 64), "spacing": (1.0, 0.0, 1.0)}, "positive numbers"),
        ({"norm": "layer"}, "norm: expected"),
        ({"activation": "tanh"}, "activation: expected"),
        ({"dropout": 1.0}, "dropout: expected"),
    ],
)
def test_plans_that_make_no_sense_are_named(options, message):
    with pytest.raises(ModelError, match=message):
        create_model("unet", **options)


@pytest.mark.parametrize("change", [{"norm": "batch"}, {"norm": "none"}, {"dropout": 0.2}, {"nonlin_first": True}])
def test_other_layers_train(change):
    network = create_model("unet", **TINY, **change).train()
    network(torch.randn(2, 1, 8, 8, 8)).square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.requires_grad)


def test_plans_that_are_not_of_nnunet_2_are_refused(tmp_path):
    case = PLANS["Dataset702_TorsoThick/nnUNetPlans"]
    for plans, message in (
        ({"plans_per_stage": {}}, "plans of nnU-Net v2.*'plans_per_stage'"),
        ({"configurations": {"2d": {"inherits_from": "2d"}}}, "inherits itself"),
        ({"configurations": {"2d": {"UNet_class_name": "Primus", "patch_size": [8, 8]}}}, "got Primus"),
        (tmp_path / "none.json", "none.json: expected a JSON file"),
    ):
        with pytest.raises(ModelError, match=message):
            from_nnunet_plans(plans, dataset=case["dataset"])
    with pytest.raises(ModelError, match=r"expected one of 2d, .*got 3d_fulres"):
        from_nnunet_plans(case["plans"], "3d_fulres", dataset=case["dataset"])
    with pytest.raises(ModelError, match=r"give dataset\.json"):
        from_nnunet_plans(case["plans"])
    with pytest.raises(ModelError, match="with 'background'"):
        from_nnunet_plans(case["plans"], dataset={"labels": {"0": "background"}, "channel_names": {"0": "CT"}})
    changed = json.loads(json.dumps(case["plans"]))
    changed["configurations"]["2d"]["architecture"]["arch_kwargs"]["squeeze_excitation"] = True
    with pytest.raises(ModelError, match="no squeeze_excitation"):
        from_nnunet_plans(changed, "2d", dataset=case["dataset"])


def test_regions_have_a_logit_each_and_the_ignore_label_none():
    case = PLANS["Dataset702_TorsoThick/nnUNetPlans"]
    regions = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": 3, "ignore": 4}
    plain = {"background": 0, "a": 1, "b": 2, "ignore": 3}
    for labels, wanted in ((regions, 3), (plain, 3)):
        dataset = {"labels": labels, "channel_names": {"0": "T1", "1": "T2"}}
        assert from_nnunet_plans(case["plans"], dataset=dataset)["num_classes"] == wanted
