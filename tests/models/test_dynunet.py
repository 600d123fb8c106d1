"""DynUNet and Swin UNETR are MONAI's classes; what is ours is the way into them."""

import pytest
import torch

from itkit.core.errors import ModelError
from itkit.models import create_model, load_pretrained

TINY = {"strides": ((1, 1, 1), (1, 2, 2), (2, 2, 2)), "features_per_stage": (4, 6, 8)}


def test_it_is_monais_network():
    nets = pytest.importorskip("monai.networks.nets")
    kernels = [[3, 3, 3]] * 3
    theirs = nets.DynUNet(3, 1, 2, kernels, TINY["strides"], TINY["strides"][1:], TINY["features_per_stage"]).eval()
    ours = create_model("dynunet", **TINY).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    image = torch.randn(1, 1, 4, 16, 16)
    with torch.no_grad():
        assert torch.equal(ours(image), theirs(image))
    assert ours.divisor == (2, 4, 4)


def test_a_plan_follows_from_patch_and_spacing():
    with torch.device("meta"):
        network = create_model("dynunet", patch_size=(16, 64, 64), spacing=(5.0, 0.8, 0.8))
    assert network.network.strides[1] == (1, 2, 2)
    assert network.network.kernel_size[0] == (1, 3, 3)
    assert network.divisor == (4, 16, 16)


def test_files_without_the_second_names_of_tensors_load(tmp_path):
    source = create_model("dynunet", **TINY)
    state = {key: value for key, value in source.state_dict().items() if not key.startswith("skip_layers.")}
    torch.save(state, tmp_path / "w.pth")
    assert load_pretrained(create_model("dynunet", **TINY), tmp_path / "w.pth").complete


def test_swin_unetr_loads_the_self_supervised_encoders_names(tmp_path):
    pytest.importorskip("einops")
    options = {"feature_size": 12, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 2}
    source = create_model("swin_unetr", spatial_dims=2, **options)
    state = {
        key.replace("swinViT.", "module.").replace("linear1", "fc1").replace("linear2", "fc2"): value
        for key, value in source.state_dict().items()
        if key.startswith("swinViT.")
    }
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    filled = create_model("swin_unetr", spatial_dims=2, **options)
    report = load_pretrained(filled, tmp_path / "w.pth", partial=True)
    assert len(report.matched) == len(state)
    assert not report.unexpected
    assert torch.equal(filled.swinViT.patch_embed.proj.weight, source.swinViT.patch_embed.proj.weight)
    with pytest.raises(ModelError, match="patch_size must be 2"):
        create_model("swin_unetr", patch_size=4)
