import json
from pathlib import Path

import pytest
import torch
from monai.networks.nets import EfficientNetBN
from torch.nn import functional

from itkit.models import create_model, from_reference, load_pretrained
from itkit.models.efficientnet.layers import SameConv2d, same_padding
from itkit.models.efficientnet.scaling import VARIANTS, round_width, scaled_stages
from tests.models.parity import fill

PARITY = Path(__file__).parent / "parity"
FEATURES = sorted(path.stem for path in PARITY.glob("efficientnet_*_features.npz"))
RUN = sorted(path.stem for path in PARITY.glob("efficientnet_*.npz") if path.stem not in FEATURES)
FULL = sorted(path.stem for path in PARITY.glob("efficientnet_*.json") if path.stem not in {*RUN, *FEATURES})
CLASSIC = "efficientnet_pytorch.EfficientNet.from_name"
SMALL = {"model_name": "efficientnet-b0", "width_coefficient": 0.25, "depth_coefficient": 0.6}
TINY = {"width_coefficient": 0.25, "depth_coefficient": 0.5, "decoder_width": 8}


def spec_of(arch):
    return json.loads((PARITY / f"{arch}.json").read_text())


def classic(**config):
    return from_reference({"official_class": CLASSIC, "config": {**SMALL, **config}})


def timm(name, **config):
    return from_reference({"official_class": f"timm.create_model('{name}')", "config": config})


@pytest.mark.parametrize("arch", RUN)
def test_outputs_equal_the_authors(arch):
    report = fill.check(from_reference(spec_of(arch)), arch)
    assert report["ok"], report
    assert report["same_order"]
    assert not report["hints"]


@pytest.mark.parametrize("arch", FEATURES)
def test_endpoints_equal_the_authors(arch):
    report = fill.check(from_reference(spec_of(arch)), arch, forward=lambda net, image: net.extract_endpoints(image))
    assert report["ok"], report
    assert not report["hints"]


@pytest.mark.parametrize("arch", FULL)
def test_published_sizes_have_the_authors_keys(arch):
    with torch.device("meta"):
        report = fill.check(from_reference(spec_of(arch)), arch, keys_only=True)
    assert report["ok"], report
    assert report["same_order"]


@pytest.mark.parametrize(
    ("channels", "coefficient", "divisor", "minimum", "expected"),
    [(32, 1.4, 8, None, 48), (16, 1.1, 8, None, 16), (32, 0.3, 4, 12, 12), (24, 0.3, 16, None, 16), (33, 0, 8, 64, 33)],
)
def test_widths_are_rounded_to_multiples(channels, coefficient, divisor, minimum, expected):
    assert round_width(channels, coefficient, divisor, minimum) == expected


def test_depths_are_rounded_up():
    assert [stage.repeats for stage in scaled_stages(1.0, VARIANTS["b7"].depth)] == [4, 7, 7, 10, 10, 13, 4]
    assert [stage.repeats for stage in scaled_stages(1.0, None)] == [1, 2, 2, 3, 3, 4, 1]


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(7, 10), (6, 5)])
def test_same_padding_keeps_the_size_and_puts_the_odd_zero_last(kernel, stride, size):
    conv = SameConv2d(1, 1, kernel, stride)
    image = torch.randn(1, 1, *size)
    (top, bottom), (left, right) = (same_padding(side, kernel, stride) for side in size)
    padded = functional.pad(image, (left, right, top, bottom))
    expected = functional.conv2d(padded, conv.weight, stride=stride)
    torch.testing.assert_close(conv(image), expected)
    assert expected.shape[2:] == tuple(-(-side // stride) for side in size)
    assert 0 <= bottom - top <= 1
    assert 0 <= right - left <= 1


def test_padding_of_a_given_height_and_width_ignores_the_input():
    image = torch.randn(1, 1, 32, 48)
    conv = SameConv2d(1, 1, 3, 2, image_size=(5, 6))
    expected = functional.conv2d(functional.pad(image, (0, 1, 1, 1)), conv.weight, stride=2)
    torch.testing.assert_close(conv(image), expected)
    network = classic(image_size=[50, 81], num_classes=2)
    sizes = [block._depthwise_conv.image_size for block in network._blocks]
    assert (network._conv_stem.image_size, sizes[0], sizes[-1]) == ((50, 81), (25, 41), (2, 3))


def test_global_parameters_reach_the_layers():
    network = classic(
        batch_norm_momentum=0.9, batch_norm_epsilon=1e-5, drop_connect_rate=0.4, dropout_rate=0.7, in_channels=2
    )
    norm = network._blocks[3]._bn1
    assert (norm.eps, norm.momentum) == (1e-5, pytest.approx(0.1))
    total = len(network._blocks)
    rates = [block.drop_path.rate for block in network._blocks]
    assert rates == pytest.approx([0.4 * index / total for index in range(total)])
    assert network._dropout.p == 0.7
    assert network._conv_stem.weight.shape[1] == 2


def test_only_later_blocks_of_a_stage_have_a_shortcut_in_the_first_form():
    assert [block.shortcut for block in classic()._blocks][:5] == [False, False, True, False, True]
    second = from_reference(
        {"official_class": "timm.create_model", "config": {"model_name": "efficientnet_b0", "width_coefficient": 0.25}}
    )
    assert [block.shortcut for stage in second.blocks for block in stage][:5] == [True, False, True, False, True]


def test_without_top_the_pooled_features_come_out():
    network = classic(include_top=False).eval()
    image = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(network(image), network.extract_features(image).mean((2, 3), keepdim=True))


def test_endpoints_move_up_where_the_height_cannot_shrink():
    network = classic(image_size=None).eval()
    shapes = {name: tuple(x.shape[2:]) for name, x in network.extract_endpoints(torch.randn(1, 3, 12, 70)).items()}
    assert shapes == {
        "reduction_1": (6, 35),
        "reduction_2": (3, 18),
        "reduction_3": (2, 9),
        "reduction_4": (1, 3),
        "reduction_5": (1, 3),
    }


@pytest.mark.parametrize("form", ["efficientnet_pytorch", "timm_tf", "timm"])
def test_every_parameter_learns_and_checkpointing_changes_nothing(form):
    image, label = torch.randn(2, 1, 64, 75), torch.randint(2, (2, 64, 75))
    results = []
    for use_checkpoint in (False, True):
        torch.manual_seed(1)
        model = create_model("efficientnet_b0", **TINY, form=form, use_checkpoint=use_checkpoint)
        torch.manual_seed(2)
        functional.cross_entropy(model(image), label).backward()
        results.append({**model.state_dict(), **{f"{k} grad": p.grad for k, p in model.named_parameters()}})
    assert all(value.isfinite().all() for key, value in results[0].items() if key.endswith("grad"))
    torch.testing.assert_close(results[0], results[1])


def test_maps_are_the_endpoints():
    network = classic(image_size=None).eval()
    image = torch.randn(1, 3, 70, 96)
    endpoints = list(network.extract_endpoints(image).values())
    torch.testing.assert_close(network.extract_maps(image), endpoints[:5])
    assert [tuple(x.shape[2:]) for x in endpoints[:5]] == [(35, 48), (18, 24), (9, 12), (5, 6), (3, 3)]
    assert network.channels == tuple(x.shape[1] for x in endpoints[:5])


def test_padding_and_epsilon_follow_timms_name():
    first, second = timm("tf_efficientnet_b0.ns_jft_in1k"), timm("efficientnet_b0")
    assert (first.bn1.eps, second.bn1.eps) == (1e-3, 1e-5)
    assert isinstance(first.conv_stem, SameConv2d)
    assert second.conv_stem.padding == (1, 1)
    assert timm("efficientnet_b0", bn_momentum=0.2).bn1.momentum == 0.2


def test_maps_of_timm_can_be_chosen():
    network = timm("efficientnet_b0", features_only=True, out_indices=[3, 1], in_chans=1).eval()
    assert not any(key.startswith(("conv_head", "bn2", "classifier")) for key in network.state_dict())
    assert [tuple(x.shape[1:]) for x in network(torch.randn(1, 1, 64, 32))] == [(24, 16, 8), (112, 4, 2)]


@pytest.mark.parametrize(("pool", "shape"), [("avg", (1, 1280)), ("max", (1, 1280)), ("", (1, 1280, 2, 1))])
def test_timm_without_classes_gives_features(pool, shape):
    network = timm("efficientnet_b0", num_classes=0, global_pool=pool, drop_rate=0.5).eval()
    image = torch.randn(1, 3, 64, 32)
    assert network(image).shape == shape
    network.global_pool = ""
    reduced = {"avg": lambda x: x.mean((2, 3)), "max": lambda x: x.amax((2, 3)), "": lambda x: x}[pool]
    expected = reduced(network(image))
    network.global_pool = pool
    torch.testing.assert_close(network(image), expected)


def test_average_of_both_pools():
    network = timm("efficientnet_b0", num_classes=0).eval()
    image = torch.randn(1, 3, 64, 32)
    pooled = {}
    for network.global_pool in ("avg", "max", "avgmax"):
        pooled[network.global_pool] = network(image)
    torch.testing.assert_close(pooled["avgmax"], (pooled["avg"] + pooled["max"]) / 2)


def test_both_sets_of_names_give_the_same_network():
    first = classic(width_coefficient=1.0, image_size=None, num_classes=3).eval()
    second = timm("tf_efficientnet_b0", depth_coefficient=0.6, num_classes=3).eval()
    fill.fill_state_dict(first)
    second.load_state_dict(second.adapt_state_dict(first.state_dict()))
    image = torch.randn(1, 3, 75, 50)
    torch.testing.assert_close(second(image), first(image))
    back = first.adapt_state_dict(second.state_dict())
    torch.testing.assert_close(back, dict(first.state_dict()))
    torch.testing.assert_close(second.adapt_state_dict(second.state_dict()), dict(second.state_dict()))


def test_names_of_monai_are_known():
    theirs = EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=2, num_classes=3).eval()
    fill.fill_state_dict(theirs)
    ours = classic(width_coefficient=1.0, depth_coefficient=1.0, num_classes=3).eval()
    ours.load_state_dict(ours.adapt_state_dict(theirs.state_dict()))
    image = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(ours(image), theirs(image))


@pytest.mark.parametrize("form", ["efficientnet_pytorch", "timm_tf"])
@pytest.mark.parametrize("named", ["efficientnet_pytorch", "timm"])
def test_classifier_files_load_into_the_encoder(form, named, tmp_path):
    donor = classic(image_size=None, in_channels=1)
    state = donor.state_dict()
    if named == "timm":
        state = timm("tf_efficientnet_b0", width_coefficient=0.25, depth_coefficient=0.6).adapt_state_dict(state)
    path = tmp_path / ("tf_efficientnet_b0.pth" if named == "timm" else "classifier.pth")
    torch.save(state, path)
    model = create_model("efficientnet_b0", width_coefficient=0.25, depth_coefficient=0.6, form=form)
    report = load_pretrained(model, path)
    assert not report.unexpected
    assert all(key.startswith("decoder.") for key in report.missing)
    image = torch.randn(1, 1, 64, 64)
    if form == "efficientnet_pytorch":
        torch.testing.assert_close(model.encoder.eval()(image), donor.eval().extract_maps(image))


@pytest.mark.parametrize(
    ("official_class", "config", "error", "name"),
    [
        (CLASSIC, {"model_name": "efficientnet-b9"}, ValueError, "b9"),
        (CLASSIC, {"model_name": "resnet"}, ValueError, "model_name"),
        (CLASSIC, {"image_size": [1, 2, 3]}, ValueError, "image_size"),
        (CLASSIC, {"window": 7}, TypeError, "window"),
        ("timm.create_model('efficientnet_lite0')", {}, ValueError, "efficientnet_lite0"),
        ("timm.create_model('efficientnet_b0')", {"pretrained": True}, ValueError, "pretrained"),
        ("timm.create_model('efficientnet_b0')", {"out_indices": [5]}, ValueError, "out_indices"),
        ("timm.create_model('efficientnet_b0')", {"global_pool": ""}, ValueError, "global_pool"),
        ("timm.create_model('efficientnet_b0')", {"window": 7}, TypeError, "window"),
    ],
)
def test_wrong_arguments_are_named(official_class, config, error, name):
    with pytest.raises(error, match=name), torch.device("meta"):
        from_reference({"official_class": official_class, "config": config})


@pytest.mark.parametrize("option", [{"variant": "b9"}, {"form": "keras"}, {"spatial_dims": 3}])
def test_unknown_options_are_named(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        create_model("efficientnet_b0", **option)
