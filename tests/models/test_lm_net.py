import json
from pathlib import Path

import pytest
import torch

from itkit.models import create_model, from_reference, load_pretrained
from itkit.models.lm_net.blocks import NeighbourhoodAttention
from itkit.models.lm_net.network import LMNet, structural_reparam
from tests.models.parity import fill

PARITY = Path(__file__).parent / "parity"
ARCHS = ("lm_net", "lm_net_deploy", "lm_net_mini", "lm_net_mini_no_rpb", "lm_net_mini_pad", "lm_net_no_rpb")
WIDTHS = (12, 12, 24, 24, 36)


def spec_of(arch):
    return json.loads((PARITY / f"{arch}.json").read_text())


@pytest.mark.parametrize("arch", ARCHS)
def test_outputs_equal_the_authors(arch):
    report = fill.check(from_reference(spec_of(arch)), arch)
    assert report["ok"], report
    assert report["same_order"]
    assert not report["hints"]


def test_deployed_form_gives_the_same_output():
    network = fill.fill_state_dict(LMNet(2, 3, WIDTHS)).eval().double()
    image = fill.make_input((1, 2, 32, 48), dtype=torch.float64)
    with torch.no_grad():
        before = network(image)
        assert structural_reparam(network) is network
        after = network(image)
    torch.testing.assert_close(after, before)
    assert "conv1.0.fuse_conv.bias" in network.state_dict()
    assert "conv1.0.square_conv.conv.weight" not in network.state_dict()
    structural_reparam(network)
    torch.testing.assert_close(network(image), after)


def test_deployed_weights_load_into_a_deployed_network():
    trained = structural_reparam(fill.fill_state_dict(LMNet(1, 2, WIDTHS)).eval())
    fresh = LMNet(1, 2, WIDTHS, deploy=True).eval()
    fresh.load_state_dict(trained.state_dict())
    image = fill.make_input((1, 1, 16, 32))
    torch.testing.assert_close(fresh(image), trained(image))


def test_attention_equals_a_loop_over_pixels():
    attention = NeighbourhoodAttention(6, heads=2).double()
    torch.nn.init.normal_(attention.rpb)
    x = torch.randn(1, 4, 5, 6, dtype=torch.float64)
    with torch.no_grad():
        query, key, value = attention.qkv(x)[0].view(4, 5, 3, 2, 3).unbind(2)
        expected = torch.zeros(4, 5, 2, 3, dtype=torch.float64)
        for row in range(4):
            for column in range(5):
                top, left = min(max(row - 1, 0), 1), min(max(column - 1, 0), 2)
                places = [(r, c) for r in range(top, top + 3) for c in range(left, left + 3)]
                for head in range(2):
                    scores = torch.stack(
                        [
                            query[row, column, head] @ key[r, c, head] / 3**0.5
                            + attention.rpb[head, r - row + 2, c - column + 2]
                            for r, c in places
                        ]
                    )
                    values = torch.stack([value[r, c, head] for r, c in places])
                    expected[row, column, head] = scores.softmax(0) @ values
        torch.testing.assert_close(attention(x)[0], attention.proj(expected.flatten(2)))


def test_no_position_bias_equals_a_zero_one():
    network = fill.fill_state_dict(LMNet(1, 2, WIDTHS, rel_pos_bias=False)).eval()
    with_bias = LMNet(1, 2, WIDTHS).eval()
    report = with_bias.load_state_dict(network.state_dict(), strict=False)
    assert sorted(report.missing_keys) == [f"natt{i}.att1.rpb" for i in range(1, 5)]
    with torch.no_grad():
        for number in range(1, 5):
            getattr(with_bias, f"natt{number}").att1.rpb.zero_()
    image = fill.make_input((1, 1, 32, 16))
    torch.testing.assert_close(with_bias(image), network(image))


@pytest.mark.parametrize(
    ("natten", "has_bias"),
    [("0.14.6, built for CPU", True), ("0.14.6 with bias=False", False), ("0.17.5", False), ("", True)],
)
def test_position_bias_follows_the_natten_release(natten, has_bias):
    spec = {**spec_of("lm_net_mini"), "natten": natten}
    assert ("natt1.att1.rpb" in from_reference(spec).state_dict()) == has_bias


def test_files_without_position_bias_load_as_if_it_were_zero(tmp_path):
    source = fill.fill_state_dict(LMNet(1, 2, WIDTHS, rel_pos_bias=False)).eval()
    torch.save({"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, tmp_path / "weights.pth")
    network = create_model("lm_net", filters=WIDTHS).eval()
    assert load_pretrained(network, tmp_path / "weights.pth").complete
    image = fill.make_input((1, 1, 32, 16))
    torch.testing.assert_close(network(image), source(image))


def test_every_parameter_gets_a_gradient():
    network = create_model("lm_net", in_channels=2, num_classes=3, filters=WIDTHS).train()
    network(torch.randn(2, 2, 32, 16)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_checkpointing_changes_nothing():
    results = []
    for use_checkpoint in (False, True):
        torch.manual_seed(1)
        network = LMNet(1, 2, WIDTHS, use_checkpoint=use_checkpoint).train()
        torch.manual_seed(2)
        network(fill.make_input((2, 1, 16, 32))).square().sum().backward()
        results.append([*(p.grad for p in network.parameters()), *network.buffers()])
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("filters", [(12, 24, 48, 96), (12, 24, 50, 96, 192), (12, 24, 48, 96, 190)])
def test_wrong_widths_are_named(filters):
    with pytest.raises(ValueError, match="filters"):
        LMNet(3, filters=filters)


def test_deep_supervision_has_no_effect_as_in_the_authors_code():
    keys = LMNet(1, 2, WIDTHS, deep_supervision=True).state_dict().keys()
    assert keys == LMNet(1, 2, WIDTHS).state_dict().keys()
