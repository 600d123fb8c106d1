import json
from pathlib import Path

import numpy as np
import pytest
import torch

from itkit.criterion.ege_unet import EGEUNetLoss, bce_dice, binary_cross_entropy, deep_bce_dice, soft_dice

PARITY = Path(__file__).parents[1] / "models" / "parity"
CASES = {case["name"]: case for case in json.loads((PARITY / "egeunet_losses.json").read_text())["cases"]}


@pytest.fixture(scope="module")
def arrays():
    with np.load(PARITY / "egeunet_losses.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


@pytest.mark.parametrize(
    ("name", "function"), [("bce", binary_cross_entropy), ("dice", soft_dice), ("bce_dice", bce_dice)]
)
def test_losses_and_gradients_equal_the_authors(arrays, name, function):
    prediction = arrays[f"{name}.in.pred"].clone().requires_grad_()
    loss = function(prediction, arrays[f"{name}.in.target"])
    loss.backward()
    torch.testing.assert_close(loss.detach()[None], arrays[f"{name}.out.loss"])
    torch.testing.assert_close(prediction.grad, arrays[f"{name}.out.grad_pred"], rtol=1e-5, atol=1e-8)


def test_deep_loss_and_gradient_equal_the_authors(arrays):
    levels = [arrays[f"gt_bce_dice.in.gt_pre{level}"] for level in (5, 4, 3, 2, 1)]
    out = arrays["gt_bce_dice.in.out"].clone().requires_grad_()
    loss = EGEUNetLoss()((levels, out), arrays["gt_bce_dice.in.target"])
    loss.backward()
    torch.testing.assert_close(loss.detach()[None], arrays["gt_bce_dice.out.loss"])
    torch.testing.assert_close(out.grad, arrays["gt_bce_dice.out.grad_out"], rtol=1e-5, atol=1e-8)
    reverse = deep_bce_dice(levels[::-1], out, arrays["gt_bce_dice.in.target"])
    assert not torch.isclose(reverse, loss)


def test_weights_scale_their_term():
    prediction, target = torch.rand(2, 1, 4, 5), torch.randint(2, (2, 1, 4, 5)).float()
    parts = 2 * soft_dice(prediction, target) + 3 * binary_cross_entropy(prediction, target)
    torch.testing.assert_close(bce_dice(prediction, target, bce_weight=3, dice_weight=2), parts)


def test_empty_masks_cost_nothing():
    assert float(soft_dice(torch.zeros(2, 1, 3, 3), torch.zeros(2, 1, 3, 3))) == 0


def test_number_of_levels_must_fit():
    maps = torch.full((1, 1, 4, 4), 0.5)
    with pytest.raises(ValueError, match="zip"):
        deep_bce_dice([maps], maps, maps)
