import json
from pathlib import Path

import pytest
import torch

from itkit.models import create_model, from_reference, model_card
from itkit.models.ege_unet.network import EGEUNet, build
from tests.models.parity import fill

PARITY = Path(__file__).parent / "parity"
ARCHS = ("egeunet", "egeunet_mini", "egeunet_no_ds")
WIDTHS = (4, 8, 12, 16, 20, 24)


@pytest.mark.parametrize("arch", ARCHS)
def test_outputs_equal_the_authors(arch):
    spec = json.loads((PARITY / f"{arch}.json").read_text())
    report = fill.check(from_reference(spec), arch)
    assert report["ok"], report
    assert report["same_order"]
    assert not report["hints"]


def test_every_parameter_gets_a_gradient():
    network = create_model("ege_unet", in_channels=2, num_classes=3, c_list=WIDTHS).train()
    network(torch.randn(2, 2, 64, 32)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_logits_are_those_of_the_probabilities():
    authors = fill.fill_state_dict(EGEUNet(2, 1, WIDTHS)).eval()
    logits = build(in_channels=1, num_classes=2, c_list=WIDTHS).eval()
    logits.load_state_dict(authors.state_dict())
    image = fill.make_input((1, 1, 32, 64))
    with torch.no_grad():
        expected = authors(image)[1]
        raw = logits(image)
        torch.testing.assert_close(torch.sigmoid(logits.to_logits(raw, (32, 64))), expected)


def test_auxiliary_logits_give_the_foreground_probability():
    network = build(in_channels=1, num_classes=4, c_list=WIDTHS, deep_supervision=True).train()
    raw = network(fill.make_input((2, 1, 32, 32)))
    main, *others = network.to_logits(raw, (32, 32))
    assert main is raw[1]
    assert len(others) == 5
    for logits, foreground in zip(others, reversed(raw[0]), strict=True):
        shares = logits.softmax(1)
        torch.testing.assert_close(shares[:, 1:].sum(1), torch.sigmoid(foreground[:, 0]))
        torch.testing.assert_close(shares[:, 1], shares[:, 3])


def test_gates_tell_rows_from_columns():
    network = EGEUNet(1, 1, WIDTHS).eval()
    block = network.encoder4[0]
    with torch.no_grad():
        block.conv_zx[2].weight.zero_()
        block.conv_zx[2].bias.zero_()
        quarter = block.norm2.weight.shape[0] // 4
        block.norm2 = torch.nn.Identity()
        block.ldw = torch.nn.Identity()
        block.params_zy.copy_(torch.arange(8.0).expand_as(block.params_zy))
        out = block(torch.randn(1, 4 * quarter, 5, 7))
        normed = block.norm1(torch.randn(1, 4 * quarter, 5, 7))
    assert out[:, quarter : 2 * quarter].abs().max() == 0
    gate = out[:, 2 * quarter : 3 * quarter]
    assert normed.shape == out.shape
    assert gate.abs().max() > 0


def test_ways_the_authors_forward_cannot_run_have_defined_results():
    image = torch.randn(1, 3, 32, 32)
    for bridge, gt_ds in ((False, True), (True, False), (False, False)):
        network = EGEUNet(c_list=WIDTHS, bridge=bridge, gt_ds=gt_ds)
        keys = network.state_dict()
        assert any(key.startswith("GAB") for key in keys) == bridge
        assert any(key.startswith("gt_conv") for key in keys) == gt_ds
        output = network(image)
        assert (output[1] if gt_ds else output).shape == (1, 1, 32, 32)


def test_checkpointing_changes_nothing():
    results = []
    for use_checkpoint in (False, True):
        torch.manual_seed(1)
        network = create_model("ege_unet", c_list=WIDTHS, use_checkpoint=use_checkpoint).train()
        output = network(fill.make_input((1, 1, 32, 32)))
        output.square().sum().backward()
        results.append([output.detach(), *(p.grad for p in network.parameters())])
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("widths", [(4, 8, 12, 16, 20), (4, 8, 12, 16, 20, 26), (0, 8, 12, 16, 20, 24)])
def test_wrong_widths_are_named(widths):
    with pytest.raises(ValueError, match="c_list"):
        EGEUNet(c_list=widths)


def test_deep_supervision_needs_the_auxiliary_maps():
    with pytest.raises(ValueError, match="deep_supervision"):
        build(in_channels=1, num_classes=2, gt_ds=False, deep_supervision=True)
    with pytest.raises(ValueError, match="spatial_dims"):
        build(in_channels=1, num_classes=2, spatial_dims=3)


def test_size_is_the_papers():
    card = model_card("ege_unet")
    count = sum(p.numel() for p in EGEUNet().parameters())
    assert count == pytest.approx(card.paper_parameters, rel=0.01)
