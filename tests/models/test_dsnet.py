import json
from pathlib import Path

import pytest
import torch

from itkit.models import create_model, from_reference, load_pretrained, model_card
from itkit.models.dsnet.blocks import ScaleFusion, basic_layer
from itkit.models.dsnet.network import DSNet
from tests.models.parity import fill

PARITY = Path(__file__).parent / "parity"
RUN = sorted(path.stem for path in PARITY.glob("dsnet_*.npz"))
FULL = sorted(path.stem for path in PARITY.glob("dsnet_*.json") if not path.with_suffix(".npz").exists())


def spec_of(arch):
    return json.loads((PARITY / f"{arch}.json").read_text())


@pytest.mark.parametrize("arch", RUN)
def test_outputs_equal_the_authors(arch):
    report = fill.check(from_reference(spec_of(arch)), arch)
    assert report["ok"], report
    assert report["same_order"]
    assert not report["hints"]


@pytest.mark.parametrize("arch", FULL)
def test_published_sizes_have_the_authors_keys(arch):
    with torch.device("meta"):
        report = fill.check(from_reference(spec_of(arch)), arch, keys_only=True)
    assert report["ok"], report
    assert report["same_order"]


def test_fixtures_are_complete():
    assert len(RUN) == 4
    assert len(FULL) == 8


@pytest.mark.parametrize("name", ["dsnet_head64", "dsnet_head128", "dsnet_head256", "dsnet_base"])
def test_cards_build_their_variant(name):
    card = model_card(name)
    with torch.device("meta"):
        options = {**card.options, "name": card.options["variant"]}
        del options["variant"]
        authors = DSNet(num_classes=19, augment=False, **options)
        ours = create_model(name, in_channels=3, num_classes=19)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in authors.state_dict().items()}
    if card.paper_parameters:
        assert sum(p.numel() for p in ours.parameters()) == pytest.approx(card.paper_parameters, rel=0.01)


@pytest.mark.parametrize("variant", ["s64", "s128", "s256", "m"])
def test_every_parameter_gets_a_gradient(variant):
    options = {"variant": variant, "planes": 8, "m": 1, "n": 1}
    network = create_model("dsnet_base", num_classes=3, deep_supervision=True, **options).train()
    outputs = network(torch.randn(2, 1, 40, 64))
    assert [tuple(o.shape) for o in outputs] == [(2, 3, 40, 64)] * 3
    sum(o.square().mean() for o in outputs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_main_map_comes_first_for_users_and_second_for_the_authors():
    network = create_model("dsnet_head64", planes=8, m=1, n=1, deep_supervision=True).train()
    raw = [torch.full((1, 2, 8, 8), float(i)) for i in range(3)]
    assert [float(o.mean()) for o in network.network.to_logits(raw, (8, 8))] == [1, 0, 2]
    assert float(network.eval().network.to_logits(raw, (8, 8)).mean()) == 1


def test_training_files_load_completely(tmp_path):
    options = {"planes": 8, "m": 1, "n": 1}
    trained = fill.fill_state_dict(DSNet(name="s64", num_classes=3, in_channels=2, **options)).eval()
    state = {f"model.{key}": value for key, value in trained.state_dict().items()}
    state |= {"sem_loss.criterion.weight": torch.ones(3), "ce_loss.criterion.weight": torch.ones(3)}
    torch.save({"state_dict": state}, tmp_path / "dsnet.pth.tar")
    network = create_model("dsnet_head64", in_channels=2, num_classes=3, **options).eval()
    assert load_pretrained(network, tmp_path / "dsnet.pth.tar").complete
    image = fill.make_input((1, 2, 32, 32))
    torch.testing.assert_close(network(image), trained(image)[1])


def test_last_of_several_blocks_has_no_rectifier():
    assert [block.final_relu for block in basic_layer(4, 8, 1)] == [True]
    assert [block.final_relu for block in basic_layer(4, 8, 3, stride=2)] == [True, True, False]


def test_fusion_of_equal_maps_doubles_them():
    fusion = ScaleFusion(8).eval()
    x = torch.randn(1, 8, 5, 9)
    torch.testing.assert_close(fusion(x, x), 2 * x)


def test_checkpointing_changes_nothing():
    results = []
    for use_checkpoint in (False, True):
        torch.manual_seed(1)
        network = DSNet(1, 1, 2, 8, "s64", in_channels=1, use_checkpoint=use_checkpoint).train()
        outputs = network(fill.make_input((2, 1, 32, 32)))
        sum(o.square().sum() for o in outputs).backward()
        results.append([*(p.grad for p in network.parameters()), *network.buffers()])
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize(
    ("change", "message"), [({"name": "s32"}, "name"), ({"m": 0}, "m, n, planes"), ({"planes": 0}, "m, n, planes")]
)
def test_wrong_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        DSNet(**change)


def test_unknown_arguments_are_named():
    with pytest.raises(TypeError, match="depth"):
        from_reference({"official_class": "models.dsnet.DSNet", "config": {"depth": 3}})
