import json
from pathlib import Path

import numpy as np
import pytest
import torch

from itkit.criterion import unet3plus as losses

FIXTURE = Path(__file__).parents[1] / "models" / "parity" / "unet3plus_losses"
CASES = json.loads(FIXTURE.with_suffix(".json").read_text())["cases"]
ARRAYS = np.load(FIXTURE.with_suffix(".npz"))


def evaluate(case, prediction, target):
    function = case["function"].split(".")[-1]
    args = case["args"]
    if function == "BCE_loss":
        return {"loss": losses.binary_cross_entropy(prediction, target)}
    if function == "IOU_loss":
        return {"loss": losses.iou_loss(prediction, target)}
    if function == "ssim(full=True)":
        value, contrast = losses.ssim(prediction, target, **args)
        return {"ssim": value, "cs": contrast}
    return {"ms_ssim": losses.ms_ssim(prediction, target, **args)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_values_and_gradients_equal_the_authors(case):
    arrays = {entry["name"]: torch.from_numpy(ARRAYS[entry["array"]]) for entry in case["inputs"]}
    prediction = arrays["pred"].requires_grad_()
    found = evaluate(case, prediction, arrays["target"])
    if any(entry["name"] == "grad_pred" for entry in case["outputs"]):
        next(iter(found.values())).backward()
        found["grad_pred"] = prediction.grad
    assert {entry["name"] for entry in case["outputs"]} == set(found)
    for entry in case["outputs"]:
        want = torch.from_numpy(ARRAYS[entry["array"]])
        got = found[entry["name"]].detach().reshape(want.shape)
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6 * float(want.abs().max()))


def test_ms_ssim_needs_32_pixels_and_is_one_for_equal_volumes():
    volume = torch.rand(1, 1, 32, 33, 34)
    torch.testing.assert_close(losses.ms_ssim(volume, volume), torch.tensor(1.0))
    with pytest.raises(ValueError, match="32"):
        losses.ms_ssim(volume[:, :, :31], volume[:, :, :31])


@pytest.mark.parametrize("classes", [1, 3])
def test_the_sum_is_small_only_for_the_right_logits(classes):
    labels = torch.randint(0, max(2, classes), (2, 32, 48))
    truth = labels[:, None] if classes == 1 else torch.nn.functional.one_hot(labels, classes).movedim(-1, 1)
    right = (truth.float() * 2 - 1) * 30
    loss = losses.UNet3PlusLoss()
    assert loss([right, right], labels) < 1e-3
    assert loss([right, -right], labels) > 1
    focal, similarity, iou = (losses.UNet3PlusLoss(row)(-right, labels) for row in torch.eye(3).tolist())
    torch.testing.assert_close(loss(-right, labels), focal + similarity + iou)


def test_focal_loss_of_gamma_zero_is_cross_entropy():
    prediction, target = torch.rand(2, 1, 8, 8), (torch.rand(2, 1, 8, 8) > 0.5).float()
    plain = losses.binary_cross_entropy(prediction, target)
    torch.testing.assert_close(losses.focal_loss(prediction, target, gamma=0), plain)
    torch.testing.assert_close(losses.focal_loss(prediction, target, gamma=0, alpha=0.5), plain / 2)
