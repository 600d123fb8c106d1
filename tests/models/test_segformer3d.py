import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from itkit.models import create_model, from_reference, load_pretrained
from itkit.models.segformer3d.network import SegFormer3D
from tests.models.parity import fill

PARITY = Path(__file__).parent / "parity"
RUN = sorted(path.stem for path in PARITY.glob("segformer3d_*.npz"))
SMALL = {
    "in_channels": 1,
    "embed_dims": (8, 16, 20, 32),
    "depths": (1, 1, 1, 1),
    "mlp_ratios": (2, 2, 2, 2),
    "decoder_head_embedding_dim": 16,
}
OPTIONS = {key: value for key, value in SMALL.items() if key != "in_channels"}


def spec_of(arch):
    return json.loads((PARITY / f"{arch}.json").read_text())


@pytest.mark.parametrize("arch", RUN)
def test_outputs_equal_the_authors(arch):
    report = fill.check(from_reference(spec_of(arch)), arch)
    assert report["ok"], report
    assert report["same_order"]
    assert not report["hints"]


def test_attention_scale_is_chosen_by_argument_commit_or_default():
    spec = spec_of("segformer3d_mini_headdim")
    config = {**spec["config"], "attention_scale": "num_heads"}
    assert from_reference(spec).segformer_encoder.tf_block1[0].attention.scale == 8**-0.5
    assert from_reference({**spec, "commit": ""}).segformer_encoder.tf_block1[0].attention.scale == 2**-0.5
    assert from_reference({**spec, "config": config}).segformer_encoder.tf_block1[0].attention.scale == 2**-0.5


def test_grids_need_not_be_cubes():
    maps = SegFormer3D(**SMALL).segformer_encoder(torch.randn(2, 1, 32, 48, 64))
    assert [tuple(x.shape[2:]) for x in maps] == [(8, 12, 16), (4, 6, 8), (2, 3, 4), (1, 2, 2)]


@pytest.mark.parametrize("order", [(2, 0, 1), (0, 2, 1)])
def test_turned_kernels_on_a_turned_image_give_the_turned_output(order):
    network, turned = SegFormer3D(**SMALL).eval(), SegFormer3D(**SMALL).eval()
    axes = (0, 1, *(2 + axis for axis in order))
    kernels = {k: v.permute(axes).contiguous() if v.ndim == 5 else v for k, v in network.state_dict().items()}
    turned.load_state_dict(kernels)
    image = torch.randn(1, 1, 24, 16, 36)
    torch.testing.assert_close(turned(image.permute(axes)), network(image).permute(axes), rtol=1e-4, atol=1e-4)


def test_odd_sizes_round_up_and_the_model_crops_them():
    assert SegFormer3D(**SMALL).eval()(torch.randn(1, 1, 34, 32, 33)).shape == (1, 3, 36, 32, 36)
    model = create_model("segformer3d", **OPTIONS).eval()
    assert model(torch.randn(1, 1, 34, 32, 33)).shape == (1, 2, 34, 32, 33)


def test_released_files_load(tmp_path):
    donor, model = SegFormer3D(**SMALL), create_model("segformer3d", num_classes=3, **OPTIONS)
    torch.save({f"module.{key}": value for key, value in donor.state_dict().items()}, tmp_path / "pytorch_model.bin")
    assert load_pretrained(model, tmp_path / "pytorch_model.bin").complete


def test_every_parameter_learns():
    model = create_model("segformer3d", **OPTIONS)
    functional.cross_entropy(model(torch.randn(2, 1, 48, 33, 40)), torch.randint(2, (2, 48, 33, 40))).backward()
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in model.parameters())


def test_checkpointing_keeps_batch_norm_statistics():
    image = torch.randn(2, 1, 48, 32, 32)
    states = []
    for use_checkpoint in (False, True):
        torch.manual_seed(1)
        network = SegFormer3D(**SMALL, use_checkpoint=use_checkpoint)
        network(image).square().mean().backward()
        states.append({**network.state_dict(), "grad": network.segformer_encoder.embed_1.patch_embeddings.weight.grad})
    torch.testing.assert_close(states[0], states[1])
    norm = "segformer_encoder.tf_block1.0.mlp.dwconv.bn."
    assert states[1][norm + "num_batches_tracked"] == 1
    assert states[1][norm + "running_mean"].any()


@pytest.mark.parametrize(
    ("change", "error", "name"),
    [
        ({"attention_scale": "dim"}, ValueError, "attention_scale"),
        ({"patch_stride": [4, 2]}, ValueError, "patch_stride"),
        ({"num_heads": [3, 2, 5, 8]}, ValueError, "num_heads"),
        ({"window": 1}, TypeError, "window"),
    ],
)
def test_wrong_arguments_are_named(change, error, name):
    with pytest.raises(error, match=name):
        from_reference({"official_class": "architectures.segformer3d.SegFormer3D", "config": {**SMALL, **change}})


def test_two_axes_are_refused():
    with pytest.raises(ValueError, match="spatial_dims"):
        create_model("segformer3d", spatial_dims=2)
