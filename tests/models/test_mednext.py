import json
from pathlib import Path

import pytest
import torch

from itkit.core.errors import WeightsError
from itkit.models import create_model, from_reference
from itkit.models.mednext.network import MedNeXt, create_mednext_v1
from itkit.models.mednext.upkern import large_from_config, upkern
from tests.models.parity import fill

PARITY = Path(__file__).parent / "parity"
SMALL = {"in_channels": 1, "n_channels": 2, "n_classes": 3, "exp_r": 2, "block_counts": [1] * 9}
RUN = sorted(path.stem for path in PARITY.glob("mednext_mini_*.npz"))
UPKERN = sorted(path.stem for path in PARITY.glob("mednext_upkern_*.npz"))
FULL = sorted(path.stem for path in PARITY.glob("mednext_[sbml]_k*.json"))


def spec_of(arch):
    return json.loads((PARITY / f"{arch}.json").read_text())


@pytest.mark.parametrize("arch", RUN)
def test_outputs_equal_the_authors(arch):
    report = fill.check(from_reference(spec_of(arch)), arch)
    assert report["ok"], report
    assert not report["hints"]


@pytest.mark.parametrize("arch", UPKERN)
def test_upkern_equals_the_authors(arch):
    spec = spec_of(arch)
    names = [output["name"] for output in spec["output"] if output["name"] != "out"]

    def forward(small, image):
        large = upkern(large_from_config(spec["config"]).to(image.dtype), small).eval()
        return {"out": large(image), **{name: large.state_dict()[name] for name in names}}

    report = fill.check(from_reference(spec), arch, forward=forward)
    assert report["ok"], report


@pytest.mark.parametrize("arch", FULL)
def test_published_sizes_have_the_authors_keys(arch):
    with torch.device("meta"):
        report = fill.check(from_reference(spec_of(arch)), arch, keys_only=True)
    assert report["ok"], report


def test_up_block_starts_with_a_zero_plane_on_each_axis():
    net = MedNeXt(**SMALL, kernel_size=3, do_res_up_down=True)
    out = net.up_0(torch.randn(1, 4, 3, 4, 5))
    assert out.shape == (1, 2, 6, 8, 10)
    assert not out[:, :, 0].any()
    assert not out[..., 0, :].any()
    assert not out[..., 0].any()
    assert out[:, :, 1:, 1:, 1:].abs().min() > 0


def test_layer_norm_also_works_in_2d():
    net = MedNeXt(**SMALL, kernel_size=3, norm_type="layer", dim="2d").eval()
    with torch.no_grad():
        batch = torch.randn(2, 1, 16, 32)
        torch.testing.assert_close(net(batch)[1:], net(batch[1:]))
        assert net(batch).shape == (2, 3, 16, 32)


def test_checkpointing_keeps_outputs_and_gradients():
    plain = MedNeXt(**SMALL, kernel_size=3)
    saving = MedNeXt(**SMALL, kernel_size=3, checkpoint_style="outside_block")
    saving.load_state_dict(plain.state_dict())
    image = torch.randn(1, 1, 32, 16, 16)
    for net in (plain, saving):
        net(image).square().sum().backward()
    torch.testing.assert_close(plain.stem.weight.grad, saving.stem.weight.grad)


def test_upkern_shrinks_again_and_warns_of_missing_heads():
    small = MedNeXt(**SMALL, kernel_size=3)
    large = MedNeXt(**SMALL, kernel_size=5, deep_supervision=True)
    with pytest.warns(UserWarning, match=r"out_4\.conv_out"):
        upkern(large, {f"module.{key}": value for key, value in small.state_dict().items()})
    torch.testing.assert_close(large.stem.weight, small.stem.weight)
    centre = small.down_1.conv1.weight[:, :, 1, 1, 1]
    torch.testing.assert_close(large.down_1.conv1.weight[:, :, 2, 2, 2], centre)
    with pytest.raises(WeightsError, match="stem"):
        upkern(MedNeXt(**{**SMALL, "in_channels": 2}, kernel_size=5), small)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel_size": 4}, "odd"),
        ({"kernel_size": None}, "enc_kernel_size"),
        ({"exp_r": [2, 3]}, "exp_r"),
        ({"block_counts": [1]}, "block_counts"),
        ({"norm_type": "batch"}, "norm_type"),
        ({"dim": "4d"}, "dim"),
        ({"checkpoint_style": "inside"}, "checkpoint_style"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        MedNeXt(**{"kernel_size": 3, **SMALL, **change})


def test_unknown_size_and_argument_are_refused():
    with pytest.raises(ValueError, match="model_id"):
        create_mednext_v1(1, 2, "XL")
    with pytest.raises(TypeError, match="widths"):
        create_model("mednext_s", widths=3)
