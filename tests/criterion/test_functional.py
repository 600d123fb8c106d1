import pytest
import torch
from monai.losses import DiceLoss as MonaiDice
from monai.losses import FocalLoss as MonaiFocal
from monai.losses import TverskyLoss as MonaiTversky

from itkit import criterion
from itkit.criterion import functional as losses


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 4, 5, 6, 7, generator=generator)
    return logits, torch.randint(0, 4, (2, 5, 6, 7), generator=generator)


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("include_background", [False, True])
def test_dice_and_tversky_agree_with_monai(pair, batch, include_background):
    logits, target = pair
    options = {"softmax": True, "to_onehot_y": True, "include_background": include_background, "batch": batch}
    want = MonaiDice(**options)(logits, target[:, None])
    got = losses.dice_loss(logits, target, include_background=include_background, batch=batch)
    torch.testing.assert_close(got, want)
    want = MonaiTversky(alpha=0.2, beta=0.9, **options)(logits, target[:, None])
    got = losses.tversky_loss(logits, target, alpha=0.2, beta=0.9, include_background=include_background, batch=batch)
    torch.testing.assert_close(got, want)


def test_focal_agrees_with_monai(pair):
    logits, target = pair
    reference = MonaiFocal(use_softmax=True, to_onehot_y=True, gamma=1.5)(logits, target[:, None])
    torch.testing.assert_close(losses.focal_loss(logits, target, gamma=1.5), reference)


def test_cross_entropy_agrees_with_torch(pair):
    logits, target = pair
    weights = torch.tensor([0.1, 1.0, 2.0, 3.0])
    torch.testing.assert_close(
        losses.cross_entropy(logits, target, class_weights=weights, ignore_index=2),
        torch.nn.functional.cross_entropy(logits, target, weight=weights, ignore_index=2),
    )


@pytest.mark.parametrize(
    "loss",
    [
        criterion.DiceLoss(ignore_index=9),
        criterion.DiceCELoss(ignore_index=9, class_weights=[1, 2, 3, 4]),
        criterion.FocalLoss(ignore_index=9, class_weights=[1, 2, 3, 4]),
        criterion.TverskyLoss(ignore_index=9, gamma=0.75),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_ignored_voxels_count_nowhere(pair, loss):
    logits, target = pair
    target[:, 2:] = 9
    shorter = loss(logits[:, :, :2], target[:, :2])
    logits = logits.requires_grad_()
    value = loss(logits, target)
    value.backward()
    torch.testing.assert_close(value, shorter)
    assert not logits.grad[:, :, 2:].any()
    assert logits.grad[:, :, :2].any()


def test_one_logit_equals_two_logits_of_which_one_is_zero():
    logit = torch.randn(2, 1, 6, 5)
    target = torch.randint(0, 2, (2, 6, 5))
    two = torch.cat([torch.zeros_like(logit), logit], 1)
    torch.testing.assert_close(losses.cross_entropy(logit, target), losses.cross_entropy(two, target))
    torch.testing.assert_close(losses.focal_loss(logit, target), 2 * losses.focal_loss(two, target))  # two channels
    torch.testing.assert_close(losses.dice_loss(logit, target), losses.dice_loss(two, target, include_background=False))


def test_a_class_absent_from_both_costs_nothing():
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    logits = torch.tensor([40.0, -40.0, -40.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert losses.dice_loss(logits, target) < 1e-6


def test_deep_supervision_weighs_finer_outputs_more():
    pair = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    other = torch.randn(2, 3, 4, 4)
    loss = criterion.DiceCELoss()
    both = criterion.DeepSupervision(loss)([pair[0], other], pair[1])
    torch.testing.assert_close(both, (2 * loss(*pair) + loss(other, pair[1])) / 3)
    torch.testing.assert_close(criterion.DeepSupervision(loss)(*pair), loss(*pair))
    with pytest.raises(ValueError, match="weights"):
        criterion.DeepSupervision(loss, [1.0])([pair[0], other], pair[1])


def test_a_target_of_another_size_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        losses.dice_loss(torch.zeros(1, 2, 4, 5), torch.zeros(1, 5, 4))
