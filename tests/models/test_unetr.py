import json
from pathlib import Path

import pytest
import torch

from itkit.models import create_model, from_reference
from itkit.models.unetr.network import UNETR, layout_of
from tests.models.parity import fill

PARITY = Path(__file__).parent / "parity"
RUN = sorted(path.stem for path in PARITY.glob("unetr_*.npz"))
FULL = sorted(path.stem for path in PARITY.glob("unetr*.json") if not path.with_suffix(".npz").exists())
TINY = {"feature_size": 2, "hidden_size": 12, "mlp_dim": 16, "num_heads": 3}


def spec_of(arch):
    return json.loads((PARITY / f"{arch}.json").read_text())


@pytest.mark.parametrize("arch", RUN)
def test_outputs_equal_the_authors(arch):
    report = fill.check(from_reference(spec_of(arch)), arch)
    assert report["ok"], report
    assert not report["hints"]


@pytest.mark.parametrize("arch", FULL)
def test_published_sizes_have_the_authors_keys(arch):
    with torch.device("meta"):
        report = fill.check(from_reference(spec_of(arch)), arch, keys_only=True)
    assert report["ok"], report


@pytest.mark.parametrize("layout", ["0.6", "1.4", "1.6"])
@pytest.mark.parametrize("proj_type", ["conv", "perceptron"])
def test_weights_move_between_releases(layout, proj_type):
    options = {**TINY, "norm_name": "batch", "qkv_bias": True}
    source = UNETR(2, 3, (16, 32, 16), layout=layout, proj_type=proj_type, **options).eval()
    target = UNETR(2, 3, (16, 32, 16), layout="1.0", proj_type="conv", **options).eval()
    target.load_state_dict(target.adapt_state_dict(source.state_dict()))
    back = UNETR(2, 3, (16, 32, 16), layout="1.0", proj_type="perceptron", **options).eval()
    back.load_state_dict(back.adapt_state_dict(target.state_dict()))
    image = torch.randn(1, 2, 16, 32, 16)
    with torch.no_grad():
        torch.testing.assert_close(target(image), source(image))
        torch.testing.assert_close(back(image), source(image))


def test_only_unused_parameters_get_no_gradient():
    for layout in ("0.6", "1.0", "1.4", "1.6"):
        net = create_model("unetr", image_size=16, layout=layout, norm_name="batch", **TINY).train()
        net(torch.randn(2, 1, 16, 16, 16)).square().sum().backward()
        for name, parameter in net.named_parameters():
            assert parameter.requires_grad == (parameter.grad is not None), (layout, name)


def test_plain_blocks_and_bare_doublings_have_no_extra_keys():
    net = UNETR(1, 2, 16, conv_block=False, res_block=False, spatial_dims=2, **TINY)
    assert "encoder2.blocks.0.conv.weight" in net.state_dict()
    assert not any("conv3" in key for key in net.state_dict())
    assert net.eval()(torch.zeros(1, 1, 16, 16)).shape == (1, 2, 16, 16)


def test_release_06_has_its_own_defaults():
    spec = spec_of("unetr_mini_monai06_perceptron")
    config = {key: value for key, value in spec["config"].items() if key not in {"conv_block", "res_block"}}
    keys = from_reference({**spec, "config": config}).state_dict()
    assert "encoder2.blocks.0.conv.weight" in keys
    assert "decoder2.conv_block.conv3.conv.weight" not in keys


@pytest.mark.parametrize(("release", "layout"), [("monai==0.6.0", "0.6"), ("monai==1.2.0", "1.0"), ("", "1.6")])
def test_layout_follows_the_release(release, layout):
    assert layout_of(release) == layout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"img_size": 40}, "img_size"),
        ({"img_size": (32, 32)}, "img_size"),
        ({"hidden_size": 50}, "num_heads"),
        ({"proj_type": "linear"}, "proj_type"),
        ({"norm_name": "none"}, "norm_name"),
        ({"layout": "2.0"}, "layout"),
        ({"dropout_rate": 2.0}, "dropout_rate"),
        ({"spatial_dims": 4}, "spatial_dims"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        UNETR(**{"in_channels": 1, "out_channels": 2, "img_size": 32, **change})
