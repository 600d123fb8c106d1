"""Sliding windows equal MONAI's and nnU-Net's, in a ring of planes, a file, with flips, slices and masks.

The files in `references` were computed by MONAI 1.6.1 and nnU-Net v2; each names what computed it.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from itkit.core.boxes import window_starts
from itkit.core.errors import ArgumentError, ModelError
from itkit.models.window_sums import AIR_LOGIT, window_grid, window_weights
from itkit.models.windows import SlidingWindow

REFERENCES = Path(__file__).parent / "references"
OUTPUTS = sorted(path.stem for path in REFERENCES.glob("sliding__*.json") if "starts" not in path.stem)


def reference(name):
    return json.loads((REFERENCES / f"{name}.json").read_text()), np.load(REFERENCES / f"{name}.npz")


def small_network(arrays=None, classes=3, channels=1, dims=3):
    conv = nn.Conv3d if dims == 3 else nn.Conv2d
    network = nn.Sequential(conv(channels, 5, 3, padding=1), nn.ReLU(), conv(5, classes, 3, padding=1))
    if arrays is not None:
        state = {name.replace("_", "."): torch.from_numpy(arrays[name]) for name in arrays if name[0].isdigit()}
        network.load_state_dict(state)
    return network.eval()


def settings(facts, **more):
    return SlidingWindow(
        patch_size=facts["roi_zyx"],
        overlap=facts["overlap"],
        weights=facts["mode"],
        sigma_scale=facts["sigma_scale"],
        padding=facts["padding_mode"],
        **more,
    )


@pytest.mark.parametrize("batch", [1, 3, 50])
@pytest.mark.parametrize("name", OUTPUTS)
def test_logits_equal_monais(name, batch):
    facts, arrays = reference(name)
    volume = torch.from_numpy(arrays["volume"])
    found = settings(facts, batch=batch).logits(small_network(arrays), volume)
    assert found.shape == arrays["output"].shape
    np.testing.assert_allclose(found.numpy(), arrays["output"], atol=1e-5)


@pytest.mark.parametrize("name", OUTPUTS)
def test_weights_equal_monais(name):
    facts, arrays = reference(name)
    found = window_weights(facts["roi_zyx"], facts["mode"], "monai", facts["sigma_scale"])
    np.testing.assert_allclose(found, arrays["importance"], rtol=1e-5)


def test_weights_equal_nnunets_but_for_their_scale():
    _, arrays = reference("sliding__window_starts")
    for name, patch in (("gauss_nnunet_16", (16, 16, 16)), ("gauss_nnunet_8_24_16", (8, 24, 16))):
        found = window_weights(patch, scheme="nnunet")
        theirs = arrays[name]
        np.testing.assert_allclose(found / found.max(), theirs / theirs.max(), rtol=2e-3)
        np.testing.assert_allclose(found / found.max(), theirs / theirs.max(), atol=1e-6)


def test_window_starts_equal_monais_and_nnunets():
    facts, _ = reference("sliding__window_starts")
    for row in facts["rows"]:
        case = (row["L"], row["patch"], row["overlap"])
        assert list(window_starts(*case, "monai")) == row["monai_starts"], case
        assert list(window_starts(*case, "nnunet")) == row["nnunet_starts"], case


def by_definition(network, volume, patch, overlap, scheme="monai", flips=((),)):
    """The weighted mean over all windows, in double precision and without any ring."""
    count, _, *size = volume.shape
    weights = torch.from_numpy(window_weights(patch, scheme=scheme)).double()
    total, sums = torch.zeros(size).double(), 0
    for number in range(count):
        for _, (z, y, x) in window_grid(size, patch, overlap, scheme):
            place = (slice(z, z + patch[0]), slice(y, y + patch[1]), slice(x, x + patch[2]))
            window = volume[(slice(number, number + 1), slice(None), *place)]
            with torch.no_grad():
                logits = sum(network(window.flip(axes)).flip(axes).double() for axes in flips) / len(flips)
            if isinstance(sums, int):
                sums = torch.zeros(count, logits.shape[1], *size).double()
            sums[(number, slice(None), *place)] += logits[0] * weights
            if number == 0:
                total[place] += weights
    return sums / total


@pytest.mark.parametrize("scheme", ["monai", "nnunet"])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.75])
def test_the_mean_over_windows_is_that_of_the_definition(scheme, overlap):
    network, volume = small_network(channels=2), torch.randn(2, 2, 23, 17, 12)
    expected = by_definition(network, volume, (6, 8, 5), overlap, scheme)
    found = SlidingWindow(patch_size=(6, 8, 5), overlap=overlap, scheme=scheme, batch=4).logits(network, volume)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("limit", [None, 0])
@pytest.mark.parametrize("scheme", ["monai", "nnunet"])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.85])
@pytest.mark.parametrize("size", [(40, 19, 11), (8, 30, 8), (13, 9, 20), (3, 5, 4), (41, 8, 9)])
def test_blocks_are_handed_on_once_in_order(size, overlap, scheme, limit):
    volume = torch.randn(2, 1, *size)
    windows = SlidingWindow(patch_size=(8, 6, 7), overlap=overlap, scheme=scheme, batch=3, max_bytes=limit)
    seen, last = torch.zeros(size[:2]), (-1, -1)
    for plane, row, logits in windows.blocks(lambda window: torch.cat([window, -window], 1), volume):
        assert (plane, row) > last
        last = (plane, row)
        place = (slice(plane, plane + logits.shape[2]), slice(row, row + logits.shape[3]))
        seen[place] += 1
        torch.testing.assert_close(logits[:, :1], volume[(slice(None), slice(None), *place)], atol=1e-5, rtol=1e-5)
    assert (seen == 1).all()


def test_sums_are_those_of_planes_that_windows_share_and_of_rows_of_a_window():
    windows = SlidingWindow(patch_size=(8, 8, 8))
    assert windows.sums_bytes((40, 50, 60), 3) == 4 * 4 * 60 * (4 * 50 + 4 * 8)
    assert windows.sums_bytes((8, 50, 60), 3) == 4 * 4 * 60 * 8 * 8  # one height: rows alone
    assert windows.sums_bytes((41, 50, 60), 3) == 4 * 4 * 60 * (4 * 50 + 5 * 8)  # the last window is close: one group


def test_labels_are_the_largest_logits():
    network, volume = small_network(classes=9), torch.randn(2, 1, 19, 12, 14)
    windows = SlidingWindow(patch_size=(8, 8, 8))
    labels = windows.labels(network, volume)
    assert labels.dtype == torch.uint8
    assert torch.equal(labels, windows.logits(network, volume).argmax(1).byte())


def test_sums_that_do_not_fit_lie_in_a_file(tmp_path):
    network, volume = small_network(), torch.randn(1, 1, 20, 12, 14)
    in_memory = SlidingWindow(patch_size=(8, 8, 8)).logits(network, volume)
    in_file = SlidingWindow(patch_size=(8, 8, 8), max_bytes=1000, scratch=tmp_path)
    assert torch.equal(in_file.logits(network, volume), in_memory)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("flips", "axes"), [("X", [(), (4,)]), ("ZX", [(), (2,), (4,), (2, 4)])])
def test_flips_average_the_asked_axes_alone(flips, axes):
    network, volume = small_network(), torch.randn(1, 1, 11, 12, 13)
    expected = by_definition(network, volume, (8, 8, 8), 0.5, flips=axes)
    seen = []

    def counted(window):
        seen.append(window)
        return network(window)

    found = SlidingWindow(patch_size=(8, 8, 8), flips=flips).logits(counted, volume)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)
    assert len(seen) == len(axes) * len(window_grid((11, 12, 13), (8, 8, 8)))


def test_a_flat_network_sees_slices():
    network, volume = small_network(dims=2), torch.randn(1, 1, 5, 20, 18)
    found = SlidingWindow(patch_size=(8, 16), batch=7).logits(network, volume)
    deep = by_definition(lambda window: network(window[:, :, 0])[:, :, None], volume, (1, 8, 16), 0.5)
    torch.testing.assert_close(found.double(), deep, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("constant", [7, 1, 2, 3, 7, 7]),
        ("replicate", [1, 1, 2, 3, 3, 3]),
        ("reflect", [2, 1, 2, 3, 2, 1]),
        ("circular", [3, 1, 2, 3, 1, 2]),
    ],
)
def test_small_volumes_are_padded_on_both_sides(mode, expected):
    seen = []

    def network(window):
        seen.append(window[0, 0, :, 0, 0].tolist())
        return window

    volume = torch.tensor([1.0, 2, 3]).reshape(1, 1, 3, 1, 1)
    windows = SlidingWindow(patch_size=(6, 1, 1), padding=mode, padding_value=7)
    assert windows.logits(network, volume).flatten().tolist() == [1, 2, 3]
    assert seen == [expected]


def test_one_plane_can_be_reflected():
    windows = SlidingWindow(patch_size=(4, 4, 4), padding="reflect")
    volume = torch.randn(1, 1, 1, 5, 2)
    assert torch.allclose(windows.logits(lambda window: window, volume), volume)


def test_windows_without_a_voxel_of_the_mask_are_left_out():
    volume = torch.randn(2, 1, 30, 9, 9)
    mask = torch.zeros(2, 30, 9, 9, dtype=torch.bool)
    mask[1, 17, 4, 4] = True
    seen = []

    def network(window):
        seen.append(len(window))
        return torch.cat([window * 0, window * 0 + 1], 1)

    windows = SlidingWindow(patch_size=(6, 9, 9), overlap=0.0)
    logits = windows.logits(network, volume, mask)
    assert seen == [1]
    expected = torch.zeros(2, 30, 9, 9)
    expected[1, 12:18] = 1
    assert torch.equal(logits.argmax(1), expected.long())
    assert logits[0, 0].unique().tolist() == [AIR_LOGIT]
    assert torch.equal(windows.labels(network, volume, mask & False), torch.ones(2, 30, 9, 9).byte())  # none found


def test_sums_are_float32_whatever_the_network_computes_in():
    volume = torch.randn(1, 1, 20, 10, 10)
    half = SlidingWindow(patch_size=(8, 8, 8), overlap=0.75).logits(lambda window: window.half() * 60000, volume * 1e-3)
    assert half.dtype == torch.float32
    assert torch.allclose(half, (volume * 1e-3).half().float() * 60000, rtol=1e-2)
    network = small_network()
    exact = SlidingWindow(patch_size=(8, 8, 8)).logits(network, volume)
    short = SlidingWindow(patch_size=(8, 8, 8), precision="bf16").logits(network, volume)
    assert 0 < (short - exact).abs().max() < 0.03


def test_a_network_is_in_evaluation_mode_meanwhile():
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2), nn.Dropout(0.5)).train()
    network[1].eval()
    windows, volume = SlidingWindow(patch_size=(4, 4, 4)), torch.randn(1, 1, 6, 6, 6)
    assert torch.equal(windows.logits(network, volume), windows.logits(network, volume))
    assert [module.training for module in network] == [True, False, True]
    assert network.training


def test_logits_of_another_size_are_refused():
    with pytest.raises(ModelError, match="logits of every voxel"):
        SlidingWindow(patch_size=(4, 4, 4)).logits(nn.AvgPool3d(2), torch.zeros(1, 1, 8, 8, 8))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"overlap": 1.0}, "below 1"),
        ({"overlap": -0.1}, "below 1"),
        ({"flips": "ZZ"}, "each once"),
        ({"flips": "Q"}, "axes ZYX"),
        ({"patch_size": (8, 8), "flips": "Z"}, "axes YX"),
        ({"patch_size": (8,)}, "3 .*sides"),
        ({"patch_size": (8, 0, 8)}, "sides >= 1"),
        ({"batch": 0}, "at least 1"),
        ({"scheme": "even"}, "scheme"),
    ],
)
def test_impossible_settings_are_refused(more, message):
    with pytest.raises(ArgumentError, match=message):
        SlidingWindow(**{"patch_size": (8, 8, 8), **more})
