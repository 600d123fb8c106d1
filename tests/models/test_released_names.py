"""Files under the names that authors released load whole: all that the encoder or the network has comes from them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets import EfficientNetBN
from monai.networks.nets.mednext import MedNeXt as MonaiMedNeXt
from monai.networks.nets.mednext import create_mednext

from itkit.core.errors import WeightsError
from itkit.models import create_model, from_reference, load_pretrained, model_card
from itkit.models.efficientnet.timm_form import TimmEfficientNet
from itkit.models.vmamba.vssm import VSSM
from tests.models.parity import fill
from tests.models.test_da_transunet import google_archive

PARITY = Path(__file__).parent / "parity"


def save(content, folder, name="weights.pth"):
    torch.save(content, folder / name)
    return folder / name


def renamed(state, *rules):
    """Give names their older form by substitutions, one after the other."""
    found = {}
    for key, value in state.items():
        for pattern, new in rules:
            key = re.sub(pattern, new, key)
        found[key] = value
    return found


V0_RULES = (
    (r"^patch_embed\.0\.", "patch_embed.proj."),
    (r"^patch_embed\.2\.", "patch_embed.norm."),
    (r"\.blocks\.(\d+)\.norm\.", r".blocks.\1.ln_1."),
    (r"\.op\.", ".self_attention."),
    (r"^classifier\.", ""),
)
"""What ``VSSM._load_from_state_dict`` of github.com/MzeroMiko/VMamba renames, the other way round."""
V0 = {"depths": [1, 2, 1, 1], "dims": 8, "ssm_d_state": 4, "forward_type": "v0", "mlp_ratio": 0.0}


def vmamba_v0(**options):
    classifier = fill.fill_state_dict(VSSM(**{**V0, "downsample_version": "v1", "num_classes": 7, **options}))
    return classifier, {"model": renamed(classifier.state_dict(), *V0_RULES), "epoch": 292}


def test_vmamba_v0_loads_under_its_first_names(tmp_path):
    classifier, file = vmamba_v0()
    assert "layers.0.blocks.0.self_attention.A_logs" in file["model"]
    network = create_model("vmamba_v0_t", in_channels=3, **V0, drop_path_rate=0.0, decoder_width=8).eval()
    report = load_pretrained(network, save(file, tmp_path))
    assert not report.unexpected
    assert {key.split(".")[0] for key in report.missing} == {"encoder", "decoder"}
    assert all(key.startswith(("encoder.outnorm", "decoder.")) for key in report.random)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = network.encoder.stages(image), classifier.eval().stages(image)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("spelling", ["classification", "detection"])
def test_vmamba_of_the_second_version_loads_into_both_networks(tmp_path, spelling):
    options = {**model_card("vmamba_t").options, "depths": [1, 1, 1, 1], "dims": 8, "drop_path_rate": 0.0}
    state = VSSM(**{**options, "num_classes": 5}).state_dict()
    as_kernels = {
        key: value[..., None, None] if key.endswith(("in_proj.weight", "fc1.weight", "fc2.weight")) else value
        for key, value in state.items()
    }
    if spelling == "detection":
        as_kernels = {f"backbone.{key}": value for key, value in as_kernels.items() if "classifier" not in key}
    path = save({"model": as_kernels} if spelling == "classification" else {"state_dict": as_kernels}, tmp_path)
    tiny = {"depths": [1, 1, 1, 1], "dims": 8, "in_channels": 3, "drop_path_rate": 0.0}
    for network, part in (
        (create_model("vmamba_t", **tiny, decoder_width=8), "encoder"),
        (create_model("vmamba_t_upernet", **tiny, decode_channels=8, auxiliary_channels=4), "backbone"),
    ):
        report = load_pretrained(network, path, partial=True)
        assert not report.unexpected
        left = [key for key in report.random if key.startswith(part) and "outnorm" not in key]
        assert not left
        assert torch.equal(
            network.get_parameter(f"{part}.layers.0.blocks.0.op.A_logs"), state["layers.0.blocks.0.op.A_logs"]
        )


def test_upernet_takes_the_authors_segmentation_checkpoints(tmp_path):
    tiny = {"depths": [1, 1, 1, 1], "dims": 8, "in_channels": 3, "decode_channels": 8, "auxiliary_channels": 4}
    source = create_model("vmamba_t_upernet", **tiny, deep_supervision=True)
    path = save({"meta": {"epoch": 1}, "state_dict": source.state_dict(), "optimizer": {}}, tmp_path)
    assert load_pretrained(create_model("vmamba_t_upernet", **tiny, deep_supervision=True), path, strict=True).complete
    assert load_pretrained(create_model("vmamba_t_upernet", **tiny), path, strict=True).complete


SWIN = {
    "swin_umamba": {"feat_size": [4, 8, 16, 32, 64], "depths": [1, 2, 1, 1]},
    "swin_umamba_d": {"dims": 8, "depths": [1, 2, 1, 1], "d_state": 16, "drop_path_rate": 0.0},
}


@pytest.mark.parametrize("name", SWIN)
@pytest.mark.parametrize("spelling", ["first names", "second names"])
def test_the_file_that_swin_umamba_starts_from_fills_its_encoder(tmp_path, name, spelling):
    """As ``load_pretrained_ckpt`` of github.com/JiarunLiu/Swin-UMamba does it."""
    classifier, file = vmamba_v0(ssm_d_state=16)
    if spelling == "second names":
        file = {"model": classifier.state_dict()}
    network = create_model(name, in_channels=3, **SWIN[name])
    before = {key: value.clone() for key, value in network.state_dict().items()}
    report = load_pretrained(network, save(file, tmp_path), partial=True)
    assert not report.unexpected
    left = {key.removeprefix("vssm_encoder.") for key in report.random if key.startswith("vssm_encoder.")}
    # the first form has patches of 2 pixels, the file of 4; the authors drop these three
    dropped = {"patch_embed.proj.weight", "patch_embed.proj.bias", "patch_embed.norm.weight"}
    assert left == (dropped if name == "swin_umamba" else set())
    state, given = network.state_dict(), classifier.state_dict()
    for stage in range(3):
        assert torch.equal(
            state[f"vssm_encoder.downsamples.{stage}.reduction.weight"],
            given[f"layers.{stage}.downsample.reduction.weight"],
        )
    assert torch.equal(state["vssm_encoder.layers.1.blocks.1.ln_1.bias"], given["layers.1.blocks.1.norm.bias"])
    assert all(torch.equal(state[key], before[key]) for key in report.missing)


def test_swin_umamba_keeps_an_embedding_of_its_own_size(tmp_path):
    network = create_model("swin_umamba", **SWIN["swin_umamba"])
    encoder = {
        key.removeprefix("vssm_encoder."): value
        for key, value in network.state_dict().items()
        if key.startswith("vssm_encoder.")
    }
    file = renamed(encoder, (r"^downsamples\.(\d+)\.", r"layers.\1.downsample."))
    report = load_pretrained(create_model("swin_umamba", **SWIN["swin_umamba"]), save({"model": file}, tmp_path))
    assert not any(key.startswith("vssm_encoder.") for key in report.random)


def test_google_weights_load_by_the_common_way(tmp_path):
    arrays = google_archive(side=2)
    np.savez(tmp_path / "R50+ViT-B_16.npz", **arrays)
    network = create_model("da_transunet", in_channels=3, **model_card("da_transunet").tiny)
    report = load_pretrained(network, tmp_path / "R50+ViT-B_16.npz", partial=True)
    assert len(report.matched) == len(arrays)
    assert not report.unexpected
    kernel = network.transformer.embeddings.hybrid_model.root.conv.weight.detach().numpy()
    np.testing.assert_array_equal(kernel[3, 2], arrays["conv_root/kernel"][:, :, 2, 3])


UNETR = {"feature_size": 2, "hidden_size": 8, "mlp_dim": 8, "num_heads": 2}


@pytest.mark.parametrize("release", ["unetr_mini", "unetr_mini_monai13", "unetr_mini_monai15", "unetr_mini_perceptron"])
def test_unetr_of_any_release_of_monai_loads_whole(tmp_path, release):
    """Keys, shapes and outputs of MONAI's own networks are those of the parity fixtures."""
    spec = json.loads((PARITY / f"{release}.json").read_text())
    theirs = fill.fill_state_dict(from_reference(spec)).eval()
    config = {key: value for key, value in spec["config"].items() if key in UNETR}
    ours = create_model(
        "unetr",
        in_channels=spec["config"]["in_channels"],
        num_classes=spec["config"]["out_channels"],
        image_size=spec["config"]["img_size"],
        **config,
    ).eval()
    report = load_pretrained(ours, save({"epoch": 1, "state_dict": theirs.state_dict()}, tmp_path), strict=True)
    assert report.complete
    image = torch.randn(1, spec["config"]["in_channels"], *ours.image_size)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-4)


def test_unetr_takes_the_transformer_that_its_authors_pretrained(tmp_path):
    """The names of ``UNETR.load_from`` and ``TransformerBlock.loadFrom`` of Project-MONAI/research-contributions."""
    source = create_model("unetr", image_size=32, proj_type="perceptron", layout="0.6", **UNETR)
    vit = {key.removeprefix("vit."): value for key, value in source.state_dict().items() if key.startswith("vit.")}
    file = renamed(
        {f"module.transformer.{key}": value for key, value in vit.items()},
        (r"\.position_embeddings$", ".position_embeddings_3d"),
        (r"\.patch_embedding\.patch_embeddings\.1\.bias$", ".patch_embeddings.1.bias"),
    )
    target = create_model("unetr", image_size=32, proj_type="perceptron", layout="0.6", **UNETR)
    report = load_pretrained(target, save({"state_dict": file}, tmp_path), partial=True)
    assert not report.unexpected
    assert [key for key in report.random if key.startswith("vit.")] == []
    for key, value in vit.items():
        assert torch.equal(target.state_dict()[f"vit.{key}"], value)


MEDNEXT = {
    "encoder_expansion_ratio": 2,
    "decoder_expansion_ratio": 2,
    "bottleneck_expansion_ratio": 2,
    "kernel_size": 3,
}


@pytest.mark.parametrize("grn", [False, True])
@pytest.mark.parametrize("deep", [False, True])
def test_mednext_of_monai_loads_whole(tmp_path, grn, deep):
    blocks = {"blocks_down": (1, 2, 1, 1), "blocks_bottleneck": 1, "blocks_up": (1, 1, 1, 2)}
    common = {"deep_supervision": deep, "use_residual_connection": True, "global_resp_norm": grn}
    theirs = MonaiMedNeXt(init_filters=4, out_channels=3, **MEDNEXT, **blocks, **common)
    fill.fill_state_dict(theirs).eval()
    counts = (1, 2, 1, 1, 1, 1, 1, 1, 2)
    ours = create_model(
        "mednext_s", num_classes=3, n_channels=4, block_counts=counts, deep_supervision=deep, grn=grn
    ).eval()
    report = load_pretrained(ours, save(theirs.state_dict(), tmp_path), strict=True)
    assert report.complete
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-4)
    if deep:
        ours.train()
        theirs.train()
        with torch.no_grad():
            for mine, other in zip(ours.network(image), theirs(image), strict=True):
                torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", ["S", "B", "M", "L"])
def test_every_size_of_mednext_in_monai_fits_the_form_that_is_named(size):
    with torch.device("meta"):
        theirs = create_mednext(size).state_dict()
        ours = create_model(f"mednext_{size.lower()}", layout="monai")
    named = ours.network.adapt_state_dict(theirs)
    assert {key: value.shape for key, value in named.items()} == {
        key: value.shape for key, value in ours.state_dict().items()
    }


def test_mednext_without_heads_for_deep_supervision_takes_files_with_them(tmp_path):
    tiny = {"n_channels": 2, "exp_r": 2, "block_counts": (1,) * 9}
    source = create_model("mednext_s", deep_supervision=True, **tiny)
    path = save({"epoch": 1, "state_dict": source.state_dict(), "plot_stuff": [np.float64(1)]}, tmp_path)
    assert load_pretrained(create_model("mednext_s", **tiny), path, strict=True).complete


EFFICIENT = {"width_coefficient": 0.5, "depth_coefficient": 0.6, "in_channels": 3, "decoder_width": 8}


def efficientnet(form, **options):
    return create_model("efficientnet_b0", form=form, **{**EFFICIENT, **options}).eval()


def timm_donor(*, tensorflow):
    network = TimmEfficientNet("b0", tensorflow=tensorflow, width_coefficient=0.5, depth_coefficient=0.6, num_classes=5)
    return fill.fill_state_dict(network).eval()


def features_of(donor, image):
    donor.features_only = True
    with torch.no_grad():
        return donor(image)


@pytest.mark.parametrize(
    ("tensorflow", "folder", "said"),
    [
        (True, "tf_efficientnet_b0_aa-827b6e33.pth", None),
        (True, "tf_efficientnet_b0.ns_jft_in1k/model.pth", None),
        (True, "unknown.pth", "timm_tf"),
        (False, "efficientnet_b0_ra-3dd342df.pth", None),
        (False, "efficientnet_b0.ra_in1k/model.pth", None),
        (False, "unknown.pth", "timm"),
    ],
)
def test_timms_two_kinds_are_told_by_the_file_or_by_the_user(tmp_path, tensorflow, folder, said):
    donor = timm_donor(tensorflow=tensorflow)
    path = tmp_path / folder
    path.parent.mkdir(exist_ok=True)
    torch.save(donor.state_dict(), path)
    image = torch.randn(1, 3, 65, 66)
    for form in ("efficientnet_pytorch", "timm_tf", "timm"):
        network = efficientnet(form)
        if (form == "timm") == tensorflow:
            wanted = "timm_tf" if tensorflow else "timm"
            with pytest.raises(WeightsError, match=rf"padding and epsilon.*form='{wanted}'"):
                load_pretrained(network, path, form=said)
            continue
        report = load_pretrained(network, path, form=said)
        assert not any(key.startswith("encoder.") for key in report.random)
        with torch.no_grad():
            torch.testing.assert_close(network.encoder(image), features_of(donor, image))


def test_timms_names_without_a_sign_of_their_kind_are_asked_about(tmp_path):
    path = save(timm_donor(tensorflow=False).state_dict(), tmp_path)
    with pytest.raises(WeightsError, match=r"timm's names.*form='timm_tf'.*form='timm'"):
        load_pretrained(efficientnet("efficientnet_pytorch"), path)
    with pytest.raises(WeightsError, match="form must be one of"):
        load_pretrained(efficientnet("efficientnet_pytorch"), path, form="keras")
    (tmp_path / "config.json").write_text('{"architecture": "tf_efficientnet_b0", "num_classes": 5}')
    load_pretrained(efficientnet("efficientnet_pytorch"), path)
    (tmp_path / "config.json").write_text('{"architecture": "efficientnet_b0"}')
    with pytest.raises(WeightsError, match="form='timm'"):
        load_pretrained(efficientnet("efficientnet_pytorch"), path)


def test_a_network_of_one_form_takes_no_other(tmp_path):
    network = create_model("mednext_s", n_channels=2, exp_r=2, block_counts=(1,) * 9)
    with pytest.raises(ValueError, match="form: this network"):
        load_pretrained(network, save(network.state_dict(), tmp_path), form="timm")


def test_efficientnet_of_monai_fills_the_encoder(tmp_path):
    theirs = fill.fill_state_dict(EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=2)).eval()
    network = create_model("efficientnet_b0", in_channels=3, decoder_width=8).eval()
    report = load_pretrained(network, save(theirs.state_dict(), tmp_path), partial=True)
    assert not report.unexpected
    assert not any(key.startswith("encoder.") for key in report.random)
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        last = network.encoder(image)[-1]
        inputs = theirs._swish(theirs._bn0(theirs._conv_stem(theirs._conv_stem_padding(image))))
        torch.testing.assert_close(last, theirs._blocks(inputs), rtol=1e-4, atol=1e-4)
    with pytest.raises(WeightsError, match="form='timm_tf'"):
        load_pretrained(create_model("efficientnet_b0", in_channels=3, form="timm"), tmp_path / "weights.pth")


MIT = {"embed_dims": (8, 16, 20, 32), "depths": (1, 2, 1, 1)}
MMSEG_RULES = (
    (r"^patch_embed(\d)\.proj\.", r"layers.\1.0.projection."),
    (r"^patch_embed(\d)\.norm\.", r"layers.\1.0.norm."),
    (r"^block(\d)\.", r"layers.\1.1."),
    (r"^norm(\d)\.", r"layers.\1.2."),
    (r"\.attn\.proj\.", ".attn.attn.out_proj."),
    (r"\.mlp\.fc1\.", ".ffn.layers.0."),
    (r"\.mlp\.dwconv\.dwconv\.", ".ffn.layers.1."),
    (r"\.mlp\.fc2\.", ".ffn.layers.4."),
)
"""What ``mit2mmseg.py`` of github.com/open-mmlab/mmsegmentation renames."""


def mmseg_names(authors):
    state = {}
    for key, value in renamed(authors, *MMSEG_RULES).items():
        key = re.sub(r"^layers\.(\d)", lambda match: f"layers.{int(match[1]) - 1}", key)
        if ".attn.q." in key:
            state[key.replace(".attn.q.", ".attn.attn.in_proj_")] = value
        elif ".attn.kv." in key:
            joined = key.replace(".attn.kv.", ".attn.attn.in_proj_")
            state[joined] = torch.cat([state[joined], value])
        else:
            state[key] = value[..., None, None] if re.search(r"ffn\.layers\.[04]\.weight", key) else value
    return state


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_segformers_encoder_loads_under_the_names_of_mmsegmentation(tmp_path, prefix):
    source = fill.fill_state_dict(create_model("mit_b0", in_channels=3, **MIT, decoder_width=8)).eval()
    encoder = {key.removeprefix("encoder."): v for key, v in source.state_dict().items() if key.startswith("encoder.")}
    names = {f"{prefix}{key}": value for key, value in mmseg_names(encoder).items()}
    assert f"{prefix}layers.0.1.0.attn.attn.in_proj_weight" in names
    path = save({"meta": {"config": "model = dict()"}, "state_dict": names}, tmp_path)
    for name, part in (("mit_b0", "encoder"), ("segformer_b0", "backbone")):
        head = {"decoder_width": 8} if name == "mit_b0" else {"embed_dim": 8}
        network = create_model(name, in_channels=3, **MIT, **head).eval()
        report = load_pretrained(network, path, partial=True)
        assert not report.unexpected
        assert not any(key.startswith(part) for key in report.random)
        image = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            torch.testing.assert_close(network.get_submodule(part)(image), source.encoder(image))
