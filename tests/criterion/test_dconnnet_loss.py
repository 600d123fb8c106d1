import json
from pathlib import Path

import numpy as np
import pytest
import torch

from itkit.criterion.dconnnet import DconnLoss, SizeDensity, connectivity_loss, dice_loss, edge_loss, edge_map
from itkit.models.dconnnet.connectivity import connectivity_matrix

PARITY = Path(__file__).parents[1] / "models" / "parity"
CASES = {case["name"]: case for case in json.loads((PARITY / "dconnnet_functions.json").read_text())["cases"]}


@pytest.fixture(scope="module")
def arrays():
    with np.load(PARITY / "dconnnet_functions.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


@pytest.mark.parametrize("name", ["loss_single", "loss_single_chase", "loss_multi", "loss_multi_sdl"])
def test_losses_and_gradients_equal_the_authors(arrays, name):
    logits = arrays[f"{name}.in.c_map"].clone().requires_grad_()
    density = None
    if name == "loss_multi_sdl":
        rows = torch.stack([arrays[f"{name}.in.density_{row}"] for row in range(2)])
        density = SizeDensity(rows, torch.tensor(CASES[name]["args"]["bin_wide"]))
    weight = 0.0 if CASES[name]["args"]["dataset"] == "chase" else 0.2
    loss = connectivity_loss(logits, arrays[f"{name}.in.target"], bicon_weight=weight, density=density)
    loss.backward()
    torch.testing.assert_close(loss.detach()[None], arrays[f"{name}.out.loss"])
    torch.testing.assert_close(logits.grad, arrays[f"{name}.out.grad_c_map"], rtol=1e-5, atol=1e-7)


def test_dice_equals_the_authors(arrays):
    loss = dice_loss(arrays["dice.in.pred"], arrays["dice.in.target"])
    torch.testing.assert_close(loss[None], arrays["dice.out.loss"])


def test_density_equals_the_authors(arrays):
    density = SizeDensity.from_counts(arrays["get_density.in.pos_cnt"].numpy())
    torch.testing.assert_close(density.density, arrays["get_density.out.density"])
    torch.testing.assert_close(density.bin_width, arrays["get_density.out.bin_wide"])


def test_density_of_a_class_that_never_occurs_is_zero():
    density = SizeDensity.from_counts([[0, 0], [10, 60]], bins=11)
    assert density.density[0].sum() == 0
    assert density.density[1].tolist() == [0, 0.5, 0, 0, 0, 0, 0.5, 0, 0, 0, 0]
    weights = density.weight(1, torch.tensor([10.0, 25.0, 1e6]))
    torch.testing.assert_close(weights, -torch.log(torch.tensor([0.5, 0.0, 0.0]) + 1e-4))


def test_module_adds_the_weighted_coarse_map(arrays):
    logits, target = arrays["loss_multi.in.c_map"], arrays["loss_multi.in.target"]
    single = connectivity_loss(logits, target)
    torch.testing.assert_close(DconnLoss()((logits, logits), target), 1.3 * single)
    torch.testing.assert_close(DconnLoss()(logits, target[:, None]), single)


def test_batch_of_one_and_empty_masks_are_finite():
    logits = torch.randn(1, 8, 6, 6, requires_grad=True)
    loss = connectivity_loss(logits, torch.zeros(1, 1, 6, 6))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_edges_are_pixels_with_some_links():
    mask = torch.zeros(1, 1, 5, 7)
    mask[0, 0, 1:4, 1:4] = 1
    mask[0, 0, 4, 6] = 1
    edges = edge_map(connectivity_matrix(mask))
    assert edges.sum() == 8
    assert edges[0, 0, 2, 2] == 0
    assert edges[0, 0, 4, 6] == 0
    votes = torch.full((1, 1, 8, 5, 7), 0.5)
    torch.testing.assert_close(edge_loss(votes, edges), -torch.log(torch.tensor(0.5)) / 0.5)


def test_wrong_target_shape_is_named():
    with pytest.raises(ValueError, match="target"):
        connectivity_loss(torch.zeros(2, 8, 4, 4), torch.zeros(2, 1, 4, 5))
