import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from itkit.models import create_model, from_reference, load_pretrained
from itkit.models.segformer.mit import MixVisionTransformer
from tests.models.parity import fill

PARITY = Path(__file__).parent / "parity"
RUN = ["segformer_b0", "segformer_mini", "segformer_mini_backbone"]
FULL = sorted(path.stem for path in PARITY.glob("segformer_b[1-5].json"))
SMALL = {"embed_dims": (8, 16, 20, 32), "num_heads": (1, 2, 5, 8), "depths": (1, 1, 1, 2)}
TINY = {"embed_dims": (8, 16, 20, 32), "depths": (1, 1, 1, 1)}
OLD_NAMES = {
    "block{s}.{i}.norm1": "segformer.encoder.block.{z}.{i}.layer_norm_1",
    "block{s}.{i}.norm2": "segformer.encoder.block.{z}.{i}.layer_norm_2",
    "block{s}.{i}.attn.q": "segformer.encoder.block.{z}.{i}.attention.self.query",
    "block{s}.{i}.attn.proj": "segformer.encoder.block.{z}.{i}.attention.output.dense",
    "block{s}.{i}.attn.sr": "segformer.encoder.block.{z}.{i}.attention.self.sr",
    "block{s}.{i}.attn.norm": "segformer.encoder.block.{z}.{i}.attention.self.layer_norm",
    "block{s}.{i}.mlp.fc1": "segformer.encoder.block.{z}.{i}.mlp.dense1",
    "block{s}.{i}.mlp.dwconv.dwconv": "segformer.encoder.block.{z}.{i}.mlp.dwconv.dwconv",
    "block{s}.{i}.mlp.fc2": "segformer.encoder.block.{z}.{i}.mlp.dense2",
}
NEW_NAMES = {
    "block{s}.{i}.norm1": "segformer.stages.{z}.blocks.{i}.layernorm_before",
    "block{s}.{i}.norm2": "segformer.stages.{z}.blocks.{i}.layernorm_after",
    "block{s}.{i}.attn.q": "segformer.stages.{z}.blocks.{i}.attention.q_proj",
    "block{s}.{i}.attn.proj": "segformer.stages.{z}.blocks.{i}.attention.o_proj",
    "block{s}.{i}.attn.sr": ("segformer.stages.{z}.blocks.{i}.attention.sequence_reduction.sequence_reduction"),
    "block{s}.{i}.attn.norm": "segformer.stages.{z}.blocks.{i}.attention.sequence_reduction.layer_norm",
    "block{s}.{i}.mlp.fc1": "segformer.stages.{z}.blocks.{i}.mlp.fc1",
    "block{s}.{i}.mlp.dwconv.dwconv": "segformer.stages.{z}.blocks.{i}.mlp.dwconv.dwconv",
    "block{s}.{i}.mlp.fc2": "segformer.stages.{z}.blocks.{i}.mlp.fc2",
}


def spec_of(arch):
    return json.loads((PARITY / f"{arch}.json").read_text())


def transformers_state(network, *, new):
    """Rename a tiny network's weights to those of the transformers library."""
    names = {"norm{s}": "segformer.encoder.layer_norm.{z}"}
    names |= {"patch_embed{s}.proj": "segformer.encoder.patch_embeddings.{z}.proj", **OLD_NAMES}
    names["patch_embed{s}.norm"] = "segformer.encoder.patch_embeddings.{z}.layer_norm"
    linear, key_value = "decode_head.linear_c.{z}.proj", "segformer.encoder.block.{z}.0.attention.self."
    halves = ("key", "value")
    if new:
        names |= {"norm{s}": "segformer.stages.{z}.layer_norm", **NEW_NAMES}
        names["patch_embed{s}.proj"] = "segformer.stages.{z}.patch_embeddings.proj"
        names["patch_embed{s}.norm"] = "segformer.stages.{z}.patch_embeddings.layer_norm"
        linear, key_value = "decode_head.linear_projections.{z}.proj", "segformer.stages.{z}.blocks.0.attention."
        halves = ("k_proj", "v_proj")
    table = {
        "decode_head.linear_fuse.conv": "decode_head.linear_fuse",
        "decode_head.linear_fuse.bn": "decode_head.batch_norm",
        "decode_head.linear_pred": "decode_head.classifier",
    }
    for stage in range(1, 5):
        place = {"s": stage, "z": stage - 1, "i": 0}
        table |= {f"backbone.{ours.format(**place)}": theirs.format(**place) for ours, theirs in names.items()}
        table[f"decode_head.linear_c{stage}.proj"] = linear.format(**place)
    state = {}
    for key, value in network.state_dict().items():
        module, _, parameter = key.rpartition(".")
        if module.endswith(".attn.kv"):
            for half, part in zip(halves, value.chunk(2), strict=True):
                state[f"{key_value.format(z=int(key[14]) - 1)}{half}.{parameter}"] = part
        elif "conv_seg" not in key:
            state[f"{table[module]}.{parameter}"] = value
    return state


@pytest.mark.parametrize("arch", RUN)
def test_outputs_equal_the_authors(arch):
    report = fill.check(from_reference(spec_of(arch)), arch)
    assert report["ok"], report
    assert report["same_order"]
    assert not report["hints"]


@pytest.mark.parametrize("arch", FULL)
def test_published_sizes_have_the_authors_keys(arch):
    with torch.device("meta"):
        report = fill.check(from_reference(spec_of(arch)), arch, keys_only=True)
    assert report["ok"], report
    assert report["same_order"]


def test_names_of_the_variants_give_their_arguments():
    with torch.device("meta"):
        spec = {"official_class": "mmseg.models.backbones.mix_transformer.mit_b2", "config": {}}
        encoder = from_reference(spec)
        spec["official_class"] = "mmseg EncoderDecoder(mit_b2, SegFormerHead)"
        whole = from_reference({**spec, "config": {"decode_head": {"num_classes": 19}}})
    assert [len(getattr(encoder, f"block{stage}")) for stage in (1, 2, 3, 4)] == [3, 4, 6, 3]
    assert encoder.block1[0].attn.q.bias is not None
    assert whole.decode_head.linear_pred.weight.shape == (19, 768, 1, 1)


def test_configurations_of_mmseg_are_understood():
    head = {
        "type": "SegFormerHead",
        "in_channels": [32, 64, 160, 256],
        "in_index": [0, 1, 2, 3],
        "feature_strides": [4, 8, 16, 32],
        "channels": 128,
        "dropout_ratio": 0.3,
        "num_classes": 19,
        "norm_cfg": {"type": "SyncBN", "requires_grad": True},
        "align_corners": True,
        "decoder_params": {"embed_dim": 24},
        "loss_decode": {"type": "CrossEntropyLoss"},
    }
    config = {"backbone": {"type": "mit_b0", "style": "pytorch"}, "decode_head": head}
    network = from_reference({"official_class": "mmseg EncoderDecoder(mit_b0, SegFormerHead)", "config": config}).eval()
    assert network.decode_head.linear_pred.in_channels == 24
    assert network.decode_head.dropout.p == 0.3
    image = torch.randn(1, 3, 64, 64)
    coarse = network.decode_head(network.backbone(image))
    corners = network(image)[..., ::63, ::63]
    torch.testing.assert_close(corners, coarse[..., ::15, ::15])


def test_defaults_of_the_base_class():
    encoder = from_reference(
        {"official_class": "mmseg.models.backbones.mix_transformer.MixVisionTransformer", "config": {"depths": [1] * 4}}
    )
    assert encoder.embed_dims == (64, 128, 256, 512)
    assert encoder.block4[0].attn.heads == 8
    assert encoder.block1[0].attn.q.bias is None
    assert [getattr(encoder, f"block{s}")[0].attn.sr_ratio for s in (1, 2, 3, 4)] == [8, 4, 2, 1]


def test_attention_equals_the_formula():
    encoder = MixVisionTransformer(**SMALL, qkv_bias=True, qk_scale=0.37).eval()
    attention = encoder.block3[0].attn
    x = torch.randn(2, 5 * 4, 20)
    reduced = attention.sr(x.transpose(1, 2).reshape(2, 20, 5, 4)).flatten(2).transpose(1, 2)
    key, value = attention.kv(attention.norm(reduced)).chunk(2, -1)
    query = attention.q(x)
    heads = []
    for head in range(5):
        part = slice(4 * head, 4 * head + 4)
        heads.append((query[..., part] @ key[..., part].transpose(1, 2) * 0.37).softmax(-1) @ value[..., part])
    torch.testing.assert_close(attention(x, (5, 4)), attention.proj(torch.cat(heads, -1)))


def test_checkpointing_keeps_gradients_and_batch_norm_statistics():
    image = torch.randn(2, 1, 32, 64)
    results = []
    for use_checkpoint in (False, True):
        torch.manual_seed(1)
        model = create_model("segformer_b0", **TINY, embed_dim=8, use_checkpoint=use_checkpoint).train()
        torch.manual_seed(2)
        model(image).square().mean().backward()
        results.append((model.backbone.patch_embed1.proj.weight.grad, model.decode_head.linear_fuse.bn.running_var))
    torch.testing.assert_close(results[0], results[1])


def test_stochastic_depth_and_dropout_act_in_training_only():
    torch.manual_seed(0)
    encoder = MixVisionTransformer(**SMALL, drop_path_rate=0.5, drop_rate=0.1, attn_drop_rate=0.1)
    assert [block.drop_path.rate for s in (1, 4) for block in getattr(encoder, f"block{s}")] == [0, 0.375, 0.5]
    image = torch.randn(8, 3, 32, 32)
    assert not torch.equal(encoder(image)[-1], encoder(image)[-1])
    encoder.eval()
    torch.testing.assert_close(encoder(image), encoder(image))


def test_files_of_the_encoder_load_into_both_networks(tmp_path):
    donor = MixVisionTransformer(in_chans=1, **SMALL, qkv_bias=True)
    path = tmp_path / "mit.pth"
    torch.save({**donor.state_dict(), "head.weight": torch.ones(5, 32), "head.bias": torch.ones(5)}, path)
    for name, options, encoder in (("segformer_b0", {"embed_dim": 8}, "backbone"), ("mit_b0", {}, "encoder")):
        model = create_model(name, **SMALL, **options)
        report = load_pretrained(model, path)
        assert not report.unexpected
        assert not [key for key in report.missing if key.startswith(encoder)]
        image = torch.randn(1, 1, 64, 32)
        torch.testing.assert_close(getattr(model, encoder).eval()(image), donor.eval()(image))


def test_files_of_the_whole_network_load_into_the_encoder(tmp_path):
    donor = create_model("segformer_b0", **TINY, embed_dim=8)
    torch.save({"state_dict": donor.state_dict(), "meta": {}}, tmp_path / "segformer.pth")
    same = create_model("segformer_b0", **TINY, embed_dim=8)
    assert load_pretrained(same, tmp_path / "segformer.pth").complete
    encoder = create_model("mit_b0", **TINY)
    assert all(key.startswith("decoder.") for key in load_pretrained(encoder, tmp_path / "segformer.pth").missing)
    torch.testing.assert_close(encoder.encoder.state_dict(), donor.backbone.state_dict())


@pytest.mark.parametrize("new", [False, True])
def test_names_of_the_transformers_library_are_known(new):
    donor = create_model("segformer_b0", num_classes=3, **TINY, embed_dim=8)
    state = transformers_state(donor.network, new=new)
    assert not set(state) & set(donor.state_dict())
    adapted = donor.network.adapt_state_dict(state)
    own = {key: value for key, value in donor.state_dict().items() if "conv_seg" not in key}
    torch.testing.assert_close(adapted, own)
    encoder = create_model("mit_b0", **TINY)
    classifier = {key: value for key, value in state.items() if not key.startswith("decode_head")}
    adapted = encoder.network.adapt_state_dict({**classifier, "classifier.weight": torch.ones(2, 32)})
    torch.testing.assert_close(adapted, {f"encoder.{k}": v for k, v in donor.backbone.state_dict().items()})


def test_the_unused_layer_is_frozen_and_everything_else_learns():
    model = create_model("segformer_b0", **TINY, embed_dim=8)
    functional.cross_entropy(model(torch.randn(2, 1, 64, 40)), torch.randint(2, (2, 64, 40))).backward()
    without = {key for key, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {"decode_head.conv_seg.weight", "decode_head.conv_seg.bias"}


@pytest.mark.parametrize(
    ("config", "error", "name"),
    [
        ({"backbone": {"depths": [1, 1]}}, ValueError, "depths"),
        ({"backbone": {"embed_dims": [30, 64, 160, 257]}}, ValueError, "num_heads"),
        ({"backbone": {"window": 7}}, TypeError, "window"),
        ({"decode_head": {"num_classes": 2, "in_index": [0, 1, 2, 2]}}, ValueError, "in_index"),
        ({"decode_head": {"num_classes": 2, "in_channels": [1, 2, 3, 4]}}, ValueError, "in_channels"),
        ({"decode_head": {"num_classes": 2, "feature_strides": [8, 4]}}, ValueError, "feature_strides"),
        ({"decode_head": {"num_classes": 2, "pool": 1}}, TypeError, "pool"),
        ({"decode_head": {}}, TypeError, "num_classes"),
        ({"decode_head": {"num_classes": 2, "norm_cfg": {"type": "GN"}}}, ValueError, "norm_cfg"),
        ({"neck": {}}, TypeError, "neck"),
    ],
)
def test_wrong_arguments_are_named(config, error, name):
    with pytest.raises(error, match=name), torch.device("meta"):
        from_reference({"official_class": "mmseg EncoderDecoder(mit_b0, SegFormerHead)", "config": config})


def test_unknown_variant_and_axes_are_named():
    with pytest.raises(ValueError, match="variant"):
        create_model("segformer_b0", variant="b9")
    with pytest.raises(ValueError, match="spatial_dims"):
        create_model("mit_b0", spatial_dims=3)
