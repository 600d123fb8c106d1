import dataclasses
import subprocess
import sys

import pytest
import torch
from torch import nn

from itkit.models import ModelCard, create_model, list_models, model_card, table
from itkit.models.registry import FAMILIES, references, resolve
from itkit.models.segmenter import Segmenter, fitting_size


def card(**changes):
    facts = {
        "name": "fake",
        "family": "fake",
        "title": "Fake",
        "paper": "none",
        "year": 2000,
        "repository": "none",
        "code_licence": "MIT",
        "spatial_dims": (2,),
        "builder": "x:y",
        "divisor": 8,
        "minimum_size": 16,
    }
    return ModelCard(**{**facts, **changes})


class Spy(nn.Module):
    """Keeps what it was given; answers at half size, coarser ones after it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.register_buffer("hidden", torch.zeros(1), persistent=False)

    def forward(self, image):
        self.seen = image
        half = self.conv(image)[:, :, ::2, ::2]
        return [half, half[:, :, ::2, ::2]]


def wrap(**changes):
    options = {"in_channels": 1, "num_classes": 2, "spatial_dims": 2, **changes}
    return Segmenter(Spy(), options.pop("card", card()), **options)


def test_listing_and_cards_need_no_torch():
    code = "import sys, itkit.models as m; m.table(); m.list_models(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_family_is_there_and_every_path_leads_somewhere():
    assert {model_card(name).family for name in list_models(plugins=False)} == set(FAMILIES)
    for name in list_models(plugins=False):
        assert model_card(name).name == name
        assert callable(resolve(model_card(name).builder))
    for path in references().values():
        assert callable(resolve(path))


def test_cards_are_complete():
    for name in list_models(plugins=False):
        facts = model_card(name)
        for field in ("title", "paper", "repository", "code_licence", "weights_licence", "weights_origin"):
            assert getattr(facts, field), (name, field)
        assert set(facts.spatial_dims) <= {2, 3}
        assert 2000 < facts.year < 2100
        with pytest.raises(dataclasses.FrozenInstanceError):
            facts.year = 1


def test_patterns_choose_names():
    assert list_models("mednext_?") == ["mednext_b", "mednext_l", "mednext_m", "mednext_s"]
    assert list_models("nothing*") == []
    assert {row["name"] for row in table("unet3*")} == set(list_models("unet3*"))
    assert table("unetr")[0]["dims"] == "3D/2D"


@pytest.mark.parametrize(
    ("wrong", "close"), [("mednext-s", "mednext_s"), ("UNETR", "unetr"), ("unet3pluss", "unet3plus")]
)
def test_an_unknown_name_gets_close_ones(wrong, close):
    with pytest.raises(ValueError, match=close):
        create_model(wrong)


def test_an_unsupported_number_of_axes_names_the_supported_ones():
    name = next(name for name in list_models() if model_card(name).spatial_dims == (2,))
    with pytest.raises(ValueError, match="spatial_dims must be 2; got 3"):
        create_model(name, spatial_dims=3)
    with pytest.raises(ValueError, match="3 or 2; got 1"):
        create_model("mednext_s", spatial_dims=1)


def test_numbers_and_options_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="num_classes"):
        create_model("mednext_s", num_classes=0)
    with pytest.raises(ValueError, match="in_channels"):
        create_model("mednext_s", in_channels=0)
    with pytest.raises(ValueError, match="deep_supervision is not available"):
        create_model("unetr", deep_supervision=True)


def test_unused_parameters_are_frozen_and_loadable():
    network = create_model("mednext_s", **model_card("mednext_s").tiny)
    assert [key for key, p in network.named_parameters() if not p.requires_grad] == ["dummy_tensor"]
    assert "dummy_tensor" in network.state_dict()


def test_an_input_is_padded_at_its_high_end_and_the_logits_are_cropped():
    network = wrap().eval()
    image = torch.randn(1, 1, 17, 30)
    logits = network(image)
    assert logits.shape == (1, 2, 17, 30)
    seen = network.network.seen
    assert seen.shape == (1, 1, 24, 32)
    torch.testing.assert_close(seen[..., :17, :30], image)
    torch.testing.assert_close(seen[..., 17:, :30], image[..., -1:, :].expand(-1, -1, 7, -1))
    torch.testing.assert_close(seen[..., :17, 30:], image[..., -1:].expand(-1, -1, -1, 2))


def test_small_inputs_grow_to_the_smallest_size():
    network = wrap().eval()
    assert network(torch.zeros(1, 1, 3, 40)).shape == (1, 2, 3, 40)
    assert network.network.seen.shape[2:] == (16, 40)


def test_coarse_logits_are_resized_linearly():
    network = wrap().eval()
    ramp = torch.arange(16.0).view(1, 1, 1, 16).expand(1, 1, 16, 16)
    logits = network(ramp)
    weight, bias = network.conv.weight.flatten(), network.conv.bias
    want = (ramp - 0.5).clamp(0, 14)
    torch.testing.assert_close(logits, weight.view(1, 2, 1, 1) * want + bias.view(1, 2, 1, 1))


def test_outputs_are_listed_in_training_with_deep_supervision_only():
    network = wrap(deep_supervision=True)
    image = torch.zeros(2, 1, 16, 24)
    assert [tuple(x.shape) for x in network.train()(image)] == [(2, 2, 16, 24)] * 2
    assert network.eval()(image).shape == (2, 2, 16, 24)
    assert wrap().train()(image).shape == (2, 2, 16, 24)


def test_without_padding_the_error_computes_what_fits():
    network = wrap(pad=False)
    assert network.eval()(torch.zeros(1, 1, 16, 24)).shape == (1, 2, 16, 24)
    with pytest.raises(ValueError, match=r"nearest is \(16, 24\), next larger \(24, 24\)"):
        network(torch.zeros(1, 1, 17, 21))
    with pytest.raises(ValueError, match=r"nearest is \(16, 16\); or"):
        network(torch.zeros(1, 1, 2, 15))


def test_a_fixed_size_takes_smaller_images_and_refuses_larger_ones():
    network = wrap(card=card(fixed_size=True), image_size=(16, 32)).eval()
    assert network(torch.zeros(1, 1, 9, 31)).shape == (1, 2, 9, 31)
    assert network.network.seen.shape[2:] == (16, 32)
    with pytest.raises(ValueError, match=r"\(17, 32\).*fixed image_size \(16, 32\)"):
        network(torch.zeros(1, 1, 17, 32))
    with pytest.raises(ValueError, match="fixed image_size"):
        wrap(card=card(fixed_size=True), image_size=16, pad=False)(torch.zeros(1, 1, 8, 16))


@pytest.mark.parametrize("shape", [(1, 2, 16, 16), (1, 16, 16), (1, 1, 16, 16, 16)])
def test_other_channels_or_axes_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected an image \(N, 1, Y, X\)"):
        wrap()(torch.zeros(shape))


def test_mode_dtype_and_buffers_reach_the_network():
    network = wrap()
    inner = network.network
    network.eval()
    assert not inner.training
    network.train()
    assert inner.training
    network.double()
    assert inner.conv.weight.dtype == inner.hidden.dtype == torch.float64
    assert list(network.state_dict()) == ["conv.weight", "conv.bias"]
    assert len(list(network.modules())) == 2


@pytest.mark.parametrize(
    ("size", "nearest", "larger"), [((8,), (8,), (8,)), ((9,), (8,), (16,)), ((12,), (16,), (16,)), ((1,), (8,), (8,))]
)
def test_fitting_sizes(size, nearest, larger):
    assert fitting_size(size, 8, 5, nearest=True) == nearest
    assert fitting_size(size, 8, 5) == larger
