import json
from pathlib import Path

import pytest
import torch

from itkit.models import create_model, from_reference
from itkit.models.unet3plus.network import UNet3Plus
from tests.models.parity import fill

PARITY = Path(__file__).parent / "parity"
WIDTHS = (2, 3, 4, 5, 6)
RUN = sorted(path.stem for path in PARITY.glob("unet3plus*.npz") if "losses" not in path.stem)
FULL = sorted(path.stem for path in PARITY.glob("unet3plus*_default.json"))


def spec_of(arch):
    return json.loads((PARITY / f"{arch}.json").read_text())


@pytest.mark.parametrize("arch", RUN)
def test_outputs_equal_the_authors(arch):
    spec = spec_of(arch)

    def forward(network, image):
        state = network.state_dict()
        for key, values in spec.get("overrides", {}).items():
            state[key].copy_(torch.tensor(values))
        return network(image)

    report = fill.check(from_reference(spec), arch, forward=forward)
    assert report["ok"], report
    assert not report["hints"]


@pytest.mark.parametrize("arch", FULL)
def test_published_sizes_have_the_authors_keys(arch):
    with torch.device("meta"):
        report = fill.check(from_reference(spec_of(arch)), arch, keys_only=True)
    assert report["ok"], report


@pytest.mark.parametrize("dims", [2, 3])
def test_users_get_logits_whose_sigmoid_is_the_authors_output(dims):
    image = torch.randn(2, 1, *(16,) * dims)
    probable = UNet3Plus(1, 3, heads=5, spatial_dims=dims, widths=WIDTHS).eval()
    network = create_model("unet3plus", num_classes=3, spatial_dims=dims, widths=WIDTHS, deep_supervision=True).eval()
    network.load_state_dict(probable.state_dict())
    with torch.no_grad():
        logits, _ = network.network.logits(image)
        torch.testing.assert_close([x.sigmoid() for x in logits], list(probable(image)))
        assert network(image).shape == (2, 3, *image.shape[2:])


def test_an_untrained_classifier_passes_every_image_and_a_trained_one_can_stop_it():
    network = create_model("unet3plus_cgm", widths=WIDTHS).eval()
    image = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        assert network(image).abs().sum() > 0
        network.cls[1].bias.copy_(torch.tensor([3.0, -3.0]))
        assert network(image).abs().sum() == 0
        assert network.train()(image).abs().sum() > 0


def test_the_classifier_can_be_trained():
    network = create_model("unet3plus_cgm", widths=WIDTHS)
    assert not any(p.requires_grad for p in network.cls.parameters())
    network.cls.requires_grad_(requires_grad=True)
    _, presence = network.network.logits(torch.randn(2, 1, 32, 32))
    torch.nn.functional.binary_cross_entropy(presence, torch.tensor([[1.0, 0.0], [0.0, 1.0]])).backward()
    assert network.cls[1].weight.grad.abs().sum() > 0


def test_an_argument_the_authors_do_not_have_is_named():
    spec = spec_of("unet3plus")
    with pytest.raises(TypeError, match="depth"):
        from_reference({**spec, "config": {"depth": 3}})
    with pytest.raises(ValueError, match="widths"):
        UNet3Plus(widths=(1, 2))
