"""What every loss of logits promises, and independent forms of those that the references do not cover."""

import doctest
import importlib.util
import inspect
import pkgutil
import re
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import monai.losses
import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn.functional import avg_pool3d, binary_cross_entropy_with_logits, one_hot
from torch.nn.functional import cross_entropy as torch_entropy

from itkit import criterion
from itkit.core.errors import ArgumentError, MissingExtraError
from itkit.criterion import functional as losses
from itkit.criterion.cards import CARDS, OPTIONS
from itkit.criterion.distance import by_lines, distance_to_outside

OWN = {"dconnnet", "ege_unet", "unet3plus"}
DOCS = Path(__file__).parents[2] / "docs"
NAMES = [card.name for card in CARDS if card.name not in OWN]
PER_CHANNEL = {"dice", "jaccard", "tversky", "focal_tversky", "cross_entropy", "focal", "boundary", "hausdorff_dt"}
HARD_ONLY = {"lovasz"}


def make(name, **options):
    return criterion.create_loss(name, **options)


def scene(classes=4, size=(5, 6, 7), batch=2, seed=3):
    """Return logits and labels without symmetry; class 2 only in the first sample, the last class rare."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.zeros(batch, *size, dtype=torch.long)
    labels[:, 1:4, 2:5] = 1
    labels[0, 2:, :3] = min(2, classes - 1)
    labels[:, -1, -1, ...] = classes - 1
    return 2 * torch.randn(batch, classes, *size, generator=generator), labels


def shares(labels, classes):
    return one_hot(labels, classes).movedim(-1, 1)


def gradient(loss, logits, target):
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, target)
    value.backward()
    return value.detach(), leaf.grad


@pytest.mark.parametrize("size", [(9, 12), (5, 6, 7)])
@pytest.mark.parametrize("name", NAMES)
def test_targets_of_all_forms_give_one_value(name, size):
    logits, labels = scene(size=size)
    loss = make(name)
    want = loss(logits, labels)
    assert want.ndim == 0
    assert want.isfinite()
    assert want.dtype == torch.float32
    hot = shares(labels, 4)
    for target in (labels[:, None], labels.byte(), labels.short(), hot, hot.bool(), hot.float(), hot.half()):
        torch.testing.assert_close(loss(logits, target), want)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_value(name):
    logits, labels = scene(classes=3, size=(4, 5), batch=2)
    loss = make(name)
    leaf = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), leaf, eps=1e-6, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_right_answer_costs_least(name):
    _, labels = scene()
    right = shares(labels, 4) * 60.0 - 30
    loss = make(name)
    best = loss(right, labels)
    assert best < loss(right * 0.03, labels) - 1e-4
    assert best < loss(right.roll(1, 3), labels) - 1e-4
    if name not in ("boundary", "cldice", "dice_cldice"):
        assert best.abs() < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_ignored_voxels_count_nowhere(name):
    logits, labels = scene()
    holed = labels.clone()
    holed[0, 2:4, 1:5, 2:6] = 255
    loss = make(name, ignore_index=255)
    ignored = (holed == 255).unsqueeze(1).expand_as(logits)
    value, slope = gradient(loss, logits, holed)
    assert not slope[ignored].any()
    assert slope[~ignored].any()
    torch.testing.assert_close(loss(logits.where(~ignored, 9.0), holed), value, rtol=0, atol=0)
    assert value != make(name)(logits, labels)
    torch.testing.assert_close(loss(logits, labels), make(name)(logits, labels))
    hot = shares(holed.where(holed < 255, 0), 4).where(~ignored, 0)
    torch.testing.assert_close(loss(logits, hot), value)  # shares of 0 everywhere
    torch.testing.assert_close(loss(logits, hot.where(~ignored, 255)), value)
    value, slope = gradient(loss, logits, torch.full_like(labels, 255))
    assert value.isfinite()
    assert not slope.nan_to_num(1).any()


@pytest.mark.parametrize("name", sorted({*NAMES} - {"boundary", "hausdorff_dt", "log_hausdorff_dt", "surface_ce"}))
def test_ignoring_a_side_is_cutting_it_off(name):
    logits, labels = scene(size=(6, 8, 7))
    holed = labels.clone()
    holed[:, :, :, 4:] = 255
    if "cldice" in name:  # a skeleton looks beyond the cut
        return
    torch.testing.assert_close(
        make(name, ignore_index=255)(logits, holed), make(name)(logits[..., :4], labels[..., :4])
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_half_types_are_computed_in_float32(name, dtype):
    logits, labels = scene()
    rounded = logits.to(dtype)
    loss = make(name)
    with torch.autocast("cpu", torch.bfloat16):
        value, slope = gradient(loss, rounded, labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(rounded.float(), labels), rtol=0, atol=0)
    assert slope.dtype == dtype
    assert slope.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_of_volumes_is_finite(name):
    """Float16 counts to 65504; a volume has 884736 voxels, and half of each side is still too many."""
    side = 96 if name in ("dice", "dice_ce", "dice_focal", "lovasz", "generalized_dice") else 48
    labels = torch.zeros(1, side, side, side, dtype=torch.uint8)
    labels[0, 8:44, 10:46, 3:47] = 1
    logits = torch.zeros(1, 2, side, side, side, dtype=torch.float16)
    logits[:, 1, 9:45, 3:45, 5:44] = 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, slope = gradient(make(name), logits, labels)
    assert value.isfinite()
    assert -60 < value < 2000
    assert slope.isfinite().all()


@pytest.mark.parametrize("filled", [0, 2])
@pytest.mark.parametrize("logit", [0.0, 30.0, 200.0])
@pytest.mark.parametrize("name", NAMES)
def test_classes_that_are_absent_or_everywhere_give_no_nan(name, logit, filled):
    logits, labels = torch.zeros(2, 3, 4, 5, 6), torch.full((2, 4, 5, 6), filled)
    logits[:, filled] = logit
    for target in (labels, shares(labels, 3).float()):
        value, slope = gradient(make(name), logits, target)
        assert value.isfinite()
        assert slope.isfinite().all()
    value, slope = gradient(make(name, sigmoid=True), logits, torch.zeros(2, 3, 4, 5, 6))
    assert value.isfinite()
    assert slope.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_overlapping_classes_are_questions_of_their_own(name):
    logits, labels = scene(classes=3)
    regions = torch.stack([labels > 0, labels > 1, labels == 2], 1)  # as of BraTS: each within the one before
    options = {"sigmoid": True} | ({"include_background": True} if "hausdorff" in name else {})
    value, slope = gradient(make(name, **options), logits, regions)
    assert value.isfinite()
    assert slope.any(dim=0).flatten(1).any(1).all()
    if name in PER_CHANNEL:
        alone = [make(name, **options)(logits[:, k : k + 1], regions[:, k].long()) for k in range(3)]
        torch.testing.assert_close(value, torch.stack(alone).mean())
    with pytest.raises(ArgumentError, match="sigmoid=True"):
        make(name)(logits, regions)


@pytest.mark.parametrize("name", NAMES)
def test_soft_labels(name):
    logits, labels = scene()
    hot = shares(labels, 4).float()
    soft = 0.7 * hot + 0.3 * hot.roll(1, 3)
    loss = make(name)
    if name in HARD_ONLY:
        with pytest.raises(ArgumentError, match="hard labels"):
            loss(logits, soft)
        return
    value, slope = gradient(loss, logits, soft)
    assert value.isfinite()
    assert slope.isfinite().all()
    equal = soft.clamp(1e-6, 1).log()  # whose softmax is the target
    if name in ("dice", "jaccard", "tversky", "dice_ce", "cross_entropy"):
        assert loss(equal, soft) < loss(hot * 60 - 30, soft) - 1e-3
        assert loss(equal, soft) < loss(equal * 0.8, soft) - 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_slices_are_averaged(name):
    logits, labels = scene(size=(3, 6, 7))
    loss = make(name, split_z=True)
    plain = make(name)
    want = torch.stack([plain(logits[:, :, z], labels[:, z]) for z in range(3)]).mean()
    for target in (labels, labels[:, None], shares(labels, 4)):
        torch.testing.assert_close(loss(logits, target), want)
    with pytest.raises(ArgumentError, match="split_z"):
        loss(logits[:, :, 0], labels[:, 0])


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_same_every_time(name):
    logits, labels = scene(size=(20, 30, 25))
    loss = make(name)
    first, second = (gradient(loss, logits.round(decimals=1), labels) for _ in range(2))  # with ties
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


@pytest.mark.parametrize(
    ("channels", "change", "message"),
    [
        (3, lambda labels: labels.float(), "class numbers must be integers; got torch.float32. Convert them with"),
        (3, lambda labels: labels[:, None].double(), "class numbers must be integers"),
        (1, lambda labels: labels.float(), "class numbers must be integers"),
        (1, lambda labels: labels, "holds class 2; one logit tells classes 0 to 1 apart"),
        (1, lambda labels: labels.clamp(0, 1) * 255, "ignore_index=255"),
        (1, lambda labels: labels[:, None] * 1.0, "0 to 1; found 0 to 2"),
        (3, lambda labels: labels + 1, "holds class 3; 3 logits tell classes 0 to 2 apart"),
        (3, lambda labels: labels - 1, "holds class -1"),
        (3, lambda labels: labels[:, 1:], "(2, 4, 6, 7) does not fit logits (2, 3, 5, 6, 7)"),
        (3, lambda labels: labels.transpose(1, 2), "does not fit"),
        (3, lambda labels: shares(labels, 4), "does not fit"),
        (3, lambda labels: shares(labels, 3) * 2, "0 to 1; found 0 to 2"),
        (3, lambda labels: shares(labels, 3) * torch.nan, "0 to 1; found nan"),
        (3, lambda labels: shares(labels, 3) * 0.5, "must sum to 1; found sums of 0.5 to 0.5"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_targets_that_do_not_fit_are_named(name, channels, change, message):
    _, labels = scene(classes=3)
    with pytest.raises(ArgumentError, match=re.escape(message)):
        make(name)(torch.zeros(2, channels, 5, 6, 7), change(labels))


def test_logits_that_do_not_fit_are_named():
    logits, labels = scene()
    with pytest.raises(ArgumentError, match=r"got list.*DeepSupervision"):
        make("dice")([logits, logits], labels)
    with pytest.raises(ArgumentError, match="expected floats"):
        make("dice")(labels[:, None], labels)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if "class_weights" in inspect.signature(type(make(name))).parameters]
)
def test_weights_that_do_not_fit_are_named(name):
    logits, labels = scene()
    for weights in ([1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, -1], [1, 2, 3, float("nan")], 2.0):
        with pytest.raises(ArgumentError, match="class_weights: expected"):
            make(name, class_weights=weights)(logits, labels)
    with pytest.raises(ArgumentError, match=r"2 weights \(class 0, class 1\)"):
        make(name, class_weights=[1])(logits[:, :1], labels.clamp(0, 1))
    ones = make(name, class_weights=torch.ones(4))(logits, labels)
    torch.testing.assert_close(ones, make(name)(logits, labels))
    assert make(name, class_weights=[1, 2, 3, 4])(logits, labels) != ones
    binary = make(name, class_weights=[1, 1])(logits[:, :1], labels.clamp(0, 1))
    torch.testing.assert_close(binary, make(name)(logits[:, :1], labels.clamp(0, 1)))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cross_entropy", {"label_smoothing": 1.5}, "label_smoothing"),
        ("cross_entropy", {"top_k": 0}, "top_k"),
        ("top_k", {"top_k": 120}, "top_k"),
        ("surface_ce", {"sigma": 0}, "sigma"),
        ("surface_ce", {"spacing": [1, 2]}, "spacing: expected 3"),
        ("boundary", {"spacing": [1, 2, 0]}, "spacing"),
        ("cldice", {"iterations": -1}, "iterations"),
        ("dice_cldice", {"alpha": 2}, "alpha"),
    ],
)
def test_options_that_make_no_sense_are_named(name, options, message):
    with pytest.raises(ArgumentError, match=message):
        make(name, **options)(*scene())


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, [0.1, 1.0, 2.0, 3.0]])
@pytest.mark.parametrize("ignore", [None, 2])
def test_cross_entropy_is_torchs(weights, smoothing, ignore):
    logits, labels = scene()
    options = {"class_weights": weights, "label_smoothing": smoothing}
    table = None if weights is None else torch.tensor(weights)
    want = torch_entropy(
        logits, labels, table, label_smoothing=smoothing, ignore_index=-100 if ignore is None else ignore
    )
    torch.testing.assert_close(losses.cross_entropy(logits, labels, ignore_index=ignore, **options), want)
    soft = logits.roll(1, 0).softmax(1)
    want = torch_entropy(logits, soft, table, label_smoothing=smoothing)
    torch.testing.assert_close(losses.cross_entropy(logits, soft, **options), want)
    if ignore is None and weights is None:
        truth = shares(labels, 4).float() * (1 - smoothing) + smoothing / 2
        want = binary_cross_entropy_with_logits(logits, truth)
        torch.testing.assert_close(losses.cross_entropy(logits, labels, sigmoid=True, **options), want)


def test_weights_of_questions_make_a_weighted_average():
    logits, labels = scene()
    weights = np.array([1.0, 2.0, 0.0, 5.0])
    truth = shares(labels, 4).float()
    costs = binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((0, 2, 3, 4)).numpy()
    got = losses.cross_entropy(logits, labels, sigmoid=True, class_weights=weights.tolist())
    assert got.item() == pytest.approx((costs * weights).sum() / weights.sum(), rel=1e-6)


@pytest.mark.parametrize("percent", [0.01, 10, 100])
@pytest.mark.parametrize("sigmoid", [False, True])
def test_the_hardest_voxels_are_averaged(percent, sigmoid):
    logits, labels = scene()
    labels[0, 1] = 255
    valid = labels != 255
    plain = labels.where(valid, 0)
    if sigmoid:
        costs = binary_cross_entropy_with_logits(logits, shares(plain, 4).float(), reduction="none")
        costs = costs.movedim(1, -1)[valid]
    else:
        costs = torch_entropy(logits, plain, reduction="none")[valid]
    costs = np.sort(costs.flatten().numpy())[::-1]
    want = costs[: max(1, int(costs.size * percent / 100))].mean()
    got = losses.cross_entropy(logits, labels, top_k=percent, ignore_index=255, sigmoid=sigmoid)
    assert got.item() == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("jaccard", [False, True])
@pytest.mark.parametrize("batch", [False, True])
def test_soft_overlap_is_monais(squared, jaccard, batch):
    logits, labels = scene()
    soft = 0.6 * shares(labels, 4) + 0.1
    theirs = monai.losses.DiceLoss(
        softmax=True, squared_pred=squared, jaccard=jaccard, batch=batch, soft_label=True, include_background=False
    )
    ours = losses.jaccard_loss if jaccard else losses.dice_loss
    got = ours(logits, soft, squared=squared, batch=batch, include_background=False)
    torch.testing.assert_close(got, theirs(logits, soft))


@pytest.mark.parametrize("size", [(12, 14), (9, 10, 8)])
@pytest.mark.parametrize("include_background", [False, True])
def test_distances_and_skeletons_are_monais(size, include_background):
    logits, labels = scene(size=size)
    options = {"softmax": True, "to_onehot_y": True, "include_background": include_background}
    pairs = {
        monai.losses.HausdorffDTLoss: losses.hausdorff_dt_loss,
        monai.losses.BoundaryLoss: losses.boundary_loss,
        monai.losses.SoftclDiceLoss: losses.cldice_loss,
    }
    for theirs, ours in pairs.items():
        got = ours(logits, labels, include_background=include_background)
        torch.testing.assert_close(got, theirs(**options)(logits, labels[:, None]))


def test_generalized_dice_options_are_monais():
    logits, labels = scene()
    for batch in (False, True):
        for weighting in ("square", "simple", "uniform"):
            theirs = monai.losses.GeneralizedDiceLoss(softmax=True, to_onehot_y=True, w_type=weighting, batch=batch)
            got = losses.generalized_dice_loss(logits, labels, weighting=weighting, batch=batch)
            torch.testing.assert_close(got, theirs(logits, labels[:, None]))


def test_focal_tversky_in_numpy():
    logits, labels = scene()
    p, t = logits.double().softmax(1).numpy(), shares(labels, 4).numpy()
    axes = (2, 3, 4)
    hit, fp, fn = (p * t).sum(axes), (p * (1 - t)).sum(axes), ((1 - p) * t).sum(axes)
    index = (hit + 1e-5) / (hit + 0.3 * fp + 0.7 * fn + 1e-5)
    got = losses.focal_tversky_loss(logits.double(), labels)
    assert got.item() == pytest.approx(((1 - index) ** 0.75).mean(), rel=1e-9)
    cube = losses.tversky_loss(logits.double(), labels, alpha=0.2, beta=0.4, gamma=3.0)
    index = (hit + 1e-5) / (hit + 0.2 * fp + 0.4 * fn + 1e-5)
    assert cube.item() == pytest.approx(((1 - index) ** 3).mean(), rel=1e-9)


@pytest.mark.parametrize("sigmoid", [False, True])
def test_focal_of_soft_labels_in_numpy(sigmoid):
    logits, labels = scene()
    soft = (0.6 * shares(labels, 4) + 0.1).double()
    x, t = logits.double(), soft.numpy()
    if sigmoid:
        p = x.sigmoid().numpy()
        want = (np.abs(t - p) ** 1.5 * -(t * np.log(p) + (1 - t) * np.log1p(-p))).mean()
    else:
        p = x.softmax(1).numpy()
        want = (-t * (1 - p) ** 1.5 * np.log(p)).mean()
    assert losses.focal_loss(x, soft, gamma=1.5, sigmoid=sigmoid).item() == pytest.approx(want, rel=1e-9)


def test_focal_of_gamma_zero_is_cross_entropy():
    logits, labels = scene()
    entropy = losses.cross_entropy(logits, labels)
    torch.testing.assert_close(losses.focal_loss(logits, labels, gamma=0) * 4, entropy)
    entropy = losses.cross_entropy(logits, labels, sigmoid=True)
    torch.testing.assert_close(losses.focal_loss(logits, labels, gamma=0, sigmoid=True), entropy)


@pytest.mark.parametrize("spacing", [None, (2.5, 0.7, 1.1)])
def test_surface_weights_in_numpy(spacing):
    logits, labels = scene(size=(8, 9, 10))
    distance = np.zeros(labels.shape)
    for sample, out in zip(labels.numpy(), distance, strict=True):
        for label in range(4):
            inside = sample == label
            out[inside] = ndimage.distance_transform_edt(inside, sampling=spacing or (1, 1, 1))[inside]
    weights = 1 + 3 * np.exp(-(distance**2) / (2 * 1.5**2))
    costs = torch_entropy(logits, labels, reduction="none").numpy()
    got = losses.surface_cross_entropy(logits, labels, surface_weight=3, sigma=1.5, spacing=spacing)
    assert got.item() == pytest.approx((costs * weights).sum() / weights.sum(), rel=1e-5)


def test_millimetres_in_boundary_and_hausdorff_loss():
    spacing = (2.5, 0.7, 1.1)
    logits, labels = scene(classes=2, size=(8, 9, 10))
    p = logits.softmax(1)[:, 1].numpy()
    signed, squares = [], []
    for sample, probable in zip(labels.numpy() > 0, p, strict=True):
        fields = []
        for mask in (sample, probable > 0.5):
            inside, outside = (ndimage.distance_transform_edt(part, sampling=spacing) for part in (mask, ~mask))
            fields.append((inside, outside))
        signed.append(np.where(sample, min(spacing) - fields[0][0], fields[0][1]))
        squares.append(sum((inside + outside) ** 2 for inside, outside in fields))
    got = losses.boundary_loss(logits, labels, include_background=False, spacing=spacing)
    assert got.item() == pytest.approx((p * np.stack(signed)).mean(), rel=1e-5)
    got = losses.hausdorff_dt_loss(logits, labels, spacing=spacing)
    want = ((p - labels.numpy()) ** 2 * np.stack(squares)).mean()
    assert got.item() == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("spacing", [None, (2.5, 0.7, 1.1)])
def test_distances_are_scipys_by_itk_and_by_tensors(spacing):
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(2, 2, 7, 9, 11, generator=generator) > 0.1
    masks[0, 0], masks[1, 1] = True, False
    steps = spacing or (1.0, 1.0, 1.0)
    for got in (distance_to_outside(masks, spacing), by_lines(masks, steps)):
        assert got[0, 0].isinf().all()
        assert not got[1, 1].any()
        for place in ((0, 1), (1, 0)):
            want = ndimage.distance_transform_edt(masks[place].numpy(), sampling=steps)
            np.testing.assert_allclose(got[place].numpy(), want, rtol=1e-6)


def test_lovasz_is_the_jaccard_loss_of_decisions():
    _, labels = scene()
    decided = labels.roll(1, 3)
    logits = shares(decided, 4) * 200.0
    want = []
    for truth, found in zip(labels.numpy(), decided.numpy(), strict=True):
        present = [label for label in range(4) if (truth == label).any()]
        sets = [(truth == label, found == label) for label in present]
        want.append(np.mean([1 - (a & b).sum() / (a | b).sum() for a, b in sets]))
    assert losses.lovasz_loss(logits, labels).item() == pytest.approx(np.mean(want), rel=1e-5)


@pytest.mark.parametrize("present", [False, True])
def test_lovasz_extension_by_its_definition(present):
    """The extension is the expected loss of the set of voxels whose error exceeds a uniform threshold."""
    truth = np.array([1, 0, 0, 1, 0, 0]) * present
    p = np.array([0.9, 0.2, 0.6, 0.3, 0.05, 0.5])
    errors = np.abs(truth - p)
    levels = np.concatenate([[0], np.sort(errors)])
    want = 0.0
    for low, high in pairwise(levels):
        wrong = errors > (low + high) / 2
        found = np.where(wrong, 1 - truth, truth)
        union = np.maximum(truth, found).sum()
        want += (high - low) * (1 - (truth * found).sum() / union if union else 0)
    logits = torch.from_numpy(np.log(p / (1 - p)))[None, None]
    got = losses.lovasz_loss(logits, torch.from_numpy(truth)[None], only_present=False)
    assert got.item() == pytest.approx(want, rel=1e-9)
    assert (losses.lovasz_loss(logits, torch.from_numpy(truth)[None]) > 0) == present


def test_lovasz_of_the_batch_sorts_all_its_voxels_together():
    logits, labels = scene()
    joined = logits.movedim(0, 1).flatten(1, 2)[None], labels.flatten(0, 1)[None]
    torch.testing.assert_close(losses.lovasz_loss(logits, labels, batch=True), losses.lovasz_loss(*joined))


def test_smaller_outputs_meet_every_second_voxel():
    logits, labels = scene(size=(8, 12, 10))
    small = avg_pool3d(logits, 2)
    loss = criterion.DiceCELoss()
    both = criterion.DeepSupervision(loss, [0.7, 0.3])
    strided = labels[:, ::2, ::2, ::2]
    want = 0.7 * loss(logits, labels) + 0.3 * loss(small, strided)
    torch.testing.assert_close(both([logits, small], labels), want)
    torch.testing.assert_close(both([logits, small], labels[:, None]), want)
    torch.testing.assert_close(both([logits, small], shares(labels, 4)), want)
    torch.testing.assert_close(both([logits, small], [labels, strided]), want)
    assert losses.resized_target(labels, small[:, :, :3, :5, :4]).shape == (2, 3, 5, 4)
    for weights, target, message in (
        ([1, 1, 1], labels, "3 weights"),
        ([0, 0], labels, "above 0"),
        (None, [labels], "1 targets"),
    ):
        with pytest.raises(ArgumentError, match=message):
            criterion.DeepSupervision(loss, weights)([logits, small], target)


def test_a_plan_describes_one_loss_or_several():
    logits, labels = scene()
    dice, entropy = losses.dice_loss(logits, labels, batch=True), losses.cross_entropy(logits, labels)
    made = criterion.loss_of({"name": "dice", "batch": True})
    torch.testing.assert_close(made(logits, labels), dice)
    made = criterion.loss_of([{"name": "dice", "batch": True, "weight": 0.25}, "cross_entropy"])
    torch.testing.assert_close(made(logits, labels), 0.25 * dice + entropy)
    assert len(next(made.children())) == 2
    made = criterion.loss_of({"name": "dice_ce", "deep_supervision": True})
    torch.testing.assert_close(made([logits, logits], labels), criterion.DiceCELoss()(logits, labels))
    made = criterion.loss_of({"name": "dice_ce", "deep_supervision": [1.0, 0.0]})
    torch.testing.assert_close(made([logits, logits], labels), criterion.DiceCELoss()(logits, labels))
    for plan, message in (
        ({"name": "dice", "sharpness": 2}, "sharpness"),
        ({"batch": True}, "expected a name"),
        ("dise", "did you mean 'dice'"),
        ([], "losses"),
    ):
        with pytest.raises(ValueError, match=message):
            criterion.loss_of(plan)


def test_without_monai_all_but_its_own_losses_work():
    code = """
import sys
sys.modules["monai"] = None
import torch
from itkit.criterion import create_loss, list_losses
from itkit.criterion.cards import CARDS, OPTIONS
from itkit.core.errors import MissingExtraError
logits, target = torch.randn(1, 3, 32, 32), torch.randint(0, 3, (1, 32, 32))
failed = []
for card in CARDS:
    try:
        assert create_loss(card.name)(logits, target).isfinite()
    except MissingExtraError as error:
        assert "pip install 'itkit[train]'" in str(error)
        failed.append(card.name)
assert failed == [card.name for card in CARDS if card.wraps], failed
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert issubclass(MissingExtraError, Exception)


def test_every_card_and_option_is_known():
    used = set()
    for card in CARDS:
        assert getattr(criterion, card.class_name).__name__ == card.class_name
        assert re.search(r"arXiv:\d{4}\.\d{5}|doi:10\.", card.source), card.name
        used |= set(inspect.signature(getattr(criterion, card.class_name)).parameters)
    assert used == set(OPTIONS)
    assert set(criterion.__all__) <= set(dir(criterion))


def test_the_page_is_what_the_cards_say_and_its_examples_run():
    spec = importlib.util.spec_from_file_location("generate_losses", DOCS / "generate_losses.py")
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    page = (DOCS / "explanation" / "losses.md").read_text(encoding="utf-8")
    assert page == generator.page(), "run: python docs/generate_losses.py"
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, "losses.md", "exec"), {})


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(criterion.__path__)])
def test_examples_in_docstrings_run(name):
    failures, _ = doctest.testmod(importlib.import_module(f"itkit.criterion.{name}"))
    assert failures == 0
