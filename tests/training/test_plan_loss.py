import torch
from torch.nn import functional

from itkit.training.networks import network_facts, plan_loss
from itkit.training.plan_file import make_plan


def nnunets(logits, label):
    """Cross entropy plus one minus the mean Dice of the classes without the background, of each patch."""
    truth = functional.one_hot(label, logits.shape[1]).movedim(-1, 1).float()[:, 1:]
    found = logits.softmax(1)[:, 1:]
    both, sums = (found * truth).sum((2, 3, 4)), found.sum((2, 3, 4)) + truth.sum((2, 3, 4))
    dice = (2 * both + 1e-5) / (sums + 1e-5)
    return functional.cross_entropy(logits, label) + 1 - dice.mean()


def test_by_default_a_plan_compares_as_nnunet_does():
    plan = make_plan(
        {
            "dataset": {"path": "ct", "channels": ["CT"], "labels": {1: "liver", 2: "nodule"}},
            "preprocess": {"spacing": [1, 1, 1]},
            "network": {"name": "unet", "options": {"strides": [1, 2, 2, 2], "features_per_stage": [8] * 4}},
            "training": {"patch_size": [16, 16, 16]},
        }
    )
    generator = torch.Generator().manual_seed(0)
    outputs = [torch.randn(2, 3, side, side, side, generator=generator) for side in (16, 8, 4)]
    label = torch.zeros(2, 16, 16, 16, dtype=torch.int64)
    label[0, 2:9, 3:12, 4:9], label[1, 12:15, 1:4, 1:3] = 1, 2
    loss = plan_loss(plan, network_facts(plan))(outputs, label)
    expected = (2 * nnunets(outputs[0], label) + nnunets(outputs[1], label[:, ::2, ::2, ::2])) / 3
    torch.testing.assert_close(loss, expected)
