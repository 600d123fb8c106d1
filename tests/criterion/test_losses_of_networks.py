"""The networks' own losses take what ``create_model`` returns in training mode, half types and empty slices too."""

import re

import pytest
import torch

from itkit.core.errors import ArgumentError
from itkit.criterion.dconnnet import DconnLoss, class_connectivity_loss, connectivity_loss
from itkit.criterion.ege_unet import EGEUNetLoss
from itkit.criterion.unet3plus import UNet3PlusLoss, iou_loss
from itkit.models import create_model, model_card

NETWORKS = {"ege_unet": EGEUNetLoss, "unet3plus": UNet3PlusLoss, "dconnnet": DconnLoss}
LOSSES = list(NETWORKS.values())


def blobs(classes, *, batch=2, side=32, empty=False):
    labels = torch.zeros(batch, side, side + 16, dtype=torch.long)
    if not empty:
        labels[:, 3:17, 5:22] = 1
        labels[:, 8:12, 9:30] = classes - 1 if classes > 1 else 1
    return labels


def truth_of(labels, classes):
    if classes == 1:
        return labels[:, None].float()
    return torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).float()


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_lowers_the_loss_of_what_the_network_returns(name, classes, deep):
    torch.manual_seed(0)
    network = create_model(
        name, num_classes=classes, spatial_dims=2, deep_supervision=deep, **model_card(name).tiny
    ).train()
    labels = blobs(classes)
    image = labels[:, None] + 0.1 * torch.randn(2, 1, 32, 48)
    loss = NETWORKS[name]()
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    values = []
    for _ in range(4):
        output = network(image)
        assert isinstance(output, list) == deep
        value = loss(output, labels)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
        values.append(value.item())
    assert values[-1] < values[0]


@pytest.mark.parametrize("deep", [False, True])
def test_links_of_dconnnet_are_what_the_authors_train_on(deep):
    torch.manual_seed(0)
    tiny = model_card("dconnnet").tiny
    network = create_model("dconnnet", num_classes=3, links=True, deep_supervision=deep, **tiny).train()
    labels, image = blobs(3, side=30), torch.randn(2, 1, 30, 46)
    output = network(image)
    fine = output[0] if deep else output
    assert fine.shape == (2, 24, 30, 46)
    want = connectivity_loss(fine, labels)
    if deep:
        want = want + 0.3 * connectivity_loss(output[1], labels)
    torch.testing.assert_close(DconnLoss(num_classes=3)(output, labels), want)
    torch.testing.assert_close(DconnLoss()(output, labels), want)
    assert network.eval()(image).shape == (2, 3, 30, 46)


def test_ege_logits_and_probabilities_agree():
    torch.manual_seed(1)
    labels = blobs(1)
    main, *levels = [2 * torch.randn(2, 1, 32, 48) for _ in range(6)]
    finest_first = [main, *levels]
    authors = ([level.sigmoid() for level in reversed(levels)], main.sigmoid())
    torch.testing.assert_close(EGEUNetLoss()(finest_first, labels), EGEUNetLoss()(authors, labels))
    torch.testing.assert_close(EGEUNetLoss()(main, labels), EGEUNetLoss()(([], main.sigmoid()), labels))


def test_auxiliary_maps_of_several_classes_are_judged_by_their_foreground():
    labels = blobs(3)
    right = truth_of(labels, 3) * 60 - 30
    unsure = torch.cat([right[:, :1], -right[:, :1].expand(-1, 2, -1, -1)], 1)  # foreground, whichever class
    loss = EGEUNetLoss(level_weights=[0.5])
    assert loss([right, unsure], labels) < 1e-4
    assert loss([right, -unsure], labels) > 1


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_right_logits_cost_less_than_wrong_ones(loss, classes):
    labels = blobs(classes)
    right = truth_of(labels, classes) * 40 - 20
    least = 1 if loss is DconnLoss else 0  # a sum of -log(1 - v) over the sum of v, its votes at edges
    assert loss()(right, labels) < 0.05 + least
    assert loss()(-right, labels) > 2 + least


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss", LOSSES)
def test_half_types_are_computed_in_float32(loss, dtype):
    torch.manual_seed(2)
    logits, labels = (3 * torch.randn(2, 3, 32, 48)).to(dtype), blobs(3)
    want = loss()(logits.float(), labels)
    leaf = logits.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        got = loss()(leaf, labels)
    got.backward()
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want, rtol=0, atol=0)
    assert leaf.grad.dtype == dtype
    assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("logit", [0.0, -5.0, -18.0, -200.0, 18.0, 200.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("loss", LOSSES)
def test_an_empty_slice_gives_no_nan(loss, dtype, logit):
    for classes in (1, 3):
        logits = torch.full((2, classes, 32, 48), logit, dtype=dtype, requires_grad=True)
        value = loss()(logits, blobs(classes, empty=True))
        value.backward()
        assert value.isfinite()
        assert logits.grad.isfinite().all()


def test_nothing_found_where_nothing_is_costs_nothing():
    nothing = torch.zeros(1, 1, 32, 32)
    assert iou_loss(nothing, nothing) == 0
    assert UNet3PlusLoss()(torch.full((1, 1, 32, 32), -200.0), nothing) < 1e-6


@pytest.mark.parametrize("loss", LOSSES)
def test_one_hot_and_soft_targets(loss):
    torch.manual_seed(3)
    logits, labels = torch.randn(2, 3, 32, 48), blobs(3)
    one_hot = truth_of(labels, 3)
    for target in (one_hot, one_hot.bool(), one_hot.byte(), labels[:, None], labels.int()):
        torch.testing.assert_close(loss()(logits, target), loss()(logits, labels))
    soft = 0.8 * one_hot + 0.2 / 3
    assert loss()(logits, soft).isfinite()
    assert loss()(logits, soft) != loss()(logits, labels)
    mask = blobs(1)
    torch.testing.assert_close(loss()(logits[:, :1], mask[:, None].float()), loss()(logits[:, :1], mask.bool()))


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_ignored_pixels_count_nowhere(loss, classes):
    torch.manual_seed(5)
    labels, logits = blobs(classes), torch.randn(2, classes, 32, 48)
    labels[:, 10:20, 4:30] = 255
    ignoring = loss(ignore_index=255)
    leaf = logits.clone().requires_grad_()
    value = ignoring(leaf, labels)
    value.backward()
    ignored = (labels == 255).unsqueeze(1).expand_as(logits)
    assert not leaf.grad[ignored].any()
    assert leaf.grad[~ignored].all()
    torch.testing.assert_close(ignoring(logits.where(~ignored, 7.0), labels), value.detach(), rtol=0, atol=0)
    assert ignoring(logits, torch.full_like(labels, 255)).isfinite()
    plain = labels.where(labels < 255, 0)
    torch.testing.assert_close(ignoring(logits, plain), loss()(logits, plain))


@pytest.mark.parametrize(
    ("channels", "change", "message"),
    [
        (3, lambda labels: labels.float(), "class numbers must be integers; got torch.float32"),
        (1, lambda labels: labels * 2, "holds class 2; one logit tells classes 0 to 1 apart"),
        (1, lambda labels: labels * 255, "ignore_index=255"),
        (3, lambda labels: labels + 1, "holds class 3; 3 logits tell classes 0 to 2 apart"),
        (3, lambda labels: labels - 1, "holds class -1"),
        (3, lambda labels: labels[:, 1:], "does not fit"),
        (3, lambda labels: truth_of(labels, 3) * 2, "0 to 1; found 0 to 2"),
        (3, lambda labels: truth_of(labels, 3) * torch.nan, "0 to 1; found nan"),
        (1, lambda labels: labels[:, None] * 255.0, "0 to 1; found 0 to 255"),
    ],
)
@pytest.mark.parametrize("loss", LOSSES)
def test_labels_that_do_not_fit_are_named(loss, channels, change, message):
    with pytest.raises(ArgumentError, match=re.escape(message)):
        loss()(torch.zeros(2, channels, 32, 48), change(blobs(channels)))


def test_maps_that_do_not_fit_are_named():
    labels, logits = blobs(3), torch.zeros(2, 3, 32, 48)
    with pytest.raises(ArgumentError, match="5 weights for 2 auxiliary maps"):
        EGEUNetLoss()([logits] * 3, labels)
    with pytest.raises(ArgumentError, match="one map, or a fine and a coarse one; got 3"):
        DconnLoss()([logits] * 3, labels)
    with pytest.raises(ArgumentError, match="expected 32 or 4 channels"):
        DconnLoss(num_classes=4)(logits, labels)
    with pytest.raises(ArgumentError, match="at least 32"):
        UNet3PlusLoss()(logits[:, :, :20], labels[:, :20])


def test_eight_classes_are_told_from_the_links_of_one():
    torch.manual_seed(4)
    logits, labels = torch.randn(2, 8, 32, 48), blobs(1)
    torch.testing.assert_close(DconnLoss(num_classes=8)(logits, labels), class_connectivity_loss(logits, labels))
    torch.testing.assert_close(DconnLoss(num_classes=1)(logits, labels), connectivity_loss(logits, labels))
    torch.testing.assert_close(DconnLoss()(logits, labels), connectivity_loss(logits, labels))
