import json
from pathlib import Path

import numpy as np
import pytest
import torch

from itkit.models import create_model, from_reference, model_card
from itkit.models.da_transunet.google import load_google_weights
from itkit.models.da_transunet.hybrid import HybridStem, StandardConv
from itkit.models.da_transunet.network import DATransUNet, build
from tests.models.parity import fill

PARITY = Path(__file__).parent / "parity"
CLASS = "Architecture.DATransUNet.DA_Transformer"
TINY = model_card("da_transunet").tiny


def spec_of(arch):
    return json.loads((PARITY / f"{arch}.json").read_text())


@pytest.mark.parametrize("arch", ["da_transunet_mini", "da_transunet_mini_noda2"])
def test_outputs_equal_the_authors(arch):
    report = fill.check(from_reference(spec_of(arch)), arch)
    assert report["ok"], report
    assert report["same_order"]
    assert not report["hints"]


def test_published_size_has_the_authors_keys():
    arch = "da_transunet_r50_vit_b16"
    with torch.device("meta"):
        report = fill.check(from_reference(spec_of(arch)), arch, keys_only=True)
    assert report["ok"], report
    assert report["same_order"]


def test_defaults_are_the_published_network():
    bare = {"official_class": CLASS, "config": {"config": {"n_classes": 9}, "img_size": 224}}
    with torch.device("meta"):
        report = fill.check(from_reference(bare), "da_transunet_r50_vit_b16", keys_only=True)
    assert report["ok"], report


def test_arguments_without_effect_have_none():
    spec = spec_of("da_transunet_mini")
    config = {**spec["config"], "num_classes": 21843, "zero_head": True, "vis": True}
    config["config"] = {**config["config"], "activation": "softmax", "patch_size": 16, "pretrained_path": "x.npz"}
    with torch.device("meta"):
        report = fill.check(from_reference({**spec, "config": config}), spec["arch"], keys_only=True)
    assert report["ok"], report


def test_only_unused_parameters_get_no_gradient():
    network = create_model("da_transunet", num_classes=3, **TINY).train()
    network(torch.randn(2, 1, 32, 32)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name
    block = network.network.decoder.blocks
    assert block[0].da3.conv8[1].weight.requires_grad
    assert block[1].da2.conv8[1].weight.requires_grad
    assert not block[0].da2.conv8[1].weight.requires_grad
    assert not block[1].da3.conv8[1].weight.requires_grad


def test_other_widths_freeze_what_they_leave_unused():
    network = build(in_channels=1, num_classes=2, **{**TINY, "decoder_channels": (16, 16, 8, 8)})
    assert network.decoder.blocks[0].da3.conv8[1].weight.requires_grad
    assert not network.decoder.blocks[1].da2.conv8[1].weight.requires_grad


@pytest.mark.parametrize("n_skip", [0, 1, 2, 3])
def test_number_of_skips_can_be_chosen(n_skip):
    network = DATransUNet(**{**TINY, "n_skip": n_skip}).eval()
    widths = [block.conv1[0].in_channels for block in network.decoder.blocks]
    skips = [s if level < n_skip else 0 for level, s in enumerate(TINY["skip_channels"])]
    before = [TINY["head_channels"], *TINY["decoder_channels"][:-1]]
    assert widths == [b + s for b, s in zip(before, skips, strict=True)]
    assert network(torch.randn(1, 3, 32, 32)).shape == (1, 2, 32, 32)


def test_one_channel_is_repeated_and_others_are_taken():
    network = DATransUNet(**TINY).eval()
    image = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(network(image), network(image.repeat(1, 3, 1, 1)))
    assert create_model("da_transunet", in_channels=4, **TINY)(torch.randn(2, 4, 32, 32)).shape == (2, 2, 32, 32)


def test_images_may_be_oblong():
    network = DATransUNet(**{**TINY, "image_size": (32, 48)}).eval()
    assert network(torch.randn(1, 3, 32, 48)).shape == (1, 2, 32, 48)


def test_stem_pads_short_skips_at_the_end():
    deepest, skips = HybridStem(1, (1, 1, 1), 8, 4)(torch.randn(1, 1, 32, 64))
    assert deepest.shape == (1, 128, 2, 4)
    assert [tuple(s.shape) for s in skips] == [(1, 64, 4, 8), (1, 32, 8, 16), (1, 8, 16, 32)]
    assert skips[1][..., -1, :].abs().max() == 0
    assert skips[1][..., -1].abs().max() == 0
    assert skips[1][..., 0, :].abs().max() > 0


def test_standard_convolution_ignores_scale_and_shift_of_its_kernels():
    conv = StandardConv(2, 3, 3).double()
    x = torch.randn(1, 2, 6, 5, dtype=torch.float64)
    before = conv(x)
    with torch.no_grad():
        conv.weight.mul_(7).add_(3)
    torch.testing.assert_close(conv(x), before, rtol=1e-3, atol=1e-3)


def test_checkpointing_changes_nothing():
    results = []
    for use_checkpoint in (False, True):
        torch.manual_seed(1)
        network = DATransUNet(**TINY, use_checkpoint=use_checkpoint).train()
        torch.manual_seed(2)
        network(fill.make_input((2, 3, 32, 32))).square().sum().backward()
        results.append([*(p.grad for p in network.parameters() if p.grad is not None), *network.buffers()])
    torch.testing.assert_close(results[0], results[1])


def google_archive(side):
    """Arrays drawn at random, with the names and shapes of the released archive at the tiny network's widths."""
    shapes = {"conv_root/kernel": (7, 7, 3, 16), "embedding/kernel": (1, 1, 256, 128), "embedding/bias": (128,)}
    norms = {"gn_root": 16, "Transformer/encoder_norm": 128}
    before = 16
    for block, width in enumerate((16, 32, 64), start=1):
        unit = f"block{block}/unit1"
        for number, (kernel, inside, outside) in enumerate(
            [(1, before, width), (3, width, width), (1, width, 4 * width)], start=1
        ):
            shapes[f"{unit}/conv{number}/kernel"] = (kernel, kernel, inside, outside)
            norms[f"{unit}/gn{number}"] = outside
        shapes[f"{unit}/conv_proj/kernel"] = (1, 1, before, 4 * width)
        norms[f"{unit}/gn_proj"] = before = 4 * width
    root = "Transformer/encoderblock_0"
    norms |= {f"{root}/LayerNorm_0": 128, f"{root}/LayerNorm_2": 128}
    for name in ("query", "key", "value"):
        shapes[f"{root}/MultiHeadDotProductAttention_1/{name}/kernel"] = (128, 2, 64)
        shapes[f"{root}/MultiHeadDotProductAttention_1/{name}/bias"] = (2, 64)
    shapes[f"{root}/MultiHeadDotProductAttention_1/out/kernel"] = (2, 64, 128)
    shapes[f"{root}/MultiHeadDotProductAttention_1/out/bias"] = (128,)
    shapes |= {f"{root}/MlpBlock_3/Dense_0/kernel": (128, 64), f"{root}/MlpBlock_3/Dense_0/bias": (64,)}
    shapes |= {f"{root}/MlpBlock_3/Dense_1/kernel": (64, 128), f"{root}/MlpBlock_3/Dense_1/bias": (128,)}
    shapes["Transformer/posembed_input/pos_embedding"] = (1, 1 + side * side, 128)
    shapes |= {f"{name}/{part}": (width,) for name, width in norms.items() for part in ("scale", "bias")}
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def test_google_weights_compute_what_their_layers_do(tmp_path):
    arrays = google_archive(side=2)
    np.savez(tmp_path / "google.npz", **arrays)
    network = DATransUNet(**TINY)
    untouched = network.decoder.conv_more[0].weight.detach().clone()
    loaded = load_google_weights(network, tmp_path / "google.npz")
    assert len(loaded) == len(arrays)
    assert torch.equal(network.decoder.conv_more[0].weight, untouched)

    layer, root = network.transformer.encoder.layer[0], "Transformer/encoderblock_0"
    tokens = np.random.default_rng(1).standard_normal((5, 128)).astype(np.float32)
    attention = f"{root}/MultiHeadDotProductAttention_1"
    split = np.einsum("tc,chw->thw", tokens, arrays[f"{attention}/key/kernel"]) + arrays[f"{attention}/key/bias"]
    joined = np.einsum("thw,hwc->tc", split, arrays[f"{attention}/out/kernel"]) + arrays[f"{attention}/out/bias"]
    inner = tokens @ arrays[f"{root}/MlpBlock_3/Dense_0/kernel"] + arrays[f"{root}/MlpBlock_3/Dense_0/bias"]
    with torch.no_grad():
        key = layer.attn.key(torch.from_numpy(tokens))
        np.testing.assert_allclose(key.numpy(), split.reshape(5, 128), rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(layer.attn.out(key).numpy(), joined, rtol=1e-4, atol=1e-2)
        np.testing.assert_allclose(layer.ffn.fc1(torch.from_numpy(tokens)).numpy(), inner, rtol=1e-4, atol=1e-3)
    stem = network.transformer.embeddings.hybrid_model
    kernel = stem.body.block2.unit1.conv2.weight.detach().numpy()
    np.testing.assert_array_equal(kernel[3, 5], arrays["block2/unit1/conv2/kernel"][:, :, 5, 3])
    np.testing.assert_array_equal(stem.root.gn.weight.detach().numpy(), arrays["gn_root/scale"])
    np.testing.assert_array_equal(layer.ffn_norm.bias.detach().numpy(), arrays[f"{root}/LayerNorm_2/bias"])
    np.testing.assert_allclose(
        network.transformer.embeddings.position_embeddings.detach().numpy(),
        arrays["Transformer/posembed_input/pos_embedding"][:, 1:],
        rtol=1e-6,
    )


def test_google_position_embedding_is_resized_between_its_corners(tmp_path):
    arrays = google_archive(side=3)
    np.savez(tmp_path / "google.npz", **arrays)
    network = DATransUNet(**TINY)
    load_google_weights(network, tmp_path / "google.npz")
    corners = torch.from_numpy(arrays["Transformer/posembed_input/pos_embedding"][0, [1, 3, 7, 9]])
    torch.testing.assert_close(network.transformer.embeddings.position_embeddings[0].detach(), corners)


def test_google_archives_that_do_not_fit_are_named(tmp_path):
    arrays = google_archive(side=2)
    np.savez(tmp_path / "wrong.npz", **{**arrays, "gn_root/scale": np.ones(3, np.float32)})
    with pytest.raises(ValueError, match="gn_root/scale"):
        load_google_weights(DATransUNet(**TINY), tmp_path / "wrong.npz")
    del arrays["embedding/bias"]
    np.savez(tmp_path / "short.npz", **arrays)
    with pytest.raises(ValueError, match="embedding/bias"):
        load_google_weights(DATransUNet(**TINY), tmp_path / "short.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 40}, "image_size"),
        ({"hidden_size": 129}, "hidden_size"),
        ({"n_skip": 4}, "n_skip"),
        ({"width_factor": 0.3}, "width"),
        ({"decoder_channels": (8, 8)}, "decoder_channels"),
        ({"grid": (3, 3)}, "grid"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        DATransUNet(**{**TINY, **change})


@pytest.mark.parametrize(
    "config", [{"image_size": 224}, {"config": {"depth": 3}}, {"config": {"resnet": {"depth": 3}}}]
)
def test_unknown_arguments_are_named(config):
    with pytest.raises(TypeError, match=r"image_size|depth"):
        from_reference({"official_class": CLASS, "config": config})
