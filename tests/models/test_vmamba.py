import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from itkit.models import create_model, from_reference
from itkit.models.blocks.cross_scan import CROSS, Route, cross_merge, cross_scan, initial_step_bias, volume_routes
from itkit.models.vmamba.layers import merge_patches
from itkit.models.vmamba.ss2d import SS2D, parse_form
from itkit.models.vmamba.upernet import UPerHead
from itkit.models.vmamba.vssm import VSSM, BackboneVSSM
from tests.models.parity import fill

PARITY = Path(__file__).parent / "parity"
MINI = sorted(path.stem for path in PARITY.glob("vmamba_mini_*.npz"))
FULL = sorted({path.stem for path in PARITY.glob("vmamba_*.json")} - set(MINI))
SMALL = {"depths": [1, 1], "dims": 8, "num_classes": 5}
SECOND = {**SMALL, "ssm_d_state": 2, "forward_type": "v05_noz", "downsample_version": "v3", "patchembed_version": "v2"}


def spec_of(arch):
    return json.loads((PARITY / f"{arch}.json").read_text())


def filled(model):
    return fill.fill_state_dict(model).eval()


@pytest.mark.parametrize("arch", MINI)
def test_outputs_equal_the_authors(arch):
    report = fill.check(from_reference(spec_of(arch)), arch)
    assert report["ok"], report
    assert not report["hints"]


@pytest.mark.parametrize("arch", FULL)
def test_published_sizes_have_the_authors_keys(arch):
    with torch.device("meta"):
        report = fill.check(from_reference(spec_of(arch)), arch, keys_only=True)
    assert report["ok"], report


@pytest.mark.slow
def test_tiny_classifier_equals_the_authors():
    report = fill.check(from_reference(spec_of("vmamba_t_s1l8")), "vmamba_t_s1l8")
    assert report["ok"], report


def test_four_routes_are_those_of_the_paper():
    image = torch.tensor([[[[0, 1, 2], [3, 4, 5]]]])
    rows, columns = [0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5]
    assert cross_scan(image, CROSS)[0, :, 0].tolist() == [rows, columns, rows[::-1], columns[::-1]]


@pytest.mark.parametrize(("directions", "size"), [(6, (2, 3, 5)), (12, (2, 3, 5))])
def test_volume_routes_differ_and_come_back(directions, size):
    routes = volume_routes(directions)
    image = torch.randn(2, 3, *size)
    sequences = cross_scan(image, routes)
    assert len({tuple(s.flatten().tolist()) for s in sequences.unbind(1)}) == directions
    torch.testing.assert_close(cross_merge(sequences, routes, size), directions * image)


def test_six_volume_routes_run_along_each_axis_both_ways():
    neighbours = torch.arange(24).reshape(1, 1, 2, 3, 4)
    steps = cross_scan(neighbours, volume_routes(6))[0, :, 0].diff()[:, 0].tolist()
    assert steps == [1, 12, 4, -1, -12, -4]
    with pytest.raises(ValueError, match="directions: expected 6 or 12"):
        volume_routes(8)


def test_merge_needs_a_route():
    with pytest.raises(ValueError, match="routes"):
        cross_merge(torch.zeros(1, 0, 1, 4), (), (2, 2))


def test_merging_takes_rows_first_and_pads_at_the_end():
    cells = merge_patches(torch.arange(1.0, 7).reshape(1, 2, 3, 1))
    assert cells.tolist() == [[[[1, 4, 2, 5], [3, 6, 0, 0]]]]


def test_step_bias_starts_between_its_bounds():
    steps = functional.softplus(initial_step_bias(4, 500))
    assert 1e-3 * 0.999 <= steps.min() < 2e-3
    assert 0.05 < steps.max() <= 0.1 * 1.001


def test_layouts_give_the_same_numbers():
    last, first = (filled(VSSM(**SECOND, norm_layer=norm)) for norm in ("LN", "ln2d"))
    assert list(last.state_dict()) == list(first.state_dict())
    image = torch.randn(1, 3, 37, 50)
    torch.testing.assert_close(last(image), first(image), rtol=1e-5, atol=1e-5)


def test_version_zero_is_version_five_with_fixed_settings():
    zero = filled(VSSM(**SMALL, forward_type="v0", ssm_conv=7, ssm_conv_bias=False, ssm_act_layer="relu"))
    five = filled(VSSM(**SMALL, forward_type="v05_nozact"))
    image = torch.randn(1, 3, 32, 32)
    assert {k: v.shape for k, v in zero.state_dict().items()} == {k: v.shape for k, v in five.state_dict().items()}
    assert not torch.allclose(zero(image), five(image))
    torch.testing.assert_close(zero(image), filled(VSSM(**SMALL, forward_type="v05"))(image))


@pytest.mark.parametrize(
    "options",
    [
        {"forward_type": "v2"},
        {"forward_type": "v05_onnone_noz_oact_no32"},
        {"forward_type": "v05_onsigmoid"},
        {"forward_type": "v05_onsoftmax"},
        {"forward_type": "v3_ondwconv3_nozact"},
        {"forward_type": "v04_oncnorm"},
        {"forward_type": "v051d_noz"},
        {"forward_type": "v052d"},
        {"gmlp": True, "mlp_act_layer": "silu"},
        {"mlp_ratio": 0.0},
        {"ssm_ratio": 0.0},
        {"ssm_conv": 1},
        {"ssm_conv": 5, "ssm_conv_bias": False, "ssm_dt_rank": 3},
        {"ssm_init": "v1"},
        {"ssm_init": "v2"},
        {"patch_norm": False, "patchembed_version": "v2", "patch_size": 8},
        {"downsample_version": "v1"},
        {"downsample_version": "none", "dims": [8, 8]},
        {"posembed": True, "imgsize": 48},
        {"ssm_drop_rate": 0.1, "mlp_drop_rate": 0.1, "drop_path_rate": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("norm_layer", ["ln", "ln2d", "bn"])
def test_every_argument_builds_a_network_that_learns(options, norm_layer):
    model = VSSM(**{**SMALL, **options}, norm_layer=norm_layer).train()
    loss = sum(model(torch.randn(4, 3, 48, 40)).square().mean() for _ in range(4))
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_layouts_agree_in_every_output_norm():
    x = torch.randn(2, 8, 5, 7)
    for variant in ("onnone", "onsigmoid", "onsoftmax", "ondwconv3", "oncnorm"):
        first = filled(SS2D(8, forward_type=f"v05_{variant}", channels_first=True))
        last = filled(SS2D(8, forward_type=f"v05_{variant}"))
        assert list(first.state_dict()) == list(last.state_dict())
        torch.testing.assert_close(first(x), last(x.movedim(1, -1)).movedim(-1, 1))


def test_space_softmax_sums_to_one():
    layer = SS2D(4, forward_type="v05_onsoftmax")
    assert torch.allclose(layer.out_norm(torch.randn(2, 5, 7, 8)).sum((1, 2)), torch.ones(2, 8))


def test_one_way_form_reads_rows_four_times():
    assert parse_form("v051d_noz").routes == (Route((0, 1), backwards=False),) * 4
    assert [route.backwards for route in parse_form("v052d").routes] == [False, False, True, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm_layer": "gn"}, "norm_layer: expected one of ln, ln2d, bn"),
        ({"forward_type": "m0"}, "forward_type"),
        ({"forward_type": "v05_oact_noz"}, "forward_type"),
        ({"forward_type": "v0", "norm_layer": "ln2d"}, "channels-last maps only"),
        ({"forward_type": "v052d", "spatial_dims": 3}, "2-D only"),
        ({"downsample_version": "v4"}, "downsample_version"),
        ({"patchembed_version": "v3"}, "patchembed_version"),
        ({"ssm_act_layer": "mish"}, "ssm_act_layer"),
        ({"mlp_act_layer": "mish"}, "mlp_act_layer"),
        ({"ssm_init": "v7"}, "ssm_init"),
        ({"ssm_conv": 4}, "ssm_conv"),
        ({"dims": [8]}, "dims: expected 2 widths"),
        ({"spatial_dims": 1}, "spatial_dims"),
        ({"spatial_dims": 3, "directions": 4}, "directions"),
    ],
    ids=str,
)
def test_invalid_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        VSSM(**{**SMALL, **options})


def test_unknown_arguments_are_named():
    with pytest.raises(TypeError, match="banana"):
        from_reference({"official_class": "classification.models.vmamba.VSSM", "config": {"banana": 1}})
    backbone = "classification.models.vmamba.Backbone_VSSM"
    assert from_reference({"official_class": backbone, "config": {**SMALL, "out_indices": [1], "pretrained": None}})
    with pytest.raises(ValueError, match="pretrained: expected None"):
        from_reference({"official_class": backbone, "config": {"pretrained": "weights.pth"}})
    with pytest.raises(ValueError, match="out_indices"):
        BackboneVSSM(**SMALL, out_indices=[2])


@pytest.mark.parametrize(("norm_layer", "last"), [("ln", (1, 6, 8, 16)), ("ln2d", (1, 16, 6, 8))])
def test_backbone_without_indices_gives_the_last_map_as_it_is(norm_layer, last):
    model = BackboneVSSM(**SECOND, norm_layer=norm_layer, out_indices=[])
    assert model(torch.randn(1, 3, 48, 64)).shape == last
    maps = BackboneVSSM(**SECOND, norm_layer=norm_layer, out_indices=[1, 0])(torch.randn(1, 3, 48, 64))
    assert [tuple(m.shape) for m in maps] == [(1, 16, 6, 8), (1, 8, 12, 16)]


def test_early_checkpoints_are_renamed_and_kernels_flattened():
    model = filled(VSSM(**SECOND, norm_layer="ln2d"))
    new = model.state_dict()
    old = {}
    for key, value in new.items():
        for now, then in (("patch_embed.0", "patch_embed.proj"), ("classifier.", ""), (".op.", ".self_attention.")):
            key = key.replace(now, then)
        key = key.replace("patch_embed.2", "patch_embed.norm")
        key = key.replace(".norm.", ".ln_1.") if "blocks" in key else key
        old[key] = value[..., None, None] if key.endswith(("fc1.weight", "in_proj.weight")) else value
    other = VSSM(**SECOND, norm_layer="ln2d")
    other.load_state_dict(old)
    assert all(torch.equal(value, new[key]) for key, value in other.state_dict().items())


def test_position_embeddings_are_resized_on_loading_and_for_other_images():
    small, large = (VSSM(**SMALL, posembed=True, imgsize=size).eval() for size in (32, 64))
    with torch.no_grad():
        small.pos_embed[:] = 3.0
    large.load_state_dict(small.state_dict())
    torch.testing.assert_close(large.pos_embed, torch.full((1, 8, 16, 16), 3.0))
    image = torch.randn(1, 3, 32, 64)
    without = VSSM(**SMALL).eval()
    without.load_state_dict({k: v for k, v in large.state_dict().items() if k != "pos_embed"})
    torch.testing.assert_close(large.embed(image), without.embed(image) + 3.0)


def test_upernet_head_trains_on_a_single_image():
    head = UPerHead([4, 8], 6, 3).train()
    out = head([torch.randn(1, 4, 6, 8), torch.randn(1, 8, 3, 4)])
    assert out.shape == (1, 3, 6, 8)
    out.sum().backward()
    assert not head.psp_modules[0][1].bn.running_mean.any()
    assert head.psp_modules[1][1].bn.running_mean.any()


def test_upernet_has_its_auxiliary_head_with_deep_supervision_only():
    tiny = {"depths": [1] * 4, "dims": 4, "decode_channels": 8, "auxiliary_channels": 4, "in_channels": 2}
    image = torch.randn(2, 2, 33, 47)
    plain = create_model("vmamba_t_upernet", **tiny)
    assert not any("auxiliary" in key for key in plain.state_dict())
    deep = create_model("vmamba_t_upernet", **tiny, deep_supervision=True).train()
    assert [tuple(logits.shape) for logits in deep(image)] == [(2, 2, 33, 47)] * 2
    assert deep.eval()(image).shape == (2, 2, 33, 47)
    with pytest.raises(ValueError, match="spatial_dims must be 2"):
        create_model("vmamba_t_upernet", spatial_dims=3)


def test_volume_form_has_a_route_set_per_direction_and_tells_axes_apart():
    model = filled(create_model("vmamba_t", spatial_dims=3, depths=[1, 1], dims=4, out_indices=[0, 1], directions=12))
    assert model.state_dict()["encoder.layers.0.blocks.0.op.x_proj_weight"].shape[0] == 12
    image = torch.randn(1, 1, 9, 17, 12)
    out = model(image)
    assert out.shape == (1, 2, 9, 17, 12)
    assert not torch.allclose(model(image.transpose(3, 4)).transpose(3, 4), out)
