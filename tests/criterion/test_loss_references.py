"""Values and gradients equal those of MONAI, nnU-Net and segmentation_models_pytorch, recorded in ``references``."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from itkit import criterion
from tests.criterion.references.shrink import STRIDE

FOLDER = Path(__file__).parent / "references"
FACTS = json.loads((FOLDER / "losses.json").read_text())
ARRAYS = np.load(FOLDER / "losses.npz")
LOSSES = {
    "boundary": criterion.BoundaryLoss(),
    "dice_absent_class": criterion.DiceLoss(),
    "dice_bg0_batch1": criterion.DiceLoss(include_background=False, batch=True),
    "dice_bg1_batch0": criterion.DiceLoss(),
    "dice_cldice": criterion.DiceClDiceLoss(smooth_mean=1.0),
    "dice_jaccard": criterion.JaccardLoss(),
    "dice_squared": criterion.DiceLoss(squared=True),
    "dice_weighted": criterion.DiceLoss(class_weights=[0.1, 1, 2, 3]),
    "dicece_weighted": criterion.DiceCELoss(class_weights=[0.5, 1, 2, 3], dice_weight=0.7, ce_weight=1.3),
    "dicefocal": criterion.DiceFocalLoss(),
    "focal_sigmoid_alpha": criterion.FocalLoss(sigmoid=True, alpha=0.25),
    "focal_softmax": criterion.FocalLoss(),
    "gdice_simple": criterion.GeneralizedDiceLoss(weighting="simple"),
    "gdice_square": criterion.GeneralizedDiceLoss(),
    "log_hausdorff_dt": criterion.LogHausdorffDTLoss(),
    "lovasz_per_image": criterion.LovaszLoss(),
    "nnunet_dc_ce_batch0": criterion.DiceCELoss(include_background=False),
    "nnunet_dc_ce_batch1": criterion.DiceCELoss(include_background=False, batch=True),
    "nnunet_dc_topk10": criterion.DiceCELoss(include_background=False, top_k=10),
    "nnunet_deep_supervision": criterion.DeepSupervision(
        criterion.DiceCELoss(include_background=False, batch=True), [2 / 3, 1 / 3, 0]
    ),
    "tversky_37": criterion.TverskyLoss(alpha=0.3, beta=0.7),
}


def outputs_of(name, logits):
    if name == "nnunet_deep_supervision":
        return [logits, *(torch.nn.functional.avg_pool3d(logits, factor) for factor in (2, 4))]
    return logits


def test_every_reference_is_compared():
    assert LOSSES.keys() == FACTS.keys()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_equal_the_reference(name, dtype):
    logits = torch.from_numpy(ARRAYS["logits"]).to(dtype).requires_grad_()
    target = torch.from_numpy(ARRAYS[FACTS[name]["target"]])
    loss = LOSSES[name](outputs_of(name, logits), target)
    loss.backward()
    offset = 1 if name.startswith("nnunet") else 0  # nnU-Net returns minus Dice, not one minus Dice
    fact = FACTS[name]
    exact = fact["value"] if dtype == torch.float32 or isinstance(fact["value_float64"], str) else fact["value_float64"]
    assert loss.item() == pytest.approx(exact + offset, rel=2e-6)
    assert loss.dtype == dtype
    assert logits.grad.abs().sum().item() == pytest.approx(fact["grad_abs_sum"], rel=1e-5)
    want = torch.from_numpy(ARRAYS[f"grad.{name}"]).to(dtype)
    torch.testing.assert_close(logits.grad.flatten()[::STRIDE], want, rtol=1e-4, atol=2e-5 * want.abs().max().item())
