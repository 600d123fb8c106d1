import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from itkit.models import create_model, from_reference
from itkit.models.segmamba.mamba import TriMamba, interleave
from itkit.models.segmamba.network import GatedSpatialConv, SegMamba
from tests.models.parity import fill

PARITY = Path(__file__).parent / "parity"
MINI = sorted(path.stem for path in PARITY.glob("segmamba_mini*.npz"))
SMALL = {"in_chans": 2, "out_chans": 3, "depths": [1, 1, 1, 1], "feat_size": [4, 4, 8, 8], "hidden_size": 8}


def spec_of(arch):
    return json.loads((PARITY / f"{arch}.json").read_text())


@pytest.mark.parametrize("arch", MINI)
def test_outputs_equal_the_authors(arch):
    report = fill.check(from_reference(spec_of(arch)), arch)
    assert report["ok"], report
    assert not report["hints"]


def test_published_size_has_the_authors_keys():
    with torch.device("meta"):
        report = fill.check(from_reference(spec_of("segmamba")), "segmamba", keys_only=True)
    assert report["ok"], report


@pytest.mark.slow
def test_published_size_equals_the_authors():
    report = fill.check(from_reference(spec_of("segmamba")), "segmamba")
    assert report["ok"], report


def slow_branch(layer, suffix, x, order):
    """Run one direction token by token, as the paper's equations say, and put the tokens back."""
    conv, x_proj, dt_proj = (getattr(layer, f"{name}{suffix}") for name in ("conv1d", "x_proj", "dt_proj"))
    rates, skip = -torch.exp(getattr(layer, f"A{suffix}_log")), getattr(layer, f"D{suffix}")
    rank, states = dt_proj.in_features, rates.shape[1]
    ordered = x[:, :, order]
    u = functional.silu(conv(ordered)[..., : x.shape[2]])
    out, state = torch.empty_like(x), x.new_zeros(x.shape[0], x.shape[1], states)
    for position, token in enumerate(order):
        here = u[:, :, position]
        r, b, c = x_proj(here).split([rank, states, states], -1)
        step = functional.softplus(dt_proj(r))
        state = torch.exp(step[..., None] * rates) * state + (step * here)[..., None] * b[:, None]
        out[:, :, token] = (state * c[:, None]).sum(-1) + skip * here
    return out


def test_layer_is_three_gated_scans_with_their_own_weights():
    layer = fill.fill_state_dict(TriMamba(4, slices=3)).double()
    tokens = torch.randn(2, 12, 4, dtype=torch.float64)
    x, z = layer.in_proj(tokens).transpose(1, 2).chunk(2, 1)
    orders = {"": range(12), "_b": reversed(range(12)), "_s": (0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11)}
    total = sum(slow_branch(layer, suffix, x, list(order)) for suffix, order in orders.items())
    want = layer.out_proj((total * functional.silu(z)).transpose(1, 2))
    torch.testing.assert_close(layer(tokens), want)


def test_interleaving_back_undoes_it():
    tokens = torch.randn(2, 3, 24)
    torch.testing.assert_close(interleave(interleave(tokens, 4), 6), tokens, rtol=0, atol=0)


def test_gated_convolution_adds_its_branches():
    conv = GatedSpatialConv(2)
    torch.nn.init.zeros_(conv.proj4.weight)
    x = torch.randn(1, 2, 3, 4, 5)
    torch.testing.assert_close(conv(x), x)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"res_block": False, "norm_name": ["instance", {"affine": True}]},
        {"norm_name": "batch", "conv_block": False, "drop_path_rate": 0.1, "layer_scale_init_value": 1},
        {"depths": [1, 2, 0, 1], "use_checkpoint": True},
    ],
    ids=str,
)
def test_every_argument_builds_a_network_that_learns(options):
    model = SegMamba(**{**SMALL, **options}).train()
    out = model(torch.randn(1, 2, 32, 32, 64))
    assert out.shape == (1, 3, 32, 32, 64)
    out.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("size", [(16, 16, 16), (40, 32, 32)])
def test_sizes_that_do_not_fit_are_refused(size):
    with pytest.raises(ValueError, match="multiples of 16"):
        SegMamba(**SMALL).eval()(torch.randn(1, 2, *size))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feat_size": [32, 64, 128, 256]}, "first width of 48"),
        ({"feat_size": [48, 96, 192]}, "feat_size: expected 4"),
        ({"depths": [2, 2]}, "depths: expected 4"),
        ({"spatial_dims": 2}, "spatial_dims"),
        ({"norm_name": "none"}, "norm_name"),
    ],
    ids=str,
)
def test_invalid_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        from_reference({"official_class": "model_segmamba.segmamba.SegMamba", "config": options})


def test_unknown_arguments_are_named():
    with pytest.raises(TypeError, match="banana"):
        from_reference({"official_class": "model_segmamba.segmamba.SegMamba", "config": {"banana": 1}})


def test_user_form_takes_any_size():
    model = create_model("segmamba", depths=[1] * 4, feat_size=[4] * 4, hidden_size=4, num_classes=3).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 1, 20, 35, 31)).shape == (1, 3, 20, 35, 31)
