import json
from pathlib import Path

import pytest
import torch

from itkit.models import create_model, from_reference
from itkit.models.swin_umamba.dagger import PatchExpand, SwinUMambaD
from itkit.models.swin_umamba.encoder import PatchMerging, VSSMEncoder
from itkit.models.swin_umamba.network import SwinUMamba
from itkit.models.vmamba.vssm import VSSM
from tests.models.parity import fill

PARITY = Path(__file__).parent / "parity"
MINI = sorted(path.stem for path in PARITY.glob("swin_umamba*_mini.npz"))
FULL = sorted({path.stem for path in PARITY.glob("swin_umamba*.json")} - set(MINI))
LARGE_RUNS = sorted({path.stem for path in PARITY.glob("swin_umamba*.npz")} - set(MINI))
CNN, DAGGER = "nnunetv2.nets.SwinUMamba.SwinUMamba", "nnunetv2.nets.SwinUMambaD.SwinUMambaD"
SMALL = {"feat_size": [4, 8, 16, 32, 64], "hidden_size": 64, "depths": [1, 1, 1, 1], "out_chans": 3}
SMALL_VSS = {"in_chans": 2, "dims": 8, "depths": [1, 1, 1, 1], "d_state": 2}


def spec_of(arch):
    return json.loads((PARITY / f"{arch}.json").read_text())


@pytest.mark.parametrize("arch", MINI)
def test_outputs_equal_the_authors(arch):
    report = fill.check(from_reference(spec_of(arch)), arch)
    assert report["ok"], report
    assert not report["hints"]


@pytest.mark.parametrize("arch", FULL)
def test_published_sizes_have_the_authors_keys(arch):
    with torch.device("meta"):
        report = fill.check(from_reference(spec_of(arch)), arch, keys_only=True)
    assert report["ok"], report


@pytest.mark.slow
@pytest.mark.parametrize("arch", LARGE_RUNS)
def test_published_sizes_equal_the_authors(arch):
    report = fill.check(from_reference(spec_of(arch)), arch)
    assert report["ok"], report


def test_encoder_is_the_first_vmamba_under_other_names():
    options = {"depths": [1, 2], "dims": 8, "in_chans": 2}
    classifier = VSSM(**options, forward_type="v0", mlp_ratio=0.0, downsample_version="v1")
    encoder = VSSMEncoder(**options).eval()
    names = (
        ("patch_embed.0", "patch_embed.proj"),
        ("patch_embed.2", "patch_embed.norm"),
        ("layers.0.downsample", "downsamples.0"),
        (".norm.weight", ".ln_1.weight"),
        (".norm.bias", ".ln_1.bias"),
        (".op.", ".self_attention."),
    )
    state = {}
    for key, value in fill.fill_state_dict(classifier).eval().state_dict().items():
        if key.startswith("classifier"):
            continue
        for old, new in names:
            key = key.replace(old, new) if "blocks" in key or "ln_1" not in new else key
        state[key] = value
    encoder.load_state_dict(state)
    image = torch.randn(1, 2, 32, 48)
    maps, last = classifier.stages(image)
    features = encoder(image)
    assert features[0] is image
    for mine, theirs in zip(features[1:], maps, strict=True):
        torch.testing.assert_close(mine, theirs.movedim(-1, 1))
    assert features[-1].shape[2:] == last.shape[1:3] == (4, 6)


def test_states_default_to_a_sixth_of_the_width():
    encoder = VSSMEncoder(depths=[1, 1], dims=20, d_state=None)
    assert encoder.layers[1].blocks[0].self_attention.A_logs.shape[1] == 4
    model = SwinUMambaD({**SMALL_VSS, "d_state": None}, {"num_classes": 2, "deep_supervision": False, "d_state": None})
    states = [stage.blocks[0].self_attention.A_logs.shape[1] for stage in model.decoder.stages[:3]]
    assert states == [11, 6, 3]


def test_merging_drops_an_odd_last_row():
    merging = PatchMerging(2)
    x = torch.randn(1, 5, 4, 2)
    torch.testing.assert_close(merging(x), merging(x[:, :4]), rtol=0, atol=0)


def test_expansion_puts_features_on_pixels_row_first():
    expand = PatchExpand(1, 1, 2)
    expand.norm = torch.nn.Identity()
    with torch.no_grad():
        expand.expand.weight.copy_(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
    out = expand(torch.tensor([[[[1.0], [10.0]]]]))
    assert out[0, ..., 0].tolist() == [[1, 2, 10, 20], [3, 4, 30, 40]]


def test_decoder_forgets_less_and_less_towards_full_resolution():
    model = SwinUMambaD(SMALL_VSS, {"num_classes": 2, "deep_supervision": False, "drop_path_rate": 0.5})
    rates = [block.drop_path.rate for stage in model.decoder.stages[:3] for block in stage.blocks]
    assert rates == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1, 0.0])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"res_block": False, "norm_name": "batch", "drop_path_rate": 0.4, "layer_scale_init_value": 1},
        {"use_checkpoint": True, "in_chans": 4},
    ],
    ids=str,
)
def test_every_argument_of_the_convolutional_form_works(options):
    model = SwinUMamba(**{"in_chans": 2, **SMALL, **options}, deep_supervision=True).train()
    outputs = model(torch.randn(2, options.get("in_chans", 2), 64, 32))
    assert [tuple(out.shape) for out in outputs] == [(2, 3, 64 // f, 32 // f) for f in (1, 2, 4, 8)]
    sum(out.square().mean() for out in outputs).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize(
    ("vss", "decoder"),
    [
        ({}, {}),
        ({"drop_rate": 0.1, "attn_drop_rate": 0.1, "patch_norm": False}, {"features_per_stage": [8, 16, 32, 64]}),
        ({"dims": [4, 8, 16, 32], "use_checkpoint": True}, {"drop_path_rate": 0.1, "d_state": 3}),
    ],
    ids=str,
)
def test_every_argument_of_the_mamba_form_works(vss, decoder):
    model = SwinUMambaD({**SMALL_VSS, **vss}, {"num_classes": 3, "deep_supervision": True, **decoder}).train()
    outputs = model(torch.randn(2, 2, 64, 32))
    assert [tuple(out.shape) for out in outputs] == [(2, 3, 64 // f, 32 // f) for f in (1, 4, 8, 16)]
    sum(out.square().mean() for out in outputs).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("official_class", [CNN, DAGGER])
def test_sides_must_be_multiples_of_32(official_class):
    small = (
        SwinUMamba(**SMALL)
        if official_class == CNN
        else SwinUMambaD(SMALL_VSS, {"num_classes": 2, "deep_supervision": False})
    )
    with pytest.raises(ValueError, match="multiples of 32"):
        small.eval()(torch.randn(1, 2, 48, 32))


@pytest.mark.parametrize(
    ("official_class", "config", "message"),
    [
        (CNN, {"feat_size": [48, 64, 128, 256, 512]}, "feat_size: the authors' encoder"),
        (CNN, {"hidden_size": 512}, "hidden_size"),
        (CNN, {"spatial_dims": 3}, "spatial_dims"),
        (DAGGER, {"vss_args": {"depths": [1, 1], "dims": 4}, "decoder_args": {}}, "depths: expected 4"),
        (DAGGER, {"vss_args": {"dims": [4, 8, 16, 20]}, "decoder_args": {}}, "dims: expected widths that double"),
        (DAGGER, {"vss_args": {"dims": 4}, "decoder_args": {"features_per_stage": [4, 8, 16, 33]}}, "features_per_"),
    ],
    ids=str,
)
def test_invalid_arguments_are_named(official_class, config, message):
    with pytest.raises(ValueError, match=message):
        from_reference({"official_class": official_class, "config": config})


@pytest.mark.parametrize(
    ("official_class", "config"),
    [(CNN, {"banana": 1}), (DAGGER, {"vss_args": {"banana": 1}, "decoder_args": {}})],
)
def test_unknown_arguments_are_named(official_class, config):
    with pytest.raises(TypeError, match="banana"):
        from_reference({"official_class": official_class, "config": config})


def test_heads_without_use_are_frozen_unless_supervised():
    tiny = {"feat_size": [4, 4, 8, 16, 32], "depths": [1] * 4}
    plain = create_model("swin_umamba", **tiny)
    frozen = {name for name, parameter in plain.named_parameters() if not parameter.requires_grad}
    assert frozen == {f"out_layers.{i}.conv.conv.{kind}" for i in (1, 2, 3) for kind in ("weight", "bias")}
    deep = create_model("swin_umamba", **tiny, deep_supervision=True)
    assert all(parameter.requires_grad for parameter in deep.parameters())
    assert list(plain.state_dict()) == list(deep.state_dict())


@pytest.mark.parametrize("name", ["swin_umamba", "swin_umamba_d"])
def test_user_form_gives_supervised_outputs_at_full_size(name):
    tiny = {"feat_size": [4, 4, 8, 16, 32]} if name == "swin_umamba" else {"dims": 4}
    model = create_model(name, **tiny, depths=[1] * 4, deep_supervision=True, num_classes=3).train()
    image = torch.randn(2, 1, 33, 40)
    assert [tuple(out.shape) for out in model(image)] == [(2, 3, 33, 40)] * 4
    assert model.eval()(image).shape == (2, 3, 33, 40)
    with pytest.raises(ValueError, match="spatial_dims must be 2"):
        create_model(name, spatial_dims=3)
