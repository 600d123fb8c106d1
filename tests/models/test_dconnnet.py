import json
from pathlib import Path

import numpy as np
import pytest
import torch

from itkit.models import create_model, from_reference, load_pretrained
from itkit.models.blocks.resnet import Depth, ResNet
from itkit.models.dconnnet.connectivity import (
    NEIGHBOURS,
    bilateral_voting,
    connectivity_matrix,
    mask_logits,
    predict,
    split_directions,
)
from itkit.models.dconnnet.network import DconnNet, build
from tests.models.parity import fill

PARITY = Path(__file__).parent / "parity"
CASES = {case["name"]: case for case in json.loads((PARITY / "dconnnet_functions.json").read_text())["cases"]}
TINY = {"width": 8, "blocks": (1, 1, 1, 1)}


@pytest.fixture(scope="module")
def arrays():
    with np.load(PARITY / "dconnnet_functions.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


@pytest.mark.parametrize("arch", ["dconnnet_c1", "dconnnet_c4"])
def test_outputs_equal_the_authors(arch):
    spec = json.loads((PARITY / f"{arch}.json").read_text())
    report = fill.check(from_reference(spec), arch)
    assert report["ok"], report
    assert report["same_order"]
    assert not report["hints"]


@pytest.mark.parametrize("name", ["connectivity_matrix_single", "connectivity_matrix_multi"])
def test_links_equal_the_authors(arrays, name):
    assert torch.equal(connectivity_matrix(arrays[f"{name}.in.multimask"]), arrays[f"{name}.out.conn"])


@pytest.mark.parametrize("classes", ["single", "multi"])
@pytest.mark.parametrize("activation", ["raw", "sigmoid"])
def test_votes_equal_the_authors(arrays, classes, activation):
    name = f"bilateral_voting_{classes}_{activation}"
    logits = arrays[f"{name}.in.logits"]
    maps = split_directions(torch.sigmoid(logits) if activation == "sigmoid" else logits)
    score, votes = bilateral_voting(maps)
    torch.testing.assert_close(score, arrays[f"{name}.out.pred_mask"])
    torch.testing.assert_close(votes, arrays[f"{name}.out.vote_out"])


def test_decisions_equal_the_authors(arrays):
    single = arrays["inference_single.in.logits"]
    assert torch.equal(predict(single).float(), arrays["inference_single.out.mask"])
    multi = arrays["inference_multi.in.logits"]
    torch.testing.assert_close(mask_logits(multi), arrays["inference_multi.out.final_pred"])
    assert torch.equal(predict(multi), arrays["inference_multi.out.label"])


def test_links_vote_for_their_mask(arrays):
    links = connectivity_matrix(arrays["round_trip.in.mask"])
    assert torch.equal(bilateral_voting(split_directions(links))[0], arrays["round_trip.out.mask_back"])


def test_a_batch_of_one_keeps_its_axis():
    mask = torch.tensor([[[[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]]])
    links = connectivity_matrix(mask)
    assert links.shape == (1, 8, 2, 3)
    for direction, (down, right) in enumerate(NEIGHBOURS):
        for row in range(2):
            for column in range(3):
                r, c = row + down, column + right
                inside = 0 <= r < 2 and 0 <= c < 3
                expected = float(mask[0, 0, row, column] * mask[0, 0, r, c]) if inside else 0.0
                assert links[0, direction, row, column] == expected


def test_single_class_logits_are_links_both_ends_agree_on():
    logits = torch.full((1, 8, 1, 3), -5.0)
    logits[0, 4, 0, 0], logits[0, 3, 0, 1] = 2.0, 0.5
    assert mask_logits(logits)[0, 0, 0].tolist() == [0.5, 0.5, -5.0]


def test_wrong_channels_are_named():
    with pytest.raises(ValueError, match="8 C"):
        split_directions(torch.zeros(1, 7, 4, 4))


@pytest.mark.parametrize("classes", [1, 4])
def test_all_but_the_unused_parameters_get_a_gradient(classes):
    network = create_model("dconnnet", num_classes=classes, deep_supervision=True, **TINY).train()
    outputs = network(torch.randn(2, 1, 64, 32))
    assert [tuple(o.shape) for o in outputs] == [(2, classes, 64, 32)] * 2
    sum(o.square().mean() for o in outputs).backward()
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name
    frozen = {name.rsplit(".", 1)[0] for name, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {"backbone.fc", "fb5.conv_3x3.conv", "fb5.conv_3x3.bn", "cls_pred_conv"}


def test_backbone_takes_a_classifiers_weights(tmp_path):
    classifier = ResNet(Depth(blocks=(1, 1, 1, 1), bottleneck=False), width=8)
    torch.save(classifier.state_dict(), tmp_path / "resnet.pth")
    network = create_model("dconnnet", in_channels=3, **TINY)
    report = load_pretrained(network, tmp_path / "resnet.pth")
    assert report.added == "backbone."
    assert not report.unexpected
    assert torch.equal(network.network.backbone.layer3[0].bn2.weight, classifier.layer3[0].bn2.weight)


def test_logits_come_from_the_fine_map():
    network = build(in_channels=1, num_classes=3, **TINY).eval()
    fine, coarse = torch.randn(2, 1, 24, 4, 4)
    assert torch.equal(network.to_logits((fine, coarse), (4, 4)), mask_logits(fine))


def test_checkpointing_changes_nothing():
    results = []
    for use_checkpoint in (False, True):
        torch.manual_seed(1)
        network = DconnNet(1, in_channels=1, use_checkpoint=use_checkpoint, **TINY).train()
        torch.manual_seed(2)
        fine, coarse = network(fill.make_input((2, 1, 32, 32)))
        (fine.square().sum() + coarse.sum()).backward()
        used = [p.grad for p in network.parameters() if p.grad is not None]
        results.append([*used, *network.buffers()])
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize(("change", "message"), [({"num_class": 0}, "num_class"), ({"width": 12}, "width")])
def test_wrong_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        DconnNet(**change)
