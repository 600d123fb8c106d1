import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from itkit.models import create_model, from_reference, load_pretrained
from itkit.models.efficientformer.network import VARIANTS
from itkit.models.efficientformer.parts import offset_index
from itkit.models.efficientformer.v1 import EfficientFormer
from itkit.models.efficientformer.v2 import EfficientFormerV2
from tests.models.parity import fill

PARITY = Path(__file__).parent / "parity"
RUN = sorted(path.stem for path in PARITY.glob("efficientformer*_mini*.npz"))
FULL = sorted(path.stem for path in PARITY.glob("efficientformer*.json") if "mini" not in path.stem)
V1 = {"layers": (1, 1, 1, 2), "embed_dims": (8, 12, 16, 24), "vit_num": 1}
V2 = {
    "layers": (1, 1, 2, 2),
    "embed_dims": (8, 12, 16, 24),
    "e_ratios": {"0": (2,), "1": (2,), "2": (2, 3), "3": (3, 2)},
    "vit_num": 1,
}
CLASSES = {
    "1": "models.efficientformer.EfficientFormer",
    "1 feat": "segmentation.backbone.EfficientFormer",
    "2": "models.efficientformer_v2.EfficientFormerV2",
    "2 feat": "segmentation.backbonev2.EfficientFormer",
}


def spec_of(arch):
    return json.loads((PARITY / f"{arch}.json").read_text())


def build(form, **config):
    return from_reference({"official_class": CLASSES[form], "config": {**(V1 if form[0] == "1" else V2), **config}})


@pytest.mark.parametrize("arch", RUN)
def test_outputs_equal_the_authors(arch):
    report = fill.check(from_reference(spec_of(arch)), arch)
    assert report["ok"], report
    assert report["same_order"]
    assert not report["hints"]


@pytest.mark.parametrize("arch", FULL)
def test_published_sizes_have_the_authors_keys(arch):
    spec = spec_of(arch)
    with torch.device("meta"):
        network = from_reference(spec)
    found = [[key, list(value.shape), str(value.dtype)[6:]] for key, value in network.state_dict().items()]
    assert found == spec["state_dict"]
    assert sum(parameter.numel() for parameter in network.parameters()) == spec["parameter_count"]


@pytest.mark.parametrize(("side", "queries"), [(4, None), (5, None), (4, 2), (5, 3), (7, 4)])
def test_offsets_are_numbered_by_rows_and_columns(side, queries):
    step = -(-side // (queries or side))
    points = [(row, column) for row in range(side) for column in range(side)]
    starts = [(row * step, column * step) for row in range(queries or side) for column in range(queries or side)]
    expected = [[abs(r - row) * side + abs(c - column) for row, column in points] for r, c in starts]
    assert offset_index(side, queries).tolist() == expected
    assert max(map(max, expected)) < side**2


def test_names_of_the_variants_give_their_arguments():
    names = {
        "models.efficientformer.efficientformer_l3": "l3",
        "segmentation.backbone.efficientformer_l7_feat": "l7",
        "models.efficientformer_v2.efficientformerv2_s2": "v2_s2",
        "segmentation.backbonev2.efficientformerv2_l_feat": "v2_l",
    }
    with torch.device("meta"):
        for name, variant in names.items():
            network = from_reference({"official_class": name, "config": {"in_chans": 2}})
            assert network.embed_dims == VARIANTS[variant]["embed_dims"]
            assert network.fork_feat == name.endswith("_feat")
            assert network.patch_embed[0].in_channels == 2


@pytest.mark.parametrize(("form", "side"), [("1", 224), ("2", 64)])
def test_a_classifier_has_two_heads_in_training_and_their_mean_in_evaluation(form, side):
    network = build(form, num_classes=5, **({"resolution": side} if form == "2" else {}))
    scores = []
    for head in (network.head, network.dist_head):
        head.register_forward_hook(lambda _module, _inputs, output: scores.append(output))
    pair = network(torch.randn(2, 3, side, side))
    torch.testing.assert_close(pair, tuple(scores))
    scores.clear()
    mean = network.eval()(torch.randn(2, 3, side, side))
    torch.testing.assert_close(mean, torch.stack(scores).mean(0))
    assert mean.shape == (2, 5)


@pytest.mark.parametrize("form", ["1", "2"])
def test_without_distillation_or_classes_the_heads_are_absent(form):
    sized = {"resolution": 32} if form == "2" else {}
    assert not any("dist" in key for key in build(form, distillation=False, **sized).state_dict())
    network = build(form, num_classes=0, **sized).eval()
    assert not any("head" in key and "talking" not in key for key in network.state_dict())
    side = 224 if form == "1" else 32
    assert network(torch.randn(1, 3, side, side)).shape == (1, 24)


@pytest.mark.parametrize("form", ["1 feat", "2 feat"])
def test_layer_scale_and_downsampling_can_be_left_out(form):
    config = {"use_layer_scale": False, "embed_dims": (8, 8, 16, 24), "downsamples": (False, True, True, True)}
    network = build(form, **config)
    assert not any("layer_scale" in key for key in network.state_dict())
    maps = network(torch.randn(2, 3, 64, 32))
    assert [tuple(x.shape[1:]) for x in maps] == [(8, 16, 8), (8, 16, 8), (16, 8, 4), (24, 4, 2)]


def test_version_1_takes_any_size_and_any_share_of_attention():
    for vit_num in (0, 1, 2):
        network = build("1 feat", vit_num=vit_num)
        attention = [key for key in network.state_dict() if key.endswith("qkv.weight")]
        assert attention == [f"network.6.{2 - vit_num + 1 + block}.token_mixer.qkv.weight" for block in range(vit_num)]
        maps = network(torch.randn(2, 3, 67, 40))
        assert [tuple(x.shape[2:]) for x in maps] == [(17, 10), (9, 5), (5, 3), (3, 2)]


def test_biases_of_the_encoder_are_resized_like_an_image():
    network = build("2 feat", resolution=64).eval()
    mixer = network.network[6][1].token_mixer
    torch.nn.init.normal_(mixer.attention_biases_seg)
    table = mixer.attention_biases_seg[:, offset_index(2)]
    torch.testing.assert_close(mixer.bias(4, 4), table[None])
    expected = functional.interpolate(table[None], size=(6, 9), mode="bicubic", align_corners=False)
    torch.testing.assert_close(mixer.bias(6, 9), expected)


@pytest.mark.parametrize(("form", "side"), [("1", 256), ("2", 64)])
def test_a_classifier_refuses_another_resolution(form, side):
    with pytest.raises(ValueError, match="own resolution"):
        build(form)(torch.randn(1, 3, side, side))


def test_batch_norms_of_the_second_encoder_stay_fixed_where_asked():
    authors = build("2 feat", resolution=64).train()
    authors(torch.randn(2, 3, 64, 64))
    assert authors.patch_embed[1].num_batches_tracked == 0
    model = create_model("efficientformerv2_s0", **V2, resolution=64).train()
    model(torch.randn(2, 1, 64, 64))
    assert model.encoder.patch_embed[1].num_batches_tracked == 1


@pytest.mark.parametrize(("name", "options"), [("efficientformer_l1", V1), ("efficientformerv2_s0", V2)])
def test_every_parameter_learns_and_checkpointing_changes_nothing(name, options):
    image, label = torch.randn(2, 1, 64, 96), torch.randint(2, (2, 64, 96))
    results = []
    for use_checkpoint in (False, True):
        torch.manual_seed(1)
        model = create_model(name, **options, decoder_width=8, use_checkpoint=use_checkpoint, drop_path_rate=0.1)
        torch.manual_seed(2)
        functional.cross_entropy(model(image), label).backward()
        results.append({**model.state_dict(), **{f"{k} grad": p.grad for k, p in model.named_parameters()}})
    assert all(value.isfinite().all() for key, value in results[0].items() if key.endswith("grad"))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize(("name", "options"), [("efficientformer_l1", V1), ("efficientformerv2_s0", V2)])
def test_classifier_files_load_into_the_encoder(name, options, tmp_path):
    donor = (EfficientFormer if options is V1 else EfficientFormerV2)(**options, in_chans=1)
    torch.save({"model": donor.state_dict(), "epoch": 3}, tmp_path / "classifier.pth")
    model = create_model(name, **options)
    report = load_pretrained(model, tmp_path / "classifier.pth")
    assert not report.unexpected
    missing = {key for key in report.missing if key.startswith("encoder.")}
    assert all("attention_biases_seg" in key or key.startswith("encoder.norm") for key in missing)
    torch.testing.assert_close(
        model.encoder.patch_embed(torch.ones(1, 1, 8, 8)), donor.patch_embed(torch.ones(1, 1, 8, 8))
    )


TIMM_NAMES = {
    "1": {
        "stem.conv1.weight": "patch_embed.0.weight",
        "stem.norm1.bias": "patch_embed.1.bias",
        "stem.conv2.bias": "patch_embed.3.bias",
        "stem.norm2.running_mean": "patch_embed.4.running_mean",
        "stages.0.blocks.0.mlp.fc1.weight": "network.0.0.mlp.fc1.weight",
        "stages.1.downsample.conv.weight": "network.1.proj.weight",
        "stages.3.downsample.norm.weight": "network.5.norm.weight",
        "stages.2.blocks.0.ls1.gamma": "network.4.0.layer_scale_1",
        "stages.3.blocks.2.token_mixer.qkv.weight": "network.6.2.token_mixer.qkv.weight",
        "norm.weight": "norm.weight",
        "head_dist.weight": "dist_head.weight",
    },
    "2": {
        "stem.conv1.conv.weight": "patch_embed.0.weight",
        "stem.conv1.bn.bias": "patch_embed.1.bias",
        "stem.conv2.conv.bias": "patch_embed.3.bias",
        "stem.conv2.bn.running_mean": "patch_embed.4.running_mean",
        "stages.0.blocks.0.mlp.fc1.conv.weight": "network.0.0.mlp.fc1.weight",
        "stages.0.blocks.0.mlp.fc1.bn.weight": "network.0.0.mlp.norm1.weight",
        "stages.0.blocks.0.mlp.mid.conv.weight": "network.0.0.mlp.mid.weight",
        "stages.0.blocks.0.mlp.mid.bn.weight": "network.0.0.mlp.mid_norm.weight",
        "stages.0.blocks.0.mlp.fc2.bn.weight": "network.0.0.mlp.norm2.weight",
        "stages.2.downsample.conv.conv.weight": "network.3.proj.weight",
        "stages.2.downsample.conv.bn.weight": "network.3.norm.weight",
        "stages.2.blocks.1.ls1.gamma": "network.4.1.layer_scale_1",
        "stages.2.blocks.1.token_mixer.stride_conv.conv.weight": "network.4.1.token_mixer.stride_conv.0.weight",
        "stages.2.blocks.1.token_mixer.q.bn.weight": "network.4.1.token_mixer.q.1.weight",
        "stages.2.blocks.1.token_mixer.v_local.conv.weight": "network.4.1.token_mixer.v_local.0.weight",
        "stages.2.blocks.1.token_mixer.talking_head1.weight": "network.4.1.token_mixer.talking_head1.weight",
        "stages.2.blocks.1.token_mixer.proj.conv.weight": "network.4.1.token_mixer.proj.1.weight",
        "stages.2.blocks.1.token_mixer.proj.bn.weight": "network.4.1.token_mixer.proj.2.weight",
        "stages.3.downsample.attn.q.local.weight": "network.5.attn.q.local.0.weight",
        "stages.3.downsample.attn.q.proj.conv.weight": "network.5.attn.q.proj.0.weight",
        "stages.3.downsample.attn.q.proj.bn.weight": "network.5.attn.q.proj.1.weight",
        "stages.3.downsample.attn.k.conv.weight": "network.5.attn.k.0.weight",
        "stages.3.downsample.attn.proj.conv.weight": "network.5.attn.proj.1.weight",
        "stages.3.downsample.conv.conv.weight": "network.5.conv.weight",
        "stages.3.downsample.conv.bn.weight": "network.5.bn.weight",
        "head_dist.weight": "dist_head.weight",
    },
}


@pytest.mark.parametrize("form", ["1", "2"])
def test_names_of_timm_are_known(form):
    network = build(form)
    own = network.state_dict()
    tables = {key: value for key, value in own.items() if key.endswith("attention_bias_idxs")}
    state = {
        theirs: own[ours].flatten() if "layer_scale" in ours else own[ours] for theirs, ours in TIMM_NAMES[form].items()
    }
    expected = {ours: own[ours] for ours in TIMM_NAMES[form].values()}
    torch.testing.assert_close(network.adapt_state_dict(state), {**tables, **expected})


def test_files_of_the_segmentation_networks_load():
    donor, model = build("1 feat", in_chans=1), create_model("efficientformer_l1", **V1)
    state = {f"backbone.{key}": value for key, value in donor.state_dict().items()}
    adapted = model.network.adapt_state_dict({**state, "neck.convs.0.weight": torch.ones(1)})
    torch.testing.assert_close(adapted, {f"encoder.{key}": value for key, value in donor.state_dict().items()})
    unknown = {"something": torch.ones(1)}
    assert model.network.adapt_state_dict(unknown) == unknown


@pytest.mark.parametrize(
    ("form", "change", "error", "name"),
    [
        ("1", {"layers": (1, 1)}, ValueError, "layers"),
        ("1", {"vit_num": 3}, ValueError, "vit_num"),
        ("1", {"fork_feat": True}, ValueError, "fork_feat"),
        ("1 feat", {"fork_feat": False}, ValueError, "fork_feat"),
        ("1", {"resolution": 7}, TypeError, "resolution"),
        ("1", {"pretrained": "file.pth"}, ValueError, "load_pretrained"),
        ("2", {"e_ratios": {"0": (1,)}}, ValueError, "e_ratios"),
        ("2", {"drop_path_rate": 1.5}, ValueError, "drop path rate"),
        ("2", {"window": 7}, TypeError, "window"),
        ("2", {"resizable": True}, ValueError, "resizable"),
    ],
)
def test_wrong_arguments_are_named(form, change, error, name):
    with pytest.raises(error, match=name), torch.device("meta"):
        build(form, **change)


def test_unknown_variant_and_axes_are_named():
    with pytest.raises(ValueError, match="variant"):
        create_model("efficientformer_l1", variant="l2")
    with pytest.raises(ValueError, match="spatial_dims"):
        create_model("efficientformer_l1", spatial_dims=3)
