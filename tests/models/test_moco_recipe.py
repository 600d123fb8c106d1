"""The recipe of momentum contrast on one process: batch statistics, views, training, and what it is measured by."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from itkit.core.errors import ArgumentError
from itkit.models.blocks.resnet import DEPTHS, ResNet
from itkit.models.moco.moco import MoCo
from itkit.models.moco.pretraining import Recipe, features, nearest_accuracy, pretrain, probe_accuracy
from itkit.models.moco.views import RandomViews


class Remember(nn.Module):
    """Keeps what it is given, and takes away the mean of the images it sees together: a batch statistic."""

    def __init__(self, num_classes):
        super().__init__()
        self.fc = nn.Linear(6, num_classes)
        self.given = []

    def forward(self, x):
        self.given.append(x.clone())
        return self.fc(x - x.mean(0, keepdim=True))


def test_groups_have_their_own_statistics_and_mix_the_keys():
    torch.manual_seed(0)
    moco = MoCo(Remember, dim=4, K=16, m=1.0, groups=4)
    images = torch.randn(8, 6)
    logits, _ = moco(images, images)
    queries, keys = moco.encoder_q.given, moco.encoder_k.given
    assert [len(part) for part in queries] == [len(part) for part in keys] == [2] * 4
    assert torch.equal(torch.cat(queries), images)
    given = torch.cat(keys)
    assert not torch.equal(given, images)
    place = [int((given == image).all(1).nonzero()) for image in images]
    assert sorted(place) == list(range(8))
    encoded = torch.cat(
        [functional.linear(part - part.mean(0), moco.encoder_k.fc.weight, moco.encoder_k.fc.bias) for part in keys]
    )
    in_order = functional.normalize(encoded[place], dim=1)
    torch.testing.assert_close(moco.queue[:, :8].T, in_order)
    query = torch.cat([moco.encoder_q.fc(part - part.mean(0)) for part in queries])
    positive = (functional.normalize(query, dim=1) * in_order).sum(1) / moco.T
    torch.testing.assert_close(logits[:, 0], positive)


def test_one_group_is_what_it_was():
    torch.manual_seed(0)
    one = MoCo(Remember, dim=4, K=16)
    state = torch.get_rng_state()
    one(torch.ones(8, 6), torch.ones(8, 6))
    assert torch.equal(torch.get_rng_state(), state)  # nothing is drawn
    with pytest.raises(ValueError, match="groups: expected a divisor of the batch of 8; got 3"):
        MoCo(Remember, dim=4, K=16, groups=3)(torch.ones(8, 6), torch.ones(8, 6))
    with pytest.raises(ValueError, match="groups: expected at least 1"):
        MoCo(Remember, dim=4, K=16, groups=0)


STILL = {"scale": (1.0, 1.0), "angle_deg": 0.0, "contrast": 0, "brightness": 0, "gamma": 0, "blur": 0, "noise": 0}


@pytest.mark.parametrize("size", [(9, 12), (5, 8, 6)])
def test_views_that_change_nothing_change_nothing(size):
    images = torch.randn(3, 2, *size)
    torch.testing.assert_close(RandomViews(size=size, **STILL)(images), images, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(9, 12), (5, 8, 6)])
@pytest.mark.parametrize(
    "change",
    [
        {"scale": (0.4, 0.6)},
        {"angle_deg": 40.0},
        {"contrast": 0.5},
        {"brightness": 0.5},
        {"gamma": 0.5},
        {"blur": 2.0},
        {"noise": 0.5},
        {"mirror": (0, 1)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_change_differs_between_images_and_draws_and_is_repeatable(size, change):
    images = torch.randn(1, 2, *size).repeat(8, *[1] * (len(size) + 1))
    views = RandomViews(size=size, **{**STILL, **change})
    first, again, other = (views(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert not torch.allclose(first[:1].expand_as(first), first)
    assert first.isfinite().all()


def test_a_mirrored_axis_is_the_one_asked_for():
    images = torch.arange(24.0).reshape(1, 1, 4, 6).repeat(20, 1, 1, 1)
    views = RandomViews(size=(4, 6), **{**STILL, "mirror": (0,)})(images, torch.Generator().manual_seed(0))
    upside_down = images[:1].flip(2)
    kinds = [(view - images[0]).abs().max() < 1e-3 for view in views]
    assert 0 < sum(map(bool, kinds)) < 20
    for view, same in zip(views, kinds, strict=True):
        torch.testing.assert_close(view[None], images[:1] if same else upside_down, rtol=1e-4, atol=1e-3)


def test_a_crop_keeps_its_scale_and_a_turn_is_a_turn():
    z, y, x = torch.meshgrid(*[torch.arange(float(n)) for n in (10, 12, 14)], indexing="ij")
    ramps = torch.stack([z, y, x])[None]
    view = RandomViews(size=(5, 6, 7), **{**STILL, "scale": (0.5, 0.5)})(ramps, torch.Generator().manual_seed(3))[0]
    for axis in range(3):
        steps = view[axis].diff(dim=axis)
        torch.testing.assert_close(steps, torch.ones_like(steps), rtol=0, atol=1e-3)
    assert view.amin() >= -1e-3
    assert (view.amax((1, 2, 3)) <= torch.tensor([9.0, 11.0, 13.0]) + 1e-3).all()
    square = torch.stack(torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij"))[None] - 4
    turned = RandomViews(size=(9, 9), **{**STILL, "angle_deg": 30.0})(square, torch.Generator().manual_seed(0))[0]
    inner = turned[:, 2:7, 2:7]
    torch.testing.assert_close(inner.square().sum(0), square[0, :, 2:7, 2:7].square().sum(0), rtol=1e-4, atol=1e-3)


def test_arguments_that_make_no_sense_are_named():
    with pytest.raises(ArgumentError, match="size"):
        RandomViews(size=(3,))
    with pytest.raises(ArgumentError, match="scale"):
        RandomViews(size=(3, 3), scale=(0.9, 0.4))
    with pytest.raises(ArgumentError, match="2 spatial axes"):
        RandomViews(size=(3, 3))(torch.zeros(1, 1, 3, 3, 3))
    with pytest.raises(ArgumentError, match="divides the queue; got 4, 64 and 100"):
        pretrain(Remember, lambda _step: torch.zeros(0), RandomViews(size=(3, 3)), Recipe(queue=100))


def small(num_classes):
    return ResNet(DEPTHS["resnet18"], num_classes=num_classes, in_channels=1, width=8)


def textures(labels, generator):
    """Return stripes whose direction and width are the class, moved and scaled at random: pixels tell little."""
    axis = torch.arange(24.0)
    pictures = []
    for label in labels.tolist():
        shift, level, width = torch.rand(3, generator=generator).tolist()
        rows = axis[:, None] if label % 2 else axis[None, :]
        wave = torch.sin(rows * (0.6 if label < 2 else 1.6) + 6.3 * shift).expand(24, 24)
        pictures.append((1 + width) * wave + level)
    return torch.stack(pictures)[:, None] + 0.8 * torch.randn(len(labels), 1, 24, 24, generator=generator)


def test_what_is_learned_tells_images_apart_that_were_held_out():
    generator = torch.Generator().manual_seed(1)
    known_labels, asked_labels = torch.arange(80) % 4, torch.arange(120) % 4
    known, asked = textures(known_labels, generator), textures(asked_labels, generator)

    def images(step):
        drawn = torch.Generator().manual_seed(100 + step)
        return textures(torch.randint(0, 4, (32,), generator=drawn), drawn)

    def scores(encoder):
        both = [features(encoder, part[:, :, 2:22, 2:22]) for part in (known, asked)]
        return [score(both[0], known_labels, both[1], asked_labels) for score in (nearest_accuracy, probe_accuracy)]

    recipe = Recipe(steps=40, batch=32, queue=128, dim=16, momentum=0.9)
    views = RandomViews(size=(20, 20), angle_deg=5)
    steps = []
    moco = pretrain(small, images, views, recipe, lambda *facts: steps.append(facts))
    torch.manual_seed(0)
    start = scores(small(num_classes=16))
    end = scores(moco.encoder_q)
    assert min(end) > max(start) + 0.1
    assert [step for step, _, _ in steps] == list(range(40))
    again = pretrain(small, images, views, Recipe(**{**recipe.__dict__, "steps": 3}))
    twice = pretrain(small, images, views, Recipe(**{**recipe.__dict__, "steps": 3}))
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), twice.state_dict().values(), strict=True))


def test_features_are_what_the_last_layer_is_given():
    torch.manual_seed(0)
    encoder = small(num_classes=5).train()
    images = torch.randn(7, 1, 24, 24)
    found = features(encoder, images, batch=3)
    assert encoder.training
    torch.testing.assert_close(encoder.fc(found), encoder.eval()(images))


def test_scores_of_what_is_known():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    centres = torch.tensor([[3.0, 0, 0], [0, 3.0, 0], [0, 0, 3.0]])
    points = centres[labels] + 0.1 * torch.randn(60, 3, generator=generator)
    for score in (nearest_accuracy, probe_accuracy):
        assert score(points[:30], labels[:30], points[30:], labels[30:]) == 1
        assert score(points[:30], labels[:30], points[30:], (labels[30:] + 1) % 3) == 0
    partial(score, ridge=1.0)(points[:30], labels[:30], points[30:], labels[30:])
